"""The gap at matched source return: methods compared where they do equally well on the training levels.

Policies are kept at fixed fractions of training and play two disjoint halves of episodes. For a source return g of a
grid that the task fixes:

    a(f)   source return at fraction f, half a, made monotone (isotonic least squares; Barlow et al. 1972)
    f*     first fraction at which a(f) = g, on straight lines between the kept policies
    gap    source(f*) - target(f*), both from half b, on straight lines

Half a alone chooses f*, so its noise does not enter the figures. A g above the highest a, or below the lowest, is not
reached: nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.reporting.episodes import KeptPolicies

Array = NDArray[np.float64]
GRID = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Source returns, normalised by the task's constants, at which methods are compared."""
SOURCE = "train"


@dataclass(frozen=True)
class Match:
    """One agent at one source return."""

    fraction: float
    """Fraction of training f*; nan where the source return is not reached, and so are the two returns."""
    source: float
    target: float

    @property
    def gap(self) -> float:
        return self.source - self.target


def isotonic(values: Array) -> Array:
    """The non-decreasing sequence nearest to ``values`` (F,) in least squares, by pooling adjacent violators."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        mean, size = value, 1
        while blocks and blocks[-1][0] > mean:
            earlier, count = blocks.pop()
            mean, size = (earlier * count + mean * size) / (count + size), count + size
        blocks.append((mean, size))
    return np.repeat([mean for mean, _ in blocks], [size for _, size in blocks])


def first_fraction(fractions: Array, returns: Array, goal: float) -> float:
    """First fraction at which the non-decreasing ``returns`` (F,) are ``goal``; nan outside their range."""
    if not returns[0] <= goal <= returns[-1]:
        return math.nan
    after = int(np.argmax(returns >= goal))
    if after == 0:
        return float(fractions[0])
    part_way = (goal - returns[after - 1]) / (returns[after] - returns[after - 1])
    return float(fractions[after - 1] + part_way * (fractions[after] - fractions[after - 1]))


def match(kept: Mapping[tuple[str, str], KeptPolicies], target: str, goal: float) -> Match | None:
    """One agent at the source return ``goal``; None where its kept policies were not played on ``target``."""
    if not {(SOURCE, "a"), (SOURCE, "b"), (target, "b")} <= kept.keys():
        return None
    chooser = kept[SOURCE, "a"]
    fraction = first_fraction(chooser.fractions, isotonic(chooser.means), goal)
    if math.isnan(fraction):
        return Match(math.nan, math.nan, math.nan)
    source, reached = (
        float(np.interp(fraction, kept[name, "b"].fractions, kept[name, "b"].means)) for name in (SOURCE, target)
    )
    return Match(fraction, source, reached)
