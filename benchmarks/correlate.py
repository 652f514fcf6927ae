"""Cheap scores of representations beside what their agents reached: predictors of transfer, if any.

    python -m benchmarks.correlate runs/family
    python -m benchmarks.correlate runs/family-a runs/family-b --out benchmarks/results/correlate.csv

Each finished run's features are scored on frames of a random policy that holds its actions, as in pre-training:

    few-label read-out   mean R2 over factors, at least 0 each, of a ridge regression fitted on 128 labelled frames of
                         the training levels, on unseen levels
    effective rank       of the features on unseen levels (``representations.feature_metrics``)
    invariance           1 - |f(x') - f(x)| / |f(y) - f(x)|: x' shows the state of x in another visual variant, y is
                         another frame; the mean over variants that show the very same states
    clusterability       normalised mutual information of 16 clusters of the features with 16 of the factors

Features are centred and scaled as a frozen policy gets them. The table says how each score goes with the held-out
return and with the gap over methods and seeds, with the return on training levels held fixed: rank correlation, its
interval and p over methods (``benchmarks.reporting.rank_correlation``), p after Holm over the rows, and the error of
predicting a method that was left out, with the score and without. Scores are kept in DIR/scores.csv.
"""

from __future__ import annotations

import contextlib
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from benchmarks import cli
from envs.registry import UsageError
from envs.spaces import Array

if TYPE_CHECKING:
    from benchmarks.reporting.runs import Run

SCORES = ("few-label read-out", "effective rank", "invariance", "clusterability")
OUTCOMES = ("held-out return", "gap")
COLUMNS = (
    *("score", "outcome", "methods", "runs", "correlation", "low", "high", "p", "p_holm"),
    *("error", "error_without", "task", "commit"),
)
LABELS, CLUSTERS = 128, 16
SOURCE, HELDOUT = "train", "heldout"
FEWEST_METHODS = 5
Row = dict[str, Any]


@dataclass(frozen=True)
class Args:
    """Correlate cheap scores of representations with the transfer of their agents."""

    experiments: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Experiment directories of benchmarks.transfer, all on one task under one agent."""
    frames: int = 2048
    """Frames of each split that scores are taken on."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """CSV to write; a picture is written beside it. None: correlate.csv in the first DIR."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(correlate, Args, argv)


def correlate(args: Args) -> str:
    """Score every run, write scores, CSV and picture; returns the table.

    Raises:
        UsageError: runs of several tasks or agents, or fewer than ``FEWEST_METHODS`` methods.
    """
    from benchmarks.reporting import layout

    if args.frames < 2 * LABELS:
        raise UsageError(f"--frames {args.frames}: give at least {2 * LABELS}")
    runs = [(folder, run) for folder in args.experiments for run in eligible(folder)]
    check_alike([run for _, run in runs])
    rows = []
    for folder in args.experiments:
        rows += scored(folder, [run for of, run in runs if of == folder], args.frames)
    results = table_rows(rows)
    out = args.out or args.experiments[0] / "correlate.csv"
    cli.write_csv(out, results, COLUMNS, cli.significant(4))
    cli.write_file(out.with_suffix(".png"), picture(rows, results))
    return layout.aligned(table(results), width=200)


def eligible(experiment: Path) -> list[Run]:
    """Finished runs whose agents see, without a bonus, and were played on unseen levels."""
    from benchmarks.reporting.runs import load
    from representations import REPRESENTATIONS

    runs = [run for run in load(experiment) if run.state == "finished" and HELDOUT in run.returns]
    return [run for run in runs if run.config["bonus"] == "none" and REPRESENTATIONS.resolve(run.config["repr"]).sees]


def check_alike(runs: Sequence[Run]) -> None:
    """UsageError unless all runs are of one task, size and agent, and of enough methods."""
    keys = ("env", "train_levels", "steps", "algo", "trunk")
    trained = [run for run in runs if run.config["trunk"] != "own"]
    for key in keys:
        values = {str(run.config.get(key)) for run in (trained if key == "trunk" else runs)}
        if len(values) > 1:
            raise UsageError(f"the runs differ in {key} ({', '.join(sorted(values))}); name directories of one kind")
    methods = {method_of(run) for run in runs}
    if len(methods) < FEWEST_METHODS:
        raise UsageError(
            f"{len(methods)} methods with finished runs on unseen levels; a correlation over methods needs "
            f"{FEWEST_METHODS}: train more with benchmarks.transfer"
        )


def method_of(run: Run) -> str:
    """Method and mode: what is one point, whatever its seeds."""
    return f"{run.config['repr']} {run.config['mode']}"


def scored(experiment: Path, runs: Sequence[Run], frames: int) -> list[Row]:
    """A row of scores and outcomes for each run; those of an earlier call with as many frames are kept."""
    path = experiment / "scores.csv"
    kept: dict[str, Row] = {}
    if path.exists():
        with path.open(newline="") as file:
            kept = {row["run"]: row for row in csv.DictReader(file) if int(row["frames"]) == frames}
    rows: list[Row] = []
    for number, run in enumerate(runs, 1):
        if run.id not in kept:
            print(f"[{number}/{len(runs)}] {run.id}", file=sys.stderr, flush=True)
            kept[run.id] = {"run": run.id, "method": method_of(run), "frames": frames, **scores(run, frames)}
        source, heldout = (float(run.returns[split].values.mean()) for split in (SOURCE, HELDOUT))
        outcomes = {"source return": source, "held-out return": heldout, "gap": source - heldout}
        rows.append(kept[run.id] | outcomes | {"task": run.config["env"], "commit": run.source.get("commit", "")})
        cli.write_csv(path, rows, ("run", "method", "frames", *SCORES, "source return", *OUTCOMES, "task", "commit"))
    return rows


def scores(run: Run, frames: int) -> dict[str, float]:
    """The four scores of a run's representation; nan where no variant tells its factors, or no factor varies.

    Raises:
        UsageError: the environment tells no factors.
    """
    import torch

    from agents.runs.load import load_trained
    from benchmarks.reporting import read_outs
    from envs.rng_streams import stream_seed
    from representations.feature_metrics import effective_rank

    representation, worlds = load_trained(run.path, run.config)

    def frames_of(split: str, count: int) -> tuple[Array, dict[str, Array]]:
        name = SOURCE if split in run.agreement else split  # a variant shows the states of the source
        seed = stream_seed(int(run.config["seed"]), "scores", 0 if name == SOURCE else 1)
        return read_outs.features_and_factors(worlds[split], representation, count, seed)

    features, factors = frames_of(SOURCE, frames)
    scale = read_outs.scale_of(features)
    unseen, unseen_factors = frames_of(HELDOUT, frames)
    variants = {}
    for split in run.agreement:
        with contextlib.suppress(read_outs.NoGroundTruth):  # it cannot be told which of its frames show the same state
            variants[split] = frames_of(split, frames)
    few = {name: values[:LABELS] for name, values in factors.items()}
    rank = float(effective_rank(torch.from_numpy(scale(unseen))))
    same = [invariance(scale(features), factors, scale(other), seen) for other, seen in variants.values()]
    return {
        "few-label read-out": read_out(features[:LABELS], few, unseen, unseen_factors),
        "effective rank": rank,
        "invariance": float(np.mean(same)) if same else np.nan,
        "clusterability": clusterability(scale(unseen), unseen_factors),
    }


def read_out(features: Array, factors: dict[str, Array], unseen: Array, unseen_factors: dict[str, Array]) -> float:
    """Mean over factors of R2 on unseen frames, at least 0 each; nan where no factor varies."""
    from benchmarks.reporting import read_outs

    values = []
    for name, target in factors.items():
        if name in read_outs.NAMES_OF_LEVELS or name not in unseen_factors:
            continue
        if read_outs.varies(target) and read_outs.varies(unseen_factors[name]):
            predict = read_outs.fit(features, target, read_outs.FEW_LABELS)
            values.append(max(0.0, read_outs.r_squared(unseen_factors[name], predict(unseen))))
    return float(np.mean(values)) if values else np.nan


def invariance(plain: Array, factors: dict[str, Array], other: Array, other_factors: dict[str, Array]) -> float:
    """Invariance of features (n, D) to a visual variant, over the frames whose factors are equal in both.

    nan where these are fewer than half: the variant does not show the same states then.
    """
    same = np.ones(len(plain), bool)
    for name, values in factors.items():
        if name in other_factors:
            same &= np.isclose(values, other_factors[name], equal_nan=True).all(1)
    if not factors or same.mean() < 0.5:
        return np.nan
    changed = np.linalg.norm(other[same] - plain[same], axis=1).mean()
    apart = np.linalg.norm(np.roll(plain[same], same.sum() // 2, axis=0) - plain[same], axis=1).mean()
    return float(1 - changed / apart) if apart > 0 else np.nan


def clusterability(features: Array, factors: dict[str, Array]) -> float:
    """Normalised mutual information of clusters of features (n, D) with clusters of all factors together.

    Raises:
        UsageError: scikit-learn is not installed.
    """
    from benchmarks.reporting import read_outs

    quantities = [values for name, values in factors.items() if name not in read_outs.NAMES_OF_LEVELS]
    known = [values for values in quantities if np.isfinite(values).all()]
    if not known:
        return np.nan
    try:
        from sklearn.cluster import KMeans
        from sklearn.metrics import normalized_mutual_info_score
    except ImportError:
        raise UsageError("clusterability needs scikit-learn; install it with: pip install -e '.[classic]'") from None
    truth = np.concatenate(known, 1)
    truth = (truth - truth.mean(0)) / np.where(truth.std(0) > 0, truth.std(0), 1)
    labels = [KMeans(CLUSTERS, n_init=4, random_state=0).fit_predict(values) for values in (features, truth)]
    return float(normalized_mutual_info_score(*labels))


def table_rows(rows: Sequence[Row]) -> list[Row]:
    """A row for each score and outcome, with p after Holm over all of them."""
    from benchmarks.reporting.rank_correlation import prediction
    from benchmarks.reporting.several_tasks import holm

    results: list[Row] = []
    for score in SCORES:
        known = [row for row in rows if np.isfinite(float(row[score]))]
        methods = [str(row["method"]) for row in known]
        if len(set(methods)) < FEWEST_METHODS:
            continue
        values, source = (np.array([float(row[name]) for row in known]) for name in (score, "source return"))
        for outcome in OUTCOMES:
            reached = np.array([float(row[outcome]) for row in known])
            known_by = prediction(values, reached, source, methods)
            row = {"score": score, "outcome": outcome, "methods": len(set(methods)), "runs": len(known)}
            numbers = {name: getattr(known_by, name) for name in ("correlation", "low", "high", "p")}
            errors = {"error": known_by.error, "error_without": known_by.error_without}
            commits = ", ".join(sorted({str(row["commit"]) for row in known}))
            results.append(row | numbers | errors | {"task": known[0]["task"], "commit": commits})
    for row, corrected in zip(results, holm([row["p"] for row in results]), strict=True):
        row["p_holm"] = corrected
    return results


def table(results: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The results as text."""
    header = ["score", "goes with", "methods", "rank correlation", "p", "after Holm", "error left out", "without score"]
    lines = []
    for row in results:
        correlation = f"{row['correlation']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        numbers = [f"{row[name]:.3f}" for name in ("p", "p_holm", "error", "error_without")]
        lines.append([row["score"], row["outcome"], str(row["methods"]), correlation, *numbers])
    return header, lines


def picture(rows: Sequence[Row], results: Sequence[Row]) -> bytes:
    """Held-out return over each score, a dot for each run, coloured by method; PNG."""
    from benchmarks.reporting import png_figures
    from benchmarks.reporting.figure_styles import styles

    panels = {}
    for row in results:
        if row["outcome"] == OUTCOMES[0]:
            title = f"{row['score']}, {row['correlation']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
            points: dict[str, list[tuple[float, float]]] = {}
            for run in rows:
                if np.isfinite(float(run[row["score"]])):
                    point = float(run[row["score"]]), float(run["held-out return"])
                    points.setdefault(str(run["method"]), []).append(point)
            panels[title] = points
    return png_figures.dots(panels, styles({str(row["method"]) for row in rows}), OUTCOMES[0])


if __name__ == "__main__":
    raise SystemExit(main())
