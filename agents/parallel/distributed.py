"""Several processes (ranks) that train one agent, data-parallel.

    torchrun --nproc-per-node K -m benchmarks.transfer ...

Rank k of K holds the environments [k N/K, (k+1) N/K) of N, its own History, and the same weights. All ranks draw the
same permutation of all T N steps and the same noise for the actions of all N environments, and take the rows of their
own environments. The loss of a minibatch is a sum over a rank's samples divided by the whole minibatch's size, so that
the sum of the gradients over ranks, clipped after it, is a single process's to rounding. Running scales see the rewards
of all environments.

What differs from a single process: an environment that cannot draw by counter (Procgen) has levels of another order; an
auxiliary loss has noise of its own on each rank, and one from windows or between samples compares those of one rank;
batch statistics are of one micro-batch as ever, and running ones rank 0's.

Rank 0 alone pre-trains, evaluates and writes (``on_rank_zero``) while the others wait. A rank that dies closes its
connections, which is an error wherever another waits for it, and torchrun ends the others; so no timeout is needed, and
none would fit both a gradient and a final evaluation. Asked to stop, all ranks do at the end of the same iteration;
torchrun gives them 30 s to get there, after which the last checkpoint is what is left.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from envs.registry import UsageError

T = TypeVar("T")
TIMEOUT = timedelta(days=1)
"""Longest wait of a rank for another that lives: longer than any evaluation."""


class Ranks:
    """Process number ``index`` of ``count``. With one process every method is the identity and sends nothing.

    All methods but ``local_envs``, ``local_indices`` and ``require_single_process`` are collective: every rank must
    call them, in the same order.
    """

    def __init__(self, index: int = 0, count: int = 1):
        self.index, self.count = index, count
        self._on_rank_zero = False

    # local ------------------------------------------------------------------------------------------------------------

    def local_envs(self, num_envs: int) -> range:
        """The environments of this rank among ``num_envs``. UsageError where they do not divide."""
        if num_envs % self.count:
            raise UsageError(
                f"--num-envs {num_envs} does not divide between {self.count} processes; give a multiple of {self.count}"
            )
        size = num_envs // self.count
        return range(self.index * size, (self.index + 1) * size)

    def local_indices(self, indices: Tensor, envs: int) -> Tensor:
        """Those of the steps t * N + i (B,) that are this rank's, as t * n + i over its n = ``envs`` environments."""
        if self.count == 1:
            return indices
        total = envs * self.count
        stream = indices % total - self.index * envs
        return (indices // total * envs + stream)[(stream >= 0) & (stream < envs)]

    def require_single_process(self, subject: str) -> None:
        """UsageError unless there is only one process."""
        if self.count > 1:
            raise UsageError(f"{subject} learn on one process: run without torchrun")

    # collective -------------------------------------------------------------------------------------------------------

    def gather_streams(self, values: Tensor) -> Tensor:
        """Values (T, N/K) of every rank, side by side: (T, N)."""
        if self.count == 1:
            return values
        gathered = [torch.empty_like(values, memory_format=torch.contiguous_format) for _ in range(self.count)]
        dist.all_gather(gathered, values.contiguous())
        return torch.cat(gathered, 1)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over ranks, all in one message; one that no sample reached counts as 0."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, summed in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by rank 0's."""
        if self.count == 1:
            return
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            dist.broadcast(whole, 0)
            tensor.copy_(whole)

    def all_gather(self, items: list[T]) -> list[T]:
        """Items of every rank, one rank after another."""
        if self.count == 1:
            return items
        by_rank: list[Any] = [None] * self.count
        dist.all_gather_object(by_rank, items)
        return [item for items_of_rank in by_rank for item in items_of_rank]

    def any(self, flag: bool) -> bool:
        """True where the flag is set on any rank."""
        return any(self.all_gather([flag]))

    def gather_to_rank_zero(self, item: T) -> list[T]:
        """The items of all ranks, on rank 0; nothing on the others."""
        if self.count == 1:
            return [item]
        items: list[Any] | None = [None] * self.count if self.index == 0 else None
        dist.gather_object(item, items)
        return items or []

    def on_rank_zero(self, work: Callable[[], T]) -> T:
        """Call ``work`` on rank 0 only; every rank waits, and returns or raises what it did there.

        ``work`` may call ``on_rank_zero`` again, and no other collective method.
        """
        if self.count == 1 or self._on_rank_zero:
            return work()
        outcome: list[Any] = [None, None]
        if self.index == 0:
            self._on_rank_zero = True
            try:
                outcome[0] = work()
            except Exception as error:
                outcome[1] = error  # raised below, where the others know of it
            self._on_rank_zero = False
        dist.broadcast_object_list(outcome, 0)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def assert_in_sync(self, tensors: Iterable[Tensor], subject: str) -> None:
        """RuntimeError where the tensors are not the same on every rank, to the bit."""
        if self.count == 1:
            return
        sums = [float(tensor.detach().double().sum()) for tensor in tensors]
        if len(set(map(tuple, self.all_gather([sums])))) > 1:
            raise RuntimeError(
                f"{subject} differ between the {self.count} processes; the last checkpoint is still whole"
            )


SINGLE_PROCESS = Ranks()


@contextmanager
def from_torchrun(device: str) -> Iterator[Ranks]:
    """The ranks torchrun started, read from its environment variables; ``SINGLE_PROCESS`` without it.

    Gloo connects processors, NCCL the GPUs, one per rank. Ranks after the first print nothing.

    Raises:
        UsageError: more ranks than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield SINGLE_PROCESS
        return
    if device == "cuda":
        processes, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if processes > gpus:
            raise UsageError(f"--nproc-per-node {processes} with {gpus} GPUs here: start one process per GPU")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=TIMEOUT)
    ranks = Ranks(dist.get_rank(), count)
    with open(os.devnull, "w", encoding="utf-8") as null, redirect_stdout(null if ranks.index else sys.stdout):
        yield ranks
    # Only at a good end: one that meets an error must leave at once, or the others would wait for it.
    dist.barrier()
    dist.destroy_process_group()
    gc.collect()  # a thread of gloo that outlives the interpreter aborts the process
