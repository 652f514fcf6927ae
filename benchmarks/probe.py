"""Linear probes: ground truth read out of the representations of finished runs, on every split.

    python -m benchmarks.probe DIR
    python -m benchmarks.probe DIR --frames 8192

A ridge regression from a run's features to each factor of its env (``factors()``: positions, speeds, counts) is
fitted on frames of the training levels and scored on other frames of them, and of every split:

    R2 = 1 - sum |y - y_hat|^2 / sum |y - mean(y)|^2      (mean of the split; all components of a factor together)

Features are centred and scaled as a frozen policy gets them (``representations.standardise``). Each task, set of
training levels and seed has a row ``random``, an untrained network on the same frames: what is read beyond it was
learnt. With several seeds the table shows means, and that difference with its 95% interval over seeds, paired by seed.

High on held-out levels: the factor is there, linearly. High there and low on a visual variant: there the features no
longer mean what the policy learnt from them. Frames are of a random policy that repeats its actions, as in
pre-training. Splits and runs whose environment tells no factors (Procgen's generated assets, its games but CoinRun) are
left out with a line each. Writes DIR/probe.csv and DIR/probe.png.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import cli
from benchmarks.reporting.labels import labels_of, level_set_kind, training_set
from benchmarks.reporting.read_outs import NoGroundTruth, features_and_factors, read_outs
from benchmarks.reporting.runs import Run, load
from benchmarks.reporting.student_t import mean_interval
from envs.registry import UsageError
from envs.spaces import Array

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from envs.tasks import World
    from representations.base import Representation

COLUMNS = (
    *("suite", "env", "method", "repr", "mode", "train_levels", "level_set", "seed", "factor", "split", "r2"),
    *("frames", "commit"),
)
CONTROL = "random"
"""Representation that every group of runs is compared with."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Args:
    """Linear read-outs of an env's ground truth from the representations of finished runs."""

    experiment: cli.Experiment
    """Experiment directory, the --out of benchmarks.transfer."""
    frames: int = 4096
    """Frames of each split."""
    seed: int = 0
    """Seed of the frames."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(probe, Args, argv)


def probe(args: Args) -> str:
    """Probe every finished run of the directory; returns the table."""
    if args.frames < 64:
        raise UsageError(f"--frames {args.frames}: a read-out of fewer than 64 frames says nothing; give more")
    runs = [run for run in load(args.experiment) if run.state == "finished"]
    if not runs:
        raise UsageError(f"{args.experiment} has no finished run to probe; finish one with benchmarks.transfer")
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    names = labels_of(runs)
    controlled = {_group(run) for run in runs if names[run.id] == CONTROL}  # others are rows of their own
    for number, run in enumerate(runs, 1):
        print(f"[{number}/{len(runs)}] {run.id}", file=sys.stderr, flush=True)
        try:
            if _group(run) not in controlled:
                controlled.add(_group(run))
                rows += [{**row, "method": CONTROL} for row in probe_control(run, args.frames, args.seed)]
            rows += [{**row, "method": names[run.id]} for row in probe_run(run, args.frames, args.seed)]
        except NoGroundTruth as reason:
            left_out[run.config["env"]] = str(reason)
            print(f"left out: {run.id} ({reason})", file=sys.stderr)
    if not rows:
        reasons = "; ".join(f"{env}: {reason}" for env, reason in left_out.items())
        raise UsageError(f"{args.experiment} has nothing to read out ({reasons}); probe a suite with factors")
    from benchmarks.reporting import png_figures

    cli.write_csv(args.experiment / "probe.csv", rows, COLUMNS)
    cli.write_file(args.experiment / "probe.png", png_figures.heatmap(*grid(rows), "R2 of linear read-outs, by split"))
    return table(rows)


def _group(run: Run) -> tuple[Any, ...]:
    """Properties that runs share with their control."""
    keys = ("suite", "env", "train_levels", "level_set", "seed")
    return tuple(run.config.get(key, "") for key in keys)


def probe_run(run: Run, frames: int, seed: int) -> list[Row]:
    """A row for each factor and split.

    Raises:
        NoGroundTruth: from the run's training environment.
    """
    from agents.runs.load import load_trained

    return _probe(run, run.config, *load_trained(run.path, run.config), frames, seed)


def probe_control(run: Run, frames: int, seed: int) -> list[Row]:
    """The rows of an untrained random network on the task, the levels and the seed of ``run``."""
    from agents.runs.build import build_parts
    from agents.runs.config import from_json
    from representations.wrappers import unwrapped

    config = control_config(from_json(run.config))
    parts = build_parts(config)
    worlds = {split: world.stacked(1) for split, world in parts.task.splits().items()}
    values = {**run.config, "repr": config.repr, "mode": config.mode}
    return _probe(run, values, unwrapped(parts.representation).eval(), worlds, frames, seed)


def control_config(config: RunConfig) -> RunConfig:
    """``config`` with the control, frozen, on the same trunk, in place of its representation."""
    import dataclasses

    from representations import REPRESENTATIONS

    cls: Any = REPRESENTATIONS.resolve(CONTROL).Config
    names = {field.name for field in dataclasses.fields(cls)}
    settings = {name: value for name, value in config.repr_settings.items() if name in names}
    return replace(config, repr=CONTROL, mode="frozen", repr_settings=settings, bonus="none", bonus_settings={})


def _probe(
    run: Run,
    config: dict[str, Any],
    representation: Representation,
    worlds: dict[str, World],
    frames: int,
    seed: int,
) -> list[Row]:
    shared = {key: config[key] for key in ("suite", "env", "repr", "mode", "train_levels", "seed")}
    shared |= {"level_set": training_set(config), "frames": frames, "commit": run.source.get("commit", "")}
    return [{**shared, **row} for row in read_worlds(worlds, representation, frames, seed)]


def read_worlds(
    worlds: dict[str, World], representation: Representation, frames: int, seed: int
) -> list[dict[str, Any]]:
    """The rows of ``read_outs`` on fresh frames of each split's world, fitted on others of "train".

    A split without ground truth is left out, with a line.

    Raises:
        NoGroundTruth: from "train".
    """
    from envs.rng_streams import stream_seed

    features, factors = {}, {}
    for number, (split, world) in enumerate([("fit", worlds["train"]), *worlds.items()]):
        split_seed = stream_seed(seed, "probe", number)
        try:
            features[split], factors[split] = features_and_factors(world, representation, frames, split_seed)
        except NoGroundTruth as reason:
            if split == "fit":
                raise
            print(f"left out: split {split} ({reason})", file=sys.stderr)
    return read_outs(features, factors, [split for split in worlds if split in factors])


def labels(rows: Sequence[Row]) -> dict[int, str]:
    """Row number -> method, with task, levels and kind of level set where there are several."""
    keyed = [row | {"kind": level_set_kind(row)} for row in rows]
    differing = [key for key in ("env", "train_levels", "kind") if len({row[key] for row in keyed}) > 1]
    return {i: " ".join([row["method"], *(f"{row[key]}" for key in differing)]) for i, row in enumerate(keyed)}


def by_seed(rows: Sequence[Row]) -> dict[tuple[str, str], dict[int, float]]:
    """("label: factor", split) -> seed -> R2, in the order of the rows."""
    names, gathered = labels(rows), dict[tuple[str, str], dict[int, float]]()
    for i, row in enumerate(rows):
        scores = gathered.setdefault((f"{names[i]}: {row['factor']}", row["split"]), {})
        scores[int(row["seed"])] = row["r2"]
    return gathered


def grid(rows: Sequence[Row]) -> tuple[list[str], list[str], Array]:
    """Methods with factors down, splits across, mean R2 over seeds."""
    scores = by_seed(rows)
    down, across = (list(dict.fromkeys(names)) for names in zip(*scores, strict=True))
    values = np.full((len(down), len(across)), np.nan)
    for (name, split), seeds in scores.items():
        values[down.index(name), across.index(split)] = np.mean(list(seeds.values()))
    return down, across, values


def table(rows: Sequence[Row]) -> str:
    """The grid as text; with several seeds, what is read beyond random features too."""
    from benchmarks.reporting.layout import aligned

    down, across, values = grid(rows)
    cells = [
        [name, *("–" if np.isnan(value) else f"{value:.2f}" for value in line)]
        for name, line in zip(down, values, strict=True)
    ]
    text = aligned((["R2 of", *across], cells), width=200)
    beyond = beyond_control(rows)
    return f"{text}\n\n{aligned(beyond, width=200)}" if beyond[1] else text


def beyond_control(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Table of R2 minus that of the random features of the same seed: mean and 95% interval over seeds.

    Methods that share fewer than two seeds with random features have no line.
    """
    scores, own = by_seed(rows), labels(rows)
    controls = {(own[i], row["factor"]): _control_label(own[i], row["method"]) for i, row in enumerate(rows)}
    across = list(dict.fromkeys(split for _, split in scores))
    lines = []
    for (label, factor), control in controls.items():
        gains = []
        for split in across:
            first, second = (scores.get((f"{name}: {factor}", split), {}) for name in (label, control))
            gains.append([first[seed] - second[seed] for seed in first if seed in second])
        if label != control and max(map(len, gains)) > 1:
            lines.append([f"{label}: {factor}", *(_gain(values) for values in gains)])
    return ["R2 minus random's", *across], lines


def _control_label(label: str, method: str) -> str:
    return f"{CONTROL}{label.removeprefix(method)}"


def _gain(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "–"
    mean, low, high = mean_interval(values)
    return f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"


if __name__ == "__main__":
    raise SystemExit(main())
