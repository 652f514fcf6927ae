"""Rewards, bonuses, their scale, advantages and returns by hand; what is off is bit-identical."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from agents.a2c import A2C
from agents.ppo import PPO
from agents.rewards import REWARD_CLIP, gae
from tests.agents.tools import PLAIN, UNIT_SCALE, Constant, N, Novelty, Skilled, build, collect, make_env, weights


def test_gae_on_a_trajectory_by_hand():
    # gamma 0.5, lambda 0.5; r = 1 2 3 4, V = 1 1 2 2 and 8 after; the episode ends at t=1.
    # delta3 = 4 + 4 - 2 = 6, A3 = 6;  delta2 = 3 + 1 - 2 = 2, A2 = 2 + 0.25 * 6 = 3.5
    # delta1 = 2 + 0 - 1 = 1, A1 = 1 (cut);  delta0 = 1 + 0.5 - 1 = 0.5, A0 = 0.5 + 0.25 * 1 = 0.75
    column = lambda *values: torch.tensor(values).unsqueeze(1)  # noqa: E731
    advantage, returns = gae(
        column(1.0, 2.0, 3.0, 4.0), column(1.0, 1.0, 2.0, 2.0, 8.0), column(False, True, False, False), 0.5, 0.5
    )
    assert advantage.squeeze().tolist() == [0.75, 1.0, 3.5, 6.0]
    assert returns.squeeze().tolist() == [1.75, 2.0, 5.5, 8.0]


def test_terminal_reward_of_ten_reaches_advantage_and_return():
    advantage, returns = gae(torch.tensor([[10.0]]), torch.tensor([[3.0], [99.0]]), torch.tensor([[True]]), 0.9, 0.9)
    assert advantage.item() == 7.0
    assert returns.item() == 10.0


def test_a_constant_bonus_changes_the_returns_by_the_exact_amount():
    plain, rewarded = (
        build(config={**PLAIN, "gamma": 0.5, "gae_lambda": 1.0}, bonuses=b) for b in ((), (Constant(2.0),))
    )
    rewarded.reward_pipeline.bonus_scales = {"constant": UNIT_SCALE}
    for agent in (plain, rewarded):
        collect(agent)
    done = plain.history.rollout().done
    # Lengths 3 + (i + e) % 4: env 0 ends at steps 2; env 1 at 3; env 2 at 4 (counting from 0).
    assert done.int().argmax(0).tolist() == [2, 3, 4]
    expected = torch.zeros(6, N)
    for i in range(N):
        later = 0.0
        for t in range(5, -1, -1):
            # Each step's 2, and half of what follows within the episode; the last step has its own 2 too.
            later = 2.0 + 0.5 * later * (not done[t, i])
            expected[t, i] = later
    assert expected[5].tolist() == [2.0] * N
    torch.testing.assert_close(rewarded.targets.returns - plain.targets.returns, expected)
    torch.testing.assert_close(rewarded.targets.advantage - plain.targets.advantage, expected)
    # What is logged is the environment's own reward.
    assert [e["r"] for e in rewarded.ep_info_buffer] == [e["r"] for e in plain.ep_info_buffer]


def test_a_bonus_is_divided_by_the_running_std_of_its_discounted_sum():
    agent = build(config=PLAIN, bonuses=(Constant(2.0, coefficient=3.0),))
    collect(agent)
    # R_t = 2 (1 + 0.99 + ... + 0.99^t), never reset, the same in every stream.
    sums = np.cumsum(2 * 0.99 ** np.arange(6))
    extra = agent.targets.reward - agent.history.rollout().reward - agent.collector.data.bootstrap
    torch.testing.assert_close(extra, torch.full((6, N), float(3 * 2 / np.std(sums))), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cls", [PPO, A2C])
def test_a_coefficient_of_zero_is_bit_identical_to_no_bonus(cls):
    plain = build(cls)
    zero = build(cls, bonuses=(Constant(coefficient=0.0), Novelty()))
    zero.bonuses["novelty"].coefficient = 0.0
    for agent in (plain, zero):
        agent.learn(3 * 6 * N)
    assert torch.equal(weights(plain), weights(zero))
    assert float(zero.bonuses["constant"].weight.detach()) != 0


def test_a_bonus_changes_the_weights():
    plain, rewarded = build(), build(bonuses=(Novelty(),))
    for agent in (plain, rewarded):
        agent.learn(2 * 6 * N)
    assert not torch.equal(weights(plain), weights(rewarded))


@pytest.mark.parametrize("factor", [2.0**-20, 1024.0])
def test_the_unit_of_a_bonus_cancels(factor):
    plain, scaled = build(bonuses=(Novelty(),)), build(bonuses=(Novelty(),))
    score = scaled.bonuses["novelty"].score
    scaled.bonuses["novelty"].score = lambda batch: score(batch) * factor  # a power of two: no rounding
    for agent in (plain, scaled):
        agent.learn(3 * 6 * N)
    assert torch.equal(weights(plain), weights(scaled))


def test_a_second_bonus_does_not_shift_the_draws_of_the_first():
    alone, accompanied = build(bonuses=(Constant(coefficient=0.0),)), build(bonuses=(Skilled(0, 0.0), Constant(1, 0.0)))
    for agent in (alone, accompanied):
        collect(agent)
        agent.bonuses["constant"].update(agent.steps, agent.streams["bonus/constant"])
    assert len({float(agent.bonuses["constant"].weight.detach()) for agent in (alone, accompanied)}) == 1


def test_without_the_environments_reward_the_bonus_is_all_there_is():
    agent = build(config={**PLAIN, "extrinsic": 0.0, "timeout_is_terminal": True}, bonuses=(Novelty(),))
    agent.reward_pipeline.bonus_scales = {"novelty": UNIT_SCALE}
    collect(agent)
    steps = agent.history.rollout()
    assert steps.reward.abs().sum() > 0
    red = steps.next_obs["image"][:, :, 0].float().mean((-1, -2)) / 255
    torch.testing.assert_close(agent.targets.reward, red)


@pytest.mark.parametrize("episodic", [False, True])
def test_bonuses_under_their_own_head(episodic):
    config = {**PLAIN, "gamma": 0.5, "gae_lambda": 1.0}
    head = {"bonus_head": True, "bonus_gamma": 0.25, "bonus_episodic": episodic}
    plain, rewarded = build(config=config), build(config={**config, **head}, bonuses=(Constant(2.0),))
    rewarded.reward_pipeline.bonus_scales = {"constant": UNIT_SCALE}
    for agent in (plain, rewarded):
        collect(agent)
    # The environment's stream is as without the bonus; the head draws its weights after the others.
    assert torch.equal(rewarded.collector.data.values, plain.collector.data.values)
    assert torch.equal(rewarded.targets.returns, plain.targets.returns)
    done, values = rewarded.history.rollout().done, rewarded.collector.data.bonus_values
    assert values.abs().min() > 0
    assert values.shape == (7, N)
    expected = torch.zeros(6, N)
    for i in range(N):
        later = float(values[6, i])
        for t in range(5, -1, -1):
            # 2 now and a quarter of what follows, which the end of an episode cuts off in the episodic case alone
            later = 2.0 + 0.25 * later * (not (episodic and done[t, i]))
            expected[t, i] = later
    torch.testing.assert_close(rewarded.targets.bonus_returns, expected)
    torch.testing.assert_close(rewarded.targets.advantage, plain.targets.advantage + expected - values[:-1])


def test_the_head_of_the_bonuses_learns_their_returns():
    agent = build(config={"bonus_head": True, "learning_rate": 0.01, "extrinsic": 0.0}, bonuses=(Novelty(),))
    errors = []
    for _ in range(12):
        agent.learn(6 * N, reset_num_timesteps=False)
        errors.append(agent.metrics["loss/bonus_value"])
    assert sum(errors[-3:]) < 0.3 * sum(errors[:3])


def test_a_head_without_bonuses_is_bit_identical_to_none():
    plain, headed = build(), build(config={"bonus_head": True})
    for agent in (plain, headed):
        agent.learn(2 * 6 * N)
    assert torch.equal(weights(plain), weights(headed))


def test_with_bonus_once_only_first_visits_have_a_bonus():
    agent = build(config={**PLAIN, "bonus_once": True}, bonuses=(Constant(2.0), Skilled(1.0)))
    agent.reward_pipeline.bonus_scales = {"constant": UNIT_SCALE, "skilled": UNIT_SCALE}
    first_visits = torch.arange(6 * N).view(6, N) % 3 == 1
    agent.reward_pipeline.visits.forward = lambda steps: first_visits
    collect(agent)
    extra = agent.targets.reward - agent.steps.reward - agent.collector.data.bootstrap
    # the bonus of a skill counts everywhere
    torch.testing.assert_close(extra, 2.0 * first_visits + agent.collector.data.contexts.argmax(2))


def test_visits_of_one_rollout_are_known_in_the_next():
    agent = build(config={"bonus_once": True}, bonuses=(Constant(),))
    calls, visits = [], agent.reward_pipeline.visits
    visits.forward = lambda steps: (calls.append(("forward", steps.reward.clone())), torch.ones(6, N))[1]
    visits.remember = lambda steps: calls.append(("remember", steps.reward.clone()))
    agent.learn(2 * 6 * N)
    assert [name for name, _ in calls] == ["forward", "remember"] * 2
    assert torch.equal(calls[0][1], calls[1][1])
    assert torch.equal(calls[2][1], calls[3][1])
    assert not torch.equal(calls[0][1], calls[2][1])


def test_the_first_reward_is_dated():
    agent = build()
    collect(agent)
    rewards = [agent.steps.reward.clone()]
    collect(agent, reset_num_timesteps=False)
    rewarded = (torch.cat([*rewards, agent.steps.reward]) > 0).any(1)
    assert rewarded.any()
    assert agent.reward_pipeline.first_reward == (int(rewarded.int().argmax()) + 1) * N


def test_rewards_are_normalised_step_by_step():
    config = {"normalise_reward": True, "n_steps": 24, "timeout_is_terminal": True}  # no value is added to a reward
    agent = build(env=make_env(N, num_actions=2), config=config)
    collect(agent)
    steps = agent.history.rollout()
    running, mean, variance, count = np.zeros(N), 0.0, 1.0, 1e-4
    for t in range(24):
        running = 0.99 * running + steps.reward[t].numpy()
        delta, total = running.mean() - mean, count + N
        variance = (variance * count + running.var() * N + delta**2 * count * N / total) / total
        mean, count = mean + delta * N / total, total
        expected = np.clip(steps.reward[t].numpy() / np.sqrt(variance + 1e-8), -10, 10)
        np.testing.assert_allclose(agent.targets.reward[t].numpy(), expected, rtol=1e-5)
        running[steps.done[t].numpy()] = 0


def test_the_normalised_reward_is_clipped_to_ten():
    agent = build(config={"normalise_reward": True, "timeout_is_terminal": True})
    agent.reward_pipeline.reward_scale = SimpleNamespace(std=0.01, update=lambda reward, done: None)
    collect(agent)
    reward = agent.steps.reward
    assert set(reward.unique().tolist()) == {0.0, 1.0}
    # 1 / 0.01 = 100 is cut to 10, as in baselines' VecNormalize
    assert torch.equal(agent.targets.reward, 10.0 * reward)
    agent.reward_pipeline.reward_scale.std = 0.125
    collect(agent)
    assert torch.equal(agent.targets.reward, 8.0 * agent.steps.reward)  # 8 is not cut
    assert REWARD_CLIP == 10.0
