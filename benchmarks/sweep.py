"""Sweeps: every combination of a grid of options, on the cores of this machine, as slurm arrays or as tasks of ray.

    python -m benchmarks.sweep GRID.toml
    python -m benchmarks.sweep GRID.toml --dry-run
    python -m benchmarks.sweep GRID.toml --backend slurm --jobs 50
    python -m benchmarks.sweep GRID.toml --search optuna

A cell is a run as ``benchmarks.transfer`` or ``benchmarks.explore`` makes it: named by its content, locked while it is
trained, continued where it stopped. So the same command again goes on, also on another backend, and the results are the
same to the bit. GRID.toml is described in ``benchmarks.sweeping.grid_file``, its table [search] in
``benchmarks.sweeping.search``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from benchmarks import cli
from envs.registry import UsageError


@dataclass(frozen=True)
class Args:
    """Run every combination of a grid of options, and report on all of them."""

    grid: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="GRID.toml")]
    """Options of benchmarks.transfer (or explore) with lists of values, where results go, threads of each cell."""
    backend: Literal["local", "slurm", "ray"] = "local"
    """Where cells run: processes of this machine with its cores divided between them; arrays of slurm (extra slurm);
    tasks of ray (extra ray), on the cluster that RAY_ADDRESS names or else here."""
    jobs: int | None = None
    """Cells at a time. Default: as many as there is room for."""
    search: Literal["none", "optuna"] = "none"
    """Look for settings in the ranges of the table [search], by their return on validation levels (extra search)."""
    dry_run: bool = False
    """Print the cells, the hours and the disk space they take, and stop."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(sweep, Args, argv, interrupted=cli.RESUMABLE)


def sweep(args: Args) -> int:
    """Bring all cells to their end, then write and print the report."""
    if args.jobs is not None and args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: give a whole number of at least 1")
    from benchmarks.sweeping.grid_file import read_grid
    from benchmarks.sweeping.run import commands, sweep_grid

    known = commands()
    grid = read_grid(args.grid, {name: command.args for name, command in known.items()})
    bring = sweep_grid
    if args.search == "optuna":
        from benchmarks.sweeping.search import search

        bring = search
    return bring(grid, known[grid.command], args.backend, args.jobs, args.dry_run)


if __name__ == "__main__":
    raise SystemExit(main())
