"""Runs that differ in nothing but their seed, gathered into cells with 95% intervals.

A cell is one method on one task with one number of training levels; a summary holds all cells of an experiment and
names the runs that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmarks.experiment.presets import BASELINE
from benchmarks.reporting import stats
from benchmarks.reporting.runs import Run
from benchmarks.reporting.stats import Interval

_SHARED_BY_LABEL = frozenset({"seed", "env", "train_levels", "normalise", "splits"})
# The settings that a label names first, where one method was run in several ways.
_NAMED_FIRST = ("suite", "mode", "algo", "bonus", "trunk", "pretrain_on", "preset", "steps")


@dataclass(frozen=True)
class Cell:
    """One method on one task: the finished runs that differ in nothing but their seed, by seed."""

    label: str
    """The method, and the settings that distinguish it from its other cells where there are several."""
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
        """Action agreement, mean over seeds; None where the split does not show the training levels' states."""
        values = [run.agreement[split] for run in self.runs if split in run.agreement]
        return float(np.mean(values)) if values else None

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

    def difference(self, other: Cell, split: str) -> Interval:
        """Mean return of this cell minus the other's."""
        if min(len(self.runs), len(other.runs)) > 1:
            return stats.independent_difference(self.means(split), other.means(split))
        return stats.episode_difference(
            np.concatenate([run.returns[split] for run in self.runs]),
            np.concatenate([run.returns[split] for run in other.runs]),
        )


def is_baseline(cell: Cell) -> bool:
    """True for the end-to-end network without bonuses, which the other rows are compared with."""
    return cell.config["repr"] == BASELINE and cell.config.get("bonus", "none") == "none"


@dataclass(frozen=True)
class Summary:
    """All cells of an experiment, and the runs they are made of."""

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
        key = (label, env, levels)
        return next((cell for cell in self.cells if (cell.label, cell.env, cell.train_levels) == key), None)

    def reference(self, cell: Cell) -> Cell | None:
        """The baseline's cell on the same task, under the same agent where the baseline was run under several."""
        candidates = [
            other
            for other in self.cells
            if is_baseline(other)
            and (other.env, other.train_levels) == (cell.env, cell.train_levels)
            and other.config["algo"] == cell.config["algo"]
        ]
        return max(candidates, key=lambda other: other.config["steps"] == cell.config["steps"], default=None)


def summarise(runs: Sequence[Run]) -> Summary:
    """Gather runs into cells with labels, and name the missing ones."""
    readable = [run for run in runs if run.config]
    labels = _labels(readable)
    groups: dict[tuple[str, int, str], list[Run]] = {}
    for run in readable:
        if run.state == "finished":
            key = (run.config["env"], run.config["train_levels"], labels[run.id])
            groups.setdefault(key, []).append(run)
    cells = [
        Cell(label, tuple(sorted(group, key=lambda run: run.config["seed"]))) for (_, _, label), group in groups.items()
    ]
    cells.sort(key=lambda c: (c.env, c.train_levels, -float(c.means(c.target).mean()), c.label))
    return Summary(tuple(cells), tuple(runs), tuple(_missing(runs, labels)))


def distinguishing_settings(runs: Sequence[Run]) -> dict[str, dict[str, str]]:
    """Run id -> as few settings (dotted name, JSON text) as distinguish it from the other runs of its method."""
    settings: dict[str, dict[str, str]] = {}
    for method in sorted({_method(run) for run in runs}):
        flat_configs = {run.id: _flat(run.config) for run in runs if _method(run) == method}
        names = sorted({name for flat in flat_configs.values() for name in flat})
        names.sort(key=lambda name: _NAMED_FIRST.index(name) if name in _NAMED_FIRST else len(_NAMED_FIRST))
        chosen: list[str] = []
        for name in names:
            if _distinct(flat_configs, [*chosen, name]) > _distinct(flat_configs, chosen):
                chosen.append(name)
        settings |= {run_id: {name: flat.get(name, "null") for name in chosen} for run_id, flat in flat_configs.items()}
    return settings


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Leaves as text: nested settings get dotted names."""
    leaves: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            leaves |= _flat(value, f"{prefix}{name}.")
        elif prefix or name not in _SHARED_BY_LABEL:
            leaves[f"{prefix}{name}"] = json.dumps(value)
    return leaves


def _distinct(flat_configs: dict[str, dict[str, str]], names: Sequence[str]) -> int:
    return len({tuple(flat.get(name) for name in names) for flat in flat_configs.values()})


def _labels(runs: Sequence[Run]) -> dict[str, str]:
    """Run id -> label: the method alone where that is enough, else with the settings that distinguish it."""
    settings = distinguishing_settings(runs)
    labels: dict[str, str] = {}
    for run in runs:
        words = [f"{name.rsplit('.', 1)[-1]}={_plain(value)}" for name, value in settings[run.id].items()]
        labels[run.id] = f"{_method(run)} ({', '.join(words)})" if words else _method(run)
    return labels


def _method(run: Run) -> str:
    """The representation, and the bonuses added to its reward."""
    bonus = run.config.get("bonus", "none")
    return str(run.config["repr"]) if bonus == "none" else f"{run.config['repr']} + {bonus.replace(' ', ' + ')}"


def _plain(json_text: str) -> str:
    return "none" if json_text == "null" else json_text.strip('"')


def _missing(runs: Sequence[Run], labels: dict[str, str]) -> Iterable[str]:
    """Runs by name with the reason, then the seeds that other cells of the grid have and this one lacks."""
    seeds: dict[tuple[str, str, int], set[int]] = {}
    tasks: dict[str, set[tuple[str, int]]] = {}
    suites: dict[str, str] = {}
    for run in runs:
        if run.state != "finished":
            yield f"{run.id}: {run.state}, {run.reason}"
        if run.config:
            label, task = labels[run.id], (run.config["env"], run.config["train_levels"])
            seeds.setdefault((label, *task), set()).add(run.config["seed"])
            suites[label] = run.config["suite"]
            tasks.setdefault(run.config["suite"], set()).add(task)
    all_seeds = set().union(*seeds.values())
    for label, suite in sorted(suites.items()):
        for env, levels in sorted(tasks[suite]):
            absent = sorted(all_seeds - seeds.get((label, env, levels), set()))
            if absent:
                yield f"{label}, {env}, {levels} training levels: no run with seed {', '.join(map(str, absent))}"
