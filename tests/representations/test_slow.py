"""Slow features: a slow sine among fast ones, their order, episode ends, and a bar among flickering squares."""

from __future__ import annotations

import math

import pytest
import torch

from representations.collect import FIRST
from representations.pretrain import Pretrainer
from representations.slow import Slow, SlowConfig, slowest
from tests.representations.toys import few_label_read_out, image_spec, toy_windows


def solve(model, frames, seed=0):
    count = 2 * len(frames["image"])
    trainer = Pretrainer(model, frames, count, generator=torch.Generator().manual_seed(seed))
    return trainer.run(1)


def windows_of(signal):
    """Images (n, 2, 1, 2, 4) of mixtures of a signal (n + 1, S), and the marks of no episode's end."""
    mixing = torch.randn(signal.shape[1], 8) * 25
    pixels = (signal @ mixing + 127.5).round().clamp(0, 255).to(torch.uint8).view(-1, 1, 2, 4)
    image = torch.stack([pixels[:-1], pixels[1:]], 1)
    return {"image": image, FIRST: torch.zeros(len(image), 2, dtype=torch.bool)}


def sines(n=3000):
    """Sines of 400, 37 and 11 steps a period, and their slowness 2 - 2 cos(2 pi / period)."""
    t = torch.arange(n + 1.0)
    periods = torch.tensor([400.0, 37, 11])
    return (2 * math.pi * t[:, None] / periods).sin(), 2 - 2 * (2 * math.pi / periods).cos()


def test_a_slow_sine_is_found_among_fast_ones_in_order():
    signal, slowness = sines()
    model = Slow(image_spec((1, 2, 4)), SlowConfig(components=3, features=3))
    frames = windows_of(signal)
    metrics = solve(model, frames)
    with torch.no_grad():
        y = model.encode({"image": frames["image"][:, 0]})[0]
    correlations = torch.corrcoef(torch.cat([y, signal[:-1]], 1).T)[:3, 3:].abs()
    assert float(correlations.diagonal().min()) > 0.99
    torch.testing.assert_close(y.T @ y / len(y), torch.eye(3), atol=0.03, rtol=0)
    assert metrics["pretrain/slow/slowest"] == pytest.approx(float(slowness[0]), abs=0.01)
    assert metrics["pretrain/slow/slowness"] == pytest.approx(float(slowness.mean()), rel=0.05)


def test_two_numbers_by_hand(generator):
    # a goes -1, -1, 1, 1 and stays within each pair; b changes its sign: slowness 0 and 2^2 = 4
    now = torch.tensor([[-1.0, 1], [-1, -1], [1, 1], [1, -1]])
    then = now * torch.tensor([1.0, -1])
    mean, directions, slowness = slowest(now + 5, then + 5, 3, generator)
    torch.testing.assert_close(mean, torch.full((2,), 5.0))
    torch.testing.assert_close(slowness, torch.tensor([0.0, 4]), atol=1e-6, rtol=0)
    torch.testing.assert_close(directions.abs(), torch.tensor([[1.0, 0], [0, 1], [0, 0]]), atol=1e-5, rtol=0)


def test_no_pair_lies_across_the_end_of_an_episode():
    signal, _ = sines(400)
    frames = windows_of(signal)
    broken = {key: value.clone() for key, value in frames.items()}
    broken["image"][::5, 1] = torch.randint(0, 256, (80, 1, 2, 4), dtype=torch.uint8)
    broken[FIRST][::5, 1] = True
    kept = {key: value[~broken[FIRST][:, 1]] for key, value in frames.items()}
    config = SlowConfig(components=3, features=2)
    one, other = (Slow(image_spec((1, 2, 4)), config) for _ in range(2))
    solve(one, broken), solve(other, kept)
    torch.testing.assert_close(one.slow.weight, other.slow.weight)


def test_products_find_a_slow_number_that_no_direction_holds():
    # two fast numbers of equal size whose product of signs, a b, is slow: linear features find it nowhere
    signal, _ = sines()
    a = torch.randint(0, 2, (len(signal),)) * 2.0 - 1
    both = torch.stack([a, a * signal[:, 0]], 1)
    frames = windows_of(both)
    scores = []
    for quadratic in (0, 2):
        config = SlowConfig(components=2, quadratic=quadratic, features=1)
        model = Slow(image_spec((1, 2, 4)), config)
        solve(model, frames)
        with torch.no_grad():
            y = model.encode({"image": frames["image"][:, 0]})[0]
        scores.append(float(torch.corrcoef(torch.stack([y[:, 0], signal[:-1, 0]]))[0, 1].abs()))
    assert float(y.mean()) == pytest.approx(0, abs=0.01)
    assert float(y.var()) == pytest.approx(1, abs=0.02)
    assert scores[0] < 0.2
    assert scores[1] > 0.95


def test_a_bar_among_flickering_squares_is_read_from_few_labels():
    frames, place = toy_windows("flicker", 800, 2)
    model = Slow(image_spec((3, 40, 40)), SlowConfig(components=64, features=16))
    image = frames["image"].flatten(0, 1)
    with torch.no_grad():
        before = few_label_read_out(model.encode({"image": image})[0], place)
        solve(model, frames)
        after = few_label_read_out(model.encode({"image": image})[0], place)
    assert after > before + 0.2


def test_the_policy_s_gradient_reaches_all_directions():
    model = Slow(image_spec((1, 8, 8)), SlowConfig(components=4, quadratic=2, features=3))
    model.encode({"image": torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)})[0].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_patterns_are_shown(generator):
    model = Slow(image_spec((3, 40, 40)))
    assert model.pictures({}, generator)["patterns"].shape == (80, 8 * 40, 3)


@pytest.mark.parametrize("name", ["features", "quadratic"])
def test_more_features_or_factors_than_directions_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}=5: give at most components=4"):
        SlowConfig(**{"components": 4, "features": 1, name: 5})
