"""Places where cells run: what the loop asks of each, and processes of this machine.

A backend starts cells and tells of their ends. It decides nothing: which cells run, and which again, is the loop's
part.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from benchmarks.sweeping.cells import Cell
from benchmarks.sweeping.worker import run_spawned
from envs.registry import UsageError

LOGS = "logs"
"""Folder of an experiment directory with the output of each cell."""


class Attempt(Protocol):
    """A cell that was started."""

    def status(self) -> int | None:
        """Exit status, below 0 or above 128 where it was killed; None while it waits or runs."""

    def stop(self) -> None:
        """Ask it to save and stop."""

    def kill(self) -> None:
        """End it at once."""


class Backend(Protocol):
    """A place where cells run."""

    slots: int | None
    """Cells that may be started and not yet ended; None where the place itself holds back."""

    def start(self, cells: Sequence[Cell]) -> Sequence[Attempt]:
        """Start cells."""

    def close(self) -> None:
        """Give back what the backend holds, when all cells have ended."""


class Processes:
    """Spawned processes of this machine, with its cores divided between them.

    Args:
        jobs: cells at a time; None: as many as the cores allow.
        threads: of each cell.

    Raises:
        UsageError: more threads in all than there are cores.
    """

    def __init__(self, out: Path, jobs: int | None, threads: int):
        cores = (
            sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
        )
        self.slots: int | None = jobs or max(1, len(cores) // threads)
        if self.slots * threads > max(len(cores), threads):
            raise UsageError(
                f"--jobs {jobs} of {threads} threads each are more than the {len(cores)} cores here; give --jobs "
                f"{max(1, len(cores) // threads)} or fewer"
            )
        self.free = [tuple(cores[i * threads : (i + 1) * threads]) for i in range(self.slots)]
        self.logs = out / LOGS

    def start(self, cells: Sequence[Cell]) -> list[SpawnedCell]:
        self.logs.mkdir(exist_ok=True)
        return [SpawnedCell(cell, self.logs / f"{cell.name}.txt", self.free) for cell in cells]

    def close(self) -> None:
        """Nothing is held."""


class SpawnedCell:
    """A cell in a spawned process, which takes cores of ``free`` and gives them back at its end."""

    def __init__(self, cell: Cell, log: Path, free: list[tuple[int, ...]]):
        self.free, self.cores, self.ended = free, free.pop(0), False
        context = multiprocessing.get_context("spawn")
        self.process: BaseProcess = context.Process(target=run_spawned, args=(cell, log, self.cores))
        self.process.start()

    def status(self) -> int | None:
        status = self.process.exitcode
        if status is not None and not self.ended:
            self.free.append(self.cores)
            self.ended = True
        return status

    def stop(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def make_backend(name: str, out: Path, jobs: int | None, threads: int, parameters: dict[str, object]) -> Backend:
    """The backend of that name.

    Args:
        parameters: table [slurm] of the grid.

    Raises:
        UsageError: its package is not installed, or it cannot take these numbers.
    """
    if name == "slurm":
        from benchmarks.sweeping.slurm import SlurmArrays

        return SlurmArrays(out, jobs, threads, parameters)
    if name == "ray":
        from benchmarks.sweeping.ray_tasks import RayTasks

        return RayTasks(jobs, threads)
    return Processes(out, jobs, threads)
