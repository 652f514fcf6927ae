"""Motion mask: which cells moved, the loss by hand, what the prediction sees, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.motion_mask import MotionMask, MotionMaskConfig, balanced_loss, moved_cells
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, few_label_read_out, image_spec, toy_windows

SPEC = image_spec((6, 40, 40), frames=2)


def windows(B: int = 3, first: torch.Tensor | None = None) -> Steps:
    """Pairs of random frames, two stacked."""
    draws = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (2, B, 6, 40, 40), dtype=torch.uint8, generator=draws)
    return Steps.windows({"image": image}, torch.zeros(2, B, dtype=torch.bool) if first is None else first)


def test_cells_that_change_more_than_the_frame_moved():
    # changes of four cells of 2x2: 0, 0, 0 and 40: mean 10, deviation 17.3, so the last alone is beyond 27.3
    before, after = torch.zeros(2, 1, 1, 4, 4, dtype=torch.uint8)
    after[:, :, 2:, 2:] = 40
    assert moved_cells(before, after, 2, 1.0).tolist() == [[[False, False], [False, True]]]
    assert torch.equal(moved_cells(after, before, 2, 1.0), moved_cells(before, after, 2, 1.0))
    assert not moved_cells(before, after, 2, 2.0).any()
    # one pixel of a cell by 40 in one of two channels: 5 on average, beyond 1.25 + 2.2
    before, after = torch.zeros(2, 1, 2, 4, 4, dtype=torch.uint8)
    after[0, 1, 0, 1] = 40
    assert moved_cells(before, after, 2, 1.0).tolist() == [[[True, False], [False, False]]]


def test_what_changes_everywhere_alike_did_not_move():
    before = torch.randint(0, 100, (2, 3, 9, 9), dtype=torch.uint8)
    assert moved_cells(before, before + 50, 4, 0.0).shape == (2, 3, 3)  # the last row and column are 1 pixel wide
    assert not moved_cells(before, before + 50, 4, 0.0).any()
    assert not moved_cells(before, before, 4, 0.0).any()


def test_the_loss_by_hand():
    # p = 1/2, 3/4 where the cell moved, 1/5, 1/2, 1/2 and 1/2 where it did not
    logits = torch.tensor([0.0, math.log(3), -math.log(4), 0, 0, 0])
    moved = torch.tensor([True, True, False, False, False, False])
    loss, accuracy = balanced_loss(logits, moved)
    first, second = (math.log(2) + math.log(4 / 3)) / 2, (math.log(5 / 4) + 3 * math.log(2)) / 4
    assert float(loss) == pytest.approx((first + second) / 2, rel=1e-5)
    assert float(accuracy) == (1 / 2 + 1) / 2  # a logit of 0 says no
    assert float(balanced_loss(logits[2:], moved[2:])[0]) == pytest.approx(second, rel=1e-5)
    assert float(balanced_loss(torch.zeros(6), moved)[0]) == pytest.approx(math.log(2))
    assert float(balanced_loss(logits[:0], moved[:0])[0]) == 0


def test_the_target_is_of_the_newest_frames_and_of_pairs_without_a_reset(generator):
    first = torch.zeros(2, 3, dtype=torch.bool)
    first[0, 0] = first[1, 1] = True
    steps = windows(3, first)
    model = MotionMask(SPEC)
    image = steps.obs["image"]
    target = moved_cells(image[0, :, 3:], image[1, :, 3:], 4, 1.0)
    assert torch.equal(model.target(image), target)
    with torch.no_grad():
        logits = model.mask(model.trunk(image[0]))[[0, 2]].flatten()
    expected = balanced_loss(logits, target[[0, 2]].flatten())[0]
    loss, metrics = model.loss(steps, None, generator)
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-4)
    assert float(metrics["moved"]) == pytest.approx(float(target[[0, 2]].float().mean()))
    first[1] = True
    assert float(model.loss(windows(3, first), None, generator)[0].detach()) == 0


def test_the_prediction_sees_the_first_frame_alone(generator):
    model = MotionMask(SPEC)
    steps = windows()
    image = steps.obs["image"].float().div(255).requires_grad_()
    model.target = Fixed(model.target(steps.obs["image"]))
    steps.obs["image"] = image
    model.loss(steps, None, generator)[0].backward()
    assert all(image.grad[0, b].abs().sum() > 0 for b in range(3))
    assert image.grad[1].abs().sum() == 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_what_walks_is_told_from_noise():
    frames, _ = toy_windows("place", 512, 2)
    unseen, place = toy_windows("place", 512, 1, seed=1)
    model = MotionMask(image_spec((3, 40, 40), actions=5), MotionMaskConfig(pairs=48))

    def score() -> float:
        with torch.no_grad():
            return few_label_read_out(model.encode(unseen)[0], place)

    before = score()
    trainer = Pretrainer(model, frames, 96 * 60, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(96 * 10), trainer.run(96 * 50)
    assert late["pretrain/mask/loss"] < early["pretrain/mask/loss"] - 0.02  # log 2 = 0.7 at the start
    assert late["pretrain/mask/accuracy"] > 0.57
    assert score() > before + 0.1


def test_the_picture_shows_frames_above_their_masks(generator):
    model = MotionMask(image_spec((3, 40, 40)), MotionMaskConfig(cell=16))
    torch.nn.init.zeros_(model.mask.weight)
    with torch.no_grad():
        model.mask.bias.copy_(torch.tensor([1.0, -1, -1, -1, -1, -1, -1, -1, 1]) * 50)
    image = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    picture = model.pictures({"image": image}, generator)["masks"]
    assert picture.shape == (80, 80, 3)
    assert (picture[:40, :40] == image[0].permute(1, 2, 0).numpy()).all()
    # cells of 16 pixels, the last of 8: the first and the last are white
    white = torch.zeros(40, 40, dtype=torch.bool)
    white[:16, :16] = white[32:, 32:] = True
    assert ((picture[40:, :40] == 255) == white[:, :, None].numpy()).all()
