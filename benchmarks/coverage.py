"""Coverage of the report's 95% intervals: thousands of simulated experiments whose true value is known.

    python -m benchmarks.coverage --out benchmarks/results/interval-coverage.csv
    python -m benchmarks.coverage --replications 500 --seeds 3 --levels 20

Returns are 0 or 10: an episode succeeds where mu + seed + level + seed x level + noise is above 0, every part Gaussian,
the sum of their variances 1. So a mean's true value is 10 Phi(mu). The formulas are those of ``reporting.moments``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks import cli
from benchmarks.reporting import moments
from benchmarks.reporting.moments import Moments, Over
from envs.registry import UsageError

Array = NDArray[np.float32]

COLUMNS = (
    *("quantity", "over", "seeds", "levels", "repetitions", "scenario", "zero_component", "replications"),
    *("coverage", "half_width", "commit"),
)
EPISODES = 256
"""Evaluation episodes of a split: fewer levels are played so much oftener."""
LEAST, MOST = 0.92, 0.995
"""Coverage that is asked for; above 95% by much only where a component is 0 or few seeds make the rule cautious."""
_BLOCK = 500  # replications held at once: 10 seeds x 256 levels take 10 MB an array


@dataclass(frozen=True)
class Args:
    """Coverage of 95% intervals in simulated experiments with 0/10 returns."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """CSV to write; without it the table is only printed."""
    seeds: tuple[int, ...] = (3, 5, 10)
    """Numbers of seeds."""
    levels: tuple[int, ...] = (20, 256)
    """Numbers of levels in each split."""
    replications: int = 4000
    """Simulated experiments in each cell; the standard error of a coverage of 95% is 0.0034 at 4,000."""
    quantities: tuple[str, ...] = ()
    """Names of quantities, as "gap"; all by default."""


@dataclass(frozen=True)
class Scenario:
    """Variances of the parts of success, as fractions of their sum."""

    name: str
    seeds: float
    levels: float
    both: float
    noise: float

    @property
    def zero(self) -> bool:
        return 0 in (self.seeds, self.levels, self.both, self.noise)


# Measured on CoinRun easy. A scripted player's sd over sets of 20, 200 and 500 levels: 1.06, 0.31 and 0.17, so 4.4 a
# level of 4.4 an episode, all of its variance. A CNN after 1M frames on 20 levels: standard error 0.61 as a draw of 20
# levels and 0.20 as one of 256 episodes, so 2.7 a level of 3.2 an episode, 70% of the variance of returns, for which
# the Gaussian parts below need 82%. Seeds: sd about 0.5, which is 0.15 of the Gaussian's (its density at 7.3 is 0.33).
SCENARIOS = (
    Scenario("cnn", 0.0225, 0.82, 0.08, 0.0775),
    Scenario("cnn, seeds twice as different", 0.09, 0.77, 0.07, 0.07),
    Scenario("scripted", 0.0225, 0.95, 0.0, 0.0275),
    Scenario("soft policy", 0.0225, 0.3, 0.3, 0.3775),
    Scenario("no spread of seeds", 0.0, 0.84, 0.08, 0.08),
    Scenario("no spread of levels", 0.0225, 0.0, 0.45, 0.5275),
    Scenario("no seed x level", 0.0225, 0.82, 0.0, 0.1575),
    Scenario("no noise", 0.0225, 0.82, 0.1575, 0.0),
    Scenario("noise alone", 0.0, 0.0, 0.0, 1.0),
)
TRAIN, HELDOUT = 1.175, 0.613  # Phi of these: 0.88 and 0.73, a CNN's returns of 8.8 and 7.3
SHARED_SEEDS, SHARED_LEVELS = 0.5, 0.7
"""Correlations of a seed's effect on two splits or methods, and of a level's effect on two methods."""


def success(mu: float) -> float:
    """Mean return of a split or method: 10 Phi(mu)."""
    return 5 * (1 + math.erf(mu / math.sqrt(2)))


class Simulator:
    """Draws of one cell: R replications of S seeds on L levels."""

    def __init__(self, rng: np.random.Generator, scenario: Scenario, shape: tuple[int, int, int], repetitions: int):
        self.rng, self.scenario, self.repetitions = rng, scenario, repetitions
        self.count, self.seeds, self.levels = shape

    def normal(self, *shape: int) -> Array:
        return self.rng.standard_normal((self.count, *shape), dtype=np.float32)

    def mixed(self, shared: Array, correlation: float) -> Array:
        """Standard normal of ``shared``'s shape; two of one ``shared`` have that correlation."""
        own = self.rng.standard_normal(shared.shape, dtype=np.float32)
        return math.sqrt(correlation) * shared + math.sqrt(1 - correlation) * own

    def returns(self, mu: float, seeds: Array, levels: Array) -> NDArray[np.float64]:
        """Mean return over the repetitions (R, S, L) of standard normal effects (R, S) and (R, L) or (R, S, L)."""
        parts = self.scenario
        by_level = levels if levels.ndim == 3 else levels[:, None]
        cell = mu + math.sqrt(parts.seeds) * seeds[..., None] + math.sqrt(parts.levels) * by_level
        if parts.both:
            cell = cell + math.sqrt(parts.both) * self.normal(seeds.shape[-1], self.levels)
        cell = np.broadcast_to(cell, (self.count, seeds.shape[-1], self.levels))
        if not parts.noise:
            return 10.0 * (cell > 0)
        wins = np.zeros(cell.shape)
        for _ in range(self.repetitions):
            wins += cell + math.sqrt(parts.noise) * self.normal(*cell.shape[1:]) > 0
        return 10 * wins / self.repetitions


Draw = Callable[[Simulator], tuple[Moments, "float | NDArray[np.float64]"]]


def heldout_mean(sim: Simulator) -> tuple[Moments, float]:
    values = sim.returns(HELDOUT, sim.normal(sim.seeds), sim.normal(sim.levels))
    return moments.crossed(values), success(HELDOUT)


def heldout_mean_of_these_agents(sim: Simulator) -> tuple[Moments, NDArray[np.float64]]:
    """The true value is that of the drawn seeds on all levels."""
    seeds = sim.normal(sim.seeds)
    values = sim.returns(HELDOUT, seeds, sim.normal(sim.levels))
    return moments.crossed(values), _conditional(seeds, sim.scenario.seeds).mean(axis=1)


def heldout_mean_on_these_levels(sim: Simulator) -> tuple[Moments, NDArray[np.float64]]:
    """The true value is that of all seeds on the drawn levels."""
    levels = sim.normal(sim.levels)
    values = sim.returns(HELDOUT, sim.normal(sim.seeds), levels)
    return moments.crossed(values), _conditional(levels, sim.scenario.levels).mean(axis=1)


def _conditional(effects: Array, variance: float) -> NDArray[np.float64]:
    """10 Phi((mu + effect) / sd of all else), elementwise."""
    scaled = (HELDOUT + math.sqrt(variance) * effects) / math.sqrt(1 - variance)
    return 5 * (1 + _erf(scaled / math.sqrt(2)))


_erf = np.vectorize(math.erf, otypes=[np.float64])


def train_mean(sim: Simulator) -> tuple[Moments, float]:
    values = sim.returns(TRAIN, sim.normal(sim.seeds), sim.normal(sim.seeds, sim.levels))
    return moments.nested(list(np.moveaxis(values, 1, 0))), success(TRAIN)


def gap(sim: Simulator) -> tuple[Moments, float]:
    """Training levels nested in seeds, held-out ones crossed with them."""
    seeds = sim.normal(sim.seeds)
    train = sim.returns(TRAIN, sim.mixed(seeds, SHARED_SEEDS), sim.normal(sim.seeds, sim.levels))
    heldout = sim.returns(HELDOUT, sim.mixed(seeds, SHARED_SEEDS), sim.normal(sim.levels))
    on_train, on_heldout = moments.nested(list(np.moveaxis(train, 1, 0))), moments.crossed(heldout)
    values = moments.gap(on_train, on_heldout, train.mean(axis=-1), heldout.mean(axis=-1))
    return values, success(TRAIN) - success(HELDOUT)


def crossed_gap(sim: Simulator) -> tuple[Moments, float]:
    """Each agent on every set: own levels lift it from ``HELDOUT`` to ``TRAIN``, difficulty is the set's own."""
    seeds, means, differences = sim.normal(sim.seeds), [], []
    for owner in range(sim.seeds):
        levels = sim.normal(sim.levels)
        plays = sim.returns(HELDOUT, seeds, levels)
        plays[:, owner] = sim.returns(TRAIN, sim.mixed(seeds[:, [owner]], SHARED_SEEDS), levels)[:, 0]
        means.append(plays.mean(axis=-1))
        differences.append(plays[:, owner] - np.delete(plays, owner, axis=1).mean(axis=1))
    values = moments.crossed_gap(np.stack(means, axis=-1), moments.within(differences), sim.levels)
    return values, success(TRAIN) - success(HELDOUT)


def _two_methods(sim: Simulator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    seeds, levels = sim.normal(sim.seeds), sim.normal(sim.levels)
    first = sim.returns(TRAIN, sim.mixed(seeds, SHARED_SEEDS), sim.mixed(levels, SHARED_LEVELS))
    return first, sim.returns(HELDOUT, sim.mixed(seeds, SHARED_SEEDS), sim.mixed(levels, SHARED_LEVELS))


def paired_difference(sim: Simulator) -> tuple[Moments, float]:
    first, second = _two_methods(sim)
    return moments.crossed(first - second), success(TRAIN) - success(HELDOUT)


def difference_paired_by_level(sim: Simulator) -> tuple[Moments, float]:
    levels = sim.normal(sim.levels)
    first = sim.returns(TRAIN, sim.normal(sim.seeds), sim.mixed(levels, SHARED_LEVELS))
    second = sim.returns(HELDOUT, sim.normal(sim.seeds), sim.mixed(levels, SHARED_LEVELS))
    return moments.independent_seeds(first, second), success(TRAIN) - success(HELDOUT)


def unpaired_difference(sim: Simulator) -> tuple[Moments, float]:
    first = sim.returns(TRAIN, sim.normal(sim.seeds), sim.normal(sim.levels))
    second = sim.returns(HELDOUT, sim.normal(sim.seeds), sim.normal(sim.levels))
    return moments.independent(moments.crossed(first), moments.crossed(second)), success(TRAIN) - success(HELDOUT)


def difference_of_gaps(sim: Simulator) -> tuple[Moments, float]:
    """Two methods on other training sets, evaluated on the same held-out levels; both have the same gap."""
    levels, trains, gaps, targets = sim.normal(sim.levels), [], [], []
    for _ in range(2):
        seeds = sim.normal(sim.seeds)
        train = sim.returns(TRAIN, sim.mixed(seeds, SHARED_SEEDS), sim.normal(sim.seeds, sim.levels))
        target = sim.returns(HELDOUT, sim.mixed(seeds, SHARED_SEEDS), sim.mixed(levels, SHARED_LEVELS))
        trains.append(moments.nested(list(np.moveaxis(train, 1, 0))))
        gaps.append(train.mean(axis=-1) - target.mean(axis=-1))
        targets.append(target)
    return moments.independent_gaps((trains[0], trains[1]), (gaps[0], gaps[1]), (targets[0], targets[1])), 0.0


QUANTITIES: dict[str, tuple[Draw, Over]] = {
    "held-out mean": (heldout_mean, "seeds and levels"),
    "held-out mean of these agents": (heldout_mean_of_these_agents, "levels"),
    "held-out mean on these levels": (heldout_mean_on_these_levels, "seeds"),
    "training mean": (train_mean, "seeds and levels"),
    "gap": (gap, "seeds and levels"),
    "crossed gap": (crossed_gap, "seeds and levels"),
    "paired difference": (paired_difference, "seeds and levels"),
    "difference paired by level": (difference_paired_by_level, "seeds and levels"),
    "difference of gaps": (difference_of_gaps, "seeds and levels"),
    "unpaired difference": (unpaired_difference, "seeds and levels"),
}


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(coverage, Args, argv)


def coverage(args: Args) -> str:
    """Simulate every cell; returns the table of lowest and highest coverage, with what is out of bounds by name.

    Raises:
        UsageError: a number of seeds or levels that has no interval, or an unknown quantity.
    """
    from agents.runs.source import commit

    if unknown := [name for name in args.quantities if name not in QUANTITIES]:
        raise UsageError(f"--quantities {unknown[0]}: unknown; known: {', '.join(QUANTITIES)}")
    if min(args.seeds, default=0) < 3 or min(args.levels, default=0) < 2 or args.replications < 1:
        raise UsageError("simulate 3 seeds or more (the crossed gap), 2 levels or more, and 1 replication or more")
    revision = commit()
    rows = [
        measure(name, scenario, seeds, levels, args.replications) | {"commit": revision}
        for name in args.quantities or QUANTITIES
        for scenario in SCENARIOS
        for seeds in args.seeds
        for levels in args.levels
    ]
    if args.out:
        cli.write_csv(args.out, rows, COLUMNS)
    return table(rows)


def measure(name: str, scenario: Scenario, seeds: int, levels: int, replications: int) -> dict[str, Any]:
    """Coverage and mean half width of one cell; its draws depend on the cell alone."""
    draw, over = QUANTITIES[name]
    repetitions = max(1, EPISODES // levels)
    key = [*name.encode(), *scenario.name.encode(), seeds, levels]
    rng = np.random.default_rng(key)
    hits, width = 0, 0.0
    for start in range(0, replications, _BLOCK):
        shape = (min(_BLOCK, replications - start), seeds, levels)
        values, truth = draw(Simulator(rng, scenario, shape, repetitions))
        half = values.half_width(over)
        hits += int((np.abs(values.estimate - truth) <= half + 1e-9).sum())
        width += float(half.sum())
    return {
        **{"quantity": name, "over": over, "seeds": seeds, "levels": levels, "repetitions": repetitions},
        **{"scenario": scenario.name, "zero_component": int(scenario.zero), "replications": replications},
        **{"coverage": hits / replications, "half_width": width / replications},
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Lowest and highest coverage of each quantity and number of seeds, and the cells outside of the bounds."""
    from benchmarks.reporting import layout

    seeds = sorted({row["seeds"] for row in rows})
    lines = []
    for name in dict.fromkeys(row["quantity"] for row in rows):
        texts = [name]
        for count in seeds:
            shares = [row["coverage"] for row in rows if (row["quantity"], row["seeds"]) == (name, count)]
            texts.append(f"{min(shares):.3f} to {max(shares):.3f}")
        lines.append(texts)
    text = layout.aligned((["quantity", *(f"{count} seeds" for count in seeds)], lines))
    outside = [
        f"{row['quantity']}, {row['scenario']}, {row['seeds']} seeds x {row['levels']} levels: {row['coverage']:.4f}"
        for row in rows
        if not LEAST <= row["coverage"] <= MOST
    ]
    return "\n".join([text, "", f"outside of {LEAST} to {MOST}:", *(f"  {line}" for line in outside or ["none"])])


if __name__ == "__main__":
    raise SystemExit(main())
