"""Runs read back from an experiment directory, and the rows of results.csv.

``load(DIR)`` gives every run, ``score(runs)`` a row for each finished run and split. Unfinished and damaged runs are
kept with the reason, so that no table drops one silently.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.cli import csv_text, decimals
from benchmarks.reporting.episodes import (
    Agreement,
    KeptPolicies,
    Returns,
    read_agreement,
    read_crossed,
    read_evaluation,
    read_matched,
    read_validation,
)
from envs.registry import UsageError

COLUMNS = (
    *("suite", "repr", "mode", "algo", "memory", "bonus", "trunk", "settings", "train_levels", "level_set"),
    *("pretrain_on", "pretrain_frames", "pretrain_data", "pretrain_levels", "preset", "precision", "threads", "seed"),
    *("steps", "split", "env", "levels", "episodes", "return_mean", "return_std", "normalised"),
    *("greedy_episodes", "greedy_mean"),
    *("best_validation", "final_validation", "pretrain_env_steps", "train_env_steps", "pretrain_seconds"),
    *("train_seconds", "frames_per_second", "commit", "continued", "run"),
)
KEPT = "kept/"
"""Beginning of the names of metrics of kept policies."""
FALL = 0.2
"""Part of the task's range (normalised 0 to 1) that the last validation return may lie below the best one."""
CHANCE = 2.5
"""Standard errors of the difference of both that it may lie below, too, as the best of several noisy evaluations lies
above the last by chance alone. Six equal evaluations of 64 episodes of 0 or 10 fall by that chance in at most 4% of
runs, whether levels decide all of a return, half of it or nothing (without this bound 16 to 35%)."""
FALL_IN_RETURN = 1.0
"""The same in units of return, where the task has no constants."""
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
    returns: dict[str, Returns] = field(default_factory=dict)
    """Split -> episodes of the final evaluation, with sampled actions."""
    greedy: dict[str, Returns] = field(default_factory=dict)
    """Split -> episodes with the likeliest actions; empty where they were not played."""
    crossed: dict[int, Returns] = field(default_factory=dict)
    """Seed -> this agent's episodes on the training levels of that seed's runs; empty before all seeds are done."""
    matched: dict[tuple[str, str], KeptPolicies] = field(default_factory=dict)
    """(Split, half of episodes) -> policies kept during training; empty where none were."""
    agreement: dict[str, Agreement] = field(default_factory=dict)
    """Split -> agreement of actions by effect, where it shows the training levels' own states."""
    validation: dict[int, Returns] = field(default_factory=dict)
    """Step of training -> episodes on validation levels then; empty for older runs, which kept means alone."""
    named_levels: bool = True
    """False for the protocol before, which evaluated first episodes on levels that it did not name."""

    @property
    def env_steps(self) -> dict[str, int]:
        """Environment steps of "pretrain" and "train"; empty where the run does not say."""
        return {stage: int(count) for stage, count in self.source.get("env_steps", {}).items()}

    @property
    def commits(self) -> str:
        """Commits of all its starts, each once, in order."""
        return " ".join(dict.fromkeys(self.values("commit")))

    @property
    def continued(self) -> str:
        """Mark of a run that was trained on after its held-out levels had been read; empty for others."""
        return "after evaluation" if self.source.get("continued_after_evaluation") else ""

    def values(self, fact: str) -> list[Any]:
        """A fact of source.json at each start of the run; empty where it does not say."""
        return [start[fact] for start in (self.source, *self.source.get("starts", ())) if fact in start]

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of "pretrain" and "train"; empty where the run does not say."""
        stages = ("pretrain", "train")
        return {name: self.source[f"{name}_seconds"] for name in stages if f"{name}_seconds" in self.source}

    @property
    def best_validation(self) -> tuple[int, float] | None:
        """Step and return of the best evaluation on validation levels; None where there was none."""
        best = self.source.get("best_validation")
        return (int(best["step"]), float(best["return"])) if best else None

    @property
    def final_validation(self) -> float | None:
        """Return of the last policy on validation levels; None where it was not measured."""
        final = self.source.get("final_validation")
        return float(final["return"]) if final else None

    @property
    def fall(self) -> float:
        """Best minus last validation return of a run that fell, in units of return; 0 for one that did not."""
        best, final = self.best_validation, self.final_validation
        if best is None or final is None:
            return 0.0
        low, high = self.config["normalise"] or (0.0, FALL_IN_RETURN / FALL)
        drop = best[1] - final
        return drop if drop > max(FALL * (high - low), CHANCE * self._validation_noise) else 0.0

    @property
    def _validation_noise(self) -> float:
        """Standard error of the last minus the best evaluation on validation levels.

        Both play the same levels under the same noise, so it is that of their paired differences. Runs that kept means
        alone: that of two unpaired evaluations as noisy as the final policy's training episodes. Held-out returns are
        for tests, and decide nothing here.
        """
        best, last = (self.source.get(name, {}).get("step") for name in ("best_validation", "final_validation"))
        if best in self.validation and last in self.validation:
            (levels, earlier), (same, later) = (self.validation[step].level_means() for step in (best, last))
            if np.array_equal(levels, same) and len(levels) > 1:
                return float((later - earlier).std(ddof=1) / math.sqrt(len(levels)))
        returns, episodes = self.returns.get("train"), self.config.get("periodic_envs", 0)
        if returns is None or len(returns) < 2 or not episodes:
            return 0.0
        return float(returns.values.std(ddof=1) * math.sqrt(2 / episodes))

    @property
    def pictures(self) -> tuple[Path, ...]:
        return tuple(sorted((self.path / "pictures").glob("*.png")))

    @property
    def metric_names(self) -> set[str]:
        """Names of all metrics that were recorded, and ``global_step``."""
        kept = {f"{KEPT}{split}" for split, _ in self.matched}
        return kept.union(name for record in self.metrics for name in record)

    def series(self, metric: str) -> np.ndarray:
        """A metric over training (P, 2): global step and value of each record that has it.

        ``kept/SPLIT`` is the mean return of kept policies on a split, over the halves of episodes that were played.
        """
        if metric.startswith(KEPT):
            halves = [kept for (split, _), kept in self.matched.items() if split == metric.removeprefix(KEPT)]
            if not halves:
                return np.zeros((0, 2))
            steps = halves[0].fractions * self.config["steps"]
            return np.stack([steps, np.mean([half.means for half in halves], axis=0)], 1)
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


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Each run once: copied into two directories it would pass for a second seed.

    Raises:
        UsageError: two runs of one id that are no copies.
    """
    by_id: dict[str, Run] = {}
    for run in runs:
        first = by_id.setdefault(run.id, run)
        if (first.state, first.config, first.source, first.metrics) != (run.state, run.config, run.source, run.metrics):
            raise UsageError(
                f"run {run.id} in {run.path.parent.parent} is no copy of that in {first.path.parent.parent}; "
                "name one of the two directories, or move one of the runs away"
            )
    return list(by_id.values())


def read(path: Path) -> Run:
    """Read one run's folder. What is missing or unreadable makes it unfinished or damaged, with the reason."""
    config: dict[str, Any] = {}
    try:
        config = _config(path / "config.json")
        finished = (path / "done").exists()
        metrics = _metrics(path / "metrics.jsonl", may_be_torn=not finished)
        if not finished:
            step = int(max((record.get("global_step", 0) for record in metrics), default=0))
            reason = f"stopped at {step:,} of {config['steps']:,} frames" + _failure(path)
            return Run(path.name, path, "unfinished", reason, config, {}, metrics)
        source = json.loads((path / "source.json").read_text(encoding="utf-8"))
        evaluation = read_evaluation(path / "eval.csv")
        if missing := [split for split in config["splits"] if split not in evaluation.returns]:
            return Run(path.name, path, "damaged", f"eval.csv has no episodes of {', '.join(missing)}", config)
        run = Run(
            path.name,
            path,
            "finished",
            config=config,
            source=source,
            metrics=metrics,
            returns=evaluation.returns,
            greedy=evaluation.greedy,
            crossed=read_crossed(path / "crossed.csv"),
            matched=read_matched(path / "matched.csv"),
            agreement=read_agreement(path / "agreement.csv"),
            validation=read_validation(path / "validation.csv"),
            named_levels=evaluation.named_levels,
        )
        if reason := _not_finite(run):
            return Run(path.name, path, "damaged", reason, config)
        return run
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        return Run(path.name, path, "damaged", f"unreadable ({type(error).__name__}: {error})", config)


def _failure(path: Path) -> str:
    """Reason of the newest start's failure, to be added to that of an unfinished run; empty where there is none."""
    file = path / "failure.txt"
    return f"; failed: {file.read_text(encoding='utf-8').strip()}" if file.exists() else ""


def _not_finite(run: Run) -> str:
    """Place of a finished run's first return that is not finite, in words; empty where all are."""
    files: dict[str, Mapping[Any, Returns]] = {"eval.csv": run.returns, "eval.csv, greedy": run.greedy}
    files |= {"crossed.csv": run.crossed, "validation.csv": run.validation}
    for file, groups in files.items():
        for group, returns in groups.items():
            if len(bad := np.flatnonzero(~np.isfinite(returns.values))):
                place = f"level {returns.levels[bad[0]]}, repetition {returns.repetitions[bad[0]]}"
                return f"{file}: a return of {group} is {returns.values[bad[0]]} ({place}); {len(bad)} are not finite"
    bad_halves = [key for key, kept in run.matched.items() if not np.isfinite(kept.means).all()]
    return f"matched.csv: returns of {bad_halves[0][0]} are not finite" if bad_halves else ""


def _config(path: Path) -> dict[str, Any]:
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not config.keys() >= _REQUIRED:
        raise ValueError("config.json is not of a run of this toolkit")
    return {name: value for name, value in config.items() if _REMOVED.get(name, ...) != value}


def _metrics(path: Path, may_be_torn: bool) -> tuple[dict[str, Any], ...]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if may_be_torn and number == len(lines):
                break  # the run is writing this line, or was killed while it did
            raise ValueError(f"metrics.jsonl line {number}") from None
    return tuple(records)


def score(runs: Iterable[Run]) -> list[Row]:
    """Rows of results.csv: one for each finished run and split.

    ``return_mean`` weighs levels equally, ``return_std`` is over episodes (n - 1), ``levels`` counts the split's levels
    (empty where they are unknown), ``normalised`` is (mean - Rmin) / (Rmax - Rmin), empty without constants. Costs are
    those of the whole run: ``steps`` are frames of RL asked for, ``train_env_steps`` those trained, in whole rollouts.
    ``settings`` are the ones beyond these columns that distinguish the run's row from others of its method (JSON);
    ``greedy_mean`` is with the likeliest actions. ``continued`` marks a run that was trained on after its held-out
    levels had been read. ``run`` is the name of its folder.
    """
    from benchmarks.reporting.labels import agent_of, distinguishing_settings

    runs, rows = list(runs), []
    settings = distinguishing_settings([run for run in runs if run.state == "finished"])
    for run in runs:
        if run.state != "finished":
            continue
        for split in run.config["splits"]:
            returns = run.returns[split]
            normalised = normalise(run, returns.mean())
            row = {name: run.config.get(name, "") for name in COLUMNS}
            row |= {name: run.source.get(name, "") for name in ("precision", "threads", "frames_per_second")}
            beyond = {name: json.loads(value) for name, value in settings[run.id].items() if name not in COLUMNS}
            row |= {"memory": agent_of(run.config)[1], "settings": json.dumps(beyond), "commit": run.commits}
            row |= {"continued": run.continued, "run": run.id}
            row |= {f"{stage}_env_steps": run.env_steps.get(stage, "") for stage in ("pretrain", "train")}
            row |= {f"{stage}_seconds": run.seconds.get(stage, "") for stage in ("pretrain", "train")}
            row["levels"] = len(returns.level_means()[0]) if returns.named_levels else ""
            row |= {"split": split, "episodes": len(returns), "return_mean": returns.mean()}
            row["return_std"] = float(returns.values.std(ddof=1)) if len(returns) > 1 else ""
            if greedy := run.greedy.get(split):
                row |= {"greedy_episodes": len(greedy), "greedy_mean": greedy.mean()}
            row["normalised"] = "" if normalised is None else normalised
            row["best_validation"] = "" if run.best_validation is None else run.best_validation[1]
            row["final_validation"] = "" if run.final_validation is None else run.final_validation
            rows.append(row)
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
