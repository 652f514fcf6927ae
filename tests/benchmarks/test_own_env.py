"""An environment of one's own, from outside the tree, named on the command line: trains, transfers, resumes."""

import csv
import json
import sys
import types

import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecVideoRecorder

from agents.runs.load import load_agent
from benchmarks import explore, transfer

MAZE = '''
"""A corridor: a picture, a heading and keys."""

import gymnasium as gym
import numpy as np


class Maze(gym.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    action_space = gym.spaces.Discrete(5, start=1)

    def __init__(self, size=5, colour=0, width=48, render_mode=None):
        self.size, self.colour, self.render_mode = size, colour, render_mode
        image = gym.spaces.Box(0, 1, (3, 12, width), np.float32)
        entries = {"camera": image, "heading": gym.spaces.Discrete(4), "keys": gym.spaces.MultiBinary(3)}
        self.observation_space = gym.spaces.Dict(entries)

    def _seen(self):
        camera = np.zeros(self.observation_space["camera"].shape, np.float32)
        camera[self.colour, :, 5 * self.place : 5 * self.place + 5] = 1
        return {"camera": camera, "heading": self.place % 4, "keys": np.array([1, 0, self.place > 2], np.int8)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = 0, 0
        return self._seen(), {}

    def step(self, action):
        self.place, self.time = min(self.place + 1, self.size - 1), self.time + 1
        return self._seen(), 1.0, self.place == self.size - 1, False, {}

    def render(self):
        return np.uint8(255 * self._seen()["camera"].transpose(1, 2, 0))
'''
REACH = '''
"""A point that is pushed along a line; a file named "stop" asks for a signal at the 100th step."""

import os
import signal
from pathlib import Path

import gymnasium as gym
import numpy as np


class Reach(gym.Env):
    action_space = gym.spaces.Box(np.float32([-1, 0]), np.float32([1, 3]))
    observation_space = gym.spaces.Box(-8, 8, (3,), np.float32)
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1, 1)
        return np.float32([self.place, 0, 1]), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        Reach.steps += 1
        stop = Path(__file__).with_name("stop")
        if Reach.steps == 100 and stop.exists():
            stop.unlink()
            os.kill(os.getpid(), signal.SIGTERM)
        self.place = float(np.clip(self.place + action[0] - action[1] / 3, -8, 8))
        return np.float32([self.place, *action]), -abs(self.place), False, False, {}
'''
SIZES = ("--preset", "smoke", "--num-envs", "3", "--set", "ppo.n_steps=32", "ppo.minibatches=2", "cnn.trunk=symbols")


@pytest.fixture
def maze(tmp_path, monkeypatch):
    (tmp_path / "own_mazes.py").write_text(MAZE)
    monkeypatch.syspath_prepend(tmp_path)
    return ["--env", "own_mazes:Maze", "--repr", "cnn", *SIZES, "--out", str(tmp_path / "out")]


def test_an_own_env_trains_and_transfers_to_a_target_of_its_own(maze, encoder, tmp_path, capsys):
    more = ["--env-option", "size=4", "--env-target", "blue:colour=2", "longer:size=7", "--steps", "192"]
    assert transfer.main([*maze, *more]) == 0
    printed = capsys.readouterr().out
    assert "camera (as 'image'): image of 12x48, 3 channels, one frame (float32 (3, 12, 48), channels first" in printed
    assert "heading: one-hot, 4 values" in printed
    assert "episodes end by themselves alone: --episode-limit N" in printed
    (run,) = (tmp_path / "out" / "runs").iterdir()
    assert run.name.startswith("Maze-cnn-online-ppo-")
    with open(run / "eval.csv") as handle:
        rows = list(csv.DictReader(handle))
    returns = {(row["split"], row["return"], row["length"]) for row in rows}
    assert returns == {("train", "3.0", "3"), ("blue", "3.0", "3"), ("longer", "6.0", "6")}
    assert list(json.loads((run / "source.json").read_text())["foreign_sources"]) == ["own_mazes:Maze"]
    load_and_film(tmp_path, encoder)
    (tmp_path / "own_mazes.py").write_text(MAZE + "\n# changed\n")
    assert transfer.main([*maze, *more]) == 0
    assert "finished before, with other code: another version of own_mazes:Maze. --rerun" in capsys.readouterr().out


def test_a_stopped_run_of_an_own_env_with_continuous_actions_goes_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "own_reach.py").write_text(REACH)
    (tmp_path / "stop").touch()
    monkeypatch.syspath_prepend(tmp_path)
    sizes = [
        "--preset",
        "smoke",
        "--num-envs",
        "3",
        "--set",
        "a2c.n_steps=8",
        "--steps",
        "192",
        "--episode-limit",
        "12",
    ]
    command = ["--env", "own_reach:Reach", "--repr", "cnn", "--algo", "a2c", *sizes, "--out", str(tmp_path / "out")]
    assert transfer.main(command) == 75
    (run,) = (tmp_path / "out" / "runs").iterdir()
    assert not (run / "done").exists()
    capsys.readouterr()
    assert transfer.main(command) == 0
    assert "Reach cannot save its state: a resumed run begins new episodes" in capsys.readouterr().out
    frames = [json.loads(line)["global_step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    training = [frame for frame in dict.fromkeys(frames) if frame]
    assert training == list(range(24, 193, 24))  # nothing is missing after the signal at frame 100, nothing twice
    with open(run / "eval.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["length"] for row in rows} == {"12"}
    agent = load_agent(run)
    env = agent.make_env(3, "train")
    actions, _ = agent.predict(env.reset())
    assert actions.shape == (3, 2)
    assert np.abs(actions).sum() > 0


@pytest.fixture
def encoder(monkeypatch):
    """A stand-in for moviepy, which only writes the file: clips by their path, as (frames, frames a second)."""
    clips = {}

    class ImageSequenceClip:
        def __init__(self, frames, fps):
            self.clip = np.stack(frames), fps

        def write_videofile(self, path, **options):
            clips[path] = self.clip

    for name in ("moviepy", "moviepy.video", "moviepy.video.io", "moviepy.video.io.ImageSequenceClip"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    sys.modules["moviepy.video.io.ImageSequenceClip"].ImageSequenceClip = ImageSequenceClip
    return clips


def load_and_film(folder, clips):
    """The trained agent as a notebook has it: evaluated on its target, and filmed by stable-baselines3's recorder."""
    agent = load_agent(folder / "out")
    assert evaluate_policy(agent, agent.make_env(2, "longer"), 4, deterministic=False) == (6.0, 0.0)
    env = agent.make_env(1, "blue", render_mode="rgb_array")
    film = VecVideoRecorder(env, str(folder / "films"), lambda step: step == 0, video_length=3)
    observation = film.reset()
    for _ in range(3):
        actions, _ = agent.predict(observation)
        observation, *_ = film.step(actions)
    film.close()
    ((frames, speed),) = clips.values()
    assert (frames.shape[1:], speed) == ((12, 48, 3), 10)
    assert len(frames) >= 3
    assert frames[0, 0, :6].tolist() == [[0, 0, 255]] * 5 + [[0, 0, 0]]  # blue, at its first place
    assert frames[1, 0, 4:6].tolist() == [[0, 0, 0], [0, 0, 255]]


def test_spaces_of_all_splits_are_compared_before_the_first_frame(maze, tmp_path, capsys):
    assert transfer.main([*maze, "--env-target", "wide:width=56"]) == 2
    assert "target 'wide' of Maze observes" in (error := capsys.readouterr().err)
    assert "image uint8 (3, 12, 56)" in error
    assert "the source" in error
    assert not (tmp_path / "out").exists()
    assert transfer.main([*maze, "--env-target", "pole:id=CartPole-v1"]) == 2
    assert "target 'pole' of Maze observes" in capsys.readouterr().err


def test_options_reach_explore_and_are_refused_without_an_env(maze, capsys):
    assert explore.main([*maze, "--bonus", "none", "--env-option", "size=3", "--frames", "2", "--dry-run"]) == 0
    assert "Maze, seed 0" in capsys.readouterr().out
    assert transfer.main(["--env-option", "size=3"]) == 2
    assert "--env-option says more about an environment; name it with --env ID" in capsys.readouterr().err
    assert transfer.main([*maze, "--env-option", "sise=3"]) == 2
    assert "'sise'" in capsys.readouterr().err
