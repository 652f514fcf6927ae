"""Rank correlation of a cheap score with an outcome, over methods and seeds, with a third quantity held fixed.

    r_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)),   r Spearman's rank correlation

Seeds of one method are no independent points. So what is resampled are methods, each with all its seeds: the interval
is a percentile bootstrap over methods, p the fraction of permutations of the scores among methods whose correlation is
at least as large in size. How well a score predicts the outcome of a method that was left out is the root mean square
error of a linear regression on the score and z, fitted on the other methods, beside that on z alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """Correlation of a score with an outcome, and what the score adds to a prediction."""

    correlation: float
    low: float
    high: float
    p: float
    error: float
    """Root mean square error for methods left out, in units of the outcome."""
    error_without: float
    """The same without the score."""


def ranks(values: Array) -> Array:
    """Ranks (n,) from 1, ties sharing their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank: Array = (last - (counts - 1) / 2)[inverse]
    return mean_rank


def spearman(x: Array, y: Array) -> float:
    """Rank correlation; 0 where either does not vary."""
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else 0.0


def partial_spearman(x: Array, y: Array, z: Array) -> float:
    """Rank correlation of x and y with z held fixed; 0 where z leaves nothing of either."""
    xy, xz, yz = spearman(x, y), spearman(x, z), spearman(y, z)
    left = (1 - xz**2) * (1 - yz**2)
    return float((xy - xz * yz) / np.sqrt(left)) if left > 1e-12 else 0.0


def prediction(
    score: Array, outcome: Array, fixed: Array, methods: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> Prediction:
    """Correlation of ``score`` with ``outcome``, ``fixed`` held fixed; all (n,), a row for each run.

    Raises:
        ValueError: fewer than three methods.
    """
    names = np.asarray(methods)
    rows = [np.flatnonzero(names == name) for name in dict.fromkeys(methods)]
    if len(rows) < 3:
        raise ValueError(f"{len(rows)} methods; a correlation over methods needs at least three")
    rng = np.random.default_rng(seed)
    estimate = partial_spearman(score, outcome, fixed)
    resampled = [np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))]) for _ in range(draws)]
    values = [partial_spearman(score[index], outcome[index], fixed[index]) for index in resampled]
    low, high = np.percentile(values, [2.5, 97.5])
    shuffled = [partial_spearman(_exchanged(score, rows, rng), outcome, fixed) for _ in range(draws)]
    p = (1 + np.sum(np.abs(shuffled) >= abs(estimate) - 1e-12)) / (1 + draws)
    errors = [left_out_error(columns, outcome, rows) for columns in (np.stack([fixed, score], 1), fixed[:, None])]
    return Prediction(estimate, float(low), float(high), float(p), *errors)


def _exchanged(score: Array, rows: Sequence[NDArray[np.int64]], rng: np.random.Generator) -> Array:
    """Scores (n,) with each method given those of another, its seeds in their order."""
    mixed = np.empty_like(score)
    for own, other in zip(rows, rng.permutation(len(rows)), strict=True):
        mixed[own] = np.resize(score[rows[other]], len(own))
    return mixed


def left_out_error(columns: Array, outcome: Array, rows: Sequence[NDArray[np.int64]]) -> float:
    """Root mean square error of predicting each method's ``outcome`` from ``columns`` (n, k), fitted on the others."""
    design = np.concatenate([np.ones((len(columns), 1)), columns], 1)
    squares = []
    for own in rows:
        others = np.setdiff1d(np.arange(len(outcome)), own)
        weights = np.linalg.lstsq(design[others], outcome[others], rcond=None)[0]
        squares.append(np.square(design[own] @ weights - outcome[own]))
    return float(np.sqrt(np.concatenate(squares).mean()))
