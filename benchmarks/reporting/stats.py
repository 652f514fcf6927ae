"""Aggregates and intervals over runs and tasks, in plain NumPy.

After Agarwal et al. 2021 ("Deep RL at the edge of the statistical precipice"; their library is rliable).

Scores are matrices (N runs, M tasks), normalised first where tasks differ in scale. A run is one seed.

    IQM              mean of the middle half of all N*M numbers (floor(N*M/4) cut from each end)
    mean, median     over the M per-task means
    optimality gap   gamma - E[min(score, gamma)], gamma = 1: shortfall from the good score, lower is better
    P(X > Y)         mean over tasks of the fraction of run pairs in which X wins, a tie counting one half

Intervals are percentile bootstraps that resample runs with replacement *within each task*: they speak about new seeds
on these tasks, not about new tasks. One run has no spread between seeds; its interval has zero width and
``Interval.usable`` is False. The spread over *episodes* of one run is another quantity and is labelled so.

Differs from rliable: draws come from a generator seeded here (theirs ignores ``random_state``); 10,000 resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Aggregate = Callable[[Array], Array]
Over = Literal["seeds", "levels", "seeds and levels", "episodes"]

RESAMPLES = 10_000
_BLOCK_NUMBERS = 2_000_000  # resampled numbers held at once: 16 MB


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


def _interval(
    estimate: float,
    draw: Callable[[np.random.Generator, int], Array],
    numbers: int,
    over: Over,
    n: int,
    resamples: int,
    seed: int,
) -> Interval:
    """95% percentile interval of ``draw(rng, count) -> (count,)``, in blocks so that memory stays bounded."""
    rng = np.random.default_rng(seed)
    block = max(1, min(resamples, _BLOCK_NUMBERS // numbers))
    samples = [draw(rng, min(block, resamples - start)) for start in range(0, resamples, block)]
    low, high = np.percentile(np.concatenate(samples), [2.5, 97.5])
    return Interval(estimate, float(low), float(high), over, n)


def _rows(rng: np.random.Generator, count: int, matrix: Array) -> NDArray[np.int64]:
    """Row numbers (count, N, M): every task draws its own N runs, with replacement."""
    return rng.integers(0, len(matrix), size=(count, *matrix.shape))


def over_seeds(
    scores: ArrayLike, aggregate: Aggregate = mean, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Stratified bootstrap interval of an aggregate of ``scores`` (N runs, M tasks).

    ``aggregate`` maps (..., N, M) to (...): one of this module's, or your own.
    """
    array = matrix(scores)
    tasks = np.arange(array.shape[1])

    def draw(rng: np.random.Generator, count: int) -> Array:
        return aggregate(array[_rows(rng, count, array), tasks])

    return _interval(float(aggregate(array)), draw, array.size, "seeds", len(array), resamples, seed)


def paired_difference(
    first: ArrayLike, second: ArrayLike, aggregate: Aggregate = mean, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of aggregate(first) - aggregate(second), both (N, M), where row n of both is the *same* agent.

    The generalisation gap: one agent's training score minus its held-out score. Both take the same resampled rows,
    so what lifts or sinks an agent on both splits cancels.
    """
    a, b = matrix(first), matrix(second)
    if a.shape != b.shape:
        raise ValueError(f"paired scores must have one shape, got {a.shape} and {b.shape}")
    tasks = np.arange(a.shape[1])

    def draw(rng: np.random.Generator, count: int) -> Array:
        rows = _rows(rng, count, a)
        return aggregate(a[rows, tasks]) - aggregate(b[rows, tasks])

    estimate = float(aggregate(a) - aggregate(b))
    return _interval(estimate, draw, 2 * a.size, "seeds", len(a), resamples, seed)


def independent_difference(
    first: ArrayLike, second: ArrayLike, aggregate: Aggregate = mean, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of aggregate(first) - aggregate(second) for two methods, (N, M) and (K, M): seeds are not paired."""
    a, b = same_tasks(first, second)
    tasks = np.arange(a.shape[1])

    def draw(rng: np.random.Generator, count: int) -> Array:
        return aggregate(a[_rows(rng, count, a), tasks]) - aggregate(b[_rows(rng, count, b), tasks])

    estimate = float(aggregate(a) - aggregate(b))
    return _interval(estimate, draw, a.size + b.size, "seeds", min(len(a), len(b)), resamples, seed)


def improvement(x: ArrayLike, y: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of P(X > Y), ``x`` (N, M) and ``y`` (K, M); the two methods are resampled independently.

    A gain may be claimed when the lower end is above 0.5.
    """
    a, b = same_tasks(x, y)
    tasks = np.arange(a.shape[1])

    def draw(rng: np.random.Generator, count: int) -> Array:
        return probability_of_improvement(a[_rows(rng, count, a), tasks], b[_rows(rng, count, b), tasks])

    numbers = len(a) * b.size
    estimate = float(probability_of_improvement(a, b))
    return _interval(estimate, draw, numbers, "seeds", min(len(a), len(b)), resamples, seed)


def same_tasks(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    """Two methods' scores (N, M) and (K, M).

    Raises:
        ValueError: not the same number of tasks, or what ``matrix`` refuses.
    """
    a, b = matrix(first), matrix(second)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both methods need the same tasks, got {a.shape[1]} and {b.shape[1]}")
    return a, b


def over_episodes(returns: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of ONE agent's mean return, from its episodes (E,): it says nothing about other seeds."""
    episodes = np.asarray(returns, dtype=np.float64)[:, None]
    return replace(over_seeds(episodes, resamples=resamples, seed=seed), over="episodes")


def episode_difference(first: ArrayLike, second: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Difference of two mean returns from their episodes (E,) and (F,), resampled independently."""
    a, b = (np.asarray(returns, dtype=np.float64)[:, None] for returns in (first, second))
    return replace(independent_difference(a, b, resamples=resamples, seed=seed), over="episodes")
