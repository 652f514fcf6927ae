"""Pixel error: the squared error by hand for each kind of input, and a noisy television rewarded for ever."""

from __future__ import annotations

import pytest
import torch

from intrinsic.base import Transitions
from intrinsic.normalise import DiscountedReturnStd
from intrinsic.pixel_error import PixelError
from tests.intrinsic.tools import build, make_steps, random_obs, spec


def batch_of(obs, next_obs, action=None):
    count = len(obs)
    action = torch.zeros(count, dtype=torch.int64) if action is None else action
    return Transitions(obs=obs, action=action, next_obs=next_obs, index=torch.arange(count))


def still(bonus, change=0.0):
    """Predicts that every number changes by ``change``."""
    last = bonus.decoder.body[4] if bonus.inputs.is_pixels else bonus.decoder[2]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(change)
    return bonus


def test_pixels_by_hand():
    bonus = still(build(PixelError, spec(), width=8), 0.1)
    obs = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    next_obs = obs.clone()
    next_obs[1, 0, 2, 3] = 255
    # 60 numbers: each 0.1 off, but one, 0.1 - 1: (59 * 0.01 + 0.81)/60
    expected = [0.01, (59 * 0.01 + 0.81) / 60]
    assert bonus.score(batch_of(obs, next_obs)).tolist() == pytest.approx(expected)


def test_frames_are_averaged_down_to_the_side():
    bonus = still(build(PixelError, spec(), width=8, side=2))  # 4x5 -> 2x2
    obs = torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
    next_obs = obs.clone()
    next_obs[0, 1, 0, 0] = 255
    # one cell of 2 rows by 3 columns (the middle column is in both) is 1/6: (1/6)^2 over 12 numbers
    assert float(bonus.score(batch_of(obs, next_obs)).detach()) == pytest.approx(1 / 36 / 12)
    full = build(PixelError, spec("pixels"), width=8, side=32)
    assert full.numbers(torch.zeros(2, 3, 36, 40, dtype=torch.uint8)).shape == (2, 3 * 32 * 32)


def test_symbols_are_compared_one_hot_and_features_as_they_are():
    bonus = still(build(PixelError, spec("symbols"), width=8))
    obs = random_obs(1, 3, "symbols")[0] % 5
    next_obs = obs.clone()
    next_obs[1, 0, 0, 0] += 1  # one code another: two of 3 * 16 * 49 numbers are 1 off, however near the codes
    next_obs[2, 2, 3, 3] += 5
    assert bonus.score(batch_of(obs, next_obs)).tolist() == pytest.approx([0, 2 / 2352, 2 / 2352])
    bonus = still(build(PixelError, spec("features"), on="features", width=8), 1.0)
    obs, next_obs = torch.zeros(1, 6), torch.tensor([[3.0, 1, 1, 1, 1, -1]])
    assert float(bonus.score(batch_of(obs, next_obs)).detach()) == pytest.approx((4 + 4) / 6)


@pytest.mark.parametrize("kind", ["pixels", "symbols", "features"])
def test_the_change_is_predicted_from_observation_and_action(kind):
    bonus = build(PixelError, spec(kind), on="auto", width=8)
    obs, next_obs, action = random_obs(1, 5, kind)[0], random_obs(1, 5, kind, 1)[0], torch.tensor([3, 0, 1, 1, 2])
    change = bonus.decoder(torch.cat([bonus.encoder(obs), torch.eye(4)[action]], 1)).flatten(1)
    expected = ((bonus.numbers(obs) + change - bonus.numbers(next_obs)) ** 2).mean(1)
    assert torch.allclose(bonus.score(batch_of(obs, next_obs, action)), expected, rtol=1e-5)


def test_an_exact_forward_model_gives_exactly_0():
    bonus = still(build(PixelError, spec("pixels"), width=8))
    obs = random_obs(1, 5, "pixels")[0]
    assert torch.equal(bonus.score(batch_of(obs, obs)), torch.zeros(5))


def test_the_action_lowers_the_error():
    bonus = build(PixelError, spec("features"), on="features", width=16, learning_rate=1e-2)
    obs, action = torch.ones(8, 6), torch.arange(8) % 4
    batch = batch_of(obs, obs + action.unsqueeze(1), action)
    for _ in range(200):
        bonus.learn(batch, torch.Generator())
    # without the action the best guess of 0, 1, 2, 3 is their mean, and the error their variance, 1.25
    assert float(bonus.score(batch).detach().mean()) < 1.25 / 100


def television(size, seed):
    """Features that stay as they are, but at action 1 the first two are drawn anew, standard normal."""
    draws = torch.Generator().manual_seed(seed)
    obs, action = torch.randn(size, 6, generator=draws), torch.arange(size) % 2
    next_obs = obs.clone()
    next_obs[1::2, :2] = torch.randn(size // 2, 2, generator=draws)
    return batch_of(obs, next_obs, action)


def test_a_noisy_television_is_rewarded_for_ever():
    bonus = build(PixelError, spec("features"), on="features", width=32, learning_rate=3e-3)
    for step in range(500):
        bonus.learn(television(64, step), torch.Generator())
    values = bonus.score(television(2000, 9999)).detach()
    noise, rule = float(values[1::2].mean()), float(values[::2].mean())
    # two of six numbers of variance 1: no model gets below 1/3
    assert noise == pytest.approx(1 / 3, rel=0.15)
    assert rule < noise / 10


def test_the_scaled_bonus_has_a_discounted_std_of_about_1():
    bonus = build(PixelError, spec(), width=8)
    scale, scaled = DiscountedReturnStd(3), []
    for seed in range(8):
        raw = bonus.compute(make_steps(random_obs(5, 3, seed=2 * seed), random_obs(5, 3, seed=2 * seed + 1)))
        scale.update(raw)
        scaled.append(raw)
    sums, running = [], torch.zeros(3)
    for row in torch.cat(scaled) / scale.std:
        running = 0.99 * running + row
        sums.append(running)
    assert float(torch.stack(sums).std()) == pytest.approx(1, abs=0.05)
