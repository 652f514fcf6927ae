"""Inputs of a bonus: the newest frame of a stack, and what becomes of pixels, codes and features."""

from __future__ import annotations

import pytest
import torch

from envs.registry import UsageError
from intrinsic.inputs import BonusInput
from tests.intrinsic.tools import feature_spec, image_spec, spec


@pytest.mark.parametrize(("channels", "frames"), [(1, 4), (3, 2), (6, 1), (1, 1)])
def test_the_newest_of_the_stacked_frames_is_selected(channels, frames):
    inputs = BonusInput(image_spec(channels * frames, 4, 5, frames=frames))
    image = torch.randint(256, (5, 3, channels * frames, 4, 5), generator=torch.Generator().manual_seed(0))
    newest = image[:, :, -channels:].reshape(15, channels, 4, 5)
    assert inputs.shape == (channels, 4, 5)
    assert torch.equal(inputs.select({"image": image.to(torch.uint8)}), newest.to(torch.uint8))


def test_pixels_become_fractions_codes_one_hot_and_features_stay():
    pixels = BonusInput(image_spec(1, 1, 2))
    assert pixels.to_float(torch.tensor([[[[0, 51]]]], dtype=torch.uint8)).flatten().tolist() == pytest.approx([0, 0.2])
    symbols = BonusInput(spec("symbols"))
    codes = torch.full((1, 3, 7, 7), 4, dtype=torch.uint8)
    assert symbols.float_shape == (48, 7, 7)
    assert symbols.to_float(codes).sum() == 3 * 7 * 7
    features = torch.tensor([[1.5, -2.0]])
    assert torch.equal(BonusInput(feature_spec(2), "auto").to_float(features), features)


def test_missing_inputs_are_refused_with_a_cure():
    with pytest.raises(UsageError, match=r"features.*image.*--mode frozen"):
        BonusInput(spec(), "features")
    with pytest.raises(UsageError, match=r"image.*features.*on=features"):
        BonusInput(feature_spec(2))
    with pytest.raises(UsageError, match="on='sound'"):
        BonusInput(spec(), "sound")
    assert BonusInput(spec("tiny", "features"), "auto").key == "features"
    assert BonusInput(spec("tiny"), "auto").key == "image"
