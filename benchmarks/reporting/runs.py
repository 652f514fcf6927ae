"""Runs read back: ``load(DIR)``, their table ``score(runs)``, and ``summarise(runs)``; all three are pure.

``score`` makes one row per run and split; ``summarise`` gathers runs that differ in nothing but their seed into cells
with 95% intervals.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.cli import csv_text, decimals
from benchmarks.experiment.presets import BASELINE
from benchmarks.reporting import stats
from benchmarks.reporting.stats import Interval
from envs.registry import UsageError

COLUMNS = (
    *("suite", "repr", "mode", "algo", "bonus", "trunk", "train_levels", "pretrain_on", "pretrain_frames", "seed"),
    *("steps", "split", "env", "episodes", "return_mean", "return_std", "normalised", "frames_per_second", "commit"),
)
_NEEDED = frozenset({"suite", "repr", "mode", "algo", "env", "train_levels", "seed", "steps", "splits", "normalise"})
_OF_THE_CELL = frozenset({"seed", "env", "train_levels", "normalise", "splits"})
# What a reader wants told apart first, where one representation was run in several ways.
_FIRST_TOLD = ("suite", "mode", "algo", "bonus", "trunk", "pretrain_on", "preset", "steps")

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
    """Split -> part of the source's own states, shown that way, in which the likeliest action stays the same."""

    @property
    def pictures(self) -> tuple[Path, ...]:
        return tuple(sorted((self.path / "pictures").glob("*.png")))


def load(experiment: Path) -> list[Run]:
    """Every run of an experiment directory, by id; none is left out because it is unfinished or damaged.

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
    """One run's folder. What is missing or unreadable makes it unfinished or damaged, with the reason."""
    config: dict[str, Any] = {}
    try:
        config = _config(path / "config.json")
        finished = (path / "done").exists()
        metrics = _metrics(path / "metrics.jsonl", torn_end=not finished)
        if not finished:
            step = int(max((record.get("global_step", 0) for record in metrics), default=0))
            reason = f"stopped at {step:,} of {config['steps']:,} frames"
            return Run(path.name, path, "unfinished", reason, config, {}, metrics)
        source = json.loads((path / "source.json").read_text())
        returns = _episodes(path / "eval.csv")
        agreed = _agreement(path / "agreement.csv")
        if missing := [split for split in config["splits"] if split not in returns]:
            return Run(path.name, path, "damaged", f"eval.csv has no episodes of {', '.join(missing)}", config)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        return Run(path.name, path, "damaged", f"unreadable ({type(error).__name__}: {error})", config)
    return Run(path.name, path, "finished", "", config, source, metrics, returns, agreed)


def _config(path: Path) -> dict[str, Any]:
    config = json.loads(path.read_text())
    if not isinstance(config, dict) or not config.keys() >= _NEEDED:
        raise ValueError("config.json is not of a run of this toolkit")
    return config


def _metrics(path: Path, torn_end: bool) -> tuple[dict[str, Any], ...]:
    lines = path.read_text().splitlines() if path.exists() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if torn_end and number == len(lines):
                break  # the run is writing this line, or was killed while it did
            raise ValueError(f"metrics.jsonl line {number}") from None
    return tuple(records)


def _episodes(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {}
    with open(path, newline="") as handle:
        for row in csv.DictReader(handle):
            found.setdefault(row["split"], []).append(float(row["return"]))
    return {split: np.array(returns) for split, returns in found.items()}


def _agreement(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    with open(path, newline="") as handle:
        return {row["split"]: float(row["argmax"]) for row in csv.DictReader(handle)}


def score(runs: Iterable[Run]) -> list[Row]:
    """results.csv: one row per finished run and split.

    ``return_std`` is over episodes (n - 1); ``normalised`` is (mean - Rmin) / (Rmax - Rmin), empty without constants.
    """
    rows = []
    for run in runs:
        if run.state != "finished":
            continue
        for split in run.config["splits"]:
            returns = run.returns[split]
            row = {name: run.config[name] for name in COLUMNS if name in run.config}
            row |= {name: run.source.get(name, "") for name in ("frames_per_second", "commit")}
            row |= {"split": split, "episodes": len(returns), "return_mean": float(returns.mean())}
            row["return_std"] = float(returns.std(ddof=1)) if len(returns) > 1 else ""
            row["normalised"] = _given(normalise(run, returns.mean()))
            rows.append({name: row[name] for name in COLUMNS})
    return sorted(rows, key=lambda row: (row["env"], row["train_levels"], row["repr"], row["mode"], row["seed"]))


def normalise(run: Run, value: float) -> float | None:
    """(value - Rmin) / (Rmax - Rmin), None where the task has no constants."""
    if not run.config["normalise"]:
        return None
    low, high = run.config["normalise"]
    return float((value - low) / (high - low))


def _given(value: float | None) -> float | str:
    return "" if value is None else value


@dataclass(frozen=True)
class Cell:
    """One method on one task: the finished runs that differ in nothing but their seed, by seed."""

    label: str
    """The representation, and what tells it from its other cells where there are several."""
    runs: tuple[Run, ...]

    @property
    def config(self) -> dict[str, Any]:
        return self.runs[0].config

    @property
    def env(self) -> str:
        return str(self.config["env"])

    @property
    def train_levels(self) -> int:
        return int(self.config["train_levels"])

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.config["seed"] for run in self.runs)

    @property
    def target(self) -> str:
        """The split that rows are ordered by: unseen levels where there are any."""
        splits = self.config["splits"]
        return "heldout" if "heldout" in splits else splits[min(1, len(splits) - 1)]

    @property
    def frames_per_second(self) -> float:
        return float(np.mean([run.source.get("frames_per_second", np.nan) for run in self.runs]))

    def means(self, split: str) -> np.ndarray:
        """Each seed's mean return (N, 1)."""
        return np.array([[run.returns[split].mean()] for run in self.runs])

    def agreement(self, split: str) -> float | None:
        """Mean over seeds; None where the split does not show the source's states."""
        found = [run.agreement[split] for run in self.runs if split in run.agreement]
        return float(np.mean(found)) if found else None

    @cached_property
    def returns(self) -> dict[str, Interval]:
        """Split -> mean return: over seeds where there are several, else over the one run's episodes."""
        if len(self.runs) > 1:
            return {split: stats.over_seeds(self.means(split)) for split in self.config["splits"]}
        return {split: stats.over_episodes(self.runs[0].returns[split]) for split in self.config["splits"]}

    @cached_property
    def gaps(self) -> dict[str, Interval]:
        """Target -> training return minus return there, paired by seed where there are several."""
        targets = [split for split in self.config["splits"] if split != "train"]
        if len(self.runs) > 1:
            return {split: stats.paired_difference(self.means("train"), self.means(split)) for split in targets}
        returns = self.runs[0].returns
        return {split: stats.episode_difference(returns["train"], returns[split]) for split in targets}

    def over(self, other: Cell, split: str) -> Interval:
        """This cell's mean return minus the other's."""
        if min(len(self.runs), len(other.runs)) > 1:
            return stats.independent_difference(self.means(split), other.means(split))
        return stats.episode_difference(
            np.concatenate([run.returns[split] for run in self.runs]),
            np.concatenate([run.returns[split] for run in other.runs]),
        )


@dataclass(frozen=True)
class Summary:
    """What the pages show."""

    cells: tuple[Cell, ...]
    """By task and number of training levels; inside, the best on held-out levels first."""
    runs: tuple[Run, ...]
    missing: tuple[str, ...]
    """Runs that are unfinished or damaged, and cells of the grid without a run, by name."""

    @property
    def envs(self) -> list[str]:
        return sorted({cell.env for cell in self.cells})

    @property
    def levels(self) -> list[int]:
        return sorted({cell.train_levels for cell in self.cells})

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(cell.label for cell in self.cells))

    @property
    def baseline(self) -> str:
        """Label of the row that others are compared with; '' without one."""
        return next((cell.label for cell in self.cells if is_baseline(cell)), "")

    def cell(self, label: str, env: str, levels: int) -> Cell | None:
        place = (label, env, levels)
        return next((cell for cell in self.cells if (cell.label, cell.env, cell.train_levels) == place), None)

    def reference(self, cell: Cell) -> Cell | None:
        """The baseline's cell on the same task, under the same agent where the baseline was run under several."""
        same = [
            other
            for other in self.cells
            if is_baseline(other)
            and (other.env, other.train_levels) == (cell.env, cell.train_levels)
            and other.config["algo"] == cell.config["algo"]
        ]
        return max(same, key=lambda other: other.config["steps"] == cell.config["steps"], default=None)


def summarise(runs: Sequence[Run]) -> Summary:
    """Gather runs into cells with labels, and name what is not there."""
    known = [run for run in runs if run.config]
    labels = _labels(known)
    groups: dict[tuple[str, int, str], list[Run]] = {}
    for run in known:
        if run.state == "finished":
            key = (run.config["env"], run.config["train_levels"], labels[run.id])
            groups.setdefault(key, []).append(run)
    cells = [
        Cell(label, tuple(sorted(group, key=lambda run: run.config["seed"]))) for (_, _, label), group in groups.items()
    ]
    cells.sort(key=lambda c: (c.env, c.train_levels, -float(c.means(c.target).mean()), c.label))
    return Summary(tuple(cells), tuple(runs), tuple(_missing(runs, labels)))


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves as text: nested settings get dotted names."""
    found: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        elif prefix or name not in _OF_THE_CELL:
            found[f"{prefix}{name}"] = json.dumps(value)
    return found


def distinguishing_settings(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Run id -> as few settings (dotted name, JSON text) as tell it from the other runs of its method."""
    found: dict[str, dict[str, str]] = {}
    for name in sorted({_method(run) for run in runs}):
        own = {run.id: _flat(run.config) for run in runs if _method(run) == name}
        keys = sorted({key for flat in own.values() for key in flat})
        keys.sort(key=lambda key: _FIRST_TOLD.index(key) if key in _FIRST_TOLD else len(_FIRST_TOLD))
        told: list[str] = []
        for key in keys:
            if _distinct(own, [*told, key]) > _distinct(own, told):
                told.append(key)
        found |= {run_id: {key: flat.get(key, "null") for key in told} for run_id, flat in own.items()}
    return found


def _labels(runs: Sequence[Run]) -> dict[str, str]:
    """Run id -> label: the method alone where that is enough, else with the settings that tell it apart."""
    told = distinguishing_settings(runs)
    labels: dict[str, str] = {}
    for run in runs:
        parts = [f"{key.rsplit('.', 1)[-1]}={_shown(value)}" for key, value in told[run.id].items()]
        labels[run.id] = f"{_method(run)} ({', '.join(parts)})" if parts else _method(run)
    return labels


def _method(run: Run) -> str:
    """The representation, and the bonuses beside it."""
    bonus = run.config.get("bonus", "none")
    return str(run.config["repr"]) if bonus == "none" else f"{run.config['repr']} + {bonus.replace(' ', ' + ')}"


def is_baseline(cell: Cell) -> bool:
    """The end-to-end network without bonuses, which the other rows are compared with."""
    return cell.config["repr"] == BASELINE and cell.config.get("bonus", "none") == "none"


def _shown(text: str) -> str:
    return "none" if text == "null" else text.strip('"')


def _distinct(flats: dict[str, dict[str, str]], keys: Sequence[str]) -> int:
    return len({tuple(flat.get(key) for key in keys) for flat in flats.values()})


def _missing(runs: Sequence[Run], labels: dict[str, str]) -> Iterable[str]:
    """Runs by name with the reason, then the seeds that other cells of the grid have and this one lacks."""
    there: dict[tuple[str, str, int], set[int]] = {}
    tasks: dict[str, set[tuple[str, int]]] = {}
    suites: dict[str, str] = {}
    for run in runs:
        if run.state != "finished":
            yield f"{run.id}: {run.state}, {run.reason}"
        if run.config:
            label, task = labels[run.id], (run.config["env"], run.config["train_levels"])
            there.setdefault((label, *task), set()).add(run.config["seed"])
            suites[label] = run.config["suite"]
            tasks.setdefault(run.config["suite"], set()).add(task)
    every = set().union(*there.values())
    for label, suite in sorted(suites.items()):
        for env, levels in sorted(tasks[suite]):
            absent = sorted(every - there.get((label, env, levels), set()))
            if absent:
                yield f"{label}, {env}, {levels} training levels: no run with seed {', '.join(map(str, absent))}"


def table(rows: Sequence[Row]) -> str:
    """Rows as CSV; six decimals are enough for any return and short enough to read."""
    return csv_text(rows, COLUMNS, decimals(6))
