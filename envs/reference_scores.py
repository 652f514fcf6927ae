"""Reference scores: returns of a random and a hand-written policy, so that an agent's figure can be read.

    python -m envs --score SUITE --save                        on the published training levels
    python -m envs --score SUITE --levels 100000000+20         on a run's own, as its ``level_set`` names them

plays each split on named levels, every level equally often, as agents are evaluated. A return depends on the policy,
the environment's options, the level and its repetition alone (random actions are drawn by counter), so references and
agents may be compared level by level. The suite's rows go into ``envs/reference_scores.csv``, where the levels, the
counts and the command stand beside each figure. ``measured`` gives the rows of any level set, from that table, from a
table of the caller's, or played.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock

from envs.counter_rng import counter_hash
from envs.named_levels import stream
from envs.registry import UsageError
from envs.spaces import Array
from envs.tasks import EPISODE_LIMIT, Task, World, levels_of

Policy = Literal["random", "scripted"]
Choice = Callable[[World, int], Sequence[int]]
POLICIES: tuple[Policy, ...] = ("random", "scripted")
AT_ONCE = 64
"""Envs side by side at most, where levels can be named."""
_ACTION = 9001  # tag of the random policy's draws


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
    levels: str = ""
    """Levels that were played, as ``set_name`` names them; "" where an environment cannot name them."""
    window: int = 0
    """Steps that a return sums over; 0 for an episode."""
    commit: str = ""
    """Commit that played it; "" where nobody noted it."""


TABLE = Path(__file__).parent / "reference_scores.csv"


def known(table: Path | None = None) -> tuple[Reference, ...]:
    """The rows of ``table``, by default of ``reference_scores.csv``; none where there is no such file."""
    path = table or TABLE
    if not path.exists():
        return ()
    with open(path, encoding="utf-8", newline="") as file:
        return tuple(
            Reference(
                row["env"],
                row["split"],
                row["policy"],
                float(row["mean"]),
                float(row["std"]),
                int(row["count"]),
                row["command"],
                row.get("levels") or "",
                int(row.get("window") or 0),
                row.get("commit") or "",
            )
            for row in csv.DictReader(file)
        )


def save(rows: Sequence[Reference], table: Path | None = None) -> None:
    """Put ``rows`` in the place of the table's rows of the same task, split, policy, levels and window.

    ``reference_scores.csv`` itself keeps one row for a task, split and policy, whatever the levels.
    """

    path = table or TABLE
    with FileLock(path.with_name(f".{path.name}.lock")):
        _replace(rows, path, own=table is not None)


def _replace(rows: Sequence[Reference], path: Path, own: bool) -> None:
    def key(row: Reference) -> tuple[str, ...]:
        return (row.env, row.split, row.policy, *[row.levels, str(row.window)] * own)

    new = {key(row) for row in rows}
    kept_rows = [row for row in known(path) if key(row) not in new]
    with io.StringIO(newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Reference)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in sorted([*kept_rows, *rows], key=lambda row: row.env))
        text = file.getvalue()
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def returns(
    world: World,
    policy: Policy,
    levels: Sequence[int] | Array,
    repeats: Sequence[int] | Array,
    window: int = 0,
    at_once: int = AT_ONCE,
) -> Array:
    """Return (E,) of the episode that begins with each visit, or of its ``window`` steps where that is not 0.

    Args:
        world: the environment.
        policy: random (uniform, drawn by level, repetition and step) or scripted.
        levels: level of each visit (E,).
        repeats: its repetition number (E,).
        window: steps that a return sums over, on through the ends of episodes.
        at_once: visits side by side, which changes nothing.

    Where the environment cannot name its levels, the visits are the first episodes of E envs of seed 0.

    Raises:
        UsageError: the environment has no scripted policy.
    """
    levels, repeats = np.asarray(levels, np.int64), np.asarray(repeats, np.int64)
    envs: Any = world.make(min(at_once, len(levels)), 0)
    if policy == "scripted" and not hasattr(envs, "scripted"):
        envs.close()
        raise UsageError(f"{world.name} has no scripted policy; use --policy random")
    if not getattr(envs, "names_levels", False):
        envs.close()
        envs = world.make(len(levels), 0)
        at_once = len(levels)
    totals = [
        _returns_of(envs, policy, levels[first : first + at_once], repeats[first : first + at_once], window)
        for first in range(0, len(levels), at_once)
    ]
    envs.close()
    return np.concatenate(totals)


def _returns_of(envs: Any, policy: Policy, levels: Array, repeats: Array, window: int) -> Array:
    """Returns (n,) of n visits, at most one an env."""
    from envs.action_codes import ActionCodes  # imports torch

    n, codes = len(levels), ActionCodes(envs.single_action_space)
    shown = np.arange(envs.num_envs) % n  # envs without a visit play another's again, and do not count
    if getattr(envs, "names_levels", False):
        envs.reset(options={"levels": levels[shown], "repeats": repeats[shown]})
    else:
        envs.reset()
        levels = np.arange(n)  # streams of the random policy
    streams = stream(levels, repeats)[shown]
    total, running, step = np.zeros(envs.num_envs), np.arange(envs.num_envs) < n, 0
    counted = running.copy()
    while step < window if window else running.any() and step < EPISODE_LIMIT:
        drawn = codes.to_env(codes.by_counter(counter_hash(streams, step, _ACTION)))
        actions = envs.scripted() if policy == "scripted" else drawn
        _, reward, terminated, truncated, _ = envs.step(actions)
        total += reward * running
        if not window:
            running &= ~(terminated | truncated)
        step += 1
    return total[counted]


def mean_return(rows: Sequence[Reference], env: str, split: str, policy: str) -> float | None:
    """Mean return of a policy on a split over the sets of levels in ``rows``; None where none has it."""
    means = [row.mean for row in rows if (row.env, row.split, row.policy) == (env, split, policy)]
    return sum(means) / len(means) if means else None


def first_levels(world: World, count: int) -> Sequence[int]:
    """The first levels of a world's set, ``count`` at most; 0, 1, ... where it names none."""
    levels = levels_of(world)
    return levels.first(count) if levels else range(count)


def score(
    task: Task,
    policy: Policy,
    count: int,
    command: str,
    splits: Sequence[str] | None = None,
    choose: Choice = first_levels,
    window: int | None = None,
    commit: str = "",
) -> list[Reference]:
    """A row for every split of a task, or for ``splits``: ``count`` episodes at least, each level equally often.

    Args:
        choose: gives the levels to play from a world and ``count``.
        window: steps that a return sums over, 0 for episodes; by default the task's own.
        commit: noted beside each row.
    """
    rows, samples = [], dict[str, Array]()
    window = task.window if window is None else window
    for split, world in task.splits().items():
        if splits is not None and split not in splits:
            continue
        played = np.asarray(choose(world, count))
        rounds = -(-count // len(played))
        visits = np.tile(played, rounds), np.repeat(np.arange(rounds), len(played))
        shown = task.source if split in task.same_state_targets else world  # which differ by their pixels alone
        if repr(shown) not in samples:
            samples[repr(shown)] = returns(shown, policy, *visits, window=window)
        sample = samples[repr(shown)]
        mean, std = round(float(sample.mean()), 2), round(float(sample.std(ddof=1)), 2)
        name = _name(world, played)
        rows.append(Reference(task.env, split, policy, mean, std, len(sample), command, name, window, commit))
    return rows


def measured(
    task: Task,
    count: int,
    table: Path | None = None,
    command: str = "",
    choose: Choice = first_levels,
    window: int | None = None,
    commit: str = "",
) -> tuple[Reference, ...]:
    """References of every split on the very levels that ``task`` names, as ``Task.on_levels`` set them.

    Rows of ``reference_scores.csv`` and of ``table`` that played these levels, in windows as long, are taken as they
    are, others are played now; ``table`` then holds all. A policy that an environment does not have gives no row.

    Args:
        task: on a run's training levels.
        count: episodes or windows of each split at least.
        table: a file of the caller's, written where a row is missing there; None keeps nothing.
        command: noted beside a row that is played.
        choose, window, commit: as in ``score``.
    """
    window = task.window if window is None else window

    def key(row: Reference) -> tuple[str, str, str, str, int]:
        return row.env, row.split, row.policy, row.levels, row.window

    by_key = {key(row): row for row in (*known(), *(known(table) if table else ()))}
    rows: list[Reference] = []
    for policy in POLICIES:
        wanted = {
            split: (task.env, split, policy, _name(world, choose(world, count)), window)
            for split, world in task.splits().items()
        }
        missing = [split for split, wanted_key in wanted.items() if wanted_key not in by_key]
        try:
            fresh = score(task, policy, count, command, missing, choose, window, commit) if missing else []
        except UsageError:
            continue
        by_key |= {key(row): row for row in fresh}
        rows += [by_key[wanted_key] for wanted_key in wanted.values()]
    if table and not set(rows) <= set(known(table)):
        save(rows, table)
    return tuple(rows)


def set_name(played: Sequence[int] | Array) -> str:
    """Name of levels (n,): START+COUNT where they follow on each other, else "COUNT drawn from all"."""
    run = len(played) == 1 or bool((np.diff(np.asarray(played)) == 1).all())
    return f"{int(played[0])}+{len(played)}" if run else f"{len(played)} drawn from all"


def _name(world: World, played: Sequence[int] | Array) -> str:
    """Name of the levels that were played; "" where an environment names none."""
    return "" if levels_of(world) is None else set_name(played)
