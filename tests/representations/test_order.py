"""Shuffle and arrow: exact answers, draws by motion, the loss by hand, the gradient, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.order import Arrow, OrderConfig, Shuffle, balanced_accuracy, drawn_by_odds, motion
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, few_label_read_out, image_spec

SPEC = image_spec((6, 40, 40), frames=2)


def windows(length: int, B: int = 3, first: torch.Tensor | None = None) -> Steps:
    """Windows of random frames, two stacked."""
    draws = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (length, B, 6, 40, 40), dtype=torch.uint8, generator=draws)
    return Steps.windows({"image": image}, torch.zeros(length, B, dtype=torch.bool) if first is None else first)


def test_the_tuples_of_shuffle_and_their_answers():
    # frame t of window b is 10 t + b; a..e are frames 0..4
    shown, answers = Shuffle(SPEC).tuples_of(torch.arange(5)[:, None] * 10 + torch.arange(2))
    by_answer = {(tuple(frames), int(answer)) for frames, answer in zip(shown.T.tolist(), answers, strict=True)}
    assert by_answer == {
        ((10, 20, 30), 1),
        ((11, 21, 31), 1),
        ((10, 0, 30), 0),
        ((11, 1, 31), 0),
        ((10, 40, 30), 0),
        ((11, 41, 31), 0),
    }


def test_the_tuples_of_arrow_and_their_answers():
    shown, answers = Arrow(SPEC).tuples_of(torch.arange(4)[:, None] * 10 + torch.arange(2))
    assert shown.T.tolist() == [[0, 10, 20, 30], [1, 11, 21, 31], [30, 20, 10, 0], [31, 21, 11, 1]]
    assert answers.tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize(("cls", "in_order"), [(Shuffle, 1 / 3), (Arrow, 1 / 2)])
def test_the_loss_by_hand(cls, in_order, generator):
    # chances 1/4 for "not in order", 3/4 for "in order", whatever is shown
    model = cls(SPEC, OrderConfig(kept=1))
    tuples = round(3 / in_order)
    model.answer = Fixed(torch.tensor([0.0, math.log(3)]).repeat(tuples, 1))
    loss, metrics = model.loss(windows(cls.window), None, generator)
    assert float(loss) == pytest.approx(in_order * math.log(4 / 3) + (1 - in_order) * math.log(4), rel=1e-5)
    assert float(metrics["accuracy"]) == 0.5  # recalls 1 and 0


def test_balanced_accuracy_by_hand():
    # three of four right for answer 0, one of two for answer 1
    hits = torch.tensor([True, True, True, False, True, False])
    assert float(balanced_accuracy(hits, torch.tensor([0, 0, 0, 0, 1, 1]))) == (3 / 4 + 1 / 2) / 2
    assert float(balanced_accuracy(hits[:0], torch.zeros(0, dtype=torch.int64))) == 0


def test_motion_is_the_mean_change_of_a_pixel():
    image = torch.zeros(3, 2, 1, 4, 5, dtype=torch.uint8)
    image[1, 0, 0, :2] = 255  # half of the pixels change by 1, then back
    image[2, 1, 0, 0, 0] = 51  # one of twenty by a fifth, in one of two steps
    assert motion(image).tolist() == pytest.approx([0.5, 0.2 / 20 / 2])


def test_windows_of_much_motion_are_drawn_more_often(generator):
    odds = torch.tensor([0.0, 1, 1, 1, 1, 4])
    counts = torch.zeros(6)
    for _ in range(1000):
        counts[drawn_by_odds(odds, 1, generator)] += 1
    # 500 of 1,000 for odds of 4 to 4, standard deviation 16; 125 of each of the others
    assert counts[0] == 0
    assert 450 < counts[5] < 550
    assert counts[1:5].min() > 90
    odds = torch.tensor([0.0, 1, 3, 0])
    assert sorted(drawn_by_odds(odds, 3, generator).tolist()) == [1, 2]  # never twice, never one without motion


def test_windows_across_a_reset_and_still_ones_are_left_out(generator):
    first = torch.zeros(5, 4, dtype=torch.bool)
    first[0, 0] = first[2, 1] = True  # the first only opens an episode
    steps = windows(5, 4, first)
    steps.obs["image"][:, 2, 3:] = 7  # the newest frame never changes
    model = Shuffle(SPEC, OrderConfig(kept=1))
    shown = []
    tuples_of = model.tuples_of
    model.tuples_of = lambda features: shown.append(features) or tuples_of(features)
    model.loss(steps, None, generator)
    with torch.no_grad():
        expected = model.trunk(steps.obs["image"][:, [0, 3]].flatten(0, 1)).unflatten(0, (5, 2))
    order = slice(None) if torch.allclose(shown[0][:, 0], expected[:, 0], atol=1e-4) else [1, 0]
    torch.testing.assert_close(shown[0][:, order], expected, atol=1e-4, rtol=1e-4)
    loss, metrics = model.loss(windows(5, 4, torch.ones(5, 4, dtype=torch.bool)), None, generator)
    assert float(loss.detach()) == float(metrics["accuracy"]) == 0


@pytest.mark.parametrize("cls", [Shuffle, Arrow])
def test_the_gradient_reaches_every_frame_and_parameter(cls, generator):
    model = cls(SPEC, OrderConfig(kept=1))
    steps = windows(cls.window)
    image = steps.obs["image"].float().div(255).requires_grad_()
    features = model.trunk(image.flatten(0, 1)).unflatten(0, (cls.window, 3))
    model.trunk = Fixed(features.flatten(0, 1))
    model.loss(steps, None, generator)[0].backward()
    assert all(image.grad[t, b].abs().sum() > 0 for t in range(cls.window) for b in range(3))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.answer.parameters())


def falling(streams: int, length: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A square that falls 3 pixels a step over dim noise: images (streams, length, 1, 36, 36), and its row."""
    draws = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 20, (streams, length, 1, 36, 36), dtype=torch.uint8, generator=draws)
    row = torch.randint(0, 17, (streams, 1), generator=draws) + 3 * torch.arange(length)
    column = torch.randint(0, 29, (streams,), generator=draws)
    for i in range(streams):
        for t in range(length):
            image[i, t, 0, row[i, t] : row[i, t] + 8, column[i] : column[i] + 8] = 255
    return image, row.flatten()[:, None].float()


@pytest.mark.parametrize("cls", [Shuffle, Arrow])
def test_the_order_of_falling_is_learnt(cls):
    image, row = falling(480, cls.window)
    first = torch.zeros(image.shape[:2], dtype=torch.bool)
    model = cls(image_spec((1, 36, 36)), OrderConfig(windows=24, kept=1))

    def score() -> float:
        with torch.no_grad():
            return few_label_read_out(model.encode({"image": image.flatten(0, 1)})[0], row)

    before, batch = score(), 24 * cls.window
    trainer = Pretrainer(
        model, {"image": image, "first": first}, batch * 60, generator=torch.Generator().manual_seed(0)
    )
    early, late = trainer.run(batch * 10), trainer.run(batch * 50)
    assert late["pretrain/order/loss"] < early["pretrain/order/loss"] - 0.1
    assert late["pretrain/order/accuracy"] > 0.6
    assert score() > before + 0.1


@pytest.mark.parametrize("kept", [0.0, 1.5])
def test_a_fraction_outside_its_range_is_refused(kept):
    with pytest.raises(ValueError, match=f"kept={kept}: give a fraction above 0, at most 1"):
        OrderConfig(kept=kept)
