"""Intervals of aggregates over several tasks that hold with few seeds, and the correction for many rows.

After Agarwal et al. 2021, whose percentile bootstrap covers 75% to 84% with 3 to 5 seeds, so none is drawn here:

    aggregate, aggregate_difference   IQM (or any aggregate): jackknife over seeds or the seeds' own, t with N - 1 df
    improvement                       P(X > Y): score interval of Newcombe 2006 (method 5), which stays open at 0 and 1
    performance_profile               fraction of runs above tau: Wilson's score interval, at each tau by itself
    holm                              p-values of a table's rows -> adjusted for their number

Scores are matrices (N runs, M tasks), normalised first where tasks differ in scale; row n is seed n on every task. All
intervals speak about new seeds on these tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.reporting import stats, student_t
from benchmarks.reporting.moments import Term, added
from benchmarks.reporting.stats import Aggregate, Interval

Array = NDArray[np.float64]


def _over_seeds(matrix: Array, aggregate: Aggregate) -> Term:
    """Variance of an aggregate, N - 1 degrees of freedom: of its pseudo-values or of each seed's own, the larger.

    With few tasks the pseudo-values of a trimmed mean are too few to vary as they should: with 2 tasks and 3 seeds they
    alone cover 88%. Unknown (nan) for one seed.
    """
    seeds = len(matrix)
    if seeds < 2:
        return Term(np.array(np.nan), np.array(np.nan))
    without = np.array([float(aggregate(np.delete(matrix, seed, axis=0))) for seed in range(seeds)])
    pseudo_values = seeds * float(aggregate(matrix)) - (seeds - 1) * without
    own = np.array([float(aggregate(matrix[[seed]])) for seed in range(seeds)])
    return Term(np.array(max(pseudo_values.var(ddof=1), own.var(ddof=1)) / seeds), np.array(float(seeds - 1)))


def _t_interval(estimate: float, variance: Term, seeds: int) -> Interval:
    if not np.isfinite(variance.variance):
        return Interval(estimate, estimate, estimate, "seeds", seeds, seeds)
    error = math.sqrt(variance.variance)
    half = float(student_t.quantile(variance.df)) * error
    t = 0.0 if estimate == 0 else math.inf if error == 0 else estimate / error
    p = float(student_t.two_sided_p(t, variance.df))
    return Interval(estimate, estimate - half, estimate + half, "seeds", seeds, seeds, p=p)


def aggregate(scores: ArrayLike, of: Aggregate = stats.iqm) -> Interval:
    """Interval of ``of`` (``stats.iqm``, ``mean``, ``median``, ...) of ``scores`` (N, M)."""
    matrix = stats.matrix(scores)
    return _t_interval(float(of(matrix)), _over_seeds(matrix, of), len(matrix))


def aggregate_difference(
    first: ArrayLike, second: ArrayLike, of: Aggregate = stats.iqm, *, paired: bool = False
) -> Interval:
    """Interval of of(first) - of(second), (N, M) and (K, M); ``paired``: row n of both is one agent, or one seed.

    Raises:
        ValueError: not the same tasks, or, where paired, not as many rows.
    """
    a, b = stats.same_tasks(first, second)
    estimate = float(of(a) - of(b))
    if not paired:
        variance = added([_over_seeds(a, of), _over_seeds(b, of)])
        return _t_interval(estimate, variance, min(len(a), len(b)))
    if len(a) != len(b):
        raise ValueError(f"paired scores need as many rows, got {len(a)} and {len(b)}")
    tasks = a.shape[1]

    def both(joined: Array) -> Array:
        return np.asarray(of(joined[:, :tasks]) - of(joined[:, tasks:]))

    return _t_interval(estimate, _over_seeds(np.concatenate([a, b], axis=1), both), len(a))


def improvement(x: ArrayLike, y: ArrayLike) -> Interval:
    """P(X > Y), mean over tasks, ``x`` (N, M) and ``y`` (K, M) of independent runs; ``p`` is that of one half.

    The variance is Newcombe's at the bound itself, V(q) = q (1 - q) [1 + n* ((1 - q) / (2 - q) + q / (1 + q))] / (N K)
    with n* = (N + K) / 2 - 1, over M independent tasks, and t has N + K - 2 degrees of freedom. So a clean separation
    of three runs from three on one task still leaves one half inside.
    """
    a, b = stats.same_tasks(x, y)
    n, k, tasks = len(a), len(b), a.shape[1]
    estimate = float(stats.probability_of_improvement(a, b))
    if min(n, k) < 2:
        return Interval(estimate, estimate, estimate, "seeds", min(n, k), min(n, k))
    t = float(student_t.quantile(n + k - 2))

    def error(q: float) -> float:
        inside = 1 + ((n + k) / 2 - 1) * ((1 - q) / (2 - q) + q / (1 + q))
        return math.sqrt(q * (1 - q) * inside / (n * k * tasks))

    low = _bisect(lambda q: estimate - q - t * error(q), 0.0, estimate)
    high = _bisect(lambda q: estimate - q + t * error(q), estimate, 1.0)
    p = float(student_t.two_sided_p((estimate - 0.5) / error(0.5), n + k - 2))
    return Interval(estimate, low, high, "seeds", min(n, k), min(n, k), p=p)


def _bisect(falling: Callable[[float], float], low: float, high: float) -> float:
    """The place in [low, high] at which a function turns from positive to negative."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def performance_profile(scores: ArrayLike, thresholds: Sequence[float]) -> list[Interval]:
    """For each threshold the fraction of the runs (N, M) above it, with Wilson's interval of N * M runs.

    Tasks that differ make the fraction steadier than one binomial of N * M draws, so it covers at least what it says.
    """
    matrix = stats.matrix(scores)
    count, t = matrix.size, float(student_t.quantile(max(1, matrix.size - 1)))
    profile = []
    for threshold in thresholds:
        fraction = float((matrix > threshold).mean())
        centre = (fraction + t**2 / (2 * count)) / (1 + t**2 / count)
        half = t * math.sqrt(fraction * (1 - fraction) / count + t**2 / (4 * count**2)) / (1 + t**2 / count)
        low, high = max(0.0, centre - half), min(1.0, centre + half)
        profile.append(Interval(fraction, min(low, fraction), max(high, fraction), "seeds", len(matrix), len(matrix)))
    return profile


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979) in the order given: a row stands at 5% where its own is below 0.05.

    The smallest of m is multiplied by m, the next by m - 1, and so on, none below the one before. A nan stays nan and
    is not counted.
    """
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[place] = largest
    return adjusted
