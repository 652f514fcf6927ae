"""Representations compared by how they generalise: train on a few levels, evaluate on unseen ones and other visuals.

    python -m benchmarks.transfer --repr darla
    python -m benchmarks.transfer --repr darla beta_vae random --seeds 0 1 2 --log wandb
    python -m benchmarks.transfer --repr vae --env my_envs:Maze --env-option size=9 --env-target large:size=15
    python -m benchmarks.transfer --repr darla --train-levels 10 50 200 --pretrain-on all

The same command again returns what is finished and continues what is not. Several processes train one run together as

    torchrun --nproc-per-node 2 -m benchmarks.transfer --repr cnn
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from agents import ALGORITHMS
from benchmarks import cli
from benchmarks.experiment.arguments import REMOVED, ExperimentArgs, with_env
from benchmarks.experiment.execute import execute
from benchmarks.experiment.overrides import describe_settings
from benchmarks.experiment.plan import CONSTANT, STANDARDISED, Row, counts_first_visits, plan_runs
from benchmarks.experiment.presets import BASELINE
from envs.registry import UsageError
from envs.suites import SUITES, label
from intrinsic import BONUSES
from representations import REPRESENTATIONS

if TYPE_CHECKING:
    from agents.runs.config import RunConfig


@dataclass(frozen=True)
class Args(ExperimentArgs):
    """Train each representation's agent on a few levels; compare its return on these, on unseen levels, on targets.

    Targets are visual variants of the training levels, and other rules.
    """

    repr: tuple[str, ...] = ("darla",)
    """Representations to compare: names of the registry, or your own as package.module:Class."""
    bonus: tuple[str, ...] = ()
    """Intrinsic bonuses added to the reward, as NAME or NAME:COEFFICIENT: --bonus icm:0.01 rnd:0.5. The baseline row
    gets none, so that the table shows what they do; where a bonus counts first visits alone, rows of a constant one
    are added."""
    both_starts: bool = False
    """Also train the baseline with features standardised at its start; the better of both on validation levels is the
    row to compare with."""
    preset: Literal["smoke", "brief", "quick", "unseen", "standard", "paper"] = "quick"
    """Size: smoke (a minute or two), brief (3 seeds, a third of quick), quick (minutes), unseen (500 levels, 3
    seeds: where CoinRun's unseen levels tell), standard (3 seeds), paper (published protocol; wants a GPU)."""


def main(argv: Sequence[str] | None = None) -> int:
    registries = {"Representations": REPRESENTATIONS, "Bonuses": BONUSES, "Algorithms": ALGORITHMS, "Suites": SUITES}
    names = "\n".join(f"{title}: {', '.join(registry)}" for title, registry in registries.items())
    return cli.main(
        *(transfer, Args, argv),
        listing=names,
        details=module_settings,
        removed=REMOVED,
        interrupted=cli.RESUMABLE,
    )


def module_settings(argv: Sequence[str]) -> str:
    """Settings of the modules named by --repr, --bonus or --algo, for the help; without one nothing imports torch."""
    modules = [(REPRESENTATIONS, name) for name in cli.words_after("--repr", argv)]
    modules += [(BONUSES, name.partition(":")[0]) for name in cli.words_after("--bonus", argv)]
    modules += [(ALGORITHMS, name) for name in cli.words_after("--algo", argv)]
    for registry, name in modules:
        registry.check(name)
    return "\n".join(describe_settings(name, registry.resolve(name)) for registry, name in modules)


def transfer(args: Args) -> int:
    """Plan, announce, run what is not finished, write and print the report."""
    args = with_env(args)
    from benchmarks.reporting.report import describe_run, write_report

    out = args.out or Path("runs") / f"{label(args.suite)}-{args.preset}"
    return execute(args, plan(args), args.repr, out, describe_run, write_report)


def plan(args: Args) -> list[RunConfig]:
    """Every run of this command; UsageError for a value none could work with."""
    if args.both_starts and not args.baseline:
        raise UsageError("--both-starts trains the baseline twice; leave --no-baseline out")
    rows = [Row(name, args.bonus, init_from=args.init_from) for name in args.repr]
    if args.baseline:
        rows.append(Row(BASELINE, (), named=BASELINE in args.repr))
    if args.both_starts:
        rows.append(STANDARDISED)
    configs = plan_runs(args, rows)
    if args.baseline and counts_first_visits(configs):
        configs = plan_runs(args, [*rows, *(Row(name, (CONSTANT,)) for name in args.repr)])
    return configs


if __name__ == "__main__":
    raise SystemExit(main())
