"""A sweep from its grid to its report: what it will take, its cells brought to their end, the tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.sweeping.cells import Cell, Plan, cells_of
from benchmarks.sweeping.grid_file import GridFile

if TYPE_CHECKING:
    from agents.runs.validate import PartsStore
    from benchmarks.experiment.grid import Tally
    from benchmarks.sweeping.backends import Backend


@dataclass(frozen=True)
class Command:
    """Parts of a command that a sweep needs: its options, its plan and its report."""

    args: type[Any]
    plan: Plan
    write: Callable[[Path], str]
    """Experiment directory -> the text of its report."""


def commands() -> dict[str, Command]:
    """The commands whose runs may be cells, by name."""
    from benchmarks import explore, transfer
    from benchmarks.reporting.report import write_report

    return {
        "transfer": Command(transfer.Args, transfer.plan, write_report),
        "explore": Command(explore.Args, explore.plan, explore.write),
    }


def sweep_grid(grid: GridFile, command: Command, backend: str, jobs: int | None, dry_run: bool) -> int:
    """Bring all cells of the grid to their end and write the report; returns a status of ``experiment.grid``."""
    import torch

    from agents.runs.run_dir import open_experiment
    from agents.runs.source import command_line
    from agents.runs.validate import PartsStore
    from benchmarks.experiment.execute import conclude
    from benchmarks.experiment.grid import PREEMPTED
    from benchmarks.sweeping.loop import Stopped

    torch.set_num_threads(grid.threads)  # of what follows the runs, as of them
    store = PartsStore()
    cells = cells_of(grid, command.args, command.plan, command_line(), store)
    print(announcement(cells, jobs, store), flush=True)
    del store  # with the parts that it holds
    if dry_run:
        return 0
    open_experiment(grid.out)
    try:
        with opened(backend, grid, jobs) as place:
            tally = bring_to_end(cells, place)
    except Stopped:
        print("stopped; all cells are saved. The same command continues.")
        return PREEMPTED
    if tally.finished:
        print(conclude([cell.config for cell in cells], grid.out, command.write), flush=True)
    if tally.status:
        print(tally.text(), file=sys.stderr)
    return tally.status


@contextmanager
def opened(backend: str, grid: GridFile, jobs: int | None) -> Iterator[Backend]:
    """The backend of that name, closed at the end."""
    from benchmarks.sweeping.backends import make_backend

    place = make_backend(backend, grid.out, jobs, grid.threads, dict(grid.slurm))
    try:
        yield place
    finally:
        place.close()


def bring_to_end(cells: Sequence[Cell], place: Backend, final: bool = True) -> Tally:
    """Run all cells that are not finished, with a table of them.

    Args:
        final: print the table once more at the end.

    Raises:
        Stopped: SIGTERM or SIGINT came, and all cells have saved.
    """
    from agents.runs.callback import StopRequest
    from benchmarks.sweeping.loop import Loop
    from benchmarks.sweeping.table import Display

    stop, display = StopRequest(), Display(place.slots)
    with stop.listening():
        loop = Loop(cells, place, display.show)
        try:
            with display:
                return loop.run(stop)
        finally:
            if final:
                display.final(loop.rows)


def announcement(cells: Sequence[Cell], jobs: int | None, store: PartsStore) -> str:
    """Announcement: the cells, the hours that they take, and the disk space."""
    from agents.runs.build import resolve_device
    from agents.runs.config import trained_frames
    from benchmarks.experiment.estimate import estimate_bytes, estimate_seconds
    from benchmarks.experiment.execute import in_words

    configs, first = [cell.config for cell in cells], cells[0]
    lines = [f"  {cell.label}: {trained_frames(cell.config):,} frames{finished_words(cell)}" for cell in cells]
    threads = f"{first.threads} thread{'s' * (first.threads > 1)} each"
    duration = "an unknown time on the GPU"
    if resolve_device(first.args.device) == "cpu":
        seconds = estimate_seconds(configs, store.representative)
        duration = f"about {hours(seconds)} h of computing on this machine if none is finished yet"
        if jobs and jobs > 1:
            duration += f" ({in_words(seconds / min(jobs, len(cells)))} with {jobs} at a time)"
    size = estimate_bytes(configs, store.representative)
    return "\n".join(
        [
            f"{len(cells)} cell{'s' * (len(cells) > 1)}, {threads}:",
            *lines,
            f"{duration}; about {size / 1e9:.2g} GB on disk; results in {first.out}",
        ]
    )


def finished_words(cell: Cell) -> str:
    """Words about a cell that is finished, and about code that has changed since; '' for others."""
    from agents.runs.changes import changed_code

    if not (cell.folder / "done").exists():
        return ""
    changes = changed_code(cell.folder, cell.config)
    return ", finished" + f" with other code: {'; '.join(changes)}" * bool(changes)


def hours(seconds: float) -> str:
    """Hours with two digits, at least 0.01."""
    return f"{max(seconds / 3600, 0.01):.2g}"
