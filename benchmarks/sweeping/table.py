"""The table of a sweep: live in a terminal, lines elsewhere, and once at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table

from benchmarks.sweeping.progress import Row, time_left

STYLES = {"finished": "green", "running": "bold", "failed": "red", "stopped": "yellow", "elsewhere": "yellow"}
LINES_EVERY = 60.0
"""Seconds between two lines about running cells where nobody watches a terminal."""


class Display:
    """Rows of a sweep, shown while it runs; use it as a context.

    Args:
        slots: cells that run at a time; None: all.
    """

    def __init__(self, slots: int | None, console: Console | None = None):
        self.console, self.slots = console or Console(), slots
        self.live = Live(console=self.console, refresh_per_second=4, transient=True)
        self.states: dict[str, tuple[str, int]] = {}
        self.line_at = time.monotonic()

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def show(self, rows: Sequence[Row]) -> None:
        """Bring the table up to date; without a terminal a line for each change of a cell."""
        if self.console.is_terminal:
            self.live.update(table(rows, self.slots))
            return
        due = time.monotonic() - self.line_at > LINES_EVERY
        for row in rows:
            now = row.state, row.deaths
            changed = now != self.states.get(row.cell.name, ("waiting", 0))
            if changed or (due and row.state == "running"):
                self.console.print(line(row), soft_wrap=True, markup=False, highlight=False)
            self.states[row.cell.name] = now
        if due:
            self.line_at = time.monotonic()

    def final(self, rows: Sequence[Row]) -> None:
        """Print the table as it stands."""
        self.console.print(table(rows, self.slots))


def table(rows: Sequence[Row], slots: int | None) -> Table:
    """Cell, state, frames, return and time left of each cell, and of all in the caption."""
    done = sum(row.state == "finished" for row in rows)
    left = time_left(rows, slots)
    open_rows = [row for row in rows if row.state not in ("finished", "failed")]
    ahead = f"; about {duration(left)} left" if open_rows and left is not None else ""
    grid = Table(caption=f"{done} of {len(rows)} cells finished{ahead}", caption_justify="left")
    for name in ("cell", "state", "frames", "return", "left"):
        grid.add_column(name, justify="left" if name in ("cell", "state") else "right", overflow="fold")
    for row in rows:
        grid.add_row(*cells(row), style=STYLES.get(row.state))
    return grid


def cells(row: Row) -> tuple[str, str, str, str, str]:
    """Texts of one row."""
    died = f", died {row.deaths} time{'s' * (row.deaths > 1)}" if row.deaths else ""
    returned = row.record.get("train/return")
    left = row.seconds_left if row.state == "running" else None
    return (
        row.cell.label,
        f"{row.state}{died}",
        f"{row.frames:,} of {row.total:,}",
        "" if returned is None else f"{returned:.2f}",
        "" if left is None else duration(left),
    )


def line(row: Row) -> str:
    """One row as a line."""
    label, state, frames, returned, left = cells(row)
    words = [f"{label}: {state}", frames, f"return {returned}" * bool(returned), f"{left} left" * bool(left)]
    return ", ".join(filter(None, words)) + (f" ({row.reason})" if row.reason and row.state != "finished" else "")


def duration(seconds: float) -> str:
    """A duration in the unit that suits it, as announcements have it."""
    from benchmarks.experiment.execute import in_words

    return in_words(seconds)
