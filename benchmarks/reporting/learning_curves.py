"""Learning curves as numbers: area under the curve, frames to a return, and differences between methods.

R(s) is the return of the policy that trains, at frame s: the records' ``train/return`` (the newest episode of each
environment, from when all have finished one; of runs of the protocol before, the last 100 episodes that ended, which
favours short ones), joined by straight lines. The first known value also stands for the frames before it, and the last
one for those up to S, the run's ``steps``.

    AUC = 1/S * integral_0^S R(s) ds        mean return over training, in units of return

Runs that differ in nothing but their seed are one group. Frames of pre-training come before frame 0 and do not count.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reporting import layout
from benchmarks.reporting.cells import Cell, is_baseline, over_seeds, seed_difference
from benchmarks.reporting.labels import agent_of, distinguishing_settings
from benchmarks.reporting.notes import seed_notes
from benchmarks.reporting.runs import Run
from benchmarks.reporting.stats import Interval
from benchmarks.reporting.summary import Summary
from envs.registry import UsageError

METRIC = "train/return"

COLUMNS = ("suite", "env", "repr", "mode", "settings", "seed", "steps", "auc", "reached", "final", "commit")
Array = NDArray[np.float64]
Task = tuple[str, int]
"""Env and number of training levels."""


@dataclass(frozen=True)
class Group:
    """One method on one task, with the learning curve of each seed."""

    cell: Cell
    curves: tuple[tuple[Array, Array], ...] = field(repr=False)
    """For each seed frames (P,) and return (P,); P may differ."""

    @property
    def label(self) -> str:
        return self.cell.label

    @property
    def task(self) -> Task:
        return self.cell.env, self.cell.train_levels

    @property
    def steps(self) -> int:
        """S, in frames."""
        return int(self.cell.config["steps"])

    @property
    def areas(self) -> Array:
        """AUC of each seed (N, 1), in units of return."""
        return np.array([[area(*curve, self.steps)] for curve in self.curves])

    @property
    def last_return(self) -> float:
        """Return at the end of training, mean over seeds."""
        return float(np.mean([returns[-1] for _, returns in self.curves]))

    def frames_to_reach(self, threshold: float) -> Array:
        """Frames that each seed needs (N, 1), nan where it never gets there."""
        return np.array([[frames_to_reach(*curve, threshold)] for curve in self.curves])


def training_curve(run: Run) -> tuple[Array, Array]:
    """Frames (P,) and return (P,) of a finished run, cut at S: training ends with a whole rollout, past it.

    Raises:
        UsageError: no record has ``train/return``.
    """
    returns_at = {
        record["global_step"]: float(record[METRIC])
        for record in run.metrics
        if record.get(METRIC) is not None and math.isfinite(record[METRIC])
    }
    if not returns_at:
        raise UsageError(
            f"run {run.id} has no record with '{METRIC}': not every environment ended an episode while it trained; "
            "train it longer (--steps), or name directories without it"
        )
    frames = np.array(sorted(returns_at), dtype=np.float64)
    returns = np.array([returns_at[step] for step in sorted(returns_at)])
    total = run.config["steps"]
    kept = np.append(frames[frames < total], total)
    return kept, np.interp(kept, frames, returns)


def area(frames: Array, returns: Array, total: float) -> float:
    """Mean return over frames 0 to ``total``, in units of return: trapezoids under the curve of points (P,), (P,).

    The first return is extended back to frame 0, the last one to ``total``; what lies beyond ``total`` is cut.
    """
    ends = np.concatenate([[0.0], frames[(frames > 0) & (frames < total)], [float(total)]])
    heights = np.interp(ends, frames, returns)
    return float(((heights[1:] + heights[:-1]) / 2 * np.diff(ends)).sum() / total)


def frames_to_reach(frames: Array, returns: Array, threshold: float) -> float:
    """Frames until the curve of points (P,), (P,) first has a return of ``threshold`` or more; nan if never.

    Between two points the line is followed; a curve that begins above it has reached it at its first point.
    """
    above = returns >= threshold
    if not above.any():
        return math.nan
    after = int(above.argmax())
    if after == 0:
        return float(frames[0])
    before = after - 1
    fraction = (threshold - returns[before]) / (returns[after] - returns[before])
    return float(frames[before] + fraction * (frames[after] - frames[before]))


def make_groups(summary: Summary) -> list[Group]:
    """The summary's cells with their curves: by task, the end-to-end baseline first, then best on held-out first."""
    groups = [Group(cell, tuple(training_curve(run) for run in cell.runs)) for cell in summary.cells]
    return sorted(groups, key=lambda group: (group.task, not is_baseline(group.cell)))


def halfway(groups: Sequence[Group]) -> dict[Task, float]:
    """Task -> half of the way from the lowest to the highest last return of its groups, in units of return."""
    last_returns: dict[Task, list[float]] = {}
    for group in groups:
        last_returns.setdefault(group.task, []).append(group.last_return)
    return {task: (min(returns) + max(returns)) / 2 for task, returns in last_returns.items()}


def reference(group: Group, groups: Sequence[Group], against: str) -> Group | None:
    """The group to compare with: of the same task, agent and kind of level set, for as many frames where there is one.

    None where no group is of that kind, as in the report.
    """

    def kind(other: Group) -> tuple[object, ...]:
        return other.task, agent_of(other.cell.config), other.cell.level_set_kind

    alike = [other for other in groups if kind(other) == kind(group)]
    if against:
        candidates = [other for other in alike if other.label.startswith(against)]
    else:
        candidates = [other for other in alike if is_baseline(other.cell)] or alike[:1]

    def likeness(other: Group) -> tuple[bool, bool]:
        return other.label == against, other.steps == group.steps

    return max(candidates, key=likeness, default=None)


def table(groups: Sequence[Group], thresholds: dict[Task, float], against: str = "") -> layout.Table:
    """A row for each group: AUC, frames to the threshold R, final return and the AUC's difference, 95% over seeds."""
    envs, levels = ({group.task[index] for group in groups} for index in (0, 1))
    header = ["group", *["task"] * (len(envs) > 1), *["levels"] * (len(levels) > 1), "seeds", "AUC [95%]", "R"]
    header += ["frames to R [95%]", "final [95%]", "AUC minus its [95%]", "against"]
    rows = []
    for group in groups:
        row = [group.cell.name, *[group.task[0]] * (len(envs) > 1), *[f"{group.task[1]:,}"] * (len(levels) > 1)]
        threshold = thresholds[group.task]
        area_mean = group.cell.shown(over_seeds(group.cell.seeds, group.areas[:, 0]))
        row += [str(len(group.curves)), layout.interval(area_mean), layout.number(threshold)]
        row += [_frames(group.frames_to_reach(threshold)), layout.interval(group.cell.returns["train"])]
        other = reference(group, groups, against)
        if other is None or other is group:
            row += ["–", "–"]
        elif other.steps != group.steps:
            row += ["other steps", other.cell.name]
        else:
            row += [layout.interval(area_difference(group, other), sign=True), other.cell.name]
        rows.append(row)
    return header, rows


def area_difference(group: Group, other: Group) -> Interval:
    """AUC of a group minus another's, over seeds."""
    return seed_difference(group.cell, group.areas[:, 0], other.cell, other.areas[:, 0])


def _frames(needed: Array) -> str:
    """Frames (N, 1) as text; a mean over the seeds that got there would flatter those that did not."""
    never = int(np.isnan(needed).sum())
    if never:
        return "never" if never == len(needed) else f"never in {never} of {len(needed)} seeds"
    interval = over_seeds(range(len(needed)), needed[:, 0])
    if not interval.usable:
        return f"{interval.estimate:,.0f} [n=1]"
    return f"{interval.estimate:,.0f} [{interval.low:,.0f} to {interval.high:,.0f}]"


def notes(groups: Sequence[Group]) -> list[str]:
    """Notes on reading the numbers."""
    sentences = [
        "AUC = mean return on training levels over frames 0 to steps; R = the return to be reached; final = return on "
        "the training levels after training. Only equal steps on one task are compared."
    ]
    if not all(group.cell.named_levels for group in groups):
        sentences.append("Old protocol: curves are of the last 100 episodes that ended, which favours short ones.")
    sentences += seed_notes([len(group.curves) for group in groups])
    pretraining = {group.label: group.cell.config.get("pretrain_frames", 0) for group in groups}
    spent = [f"{label} {frames:,}" for label, frames in pretraining.items() if frames]
    if spent:
        sentences.append(f"Frames of pre-training, before frame 0 and not counted: {', '.join(spent)}.")
    return sentences


def rows(groups: Iterable[Group], thresholds: dict[Task, float]) -> list[dict[str, Any]]:
    """Rows of curves.csv, one per run; ``auc`` and ``final`` in units of return, ``reached`` in frames (nan: never)."""
    groups = list(groups)
    settings = distinguishing_settings([run for group in groups for run in group.cell.runs])
    several_levels = len({group.task[1] for group in groups}) > 1
    lines = []
    for group in groups:
        needed = group.frames_to_reach(thresholds[group.task])
        for run, auc, frames in zip(group.cell.runs, group.areas[:, 0], needed[:, 0], strict=True):
            differing = {key: json.loads(value) for key, value in settings[run.id].items() if key not in COLUMNS}
            differing |= {"train_levels": group.task[1]} if several_levels else {}
            line = {name: run.config[name] for name in ("suite", "env", "repr", "mode", "seed", "steps")}
            line |= {"settings": json.dumps(differing), "auc": float(auc), "reached": float(frames)}
            line |= {"final": run.returns["train"].mean(), "commit": run.source.get("commit", "")}
            lines.append({name: line[name] for name in COLUMNS})
    return lines


def picture(groups: Sequence[Group], thresholds: dict[Task, float]) -> bytes:
    """Chart (PNG): the mean over seeds of each group, a panel for each task."""
    from benchmarks.reporting import png_figures
    from benchmarks.reporting.figure_styles import Curve, styles

    panels: dict[str, tuple[dict[str, Curve], float]] = {}
    for group in groups:
        frames = np.unique(np.concatenate([steps for steps, _ in group.curves]))
        values = np.array([np.interp(frames, *curve) for curve in group.curves])
        title = f"{group.task[0]}, {group.task[1]:,} training levels"
        series, _ = panels.setdefault(title, ({}, thresholds[group.task]))
        series[group.label] = Curve(frames, values.mean(0), values.min(0), values.max(0))
    labels = list(dict.fromkeys(group.label for group in groups))
    baselines = [group.label for group in groups if is_baseline(group.cell)]
    return png_figures.learning(panels, styles(labels, baselines))
