"""Results.csv, report.md and report.html, rebuilt from all runs of an experiment directory, or of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cli import write_file
from benchmarks.reporting import context_tables, html, player, published
from benchmarks.reporting.cells import Cell
from benchmarks.reporting.layout import Section, aligned, narrowed, pipes, wrapped
from benchmarks.reporting.merging import merge
from benchmarks.reporting.notes import notes, one_line, origin, published_note, size, studies, title
from benchmarks.reporting.runs import Run, load, read, results_csv, score
from benchmarks.reporting.sections import sections
from benchmarks.reporting.summary import Summary, summarise

CAPTIONS = 2
"""Tables that a terminal shows with their captions: those of the primary outcome."""


def describe_run(path: Path) -> str:
    """One finished run in one line, for a terminal."""
    run = read(Path(path))
    if run.state != "finished":
        return f"{run.id}: {run.state}, {run.reason}"
    return f"{run.id}: {one_line(Cell(run.id, (run,)))}"


def write_report(experiment: Path, with_player: bool = True) -> str:
    """Rebuild results.csv, report.md and report.html in DIR; returns text to print.

    Args:
        with_player: show recorded episodes, made where they are missing.
    """
    return write_files(load(Path(experiment)), Path(experiment), with_player=with_player)


def write_merged(experiments: Sequence[Path], out: Path, mixed: bool = False, with_player: bool = True) -> str:
    """Write the files of the runs of several experiment directories into ``out``; returns text to print.

    Raises:
        UsageError: the directories cannot be compared, or hold different runs of one id: see ``merging.merge``.
    """
    merged = merge(experiments, mixed)
    return write_files(merged.runs, out, merged.copies, with_player)


def write_files(runs: Sequence[Run], out: Path, left_out: Sequence[str] = (), with_player: bool = True) -> str:
    """Write results.csv, report.md and report.html of runs into ``out``; returns text to print.

    Args:
        left_out: sentences about runs that are left out beforehand.
        with_player: show recorded episodes, made where they are missing.
    """
    summary = summarise(runs)
    summary = dataclasses.replace(summary, missing=(*left_out, *summary.missing))
    write_file(out / "results.csv", results_csv(score(runs)).encode())
    write_file(out / "report.md", markdown(summary).encode())
    episodes = player.player(summary.cells, player.record(summary.cells)) if with_player else None
    write_file(out / "report.html", html.html(summary, episodes).encode())
    return terminal_text(summary)


def terminal_text(summary: Summary) -> str:
    """Tables and notes for a terminal."""
    parts = [] if summary.cells else ["no finished runs yet"]
    shown = [section for section in sections(summary) if section.in_terminal]
    for place, section in enumerate(shown):
        caption = [wrapped(section.caption)] if place < CAPTIONS else []
        parts.append("\n".join([section.heading, *caption, _terminal_table(section)]))
    parts += [wrapped(note) for note in notes(summary)]
    if summary.missing:
        parts.append("\n".join(["not in the table:", *(f"  {name}" for name in summary.missing)]))
    return "\n\n".join(parts)


def _terminal_table(section: Section) -> str:
    header, rows = section.table
    count = section.terminal_columns
    return aligned(narrowed((header[:count], [row[:count] for row in rows])))


def markdown(summary: Summary) -> str:
    """Text of report.md."""
    parts = [f"# {title(summary)}", size(summary)]
    parts += [] if summary.cells else ["No finished runs yet."]
    for section in sections(summary):
        parts += [f"## {section.heading}", section.caption, pipes(section.table)]
    parts += ["## How to read this", "\n".join(f"- {note}" for note in notes(summary))]
    if summary.missing:
        parts += ["## Not in the table", "\n".join(f"- {name}" for name in summary.missing)]
    for env in summary.envs:
        if published.rows(env):
            parts += [
                f"## Published, {env}",
                published_note(summary, env),
                pipes(context_tables.with_published(summary, env)),
            ]
    if cited := studies(summary):
        parts.append("\n".join(f"- {key}: {citation}" for key, citation in cited.items()))
    parts += ["## Where the numbers come from", "\n".join(f"- {fact}: {value}" for fact, value in origin(summary))]
    return "\n\n".join(filter(None, parts)) + "\n"
