"""The constant bonus: 1 everywhere, 1 at first visits with bonus_once, and a scale that stays finite."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from agents.config import Config
from agents.rewards import RewardPipeline
from agents.rollout import RolloutData
from envs.rng_streams import Streams
from intrinsic.constant import Constant
from intrinsic.state_hash import FirstVisits
from tests.intrinsic.tools import build, make_steps, random_obs, spec

T, N = 6, 3


def data():
    zeros = torch.zeros(T, N)
    return RolloutData(zeros, torch.zeros(T + 1, N), None, zeros, None, ())


def pipeline(once):
    bonus = build(Constant, spec("symbols"))
    config = Config(n_steps=T, gamma=0.9, normalise_reward=False)
    return RewardPipeline(config, {"constant": bonus}, N, FirstVisits(spec("symbols")) if once else None)


def test_every_step_earns_1_where_its_successor_is_known():
    bonus = build(Constant, spec("tiny"))
    valid = torch.ones(T, N, dtype=torch.bool)
    valid[2, 1] = False
    steps = make_steps(random_obs(T, N, "tiny"), random_obs(T, N, "tiny", 1), valid=valid)
    assert torch.equal(bonus.compute(steps), valid.float())
    before = bonus.state_dict()
    assert bonus.update(steps, torch.Generator()) == {}
    assert list(before) == list(bonus.parameters()) == []


def test_with_bonus_once_first_visits_earn_1():
    states = random_obs(T, N, "symbols")
    states[1], states[4] = states[0], states[3]  # each stream comes twice to the first and to the fourth state
    steps = make_steps(random_obs(T, N, "symbols", 1), states)
    rewards = pipeline(once=True)
    rewards.compute(steps, data(), T * N)
    assert rewards.metrics["bonus/constant/raw"] == pytest.approx(4 / 6)
    rewards.learn(steps, Streams(0))
    goes_on = replace(steps, first=torch.zeros(T, N, dtype=torch.bool))  # the same episodes, the same states
    rewards.compute(goes_on, data(), 2 * T * N)
    assert rewards.metrics["bonus/constant/raw"] == 0


@pytest.mark.parametrize(("once", "bound"), [(False, 0.35), (True, 0.5)])
def test_the_scaled_bonus_stays_finite_over_a_long_run(once, bound):
    # Without first visits the divisor is about 1/(1-g) sqrt(1 / (2 (1-g)) / steps) = 100 sqrt(50 / 6000) = 9.1 after
    # 1,000 rollouts of 6 steps, and 0.5 / 9.1 = 0.055; largest in the first one, of 1 to 6 with a std of 1.7.
    rewards, largest = pipeline(once), 0.0
    for number in range(1000):
        done = torch.zeros(T, N, dtype=torch.bool)
        done[number % T] = True
        states = random_obs(T, N, "symbols", 1)
        states[2:4] = states[:2]
        steps = make_steps(random_obs(T, N, "symbols"), states, done=done)
        rewards.compute(steps, data(), number * T * N)
        rewards.learn(steps, Streams(0))
        largest = max(largest, rewards.metrics["bonus/constant/scaled"])
    scale = rewards.bonus_scales["constant"].std
    assert 0 < largest < bound
    if not once:
        assert scale == pytest.approx(9.1, rel=0.05)
