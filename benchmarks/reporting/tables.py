"""Tables of outcomes: returns, differences from the baseline, the gap three ways, agreement, aggregates over tasks.

Each is a header and rows of texts; ``sections`` puts them in order with their captions.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.experiment.presets import BASELINE
from benchmarks.reporting import layout, origins, stats
from benchmarks.reporting.cells import Cell, marked_name
from benchmarks.reporting.comparisons import MARK, Comparison, look_comparisons, main_comparisons
from benchmarks.reporting.labels import agent_of, protocol
from benchmarks.reporting.layout import ABSENT, Table, interval, number
from benchmarks.reporting.matching import GRID
from benchmarks.reporting.several_tasks import aggregate, aggregate_difference, holm, improvement
from benchmarks.reporting.stats import Interval
from benchmarks.reporting.summary import Summary, decides
from envs.spaces import Array

MANY_SEEDS = 10
"""Seeds below which a row is labelled."""
REFERENCE_POLICY = "blind"
"""Representation whose policy sees nothing: its gap is that of the levels alone."""
SHORT_GRID = (0.5, 0.7, 0.9)
"""Normalised source returns that the table of gaps shows."""


def headline(summary: Summary) -> Table:
    """Method x split: return and gap with 95% intervals, the primary outcome, normalised return, seeds."""
    header = ["method", "mode", *task_header(summary), "split", "return [95%]", "greedy [95%]"]
    header += ["gap [95%]", minus_header(), "norm."]
    primary = {row.cell.label + str(row.cell.task): row for row in main_comparisons(summary) if row.outcome != "gap"}
    rows = []
    for cell in summary.cells:
        for index, split in enumerate(cell.splits):
            normalised = cell.normalised(cell.returns[split].estimate)
            comparison = primary.get(cell.label + str(cell.task)) if split == cell.target else None
            row = [cell.name, cell.config["mode"], *task_columns(summary, cell)]
            row = row if index == 0 else [""] * len(row)
            row += [
                split,
                *map(interval, (cell.returns[split], cell.greedy.get(split))),
                interval(cell.gaps.get(split), sign=True),
            ]
            row += [marked(comparison), ABSENT if normalised is None else number(normalised)]
            rows.append([*row, seeds(cell) if index == 0 else ""])
    return layout.without_empty_columns(([*header, "seeds"], rows))


def minus_header() -> str:
    return f"minus {BASELINE} [95%]"


def task_header(summary: Summary) -> list[str]:
    return ["task"] * (len(summary.envs) > 1) + ["levels"] * (len(summary.levels) > 1) + ["data"] * _protocols(summary)


def _protocols(summary: Summary) -> bool:
    """True where rows were pre-trained by another protocol than on random frames of their training levels."""
    return any(protocol(cell.config) for cell in summary.cells)


def task_columns(summary: Summary, cell: Cell) -> list[str]:
    """The cell's task, number of levels and protocol, as far as ``task_header`` has columns for them.

    Rows stand by protocol, and are ranked inside one alone.
    """
    columns = [cell.env] * (len(summary.envs) > 1) + [f"{cell.train_levels:,}"] * (len(summary.levels) > 1)
    return columns + [protocol(cell.config)] * _protocols(summary)


def seeds(cell: Cell) -> str:
    count = len(cell.runs)
    return str(count) if count >= MANY_SEEDS else f"{count} (few)" if count > 1 else "1 (one)"


def marked(comparison: Comparison | None) -> str:
    """The difference with its interval, and marks: one of methods (*), runs of both sides do not share a fact (§)."""
    if comparison is None:
        return ABSENT
    marks = f" {MARK}" * comparison.marked + f" {origins.MARK}" * bool(comparison.mixed)
    return interval(comparison.difference, sign=True) + marks


def against_baseline(summary: Summary) -> Table:
    """Each row minus its baseline: return on unseen levels, then the gap."""
    return _compared(summary, main_comparisons(summary))


def looks_against_baseline(summary: Summary) -> Table:
    """Each row minus its baseline in the visual variants."""
    return _compared(summary, look_comparisons(summary))


def _compared(summary: Summary, comparisons: list[Comparison]) -> Table:
    header = ["method", *task_header(summary), "outcome", "split", minus_header(), "p (Holm)", "against", "paired by"]
    header.append("width / unpaired")
    rows = []
    for row in comparisons:
        p = "other budget" if row.declared else "not declared"
        if row.tested:
            p = ABSENT if math.isnan(row.corrected_p) else f"{row.corrected_p:.3f}"
        against = f"{row.reference.cell.name}, {row.reference.budget}"
        line = [row.cell.name, *task_columns(summary, row.cell), row.outcome, row.split, marked(row), p, against]
        width = row.relative_width
        rows.append([*line, row.pairing, ABSENT if math.isnan(width) else f"{width:.2f}", resampled(row.difference)])
    return [*header, "resamples"], rows


def resampled(value: Interval) -> str:
    """Units that an interval resamples, with their number: '3 seeds x 256 levels'."""
    counts = {"seeds": value.seeds or value.n, "levels": value.levels or value.n, "episodes": value.n}
    words = [f"{counts[unit]:,} {unit if counts[unit] > 1 else unit[:-1]}" for unit in counts if unit in value.over]
    return " x ".join(words)


def gaps(summary: Summary) -> Table:
    """The gap as it is, crossed, and at matched source returns; empty where it was measured in one way only."""
    return _gaps(summary, SHORT_GRID, with_unmatched=True)


def matched_gaps(summary: Summary) -> Table:
    """The gap at every source return of the grid; empty without kept policies."""
    return _gaps(summary, GRID, with_unmatched=False)


def _gaps(summary: Summary, grid: tuple[float, ...], with_unmatched: bool) -> Table:
    net = f"net of {REFERENCE_POLICY}"
    header = ["method", *task_header(summary), "split", *["as it is", "crossed", net] * with_unmatched]
    header += [f"at {goal:.1f}" for goal in grid]
    rows, several = [], False
    for cell in summary.cells:
        for split in cell.gaps:
            crossed = cell.crossed_gap if split == cell.target else None
            matched = [cell.matched_gap(split, goal) for goal in grid]
            net_gap = gap_net_of_reference(summary, cell, split) if crossed is None else None
            several |= any(matched) or (with_unmatched and (crossed or net_gap) is not None)
            if split != cell.target and not any(matched):
                continue  # measured in one way only: the headline has it
            row = [cell.name, *task_columns(summary, cell), split]
            unmatched = [cell.gaps[split], crossed, net_gap] if with_unmatched else []
            row += [interval(value, sign=True) for value in unmatched]
            rows.append([*row, *(gap_text(value) for value in matched)])
    return layout.without_empty_columns((header, rows)) if several else (header, [])


def gap_net_of_reference(summary: Summary, cell: Cell, split: str) -> Interval | None:
    """The gap minus that of a policy that sees nothing, on the same training sets; None without such a row."""
    for other in summary.cells:
        same = (other.task, agent_of(other.config), other.steps) == (cell.task, agent_of(cell.config), cell.steps)
        if other.config["repr"] == REFERENCE_POLICY and other is not cell and same and cell.paired_seeds(other):
            return cell.gap_difference(other, split) if split in other.gaps else None
    return None


def gap_text(value: Interval | str) -> str:
    """A gap at a matched source return, or why there is none."""
    return (value or ABSENT) if isinstance(value, str) else interval(value, sign=True)


def agreements(summary: Summary) -> Table:
    """Agreement by effect and total variation of each split that shows the training levels' own states."""
    header = ["method", *task_header(summary), "split", "agreement [95%]", "total variation [95%]", "states"]
    rows = []
    for cell in summary.cells:
        for split in cell.splits:
            if values := cell.agreement(split):
                states = sum(run.agreement[split].states for run in cell.runs)
                row = [cell.name, *task_columns(summary, cell), split, *map(interval, values), f"{states:,}"]
                rows.append([*row, resampled(values[0])])
    return [*header, "resamples"], rows


def validation(summary: Summary) -> Table:
    """Best and last return on validation levels, mean over seeds, and the seeds that fell."""
    header = ["method", *task_header(summary), "best on validation", "last", "fell by"]
    rows = []
    for cell in summary.cells:
        pairs = [(run.best_validation, run.final_validation) for run in cell.runs]
        known = [(best[1], last) for best, last in pairs if best is not None and last is not None]
        if len(known) == len(cell.runs):
            best, last = (number(float(np.mean(values))) for values in zip(*known, strict=True))
            fallen = ", ".join(f"seed {run.config['seed']} {number(run.fall)}" for run in cell.fallen)
            rows.append([cell.name, *task_columns(summary, cell), best, last, fallen or ABSENT])
    return header, rows


def aggregates(summary: Summary) -> Table:
    """Normalised returns over a suite's tasks: the primary outcome first, then each aggregate by itself."""
    header = ["method", "levels", "tasks", "seeds", f"IQM minus {BASELINE}", "IQM train", "IQM held-out", "IQM gap"]
    header += [f"P(> {BASELINE})", "mean", "median", "optimality gap"]
    rows, p_values = [], []
    for levels in summary.levels:
        for label in summary.labels:
            matrices = score_matrices(summary, label, levels)
            if matrices is None:
                continue
            train, held_out = matrices
            cells = [cell for env in summary.envs if (cell := summary.cell(label, env, levels))]
            first, *others = cells
            row = [marked_name(label, cells), f"{levels:,}", str(train.shape[1]), str(len(train))]
            difference, better, tested, mark = _against_matrices(summary, cells, held_out)
            p_values.append(difference.p if difference and tested else math.nan)
            own = (aggregate(train), aggregate(held_out), aggregate_difference(train, held_out, paired=True))
            shown = [interval(first.shown(value, *others), sign=value is own[-1]) for value in own]
            row += [interval(difference, sign=True) + mark, *shown, interval(better)]
            point_estimates = (stats.mean, stats.median, stats.optimality_gap)
            rows.append(row + [number(float(estimate(held_out))) for estimate in point_estimates])
    for row, p in zip(rows, holm(p_values), strict=True):
        row[4] += f" {MARK}" * (p < 0.05)
    return header, rows


def _against_matrices(
    summary: Summary, cells: list[Cell], held_out: Array
) -> tuple[Interval | None, Interval | None, bool, str]:
    """IQM minus the baseline's, P(better than it), whether the first may be tested, and the mark of mixed runs.

    None where the tasks have no baseline in common. As for a single task a test needs claimable rows on both sides, one
    commit and equal budgets, here on every task.
    """
    references = [reference for cell in cells if (reference := summary.reference(cell))]
    labels = {reference.cell.label for reference in references}
    others = score_matrices(summary, labels.pop(), cells[0].train_levels) if len(labels) == 1 else None
    if others is None or len(references) < len(cells):
        return None, None, False, ""
    baselines = [reference.cell for reference in references]
    pairs = list(zip(cells, baselines, strict=True))
    paired = len(held_out) == len(others[1]) and all(cell.paired_seeds(other) == cell.seeds for cell, other in pairs)
    first, *rest = cells
    mixed = first.mixed(*rest, *baselines)
    equal = all(reference.budget == "equal budget" for reference in references)
    claimable = "commit" not in mixed and all(cell.comparable(other) for cell, other in pairs)
    tested = equal and claimable and decides([*cells, *baselines], "held-out return")
    difference, better = (
        first.shown(value, *rest, *baselines)
        for value in (aggregate_difference(held_out, others[1], paired=paired), improvement(held_out, others[1]))
    )
    return difference, better, tested, f" {origins.MARK}" * bool(mixed)


def score_matrices(summary: Summary, label: str, levels: int) -> tuple[Array, Array] | None:
    """Normalised (train, held-out) returns (N, M) of the seeds that finished on every task, if there are any."""
    cells = [cell for env in summary.envs if (cell := summary.cell(label, env, levels))]
    complete = len(cells) == len(summary.envs) > 1 and all(cell.normalise and "train" in cell.splits for cell in cells)
    common = sorted(set.intersection(*(set(cell.seeds) for cell in cells))) if complete else []
    if not common:
        return None

    def scores(split: str) -> Array:
        columns = []
        for cell in cells:
            by_seed = dict(zip(cell.seeds, cell.runs, strict=True))
            name = cell.target if split == "target" else split
            columns.append([cell.normalised(by_seed[seed].returns[name].mean()) for seed in common])
        return np.array(columns, dtype=np.float64).T

    return scores("train"), scores("target")
