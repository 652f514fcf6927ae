"""Episodes read back from a run's CSV files, with the level and the repetition behind each return.

    eval.csv        the final evaluation: split, level, repetition, sampled or likeliest actions
    validation.csv  evaluations during training, all on the same validation levels
    crossed.csv     the same agent on the training levels of other seeds
    matched.csv     policies kept during training, each on two halves of episodes
    agreement.csv   how often the likeliest effect of an action stays the same in another visual variant

A mean return weighs levels equally: it is the mean over levels of each level's mean over repetitions.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Levels = NDArray[np.int64]


@dataclass(frozen=True)
class Returns:
    """Episodes of one agent on one list of levels; all arrays (E,)."""

    values: Array
    """Undiscounted return of each episode."""
    levels: Levels
    """Level of each episode; its number in the file where the file does not say (see ``named_levels``)."""
    repetitions: Levels
    """Repetition number on that level, from 0."""
    lengths: Array
    """Steps of each episode; nan where the file does not say."""
    named_levels: bool = True
    """False for a file of the protocol before: levels are unknown, so each episode passes for a level of its own."""

    def __len__(self) -> int:
        return len(self.values)

    def level_means(self) -> tuple[Levels, Array]:
        """Levels in ascending order (L,), and the mean return on each (L,)."""
        levels, place = np.unique(self.levels, return_inverse=True)
        return levels, np.bincount(place, self.values) / np.bincount(place)

    def mean(self) -> float:
        """Mean return, every level with the same weight."""
        return float(self.level_means()[1].mean())

    def by_level(self) -> dict[int, list[float]]:
        """Level -> its returns, by repetition."""
        rows = sorted(zip(self.levels.tolist(), self.repetitions.tolist(), self.values.tolist(), strict=True))
        table: dict[int, list[float]] = {}
        for level, _, value in rows:
            table.setdefault(level, []).append(value)
        return table


@dataclass(frozen=True)
class KeptPolicies:
    """Means of the policies kept at fractions of training (F,), from one half of the episodes."""

    fractions: Array
    means: Array


@dataclass(frozen=True)
class Agreement:
    """One agent's agreement with itself between the source and a visual variant, level by level; arrays (L,)."""

    levels: Levels
    effect: Array
    """Fraction of a level's states whose likeliest effect stays the same."""
    total_variation: Array
    """Half the summed absolute difference of the two distributions over effects, mean over states."""
    states: int
    """States compared on all levels together."""


@dataclass(frozen=True)
class Evaluation:
    """Contents of eval.csv."""

    returns: dict[str, Returns] = field(default_factory=dict)
    """Split -> episodes with sampled actions."""
    greedy: dict[str, Returns] = field(default_factory=dict)
    """Split -> episodes with the likeliest actions, where they were played too."""
    named_levels: bool = True


def returns_of(rows: Iterable[Mapping[str, str]], named_levels: bool = True) -> Returns:
    """Episodes from rows with ``return``, and ``level`` and ``episode`` where levels are named."""
    rows = list(rows)
    count = np.arange(len(rows), dtype=np.int64)
    levels = np.array([int(row["level"]) for row in rows], dtype=np.int64) if named_levels else count
    repetitions = np.array([int(row["episode"]) for row in rows], dtype=np.int64) if named_levels else 0 * count
    lengths = np.array([float(row.get("length") or "nan") for row in rows])
    values = np.array([float(row["return"]) for row in rows])
    return Returns(values, levels, repetitions, lengths, named_levels)


def read_evaluation(path: Path) -> Evaluation:
    """Read eval.csv, or one of the protocol before, which has ``level_seed`` instead of ``level`` and ``actions``.

    Raises:
        ValueError: a level was played twice as one repetition, so episodes would count double.
        KeyError: a column is missing.
    """
    rows = _rows(path)
    named_levels = not rows or "level" in rows[0]
    evaluation = Evaluation(named_levels=named_levels)
    for kind, tables in (("sampled", evaluation.returns), ("greedy", evaluation.greedy)):
        for split, group in _grouped([row for row in rows if (row.get("actions") or "sampled") == kind], "split"):
            returns = tables[split] = returns_of(group, named_levels)
            if len(set(zip(returns.levels.tolist(), returns.repetitions.tolist(), strict=True))) < len(returns):
                raise ValueError(f"{path.name}: split {split} has a level twice with one repetition number")
    return evaluation


def read_validation(path: Path) -> dict[int, Returns]:
    """Step of training -> episodes on validation levels then; empty without the file, which older runs lack."""
    return {int(step): returns_of(group) for step, group in _grouped(_rows(path), "step")}


def read_crossed(path: Path) -> dict[int, Returns]:
    """Seed -> this agent's episodes on that seed's training levels; empty without the file."""
    return {int(seed): returns_of(group) for seed, group in _grouped(_rows(path), "seed")}


def read_matched(path: Path) -> dict[tuple[str, str], KeptPolicies]:
    """(Split, half "a" or "b") -> kept policies, in the order of training; empty without the file."""
    table: dict[tuple[str, str], KeptPolicies] = {}
    for split, of_split in _grouped(_rows(path), "split"):
        for half, of_half in _grouped(of_split, "half"):
            means = sorted((float(key), returns_of(group).mean()) for key, group in _grouped(of_half, "fraction"))
            fractions, values = zip(*means, strict=True)
            table[split, half] = KeptPolicies(np.array(fractions), np.array(values))
    return table


def read_agreement(path: Path) -> dict[str, Agreement]:
    """Split -> agreement by effect; empty without the file, or where it counts actions as versions before did."""
    rows = _rows(path)
    if rows and "effect" not in rows[0]:
        return {}
    table = {}
    for split, group in _grouped(rows, "split"):
        levels = np.array([int(row["level"]) for row in group], dtype=np.int64)
        effect, distance = (np.array([float(row[name]) for row in group]) for name in ("effect", "total_variation"))
        table[split] = Agreement(levels, effect, distance, sum(int(row["states"]) for row in group))
    return table


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _grouped(rows: Iterable[dict[str, str]], column: str) -> list[tuple[str, list[dict[str, str]]]]:
    """Rows by the value of a column, in the order of first appearance."""
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(row[column], []).append(row)
    return list(groups.items())
