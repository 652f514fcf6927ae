"""Which representation learns from fewer frames? Learning curves of finished runs, as numbers and as a picture.

    python -m benchmarks.curves DIR [DIR ...]       every finished run of one or several experiment directories
    python -m benchmarks.curves DIR --reach 8 --against vae

R(s) is the return of the policy that trains, at frame s: the records' ``train/return``, joined by straight lines. The
first known value also stands for the frames before it, and the last one for those up to S, the run's ``steps``.

    AUC = 1/S * integral_0^S R(s) ds        mean return over training, in units of return

Runs that differ in nothing but their seed are one group. Frames of pre-training come before frame 0: they are named
below the table and not counted. Writes curves.csv and curves.png into the first DIR.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks import cli
from benchmarks.reporting import stats, tables
from benchmarks.reporting.runs import Cell, Run, Summary, distinguishing_settings, is_baseline, load, summarise
from envs.registry import UsageError

COLUMNS = ("suite", "env", "repr", "mode", "settings", "seed", "steps", "auc", "reached", "final", "commit")
WIDTH = 160
Array = NDArray[np.float64]
Task = tuple[str, int]


@dataclass(frozen=True)
class Args:
    """Areas under the learning curves of finished runs, and how soon each reaches a return."""

    experiments: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR [DIR ...]")]
    """Experiment directories, the --out of benchmarks.transfer; the first one gets curves.csv and curves.png."""
    reach: float | None = None
    """Return to be reached; else half of the way from the lowest to the highest last return of a task's groups."""
    against: str = ""
    """Group that the others are compared with, by the start of its label; else cnn, else each task's first."""


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
    def last(self) -> float:
        """Return at the end of training, mean over seeds."""
        return float(np.mean([returns[-1] for _, returns in self.curves]))

    def reached(self, threshold: float) -> Array:
        """Frames that each seed needs (N, 1), nan where it never gets there."""
        return np.array([[reached(*curve, threshold)] for curve in self.curves])


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(compare, Args, argv)


def compare(args: Args) -> str:
    """Write curves.csv and curves.png into the first directory; returns the text to print.

    Raises:
        UsageError: no finished run, a run without a curve, or an unknown --against.
    """
    if not args.experiments:
        raise UsageError("benchmarks.curves needs the directory of an experiment: python -m benchmarks.curves DIR")
    # The same run in two directories is one run: counted twice it would pass for a second seed.
    runs = list({run.id: run for place in reversed(args.experiments) for run in load(place)}.values())
    summary = summarise(sorted(runs, key=lambda run: run.id))
    found = groups(summary)
    if not found:
        places = ", ".join(map(str, args.experiments))
        raise UsageError(f"{places}: no finished run to compare; finish one with benchmarks.transfer")
    if not any(group.label.startswith(args.against) for group in found):
        known = ", ".join(dict.fromkeys(group.label for group in found))
        raise UsageError(f"--against '{args.against}' begins no label; known: {known}")
    thresholds = {group.task: args.reach for group in found if args.reach is not None} or halfway(found)

    cli.write_csv(args.experiments[0] / "curves.csv", rows(found, thresholds), COLUMNS)
    cli.write_file(args.experiments[0] / "curves.png", picture(found, thresholds))
    parts = [tables.aligned(table(found, thresholds, args.against), WIDTH)]
    parts += [tables.wrapped(note) for note in notes(found)]
    if summary.missing:
        parts.append("\n".join(["not in the table:", *(f"  {name}" for name in summary.missing)]))
    return "\n\n".join(parts)


def curve(run: Run) -> tuple[Array, Array]:
    """Frames (P,) and return (P,) of a finished run, cut at S: training ends with a whole rollout, past it.

    Raises:
        UsageError: no record has ``train/return``.
    """
    known = {
        record["global_step"]: float(record["train/return"])
        for record in run.metrics
        if record.get("train/return") is not None and math.isfinite(record["train/return"])
    }
    if not known:
        raise UsageError(
            f"run {run.id} has no record with 'train/return': no episode ended while it trained; "
            "train it longer (--steps), or name directories without it"
        )
    frames = np.array(sorted(known), dtype=np.float64)
    returns = np.array([known[step] for step in sorted(known)])
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


def reached(frames: Array, returns: Array, threshold: float) -> float:
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
    part = (threshold - returns[before]) / (returns[after] - returns[before])
    return float(frames[before] + part * (frames[after] - frames[before]))


def groups(summary: Summary) -> list[Group]:
    """The summary's cells with their curves: by task, the end-to-end baseline first, then best on held-out first."""
    found = [Group(cell, tuple(curve(run) for run in cell.runs)) for cell in summary.cells]
    return sorted(found, key=lambda group: (group.task, not is_baseline(group.cell)))


def halfway(found: Sequence[Group]) -> dict[Task, float]:
    """Task -> half of the way from the lowest to the highest last return of its groups, in units of return."""
    last: dict[Task, list[float]] = {}
    for group in found:
        last.setdefault(group.task, []).append(group.last)
    return {task: (min(returns) + max(returns)) / 2 for task, returns in last.items()}


def reference(group: Group, found: Sequence[Group], against: str) -> Group | None:
    """The group on the same task to compare with, under the same agent and for as many frames where there is one."""
    task = [other for other in found if other.task == group.task]
    if against:
        named = [other for other in task if other.label.startswith(against)]
    else:
        named = [other for other in task if is_baseline(other.cell)] or task[:1]

    def likeness(other: Group) -> tuple[bool, ...]:
        same_agent = other.cell.config["algo"] == group.cell.config["algo"]
        return other.label == against, same_agent, other.steps == group.steps

    return max(named, key=likeness, default=None)


def table(found: Sequence[Group], thresholds: dict[Task, float], against: str = "") -> tables.Table:
    """A row for each group: AUC, frames to the threshold R, final return and the AUC's difference, 95% over seeds."""
    envs, levels = ({group.task[place] for group in found} for place in (0, 1))
    header = ["group", *["task"] * (len(envs) > 1), *["levels"] * (len(levels) > 1), "seeds", "AUC [95%]", "R"]
    header += ["frames to R [95%]", "final [95%]", "AUC minus its [95%]", "against"]
    lines = []
    for group in found:
        line = [group.label, *[group.task[0]] * (len(envs) > 1), *[f"{group.task[1]:,}"] * (len(levels) > 1)]
        threshold = thresholds[group.task]
        line += [str(len(group.curves)), tables.interval(stats.over_seeds(group.areas)), tables.number(threshold)]
        line += [_frames(group.reached(threshold)), tables.interval(stats.over_seeds(group.cell.means("train")))]
        other = reference(group, found, against)
        if other is None or other is group:
            line += ["–", "–"]
        elif other.steps != group.steps:
            line += ["other steps", other.label]
        else:
            difference = stats.independent_difference(group.areas, other.areas)
            line += [tables.interval(difference, sign=True), other.label]
        lines.append(line)
    return header, lines


def _frames(needed: Array) -> str:
    """Frames (N, 1) as text; a mean over the seeds that got there would flatter those that did not."""
    never = int(np.isnan(needed).sum())
    if never:
        return "never" if never == len(needed) else f"never in {never} of {len(needed)} seeds"
    found = stats.over_seeds(needed)
    if not found.usable:
        return f"{found.estimate:,.0f} [n=1]"
    return f"{found.estimate:,.0f} [{found.low:,.0f} to {found.high:,.0f}]"


def notes(found: Sequence[Group]) -> list[str]:
    """How the numbers are to be read."""
    said = [
        "AUC = mean return of the training policy over frames 0 to steps; R = the return to be reached; final = return "
        "on the training levels after training. Only equal steps on one task are compared."
    ]
    counts = {len(group.curves) for group in found}
    if 1 in counts:
        said.append(
            "[n=1]: one seed on one side at least, so no interval; run more seeds before claiming a difference."
        )
    if any(1 < count < tables.FEW_SEEDS for count in counts):
        said.append(f"Intervals over fewer than {tables.FEW_SEEDS} seeds: read them as the range seen.")
    before = {group.label: group.cell.config.get("pretrain_frames", 0) for group in found}
    spent = [f"{label} {frames:,}" for label, frames in before.items() if frames]
    if spent:
        said.append(f"Frames of pre-training, before frame 0 and not counted: {', '.join(spent)}.")
    return said


def rows(found: Iterable[Group], thresholds: dict[Task, float]) -> list[dict[str, Any]]:
    """curves.csv: one row per run; ``auc`` and ``final`` in units of return, ``reached`` in frames (nan: never)."""
    found = list(found)
    told = distinguishing_settings([run for group in found for run in group.cell.runs])
    several = len({group.task[1] for group in found}) > 1
    lines = []
    for group in found:
        needed = group.reached(thresholds[group.task])
        for run, auc, frames in zip(group.cell.runs, group.areas[:, 0], needed[:, 0], strict=True):
            differing = {key: json.loads(value) for key, value in told[run.id].items() if key not in COLUMNS}
            differing |= {"train_levels": group.task[1]} if several else {}
            line = {name: run.config[name] for name in ("suite", "env", "repr", "mode", "seed", "steps")}
            line |= {"settings": json.dumps(differing), "auc": float(auc), "reached": float(frames)}
            line |= {"final": float(run.returns["train"].mean()), "commit": run.source.get("commit", "")}
            lines.append({name: line[name] for name in COLUMNS})
    return lines


def picture(found: Sequence[Group], thresholds: dict[Task, float]) -> bytes:
    """curves.png: the mean over seeds of each group, a panel for each task."""
    from benchmarks.reporting import figures

    panels: dict[str, tuple[dict[str, figures.Curve], float]] = {}
    for group in found:
        frames = np.unique(np.concatenate([steps for steps, _ in group.curves]))
        values = np.array([np.interp(frames, *one) for one in group.curves])
        title = f"{group.task[0]}, {group.task[1]:,} training levels"
        series, _ = panels.setdefault(title, ({}, thresholds[group.task]))
        series[group.label] = figures.Curve(frames, values.mean(0), values.min(0), values.max(0))
    labels = list(dict.fromkeys(group.label for group in found))
    baseline = next((group.label for group in found if is_baseline(group.cell)), "")
    palette = figures.colours(labels, baseline)
    return figures.learning(panels, palette)


if __name__ == "__main__":
    raise SystemExit(main())
