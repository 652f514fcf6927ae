"""From an experiment directory to results.csv, report.md and report.html.

    python -m benchmarks.report DIR

The files are rebuilt from every run in DIR; the same runs give the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from agents.checkpoint import write_aside
from benchmarks import report_error
from benchmarks.reporting import html, tables
from benchmarks.reporting.runs import Cell, load, read, score, summarise, table
from envs.registry import UsageError


def line(path: Path) -> str:
    """One finished run in one line, for a terminal."""
    run = read(Path(path))
    if run.state != "finished":
        return f"{run.id}: {run.state}, {run.reason}"
    cell = Cell(run.id, (run,))
    parts = []
    for split, found in cell.returns.items():
        gap = f" (gap {cell.gaps[split].estimate:+.2f})" if split in cell.gaps else ""
        parts.append(f"{split} {found.estimate:.2f}{gap}")
    return f"{run.id}: {', '.join(parts)}; {cell.frames_per_second:,.0f} frames/s"


def write(experiment: Path) -> str:
    """Rebuild results.csv, report.md and report.html in DIR, each written aside and renamed; returns text to print."""
    experiment = Path(experiment)
    runs = load(experiment)
    summary = summarise(runs)
    files = {
        "results.csv": table(score(runs)),
        "report.md": tables.markdown(summary),
        "report.html": html.html(summary),
    }
    for name, text in files.items():
        data = text.encode()
        write_aside(experiment / name, lambda aside, data=data: aside.write_bytes(data))
    return tables.text(summary)


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        print("usage: python -m benchmarks.report DIR\n\nRebuild results.csv, report.md and report.html of DIR.")
        return 0 if list(argv) in (["-h"], ["--help"]) else 2
    try:
        print(write(Path(argv[0])))
    except UsageError as error:
        return report_error(error)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
