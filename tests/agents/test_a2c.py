"""A2C's losses by hand, one step on each rollout, and that it learns."""

from __future__ import annotations

import torch

from agents import ALGORITHMS
from agents.a2c import A2C
from tests.agents.tools import make_env, make_representation


def test_losses_by_hand():
    env = make_env(3)
    agent = A2C(env, make_representation(env), A2C.Config(n_steps=5))
    log_pi = torch.tensor([-1.0, -0.5])
    # -A log pi: 2 * 1 = 2, -3 * 0.5 = -1.5; the probability when acting plays no part.
    assert agent.policy_loss(log_pi, torch.tensor([9.0, 9.0]), torch.tensor([2.0, -3.0])).tolist() == [2.0, -1.5]
    assert agent.value_loss(torch.tensor([1.0]), torch.tensor([9.0]), torch.tensor([3.0])).tolist() == [4.0]


def test_one_optimizer_step_a_rollout():
    env = make_env(3)
    agent = A2C(env, make_representation(env), A2C.Config(n_steps=5))
    steps, step = [], agent.policy.optimizer.step
    agent.policy.optimizer.step = lambda: (steps.append(1), step())
    agent.learn(4 * 5 * 3)
    assert len(steps) == agent._n_updates == 4
    group = agent.policy.optimizer.param_groups[0]
    assert isinstance(agent.policy.optimizer, torch.optim.RMSprop)
    assert (group["lr"], group["alpha"], group["eps"]) == (7e-4, 0.99, 1e-5)


def test_registry():
    assert ALGORITHMS.resolve("a2c") is A2C


def test_learns_to_read_the_target_from_the_pixels():
    env = make_env(8, num_actions=2, episode_length=10)
    config = A2C.Config(n_steps=8, learning_rate=7e-3, gamma=0.5, normalise_reward=False)
    agent = A2C(env, make_representation(env), config, seed=0)
    agent.learn(8 * 8 * 300)
    rewards = [episode["r"] / episode["l"] for episode in agent.ep_info_buffer]
    assert sum(rewards) / len(rewards) > 0.95
