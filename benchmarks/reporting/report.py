"""An experiment directory's results.csv, report.md and report.html, rebuilt from all of its runs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cli import write_file
from benchmarks.reporting import html, tables
from benchmarks.reporting.runs import Cell, load, read, score, summarise, table


def describe_run(path: Path) -> str:
    """One finished run in one line, for a terminal."""
    run = read(Path(path))
    if run.state != "finished":
        return f"{run.id}: {run.state}, {run.reason}"
    cell = Cell(run.id, (run,))
    returns = []
    for split, interval in cell.returns.items():
        gap = f" (gap {cell.gaps[split].estimate:+.2f})" if split in cell.gaps else ""
        returns.append(f"{split} {interval.estimate:.2f}{gap}")
    return f"{run.id}: {', '.join(returns)}; {cell.frames_per_second:,.0f} frames/s"


def write_report(experiment: Path) -> str:
    """Rebuild results.csv, report.md and report.html in DIR; returns text to print."""
    experiment = Path(experiment)
    runs = load(experiment)
    summary = summarise(runs)
    write_file(experiment / "results.csv", table(score(runs)).encode())
    write_file(experiment / "report.md", tables.markdown(summary).encode())
    write_file(experiment / "report.html", html.html(summary).encode())
    return tables.text(summary)
