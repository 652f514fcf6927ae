"""Reference scores: returns of a random and a hand-written policy, so that an agent's figure can be read.

    python -m envs --score SUITE --save

runs them and writes the suite's rows into ``envs/reference_scores.csv``, where the command and the counts stand beside
each figure; reports show them. Windows and first episodes are counted as ``benchmarks.transfer`` counts them, with the
suite's own number of training levels.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from envs.registry import UsageError
from envs.spaces import Array
from envs.tasks import Task, World

Policy = Literal["random", "scripted"]
POLICIES: tuple[Policy, ...] = ("random", "scripted")


@dataclass(frozen=True)
class Reference:
    """Score of one policy on one split."""

    env: str
    split: str
    policy: str
    mean: float
    """Return of an episode, or of a window."""
    std: float
    """Over episodes or windows (n - 1)."""
    count: int
    command: str
    """The command that prints it."""


TABLE = Path(__file__).parent / "reference_scores.csv"


def known() -> tuple[Reference, ...]:
    """The rows of ``reference_scores.csv``."""
    with open(TABLE, newline="") as file:
        return tuple(
            Reference(
                row["env"],
                row["split"],
                row["policy"],
                float(row["mean"]),
                float(row["std"]),
                int(row["count"]),
                row["command"],
            )
            for row in csv.DictReader(file)
        )


def save(rows: list[Reference]) -> None:
    """Put ``rows`` in the place of the table's rows of the same task, split and policy."""
    new = {(row.env, row.split, row.policy) for row in rows}
    kept_rows = [row for row in known() if (row.env, row.split, row.policy) not in new]
    with io.StringIO(newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Reference)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in sorted([*kept_rows, *rows], key=lambda row: row.env))
        text = file.getvalue()
    TABLE.write_text(text)


def returns(world: World, policy: Policy, count: int, window: int, seed: int = 0) -> Array:
    """(count,): the first episode's return of each of ``count`` envs, or the sum over ``window`` steps where not 0.

    Raises:
        UsageError: the environment has no scripted policy.
    """
    envs: Any = world.make(count, seed)
    if policy == "scripted" and not hasattr(envs, "scripted"):
        raise UsageError(f"{world.name} has no scripted policy; use --policy random")
    rng = np.random.default_rng(seed)
    envs.reset()
    total, running, steps = np.zeros(count), np.ones(count, bool), 0
    while steps < window if window else running.any():
        actions = envs.scripted() if policy == "scripted" else rng.integers(envs.single_action_space.n, size=count)
        _, reward, terminated, truncated, _ = envs.step(actions)
        total += reward * running
        if not window:
            running &= ~(terminated | truncated)
        steps += 1
    envs.close()
    return total


def score(task: Task, policy: Policy, count: int, seed: int, command: str) -> list[Reference]:
    """A row for every split of a task."""
    rows = []
    for split, world in task.splits().items():
        sample = returns(world, policy, count, task.window, seed)
        mean, std = round(float(sample.mean()), 2), round(float(sample.std(ddof=1)), 2)
        rows.append(Reference(task.env, split, policy, mean, std, count, command))
    return rows
