"""NAT: the assignment exact, the loss by hand, the permutation over many visits, and what learning changes."""

from __future__ import annotations

import itertools

import pytest
import torch

from envs.steps import Steps
from representations.nat import Nat, NatConfig, assign, on_sphere
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, few_label_read_out, image_spec, moving_square

SPEC = image_spec((3, 40, 40))
SMALL = NatConfig(size=4, batch=4, pad=0)


def frames(count: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, 40, 40), dtype=torch.uint8, generator=draws)


def test_the_assignment_is_the_best_of_all_permutations(generator):
    for _ in range(5):
        z, targets = on_sphere(5, 3, generator), on_sphere(5, 3, generator)
        losses = {p: float((z - targets[list(p)]).square().sum()) for p in itertools.permutations(range(5))}
        given = assign(z, targets)
        assert tuple(given.tolist()) == min(losses, key=lambda p: losses[p])
        assert losses[tuple(given.tolist())] <= losses[0, 1, 2, 3, 4]  # never worse than what each had


def test_targets_have_length_one_and_no_direction(generator):
    targets = on_sphere(4000, 3, generator)
    torch.testing.assert_close(targets.norm(dim=1), torch.ones(4000))
    assert float(targets.mean(0).abs().max()) < 0.04  # standard deviation 1 / sqrt(3 * 4000) = 0.009
    assert torch.allclose(targets.T @ targets / 4000, torch.eye(3) / 3, atol=0.03)


def test_the_loss_by_hand(generator):
    # z = (1, 0) and (3/5, 4/5); rows 2 and 0 have targets 0 = (0, 1) and 2 = (1, 0): exchanged, 0 and 1 - 4/5
    model = Nat(SPEC, NatConfig(size=2))
    model.targets = torch.tensor([[0.0, 1], [-1, 0], [1, 0]])
    model.table = torch.tensor([2, 1, 0])
    model.projection = Fixed(torch.tensor([[6.0, 8], [2, 0]]))  # rows in ascending order: 0, then 2
    steps = Steps.frames({"image": frames(2)})
    steps.row = torch.tensor([2, 0])
    loss, metrics = model.loss(steps, None, generator)
    assert float(loss) == pytest.approx((0 + 0.2) / 2, rel=1e-5)
    assert float(metrics["changed"]) == 1
    assert model.table.tolist() == [2, 1, 0]  # the loss writes nothing
    _, (rows, given) = model.match(steps.obs["image"][0], steps.row, generator)
    assert (rows.tolist(), given.tolist()) == ([0, 2], [0, 2])


def test_a_frame_drawn_twice_counts_once(generator):
    model = Nat(SPEC, SMALL)
    image = frames(4)
    model.prepare({"image": image})
    row = torch.tensor([3, 1, 3, 0, 1])
    (loss, _), (rows, given) = model.match(image[row], row, generator)
    assert rows.tolist() == [0, 1, 3]
    assert sorted(given.tolist()) == sorted(model.table[rows].tolist())
    alone = model.match(image[[0, 1, 3]], torch.tensor([0, 1, 3]), generator)[0][0]
    torch.testing.assert_close(loss, alone)


def test_the_table_stays_a_permutation_and_is_kept_between_visits():
    model = Nat(SPEC, SMALL)
    stored = {"image": frames(10)}
    trainer = Pretrainer(model, stored, 4 * 12, generator=torch.Generator().manual_seed(0))
    first = model.table.clone()
    targets = model.targets.clone()
    while not trainer.done:
        before = model.table.clone()
        trainer.run(4)
        assert sorted(model.table.tolist()) == list(range(10))
        assert int((model.table != before).sum()) <= 4  # of the batch alone
    assert not torch.equal(model.table, first)
    assert torch.equal(model.targets, targets)
    again = Nat(SPEC, SMALL)  # after a restart: the same targets, the saved permutation
    again.prepare(stored)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.targets, targets)
    assert torch.equal(again.table, model.table)
    other = Nat(SPEC, SMALL)  # plays alone
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.table, model.table)


def test_frames_that_are_not_stored_meet_new_targets(generator):
    model = Nat(SPEC, SMALL)
    steps = Steps.frames({"image": frames(3)})
    loss, metrics = model.loss(steps, None, torch.Generator().manual_seed(2))
    targets = on_sphere(3, 4, torch.Generator().manual_seed(2).set_state(after_crop(3, 2)))
    with torch.no_grad():
        z = torch.nn.functional.normalize(model.projection(model.trunk(steps.obs["image"][0])), dim=1)
    expected = 1 - (z * targets[assign(z, targets)]).sum(1).mean()
    torch.testing.assert_close(loss.detach(), expected)
    assert "accuracy" not in metrics


def after_crop(count: int, seed: int) -> torch.Tensor:
    """State of a generator after the shifts of ``count`` images."""
    draws = torch.Generator().manual_seed(seed)
    torch.randint(0, 1, (2, count), generator=draws)
    return draws.get_state()


def test_the_gradient_reaches_every_parameter(generator):
    model = Nat(SPEC, SMALL)
    model.loss(Steps.frames({"image": frames(5)}), None, generator)[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_learning_lowers_the_loss_and_settles_the_permutation():
    images, places = moving_square(size=40, side=12, positions=12)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, places = images[order], places[order]
    model = Nat(image_spec((1, 40, 40)), NatConfig(size=3, batch=48, pad=1))

    def score() -> float:
        with torch.no_grad():
            return few_label_read_out(model.encode({"image": images})[0], places, labels=16)

    before = score()
    trainer = Pretrainer(model, {"image": images}, 48 * 60, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(48 * 10), trainer.run(48 * 50)
    assert late["pretrain/noise/loss"] < 0.5 * early["pretrain/noise/loss"]
    assert late["pretrain/noise/changed"] < early["pretrain/noise/changed"] - 0.2
    assert score() > before
