"""PPO and A2C over every action space are stable-baselines3's: distributions, and the weights after whole updates."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.distributions import make_proba_distribution

from agents import saving
from agents.a2c import A2C
from agents.actions import make_distribution
from agents.description import build_policy, describe_space, read_space
from agents.ppo import PPO
from tests.agents.test_sb3_equality import N, assert_equal_training, theirs
from tests.agents.tools import make_representation
from tests.envs.action_envs import SPACES, make_env

# stable-baselines3 takes whole numbers that begin at 0, in one row; the rest is the same to the distribution.
SHARED = ("Box", "Box of 2x1", "MultiDiscrete", "MultiBinary")
every_space = pytest.mark.parametrize("name", SHARED)
# Their buffer gives bits as float32, which makes their log-probabilities float32 whatever the network is.
CASES = [(name, double) for name in SHARED for double in (True, False) if not (double and name == "MultiBinary")]
every_case = pytest.mark.parametrize(("name", "double"), CASES, ids=[f"{n}-{64 if d else 32} bits" for n, d in CASES])


def sb3_distribution(space, outputs):
    """Their distribution at the outputs of our action head."""
    theirs = make_proba_distribution(space)
    if isinstance(space, sb3.common.distributions.spaces.Box):
        mean, log_std = outputs.chunk(2, 1)
        return theirs.proba_distribution(mean, log_std[0])
    return theirs.proba_distribution(outputs)


def outputs_of(distribution, rows=7):
    generator = torch.Generator().manual_seed(4)
    outputs = torch.randn(rows, distribution.num_outputs, generator=generator)
    free = torch.randn(distribution.num_free, generator=generator)
    return torch.cat([outputs, free.expand(rows, -1)], 1)


@every_space
def test_draws_log_probabilities_entropies_and_modes_are_sb3s(name):
    space = SPACES[name]
    ours = make_distribution(space)
    outputs = outputs_of(ours)
    reference, parameters = sb3_distribution(space, outputs), ours.parameters(outputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        expected = reference.sample()
    drawn = ours.sample(parameters, torch.Generator().manual_seed(9))
    torch.testing.assert_close(drawn.to(expected.dtype), expected)
    torch.testing.assert_close(ours.log_prob(parameters, drawn), reference.log_prob(expected))
    torch.testing.assert_close(ours.entropy(parameters), reference.entropy())
    torch.testing.assert_close(ours.mode(parameters).to(expected.dtype), reference.mode())
    assert len(torch.unique(drawn, dim=0)) > 1


def their_env(name):
    return make_env(SPACES[name], N, strict=False)  # they hand over bits as floats


def build(cls, space, config, double):
    """Our agent in the dtype asked for."""
    env = make_env(space, N)
    agent = cls(env, make_representation(env, double=double), config, mode="online", seed=0)
    if double:
        agent.policy.double()
        agent.collector.allocate()
    return agent


@every_case
def test_ppo_is_sb3s(name, double, monkeypatch):
    config = PPO.Config(
        learning_rate=3e-3, n_steps=6, gamma=0.9, gae_lambda=0.8, epochs=2, minibatches=3, clip_range=0.1,
        value_clip=None, value_loss="sb3", normalise_reward=False, micro_batch=3, entropy_coef=0.02, max_grad_norm=0.4,
    )  # fmt: skip
    ours = build(PPO, SPACES[name], config, double)
    model = theirs(
        ours, their_env(name), double, sb3.PPO, learning_rate=3e-3, n_steps=6, batch_size=8, n_epochs=2, gamma=0.9,
        gae_lambda=0.8, clip_range=0.1, ent_coef=0.02, max_grad_norm=0.4,
        policy_kwargs={"optimizer_kwargs": {"eps": 1e-5}},
    )  # fmt: skip
    assert_equal_training(ours, model, monkeypatch, n_steps=6, updates=3, double=double)


@every_case
def test_a2c_is_sb3s(name, double, monkeypatch):
    config = A2C.Config(n_steps=5, gamma=0.9, gae_lambda=0.7, entropy_coef=0.02, normalise_reward=False)
    ours = build(A2C, SPACES[name], config, double)
    model = theirs(
        ours, their_env(name), double, sb3.A2C, learning_rate=7e-4, n_steps=5, gamma=0.9, gae_lambda=0.7, ent_coef=0.02,
    )  # fmt: skip
    assert_equal_training(ours, model, monkeypatch, n_steps=5, updates=4, double=double)


@pytest.mark.parametrize("name", SPACES)
def test_the_environment_and_predict_get_actions_of_the_space(name):
    space = SPACES[name]
    agent = build(PPO, space, PPO.Config(n_steps=6, minibatches=3), double=False)
    agent.learn(6 * N)  # ``Painted`` refuses what is not in its space
    observation = agent.env.reset()
    for deterministic in (False, True):
        actions, _ = agent.predict(observation, deterministic=deterministic)
        assert actions.shape == (N, *space.shape)
        assert all(space.contains(action) for action in actions)
    single, _ = agent.predict(observation[0], deterministic=True)
    np.testing.assert_allclose(single, actions[0], rtol=1e-5)


@pytest.mark.parametrize(
    "space",
    [*SPACES.values(), gym.spaces.Box(-1, 1, ()), gym.spaces.Box(np.float32([-np.inf, 0]), np.float32([3, np.inf]))],
    ids=str,
)
def test_a_space_is_described_and_read_back(space):
    assert read_space(describe_space(space)) == space


@pytest.mark.parametrize("name", SPACES)
def test_a_saved_agent_of_every_action_space_is_loaded_and_goes_on(name, tmp_path):
    make = lambda: build(PPO, SPACES[name], PPO.Config(n_steps=6, minibatches=3), double=False)  # noqa: E731
    agent, other = make(), make()
    agent.learn(6 * N)
    agent.save(tmp_path / "saved")
    other.restore(tmp_path / "saved")
    observation = agent.env.reset()
    expected, _ = agent.predict(observation, deterministic=True)
    np.testing.assert_array_equal(other.predict(observation, deterministic=True)[0], expected)
    policy = build_policy(saving.read(tmp_path / "saved"), tmp_path, agent.representation)
    np.testing.assert_array_equal(policy.predict(observation, deterministic=True)[0], expected)
    assert policy.action_space == SPACES[name]
