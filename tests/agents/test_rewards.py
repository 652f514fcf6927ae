"""What steps are worth, by hand: bonuses, their scale and skills, bootstraps, advantages; off means bit-identical."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecEnvWrapper

from agents.a2c import A2C
from agents.on_policy import Means
from agents.ppo import PPO
from agents.rewards import gae
from tests.agents.bonuses import Constant, Novelty, Skilled, Unit
from tests.agents.conftest import PLAIN, SMALL, N, rl_gradient, weights


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


def test_a_constant_bonus_changes_the_returns_by_the_exact_amount(build):
    plain, paid = (build(config={**PLAIN, "gamma": 0.5, "gae_lambda": 1.0}, bonuses=b) for b in ((), (Constant(2.0),)))
    paid.bonus_scales = {"constant": Unit()}
    for agent in (plain, paid):
        agent.train = lambda: None
        agent.learn(6 * N)
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
    torch.testing.assert_close(paid.returns - plain.returns, expected)
    torch.testing.assert_close(paid.advantages - plain.advantages, expected)
    # What is logged is the world's own reward.
    assert [e["r"] for e in paid.ep_info_buffer] == [e["r"] for e in plain.ep_info_buffer]


def test_a_bonus_is_divided_by_the_running_std_of_its_discounted_sum(build):
    agent = build(config=PLAIN, bonuses=(Constant(2.0, coefficient=3.0),))
    agent.train = lambda: None
    agent.learn(6 * N)
    # R_t = 2 (1 + 0.99 + ... + 0.99^t), never reset, the same in every stream.
    sums = np.cumsum(2 * 0.99 ** np.arange(6))
    extra = agent.paid - agent.history.rollout().reward - agent.bootstrap
    torch.testing.assert_close(extra, torch.full((6, N), float(3 * 2 / np.std(sums))), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cls", [PPO, A2C])
def test_a_coefficient_of_zero_is_bit_identical_to_no_bonus(build, cls):
    plain = build(cls)
    zero = build(cls, bonuses=(Constant(coefficient=0.0), Novelty()))
    zero.bonuses["novelty"].coefficient = 0.0
    for agent in (plain, zero):
        agent.learn(3 * 6 * N)
    assert torch.equal(weights(plain), weights(zero))
    assert float(zero.bonuses["constant"].weight.detach()) != 0


def test_a_bonus_changes_the_weights(build):
    plain, paid = build(), build(bonuses=(Novelty(),))
    for agent in (plain, paid):
        agent.learn(2 * 6 * N)
    assert not torch.equal(weights(plain), weights(paid))


@pytest.mark.parametrize("factor", [2.0**-20, 1024.0])
def test_the_unit_of_a_bonus_cancels(build, factor):
    plain, scaled = build(bonuses=(Novelty(),)), build(bonuses=(Novelty(),))
    score = scaled.bonuses["novelty"].score
    scaled.bonuses["novelty"].score = lambda batch: score(batch) * factor  # a power of two: no rounding
    for agent in (plain, scaled):
        agent.learn(3 * 6 * N)
    assert torch.equal(weights(plain), weights(scaled))


def test_a_second_bonus_does_not_shift_the_draws_of_the_first(build):
    alone, accompanied = build(bonuses=(Constant(coefficient=0.0),)), build(bonuses=(Skilled(0, 0.0), Constant(1, 0.0)))
    for agent in (alone, accompanied):
        agent.train = lambda agent=agent: agent.bonuses["constant"].update(
            agent._rollout, agent.streams["bonus/constant"]
        )
        agent.learn(6 * N)
    assert len({float(agent.bonuses["constant"].weight.detach()) for agent in (alone, accompanied)}) == 1


def test_without_the_worlds_reward_the_bonus_is_all_that_is_paid(build):
    agent = build(config={**PLAIN, "extrinsic": 0.0, "timeout_is_terminal": True}, bonuses=(Novelty(),))
    agent.bonus_scales = {"novelty": Unit()}
    agent.train = lambda: None
    agent.learn(6 * N)
    steps = agent.history.rollout()
    assert steps.reward.abs().sum() > 0
    red = steps.next_obs["image"][:, :, 0].float().mean((-1, -2)) / 255
    torch.testing.assert_close(agent.paid, red)


@pytest.mark.parametrize("episodic", [False, True])
def test_bonuses_under_their_own_head(build, episodic):
    config = {**PLAIN, "gamma": 0.5, "gae_lambda": 1.0}
    own = {"bonus_head": True, "bonus_gamma": 0.25, "bonus_episodic": episodic}
    plain, paid = build(config=config), build(config={**config, **own}, bonuses=(Constant(2.0),))
    paid.bonus_scales = {"constant": Unit()}
    for agent in (plain, paid):
        agent.train = lambda: None
        agent.learn(6 * N)
    # The world's stream is as without the bonus; the head draws its weights after the others.
    assert torch.equal(paid.values, plain.values)
    assert torch.equal(paid.returns, plain.returns)
    done, values = paid.history.rollout().done, paid.bonus_values
    assert values.abs().min() > 0
    assert values.shape == (7, N)
    expected = torch.zeros(6, N)
    for i in range(N):
        later = float(values[6, i])
        for t in range(5, -1, -1):
            # 2 now and a quarter of what follows, which the end of an episode cuts off in the episodic case alone
            later = 2.0 + 0.25 * later * (not (episodic and done[t, i]))
            expected[t, i] = later
    torch.testing.assert_close(paid.bonus_returns, expected)
    torch.testing.assert_close(paid.advantages, plain.advantages + expected - values[:-1])


def test_the_head_of_the_bonuses_learns_their_returns(build):
    agent = build(config={"bonus_head": True, "learning_rate": 0.01, "extrinsic": 0.0}, bonuses=(Novelty(),))
    errors = []
    for _ in range(12):
        agent.learn(6 * N, reset_num_timesteps=False)
        errors.append(agent.metrics["loss/bonus_value"])
    assert sum(errors[-3:]) < 0.3 * sum(errors[:3])


def test_the_error_of_the_bonuses_own_values_is_part_of_the_loss(build):
    """Weight 1/2 of the mean of (V - R)^2 / 2: the head's bias gets the mean of V - R, halved."""
    agent = build(config={"bonus_head": True, "value_clip": None, "value_coef": 0.5}, bonuses=(Novelty(),))
    agent.train = lambda: None
    agent.learn(6 * N)
    names = [name for name, parameter in agent.policy.named_parameters() if parameter.requires_grad]
    gradient = dict(zip(names, rl_gradient(agent, torch.arange(6 * N)), strict=True))
    error = (agent.bonus_values[:-1] - agent.bonus_returns).mean()
    assert abs(error) > 0.1
    torch.testing.assert_close(gradient["bonus_net.bias"], 0.5 * error.view(1))


def test_a_head_without_bonuses_is_bit_identical_to_none(build):
    plain, headed = build(), build(config={"bonus_head": True})
    for agent in (plain, headed):
        agent.learn(2 * 6 * N)
    assert torch.equal(weights(plain), weights(headed))


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_a_skill_lasts_an_episode_and_is_seen_by_the_policy(build, mode):
    agent = build(config={**PLAIN, "extrinsic": 0.0}, mode=mode, bonuses=(Skilled(),))
    agent.bonus_scales = {"skilled": Unit()}
    agent.train = lambda: None
    found = []
    for _ in range(8):
        agent.learn(6 * N, reset_num_timesteps=False)
        found.append((agent._rollout.first.clone(), agent.contexts.clone(), agent.paid - agent.bootstrap))
    first, contexts, paid = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert set(map(tuple, contexts.view(-1, 3).tolist())) == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    same = (contexts[1:] == contexts[:-1]).all(2)
    assert same[~first[1:]].all()
    assert 0.1 < float(same[first[1:]].float().mean()) < 0.7  # a third by chance
    torch.testing.assert_close(paid, contexts.argmax(2).float())
    features = torch.ones(1, 6).expand(3, -1)
    assert torch.unique(agent.policy.heads(features, torch.eye(3))[1]).numel() == 3
    # What was done is what the kept skill made likely: the stored log-probability is the update's own at the start.
    agent.config = type(agent.config)(**{**SMALL, "epochs": 1, "minibatches": 1, "value_clip": None})
    ratios = Means()
    rl_gradient(agent, torch.arange(6 * N), ratios)
    assert abs(ratios.values()["train/approx_kl"]) < 1e-6


def test_a_skill_goes_with_a_carried_state_in_the_update_too(build):
    """At the start of an update the policy is the one that acted: no step's probability has changed."""
    agent = build(kind="averaging", config=PLAIN, bonuses=(Skilled(),))
    agent.train = lambda: None
    agent.learn(6 * N)
    ratios = Means()
    rl_gradient(agent, torch.arange(6 * N), ratios)
    assert agent.states[0][1:].abs().max() > 0.1
    assert abs(ratios.values()["train/approx_kl"]) < 1e-6


def test_a_skill_lasts_an_episode_where_the_policy_is_played(build, world):
    agent = build(bonuses=(Skilled(),))
    state, start, seen = None, np.ones(2, dtype=bool), []
    obs = world(2).reset()
    for t in range(6):
        if t == 4:
            start = np.array([True, False])
        _, state = agent.predict(obs, state, start)
        seen.append(state[-1].argmax(1))
        start = np.zeros(2, dtype=bool)
    seen = np.array(seen)
    assert (seen[:4] == seen[0]).all()
    assert (seen[4:, 1] == seen[0, 1]).all()
    assert len({tuple(agent.predict(obs)[1][-1].argmax(1)) for _ in range(30)}) > 4  # of 9 pairs


def test_a_state_pays_once_an_episode_where_that_is_wanted(build):
    agent = build(config={**PLAIN, "bonus_once": True}, bonuses=(Constant(2.0), Skilled(1.0)))
    agent.bonus_scales = {"constant": Unit(), "skilled": Unit()}
    expected = lambda fresh: 2.0 * fresh + agent.contexts.argmax(2)  # noqa: E731  a skill's reward is left alone
    agent.visits.forward = lambda steps: torch.arange(6 * N).view(6, N) % 3 == 1
    agent.train = lambda: None
    agent.learn(6 * N)
    extra = agent.paid - agent._rollout.reward - agent.bootstrap
    torch.testing.assert_close(extra, expected(torch.arange(6 * N).view(6, N) % 3 == 1))


def test_visits_of_one_rollout_are_known_in_the_next(build):
    agent = build(config={"bonus_once": True}, bonuses=(Constant(),))
    seen = []
    agent.visits.forward = lambda steps: (seen.append(("asked", steps.reward.clone())), torch.ones(6, N))[1]
    agent.visits.remember = lambda steps: seen.append(("told", steps.reward.clone()))
    agent.learn(2 * 6 * N)
    assert [kind for kind, _ in seen] == ["asked", "told"] * 2
    assert torch.equal(seen[0][1], seen[1][1])
    assert torch.equal(seen[2][1], seen[3][1])
    assert not torch.equal(seen[0][1], seen[2][1])


def test_the_first_reward_is_dated(build):
    agent = build()
    agent.train = lambda: None
    agent.learn(6 * N)
    rewards = [agent._rollout.reward]
    agent.learn(6 * N, reset_num_timesteps=False)
    paying = (torch.cat([*rewards, agent._rollout.reward]) > 0).any(1)
    assert paying.any()
    assert agent.first_reward == (int(paying.int().argmax()) + 1) * N


def test_truncation_bootstraps_from_the_true_last_frame(build):
    agent = build(config={**PLAIN, "gamma": 0.5})
    agent.train = lambda: None
    agent.learn(6 * N)
    steps = agent.history.rollout()
    values = agent.policy.heads(agent.policy.encode({"image": steps.next_obs["image"].flatten(0, 1)})[0])[1]
    expected = 0.5 * values.detach().view(6, N) * steps.truncated
    torch.testing.assert_close(agent.bootstrap, expected)
    assert int(steps.truncated.sum()) == 1  # i + e odd: env 1 alone within 6 steps
    assert agent.bootstrap.abs().max() > 1e-4
    off = build(config={**PLAIN, "gamma": 0.5, "timeout_is_terminal": True})
    off.train = lambda: None
    off.learn(6 * N)
    assert not off.bootstrap.any()
    torch.testing.assert_close((agent.paid - off.paid), agent.bootstrap)


def test_a_last_frame_that_is_the_previous_one_is_not_valid(build, world):
    class Forgetful(VecEnvWrapper):
        def reset(self):
            self.shown = self.venv.reset()
            return self.shown

        def step_wait(self):
            obs, rewards, dones, infos = self.venv.step_wait()
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = self.shown[i]
                infos[i]["terminal_observation_is_previous"] = True
            self.shown = obs
            return obs, rewards, dones, infos

    agent = build(env=Forgetful(world(N)))
    agent.learn(6 * N)
    steps = agent.history.rollout()
    assert torch.equal(steps.next_valid, ~steps.done)
    assert torch.equal(steps.next_obs["image"][2, 0], steps.obs["image"][2, 0])


def test_rewards_are_normalised_step_by_step(build, world):
    agent = build(env=world(N, num_actions=2), config={"normalise_reward": True, "n_steps": 24})
    agent.train = lambda: None
    agent.learn(24 * N)
    steps = agent.history.rollout()
    running, mean, variance, count = np.zeros(N), 0.0, 1.0, 1e-4
    for t in range(24):
        running = 0.99 * running + steps.reward[t].numpy()
        delta, total = running.mean() - mean, count + N
        variance = (variance * count + running.var() * N + delta**2 * count * N / total) / total
        mean, count = mean + delta * N / total, total
        expected = np.clip(steps.reward[t].numpy() / np.sqrt(variance + 1e-8), -10, 10)
        np.testing.assert_allclose(agent.paid[t].numpy(), expected, rtol=1e-5)
        running[steps.done[t].numpy()] = 0
