"""Cells as job arrays of slurm, by submitit (extra ``slurm``).

The table [slurm] of GRID.toml goes to submitit's executor, as ``timeout_min``, ``mem_gb``, ``slurm_partition``. With
``cluster = "local"`` there submitit starts processes of this machine, which tries out a sweep without a cluster.

A cell whose time runs out is queued again by submitit and goes on from its last checkpoint; a cancelled one gets
SIGTERM and saves first. Neither needs a sweep that waits for it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.sweeping.backends import LOGS
from benchmarks.sweeping.cells import Cell
from benchmarks.sweeping.worker import run_cell
from envs.registry import UsageError

DIED = 1
DEFAULTS = {"timeout_min": 24 * 60}


class ResumableCell:
    """A cell as submitit calls it; its ``checkpoint`` has a job that was preempted queued again."""

    def __call__(self, cell: Cell) -> int:
        return run_cell(cell)

    def checkpoint(self, cell: Cell) -> Any:
        """The same call again: a run resumes by itself."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, cell)


class SlurmArrays:
    """Job arrays: all cells that are started together are one.

    Args:
        jobs: cells of an array that run at a time; None: as slurm has room.
        threads: of each cell, so many CPUs are asked for.
        parameters: table [slurm] of the grid.

    Raises:
        UsageError: submitit is not installed, or takes no such parameter.
    """

    def __init__(self, out: Path, jobs: int | None, threads: int, parameters: Mapping[str, Any]):
        try:
            import submitit
        except ImportError:
            raise UsageError("--backend slurm needs submitit; pip install -e '.[slurm]'") from None
        own = {**DEFAULTS, **parameters}
        self.local = own.get("cluster") == "local"
        # submitit's local executor starts all at once: the loop holds cells back there
        self.slots: int | None = (jobs or 1) if self.local else None
        try:
            self.executor = submitit.AutoExecutor(folder=out / LOGS / "%j", cluster=own.pop("cluster", "slurm"))
            if jobs and not self.local:
                own["slurm_array_parallelism"] = jobs
            self.executor.update_parameters(name=out.name, cpus_per_task=threads, **own)
        except (RuntimeError, TypeError, ValueError, NameError) as error:
            reason = " ".join(str(error).split())
            raise UsageError(
                f"[slurm]: {reason}; give parameters of submitit's executor that this machine has"
            ) from None

    def start(self, cells: Sequence[Cell]) -> list[SlurmCell]:
        with inherited():
            jobs = self.executor.map_array(ResumableCell(), cells)
        return [SlurmCell(job, self.local) for job in jobs]

    def close(self) -> None:
        """Nothing is held."""


class SlurmCell:
    """A submitted job."""

    def __init__(self, job: Any, local: bool):
        self.job, self.local = job, local

    def status(self) -> int | None:
        if not self.job.done():
            return None
        try:
            return int(self.job.result())
        except Exception:  # submitit has a class for each way to end badly; the cell's log says which
            return DIED

    def stop(self) -> None:
        if self.local:  # cancel() would kill after a second, which is too soon to save
            os.kill(int(self.job.job_id), signal.SIGTERM)
        else:
            self.job.cancel()

    def kill(self) -> None:
        self.job.cancel()


@contextmanager
def inherited() -> Iterator[None]:
    """Let processes that are started find this code, and leave the terminal's Ctrl-C to the sweep."""
    path, handler = os.environ.get("PYTHONPATH"), signal.getsignal(signal.SIGINT)
    os.environ["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path
