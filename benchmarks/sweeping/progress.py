"""Progress of cells, read from the folders of their runs: frames, return, and the time that is left.

Every backend writes to the same folders, so nothing else has to be asked.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.sweeping.cells import Cell

TAIL = 65_536
"""Bytes of metrics.jsonl that are read, from its end: more than one record."""
SPEED = "time/frames_per_second"


@dataclass
class Row:
    """One cell as the table shows it."""

    cell: Cell
    state: str = "waiting"
    """waiting, running, finished, stopped, elsewhere (another command trains it), or failed."""
    deaths: int = 0
    """Attempts that ended badly."""
    reason: str = ""
    """Why the newest of them did."""
    record: dict[str, Any] = field(default_factory=dict)
    """Newest record of metrics.jsonl; empty before the first."""

    @property
    def total(self) -> int:
        """Frames of RL that the run trains."""
        from agents.runs.config import trained_frames

        return trained_frames(self.cell.config)

    @property
    def frames(self) -> int:
        """Frames of RL that are trained."""
        return int(self.record.get("global_step", 0))

    @property
    def speed(self) -> float:
        """Frames of RL per second; 0 before any."""
        return float(self.record.get(SPEED, 0.0))

    @property
    def seconds_left(self) -> float | None:
        """Seconds of RL that are left at this speed; None where it is not known."""
        if self.state == "finished":
            return 0.0
        return (self.total - self.frames) / self.speed if self.speed else None

    def read(self) -> None:
        """Take the newest record of the run's folder, where there is one."""
        self.record = newest_record(self.cell.folder / "metrics.jsonl") or self.record


def newest_record(path: Path) -> dict[str, Any]:
    """The last whole record of RL in a metrics.jsonl, with the newest speed and return; empty where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - TAIL))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    newest: dict[str, Any] = {}
    for line in reversed(lines):
        try:
            record = json.loads(line)
        except ValueError:  # the first one is cut, the last one may still be written
            continue
        newest = {**record, **newest} if isinstance(record, dict) else newest
        if {"global_step", "train/return", SPEED} <= newest.keys():
            break
    return newest


def is_damaged(cell: Cell) -> bool:
    """True for a run that is marked as finished and whose results cannot be read: it is evaluated again."""
    from benchmarks.reporting.runs import read

    return (cell.folder / "done").exists() and read(cell.folder).state != "finished"


def failure(cell: Cell) -> str:
    """Why the newest start of a cell failed, in one line; '' where the run does not say."""
    try:
        return (cell.folder / "failure.txt").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def time_left(rows: Sequence[Row], slots: int | None) -> float | None:
    """Seconds until all cells are at their end; None before the first speed is known.

    Cells whose speed is not known yet count as fast as the mean of the others.
    """
    speeds = [row.speed for row in rows if row.speed]
    if not speeds:
        return None
    mean = sum(speeds) / len(speeds)
    open_rows = [row for row in rows if row.state not in ("finished", "failed")]
    left = [(row.total - row.frames) / (row.speed or mean) for row in open_rows]
    return max([sum(left) / min(slots or len(rows), max(1, len(rows))), *left]) if left else 0.0
