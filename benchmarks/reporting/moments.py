"""Variance of a mean over seeds and levels, by moments, and the t interval that follows from it.

The model: y[s, l] = mu + S_s + L_l + (SL)_sl + noise, where y is the mean over the repetitions of level l by the agent
of seed s. Every quantity that a table prints (a mean, a difference, a gap) is described by three estimated variances,
each a mean square with degrees of freedom, in units of the variance of the quantity:

    seeds    what the spread of the per-seed values shows: S, all that is nested in a seed, and a share of SL and noise
    levels   what the spread of the per-level values shows with the agents held fixed: L, and the same share
    shared   that share: the part that both of them hold

Resampling seeds and levels together, the variance is seeds + levels - shared, a negative component set to 0:
max(seeds, shared) + max(levels, shared) - shared. Its degrees of freedom are Satterthwaite's (1946). With few seeds
that is too narrow when the seeds happen to agree, so the interval is never narrower than the t interval of the per-seed
values alone (``candidates``). ``benchmarks.coverage`` measures the coverage.

All functions take any leading axes, so that a simulation runs thousands of experiments at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.reporting import student_t

Array = NDArray[np.float64]
Over = Literal["seeds", "levels", "seeds and levels"]


class Term(NamedTuple):
    """A variance (...) estimated with ``df`` (...) degrees of freedom."""

    variance: Array
    df: Array


def term(variance: Array | float, df: Array | float) -> Term:
    """A term whose degrees of freedom have the variance's shape."""
    values = np.asarray(variance, np.float64)
    return Term(values, np.broadcast_to(np.asarray(df, np.float64), values.shape))


UNKNOWN = term(np.nan, np.nan)


@dataclass(frozen=True)
class Moments:
    """An estimate (...) and what its variance consists of."""

    estimate: Array
    seeds: Term
    levels: Term
    shared: Term
    n_seeds: int
    n_levels: int
    """Levels of a seed; the smallest number where seeds or splits differ."""

    def resampled(self, over: Over) -> Over:
        """``over`` as far as the data allow: one seed has levels only, one level seeds only."""
        if self.n_seeds < 2:
            return "levels"
        return "seeds" if self.n_levels < 2 else over

    def candidates(self, over: Over) -> tuple[Term, ...]:
        """The variances with their degrees of freedom; the widest interval of them counts."""
        over = self.resampled(over)
        if over == "seeds":
            return (self.seeds,)
        if over == "levels":
            return (self.levels,)
        return (self.seeds, _both(self.seeds, self.levels, self.shared))

    def half_width(self, over: Over, confidence: float = 0.95) -> Array:
        """Half the interval's width (...); 0 where no spread can be seen, as with one seed on one level."""
        widths = [student_t.quantile(df, confidence) * np.sqrt(variance) for variance, df in self._usable(over)]
        return np.max(widths, axis=0) if widths else np.zeros_like(self.estimate)

    def p_value(self, over: Over) -> Array:
        """Two-sided p (...) of the value 0: below 0.05 exactly where the 95% interval excludes 0; nan if unknown."""
        chances = []
        for variance, df in self._usable(over):
            with np.errstate(divide="ignore", invalid="ignore"):
                t = np.where(self.estimate == 0, 0.0, self.estimate / np.sqrt(variance))
            chances.append(student_t.two_sided_p(t, df))
        return np.max(chances, axis=0) if chances else np.full_like(self.estimate, np.nan)

    def _usable(self, over: Over) -> list[Term]:
        return [candidate for candidate in self.candidates(over) if np.isfinite(candidate.variance).all()]


def _both(seeds: Term, levels: Term, shared: Term) -> Term:
    """Seeds + levels - shared with negative components set to 0, df after Satterthwaite from the terms used."""
    seeds_used, levels_used = seeds.variance > shared.variance, levels.variance > shared.variance
    total = np.maximum(seeds.variance, shared.variance) + np.maximum(levels.variance, shared.variance) - shared.variance
    # shared counts +1 where neither is used, -1 where both are, 0 where one is: its square enters unless one is
    spread = (
        np.where(seeds_used, seeds.variance**2 / seeds.df, 0.0)
        + np.where(levels_used, levels.variance**2 / levels.df, 0.0)
        + np.where(seeds_used == levels_used, shared.variance**2 / shared.df, 0.0)
    )
    least = np.minimum(np.minimum(seeds.df, levels.df), shared.df)
    most = seeds.df + levels.df + shared.df
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(spread > 0, total**2 / spread, most)
    return Term(total, np.clip(df, least, most))


def added(terms: Sequence[Term]) -> Term:
    """Sum of independent terms, df after Satterthwaite (Welch's, for two)."""
    total = np.sum([variance for variance, _ in terms], axis=0)
    spread = np.sum([variance**2 / df for variance, df in terms], axis=0)
    most = np.sum([df for _, df in terms], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Term(total, np.where(spread > 0, total**2 / spread, most))


def of_values(values: Array) -> Term:
    """Variance of the mean of independent ``values`` (..., n); unknown (nan) for one value."""
    n = values.shape[-1]
    if n < 2:
        return term(np.full(values.shape[:-1], np.nan), np.nan)
    return term(values.var(axis=-1, ddof=1) / n, n - 1)


def within(values: Sequence[Array]) -> Term:
    """Variance of the mean of seeds' means with the seeds held fixed; one array (..., L_s) for each seed s."""
    terms = [of_values(own) for own in values]
    variance, df = added(terms)
    return Term(variance / len(terms) ** 2, df)


def crossed(values: Array) -> Moments:
    """The mean of ``values`` (..., S seeds, L levels), all seeds on the same levels."""
    seeds, levels = values.shape[-2:]
    mean = values.mean(axis=(-2, -1))
    seed_means, level_means = values.mean(axis=-1), values.mean(axis=-2)
    residual = values - seed_means[..., None] - level_means[..., None, :] + mean[..., None, None]
    df = (seeds - 1) * (levels - 1)
    square = (residual**2).sum(axis=(-2, -1)) / df if df else np.full_like(mean, np.nan)
    shared = term(square / (seeds * levels), df or np.nan)
    return Moments(mean, of_values(seed_means), of_values(level_means), shared, seeds, levels)


def nested(values: Sequence[Array]) -> Moments:
    """The mean of seeds' means, each seed on levels of its own: ``values`` has an array (..., L_s) for each seed.

    Another seed brings other levels, so the seeds' term holds the levels' one whole.
    """
    means = np.stack([own.mean(axis=-1) for own in values], axis=-1)
    inside = within(values)
    return Moments(means.mean(axis=-1), of_values(means), inside, inside, len(values), min(v.shape[-1] for v in values))


def gap(train: Moments, heldout: Moments, train_means: Array, heldout_means: Array) -> Moments:
    """Training minus held-out mean of the same agents, from both moments and the seeds' means (..., S)."""
    return Moments(
        train.estimate - heldout.estimate,
        of_values(train_means - heldout_means),
        added([train.levels, heldout.levels]),
        added([train.shared, heldout.shared]),
        train.n_seeds,
        min(train.n_levels, heldout.n_levels),
    )


def independent(first: Moments, second: Moments) -> Moments:
    """First minus second, nothing shared: other seeds and other levels."""
    return Moments(
        first.estimate - second.estimate,
        added([first.seeds, second.seeds]),
        added([first.levels, second.levels]),
        added([first.shared, second.shared]),
        min(first.n_seeds, second.n_seeds),
        min(first.n_levels, second.n_levels),
    )


def independent_seeds(first: Array, second: Array) -> Moments:
    """First (..., S, L) minus second (..., R, L): other seeds, the same levels, whose own difficulty cancels."""
    unpaired = independent(crossed(first), crossed(second))
    levels = of_values(first.mean(axis=-2) - second.mean(axis=-2))
    return Moments(unpaired.estimate, unpaired.seeds, levels, unpaired.shared, unpaired.n_seeds, first.shape[-1])


def independent_gaps(
    trains: tuple[Moments, Moments], gaps: tuple[Array, Array], targets: tuple[Array, Array]
) -> Moments:
    """First gap minus second of other seeds on other training sets, but on the same target levels.

    Args:
        trains: moments of both training means.
        gaps: each seed's training minus target mean, (..., S) and (..., R).
        targets: returns (..., S, L) and (..., R, L) on the target levels, whose own difficulty cancels.
    """
    target = independent_seeds(*targets)
    return Moments(
        gaps[0].mean(axis=-1) - gaps[1].mean(axis=-1),
        added([of_values(values) for values in gaps]),
        added([trains[0].levels, trains[1].levels, target.levels]),
        added([trains[0].shared, trains[1].shared, target.shared]),
        min(target.n_seeds, trains[0].n_seeds, trains[1].n_seeds),
        min(target.n_levels, trains[0].n_levels, trains[1].n_levels),
    )


def crossed_gap(means: Array, inside: Term, n_levels: int) -> Moments:
    """Own-set return minus the other agents' return on that same set: ``means`` (..., K agents, K sets), K >= 3.

    The estimate is the mean of the diagonal minus the mean of the rest, so a set's difficulty cancels, and so does an
    agent's skill. For the seeds' term both are taken out of each diagonal cell, too, by the least-squares fit of
    agent + set to the other cells:

        d_j = M_jj - m - (K - 1) / (K - 2) (row_j + column_j - 2 m)

    with row and column means and m taken off the diagonal. The variance of the mean of the d_j is the estimate's, but
    for the interaction of agent and set, which it counts K / (K - 2) times instead of K / (K - 1): too wide by at most
    a factor sqrt(2), with three seeds. ``inside``: the variance with the agents held fixed.
    """
    agents = means.shape[-1]
    own = np.diagonal(means, axis1=-2, axis2=-1)
    rows = (means.sum(axis=-1) - own) / (agents - 1)
    columns = (means.sum(axis=-2) - own) / (agents - 1)
    others = rows.mean(axis=-1)
    skill = (agents - 1) / (agents - 2) * (rows + columns - 2 * others[..., None])
    estimate = own.mean(axis=-1) - others
    return Moments(estimate, of_values(own - skill), inside, inside, agents, n_levels)
