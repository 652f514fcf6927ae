"""The fault matrix: kills, full disks, signals, hostile files and the like, each with what must hold after it.

    python -m benchmarks.faults --short
    python -m benchmarks.faults --rows 1 2 --out faults.csv
    python -m benchmarks.faults --out benchmarks/results/faults.csv

Each row injects one kind of fault N times into short runs, in temporary folders and on the loopback alone, and prints
how often all was as promised: passed/tried. A row that falls short says why. What cannot be tried on this machine is
said and does not count as tried. All rows in full take about 40 minutes on two quiet cores, rows 1, 2, 5 and 14 most
of it; limits of seconds are part of some promises, so a busy machine may miss them.

Rows of the same form that --out holds are not run again; remove the file, or a line of it, to run them once more.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tqdm import tqdm

from benchmarks import cli
from benchmarks.fault_injection import ROWS
from benchmarks.fault_injection.trials import Account, Row, account
from envs.registry import UsageError

COLUMNS = ("row", "inject", "form", "passed", "tried", "reason", "seconds", "commit")


@dataclass(frozen=True)
class Args:
    """Inject faults into short runs and print, a row a kind, how often all was as promised."""

    rows: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N")] = ()
    """Rows to run, by number. Default: all."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the table as CSV, after each row; rows that it holds are not run again."""
    short: bool = False
    """A few trials of each row."""


def main(argv: Sequence[str] | None = None) -> int:
    names = "\n".join(f"{row.number:2d}  {row.inject}: {row.expected}" for row in ROWS.values())
    return cli.main(faults, Args, argv, listing=names)


def faults(args: Args) -> int:
    """Run the chosen rows that are not in the table yet; 1 where a row of them falls short."""
    if unknown := [number for number in args.rows if number not in ROWS]:
        raise UsageError(f"--rows {unknown[0]}: no such row; give some of {min(ROWS)} to {max(ROWS)}")
    os.environ["OMP_NUM_THREADS"] = "1"  # of the children: nets this small gain nothing from a second one
    form = "short" if args.short else "full"
    lines = {(int(line["row"]), line["form"]): line for line in stored(args.out)}
    for number in args.rows or tuple(ROWS):
        row = ROWS[number]
        if (number, form) not in lines:
            lines[number, form] = as_line(row, form, run_row(row, args.short))
            if args.out is not None:
                cli.write_csv(args.out, [lines[key] for key in sorted(lines)], COLUMNS)
        print(as_text(lines[number, form]), flush=True)
    asked = [lines[number, form] for number in args.rows or tuple(ROWS)]
    return int(any(int(line["passed"]) < int(line["tried"]) for line in asked))


def run_row(row: Row, short: bool) -> Account:
    """Run one row in a temporary folder, with a progress bar."""
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{row.number}-"))
    try:
        with tqdm(total=row.planned(short), desc=f"row {row.number}", unit="trial", leave=False) as bar:
            return account(row, folder, short, tell=lambda trial: bar.update())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def as_line(row: Row, form: str, outcome: Account) -> dict[str, str]:
    """A row's line of the table."""
    from agents.runs.source import describe_source

    return {
        "row": str(row.number),
        "inject": row.inject,
        "form": form,
        "passed": str(outcome.passed),
        "tried": str(outcome.tried),
        "reason": outcome.reason,
        "seconds": f"{outcome.seconds:.0f}",
        "commit": describe_source()["commit"],
    }


def as_text(line: dict[str, str]) -> str:
    """A line of the table for the terminal."""
    reason = f"\n      {line['reason']}" * bool(line["reason"])
    return f"{int(line['row']):2d}  {line['passed']}/{line['tried']}  {line['inject']} ({line['seconds']} s){reason}"


def stored(out: Path | None) -> list[dict[str, str]]:
    """Lines of an earlier table; UsageError where the file is another one."""
    if out is None or not out.exists():
        return []
    with open(out, encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise UsageError(f"--out {out} is another file; name one that this command wrote, or a new one")
        return list(reader)


if __name__ == "__main__":
    raise SystemExit(main())
