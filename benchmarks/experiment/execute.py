"""Planned runs brought to their end, one after another, and the report of their directory written."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.experiment.arguments import ExperimentArgs
from benchmarks.experiment.equal_budget import equal_budget_runs, with_level_switch_steps
from benchmarks.experiment.grid import PREEMPTED, run_all
from benchmarks.experiment.presets import BASELINE
from benchmarks.experiment.references import measure_references
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from agents.runs.validate import PartsStore


def execute(
    args: ExperimentArgs,
    configs: Sequence[RunConfig],
    named: Sequence[str],
    out: Path,
    summary: Callable[[Path], str],
    write: Callable[[Path], str],
) -> int:
    """Bring all runs to their end, then write the report of the experiment directory and print it.

    Of the processes of a torchrun all go through all runs, and the first does what is not training.

    Args:
        named: representations the user asked for by name.
        summary: a finished run's folder -> one line about it.
        write: experiment directory -> the text of its report.

    Returns:
        The exit status, of ``benchmarks.experiment.grid``.
    """
    from agents.parallel.distributed import from_torchrun
    from agents.runs.build import resolve_device
    from agents.runs.callback import Preempted
    from agents.runs.run_dir import open_experiment
    from agents.runs.validate import PartsStore

    device, store = resolve_device(args.device), PartsStore()
    with from_torchrun(device) as ranks:
        configs = ranks.on_rank_zero(lambda: runnable(configs, store.validate(configs, ranks), named))
        configs = ranks.on_rank_zero(lambda: with_equal_budgets(args, configs, store))
        print(ranks.on_rank_zero(lambda: announce(configs, out, device, store)), flush=True)
        if args.dry_run:
            return 0
        ranks.on_rank_zero(lambda: open_experiment(out))
        started = time.perf_counter()
        try:
            tally = run_all(args, out, configs, store, ranks, summary)
        except Preempted:
            return PREEMPTED
        if tally.finished:
            print(ranks.on_rank_zero(lambda: conclude(configs, out, write)))
        print(f"{time.perf_counter() - started:.0f} s in all", flush=True)
        if ranks.index == 0 and tally.status:
            print(tally.text(), file=sys.stderr)
    return tally.status


def conclude(configs: Sequence[RunConfig], out: Path, write: Callable[[Path], str]) -> str:
    """Steps that follow the runs of a directory, its report last; returns the text to print."""
    cross(configs, out)
    measure_references(configs, out)
    return f"\n{write(out)}\n\nreport: {out / 'report.html'}   table: {out / 'results.csv'}"


def runnable(configs: Sequence[RunConfig], refused: dict[str, str], named: Sequence[str] = ()) -> list[RunConfig]:
    """The runs without those of refused representations, after a line for each of these.

    Args:
        refused: representation -> why it cannot be run.
        named: representations the user asked for by name.

    Raises:
        UsageError: none is left but a baseline nobody asked for.
    """
    kept = [config for config in configs if config.repr not in refused]
    if refused and not {config.repr for config in kept} - ({BASELINE} - set(named)):
        raise UsageError("; ".join(refused.values()))
    for name, reason in refused.items():
        print(f"left out: {name} ({reason})")
    return kept


def with_equal_budgets(args: ExperimentArgs, configs: Sequence[RunConfig], store: PartsStore) -> list[RunConfig]:
    """The runs with those whose length follows from what the others take to pre-train."""
    equal = equal_budget_runs(configs, store) if args.equal_budget else []
    return with_level_switch_steps([*configs, *equal], store)


def cross(configs: Sequence[RunConfig], out: Path) -> None:
    """Let each agent of these rows play the training levels of its row's other seeds, whichever command trained them.

    An agent that cannot be read back is left out by a line.
    """
    from agents.runs.config import row_of, run_id
    from agents.runs.crossed import play_other_sets
    from agents.runs.progress import Bar

    wanted = {row_of(config) for config in configs}
    rows: dict[str, list[RunConfig]] = {}
    for config in finished_configs(out):
        if (name := row_of(config)) in wanted:
            rows.setdefault(name, []).append(config)
    pending = [(config, row) for row in rows.values() if len(row) > 1 for config in row]
    if not pending:
        return
    progress = Bar("other seeds' training levels")
    progress.stage("evaluate", len(pending), 0)
    for number, (config, row) in enumerate(pending, 1):
        try:
            play_other_sets(out / "runs" / run_id(config), config, row)
        except UsageError as error:
            print(f"not on other seeds' training levels: {run_id(config)} ({error})")
        progress.update(number)
    progress.close()


def finished_configs(out: Path) -> list[RunConfig]:
    """Configurations of the finished runs of a directory, by name; without those that this version names otherwise."""
    from agents.runs.config import from_json, run_id

    configs = []
    for done in sorted(out.glob("runs/*/done")):
        try:
            config = from_json(json.loads((done.parent / "config.json").read_text(encoding="utf-8")))
            if run_id(config) == done.parent.name:
                configs.append(config)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, UsageError):
            continue  # of an earlier version, or damaged: the report says so
    return configs


def announce(configs: Sequence[RunConfig], out: Path, device: str, store: PartsStore) -> str:
    """Announcement: the runs, roughly how long they take here, and where results go."""
    from agents.runs.config import short_name, trained_frames
    from benchmarks.experiment.estimate import estimate_seconds

    first = configs[0]
    rows = [
        f"  {config.repr} ({config.mode})"
        + f" with {config.bonus}" * (config.bonus != "none")
        + f", {config.env}"
        + f", {config.train_levels:,} levels ({config.level_set})" * bool(config.level_set)
        + f", seed {config.seed}: "
        + (f"pre-train on {config.pretrain_samples:,} samples, then " if config.pretrain_samples else "")
        + "standardise its features, then " * bool(config.repr_settings.get("standardise"))
        + "begin with the data policy's weights, then " * config.start_from_policy
        + f"begin with the weights of {config.init_from}, then " * bool(config.init_from)
        + f"{trained_frames(config):,} frames of {short_name(config.algo).upper()}"
        + f" ({config.steps:,} asked, in whole rollouts)" * (trained_frames(config) != config.steps)
        + f", on from {max(config.continued, default=0):,} of the run before" * bool(config.continued)
        for config in configs
    ]
    evaluation = f"{first.eval_envs} episodes or a few more, every level equally often"
    if first.window:
        evaluation = f"{first.eval_envs} windows of {first.window:,} frames"
    duration = "for an unknown time on the GPU"
    if device == "cpu":
        duration = f"about {in_words(estimate_seconds(configs, store.representative))} on this machine"
    return "\n".join(
        [
            f"{len(configs)} run{'s' * (len(configs) > 1)}, suite {first.suite}, preset {first.preset}:",
            *rows,
            *short_budgets(configs),
            *(f"{name}: {line}" for name, lines in store.specs.understood.items() for line in lines),
            f"evaluated on {evaluation} of: {', '.join(first.splits)}",
            f"{duration} if none is finished yet; results in {out}",
        ]
    )


def short_budgets(configs: Sequence[RunConfig]) -> list[str]:
    """A line for each representation that is pre-trained on fewer optimizer steps than it needs."""
    from representations import REPRESENTATIONS

    lines = {}
    for config in configs:
        cls = REPRESENTATIONS.resolve(config.repr)
        settings = cls.Config(**config.repr_settings)
        steps, needed = (
            n // cls.frames_per_step(settings) for n in (config.pretrain_samples, cls.needed_samples(settings))
        )
        if 0 < steps < needed and not cls.closed_form:
            lines[f"{config.repr}: {steps:,} of {needed:,} optimizer steps that its pre-training needs"] = 0
    return list(lines)


def in_words(seconds: float) -> str:
    """A duration in the unit that suits it: "42 s", "7 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
