"""What can be read from a representation? Linear probes of ground truth, on unseen levels and on other looks.

    python -m benchmarks.probe DIR          every finished run of an experiment directory
    python -m benchmarks.probe DIR --frames 8192

A ridge regression from a run's features to each factor of its world (``factors()``: positions, speeds, counts) is
fitted on frames of the training levels and scored everywhere:

    R2 = 1 - sum |y - y_hat|^2 / sum |y - mean(y)|^2      (mean of the split; all components of a factor together)

High on held-out levels: the factor is there, linearly. High there and low on another look: the policy is told something
else than what it learnt to read. Frames are of a random policy that holds its actions, as in pre-training.
Writes DIR/probe.csv and DIR/probe.png.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from benchmarks import cli
from benchmarks.reporting.runs import Run, load
from envs.registry import UsageError

if TYPE_CHECKING:
    from envs.tasks import World
    from representations.base import Representation

COLUMNS = ("suite", "env", "repr", "mode", "train_levels", "seed", "factor", "split", "r2", "frames", "commit")
STRENGTHS = (1e-4, 1e-2, 1.0, 100.0)
"""Ridge penalties tried, times the number of frames / 1000; the best on a quarter of the fitting frames is taken."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Args:
    """Linear read-outs of a world's ground truth from the representations of finished runs."""

    experiment: Annotated[Path, tyro.conf.Positional]
    """Experiment directory, the --out of benchmarks.transfer."""
    frames: int = 4096
    """Frames of each split."""
    seed: int = 0
    """Of the frames."""


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
        UsageError: the run's world tells no ground truth.
    """
    from agents.runs.build import load_trained
    from envs.rng_streams import stream_seed

    representation, worlds = load_trained(run.path, run.config)
    features, factors = {}, {}
    for place, (split, world) in enumerate([("fit", worlds["train"]), *worlds.items()]):
        features[split], factors[split] = look(world, representation, frames, stream_seed(seed, "probe", place))
    if not factors["fit"]:
        raise UsageError(f"suite '{run.config['suite']}' has worlds without factors(); nothing to probe")
    told = {key: run.config[key] for key in ("suite", "env", "repr", "mode", "train_levels", "seed")}
    rows = []
    for name, wanted in factors["fit"].items():
        if wanted[~np.isnan(wanted).any(1)].std() == 0:
            continue  # it never changes
        read = fit(features["fit"], wanted)
        for split in worlds:
            if name in factors[split] and factors[split][name].shape[1] == wanted.shape[1]:
                score = r_squared(factors[split][name], read(features[split]))
                rows.append({**told, "factor": name, "split": split, "r2": score, "frames": frames})
                rows[-1]["commit"] = run.source.get("commit", "")
    return rows


def look(world: World, representation: Representation, frames: int, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Features (n, D) and factors {name: (n, d)} of frames of one world."""
    import torch

    from envs.steps import Obs
    from representations.pretrain import collect

    seen = collect((world,), frames, seed, also=ground_truth)
    told = {key.removeprefix("factor "): seen.pop(key).numpy() for key in list(seen) if key.startswith("factor ")}
    parts = []
    with torch.no_grad():
        for start in range(0, frames, 256):
            part: Obs = {key: seen[key][start : start + 256] for key in representation.keys}
            count = len(next(iter(part.values())))
            state, first = representation.initial_state(count), torch.ones(count, dtype=torch.bool)
            parts.append(representation.encode(part, state, first)[0].float().numpy())
    return np.concatenate(parts), told


def ground_truth(envs: Any) -> dict[str, np.ndarray]:
    """A world's factors as float64 (N, d), under "factor NAME"; none where it tells none."""
    told = envs.factors() if hasattr(envs, "factors") else {}
    flat = {name: np.asarray(value, np.float64).reshape(envs.num_envs, -1) for name, value in told.items()}
    return {f"factor {name}": value for name, value in flat.items()}


def fit(features: np.ndarray, wanted: np.ndarray) -> Any:
    """Ridge regression features (n, D) -> wanted (n, d), rows with nan left out; a function of features."""
    known = ~np.isnan(wanted).any(1)
    x, y = features[known].astype(np.float64), wanted[known]
    mean, scale, centre = x.mean(0), x.std(0), y.mean(0)
    scale = np.where(scale < 1e-8 * max(scale.max(), 1e-300), np.inf, scale)  # a constant feature says nothing
    x, y = (x - mean) / scale, y - centre
    cut = len(x) * 3 // 4
    trials = [(r_squared(y[cut:], x[cut:] @ ridge(x[:cut], y[:cut], s)), s) for s in STRENGTHS]
    weights = ridge(x, y, max(trials)[1])
    return lambda other: (other - mean) / scale @ weights + centre


def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """argmin |x w - y|^2 + (strength n / 1000) |w|^2, (D, d)."""
    penalty = strength * len(x) / 1000
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def r_squared(wanted: np.ndarray, found: np.ndarray) -> float:
    """1 - residual / total sum of squares over all components; rows with nan left out; 0 where nothing varies."""
    known = ~np.isnan(wanted).any(1)
    wanted, found = wanted[known], found[known]
    total = np.square(wanted - wanted.mean(0)).sum() if len(wanted) else 0.0
    return float(1 - np.square(wanted - found).sum() / total) if total > 0 else 0.0


def labels(rows: Sequence[Row]) -> dict[int, str]:
    """Row number -> method: its name, with mode, task and levels where several were run."""
    told = [key for key in ("mode", "env", "train_levels", "seed") if len({row[key] for row in rows}) > 1]
    return {i: " ".join([row["repr"], *(f"{row[key]}" for key in told)]) for i, row in enumerate(rows)}


def grid(rows: Sequence[Row]) -> tuple[list[str], list[str], np.ndarray]:
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
        [name, *("–" if np.isnan(v) else f"{v:.2f}" for v in line)] for name, line in zip(down, values, strict=True)
    ]
    return aligned((["R2 of", *across], cells), width=200)


if __name__ == "__main__":
    raise SystemExit(main())
