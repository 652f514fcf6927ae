"""Halves looked at in turn: what is learnt is, to the bit, what is learnt from all environments at once."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnvWrapper
from torch.utils._pytree import tree_map

from agents import checkpoint
from agents.a2c import A2C
from agents.build import rehearse
from agents.policy import Policy, keyed_space
from agents.ppo import PPO
from agents.run_dir import as_json, run_id
from benchmarks.transfer import Args, main, plan
from envs.dummy import CountingVectorEnv
from envs.halves import Halves
from envs.registry import UsageError
from envs.sb3 import Sb3VecEnv
from envs.tasks import World
from tests.agents.bonuses import Novelty, Skilled
from tests.agents.conftest import Averaging, Tiny, weights

N, T = 6, 7
WORLD = World("tests.envs.test_halves:Telling", {"size": 8, "episode_length": 2, "num_levels": 50})
FIELDS = ("action", "reward", "paid", "terminated", "truncated", "next_valid", "first")


@pytest.fixture
def build(representation):
    made = []

    def make(overlap=True, cls=PPO, kind="tiny", mode="online", world=WORLD, **options):
        env = Halves.of(world, 1, range(N)) if overlap else Sb3VecEnv(world.make(N, 1))
        made.append(env)
        config = {"n_steps": T, "timeout_is_terminal": False, "normalise_reward": True, **options.pop("config", {})}
        config |= {} if cls is A2C else {"minibatches": 3, "epochs": 2}
        built = representation(env, kind) if isinstance(kind, str) else kind(keyed_space(env.observation_space))
        return cls(env, built, cls.Config(**config), mode=mode, seed=0, **options)

    yield make
    for env in made:
        env.close()


class Steps(BaseCallback):
    """What a callback is shown at every step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def _on_step(self):
        shown = {name: self.locals[name] for name in ("new_obs", "rewards", "dones", "actions", "t")}
        shown["told"] = self.model.env.told["state_hash"]
        ends = [
            (i, info["terminal_observation"].sum(), info["episode"]["r"], info["TimeLimit.truncated"])
            for i, info in enumerate(self.locals["infos"])
            if "episode" in info
        ]
        self.seen.append((self.num_timesteps, len(self.model.ep_info_buffer), shown, ends))
        return True


CASES = {
    "ppo": {},
    "a2c": {"cls": A2C},
    "stateful": {"kind": "averaging"},
    "frozen": {"mode": "frozen"},
    "frozen and stateful": {"kind": "averaging", "mode": "frozen"},
    "auxiliary": {"kind": "autoencoder"},
    "bonuses": {"bonuses": (Novelty, Skilled), "config": {"bonus_head": True}},
    "frozen with skills": {"mode": "frozen", "kind": "averaging", "bonuses": (Novelty, Skilled)},
}


@pytest.fixture
def row_by_row(monkeypatch):
    """Looks that compute each environment by itself: products of matrices of 3 rows round otherwise than of 6."""
    encode, all_heads = Policy.encode, Policy.all_heads

    def rows(work, *batch):
        # Copies: where a matrix begins in memory decides how its products round, too.
        parts = [work(*tree_map(lambda each, i=i: each[i : i + 1].clone(), batch)) for i in range(len(batch[-1]))]
        return tree_map(lambda *each: None if each[0] is None else torch.cat(each), *parts)

    def encode_rows(self, obs, state, first):
        work = lambda *one: encode(self, *one)  # noqa: E731
        return work(obs, state, first) if torch.is_grad_enabled() else rows(work, obs, state, first)

    def judge_rows(self, features, context=None):
        if torch.is_grad_enabled():
            return all_heads(self, features, context)
        if context is None:
            return rows(lambda one: all_heads(self, one), features)
        return rows(lambda one, two: all_heads(self, one, two), features, context)

    monkeypatch.setattr(Policy, "encode", encode_rows)
    monkeypatch.setattr(Policy, "all_heads", judge_rows)


@pytest.mark.parametrize("cls", [PPO, A2C])
@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_as_it_is_really_looked_at_it_is_so_to_rounding(build, cls, mode):
    agents = [build(overlap, cls=cls, kind="averaging", mode=mode) for overlap in (False, True)]
    for agent in agents:
        agent.learn(3 * T * N)
    rollouts = [agent.history.rollout() for agent in agents]
    for name in ("action", "reward", "terminated", "truncated", "first"):
        assert torch.equal(*(getattr(rollout, name) for rollout in rollouts))
    torch.testing.assert_close(*(agent.log_probs for agent in agents), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(*map(weights, agents), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("row_by_row")
@pytest.mark.parametrize("case", CASES)
def test_what_is_learnt_is_what_is_learnt_from_the_whole_world(build, case):
    options = dict(CASES[case])
    kinds = options.pop("bonuses", ())
    found = []
    for overlap in (False, True):
        agent, steps, rollouts = build(overlap, bonuses=[kind() for kind in kinds], **options), Steps(), []
        for _ in range(3):
            agent.learn(T * N, callback=steps, reset_num_timesteps=False)
            rollout = agent.history.rollout()
            kept = {name: getattr(rollout, name).clone() for name in FIELDS}
            kept |= {name: value.clone() for name, value in rollout.obs.items()}
            kept |= {f"next {name}": value for name, value in rollout.next_obs.items()}
            for name in ("values", "log_probs", "bootstrap", "advantages", "contexts", "bonus_values"):
                if getattr(agent, name) is not None:
                    kept[name] = getattr(agent, name).clone()
            kept |= {f"state {k}": part.clone() for k, part in enumerate((*agent.states, *agent._state))}
            rollouts.append(kept)
        found.append((weights(agent), rollouts, steps.seen, agent))
    (expected, whole, shown, one), (got, halves, also_shown, two) = found
    for before, after in zip(whole, halves, strict=True):
        assert before.keys() == after.keys()
        for name, value in before.items():
            assert torch.equal(value, after[name]), name
    assert torch.equal(expected, got)
    assert [e["r"] for e in one.ep_info_buffer] == [e["r"] for e in two.ep_info_buffer]
    np.testing.assert_array_equal(one._last_obs, two._last_obs)
    np.testing.assert_array_equal(one._last_episode_starts, two._last_episode_starts)
    assert one.streams.state_dict()["states"].keys() == two.streams.state_dict()["states"].keys()
    for (count, episodes, step, ends), (*others, other_step, other_ends) in zip(shown, also_shown, strict=True):
        assert [count, episodes, ends] == [*others, other_ends]
        for name, value in step.items():
            np.testing.assert_array_equal(value, other_step[name])
    # What could go wrong was there: both kinds of ends, gamma V of cut episodes, actions of every kind in both halves.
    assert all(kept["bootstrap"].count_nonzero() > 0 for kept in halves)
    assert all(kept["terminated"].any() for kept in halves)
    for rows in two.env.rows:
        assert len(torch.cat([kept["action"][:, rows] for kept in halves]).unique()) == 4


class Turns:
    """Each half's step must see the other half looked at before it ends; the last step of a rollout has none after."""

    def __init__(self):
        self.looked = [threading.Event(), threading.Event()]

    def look(self, image):
        part = int(image[0, 0, 0, 0] >= N // 2)  # red of pixel (0, 0) is the env's number
        self.looked[1 - part].set()

    def step(self, part, number):
        if part == 1 and number % T == T - 1:
            return
        assert self.looked[part].wait(20), "the other half was not looked at"
        self.looked[part].clear()


def test_one_half_steps_while_the_other_is_looked_at():
    turns = Turns()

    class Waits(CountingVectorEnv):
        steps = 0

        def step(self, actions):
            self.steps += 1
            turns.step(int(self.first > 0), self.steps - 1)
            return super().step(actions)

    class Watched(Tiny):
        def encode(self, obs, state=(), first=None):
            if len(obs["image"]) < N and not torch.is_grad_enabled():
                turns.look(obs["image"])
            return super().encode(obs, state, first)

    worlds = [Waits(N // 2, size=8, episode_length=2, seed=1) for _ in range(2)]
    worlds[1].first = N // 2
    env = Halves([Sb3VecEnv(world) for world in worlds])
    agent = PPO(env, Watched(keyed_space(env.observation_space)), PPO.Config(n_steps=T, minibatches=3), mode="online")
    agent.train = lambda: None
    agent.learn(3 * T * N)
    assert [world.steps for world in worlds] == [3 * T] * 2
    env.close()


class StopsAt(BaseCallback):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def _on_step(self):
        return self.n_calls < self.step


@pytest.mark.parametrize("step", [1, 4, T])
def test_a_stop_leaves_nothing_in_flight_and_learning_then_begins_new_episodes(build, step):
    agent = build()
    agent.learn(T * N)
    agent.learn(T * N, callback=StopsAt(step), reset_num_timesteps=False)
    assert agent.num_timesteps == (T + step) * N
    assert not agent.env.settle()
    ahead = int(step < T)  # the first half had been sent its next step
    steps = [part.world.episode.sum() for part in agent.env.parts]
    assert (agent._last_obs is None) == (step < T)
    agent.learn(T * N, reset_num_timesteps=False)
    assert bool(agent.history.rollout().first[0].all()) == bool(ahead)
    assert agent.history.length == T
    assert [part.world.episode.sum() for part in agent.env.parts] > steps


class Breaks(CountingVectorEnv):
    """Its second half fails once, at its tenth step."""

    steps = 0

    def step(self, actions):
        self.steps += 1
        if self.first and self.steps == 10:
            raise OSError("the emulator is gone")
        return super().step(actions)


def test_an_error_of_a_half_ends_the_rollout_with_nothing_in_flight(build):
    agent = build(world=World("tests.agents.test_overlap:Breaks", WORLD.options))
    with pytest.raises(OSError, match="the emulator is gone"):
        agent.learn(3 * T * N)
    assert agent.num_timesteps == 9 * N
    assert not agent.env.settle()
    agent.learn(T * N, reset_num_timesteps=False)
    assert agent.history.rollout().first[0].all()


class Rounds(Averaging):
    """Features depend on how many are encoded at once, as their rounding may."""

    def encode(self, obs, state=(), first=None):
        features, state = super().encode(obs, state, first)
        return features + len(features) / 64, state


def rounding(space):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Rounds(space)


@pytest.mark.parametrize("case", ["ppo", "frozen and stateful", "auxiliary", "rounding"])
def test_a_restored_agent_goes_on_bit_for_bit(build, tmp_path, case):
    options = {"kind": rounding, "mode": "frozen"} if case == "rounding" else CASES[case]
    whole, first, second = (build(**options) for _ in range(3))
    whole.learn(4 * T * N)
    first.learn(2 * T * N)
    first.save(tmp_path)
    second.learn(T * N)  # what is not restored would show
    second.restore(tmp_path)
    second.learn(2 * T * N, reset_num_timesteps=False)
    assert torch.equal(weights(whole), weights(second))
    assert [e["r"] for e in whole.ep_info_buffer] == [e["r"] for e in second.ep_info_buffer]


def test_halves_inside_a_wrapper_step_as_one(build):
    class Plain(VecEnvWrapper):
        def reset(self):
            return self.venv.reset()

        def step_wait(self):
            return self.venv.step_wait()

    expected, agent = build(False), build()
    agent.env = Plain(agent.env)
    for each in (expected, agent):
        each.learn(2 * T * N)
    assert torch.equal(weights(expected), weights(agent))


# runs ----------------------------------------------------------------------------------------------------------------


def smoke(**options):
    return plan(Args(repr=("cnn",), suite="counting", preset="smoke", **options))[0]


def test_a_run_without_it_keeps_its_name():
    plain, config = smoke(), smoke(overlap=True)
    assert "overlap" not in as_json(plain)
    assert as_json(config) == {**as_json(plain), "overlap": True}
    assert run_id(as_json(config)) != run_id(as_json(plain))


def test_a_number_that_cannot_be_halved_is_refused_before_anything_is_written():
    options = {"set": ("ppo.minibatches=1",)}
    rehearse([smoke(num_envs=5, **options), smoke(num_envs=6, overlap=True, **options)])
    for count in (1, 5):
        with pytest.raises(UsageError, match=rf"has {count} of them; give an even --num-envs"):
            rehearse([smoke(num_envs=count, overlap=True, **options)])


def test_a_run_learns_what_a_run_without_it_learns(tmp_path, capsys):
    args = ["--repr", "cnn", "--suite", "counting", "--preset", "smoke", "--precision", "float32", "--steps", "2048"]
    found = []
    for more in ([], ["--overlap"]):
        out = tmp_path / f"out{len(more)}"
        assert main([*args, *more, "--out", str(out)]) == 0
        (run,) = out.glob("runs/*")
        found.append((run, checkpoint.read(run / "checkpoint" / "train")[1]))
    (plain, expected), (halves, got) = found
    assert plain.name != halves.name
    assert "parts" in got["env"]
    assert "parts" not in expected["env"]
    for name, value in expected["policy"]["module"].items():
        torch.testing.assert_close(got["policy"]["module"][name], value, rtol=1e-3, atol=1e-5)
