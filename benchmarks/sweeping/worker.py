"""One cell brought to its end, in a process of its own.

Nothing here knows which backend started the process. What decides the bits is set before torch is loaded: the number of
threads. A cell that is asked to stop saves all and says so by its exit status.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.sweeping.cells import Cell

STOPPED = 75
"""Exit status of a cell that was asked to stop; all of it is saved."""


def run_cell(cell: Cell) -> int:
    """Bring one run to its end from wherever it stands; returns an exit status of ``experiment.grid``."""
    os.environ["OMP_NUM_THREADS"] = str(cell.threads)  # read when torch is loaded, and by processes of environments
    import torch

    from agents.parallel.distributed import SINGLE_PROCESS
    from agents.runs.callback import Preempted
    from agents.runs.source import record_command
    from agents.runs.validate import PartsStore
    from benchmarks.experiment.grid import run_all
    from benchmarks.reporting.report import describe_run

    torch.set_num_threads(cell.threads)
    record_command(cell.command)
    try:
        tally = run_all(cell.args, cell.out, [cell.config], PartsStore(), SINGLE_PROCESS, describe_run)
    except Preempted:
        return STOPPED
    if text := tally.text():
        print(text, file=sys.stderr, flush=True)
    return tally.status


def run_spawned(cell: Cell, log: Path, cores: tuple[int, ...]) -> None:
    """Entry of a spawned process: a session of its own, its cores, all output to ``log``; exits with the status.

    Signals of the terminal go to the sweep alone, which asks its cells to stop. Where the sweep is killed its cells
    save and stop, too.
    """
    if hasattr(os, "setsid"):
        os.setsid()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_stop_without_parent, daemon=True).start()
    try:
        status = run_cell(cell)
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
    sys.exit(status)


def _stop_without_parent() -> None:
    """Wait for the end of the process that started this one, then ask this one to stop."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
