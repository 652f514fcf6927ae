"""Tables of context: whole costs, reference policies, and what papers report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.experiment.presets import BASELINE
from benchmarks.experiment.references import FILE
from benchmarks.reporting import published
from benchmarks.reporting.cells import Cell
from benchmarks.reporting.labels import UNNAMED
from benchmarks.reporting.layout import ABSENT, Table, count, frames, number, without_empty_columns
from benchmarks.reporting.origins import COST_FACTS, differing
from benchmarks.reporting.reference_rows import on_their_levels, set_names
from benchmarks.reporting.runs import Run
from benchmarks.reporting.summary import Summary
from benchmarks.reporting.tables import task_columns, task_header
from envs.reference_scores import POLICIES, Reference, known, mean_return


def costs(summary: Summary) -> Table:
    """Environment steps and seconds of pre-training and RL, mean over seeds, and the total relative to the baseline."""
    header = ["method", *task_header(summary), "pre-train steps", "RL steps", "pre-train s", "RL s", "total s"]
    rows = []
    for cell in summary.cells:
        steps = [count(cell.env_steps(stage)) for stage in ("pretrain", "train")]
        seconds = [count(cell.seconds(stage)) for stage in ("pretrain", "train")]
        ratio = relative_cost(summary, cell)
        row = [cell.name, *task_columns(summary, cell), *steps, *seconds, count(cell.total_seconds)]
        rows.append([*row, ABSENT if math.isnan(ratio) else f"{ratio:.2f}", count(cell.frames_per_second)])
    return without_empty_columns(([*header, f"x {BASELINE}", "frames/s"], rows))


def relative_cost(summary: Summary, cell: Cell) -> float:
    """Total seconds over the baseline's, pre-training included in both.

    nan where either is not known, or where their runs differ in a fact without which seconds compare nothing.
    """
    reference = summary.cost_reference(cell)
    if reference is None:
        return math.nan
    runs = (*cell.runs, *reference.runs)
    alike = not any(differing(runs, fact) for fact in COST_FACTS)
    return cell.total_seconds / reference.total_seconds if alike else math.nan


def references(summary: Summary) -> Table:
    """Returns of a random and a scripted policy on the very levels of the runs, for each number and kind of levels.

    They are means over the runs' sets of levels. Where an experiment has none, those of ``envs/reference_scores.csv``,
    with the levels that they played.
    """
    groups: dict[tuple[str, str, int, str], list[Run]] = {}
    for cell in summary.cells:
        unnamed = cell.level_set_kind == UNNAMED
        kind = cell.levels_in_words if unnamed else f"{cell.train_levels:,} {cell.level_set_kind}"
        window = int(cell.config.get("window", 0))
        for split in cell.splits:
            groups.setdefault((cell.env, kind, window, split), []).extend(cell.runs)
    played, rows = _of_experiment(summary), []
    for (env, kind, window, split), runs in groups.items():
        words = kind + f", windows of {window:,}" * bool(window)
        if own := on_their_levels(played, runs, split):
            sets, all_sets = dict.fromkeys(row.levels for row in own), set_names(runs, split)
            named = next(iter(sets)) or "not named"
            if len(all_sets) > 1:
                named = f"the runs' own, {len(sets)} sets" if len(sets) > 1 else named
                named += f" of {len(all_sets)}" * (0 < len(sets) < len(all_sets) and bool(next(iter(sets))))
            rows.append([env, words, split, named, *_means(own, env, split), own[0].command])
            continue
        by_levels: dict[str, list[Reference]] = {}
        for row in known():
            if (row.env, row.split, row.window) == (env, split, window):
                by_levels.setdefault(row.levels or "not named", []).append(row)
        for levels, others in by_levels.items():
            rows.append([env, words, split, f"others: {levels}", *_means(others, env, split), others[0].command])
    header = ["task", "training levels", "split", "on levels", *(f"{policy} policy" for policy in POLICIES), "command"]
    return header, rows


def _of_experiment(summary: Summary) -> tuple[Reference, ...]:
    """References that were played on the levels of the runs of a summary."""
    folders = {run.path.parent.parent for run in summary.runs}
    return tuple(row for folder in sorted(folders) for row in known(folder / FILE))


def _means(rows: Sequence[Reference], env: str, split: str) -> list[str]:
    """Mean return of each policy over rows of several sets of levels."""
    means = [mean_return(rows, env, split, policy) for policy in POLICIES]
    return [ABSENT if mean is None else number(mean) for mean in means]


def is_comparable(cell: Cell) -> bool:
    """True for a row that may stand beside published ones: on their training set, where they have one."""
    return cell.level_set_kind == "published" or not published.protocol(cell.env).levels


def with_published(summary: Summary, env: str) -> Table:
    """Our rows on the published training set on top of the published rows, split by split."""
    published_rows = published.rows(env)
    rows = []
    for split in dict.fromkeys(row.split for row in published_rows):
        for cell in summary.cells:
            if cell.env == env and split in cell.gaps and is_comparable(cell):
                size = f"here: {cell.train_levels:,} levels, {frames(cell.frames)} frames"
                means = [number(cell.returns[name].estimate) for name in ("train", split)]
                rows.append([split, cell.name, *means, number(cell.gaps[split].estimate, sign=True), size])
        for row in (row for row in published_rows if row.split == split):
            train, test = _with_std(row.train, row.train_std), _with_std(row.test, row.test_std)
            gap = published.gap(row)
            rows.append([split, row.method, train, test, ABSENT if gap is None else number(gap, sign=True), row.source])
    return ["split", "method", "train", "test", "gap", "study"], rows


def _with_std(value: float | None, std: float | None) -> str:
    if value is None:
        return ABSENT
    # printed with one or two decimals in the papers: never fewer than one
    digits = 1 if all(round(printed, 1) == printed for printed in (value, std or 0.0)) else 2
    return f"{value:.{digits}f} ± {std:.{digits}f}" if std is not None else f"{value:.{digits}f}"
