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

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Aggregate = Callable[[Array], Array]
Over = Literal["seeds", "episodes"]

RESAMPLES = 10_000
_BLOCK_NUMBERS = 2_000_000  # resampled numbers held at once: 16 MB


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval, and what was resampled to get it."""

    estimate: float
    low: float
    high: float
    over: Over
    """``seeds``: would other seeds agree? ``episodes``: how well is this one agent measured?"""
    n: int
    """Number of units (seeds or episodes) that were resampled; the smaller number where there are two groups."""

    @property
    def usable(self) -> bool:
        """False with a single unit: a zero width then means 'unknown', not 'certain'."""
        return self.n > 1


def _matrix(scores: ArrayLike) -> Array:
    matrix = np.asarray(scores, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"scores must be (runs, tasks) and not empty, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("scores hold a number that is not finite")
    return matrix


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
    matrix = _matrix(scores)
    tasks = np.arange(matrix.shape[1])

    def draw(rng: np.random.Generator, count: int) -> Array:
        return aggregate(matrix[_rows(rng, count, matrix), tasks])

    return _interval(float(aggregate(matrix)), draw, matrix.size, "seeds", len(matrix), resamples, seed)


def paired_difference(
    first: ArrayLike, second: ArrayLike, aggregate: Aggregate = mean, *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of aggregate(first) - aggregate(second), both (N, M), where row n of both is the *same* agent.

    The generalisation gap: one agent's training score minus its held-out score. Both take the same resampled rows,
    so what lifts or sinks an agent on both splits cancels.
    """
    a, b = _matrix(first), _matrix(second)
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
    a, b = _same_tasks(first, second)
    tasks = np.arange(a.shape[1])

    def draw(rng: np.random.Generator, count: int) -> Array:
        return aggregate(a[_rows(rng, count, a), tasks]) - aggregate(b[_rows(rng, count, b), tasks])

    estimate = float(aggregate(a) - aggregate(b))
    return _interval(estimate, draw, a.size + b.size, "seeds", min(len(a), len(b)), resamples, seed)


def improvement(x: ArrayLike, y: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Interval of P(X > Y), ``x`` (N, M) and ``y`` (K, M); the two methods are resampled independently.

    A gain may be claimed when the lower end is above 0.5.
    """
    a, b = _same_tasks(x, y)
    tasks = np.arange(a.shape[1])

    def draw(rng: np.random.Generator, count: int) -> Array:
        return probability_of_improvement(a[_rows(rng, count, a), tasks], b[_rows(rng, count, b), tasks])

    numbers = len(a) * b.size
    estimate = float(probability_of_improvement(a, b))
    return _interval(estimate, draw, numbers, "seeds", min(len(a), len(b)), resamples, seed)


def _same_tasks(first: ArrayLike, second: ArrayLike) -> tuple[Array, Array]:
    a, b = _matrix(first), _matrix(second)
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
