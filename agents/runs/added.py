"""Evaluations added to a finished run: other levels, more episodes, likeliest actions.

They go to added.csv, which no table of a report reads, and source.json says that they were made. The final evaluation
stays the one that was fixed before training; whoever sees more of the held-out levels may choose by them.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from agents.checkpoint import write_aside
from agents.policy import Policy
from agents.runs.config import RunConfig
from agents.runs.evaluate import Episodes
from agents.runs.run_dir import write_rows
from agents.runs.source import commit
from agents.runs.splits import play, played_levels, require_finite_returns, worlds_of
from envs.level_sets import LevelRange
from envs.registry import UsageError
from envs.tasks import Task, World, levels_of

FILE = "added.csv"
COLUMNS = ("split", "levels", "env", "level", "episode", "actions", "return", "length", "commit", "added")
VISIT = ("split", "levels", "level", "episode", "actions")
"""Columns that name an episode; played again, it replaces the earlier row."""


@dataclass(frozen=True)
class Wanted:
    """One evaluation to add."""

    split: str
    """Of the task, or ``VALIDATION``."""
    episodes: int
    """At least, each level equally often; with likeliest actions the levels, at most, once each."""
    levels: LevelRange | None = None
    """In place of the split's own; None keeps these."""
    greedy: bool = False
    """Take the likeliest actions, and play each level once."""


def evaluate(config: RunConfig, task: Task, policy: Policy, wanted: Wanted) -> Episodes:
    """Play one evaluation. Repetitions of a level count from 0, as in the final evaluation.

    Raises:
        UsageError: the task has no such split, or its environment names no levels to choose among.
    """
    world = world_of(task, wanted.split)
    levels: Sequence[int]
    if wanted.levels is not None:
        if levels_of(world) is None:
            raise UsageError(f"split '{wanted.split}' of {task.env} names no levels; leave --levels out")
        world = world.with_options(**wanted.levels.options)
        levels = wanted.levels.first(wanted.episodes)
    else:
        levels = played_levels(config, world, wanted.episodes)
    episodes = len(levels) if wanted.greedy else wanted.episodes
    played = play(config, task, policy, world, levels, episodes, greedy=wanted.greedy)
    return require_finite_returns(played, f"split '{wanted.split}'")


def world_of(task: Task, split: str) -> World:
    """Environment of a split, or of ``VALIDATION``; UsageError where the task has none of that name."""
    worlds = worlds_of(task)
    if split not in worlds:
        raise UsageError(f"{task.env} has no split '{split}'; it has: {', '.join(worlds)}")
    return worlds[split]


def add(run: Path, config: RunConfig, wanted: Wanted, episodes: Episodes) -> None:
    """Write an evaluation's episodes to the run's added.csv, and to its source.json that it was made."""
    levels, actions = str(wanted.levels or ""), "greedy" if wanted.greedy else "sampled"
    now, code = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), commit()
    with FileLock(run / f"{FILE}.lock"):
        rows = {tuple(row[name] for name in VISIT): row for row in read(run)}
        columns = (episodes.levels, episodes.repeats, episodes.returns, episodes.lengths)
        for level, repeat, value, length in zip(*(column.tolist() for column in columns), strict=True):
            values = (wanted.split, levels, config.env, level, repeat, actions, value, length, code, now)
            row = dict(zip(COLUMNS, map(str, values), strict=True))
            rows[tuple(row[name] for name in VISIT)] = row
        file = run / "source.json"
        source: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        facts = {
            "time": now,
            "commit": code,
            "split": wanted.split,
            "levels": levels,
            "episodes": len(episodes.returns),
        }
        source["added_evaluations"] = [*source.get("added_evaluations", ()), {**facts, "actions": actions}]
        if wanted.split != "train" or levels:
            source.setdefault("held_out_read_at", config.steps)  # trained on from here, the run says so
        text = json.dumps(source, indent=2) + "\n"
        write_aside(file, lambda aside: aside.write_text(text, encoding="utf-8"))
        write_rows(run / FILE, list(rows.values()))


def read(run: Path) -> list[dict[str, str]]:
    """Rows of a run's added.csv; none where nothing was added."""
    if not (run / FILE).exists():
        return []
    with open(run / FILE, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))
