"""Interval, the one result of every estimate, and aggregates over runs and tasks, in plain NumPy.

After Agarwal et al. 2021 ("Deep RL at the edge of the statistical precipice"; their library is rliable).

Scores are matrices (N runs, M tasks), normalised first where tasks differ in scale. A run is one seed.

    IQM              mean of the middle half of all N*M numbers (floor(N*M/4) cut from each end)
    mean, median     over the M per-task means
    optimality gap   gamma - E[min(score, gamma)], gamma = 1: shortfall from the good score, lower is better
    P(X > Y)         mean over tasks of the fraction of run pairs in which X wins, a tie counting one half

Differs from rliable: no bootstrap; the intervals are those of ``several_tasks``, which hold with few seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Aggregate = Callable[[Array], Array]
Over = Literal["seeds", "levels", "seeds and levels", "episodes"]


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval, and what was resampled to get it."""

    estimate: float
    low: float
    high: float
    over: Over
    """What was resampled: would other seeds, other levels, or both agree? ``episodes``: of this one agent only."""
    n: int
    """Number of units (seeds, levels or episodes) that were resampled; the smaller number where there are several."""
    seeds: int = 0
    """Seeds behind the estimate; 0 where they are not known."""
    levels: int = 0
    """Levels of a seed behind it, the smaller number of two splits; 0 where they are not known."""
    p: float = math.nan
    """Two-sided p of no effect (0; one half for P(X > Y)), below 0.05 where the interval excludes it; nan: unknown."""

    @property
    def speaks_of(self) -> str:
        """Whom the interval speaks of, as a table says it."""
        if self.over == "seeds and levels":
            return "new seeds on new levels"
        return {"seeds": "new seeds", "episodes": "this agent's episodes"}.get(
            self.over, "these agents on these levels"
        )

    @property
    def usable(self) -> bool:
        """False with a single unit: a zero width then means 'unknown', not 'certain'."""
        return self.n > 1


def matrix(scores: ArrayLike) -> Array:
    """Scores as an array (N runs, M tasks).

    Raises:
        ValueError: not two axes, empty, or a number that is not finite.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"scores must be (runs, tasks) and not empty, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("scores hold a number that is not finite")
    return array


def iqm(scores: Array) -> Array:
    """Interquartile mean over the last two axes (runs, tasks); leading axes are kept."""
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)


def mean(scores: Array) -> Array:
    """Mean over tasks of the per-task means."""
    return scores.mean(axis=(-2, -1))


def median(scores: Array) -> Array:
    """Median over tasks of the per-task means."""
    return np.median(scores.mean(axis=-2), axis=-1)


def optimality_gap(scores: Array, gamma: float = 1.0) -> Array:
    """Mean shortfall below ``gamma``; scores above it count as ``gamma``."""
    return gamma - np.minimum(scores, gamma).mean(axis=(-2, -1))


def probability_of_improvement(x: Array, y: Array) -> Array:
    """Mean over tasks of P(X > Y) + P(X = Y) / 2; ``x`` (..., N, M), ``y`` (..., K, M)."""
    first, second = x[..., :, None, :], y[..., None, :, :]
    return ((first > second) + 0.5 * (first == second)).mean(axis=(-3, -2, -1))


def same_tasks(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    """Two methods' scores (N, M) and (K, M).

    Raises:
        ValueError: not the same number of tasks, or what ``matrix`` refuses.
    """
    a, b = matrix(first), matrix(second)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both methods need the same tasks, got {a.shape[1]} and {b.shape[1]}")
    return a, b
