"""Worker threads for the micro-batches of a batch, one core each, in the RL update and in pre-training.

torch splits every operation over the cores and waits for the slowest after each. Two threads that only meet at the end
of a minibatch train 1.4 times as many samples on two cores (by hand, EPYC with AVX512-bf16, IMPALA and Nature in
micro-batches of 256), and do not mind another process that wants one. On a GPU a batch is not split.

A loss that is no mean over samples, since each is compared with all (negatives, batch statistics), takes the rows of
all threads by ``gather``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError, local
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")
Result = TypeVar("Result")

Gradient = list[Tensor | None]
"""By parameter; None where no sample reached it."""

_pools: dict[int, ThreadPoolExecutor] = {}


def num_threads(device: torch.device) -> int:
    """Worker threads that ``device`` does best with: torch's threads on a CPU (OMP_NUM_THREADS), else 1."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def must_run_serially(module: nn.Module) -> bool:
    """True where a forward pass in training mode writes or draws, so that micro-batches need an order."""
    # torch has no public name for what all BatchNorms, and all Dropouts, have in common.
    kinds = (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)
    return any(isinstance(submodule, kinds) for submodule in module.modules())


def parallel_map(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Compute ``[work(item) for item in items]`` in so many threads, each taking the next item when it is free.

    Results do not depend on timing as long as ``work`` writes nothing that others read. Gradients are recorded where
    the caller records them.
    """
    if threads < 2 or len(items) < 2:
        return [work(item) for item in items]
    grad_enabled = torch.is_grad_enabled()

    def work_as_caller(item: Item) -> Result:
        with torch.set_grad_enabled(grad_enabled):
            return work(item)

    return list(_pool(threads).map(work_as_caller, items))


class _Group:
    """Threads that work on the parts of one batch and exchange tensors in the order of the parts."""

    def __init__(self, count: int):
        self.barrier, self.slots = Barrier(count), [torch.empty(0)] * count

    def exchange(self, index: int, value: Tensor) -> list[Tensor]:
        """Values of all threads, once each has given its own; ``index`` is this one's part."""
        self.slots[index] = value
        self.barrier.wait()
        values = list(self.slots)
        self.barrier.wait()  # all have read before anyone writes again
        return values


class _Current(local):
    """Group and part of the present thread; None outside ``side_by_side``."""

    group: _Group | None = None
    index = 0


_current = _Current()


def side_by_side(work: Callable[[Item], Result], parts: Sequence[Item]) -> list[Result]:
    """Compute ``[work(part) for part in parts]`` all at the same time, a thread each, so that they can ``gather``.

    An error of one part ends the others where they wait for it, and is raised.
    """
    if len(parts) < 2:
        return [work(part) for part in parts]
    group, errors = _Group(len(parts)), []

    def run_part(index: int) -> Result:
        _current.group, _current.index = group, index
        try:
            return work(parts[index])
        except BaseException as error:
            if not isinstance(error, BrokenBarrierError):
                errors.append(error)
            group.barrier.abort()
            raise
        finally:
            _current.group, _current.index = None, 0

    try:
        return parallel_map(run_part, range(len(parts)), len(parts))
    except BrokenBarrierError:
        raise errors[0] from None


class _Gather(torch.autograd.Function):
    """Rows of all threads; backward sums what all threads' losses want of a row."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: _Group, index: int) -> Tensor:
        parts = group.exchange(index, rows.detach())
        start = sum(len(part) for part in parts[:index])
        ctx.group, ctx.index, ctx.own = group, index, slice(start, start + len(rows))
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = torch.stack(ctx.group.exchange(ctx.index, gradients[0])).sum(0)
        return total[ctx.own], None, None


def gather(rows: Tensor) -> tuple[Tensor, slice]:
    """Rows (n, ...) of all threads that work ``side_by_side``, with gradient, and the place of this thread's rows.

    Every thread must call it equally often. Where a batch is not split, ``rows`` themselves.
    """
    if _current.group is None:
        return rows, slice(0, len(rows))
    sizes = _current.group.exchange(_current.index, torch.tensor(len(rows)))
    start = int(sum(sizes[: _current.index]))
    gathered: Tensor = _Gather.apply(rows, _current.group, _current.index)  # type: ignore[no-untyped-call]
    return gathered, slice(start, start + len(rows))


def is_first() -> bool:
    """True in one of the threads that work ``side_by_side``, and outside: it alone may write to a module."""
    return _current.index == 0


def sum_gradients(gradients: Sequence[Sequence[Tensor | None]], parameters: int) -> Gradient:
    """Sum by parameter, in the order given: it rounds alike whichever part was ready first."""
    total: Gradient = [None] * parameters
    for gradient in gradients:
        for k, term in enumerate(gradient):
            if term is not None:
                before = total[k]
                # What autograd gives may be expanded, and that cannot be added to or clipped in place.
                total[k] = term.clone() if before is None else before.add_(term)
    return total


def _pool(size: int) -> ThreadPoolExecutor:
    """Threads that each give torch one core, kept for the next call."""
    if size not in _pools:
        threads = torch.get_num_threads()
        _pools[size] = pool = ThreadPoolExecutor(size, "worker", _take_one_core)
        all_started = Barrier(size)  # a pool starts its threads only when work waits for them
        list(pool.map(lambda _: all_started.wait(), range(size)))
        torch.set_num_threads(threads)  # the workers' 1 would be that of threads yet to come, too
    return _pools[size]


def _take_one_core() -> None:
    torch.get_num_threads()  # a thread's first use of torch takes the number that all have: that must come before
    torch.set_num_threads(1)
