"""95% intervals of means, differences and gaps that say what they resample: seeds, levels, or both.

``Scores`` holds what one method got on one split. Levels that all seeds play (held-out ones, a published training set)
are *crossed* with seeds, levels of a seed's own *nested* in it; which it is shows in the level numbers. The estimate
weighs every seed the same, and inside a seed every level the same, however often it was played.

    mean(scores)                            of one method on one split
    difference(first, second, paired=...)   of two methods
    gap(train, target)                      of one method: training minus target split, seed by seed
    gap_difference(first, second)           of two methods on other training sets
    crossed_gap(plays)                      own training set minus the other seeds' agents on that same set
    first.minus(second), scores.net_of(reference)   scores again, so that differences have gaps and gaps differences

Variances and degrees of freedom: ``benchmarks.reporting.moments``. One seed has no spread between seeds: its interval
resamples levels and says so (``Interval.over``, ``Interval.speaks_of``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.reporting import moments
from benchmarks.reporting.moments import Moments, Over
from benchmarks.reporting.stats import Interval

Array = NDArray[np.float64]
Levels = NDArray[np.int64]
Paired = Literal["seeds and levels", "levels", "nothing"]

BOTH: Literal["seeds and levels"] = "seeds and levels"


@dataclass(frozen=True)
class Scores:
    """Mean return of each seed's agent on each level it played, over the repetitions of that level."""

    seeds: tuple[int, ...]
    """In rising order, each once."""
    levels: tuple[Levels, ...]
    """For each seed, its levels (L_s,), rising."""
    returns: tuple[Array, ...]
    """For each seed, the mean return on each of them (L_s,)."""

    @classmethod
    def of_episodes(cls, seed: ArrayLike, level: ArrayLike, returns: ArrayLike) -> Scores:
        """Scores from three columns (E,): one line an episode, in any order, any number on a level.

        Raises:
            ValueError: unequal lengths, no episode, or a return that is not finite.
        """
        seeds, levels, values = np.asarray(seed), np.asarray(level), np.asarray(returns, np.float64)
        if not (seeds.ndim == 1 and seeds.shape == levels.shape == values.shape and len(seeds)):
            shapes = f"{seeds.shape}, {levels.shape} and {values.shape}"
            raise ValueError(f"seed, level and return must be columns of one length, not empty, got {shapes}")
        if not np.isfinite(values).all():
            raise ValueError("returns hold a number that is not finite")
        names = tuple(int(name) for name in np.unique(seeds))
        own_levels, means = [], []
        for name in names:
            mine = seeds == name
            unique, place, counts = np.unique(levels[mine], return_inverse=True, return_counts=True)
            own_levels.append(unique.astype(np.int64))
            means.append(np.bincount(place, values[mine]) / counts)
        return cls(names, tuple(own_levels), tuple(means))

    @property
    def seed_means(self) -> Array:
        """Each seed's mean over its levels (S,)."""
        return np.array([own.mean() for own in self.returns])

    @property
    def common_levels(self) -> Levels:
        """The levels that every seed played, rising."""
        common = self.levels[0]
        for own in self.levels[1:]:
            common = np.intersect1d(common, own)
        return common

    @property
    def crossed(self) -> bool:
        """True where seeds share levels; a level that only some of them played then does not count."""
        return len(self.seeds) > 1 and len(self.common_levels) > 0

    def matrix(self, levels: Levels) -> Array:
        """Returns (S, L) on ``levels`` (L,), rising, which every seed played."""
        return np.stack([own[np.isin(names, levels)] for names, own in zip(self.levels, self.returns, strict=True)])

    def only(self, seeds: tuple[int, ...]) -> Scores:
        """The scores of ``seeds``, a subset of these, in rising order."""
        places = [self.seeds.index(seed) for seed in seeds]
        return Scores(seeds, tuple(self.levels[i] for i in places), tuple(self.returns[i] for i in places))

    def minus(self, other: Scores) -> Scores:
        """This minus ``other``, seed by seed and level by level, on the seeds and levels that both have.

        Raises:
            ValueError: no seed, or a seed without a level, in common.
        """
        seeds = tuple(seed for seed in self.seeds if seed in other.seeds)
        if not seeds:
            raise ValueError(f"no seed in common to pair by: {_listed(self.seeds)} and {_listed(other.seeds)}")
        mine, others = self.only(seeds), other.only(seeds)
        levels, differences = [], []
        for seed, a, b, x, y in zip(seeds, mine.levels, others.levels, mine.returns, others.returns, strict=True):
            common, first, second = np.intersect1d(a, b, return_indices=True)
            if not len(common):
                raise ValueError(f"no level in common to pair by, seed {seed}")
            levels.append(common)
            differences.append(x[first] - y[second])
        return Scores(seeds, tuple(levels), tuple(differences))

    def net_of(self, reference: Scores) -> Scores:
        """This minus a policy that learns nothing, level by level: the mean of ``reference`` over its seeds.

        Raises:
            ValueError: the reference did not play a level of these.
        """
        names, place = np.unique(np.concatenate(reference.levels), return_inverse=True)
        means = np.bincount(place, np.concatenate(reference.returns)) / np.bincount(place)
        differences = []
        for own, returns in zip(self.levels, self.returns, strict=True):
            if len(absent := np.setdiff1d(own, names)):
                raise ValueError(f"the reference did not play level {absent[0]} ({len(absent)} are missing)")
            differences.append(returns - means[np.searchsorted(names, own)])
        return Scores(self.seeds, self.levels, tuple(differences))

    @property
    def moments(self) -> Moments:
        """The mean and what its variance consists of, crossed or nested as the levels are."""
        return moments.crossed(self.matrix(self.common_levels)) if self.crossed else moments.nested(self.returns)


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))


def interval(values: Moments, over: Over = BOTH) -> Interval:
    """The 95% t interval of an estimate whose moments are known."""
    estimate, half = float(values.estimate), float(values.half_width(over))
    resampled = values.resampled(over)
    count = {"seeds": values.n_seeds, "levels": values.n_levels}.get(resampled, values.n_seeds)
    p = float(values.p_value(over))
    return Interval(estimate, estimate - half, estimate + half, resampled, count, values.n_seeds, values.n_levels, p)


def mean(scores: Scores, over: Over = BOTH) -> Interval:
    """Mean return over seeds and levels.

    Nested levels come with their seed: another seed brings another set, so ``seeds`` and ``seeds and levels`` both
    resample the pair. ``levels`` holds the agents fixed.
    """
    return interval(scores.moments, over)


def difference(first: Scores, second: Scores, over: Over = BOTH, *, paired: Paired = BOTH) -> Interval:
    """Mean of ``first`` minus mean of ``second``.

    ``paired`` says what the two share: ``seeds and levels`` (same training sets, same levels played: the difference is
    taken in each cell first), ``levels`` (other seeds, the same levels), ``nothing``.

    Raises:
        ValueError: what they are paired by is not in common.
    """
    if paired == "seeds and levels":
        return mean(first.minus(second), over)
    if paired == "nothing":
        return interval(moments.independent(first.moments, second.moments), over)
    levels = np.intersect1d(first.common_levels, second.common_levels)
    if not len(levels):
        raise ValueError("no level in common to pair by: the two were played on other levels")
    return interval(moments.independent_seeds(first.matrix(levels), second.matrix(levels)), over)


def gap(train: Scores, target: Scores, over: Over = BOTH) -> Interval:
    """Return on the training levels minus return on the target split, seed by seed: what is lost there.

    A target that shows each seed's own training levels in another way is paired by level, too.

    Raises:
        ValueError: no seed in common.
    """
    seeds = tuple(seed for seed in train.seeds if seed in target.seeds)
    if not seeds:
        raise ValueError(f"no seed in common to pair by: {_listed(train.seeds)} and {_listed(target.seeds)}")
    a, b = train.only(seeds), target.only(seeds)
    if all(np.array_equal(x, y) for x, y in zip(a.levels, b.levels, strict=True)):
        return mean(a.minus(b), over)
    return interval(moments.gap(a.moments, b.moments, a.seed_means, b.seed_means), over)


def gap_difference(first: tuple[Scores, Scores], second: tuple[Scores, Scores], over: Over = BOTH) -> Interval:
    """Gap of one method minus the gap of another with other seeds; each is scores on (training levels, target).

    Target levels that both were played on are paired. Where training sets are shared, too, take ``minus`` first.
    """
    (train, target), (other_train, other_target) = first, second
    trains = (train.moments, other_train.moments)
    levels = np.intersect1d(target.common_levels, other_target.common_levels)
    if not len(levels):
        both = (
            moments.gap(x.moments, y.moments, x.seed_means, y.seed_means)
            for x, y in ((train, target), (other_train, other_target))
        )
        return interval(moments.independent(*both), over)
    on_levels = (target.matrix(levels), other_target.matrix(levels))
    gaps = (train.seed_means - on_levels[0].mean(axis=1), other_train.seed_means - on_levels[1].mean(axis=1))
    return interval(moments.independent_gaps(trains, gaps, on_levels), over)


def crossed_gap(plays: Mapping[int, Scores], over: Over = BOTH) -> Interval:
    """Return on the own training set minus the other seeds' agents' return on that same set, so difficulty cancels.

    ``plays`` maps an agent's seed to its scores on every set, ``Scores.seeds`` being the seeds whose sets they are
    (its own among them). Levels count that all agents played.

    Raises:
        ValueError: fewer than three seeds, an agent that lacks a set, or a set without a level that all played.
    """
    agents = tuple(sorted(plays))
    if len(agents) < 3:
        raise ValueError(f"the crossed gap needs three seeds or more, got {len(agents)}; use gap")
    means, own_minus_others = [], []
    for owner in agents:
        absent = [agent for agent in agents if owner not in plays[agent].seeds]
        if absent:
            raise ValueError(f"the agent of seed {absent[0]} did not play the training set of seed {owner}")
        on_set = [plays[agent].only((owner,)) for agent in agents]
        sets = Scores(agents, tuple(s.levels[0] for s in on_set), tuple(s.returns[0] for s in on_set))
        if not len(sets.common_levels):
            raise ValueError(f"no level of the training set of seed {owner} was played by every agent")
        matrix = sets.matrix(sets.common_levels)
        own = agents.index(owner)
        means.append(matrix.mean(axis=1))
        own_minus_others.append(matrix[own] - np.delete(matrix, own, axis=0).mean(axis=0))
    inside = moments.within(own_minus_others)
    count = min(len(differences) for differences in own_minus_others)
    return interval(moments.crossed_gap(np.stack(means, axis=1), inside, count), over)
