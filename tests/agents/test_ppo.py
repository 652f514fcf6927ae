"""PPO's losses by hand, what must hold at the first minibatch, and that it learns."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from agents import ALGORITHMS
from agents.a2c import A2C
from agents.metrics import MetricMeans
from agents.ppo import PPO
from envs.registry import UsageError
from tests.agents.tools import N, build, collect, make_env, make_representation, rl_gradient


def test_surrogate_by_hand():
    agent = build(config={"clip_range": 0.2})
    # ratios 1.5, 1.5, 0.5, 0.5 with advantages +2, -2, +2, -2:
    # min(1.5*2, 1.2*2) = 2.4;  min(-3, -2.4) = -3;  min(1, 1.6) = 1;  min(-1, -1.6) = -1.6
    log_pi = torch.tensor([1.5, 1.5, 0.5, 0.5]).log()
    loss = agent.policy_loss(log_pi, torch.zeros(4), torch.tensor([2.0, -2.0, 2.0, -2.0]))
    torch.testing.assert_close(loss, torch.tensor([-2.4, 3.0, -1.0, 1.6]))


def test_value_losses_by_hand():
    build_ppo = lambda **config: build(config=config)  # noqa: E731
    value, old, returns = torch.tensor([1.0, 0.1, 3.0]), torch.zeros(3), torch.tensor([2.0, 2.0, 0.0])
    # V_clip = 0.5, 0.1, 0.5.  (V-R)^2 = 1, 3.61, 9;  (V_clip-R)^2 = 2.25, 3.61, 0.25
    procgen = build_ppo(value_clip=0.5).value_loss(value, old, returns)
    torch.testing.assert_close(procgen, torch.tensor([1.125, 1.805, 4.5]))
    clipped = build_ppo(value_clip=0.5, value_loss="sb3").value_loss(value, old, returns)
    torch.testing.assert_close(clipped, torch.tensor([2.25, 3.61, 0.25]))
    free = build_ppo(value_clip=None, value_loss="sb3").value_loss(value, old, returns)
    torch.testing.assert_close(free, torch.tensor([1.0, 3.61, 9.0]))
    # V = V_old: the clip changes nothing.
    same = [build_ppo(value_clip=e).value_loss(value, value, returns) for e in (None, 0.5)]
    assert torch.equal(*same)


def test_first_minibatch_has_ratio_one_and_surrogate_zero():
    agent = build(config={"entropy_coef": 0.0})
    collect(agent)
    metrics = MetricMeans()
    rl_gradient(agent, torch.arange(6 * N), metrics)
    values = metrics.compute()
    assert values["loss/policy"] == pytest.approx(0.0, abs=1e-6)  # mean of normalised advantages
    assert values["train/approx_kl"] == pytest.approx(0.0, abs=1e-7)
    # 4 actions, all nearly equally likely.
    assert values["loss/entropy"] == pytest.approx(math.log(4), abs=1e-3)


def test_defaults_are_the_published_ones():
    assert dataclasses.asdict(PPO.Config()) == {
        "learning_rate": 5e-4, "n_steps": 256, "gamma": 0.999, "gae_lambda": 0.95, "entropy_coef": 0.01,
        "value_coef": 0.5, "max_grad_norm": 0.5, "normalise_advantage": True, "normalise_reward": True,
        "timeout_is_terminal": False, "micro_batch": None, "aux_coef": None, "window_streams": 16, "extrinsic": 1.0,
        "bonus_once": False, "bonus_head": False, "bonus_gamma": 0.99, "bonus_episodic": False, "epochs": 3,
        "anneal_learning_rate": False, "target_kl": None, "minibatches": 8,
        "memory": "none", "memory_size": 256, "memory_steps": 32,
        "clip_range": 0.2, "value_clip": 0.2, "value_loss": "procgen", "adam_epsilon": 1e-5,
    }  # fmt: skip


def test_an_annealed_step_size_falls_by_the_frames_that_remain():
    agent, seen = build(config={"anneal_learning_rate": True, "learning_rate": 8e-3}), []
    update = agent.update
    agent.update = lambda *args: (seen.append(agent.policy.optimizer.param_groups[0]["lr"]), update(*args))
    agent.learn(4 * 6 * N)
    # an update comes after its rollout: 3, 2, 1 and 0 quarters of training remain; 3 passes of 3 minibatches each
    assert seen == pytest.approx([rate for rate in (6e-3, 4e-3, 2e-3, 0.0) for _ in range(9)])


@pytest.mark.parametrize(("cls", "passes"), [(PPO, 9), (A2C, 1)])
def test_a_step_size_may_be_a_function_of_what_remains(cls, passes):
    schedule = lambda remaining: 1e-3 + 4e-3 * remaining**2  # noqa: E731
    agent, seen = build(cls, config={"learning_rate": schedule}), []
    update = agent.update
    agent.update = lambda *args: (seen.append(agent.policy.optimizer.param_groups[0]["lr"]), update(*args))
    assert agent.policy.optimizer.param_groups[0]["lr"] == 5e-3
    agent.learn(4 * 6 * N)
    # 3, 2, 1 and 0 quarters remain: 1 + 4 * (9, 4, 1, 0) / 16 thousandths
    expected = [rate for rate in (3.25e-3, 2e-3, 1.25e-3, 1e-3) for _ in range(passes)]
    assert seen == pytest.approx(expected)


def test_a_step_size_that_no_optimizer_takes_is_named():
    with pytest.raises(UsageError, match=r"learning_rate\(1\) = -1.0: give a function"):
        build(config={"learning_rate": lambda remaining: -remaining})
    with pytest.raises(UsageError, match="anneal_learning_rate=True"):
        build(config={"learning_rate": lambda remaining: remaining, "anneal_learning_rate": True})
    agent = build(config={"learning_rate": lambda remaining: 1e-3 if remaining > 0.5 else float("nan")})
    with pytest.raises(UsageError, match=r"learning_rate\(0.5\) = nan"):
        agent.learn(4 * 6 * N)


@pytest.mark.parametrize(("target", "passes"), [(None, 3), (1e9, 3), (1e-9, 1)])
def test_passes_end_where_the_policy_has_gone_far_enough(target, passes):
    agent = build(config={"target_kl": target, "learning_rate": 0.05})
    agent.learn(6 * N)
    assert agent._n_updates == passes
    if target == 1e-9:
        assert agent.metrics["train/approx_kl"] > 1.5 * target


def test_registry_and_mistakes():
    assert ALGORITHMS.resolve("ppo") is PPO
    with pytest.raises(UsageError, match="value_loss 'mse'"):
        build(config={"value_loss": "mse"})
    with pytest.raises(UsageError, match="target_kl=-1"):
        build(config={"target_kl": -1.0})


@pytest.mark.parametrize(("mode", "precision"), [("online", "float32"), ("online", "bfloat16"), ("frozen", "float32")])
def test_learns_to_read_the_target_from_the_pixels(mode, precision):
    env = make_env(8, num_actions=2, episode_length=10, num_levels=5)
    config = PPO.Config(n_steps=32, minibatches=4, learning_rate=1e-2, gamma=0.5, normalise_reward=False)
    net = make_representation(env)
    net.hidden = (32,)
    agent = PPO(env, net, config, mode=mode, seed=0, precision=precision)
    agent.learn(8 * 32 * 25)
    # Guessing earns 0.5 a step; 1 is all there is.
    assert agent.history.rollout().reward.mean() > 0.95
