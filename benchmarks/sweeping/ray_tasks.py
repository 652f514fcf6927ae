"""Cells as plain remote tasks of ray (extra ``ray``): on the cluster that RAY_ADDRESS names, else on this machine.

Each task has a worker process of its own. Tasks are never retried by ray: which cells run again is the loop's part.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.sweeping.cells import Cell
from benchmarks.sweeping.worker import STOPPED, run_cell
from envs.registry import UsageError

DIED = 1


class RayTasks:
    """Remote tasks, each with as many CPUs as a cell has threads.

    Args:
        jobs: cells at a time; None: as the cluster has room. Without a cluster, this machine's is made so large.

    Raises:
        UsageError: ray is not installed.
    """

    def __init__(self, jobs: int | None, threads: int):
        try:
            import ray
        except ImportError:
            raise UsageError("--backend ray needs ray; pip install -e '.[ray]'") from None
        self.ray, self.slots, self.begun = ray, jobs, not ray.is_initialized()
        if self.begun:
            cluster = bool(os.environ.get("RAY_ADDRESS"))
            size = {} if cluster else {"num_cpus": (jobs or max(1, (os.cpu_count() or 1) // threads)) * threads}
            paths = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            ray.init(**size, runtime_env={"env_vars": {"PYTHONPATH": paths}}, log_to_driver=False, **quiet(cluster))
        # A worker process has one number of threads, and one command line to tell of.
        self.task = ray.remote(num_cpus=threads, max_retries=0, max_calls=1)(run_cell)

    def start(self, cells: Sequence[Cell]) -> list[RayCell]:
        return [RayCell(self.ray, self.task.remote(cell)) for cell in cells]

    def close(self) -> None:
        if self.begun:
            self.ray.shutdown()


class RayCell:
    """A remote task."""

    def __init__(self, ray: Any, task: Any):
        self.ray, self.task = ray, task

    def status(self) -> int | None:
        ended, _ = self.ray.wait([self.task], timeout=0)
        if not ended:
            return None
        try:
            return int(self.ray.get(self.task))
        except self.ray.exceptions.TaskCancelledError:
            return STOPPED
        except Exception:  # ray has a class for each way to end badly
            return DIED

    def stop(self) -> None:
        self.ray.cancel(self.task, force=False)

    def kill(self) -> None:
        self.ray.cancel(self.task, force=True)


def quiet(cluster: bool) -> dict[str, Any]:
    """Options of a cluster of this machine alone that asks for no port of a dashboard."""
    return {} if cluster else {"include_dashboard": False}
