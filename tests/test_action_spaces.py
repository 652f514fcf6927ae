"""The registries times the action spaces: whatever reads actions takes every one, or refuses it by name in a line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from agents.a2c import A2C
from agents.config import bonus_spec
from agents.ppo import PPO
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from envs.wrappers.last_step import LastStepVectorEnv
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic import BONUSES
from representations import REPRESENTATIONS
from representations.collect import channels_last, collect
from representations.pretrain import as_steps
from representations.wrappers import AppendVectors
from tests.agents.tools import Tiny
from tests.envs.action_envs import SPACES, make_env, vector_env
from tests.intrinsic.test_all_bonuses import SMALL as SMALL_BONUSES
from tests.representations.test_all_representations import SMALL, vectors_of

N, T = 3, 6
KINDS = ("Discrete from -2", "Box of 2x1", "MultiDiscrete", "MultiBinary")
REFUSED = {("unreal", "Box of 2x1"), ("empowerment", "Box of 2x1")}
PRETRAINED_ON_ACTIONS = ("inverse", "cpc")
READ_ACTIONS = (*PRETRAINED_ON_ACTIONS, "unreal", "drac")
"""Methods whose loss reads actions, or what the policy says of them; the others get one of the spaces each."""
every_kind = pytest.mark.parametrize("kind", KINDS)


def in_one_line(refused: pytest.ExceptionInfo[UsageError], *names: str) -> bool:
    text = str(refused.value)
    return "\n" not in text and any(name in text for name in names)


def build(name: str, spec: EnvSpec) -> Any:
    cls = REPRESENTATIONS.resolve(name)
    torch.manual_seed(0)
    return cls(spec, cls.Config(**{**SMALL.get(name, {}), **({"replay": T * N} if name == "unreal" else {})}))


def learn(env, representation, bonuses=(), cls=PPO, rollouts=2, **settings):
    """An agent after some rollouts; UsageError where the settings or the action space cannot work."""
    config = {"n_steps": T, **({"epochs": 1, "minibatches": 1} if cls is PPO else {}), **settings}
    mode = "online" if "online" in representation.modes else "frozen"
    agent = cls(env, representation, cls.Config(**config), mode=mode, seed=0, bonuses=bonuses)
    agent.learn(rollouts * T * N)
    undefined = {"train/explained_variance"}  # where all returns of so short a rollout are equal
    wrong = {key: value for key, value in agent.metrics.items() if not math.isfinite(value)}
    assert wrong.keys() <= undefined
    assert all(torch.isfinite(parameter).all() for parameter in agent.policy.parameters())
    return agent


@pytest.mark.parametrize("name", REPRESENTATIONS.places)
def test_every_representation_trains_on_every_action_space(name):
    other_keys, place = bool(vectors_of(name)), list(REPRESENTATIONS.places).index(name)
    for kind in KINDS if name in READ_ACTIONS else KINDS[place % len(KINDS) :][:1]:
        env = make_env(SPACES[kind], N, shape=(40, 40))
        if (name, kind) in REFUSED or other_keys:
            with pytest.raises(UsageError) as refused:
                learn(env, build(name, EnvSpec.of(env)), rollouts=1)
            assert in_one_line(refused, name, "needs obs key")
        else:
            model = build(name, EnvSpec.of(env))
            learn(env, model, rollouts=2 if model.window > 1 else 1)  # a window needs a longer history


@every_kind
@pytest.mark.parametrize("name", BONUSES)
def test_every_bonus_and_memory_work_with_every_action_space(name, kind):
    cls = BONUSES.resolve(name)
    env = make_env(SPACES[kind], N)
    representation = Tiny(EnvSpec.of(env))
    spec, config = bonus_spec(env, representation, "online"), cls.Config(**SMALL_BONUSES.get(name, {}))
    if (name, kind) in REFUSED:
        with pytest.raises(UsageError) as refused:
            cls(spec, config)
        assert in_one_line(refused, name)
        return
    for algorithm in (PPO, A2C):
        bonus = cls(spec, config)
        before = {key: value.clone() for key, value in bonus.state_dict().items()}
        agent = learn(env, representation, [bonus], algorithm, memory="gru", memory_size=5, memory_steps=3)
        moved = [key for key, value in bonus.state_dict().items() if not torch.equal(value, before[key])]
        assert bool(moved) == bool(before)
        assert agent.policy.memory is not None


@every_kind
def test_a_bonus_that_reads_actions_tells_them_apart(kind):
    env = make_env(SPACES[kind], N)
    spec = EnvSpec.of(env)
    cls = BONUSES.resolve("icm")
    bonus = cls(spec, cls.Config(width=6, hidden=8))
    stored = torch.from_numpy(bonus.codes.random(9, np.random.default_rng(0)))
    phi = torch.randn(1, 6).expand(9, 6)
    with torch.no_grad():
        errors = bonus.forward_error(phi, stored, phi)
    assert len(torch.unique(errors)) == len(torch.unique(bonus.codes.encode(stored), dim=0))


@every_kind
def test_the_last_action_is_an_observation_in_every_action_space(kind):
    env = Sb3VecEnv(LastStepVectorEnv(vector_env(SPACES[kind], N)))
    spec = EnvSpec.of(env)
    shown = spec.space.spaces["last_action"]
    agent = learn(env, AppendVectors(Tiny(spec), ["last_action", "last_reward"]), memory="gru", memory_steps=3)
    observation = env.reset()
    assert not observation["last_action"].any()
    actions, _ = agent.predict(observation)
    observation, *_ = env.step(actions)
    assert shown.contains(observation["last_action"][1])
    codes = agent.policy.distribution.codes
    expected = codes.encode(torch.from_numpy(codes.from_env(actions))).numpy()
    np.testing.assert_allclose(observation["last_action"], expected)


class Maker:
    """Environments of one action space, as ``collect`` makes them."""

    def __init__(self, kind: str):
        self.kind = kind

    def make(self, num_envs: int, seed: int) -> Any:
        return vector_env(SPACES[self.kind], num_envs, seed % 2**31, shape=(40, 48))


def held_random(kind: str, windows: int, length: int) -> Steps:
    """Windows of held random actions, as pre-training takes them."""
    frames = collect([Maker(kind)], windows * length, seed=3, window=length)
    return as_steps({key: channels_last(value) for key, value in frames.items()}, length)


@every_kind
@pytest.mark.parametrize("name", PRETRAINED_ON_ACTIONS)
def test_stored_actions_of_held_random_ones_teach_offline(name, kind):
    env = make_env(SPACES[kind], 1, shape=(40, 48))
    method = build(name, EnvSpec.of(env))
    steps, codes = held_random(kind, 8, method.window), method.codes
    assert steps.action.dtype == codes.dtype
    assert steps.action.shape[2:] == codes.shape
    # the frame shows the action that led to it: 40 times the sum of its numbers' sizes
    taken = np.abs(codes.to_env(steps.action[0].numpy()).astype(np.float64)).reshape(8, -1).sum(1)
    seen = steps.obs["image"][1, :, 1, 0, 0].numpy()
    known = ~steps.first[1].numpy()
    assert known.any()
    np.testing.assert_array_equal(seen[known], (taken[known] * 40).astype(int) % 256)
    heads = lambda features, obs, first=None: (features[:, :2], features[:, 0])  # noqa: E731
    loss, _ = method.loss(steps, heads, torch.Generator().manual_seed(0))
    loss.backward()
    assert math.isfinite(float(loss.detach()))


@every_kind
def test_the_inverse_model_tells_actions_that_the_frames_show(kind):
    env = make_env(SPACES[kind], 1, shape=(40, 48))
    cls = REPRESENTATIONS.resolve("inverse")
    torch.manual_seed(0)
    method = cls(EnvSpec.of(env), cls.Config(hidden=32))
    generator = torch.Generator().manual_seed(0)
    steps = held_random(kind, 32, 2)
    optimizer, losses = torch.optim.Adam(method.parameters(), 1e-3), []
    for _ in range(15):
        loss, metrics = method.loss(steps, None, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert 0 <= float(metrics["accuracy"]) <= 1
