"""Augmentations: shifts and colours by hand, one draw for all frames of a stack, everything from the generator."""

from __future__ import annotations

import pytest
import torch

from envs.registry import UsageError
from representations.augment import AUGMENTATIONS, JITTER, augment, colour, crop, cutout, recolour, shift


def images(B: int = 5, C: int = 6, H: int = 12, W: int = 20) -> torch.Tensor:
    whole = torch.randint(0, 256, (B, H, W, C), dtype=torch.uint8)
    return whole.permute(0, 3, 1, 2)


def test_a_shift_by_hand():
    image = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4).repeat(2, 1, 1, 1)
    found = shift(image, torch.tensor([1, -1]), torch.tensor([0, 2]))
    # rows 0 1 2 become 1 2 2; rows 0 0 1 and columns 2 3 3 3
    assert found[0, 0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]]
    assert found[1, 0].tolist() == [[2, 3, 3, 3], [2, 3, 3, 3], [6, 7, 7, 7]]


def test_a_crop_shifts_each_image_within_the_padding(generator):
    one = torch.zeros(1, 1, 21, 21, dtype=torch.uint8)
    one[0, 0, 10, 10] = 255
    found = crop(one.repeat(2000, 1, 1, 1), generator, pad=3)
    places = found.flatten(1).argmax(1)
    rows, columns = places // 21 - 10, places % 21 - 10
    for moved in (rows, columns):
        assert set(moved.tolist()) == set(range(-3, 4))
        # 7 places, 286 of 2000 each, standard deviation 16
        assert torch.bincount(moved + 3).min() > 220
    assert abs(float(torch.corrcoef(torch.stack([rows, columns]).float())[0, 1])) < 0.1


def test_frames_of_a_stack_move_and_change_colour_together(generator):
    frame = images(4, 3)
    stack = torch.cat([frame, frame], 1).contiguous(memory_format=torch.channels_last)
    for name in AUGMENTATIONS:
        found = augment(stack, (name,), 4, 3, generator)
        assert torch.equal(found[:, :3], found[:, 3:]), name
        assert not torch.equal(found, stack), name


def test_recolouring_by_hand():
    # two pixels, (30, 60, 90) and (90, 90, 90): mean over the image 75, greys 60 and 90
    image = torch.tensor([[30, 90], [60, 90], [90, 90]], dtype=torch.uint8).view(1, 3, 1, 2)
    one = torch.ones(1)
    same = recolour(image, one, one, one, torch.ones(1, 3))
    assert torch.equal(same, image)
    assert recolour(image, 2 * one, one, one, torch.ones(1, 3)).flatten().tolist() == [60, 180, 120, 180, 180, 180]
    # contrast 0.5: half way to 75: 52.5, 67.5, 82.5 and 82.5, rounded half up
    assert recolour(image, one, 0.5 * one, one, torch.ones(1, 3)).flatten().tolist() == [53, 83, 68, 83, 83, 83]
    # saturation 0: the grey of each pixel
    assert recolour(image, one, one, 0 * one, torch.ones(1, 3)).flatten().tolist() == [60, 90, 60, 90, 60, 90]
    gain = torch.tensor([[1.0, 0.5, 4.0]])  # 255 is the end
    assert recolour(image, one, one, one, gain).flatten().tolist() == [30, 90, 30, 45, 255, 255]


def test_colours_stay_within_the_jitter(generator):
    grey = torch.full((3000, 1, 4, 4), 100, dtype=torch.uint8)
    found = colour(grey, generator, channels=1)[:, 0, 0, 0].float()
    # brightness * (100 + contrast * saturation * (gain * 100 - 100)): gain 0.6 or 1.4, the factors at their ends
    low, high = 100 * (1 - JITTER) * (1 - 1.4 * 1.4 * 0.4), 100 * (1 + JITTER) * (1 + 1.4 * 1.4 * 0.4)
    assert low - 1 <= float(found.min()) < 50
    assert 170 < float(found.max()) <= high + 1
    assert float(found.mean()) == pytest.approx(100, abs=3)


def test_a_cut_box_has_one_colour_and_its_sides_are_in_bounds(generator):
    whole = torch.zeros(400, 3, 64, 64, dtype=torch.uint8)
    found = cutout(whole, generator)
    for image in found:
        changed = (image != 0).any(0)
        if not changed.any():  # painted black
            continue
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert 7 <= height <= 21
        assert 7 <= width <= 21
        assert int(changed.sum()) == height * width
        assert image[:, changed].unique(dim=1).shape[1] == 1


def test_the_generator_gives_all_draws_and_memory_is_channels_last():
    image = images()
    for name in AUGMENTATIONS:
        first = augment(image, (name,), 3, 3, torch.Generator().manual_seed(7))
        again = augment(image, (name,), 3, 3, torch.Generator().manual_seed(7))
        other = augment(image, (name,), 3, 3, torch.Generator().manual_seed(8))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.dtype == torch.uint8
        assert first.is_contiguous(memory_format=torch.channels_last)
    both = augment(image, ("crop", "colour"), 3, 3, torch.Generator().manual_seed(7))
    draws = torch.Generator().manual_seed(7)
    assert torch.equal(both, colour(crop(image, draws, 3), draws))


def test_an_unknown_name_is_refused(generator):
    with pytest.raises(UsageError, match="unknown augmentation 'flip'; known: crop, colour, cutout"):
        augment(images(), ("flip",), 3, 3, generator)
