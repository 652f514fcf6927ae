"""An experiment directory's results.csv, report.md and report.html, rebuilt from all of its runs."""

from __future__ import annotations

from pathlib import Path

from benchmarks.cli import write_file
from benchmarks.reporting import html, published, tables
from benchmarks.reporting.cells import Cell, Summary, summarise
from benchmarks.reporting.layout import aligned, narrowed, pipes, wrapped
from benchmarks.reporting.notes import AGGREGATES_NOTE, notes, origin, published_note, size, studies, title
from benchmarks.reporting.runs import load, read, results_csv, score


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
    write_file(experiment / "results.csv", results_csv(score(runs)).encode())
    write_file(experiment / "report.md", markdown(summary).encode())
    write_file(experiment / "report.html", html.html(summary).encode())
    return terminal_text(summary)


def terminal_text(summary: Summary) -> str:
    """Tables and notes for a terminal."""
    parts = [aligned(narrowed(tables.headline(summary)))] if summary.cells else ["no finished runs yet"]
    header, rows = tables.references(summary)
    without_command = (header[:-1], [row[:-1] for row in rows])
    for header, rows in (without_command, tables.against_baseline(summary), tables.aggregates(summary)):
        if rows:
            parts.append(aligned((header[:8], [row[:8] for row in rows])))
    parts += [wrapped(note) for note in notes(summary)]
    if summary.missing:
        parts.append("\n".join(["not in the table:", *(f"  {name}" for name in summary.missing)]))
    return "\n\n".join(parts)


def markdown(summary: Summary) -> str:
    """Text of report.md."""
    parts = [f"# {title(summary)}", size(summary)]
    parts.append(pipes(tables.headline(summary)) if summary.cells else "No finished runs yet.")
    if tables.references(summary)[1]:
        parts += ["## Reference policies", pipes(tables.references(summary))]
    if tables.against_baseline(summary)[1]:
        parts += ["## Against the baseline", pipes(tables.against_baseline(summary))]
    if tables.aggregates(summary)[1]:
        parts += ["## Over all tasks, normalised", AGGREGATES_NOTE, pipes(tables.aggregates(summary))]
    parts += ["## How to read this", "\n".join(f"- {note}" for note in notes(summary))]
    if summary.missing:
        parts += ["## Not in the table", "\n".join(f"- {name}" for name in summary.missing)]
    for env in summary.envs:
        if published.rows(env):
            parts += [f"## Published, {env}", published_note(summary, env), pipes(tables.with_published(summary, env))]
    if cited := studies(summary):
        parts.append("\n".join(f"- {key}: {citation}" for key, citation in cited.items()))
    parts += ["## Where the numbers come from", "\n".join(f"- {fact}: {value}" for fact, value in origin(summary))]
    return "\n\n".join(parts) + "\n"
