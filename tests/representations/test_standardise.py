"""One scale for all features: NumPy's moments, a lower bound, whole windows, equally many frames of each world."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from envs.steps import Steps
from envs.tasks import World
from representations import standardise as module
from representations.base import Representation
from representations.collect import FIRST, collect
from representations.monet import Monet, MonetConfig
from representations.random import Random
from representations.standardise import FRAMES, Standardised, find_standardised, standardise
from representations.wrappers import AppendVectors, FeatureStack
from tests.representations.toys import image_spec, with_vector

SPEC = image_spec((3, 4, 5))
COUNTING = World("counting", {"num_levels": 3})


class Pixels(Representation):
    """Three features: the first pixel, -2 times it, and a hundredth of the second."""

    features_dim = 3
    has_loss = True

    def encode(self, obs, state=(), first=None):
        pixel = obs["image"][:, 0, 0, :2].float()
        return torch.stack([pixel[:, 0], -2 * pixel[:, 0], 0.01 * pixel[:, 1]], 1), state

    def loss(self, steps, heads, generator):
        features, _ = self.encode({"image": steps.obs["image"][0]})
        logits, value = heads(features, steps.obs)
        return logits.sum() + value.sum(), {}


class Summing(Representation):
    """One feature that adds up the first pixels of an episode."""

    features_dim = 1
    window = 3

    def initial_state(self, batch):
        return (torch.zeros(batch, 1),)

    def encode(self, obs, state=(), first=None):
        carried = torch.where(first[:, None], 0.0, state[0]) + obs["image"][:, 0, 0, :1].float()
        return carried, (carried,)


def images(*values):
    """Frames 3x4x5 whose first two pixels are the given pairs."""
    frames = torch.zeros(len(values), 3, 4, 5, dtype=torch.uint8)
    frames[:, 0, 0, :2] = torch.tensor(values, dtype=torch.uint8)
    return frames


def test_centre_and_divisor_by_hand():
    # pixel 1: 10, 20, 30, 40: mean 25, variance 125. Features 1, 2: std sqrt(125) and 2 sqrt(125).
    # pixel 2: 1, 3, 3, 1: mean 2, std 1, times 0.01: std 0.01
    # floor = 0.1 sqrt((125 + 500 + 0.0001) / 3) = 0.1 * 14.434 = 1.4434, above the third's 0.01
    wrapper = Standardised(Pixels(SPEC))
    metrics = standardise(wrapper, {"image": images((10, 1), (20, 3), (30, 3), (40, 1))})
    std = 125**0.5
    np.testing.assert_allclose(wrapper.centre, [25, -50, 0.02], rtol=1e-6)
    np.testing.assert_allclose(wrapper.divisor, [std, 2 * std, 1.44338], rtol=1e-5)
    assert (metrics["standardise/frames"], metrics["standardise/floored"]) == (4, 1)
    assert metrics["standardise/feature_std"] == pytest.approx((3 * std + 0.01) / 3, rel=1e-5)
    assert metrics["standardise/feature_size"] == pytest.approx((5 * 750 / 3 + 5e-4 / 3) ** 0.5, rel=1e-5)
    assert metrics["standardise/effective_rank"] == pytest.approx(1.008, abs=0.01)
    features, state = wrapper.encode({"image": images((40, 3))})
    np.testing.assert_allclose(features, [[15 / std, -15 / std, 0.01 / 1.44338]], rtol=1e-4)
    assert state == ()


def test_random_features_get_numpy_s_moments_over_the_first_frames():
    frames = collect((COUNTING,), FRAMES + 904, seed=3)
    torch.manual_seed(0)
    method = Random(image_spec((3, 64, 64)))
    with torch.no_grad():
        features = torch.cat([method.encode({"image": part})[0] for part in frames["image"][:FRAMES].split(500)])
    before = {key: value.clone() for key, value in method.state_dict().items()}
    wrapper = Standardised(method)
    assert standardise(wrapper, frames)["standardise/frames"] == FRAMES
    std = features.numpy().astype(np.float64).std(0)
    np.testing.assert_allclose(wrapper.centre, features.numpy().mean(0, dtype=np.float64), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(wrapper.divisor, np.maximum(std, 0.1 * np.sqrt((std**2).mean())), rtol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    # those a method without pre-training collects for this alone are the same
    assert torch.equal(collect((COUNTING,), FRAMES, seed=3)["image"], frames["image"][:FRAMES])


def test_a_window_is_run_through_with_its_state(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 2)
    # windows 1, 2, 3 -> sums 1, 3, 6; 4, 5 | 6 -> 4, 9, 6 (an episode opens at the third); 7, 7, 7 -> 7, 14, 21
    windows = torch.stack([images((1, 0), (2, 0), (3, 0)), images((4, 0), (5, 0), (6, 0)), images(*[(7, 0)] * 3)])
    opens = torch.tensor([[False, False, False], [False, False, True], [True, False, False]])
    wrapper = Standardised(Summing(SPEC))
    metrics = standardise(wrapper, {"image": windows, FIRST: opens})
    sums = np.array([1, 3, 6, 4, 9, 6, 7, 14, 21])
    assert metrics["standardise/frames"] == 9
    assert float(wrapper.centre) == pytest.approx(sums.mean())
    assert float(wrapper.divisor) == pytest.approx(sums.std())


def test_of_views_the_policy_s_own_is_taken(monkeypatch):
    monkeypatch.setattr(Pixels, "views", True)
    monkeypatch.setattr(Pixels, "window", 2)
    views = torch.stack([images((10, 1), (99, 9)), images((30, 3), (88, 8))])
    wrapper = Standardised(Pixels(SPEC))
    standardise(wrapper, {"image": views, FIRST: torch.zeros(2, 2, dtype=torch.bool)})
    np.testing.assert_allclose(wrapper.centre, [20, -40, 0.02], rtol=1e-6)


def test_without_a_state_no_more_frames_of_a_window_than_needed(monkeypatch):
    monkeypatch.setattr(Pixels, "window", 4)
    windows = torch.stack([images(*[(10 * row + t, 1) for t in range(4)]) for row in range(3)])
    data = {"image": windows, FIRST: torch.zeros(3, 4, dtype=torch.bool)}
    # 3 windows; 3 frames: the first of each. 5: two of each, t = 0 and 2, and as many windows: ceil(5 / 2) = 3.
    # 99: all four of each
    for wanted, taken in (
        (3, [0, 10, 20]),
        (5, [0, 10, 20, 2, 12, 22]),
        (99, [*range(4), *range(10, 14), *range(20, 24)]),
    ):
        monkeypatch.setattr(module, "FRAMES", wanted)
        wrapper = Standardised(Pixels(SPEC))
        assert standardise(wrapper, data)["standardise/frames"] == len(taken)
        assert float(wrapper.centre[0]) == pytest.approx(np.mean(taken))
        assert float(wrapper.divisor[0]) == pytest.approx(np.std(taken))


def test_few_directions_are_warned_of_where_the_scale_is_fitted():
    # 64 frames of one grey each: the third feature varies by a hundredth, so all lie on one line, vectors or not
    spec = with_vector(SPEC, "goal", 2)
    model = AppendVectors(Standardised(Pixels(spec)), ["goal"])
    data = {"image": images(*[(2 * value, 1) for value in range(64)])}
    with pytest.warns(RuntimeWarning, match=r"pixels: features have an effective rank of 1\.0 over 64 frames"):
        standardise(model, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        standardise(model, {"image": data["image"][:63]})  # too few to tell


def test_equally_many_frames_come_from_each_world(monkeypatch):
    monkeypatch.setattr(module, "FRAMES", 4)
    frames = images(*[(value, 1) for value in (10, 20, 99, 99, 50, 60, 99)])  # 7 over two worlds: 3 and 4
    wrapper = Standardised(Pixels(SPEC))
    assert standardise(wrapper, {"image": frames}, worlds=2)["standardise/frames"] == 4
    # 10 and 20 of the first, then 99 and 50, which begin the second
    assert float(wrapper.centre[0]) == pytest.approx((10 + 20 + 99 + 50) / 4)


def test_collapsed_features_are_only_centred():
    wrapper = Standardised(Pixels(SPEC))
    with pytest.warns(RuntimeWarning, match="features have collapsed over 2 frames"):
        standardise(wrapper, {"image": images((10, 1), (10, 1))})
    assert wrapper.divisor.tolist() == [1, 1, 1]
    assert wrapper.encode({"image": images((10, 1))})[0].abs().max() < 1e-6


def test_heads_in_the_method_s_loss_get_scaled_features():
    wrapper = Standardised(Pixels(SPEC))
    wrapper.centre.copy_(torch.tensor([10.0, 0, 0]))
    wrapper.divisor.copy_(torch.tensor([2.0, 1, 1]))
    steps = Steps.frames({"image": images((16, 0))})
    loss, _ = wrapper.loss(steps, lambda features, obs, first: (features[:, :1], features[:, 0]), torch.Generator())
    assert float(loss) == 2 * (16 - 10) / 2


def test_it_sits_inside_stacked_features_and_vectors():
    spec = with_vector(SPEC, "goal", 2)
    model = AppendVectors(FeatureStack(Standardised(Pixels(spec)), 2), ["goal"])
    found = find_standardised(model)
    assert found is not None
    standardise(model, {"image": images((10, 1), (30, 1)), "goal": torch.zeros(2, 2)})
    obs = {"image": images((30, 1)), "goal": torch.tensor([[5.0, -5]])}
    features, _ = model.encode(obs, model.initial_state(1), torch.ones(1, dtype=torch.bool))
    # (30 - 20) / 10 = 1, its negative, 0; twice, as the episode begins; the goal as it is
    assert features.tolist() == [[1, -1, 0, 1, -1, 0, 5, -5]]
    assert find_standardised(FeatureStack(Pixels(SPEC), 2)) is None
    assert standardise(FeatureStack(Pixels(SPEC), 2), {"image": images((1, 1))}) == {}


def test_it_is_saved_and_takes_no_gradient():
    one, other = (Standardised(Pixels(SPEC)) for _ in range(2))
    standardise(one, {"image": images((10, 1), (30, 9))})
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.divisor, one.divisor)
    assert list(one.parameters()) == []


def test_a_neck_reads_as_many_features_as_before():
    config = MonetConfig(slots=2, latents=3, channels=(4, 4), decoder_channels=4, pool="attention")
    neck = FeatureStack(Standardised(Monet(image_spec((3, 8, 8)), config)), 4).neck()
    assert isinstance(neck, nn.Module)
    assert neck.place.shape == (4 * 2, 3)
