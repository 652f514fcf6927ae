"""Time contrast: which frames are near and far, the loss by hand, the gradient, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.pretrain import Pretrainer
from representations.time_contrastive import TimeContrastive, TimeContrastiveConfig, relations, semi_hard
from tests.representations.toys import few_label_read_out, image_spec, toy_windows

SPEC = image_spec((3, 40, 40))
SMALL = TimeContrastiveConfig(length=5, near=1, far=2)


def pairs(mask: torch.Tensor) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in mask.nonzero()}


def on_circle(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_positives_are_near_and_negatives_far_within_an_episode():
    positive, negative = relations(torch.zeros(5, 1, dtype=torch.bool), near=1, far=2, others=True)
    assert pairs(positive) == {(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2), (3, 4), (4, 3)}
    assert pairs(negative) == {(0, 3), (3, 0), (0, 4), (4, 0), (1, 4), (4, 1)}


def test_no_pair_crosses_an_episode_s_end():
    first = torch.zeros(5, 1, dtype=torch.bool)
    first[0] = first[3] = True  # episodes 0 1 2 and 3 4
    positive, negative = relations(first, near=1, far=1, others=True)
    assert pairs(positive) == {(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3)}
    assert pairs(negative) == {(0, 2), (2, 0)}


def test_frames_of_other_streams_are_negatives_where_asked_for():
    first = torch.zeros(2, 2, dtype=torch.bool)
    first[1, 1] = True  # rows t * B + b: stream 0 is 0 and 2, stream 1 is 1 and 3, and 3 opens an episode
    positive, negative = relations(first, near=1, far=1, others=True)
    assert pairs(positive) == {(0, 2), (2, 0)}
    assert pairs(negative) == {(i, j) for i in range(4) for j in range(4) if i % 2 != j % 2}
    assert not relations(first, near=1, far=1, others=False)[1].any()


def test_the_loss_by_hand():
    # anchor at 0 degrees, positive at 60 (squared distance 1), negatives at 30, 90 and 180 (2 - sqrt 3, 2 and 4):
    # the nearest beyond the positive is the one at 90
    z = on_circle(0, 60, 30, 90, 180)
    positive, negative = (torch.zeros(5, 5, dtype=torch.bool) for _ in range(2))
    positive[0, 1] = True
    negative[0, 2:] = True
    loss, accuracy = semi_hard(z, positive, negative, margin=1.5)
    assert float(loss) == pytest.approx(1 - 2 + 1.5, rel=1e-5)
    assert float(accuracy) == pytest.approx(2 / 3)
    assert float(semi_hard(z, positive, negative, margin=0.5)[0]) == 0
    # no negative is further than a positive at 180: the furthest, at 90, is taken
    positive[0, 1], negative[0, 1], positive[0, 4], negative[0, 4] = False, False, True, False
    assert float(semi_hard(z, positive, negative, margin=0.5)[0]) == pytest.approx(4 - 2 + 0.5, rel=1e-5)
    # an anchor without a negative counts for nothing
    positive[1, 0] = True
    assert float(semi_hard(z, positive, negative, margin=0.5)[0]) == pytest.approx(4 - 2 + 0.5, rel=1e-5)
    assert float(semi_hard(z, positive, torch.zeros_like(negative), margin=0.5)[0]) == 0


def test_constant_features_cost_the_margin_and_are_at_chance():
    positive, negative = relations(torch.zeros(8, 3, dtype=torch.bool), near=2, far=4, others=True)
    loss, accuracy = semi_hard(torch.ones(24, 4) / 2, positive, negative, margin=0.2)
    assert float(loss) == pytest.approx(0.2)
    assert float(accuracy) == 0.5


def test_the_loss_pulls_the_positive_and_pushes_the_negative():
    z = on_circle(0, 60, 70).requires_grad_()
    positive, negative = (torch.zeros(3, 3, dtype=torch.bool) for _ in range(2))
    positive[0, 1] = negative[0, 2] = True
    semi_hard(z, positive, negative, margin=1.0)[0].backward()
    # d = 2 - 2 z_a z: its gradient is -2 z_a for the positive, 2 z_a for the negative, 2 (z_n - z_p) for the anchor
    a, p, n = z.detach()
    torch.testing.assert_close(z.grad, torch.stack([2 * (n - p), -2 * a, 2 * a]))


def test_the_gradient_reaches_every_parameter(generator):
    model = TimeContrastive(SPEC, SMALL)
    image = torch.randint(0, 256, (5, 3, 3, 40, 40), dtype=torch.uint8)
    steps = Steps.windows({"image": image}, torch.zeros(5, 3, dtype=torch.bool))
    model.loss(steps, None, generator)[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert torch.equal(model.encode({"image": image[0]})[0], model.trunk(image[0]))


def test_a_persistent_factor_is_learnt_and_flicker_is_not():
    frames, _ = toy_windows("flicker", 96, 8)
    unseen, place = toy_windows("flicker", 512, 1, seed=1)
    model = TimeContrastive(image_spec((3, 40, 40), actions=5), TimeContrastiveConfig(windows=12))

    def score() -> float:
        with torch.no_grad():
            return few_label_read_out(model.encode(unseen)[0], place)

    before = score()
    trainer = Pretrainer(model, frames, 96 * 60, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(96 * 10), trainer.run(96 * 50)
    assert late["pretrain/contrast/loss"] < 0.9 * early["pretrain/contrast/loss"]
    assert late["pretrain/contrast/accuracy"] > 0.7
    assert score() > before + 0.1


@pytest.mark.parametrize(
    ("settings", "message"), [({"near": 5}, "far=4: give at least near=5"), ({"length": 5}, "length=5: give at least")]
)
def test_radii_that_leave_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TimeContrastiveConfig(**settings)
    assert math.isfinite(TimeContrastiveConfig(length=6).margin)
