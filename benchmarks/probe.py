"""Linear probes: ground truth read out of the representations of finished runs, on every split.

    python -m benchmarks.probe DIR
    python -m benchmarks.probe DIR --frames 8192

A ridge regression from a run's features to each factor of its env (``factors()``: positions, speeds, counts) is
fitted on frames of the training levels and scored everywhere:

    R2 = 1 - sum |y - y_hat|^2 / sum |y - mean(y)|^2      (mean of the split; all components of a factor together)

High on held-out levels: the factor is there, linearly. High there and low on a visual variant: there the features no
longer mean what the policy learnt from them. Frames are of a random policy that repeats its actions, as in
pre-training. Writes DIR/probe.csv and DIR/probe.png.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import cli
from benchmarks.reporting.runs import Run, load
from envs.registry import UsageError
from envs.spaces import Array

if TYPE_CHECKING:
    from envs.tasks import World
    from representations.base import Representation

COLUMNS = ("suite", "env", "repr", "mode", "train_levels", "seed", "factor", "split", "r2", "frames", "commit")
STRENGTHS = (1e-4, 1e-2, 1.0, 100.0)
"""Ridge penalties tried, in units of the number of frames / 1000; the best on a quarter of the fitted frames counts."""
FACTOR = "factor "
"""Prefix of a factor's name among the columns of frames."""
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
    for number, run in enumerate(runs, 1):
        print(f"[{number}/{len(runs)}] {run.id}", file=sys.stderr, flush=True)
        rows += probe_run(run, args.frames, args.seed)
    from benchmarks.reporting import figures

    cli.write_csv(args.experiment / "probe.csv", rows, COLUMNS)
    cli.write_file(args.experiment / "probe.png", figures.heatmap(*grid(rows), "R2 of linear read-outs, by split"))
    return table(rows)


def probe_run(run: Run, frames: int, seed: int) -> list[Row]:
    """A row for each factor and split.

    Raises:
        UsageError: the run's env gives no ground truth.
    """
    from agents.runs.load import load_trained
    from envs.rng_streams import stream_seed

    representation, worlds = load_trained(run.path, run.config)
    features, factors = {}, {}
    for number, (split, world) in enumerate([("fit", worlds["train"]), *worlds.items()]):
        split_seed = stream_seed(seed, "probe", number)
        features[split], factors[split] = features_and_factors(world, representation, frames, split_seed)
    if not factors["fit"]:
        raise UsageError(f"suite '{run.config['suite']}' has environments without factors(); nothing to probe")
    shared = {key: run.config[key] for key in ("suite", "env", "repr", "mode", "train_levels", "seed")}
    shared |= {"frames": frames, "commit": run.source.get("commit", "")}
    rows = []
    for name, target in factors["fit"].items():
        if not varies(target):
            continue
        predict = fit(features["fit"], target)
        for split in worlds:
            if name in factors[split] and factors[split][name].shape[1] == target.shape[1]:
                score = r_squared(factors[split][name], predict(features[split]))
                rows.append({**shared, "factor": name, "split": split, "r2": score})
    return rows


def features_and_factors(
    world: World, representation: Representation, frames: int, seed: int
) -> tuple[Array, dict[str, Array]]:
    """Features (n, D) and factors {name: (n, d)} of frames of one world."""
    import torch

    from envs.steps import Obs
    from representations.pretrain import collect

    columns = collect((world,), frames, seed, also=ground_truth)
    names = [key for key in columns if key.startswith(FACTOR)]
    factors = {name.removeprefix(FACTOR): columns.pop(name).numpy() for name in names}
    features = []
    with torch.no_grad():
        for start in range(0, frames, 256):
            obs: Obs = {key: columns[key][start : start + 256] for key in representation.keys}
            count = len(next(iter(obs.values())))
            state, first = representation.initial_state(count), torch.ones(count, dtype=torch.bool)
            features.append(representation.encode(obs, state, first)[0].float().numpy())
    return np.concatenate(features), factors


def ground_truth(envs: Any) -> dict[str, Array]:
    """Factors of a vector env as float64 (N, d), under "factor NAME"; none where it has none."""
    factors = envs.factors() if hasattr(envs, "factors") else {}
    return {
        f"{FACTOR}{name}": np.asarray(value, np.float64).reshape(envs.num_envs, -1) for name, value in factors.items()
    }


def varies(target: Array) -> bool:
    """True where the rows (n, d) without nan differ."""
    known = target[~np.isnan(target).any(1)]
    return len(known) > 0 and bool(known.std() > 0)


def fit(features: Array, target: Array) -> Callable[[Array], Array]:
    """Ridge regression features (n, D) -> target (n, d), rows with nan left out; returns its prediction."""
    known = ~np.isnan(target).any(1)
    x, y = features[known].astype(np.float64), target[known]
    mean, scale, centre = x.mean(0), x.std(0), y.mean(0)
    scale = np.where(scale < 1e-8 * max(scale.max(), 1e-300), np.inf, scale)  # a constant feature carries nothing
    x, y = (x - mean) / scale, y - centre
    cut = len(x) * 3 // 4
    scores = [(r_squared(y[cut:], x[cut:] @ ridge(x[:cut], y[:cut], strength)), strength) for strength in STRENGTHS]
    weights = ridge(x, y, max(scores)[1])
    return lambda inputs: (inputs - mean) / scale @ weights + centre


def ridge(x: Array, y: Array, strength: float) -> Array:
    """Weights w (D, d) = argmin |x w - y|^2 + (strength n / 1000) |w|^2."""
    penalty = strength * len(x) / 1000
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def r_squared(target: Array, prediction: Array) -> float:
    """1 - residual / total sum of squares over all components; rows with nan left out; 0 where nothing varies."""
    known = ~np.isnan(target).any(1)
    target, prediction = target[known], prediction[known]
    total = np.square(target - target.mean(0)).sum() if len(target) else 0.0
    return float(1 - np.square(target - prediction).sum() / total) if total > 0 else 0.0


def labels(rows: Sequence[Row]) -> dict[int, str]:
    """Row number -> method: its name, with mode, task, levels and seed where several were run."""
    differing = [key for key in ("mode", "env", "train_levels", "seed") if len({row[key] for row in rows}) > 1]
    return {i: " ".join([row["repr"], *(f"{row[key]}" for key in differing)]) for i, row in enumerate(rows)}


def grid(rows: Sequence[Row]) -> tuple[list[str], list[str], Array]:
    """Methods with factors down, splits across, R2."""
    names = labels(rows)
    down = list(dict.fromkeys(f"{names[i]}: {row['factor']}" for i, row in enumerate(rows)))
    across = list(dict.fromkeys(row["split"] for row in rows))
    values = np.full((len(down), len(across)), np.nan)
    for i, row in enumerate(rows):
        values[down.index(f"{names[i]}: {row['factor']}"), across.index(row["split"])] = row["r2"]
    return down, across, values


def table(rows: Sequence[Row]) -> str:
    """The grid as text."""
    from benchmarks.reporting.layout import aligned

    down, across, values = grid(rows)
    cells = [
        [name, *("–" if np.isnan(value) else f"{value:.2f}" for value in line)]
        for name, line in zip(down, values, strict=True)
    ]
    return aligned((["R2 of", *across], cells), width=200)


if __name__ == "__main__":
    raise SystemExit(main())
