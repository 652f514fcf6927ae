"""Figures of the page, from cells: curves, gaps, runs, levels, and profiles over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reporting import figures
from benchmarks.reporting.cells import Cell
from benchmarks.reporting.figure_styles import Curve, Style
from benchmarks.reporting.matching import SOURCE
from benchmarks.reporting.several_tasks import performance_profile
from benchmarks.reporting.summary import Summary
from benchmarks.reporting.tables import resampled, score_matrices
from envs.spaces import Array

VALIDATION_NAMES = ("validation/return", "heldout/return")
"""Periodic return on levels that nothing trains on, newest name first: runs of before read held-out levels for it."""


@dataclass(frozen=True)
class Panel:
    """One figure as an SVG element, with its caption."""

    svg: str
    caption: str
    wide: bool = False


def task_panels(cells: Sequence[Cell], style_of: Mapping[str, Style]) -> list[Panel]:
    """Curves, gaps, the scatter of runs, and levels x methods of one task."""
    panels = curve_panels(cells, style_of)
    for split in dict.fromkeys(split for cell in cells for split in cell.gaps):
        entries = [(cell.label, cell.gaps[split]) for cell in cells if split in cell.gaps]
        drawn = figures.bars(entries, style_of, f"Gap: {split}", "return on training levels minus return there")
        over = " or ".join(sorted({resampled(interval) for _, interval in entries}))
        panels.append(Panel(drawn, f"Gap to {split} as it is, 95% intervals over {over}; in the table's order."))
    points = {cell.label: run_points(cell) for cell in cells if cell.gaps}
    if points:
        drawn = figures.scatter(points, style_of, "Training against unseen levels")
        panels.append(Panel(drawn, "One dot per run, final evaluation. On the dashed diagonal nothing is lost."))
    return panels + level_panels(cells)


def run_points(cell: Cell) -> list[tuple[float, float]]:
    """Training and unseen return of each run."""
    return [(float(a), float(b)) for a, b in np.hstack([cell.means(SOURCE), cell.means(cell.target)])]


def curve_panels(cells: Sequence[Cell], style_of: Mapping[str, Style]) -> list[Panel]:
    """Return on training and on validation levels during training on one scale, then their difference."""
    train = curves_over_seeds(cells, "eval/train/return")
    if not train:
        return []
    unseen_name, unseen = validation_curves(cells)
    ends = [end for series in (train, unseen) for curve in series.values() for end in (curve.low, curve.high)]
    low, high = float(np.concatenate(ends).min()), float(np.concatenate(ends).max())
    margin = 0.06 * (high - low) or 0.5
    band = " Band: lowest to highest seed." if any(len(cell.runs) > 1 for cell in cells) else ""
    panels = []
    for name, series in (("training", train), (unseen_name, unseen)):
        if series:
            drawn = figures.curves(series, style_of, f"Return on {name} levels", (low - margin, high + margin))
            panels.append(Panel(drawn, f"Return on {name} levels during training.{band}"))
    gap = curves_over_seeds(cells, "eval/gap")
    if gap:
        numbers = np.concatenate([end for curve in gap.values() for end in (curve.low, curve.high)])
        limits = (min(0.0, float(numbers.min())) - margin, max(0.0, float(numbers.max())) + margin)
        drawn = figures.curves(gap, style_of, f"Gap (training minus {unseen_name})", limits)
        panels.append(Panel(drawn, f"Gap during training, fewer episodes than the final evaluation.{band}"))
    return panels


def validation_curves(cells: Sequence[Cell]) -> tuple[str, dict[str, Curve]]:
    """Curves on levels that nothing trains on, and the name of these levels in words."""
    for name in VALIDATION_NAMES:
        if series := curves_over_seeds(cells, f"eval/{name}"):
            return {"validation/return": "validation", "heldout/return": "held-out"}[name], series
    return "validation", {}


def curves_over_seeds(cells: Sequence[Cell], metric: str) -> dict[str, Curve]:
    """Each cell's curve of a metric, over the steps that all its seeds recorded."""
    curves = {}
    for cell in cells:
        seeds = [{r["global_step"]: r[metric] for r in run.metrics if metric in r} for run in cell.runs]
        steps = sorted(set.intersection(*(set(values) for values in seeds)))
        if steps:
            values = np.array([[seed[step] for step in steps] for seed in seeds])
            curves[cell.label] = Curve(np.array(steps), values.mean(0), values.min(0), values.max(0))
    return curves


def level_panels(cells: Sequence[Cell]) -> list[Panel]:
    """Mean return of each level, a row for each method, on training levels and on unseen ones."""
    panels = []
    named = [cell for cell in cells if cell.named_levels]
    splits = dict.fromkeys(split for cell in named for split in (SOURCE, cell.target) if split in cell.splits)
    for split in splits:
        rows = level_returns([cell for cell in named if split in cell.splits], split)
        if rows and len(rows[0][1]) > 1:
            drawn = figures.level_returns(rows, f"Return on each level: {split}", "mean return")
            seeds = "each seed's own levels side by side" if split == SOURCE else "mean over seeds"
            panels.append(Panel(drawn, f"Mean return on each level of {split}, {seeds}; hardest left.", wide=True))
    return panels


def level_returns(cells: Sequence[Cell], split: str) -> list[tuple[str, Array]]:
    """For each cell its mean return (L,) on the levels that all cells played, the hardest for all of them first.

    A level that is a seed's own counts once for that seed; a level that all seeds play is their mean.
    """
    tables = []
    for cell in cells:
        returns: dict[int, list[float]] = {}
        for levels, means in (run.returns[split].level_means() for run in cell.runs):
            for level, mean in zip(levels.tolist(), means.tolist(), strict=True):
                returns.setdefault(level, []).append(mean)
        tables.append({level: float(np.mean(values)) for level, values in returns.items()})
    common = set.intersection(*(set(table) for table in tables)) if tables else set()
    difficulty = {level: float(np.mean([table[level] for table in tables])) for level in common}
    order = sorted(common, key=lambda level: (difficulty[level], level))
    return [
        (cell.label, np.array([table[level] for level in order])) for cell, table in zip(cells, tables, strict=True)
    ]


def profile_panels(summary: Summary, style_of: Mapping[str, Style]) -> list[Panel]:
    """Performance profiles on unseen levels, for each number of training levels with several tasks."""
    panels = []
    for levels in summary.levels:
        series = {}
        for label in summary.labels:
            matrices = score_matrices(summary, label, levels)
            if matrices is not None:
                scores = np.linspace(min(0.0, float(matrices[1].min())), max(1.0, float(matrices[1].max())), 101)
                profile = performance_profile(matrices[1], scores.tolist())
                series[label] = (scores, np.array([interval.estimate for interval in profile]))
        if series:
            drawn = figures.profiles(series, style_of, f"Performance profiles, {levels:,} levels")
            panels.append(Panel(drawn, "Fraction of runs over all tasks with more than a normalised return."))
    return panels


def level_count_panels(summary: Summary, style_of: Mapping[str, Style]) -> list[Panel]:
    """Gap and unseen return over the number of training levels, where several were run."""
    if len(summary.levels) < 2:
        return []
    panels = []
    for env in summary.envs:
        of_env = [cell for cell in summary.cells if cell.env == env and cell.target in cell.gaps]
        cells = sorted(of_env, key=lambda cell: cell.train_levels)
        labels = [label for label in summary.labels if any(cell.label == label for cell in cells)]
        gaps = {label: [(c.train_levels, c.gaps[c.target]) for c in cells if c.label == label] for label in labels}
        unseen = {label: [(c.train_levels, c.returns[c.target]) for c in cells if c.label == label] for label in labels}
        for content, name in ((gaps, "Gap"), (unseen, "Held-out return")) if cells else ():
            drawn = figures.over_levels(content, style_of, f"{name}, {env}")
            panels.append(Panel(drawn, f"{name} against the number of training levels, 95% intervals."))
    return panels
