"""Inverse model: the loss by hand, which pairs count, whom the gradient reaches, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch

from envs.registry import UsageError
from envs.steps import Steps
from representations.base import Unfit
from representations.inverse import Inverse, InverseConfig
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, few_label_read_out, image_spec, toy_windows

SPEC = image_spec((3, 40, 40), actions=3)


def windows(first: torch.Tensor, action: torch.Tensor | None) -> Steps:
    """Windows of random frames."""
    draws = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (*first.shape, 3, 40, 40), dtype=torch.uint8, generator=draws)
    return Steps.windows({"image": image}, first, action)


def test_the_loss_by_hand(generator):
    # three pairs; logits 0, log 2, log 5 of actions 0, 1, 2: chances 1/8, 2/8, 5/8
    inverse = Inverse(SPEC)
    inverse.actions = Fixed(torch.tensor([0.0, math.log(2), math.log(5)]).repeat(1, 3, 1))
    steps = windows(torch.zeros(2, 3, dtype=torch.bool), torch.tensor([[0, 2, 1], [9, 9, 9]]))
    loss, metrics = inverse.loss(steps, None, generator)
    assert float(loss) == pytest.approx((math.log(8) + math.log(8 / 5) + math.log(4)) / 3, rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(1 / 3)  # action 2 is the likeliest everywhere


def test_the_action_is_that_of_the_earlier_frame_of_a_pair(generator):
    # features are the frame's index t * B + b; the head sees (t, t + 1) of each stream in this order
    inverse = Inverse(SPEC)
    inverse.trunk = Fixed(torch.arange(6.0)[:, None])
    seen = []

    def head(pairs: torch.Tensor) -> torch.Tensor:
        seen.append(pairs)
        return torch.stack([pairs[..., 0] == 0, pairs[..., 0] == 1, pairs[..., 0] > 1], 2) * 50.0

    inverse.actions = torch.nn.Module()
    inverse.actions.forward = head
    action = torch.tensor([[0, 1], [2, 2], [7, 7]])  # the last step's means nothing
    loss, metrics = inverse.loss(windows(torch.zeros(3, 2, dtype=torch.bool), action), None, generator)
    assert seen[0].tolist() == [[[0, 2], [1, 3]], [[2, 4], [3, 5]]]
    assert float(loss) == pytest.approx(0, abs=1e-6)
    assert float(metrics["accuracy"]) == 1


def test_a_pair_across_an_episode_s_end_is_left_out(generator):
    inverse = Inverse(SPEC)
    first = torch.zeros(2, 3, dtype=torch.bool)
    first[0, 0] = first[1, 1] = True  # opening the window is no end between its frames
    action = torch.tensor([[0, 1, 2], [0, 0, 0]])
    steps = windows(first, action)
    with torch.no_grad():
        h = inverse.trunk(steps.obs["image"].flatten(0, 1)).unflatten(0, (2, 3))
        chances = torch.log_softmax(inverse.actions(torch.cat([h[0], h[1]], 1)), 1)
    expected = -float(chances[0, 0] + chances[2, 2]) / 2
    assert float(inverse.loss(steps, None, generator)[0].detach()) == pytest.approx(expected, rel=1e-4)
    first[1] = True  # nothing is left
    loss, metrics = inverse.loss(windows(first, action), None, generator)
    assert float(loss.detach()) == float(metrics["accuracy"]) == 0


def test_the_gradient_reaches_both_frames_and_every_parameter(generator):
    inverse = Inverse(SPEC)
    steps = windows(torch.zeros(2, 3, dtype=torch.bool), torch.tensor([[0, 1, 2], [0, 0, 0]]))
    steps.obs["image"] = steps.obs["image"].float().div(255).requires_grad_()
    inverse.loss(steps, None, generator)[0].backward()
    gradient = steps.obs["image"].grad
    assert all(gradient[t, b].abs().sum() > 0 for t in range(2) for b in range(3))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in inverse.parameters())


def test_what_the_actions_move_is_learnt():
    frames, _ = toy_windows("agent", 512, 2)
    unseen, place = toy_windows("agent", 512, 1, seed=1)
    inverse = Inverse(image_spec((3, 40, 40), actions=5), InverseConfig(pairs=32))

    def score() -> float:
        with torch.no_grad():
            return few_label_read_out(inverse.encode(unseen)[0], place)

    before = score()
    trainer = Pretrainer(inverse, frames, 64 * 100, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(64 * 10), trainer.run(64 * 90)
    assert late["pretrain/inverse/loss"] < early["pretrain/inverse/loss"] - 0.1  # log 5 = 1.6 at the start
    assert score() > before + 0.1


def test_without_actions_or_where_they_were_not_recorded_it_is_refused(generator):
    with pytest.raises(Unfit, match="inverse tells actions apart, and nothing acts here"):
        Inverse(image_spec((3, 40, 40), actions=0))
    with pytest.raises(UsageError, match="needs the actions between stored frames"):
        Inverse(SPEC).loss(windows(torch.zeros(2, 3, dtype=torch.bool), None), None, generator)
