"""Planned runs that train finished ones on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.experiment.arguments import ExperimentArgs
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.runs.config import RunConfig


def with_continuations(args: ExperimentArgs, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs, and each of them trained on to the frames of ``--continue-to``, one length after another.

    Raises:
        UsageError: fewer frames than a run has, or rows whose length follows from others.
    """
    if not args.continue_to:
        return list(configs)
    for what, given in (
        ("--equal-budget", args.equal_budget),
        ("--pretrain-data", args.pretrain_data != "random"),
        ("--pretrain-levels more", args.pretrain_levels == "more"),
    ):
        if given:
            raise UsageError(f"--continue-to and {what} do not go together: rows are as long there as others make them")
    planned = list(configs)
    for config in configs:
        for steps in sorted(set(args.continue_to)):
            if steps <= config.steps:
                raise UsageError(f"--continue-to {steps}: {config.env} has {config.steps:,} frames by then; give more")
            config = dataclasses.replace(config, steps=steps, continued=(*config.continued, config.steps))
            planned.append(config)
    return planned


def check_init_from(args: ExperimentArgs, seeds: Sequence[int]) -> None:
    """UsageError where runs could not begin with the weights of ``--init-from``."""
    if not args.init_from:
        return
    from agents.runs.bundles.opening import opened

    if len(set(seeds)) > 1 and (opened(args.init_from) / "config.json").exists():
        raise UsageError(
            f"--init-from {args.init_from}: {len(set(seeds))} seeds would begin with one agent and not be independent; "
            "name a directory with a run for each seed, or give one of --seeds"
        )
    if args.equal_budget or args.pretrain_data != "random" or args.pretrain_levels == "more":
        raise UsageError(
            "--init-from goes without --equal-budget, --pretrain-data and --pretrain-levels: nothing is pre-trained"
        )
