"""Tables of the report: returns and gaps, differences from the baseline, aggregates, references, published rows.

Each is a header and rows of texts; ``report`` prints them for a terminal and as Markdown, ``html`` as a page.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.reporting import published, stats
from benchmarks.reporting.cells import Cell, Summary
from benchmarks.reporting.layout import Table, frames, interval, number
from benchmarks.reporting.runs import normalise
from envs.reference_scores import POLICIES, Reference, known


def headline(summary: Summary) -> Table:
    """Method x split: return and gap with 95% intervals, normalised return, speed relative to the baseline's."""
    several_envs, several_levels = len(summary.envs) > 1, len(summary.levels) > 1
    with_agreement = has_agreement(summary)
    header = ["method", "mode"]
    header += ["task"] * several_envs + ["levels"] * several_levels
    header += ["split", "return [95%]", "gap [95%]", *["agreement"] * with_agreement, "norm.", "seeds", "frames/s"]
    header += [f"x {summary.baseline}"] * bool(summary.baseline)
    rows = []
    for cell in summary.cells:
        for index, split in enumerate(cell.config["splits"]):
            normalised = normalise(cell.runs[0], cell.returns[split].estimate)
            row = [cell.label, cell.config["mode"]] if index == 0 else ["", ""]
            row += [cell.env if index == 0 else ""] * several_envs
            row += [f"{cell.train_levels:,}" if index == 0 else ""] * several_levels
            row += [split, interval(cell.returns[split]), interval(cell.gaps.get(split), sign=True)]
            if with_agreement:
                agreement = cell.agreement(split)
                row += ["" if agreement is None else f"{100 * agreement:.0f}%"]
            row += ["–" if normalised is None else number(normalised)]
            row += [str(len(cell.runs)), *_speed(summary, cell)] if index == 0 else ["", "", ""]
            rows.append(row[: len(header)] + [""] * (len(header) - len(row)))
    return header, rows


def has_agreement(summary: Summary) -> bool:
    """True where some split shows the training levels' own states, so that actions were compared."""
    return any(cell.agreement(split) is not None for cell in summary.cells for split in cell.gaps)


def _speed(summary: Summary, cell: Cell) -> list[str]:
    """Frames per second of training, and as a multiple of the baseline's."""
    speed, reference = cell.frames_per_second, summary.reference(cell)
    if math.isnan(speed):
        return ["–", "–"]
    ratio = f"{speed / reference.frames_per_second:.2f}" if reference else "–"
    return [f"{speed:,.0f}", ratio]


def against_baseline(summary: Summary) -> Table:
    """Each method minus the baseline on held-out levels: the difference that a claim needs."""
    rows = []
    for cell in summary.cells:
        reference = summary.reference(cell)
        if reference is None or reference is cell:
            continue
        difference = cell.difference(reference, cell.target)
        row = [cell.label, cell.env, f"{cell.train_levels:,}", cell.target, interval(difference, sign=True)]
        rows.append([*row, difference.over])
    return ["method", "task", "levels", "split", f"return minus {summary.baseline}'s [95%]", "interval over"], rows


def aggregates(summary: Summary) -> Table:
    """Normalised returns over a suite's tasks: IQM of train, held-out and gap, P(better than the baseline), others."""
    header = ["method", "levels", "tasks", "seeds", "IQM train", "IQM held-out", "IQM gap"]
    header += [f"P(> {summary.baseline or 'baseline'})", "mean", "median", "optimality gap"]
    rows = []
    for levels in summary.levels:
        baseline = score_matrices(summary, summary.baseline, levels)
        for label in summary.labels:
            matrices = score_matrices(summary, label, levels)
            if matrices is None:
                continue
            train, held_out = matrices
            row = [label, f"{levels:,}", str(train.shape[1]), str(len(train))]
            row += [interval(stats.over_seeds(scores, stats.iqm)) for scores in matrices]
            row.append(interval(stats.paired_difference(train, held_out, stats.iqm), sign=True))
            if baseline is None or label == summary.baseline:
                row.append("–")
            else:
                row.append(interval(stats.improvement(held_out, baseline[1])))
            point_estimates = (stats.mean, stats.median, stats.optimality_gap)
            rows.append(row + [number(float(aggregate(held_out))) for aggregate in point_estimates])
    return header, rows


def score_matrices(summary: Summary, label: str, levels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Normalised (train, held-out) returns (N, M) of the seeds that finished on every task, if there are any."""
    cells = [cell for env in summary.envs if (cell := summary.cell(label, env, levels))]
    complete = len(cells) == len(summary.envs) > 1 and all(cell.config["normalise"] for cell in cells)
    seeds = sorted(set.intersection(*(set(cell.seeds) for cell in cells))) if complete else []
    if not seeds:
        return None

    def scores(split: str) -> np.ndarray:
        columns = []
        for cell in cells:
            by_seed = dict(zip(cell.seeds, cell.runs, strict=True))
            name = cell.target if split == "target" else split
            columns.append([normalise(run, run.returns[name].mean()) for run in map(by_seed.__getitem__, seeds)])
        return np.array(columns, dtype=np.float64).T

    return scores("train"), scores("target")


def references(summary: Summary) -> Table:
    """Returns of a random and a scripted policy on the same splits, where they were measured."""
    env_splits = {(cell.env, split): None for cell in summary.cells for split in cell.config["splits"]}
    by_split: dict[tuple[str, str], dict[str, Reference]] = {}
    for reference in known():
        by_split.setdefault((reference.env, reference.split), {})[reference.policy] = reference
    rows = []
    for env, split in env_splits:
        if scores := by_split.get((env, split)):
            means = [number(scores[policy].mean) if policy in scores else "–" for policy in POLICIES]
            rows.append([env, split, *means, next(iter(scores.values())).command])
    return ["task", "split", *(f"{policy} policy" for policy in POLICIES), "command"], rows


def with_published(summary: Summary, env: str) -> Table:
    """Our rows on top of the published ones, split by split."""
    published_rows = published.rows(env)
    rows = []
    for split in dict.fromkeys(row.split for row in published_rows):
        for cell in summary.cells:
            if cell.env == env and split in cell.gaps:
                size = f"here: {cell.train_levels:,} levels, {frames(cell.config['steps'])} frames"
                means = [number(cell.returns[name].estimate) for name in ("train", split)]
                rows.append([split, cell.label, *means, number(cell.gaps[split].estimate, sign=True), size])
        for row in (row for row in published_rows if row.split == split):
            train, test = _with_std(row.train, row.train_std), _with_std(row.test, row.test_std)
            gap = published.gap(row)
            rows.append([split, row.method, train, test, "–" if gap is None else number(gap, sign=True), row.source])
    return ["split", "method", "train", "test", "gap", "study"], rows


def _with_std(value: float | None, std: float | None) -> str:
    if value is None:
        return "–"
    # printed with one or two decimals in the papers: never fewer than one
    digits = 1 if all(round(number, 1) == number for number in (value, std or 0.0)) else 2
    return f"{value:.{digits}f} ± {std:.{digits}f}" if std is not None else f"{value:.{digits}f}"
