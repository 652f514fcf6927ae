"""Pixel error: the squared error by hand in each kind of world, and the television that pays for ever."""

from __future__ import annotations

import pytest
import torch

from intrinsic import BONUSES
from intrinsic.base import Transitions
from intrinsic.normalise import DiscountedReturnStd
from intrinsic.pixel_error import PixelError, PixelErrorConfig
from tests.intrinsic.tools import build, make_steps, random_obs, spec


def batch_of(now, following, action=None):
    count = len(now)
    action = torch.zeros(count, dtype=torch.int64) if action is None else action
    return Transitions(now=now, action=action, next=following, place=torch.arange(count))


def still(bonus, change=0.0):
    """Predicts that every number changes by ``change``."""
    last = bonus.decoder.body[4] if bonus.in_pixels else bonus.decoder[2]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(change)
    return bonus


def test_pixels_by_hand():
    bonus = still(build(PixelError, spec(), width=8), 0.1)
    now = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    following = now.clone()
    following[1, 0, 2, 3] = 255
    # 60 numbers: each 0.1 off, but one, 0.1 - 1: (59 * 0.01 + 0.81)/60
    expected = [0.01, (59 * 0.01 + 0.81) / 60]
    assert bonus.score(batch_of(now, following)).tolist() == pytest.approx(expected)


def test_frames_are_averaged_down_to_the_side():
    bonus = still(build(PixelError, spec(), width=8, side=2))  # 4x5 -> 2x2
    now = torch.zeros(1, 3, 4, 5, dtype=torch.uint8)
    following = now.clone()
    following[0, 1, 0, 0] = 255
    # one cell of 2 rows by 3 columns (the middle column is in both) is 1/6: (1/6)^2 over 12 numbers
    assert float(bonus.score(batch_of(now, following)).detach()) == pytest.approx(1 / 36 / 12)
    full = build(PixelError, spec("pixels"), width=8, side=32)
    assert full.numbers(torch.zeros(2, 3, 36, 40, dtype=torch.uint8)).shape == (2, 3 * 32 * 32)


def test_symbols_are_told_right_or_wrong_and_features_as_they_are():
    bonus = still(build(PixelError, spec("symbols"), width=8))
    now = random_obs(1, 3, "symbols")[0] % 5
    following = now.clone()
    following[1, 0, 0, 0] += 1  # one code another: two of 3 * 16 * 49 numbers are 1 off, however near the codes
    following[2, 2, 3, 3] += 5
    assert bonus.score(batch_of(now, following)).tolist() == pytest.approx([0, 2 / 2352, 2 / 2352])
    bonus = still(build(PixelError, spec("features"), on="features", width=8), 1.0)
    now, following = torch.zeros(1, 6), torch.tensor([[3.0, 1, 1, 1, 1, -1]])
    assert float(bonus.score(batch_of(now, following)).detach()) == pytest.approx((4 + 4) / 6)


@pytest.mark.parametrize("kind", ["pixels", "symbols", "features"])
def test_the_change_is_told_from_this_observation_and_the_action_alone(kind):
    bonus = build(PixelError, spec(kind), on="auto", width=8)
    now, following, action = random_obs(1, 5, kind)[0], random_obs(1, 5, kind, 1)[0], torch.tensor([3, 0, 1, 1, 2])
    change = bonus.decoder(torch.cat([bonus.encoder(now), torch.eye(4)[action]], 1)).flatten(1)
    expected = ((bonus.numbers(now) + change - bonus.numbers(following)) ** 2).mean(1)
    assert torch.allclose(bonus.score(batch_of(now, following, action)), expected, rtol=1e-5)


def test_an_exact_forward_model_gives_exactly_nothing():
    bonus = still(build(PixelError, spec("pixels"), width=8))
    seen = random_obs(1, 5, "pixels")[0]
    assert torch.equal(bonus.score(batch_of(seen, seen)), torch.zeros(5))


def test_the_action_tells_what_follows():
    bonus = build(PixelError, spec("features"), on="features", width=16, learning_rate=1e-2)
    now, action = torch.ones(8, 6), torch.arange(8) % 4
    batch = batch_of(now, now + action.unsqueeze(1), action)
    for _ in range(200):
        bonus.learn(batch, torch.Generator())
    # without the action the best guess of 0, 1, 2, 3 is their mean, and the error their variance, 1.25
    assert float(bonus.score(batch).detach().mean()) < 1.25 / 100


def television(size, seed):
    """Features that stay as they are, but at action 1 the first two are drawn anew, standard normal."""
    draws = torch.Generator().manual_seed(seed)
    now, action = torch.randn(size, 6, generator=draws), torch.arange(size) % 2
    following = now.clone()
    following[1::2, :2] = torch.randn(size // 2, 2, generator=draws)
    return batch_of(now, following, action)


def test_a_television_goes_on_paying():
    bonus = build(PixelError, spec("features"), on="features", width=32, learning_rate=3e-3)
    for step in range(500):
        bonus.learn(television(64, step), torch.Generator())
    paid = bonus.score(television(2000, 9999)).detach()
    noise, rule = float(paid[1::2].mean()), float(paid[::2].mean())
    # two of six numbers of variance 1: no model gets below 1/3
    assert noise == pytest.approx(1 / 3, rel=0.15)
    assert rule < noise / 10


def test_scaled_it_has_a_deviation_of_about_one():
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


def test_name_and_bad_settings():
    assert BONUSES.resolve("pixel_error") is PixelError
    with pytest.raises(ValueError, match="side=0"):
        PixelErrorConfig(side=0)
    with pytest.raises(ValueError, match="width=0"):
        PixelErrorConfig(width=0)
    with pytest.raises(ValueError, match="batch=0"):
        PixelErrorConfig(batch=0)
