"""Representations compared by how they generalise: train on a few levels, evaluate on unseen ones and other visuals.

    python -m benchmarks.transfer --repr darla
    python -m benchmarks.transfer --repr darla beta_vae random --seeds 0 1 2 --log wandb
    python -m benchmarks.transfer --repr darla --train-levels 10 50 200 --pretrain-on all

The same command again returns what is finished and continues what is not. Several processes train one run together as

    torchrun --nproc-per-node 2 -m benchmarks.transfer --repr cnn
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks import report_error
from benchmarks.experiment.arguments import ExperimentArgs, parse, values_of
from benchmarks.experiment.execute import execute
from benchmarks.experiment.overrides import describe_settings
from benchmarks.experiment.plan import Row, plan_runs
from benchmarks.experiment.presets import BASELINE
from envs.registry import UsageError
from envs.suites import SUITES
from intrinsic import BONUSES
from representations import REPRESENTATIONS

if TYPE_CHECKING:
    from agents.runs.build import RunConfig


@dataclass(frozen=True)
class Args(ExperimentArgs):
    """Train each representation's agent on a few levels, then compare its return on the training levels, on levels
    never seen, and on visual variants of the training levels."""

    repr: tuple[str, ...] = ("darla",)
    """Representations to compare: names of the registry, or your own as package.module:Class."""
    bonus: tuple[str, ...] = ()
    """Intrinsic bonuses added to the reward, as NAME or NAME:COEFFICIENT: --bonus icm:0.01 rnd:0.5. The baseline row
    gets none, so that the table shows what they do."""
    preset: Literal["smoke", "brief", "quick", "standard", "paper"] = "quick"
    """Size: smoke (under a minute), brief (3 seeds, a third of quick), quick (minutes), standard (3 seeds), paper
    (published protocol; wants a GPU)."""


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    try:
        if {"--help", "-h"} & set(argv):
            return show_help(argv)
        return transfer(parse(Args, "transfer", argv))
    except UsageError as error:
        return report_error(error)
    except KeyboardInterrupt:
        print("stopped at once; the same command continues from the last checkpoint", file=sys.stderr)
        return 130


def show_help(argv: list[str]) -> int:
    """Print the options; after --repr NAME or --bonus NAME that module's own settings, too, which imports torch."""
    modules = [(REPRESENTATIONS, name) for name in values_of("--repr", argv)]
    modules += [(BONUSES, name.partition(":")[0]) for name in values_of("--bonus", argv)]
    for registry, name in modules:
        registry.check(name)
    names = f"Representations: {', '.join(REPRESENTATIONS)}\nBonuses: {', '.join(BONUSES)}\nSuites: {', '.join(SUITES)}"
    examples = "\n".join(["Examples:", *(line for line in str(__doc__).splitlines() if line.startswith("    python"))])
    try:
        parse(Args, "transfer", ["--help"], f"{Args.__doc__}\n\n{names}\n\n{examples}")
    except SystemExit as stop:
        if stop.code:
            raise
    for registry, name in modules:
        print(describe_settings(name, registry.resolve(name)))
    return 0


def transfer(args: Args) -> int:
    """Plan, announce, run what is not finished, write and print the report."""
    from benchmarks import report

    out = args.out or Path("runs") / f"{args.suite}-{args.preset}"
    return execute(args, plan(args), args.repr, out, report.line, report.write)


def plan(args: Args) -> list[RunConfig]:
    """Every run of this command; UsageError for a value none could work with."""
    rows = [Row(name, args.bonus) for name in args.repr]
    if args.baseline:
        rows.append(Row(BASELINE, (), named=BASELINE in args.repr))
    return plan_runs(args, rows)


if __name__ == "__main__":
    raise SystemExit(main())
