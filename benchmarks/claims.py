"""Claims of papers put to the test: for each its figures, an interval, and the verdict that follows from them.

    python -m benchmarks.claims --commands
    python -m benchmarks.claims runs/claims --out benchmarks/results/claims.md

A claim, its test, its one primary measure and its smallest effect of interest are in ``benchmarks.experiment.claims``,
committed before the first full run. The verdict follows from the 95% interval of the difference:

    reproduced      its lower end is above 0 and the estimate at least the effect
    contradicted    its upper end is below the effect
    not decidable   anything else, with the number of seeds whose interval would reach no further than the effect

Verdicts stand alone. Of N claims of which none is true some N / 40 have a lower end above 0 all the same, so the page
has the p of each after Holm over all N, too; one that was not run, or decides nothing, counts with a p of 1.

The power is the chance, if the true difference is twice the smallest effect of interest and seeds spread as expected,
that the lower end is above 0. DARLA's beta is chosen first (``experiment.claim_commands``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from benchmarks import cli
from benchmarks.experiment import claims as registered
from benchmarks.experiment.claim_commands import chosen_beta, command_lines, commands
from benchmarks.experiment.claims import Claim, Row
from envs.registry import UsageError

if TYPE_CHECKING:
    from benchmarks.reporting.cells import Cell
    from benchmarks.reporting.stats import Interval
    from benchmarks.reporting.summary import Summary

DEFAULT = Path("runs/claims")
NOT_RUN = "not run"
MOST_SEEDS = 1000
DRAWS = 20_000


@dataclass(frozen=True)
class Args:
    """Print the claims with their tests; with a directory of their experiments also figures and verdicts."""

    runs: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = DEFAULT
    """Directory with one experiment directory a group of claims."""
    commands: bool = False
    """Print the commands of all tests and how long they take on this machine, and stop."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Markdown page to write."""


@dataclass(frozen=True)
class Result:
    """The figures of one claim and its verdict."""

    claim: Claim
    difference: Interval | None = None
    """First row minus control; None where there is none."""
    reason: str = NOT_RUN
    """Why there is no difference, or why it decides nothing; "" where it may."""
    commit: str = ""

    @property
    def verdict(self) -> str:
        if self.difference is None:
            return self.reason
        if self.reason:
            return f"not decidable: {self.reason}"
        words = verdict(self.difference, self.claim.effect)
        seeds = seeds_needed(self.difference, self.claim.effect) if words == "not decidable" else 0
        return f"{words}; some {seeds} seeds would decide" if seeds else words


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(claims, Args, argv)


def claims(args: Args) -> str:
    """Read the experiments that are there, write the page; returns its text.

    Raises:
        UsageError: a directory other than the default that holds none of them.
    """
    if args.commands:
        return commands(args.runs)
    names = registered.experiments()
    if args.runs != DEFAULT and not any((args.runs / name / "runs").is_dir() for name in names):
        raise UsageError(
            f"{args.runs} holds none of {', '.join(names)}; "
            f"python -m benchmarks.claims {args.runs} --commands prints what fills it"
        )
    beta, _ = chosen_beta(args.runs)
    text = page([result(claim, args.runs) for claim in registered.claims(beta)], args.runs)
    if args.out:
        cli.write_file(args.out, text.encode())
    return text


# verdicts -------------------------------------------------------------------------------------------------------------


def verdict(difference: Interval, effect: float) -> str:
    """The verdict that follows from an interval and the smallest effect of interest."""
    if difference.low > 0 and difference.estimate >= effect:
        return "reproduced"
    return "contradicted" if difference.high < effect else "not decidable"


def seeds_needed(difference: Interval, effect: float) -> int:
    """Seeds with which the 95% interval (t) reaches ``effect`` to each side, given the spread here; 0: unknown."""
    from benchmarks.reporting import student_t

    half, n = (difference.high - difference.low) / 2, difference.seeds
    if not (half > 0 and n > 1):
        return 0
    spread = half / float(student_t.quantile(n - 1)) * math.sqrt(n)
    for seeds in range(2, MOST_SEEDS):
        if float(student_t.quantile(seeds - 1)) * spread / math.sqrt(seeds) <= effect:
            return seeds
    return MOST_SEEDS


@cache
def power(effect: float, spread: float, seeds: int) -> float:
    """Chance that the t interval of ``seeds`` normal differences around twice ``effect`` lies above 0; simulated."""
    from benchmarks.reporting import student_t

    values = np.random.default_rng(0).normal(2 * effect, spread, (DRAWS, seeds))
    half = student_t.quantile(seeds - 1) * values.std(axis=1, ddof=1) / math.sqrt(seeds)
    return float((values.mean(axis=1) > half).mean())


def holm(results: Sequence[Result]) -> list[float]:
    """P-value of each claim after Holm over all of them, 1 for those without figures that may decide."""
    from benchmarks.reporting import several_tasks

    values = [each.difference.p if each.difference and not each.reason else 1.0 for each in results]
    return several_tasks.holm([1.0 if math.isnan(p) else p for p in values])


# figures --------------------------------------------------------------------------------------------------------------


def result(claim: Claim, runs: Path) -> Result:
    """The figures of a claim from its experiment directory, as far as it is there."""
    folder = runs / claim.experiment
    if not (folder / "runs").is_dir():
        return Result(claim)
    summary = read(folder)
    cell = find(summary, claim, claim.row)
    control = None if cell is None else find_control(summary, claim, cell)
    if cell is None or control is None:
        return Result(claim)
    difference = measured(claim, cell, control)
    return Result(claim, difference, doubts(claim, cell, control, difference), str(cell.runs[0].source["commit"]))


@cache
def read(folder: Path) -> Summary:
    """All cells of an experiment directory."""
    from benchmarks.reporting.runs import load
    from benchmarks.reporting.summary import summarise

    return summarise(load(folder))


def find(summary: Summary, claim: Claim, row: Row) -> Cell | None:
    """The cell of a row on the claim's task; None where it has no finished run.

    Raises:
        UsageError: several cells have these settings.
    """
    cells = [cell for cell in summary.cells if cell.env == claim.task and has_settings(cell.config, row)]
    if len(cells) > 1:
        labels = ", ".join(cell.label for cell in cells)
        raise UsageError(f"claim {claim.name}: several rows of {claim.experiment} are meant by {dict(row)}: {labels}")
    return cells[0] if cells else None


def find_control(summary: Summary, claim: Claim, cell: Cell) -> Cell | None:
    """The row that a claim compares with; None where it has no finished run."""
    if isinstance(claim.control, Mapping):
        return find(summary, claim, claim.control)
    if claim.control == "equal RL steps":
        return summary.equal_steps(cell)
    reference = summary.reference(cell)
    return reference.cell if reference and reference.budget == "equal budget" else None


def has_settings(config: Mapping[str, Any], row: Row) -> bool:
    """True where a run's settings are those that choose a row."""

    def value(name: str) -> Any:
        setting: Any = config
        for part in name.split("."):
            setting = setting.get(part) if isinstance(setting, Mapping) else None
        return setting

    return all(value(name) == wanted for name, wanted in row.items())


def measured(claim: Claim, cell: Cell, control: Cell) -> Interval | None:
    """The claim's measure of the row minus that of the control; None where one has none."""
    from benchmarks.reporting.cells import seed_difference

    if claim.measure == "return":
        return cell.difference(control, claim.split)
    if claim.measure == "smaller gap":
        return control.gap_difference(cell, claim.split)
    values, control_values = (per_seed(claim, one) for one in (cell, control))
    known = np.isfinite([*values, *control_values]).all()
    return seed_difference(cell, values, control, control_values) if known else None


def per_seed(claim: Claim, cell: Cell) -> list[float]:
    """The claim's measure of each seed's run; nan where it has none."""
    from benchmarks.explore import row
    from benchmarks.reporting.learning_curves import area, training_curve
    from benchmarks.reporting.matching import match

    if claim.measure == "area under the curve":
        return [area(*training_curve(run), run.config["steps"]) for run in cell.runs]
    if claim.measure == "success area":
        return [float(row(run)["success_area"]) for run in cell.runs]
    if cell.normalise is None:
        return [math.nan] * len(cell.runs)
    low, high = cell.normalise
    goal = low + claim.source_return * (high - low)
    matches = [match(run.matched, claim.split, goal) for run in cell.runs]
    return [math.nan if matched is None else -matched.gap for matched in matches]


def doubts(claim: Claim, cell: Cell, control: Cell, difference: Interval | None) -> str:
    """Why the two rows decide nothing; "" where they may."""
    if difference is None:
        return "source return not reached by every run" if claim.source_return else "no such figure in every run"
    fewest = min(len(cell.runs), len(control.runs))
    if fewest < claim.seeds:
        return f"{fewest} of {claim.seeds} seeds"
    for one in (cell, control):
        if one.fallen:
            return f"{len(one.fallen)} of {len(one.runs)} runs of {one.label} fell"
    commits = cell.mixed(control).get("commit", [])
    return f"runs of several commits ({', '.join(commits)})" if commits else ""


# pages ----------------------------------------------------------------------------------------------------------------


def page(results: Sequence[Result], runs: Path) -> str:
    """The claims table in Markdown, the commands, and what nothing here decides."""
    from benchmarks.reporting import layout

    header = ["claim", "measure", "smallest effect", "seeds, power", "difference [95%]", "p, Holm", "verdict", "commit"]
    lines = [
        [
            f"{each.claim.statement} ({each.claim.source})",
            described(each.claim),
            layout.number(each.claim.effect),
            f"{each.claim.seeds}, {power(each.claim.effect, each.claim.spread, each.claim.seeds):.0%}",
            layout.interval(each.difference, sign=True),
            f"{p:.3f}" if each.difference else layout.ABSENT,
            each.verdict,
            each.commit or layout.ABSENT,
        ]
        for each, p in zip(results, holm(results), strict=True)
    ]
    shell = [line for name, lines_ in command_lines(runs).items() for line in (f"# {name}", *lines_)]
    return "\n".join(
        [
            "# Claims",
            "",
            "Written by `python -m benchmarks.claims`, whose module says what the verdicts mean. Tests, measures and "
            "effects were committed before the first full run. A verdict stands alone, at 95%; after Holm p counts all "
            f"{len(results)} claims.",
            "",
            layout.pipes((header, lines)),
            "",
            f"{chosen_beta(runs)[1]}.",
            "",
            "Not as published:",
            "",
            *(f"- {line}" for line in registered.NOT_AS_PUBLISHED),
            "",
            "```bash",
            *shell,
            "```",
            "",
            "Not tried:",
            "",
            *(f"- {line}" for line in registered.UNDECIDED),
            "",
        ]
    )


def described(claim: Claim) -> str:
    """The measure in words, with its task and split."""
    where = f"on {claim.split}" if claim.measure in ("return", "smaller gap") else ""
    if claim.source_return:
        where = f"{claim.source_return:g}, on {claim.split}"
    return f"{claim.task}: {claim.measure} {where}".strip()


if __name__ == "__main__":
    raise SystemExit(main())
