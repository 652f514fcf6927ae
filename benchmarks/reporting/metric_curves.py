"""Any metric of finished runs over training: as a table with intervals, as rows, as a chart.

A metric is one of ``metrics.jsonl``, or ``kept/SPLIT``: mean return there of the policies that were kept at fractions
of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.reporting import layout
from benchmarks.reporting.cells import is_baseline, over_seeds, seed_difference
from benchmarks.reporting.learning_curves import Group, reference
from envs.spaces import Array

COLUMNS = ("metric", "label", "seed", "frames", "value", "commit")
BINS = 100
"""Points of a metric's line at most: those in a hundredth of training are averaged."""
FEW = 20
"""Points of a metric that is tabulated: of an evaluation, not of every update."""


def table(groups: Sequence[Group], names: Sequence[str], against: str = "") -> layout.Table:
    """A row for each group at each point of a metric with few points, with intervals over seeds.

    Mean, and that minus the group to compare with. Metrics recorded more often, or not at the same frames by all runs
    of a group, are left out.
    """
    lines = []
    for name in names:
        values = {id(group): at_frames(group, name) for group in groups}
        for group, label in zip(groups, group_labels(groups), strict=True):
            other = reference(group, groups, against)
            for frames, own in values[id(group)].items():
                theirs = values[id(other)].get(frames) if other is not None and other is not group else None
                mean = group.cell.shown(over_seeds(group.cell.seeds, own))
                minus = "–"
                if other is not None and theirs is not None:
                    minus = layout.interval(seed_difference(group.cell, own, other.cell, theirs), sign=True)
                lines.append([name, f"{frames:,}", label, layout.interval(mean), minus])
    return ["metric", "frames", "group", "mean [95%]", "minus the baseline [95%]"], lines


def at_frames(group: Group, name: str) -> dict[int, Array]:
    """Frames -> value of each seed (S,), where every run recorded the metric at the same few frames; else empty."""
    series = [run.series(name) for run in group.cell.runs]
    frames = series[0][:, 0]
    if not 0 < len(frames) <= FEW or any(not np.array_equal(points[:, 0], frames) for points in series):
        return {}
    return {int(frame): np.array([points[k, 1] for points in series]) for k, frame in enumerate(frames)}


def group_labels(groups: Sequence[Group]) -> list[str]:
    """Labels of groups, with their task where there are several tasks."""
    several = len({group.task for group in groups}) > 1
    return [f"{group.label}, {group.task[0]}, {group.task[1]:,} levels" if several else group.label for group in groups]


def picture(groups: Sequence[Group], names: Sequence[str]) -> bytes:
    """Chart (PNG) of metrics over training: a panel for each, a line for every run in the style of its group."""
    from benchmarks.reporting import png_figures
    from benchmarks.reporting.figure_styles import styles

    labels = group_labels(groups)
    baselines = [label for label, group in zip(labels, groups, strict=True) if is_baseline(group.cell)]
    return png_figures.traces(lines_of(groups, names), styles(labels, baselines))


def lines_of(groups: Sequence[Group], names: Sequence[str]) -> dict[str, dict[str, list[Array]]]:
    """Metric -> label of a group -> points (K, 2), frames and value, of each of its runs that recorded it."""
    return {
        name: {
            label: [binned(points, group.steps) for run in group.cell.runs if len(points := run.series(name))]
            for label, group in zip(group_labels(groups), groups, strict=True)
        }
        for name in names
    }


def rows(groups: Sequence[Group], names: Sequence[str]) -> list[dict[str, Any]]:
    """The points of ``lines_of`` as rows, with the seed and the commit of each run."""
    return [
        {"metric": name, "label": label, "seed": run.config["seed"], "frames": round(frames), "value": value}
        | {"commit": run.source.get("commit", "")}
        for name in names
        for label, group in zip(group_labels(groups), groups, strict=True)
        for run in group.cell.runs
        if len(points := run.series(name))
        for frames, value in binned(points, group.steps)
    ]


def binned(points: Array, steps: int, bins: int = BINS) -> Array:
    """Means (K, 2) of points (P, 2), frames and values, in each of ``bins`` equal parts of training that has any."""
    part = np.minimum((points[:, 0] * bins / steps).astype(int), bins - 1)
    return np.array([points[part == index].mean(axis=0) for index in np.unique(part)])
