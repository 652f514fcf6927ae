"""Student's t for fractional degrees of freedom, over arrays: scipy is no dependency of this project.

With t = sqrt(df) tan(a), the probability of |T| < t is the integral of cos(x)^(df - 1) from 0 to a, divided by the one
to pi/2, which is a ratio of gamma functions. The integrand is smooth on [0, a], so Gauss-Legendre nodes suffice.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(96)
_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])


def _inside(angle: Array, df: Array) -> Array:
    """Integral of cos(x)^(df - 1) over [0, angle]; shapes (...)."""
    nodes = 0.5 * angle[..., None] * (_NODES + 1)
    return 0.5 * angle * (np.cos(nodes) ** (df[..., None] - 1) * _WEIGHTS).sum(axis=-1)


def _whole(df: Array) -> Array:
    """The integral over [0, pi/2]."""
    return 0.5 * math.sqrt(math.pi) * np.exp(_log_gamma(df / 2) - _log_gamma((df + 1) / 2))


def two_sided_p(t: ArrayLike, df: ArrayLike) -> Array:
    """P(|T| >= |t|), elementwise; ``df`` at least 1, both of shapes that broadcast. An infinite t gives 0."""
    values, degrees = np.broadcast_arrays(np.abs(np.asarray(t, np.float64)), np.asarray(df, np.float64))
    angle = np.arctan(values / np.sqrt(degrees))
    return np.where(np.isinf(values), 0.0, np.clip(1 - _inside(angle, degrees) / _whole(degrees), 0.0, 1.0))


def quantile(df: ArrayLike, confidence: float = 0.95) -> Array:
    """The t with P(|T| < t) = ``confidence``, elementwise; ``df`` at least 1, any shape.

    Newton's method from 0 on the angle: the integral is concave, so every step stops short of the root.
    """
    degrees = np.asarray(df, np.float64)
    target = confidence * _whole(degrees)
    angle = np.zeros_like(degrees)
    for _ in range(60):
        step = (target - _inside(angle, degrees)) / np.cos(angle) ** (degrees - 1)
        angle = angle + step
        if np.all(np.abs(step) < 1e-13):
            break
    return np.sqrt(degrees) * np.tan(angle)


def mean_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Mean of two or more values (n,), and the ends of its 95% t interval."""
    sample = np.asarray(values, np.float64)
    half = float(quantile(len(sample) - 1)) * sample.std(ddof=1) / math.sqrt(len(sample))
    return float(sample.mean()), float(sample.mean() - half), float(sample.mean() + half)
