"""Small runs, trained here or in a process of their own, interrupted on the way, and compared by what they leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from agents import ALGORITHMS, checkpoint
from agents.runs.build import build_parts, find_task
from agents.runs.config import RunConfig
from agents.runs.run_dir import RunDir, open_experiment
from agents.runs.trackers import Tracker
from agents.runs.train import train
from representations import REPRESENTATIONS

ROOT = Path(__file__).resolve().parents[3]
SMALL_PPO = {"n_steps": 32, "minibatches": 2}


def run_config(repr="cnn", algo="ppo", suite="counting", **changes):
    """Four rollouts of 4 x 32 frames, a checkpoint after every second one; ``changes`` are fields of RunConfig.

    What is not online takes 32 frames first; what is pre-trained draws 96 of them.
    """
    cls = REPRESENTATIONS.resolve(repr)
    mode = changes.get("mode", cls.default_mode)
    scaled = cls.sees and mode != "online"
    pretrained = cls.needs_pretraining and mode != "online"
    settings = SMALL_PPO if algo == "ppo" else {"n_steps": 32}
    values = {
        **{"suite": suite, "env": suite, "repr": repr, "repr_settings": asdict(cls.Config()), "mode": mode},
        **{"algo": algo, "algo_settings": asdict(ALGORITHMS.resolve(algo).Config(**settings))},
        **{"bonus": "none", "trunk": "nature", "train_levels": 3, "seed": 1, "steps": 512, "num_envs": 4},
        **{"pretrain_on": "source" if scaled else "none", "precision": "float32", "preset": "smoke"},
        **{"pretrain_frames": 32 * scaled, "pretrain_samples": 96 * pretrained, "checkpoint_frames": 256},
        **{"eval_envs": 2, "window": 0, "periodic_evals": 1, "periodic_envs": 1, "normalise": None, "splits": ()},
    }
    config = RunConfig(**{**values, **changes})
    return config if config.splits else RunConfig(**{**asdict(config), "splits": tuple(find_task(config).splits())})


class Killed(BaseException):
    """Raised where a process would be killed; nothing in the toolkit catches it."""


class Interrupted:
    """A progress display that interrupts the run once ``stage`` has come to ``done`` units."""

    def __init__(self, stage="never", done=0, interrupt=None):
        self.wanted, self.interrupt = (stage, done), interrupt

    def stage(self, name, total, done):
        self.name = name

    def update(self, done, note=""):
        if self.name == self.wanted[0] and done >= self.wanted[1]:
            self.wanted = ("never", 0)
            if self.interrupt is None:
                raise Killed
            self.interrupt()

    def close(self):
        pass


def train_here(out, config, progress=None, tracker=None, cache=None, device="cpu"):
    """Bring a run in experiment ``out`` to its end, or to its interruption, in this process."""
    run = RunDir(open_experiment(out), config)
    try:
        return train(build_parts(config), run, tracker or Tracker(), progress or Interrupted(), device, cache=cache)
    finally:
        run.close()


def start_and_kill(out, config, reached):
    """Train in a process that gets SIGKILL once ``reached(run directory)`` holds."""
    command = [sys.executable, "-m", "tests.agents.runs.tools", str(out), json.dumps(asdict(config))]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, **pipes)
    deadline = time.monotonic() + 120
    while not any(reached(run) for run in out.glob("runs/*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, text


def trained(frames):
    """A condition: the run's log has passed ``frames`` frames of training."""

    def reached(run):
        try:
            lines = (run / "metrics.jsonl").read_text().splitlines()
            return any(json.loads(line)["global_step"] >= frames for line in lines)
        except (OSError, ValueError):
            return False

    return reached


def pretraining(run):
    """A condition: the run is in the middle of its pre-training."""
    return len(list((run / "checkpoint" / "pretrain").glob("*.json"))) >= 2


def the_run(out):
    """The one run directory of an experiment."""
    (run,) = out.glob("runs/*")
    return run


def result(out):
    """Everything a run leaves that must not depend on its interruptions."""
    run = the_run(out)
    _, state = checkpoint.read(run / "checkpoint" / "train")
    tensors = {}
    timeless = {name: component for name, component in state.items() if name not in ("clock", "log")}
    plain = json.dumps(checkpoint.encode(_without_clock(timeless), "x", tensors), sort_keys=True)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "tensors": {name: value.numpy().tobytes() for name, value in tensors.items()},
        "plain": plain,
        "records": [{k: v for k, v in record.items() if not k.startswith("time/")} for record in records],
        "episodes": (run / "eval.csv").read_text(),
        "pictures": {path.name: path.read_bytes() for path in (run / "pictures").iterdir()},
    }


def _without_clock(state):
    """Without the wall-clock seconds that episode statistics carry beside return and length."""
    if isinstance(state, dict):
        return {key: _without_clock(value) for key, value in state.items() if key not in ("t", "t_start", "start_time")}
    if isinstance(state, list | tuple):
        return type(state)(_without_clock(value) for value in state)
    return state


if __name__ == "__main__":
    train_here(Path(sys.argv[1]), RunConfig(**json.loads(sys.argv[2])))
