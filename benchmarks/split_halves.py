"""Equal methods through the report: real seeds of one method, split at random into two that should not differ.

    python -m benchmarks.split_halves runs/twenty-seeds
    python -m benchmarks.split_halves runs/twenty-seeds --size 5 --splits 500 --out benchmarks/results/split-halves.csv

Each split takes ``--size`` seeds for a "method" and as many others for its baseline, and asks ``benchmarks.reporting``
what it asks for two methods: does the interval of their difference exclude 0? With 95% intervals it should in 5%. Then
a known shift is added to every return of the method, as large as should be found in 80% (or ``--shift``). The stated
power is that of the same interval for normal seeds with the spread of all seeds of the directory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks import cli
from envs.registry import UsageError

if TYPE_CHECKING:
    from benchmarks.reporting.cells import Cell
    from benchmarks.reporting.comparisons import Comparison
    from benchmarks.reporting.runs import Run

COLUMNS = (
    *("task", "method", "outcome", "seeds", "size", "splits", "called_different", "mean_width"),
    *("shift", "stated_power", "shift_found", "commit"),
)
POWER = 0.8
"""Power of the shift that is added by default."""
_OTHER_HALF = "the other half"


@dataclass(frozen=True)
class Args:
    """Two halves of one method's seeds as two methods: the fraction of splits that a report calls different."""

    experiment: cli.Experiment
    """Experiment directory with one method and at least twice ``--size`` seeds."""
    size: int = 5
    """Seeds in each half."""
    splits: int = 500
    """Random splits."""
    shift: float = 0.0
    """Return added to one half to see whether it is found; 0: what should be found in 80%."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """CSV to write."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(split_halves, Args, argv)


def split_halves(args: Args) -> str:
    """Split, compare and tabulate each task's method; returns the table.

    Raises:
        UsageError: not one method a task, or too few seeds.
    """
    from agents.runs.source import commit
    from benchmarks.reporting import layout
    from benchmarks.reporting.runs import load
    from benchmarks.reporting.summary import summarise

    if args.size < 2 or args.splits < 1:
        raise UsageError(f"--size {args.size} --splits {args.splits}: give 2 seeds or more, and 1 split or more")
    cells = summarise(load(args.experiment)).cells
    if not cells or len({cell.task for cell in cells}) < len(cells):
        labels = ", ".join(cell.label for cell in cells) or "no finished run"
        raise UsageError(f"{args.experiment} needs one method on each task, and has: {labels}")
    revision = commit()
    rows = [row | {"commit": revision} for cell in cells for row in compare_halves(cell, args)]
    if args.out:
        cli.write_csv(args.out, rows, COLUMNS)
    header = ["task, outcome", "called different", "mean width", "shift", "stated power", "found"]
    lines = [
        [
            f"{row['task']}, {row['outcome']}",
            *(f"{row['called_different']:.1%}", layout.number(row["mean_width"]), layout.number(row["shift"])),
            *(f"{row['stated_power']:.0%}", f"{row['shift_found']:.0%}"),
        ]
        for row in rows
    ]
    return layout.aligned((header, lines))


def compare_halves(cell: Cell, args: Args) -> list[dict[str, Any]]:
    """A row for each outcome that the report compares."""
    if len(cell.runs) < 2 * args.size:
        raise UsageError(
            f"{args.experiment} has {len(cell.runs)} seeds of {cell.label}, fewer than 2 x --size {args.size}"
        )
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(cell.runs))[: 2 * args.size] for _ in range(args.splits)]
    plain = [comparisons(cell, order, args.size) for order in orders]
    rows: list[dict[str, Any]] = []
    for outcome in plain[0]:
        spread = seed_spread(cell, plain[0][outcome])
        shift = args.shift or detectable_shift(spread, args.size)
        shifted = [comparisons(cell, order, args.size, shift, outcome)[outcome] for order in orders]
        width = np.mean([split[outcome].difference.high - split[outcome].difference.low for split in plain])
        rows.append(
            {
                **{"task": cell.env, "method": cell.label, "outcome": outcome},
                **{
                    "seeds": len(cell.runs),
                    "size": args.size,
                    "splits": args.splits,
                    "mean_width": float(width),
                    "shift": shift,
                },
                "called_different": called_different(split[outcome] for split in plain),
                "stated_power": power(shift, spread, args.size),
                "shift_found": called_different(shifted),
            }
        )
    return rows


def comparisons(
    cell: Cell, order: NDArray[np.int64], size: int, shift: float = 0.0, outcome: str = ""
) -> dict[str, Comparison]:
    """The report's comparisons, by outcome, of the first ``size`` runs of ``order`` with the next ``size``.

    ``shift`` moves ``outcome`` of the first half: its returns on the target split or, for a gap, on training levels.
    """
    from benchmarks.experiment.presets import BASELINE
    from benchmarks.reporting.comparisons import main_comparisons
    from benchmarks.reporting.summary import summarise

    split = "train" if outcome == "gap" else cell.target
    first = [_renamed(_moved(cell.runs[i], split, shift), _OTHER_HALF) for i in order[:size]]
    second = [_renamed(cell.runs[i], BASELINE) for i in order[size : 2 * size]]
    return {str(row.outcome): row for row in main_comparisons(summarise(first + second))}


def _renamed(run: Run, name: str) -> Run:
    """The run as one of a method ``name`` without bonuses."""
    return replace(run, id=f"{run.id} as {name}", config={**run.config, "repr": name, "bonus": "none"})


def _moved(run: Run, split: str, shift: float) -> Run:
    returns = run.returns[split]
    return replace(run, returns={**run.returns, split: replace(returns, values=returns.values + shift)})


def called_different(rows: Iterable[Comparison]) -> float:
    """Fraction of comparisons whose interval excludes 0."""
    return float(np.mean([row.difference.low > 0 or row.difference.high < 0 for row in rows]))


def seed_spread(cell: Cell, row: Comparison) -> float:
    """Standard deviation over all seeds of what ``row`` compares."""
    values = cell.means(cell.target)[:, 0]
    if row.outcome == "gap":
        values = cell.means("train")[:, 0] - values
    return float(values.std(ddof=1))


def power(shift: float, spread: float, size: int, draws: int = 20_000) -> float:
    """Chance that Welch's interval of two halves of normal seeds, ``shift`` apart, excludes 0; by simulation."""
    from benchmarks.reporting import student_t
    from benchmarks.reporting.moments import added, of_values

    if spread == 0:
        return float(shift != 0)
    rng = np.random.default_rng(0)
    first, second = (rng.normal(mean, spread, (draws, size)) for mean in (shift, 0.0))
    variance, df = added([of_values(first), of_values(second)])
    half = student_t.quantile(df) * np.sqrt(variance)
    return float((np.abs(first.mean(axis=1) - second.mean(axis=1)) > half).mean())


def detectable_shift(spread: float, size: int) -> float:
    """The shift with power 80%, by bisection on the same draws; at most 8 standard deviations, for two seeds."""
    low, high = 0.0, 8 * spread
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, spread, size, draws=4_000) > POWER else (middle, high)
    return (low + high) / 2


if __name__ == "__main__":
    raise SystemExit(main())
