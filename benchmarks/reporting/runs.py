"""Runs read back from an experiment directory, and the rows of results.csv.

``load(DIR)`` gives every run, ``score(runs)`` a row for each finished run and split. Unfinished and damaged runs are
kept with the reason, so that no table drops one silently.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.cli import csv_text, decimals
from envs.registry import UsageError

COLUMNS = (
    *("suite", "repr", "mode", "algo", "bonus", "trunk", "train_levels", "pretrain_on", "pretrain_frames", "seed"),
    *("steps", "split", "env", "episodes", "return_mean", "return_std", "normalised", "frames_per_second", "commit"),
)
_REQUIRED = frozenset({"suite", "repr", "mode", "algo", "env", "train_levels", "seed", "steps", "splits", "normalise"})
_REMOVED = {"overlap": False}
"""Options of the version before and their defaults. Runs with the default are read as if the option had never been."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One folder of DIR/runs as it stands."""

    id: str
    path: Path
    state: Literal["finished", "unfinished", "damaged"]
    reason: str = ""
    """Why it is not finished, in words; empty if it is."""
    config: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[dict[str, Any], ...] = ()
    returns: dict[str, np.ndarray] = field(default_factory=dict)
    """Split -> undiscounted return of each evaluation episode (E,)."""
    agreement: dict[str, float] = field(default_factory=dict)
    """Split -> fraction of the training levels' states, drawn that way, whose most probable action is the same."""

    @property
    def pictures(self) -> tuple[Path, ...]:
        return tuple(sorted((self.path / "pictures").glob("*.png")))

    def series(self, metric: str) -> np.ndarray:
        """A metric over training (P, 2): global step and value of each record that has it."""
        points = [(record["global_step"], record[metric]) for record in self.metrics if metric in record]
        return np.array(points, dtype=np.float64).reshape(-1, 2)


def load(experiment: Path) -> list[Run]:
    """Every run of an experiment directory, by id; unfinished and damaged runs included.

    Raises:
        UsageError: DIR holds no runs folder.
    """
    folder = Path(experiment) / "runs"
    if not folder.is_dir():
        raise UsageError(
            f"{experiment} is not an experiment directory (it has no runs/); name the --out of a benchmark"
        )
    return [read(path) for path in sorted(folder.iterdir()) if path.is_dir()]


def read(path: Path) -> Run:
    """Read one run's folder. What is missing or unreadable makes it unfinished or damaged, with the reason."""
    config: dict[str, Any] = {}
    try:
        config = _config(path / "config.json")
        finished = (path / "done").exists()
        metrics = _metrics(path / "metrics.jsonl", may_be_torn=not finished)
        if not finished:
            step = int(max((record.get("global_step", 0) for record in metrics), default=0))
            reason = f"stopped at {step:,} of {config['steps']:,} frames"
            return Run(path.name, path, "unfinished", reason, config, {}, metrics)
        source = json.loads((path / "source.json").read_text())
        returns = _episodes(path / "eval.csv")
        agreement = _agreement(path / "agreement.csv")
        if missing := [split for split in config["splits"] if split not in returns]:
            return Run(path.name, path, "damaged", f"eval.csv has no episodes of {', '.join(missing)}", config)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        return Run(path.name, path, "damaged", f"unreadable ({type(error).__name__}: {error})", config)
    return Run(path.name, path, "finished", "", config, source, metrics, returns, agreement)


def _config(path: Path) -> dict[str, Any]:
    config = json.loads(path.read_text())
    if not isinstance(config, dict) or not config.keys() >= _REQUIRED:
        raise ValueError("config.json is not of a run of this toolkit")
    return {name: value for name, value in config.items() if _REMOVED.get(name, ...) != value}


def _metrics(path: Path, may_be_torn: bool) -> tuple[dict[str, Any], ...]:
    lines = path.read_text().splitlines() if path.exists() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if may_be_torn and number == len(lines):
                break  # the run is writing this line, or was killed while it did
            raise ValueError(f"metrics.jsonl line {number}") from None
    return tuple(records)


def _episodes(path: Path) -> dict[str, np.ndarray]:
    returns: dict[str, list[float]] = {}
    with open(path, newline="") as handle:
        for row in csv.DictReader(handle):
            returns.setdefault(row["split"], []).append(float(row["return"]))
    return {split: np.array(values) for split, values in returns.items()}


def _agreement(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    with open(path, newline="") as handle:
        return {row["split"]: float(row["argmax"]) for row in csv.DictReader(handle)}


def score(runs: Iterable[Run]) -> list[Row]:
    """Rows of results.csv: one for each finished run and split.

    ``return_std`` is over episodes (n - 1); ``normalised`` is (mean - Rmin) / (Rmax - Rmin), empty without constants.
    """
    rows = []
    for run in runs:
        if run.state != "finished":
            continue
        for split in run.config["splits"]:
            returns = run.returns[split]
            normalised = normalise(run, returns.mean())
            row = {name: run.config[name] for name in COLUMNS if name in run.config}
            row |= {name: run.source.get(name, "") for name in ("frames_per_second", "commit")}
            row |= {"split": split, "episodes": len(returns), "return_mean": float(returns.mean())}
            row["return_std"] = float(returns.std(ddof=1)) if len(returns) > 1 else ""
            row["normalised"] = "" if normalised is None else normalised
            rows.append({name: row[name] for name in COLUMNS})
    return sorted(rows, key=lambda row: (row["env"], row["train_levels"], row["repr"], row["mode"], row["seed"]))


def results_csv(rows: Sequence[Row]) -> str:
    """Text of results.csv; six decimals are enough for any return and short enough to read."""
    return csv_text(rows, COLUMNS, decimals(6))


def normalise(run: Run, value: float) -> float | None:
    """(value - Rmin) / (Rmax - Rmin), None where the task has no constants."""
    if not run.config["normalise"]:
        return None
    low, high = run.config["normalise"]
    return float((value - low) / (high - low))
