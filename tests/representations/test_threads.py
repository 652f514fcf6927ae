"""Threads that exchange rows: sums over a whole batch, from its parts."""

from __future__ import annotations

import pytest
import torch

from representations.threads import gather, is_first, side_by_side


def parts_of(rows, sizes):
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True).split(sizes)


def test_gathered_rows_are_the_whole_batch_in_order(two_cores):
    rows = torch.arange(5.0)

    def work(part):
        whole, own = gather(part)
        return whole.tolist(), whole[own].tolist(), is_first()

    first, second = side_by_side(work, rows.split([3, 2]))
    assert first == ([0, 1, 2, 3, 4], [0, 1, 2], True)
    assert second == ([0, 1, 2, 3, 4], [3, 4], False)
    assert work(rows) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], True)


def test_a_rows_gradient_sums_what_every_thread_wants_of_it(two_cores):
    # x = (1, 2 | 4). Thread 1: sum of its rows times the mean of all, (1 + 2) * 7/3; thread 2: 4 * 7/3.
    # Together 7 * 7/3 = s^2 / 3, whose gradient is 2 s / 3 = 14/3 in every row.
    rows = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)

    def work(part):
        part = part.clone().requires_grad_()
        whole, own = gather(part)
        loss = whole[own].sum() * whole.mean()
        return float(loss.detach()), torch.autograd.grad(loss, part)[0].tolist()

    (first, one), (second, other) = side_by_side(work, rows.split([2, 1]))
    assert (first, second) == pytest.approx((7.0, 28 / 3))
    assert one + other == pytest.approx([14 / 3] * 3)


def test_an_error_in_one_thread_frees_the_others(two_cores):
    def work(part):
        if len(part) == 1:
            raise ZeroDivisionError
        return gather(part)

    with pytest.raises(ZeroDivisionError):
        side_by_side(work, torch.arange(3.0).split([2, 1]))
    assert gather(torch.arange(2.0))[1] == slice(0, 2)
