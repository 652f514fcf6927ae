"""Learning curves of finished runs, compared: areas under them, frames to a return, and a chart.

    python -m benchmarks.curves DIR
    python -m benchmarks.curves DIR DIR --reach 8 --against vae
    python -m benchmarks.curves DIR --metrics eval/validation/return train/episode_length loss/entropy

Writes curves.csv and curves.png into the first DIR, with --metrics also metrics.csv and metrics.png. The numbers are
defined in ``benchmarks.reporting.learning_curves``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks import cli
from envs.registry import UsageError

WIDTH = 160


@dataclass(frozen=True)
class Args:
    """Areas under the learning curves of finished runs, and how soon each reaches a return."""

    experiments: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR [DIR ...]")]
    """Experiment directories, the --out of benchmarks.transfer; the first one gets curves.csv and curves.png."""
    reach: float | None = None
    """Return to be reached; else half of the way from the lowest to the highest last return of a task's groups."""
    against: str = ""
    """Group that the others are compared with, by the start of its label; else cnn, else each task's first."""
    metrics: tuple[str, ...] = ()
    """Metrics of metrics.jsonl, or kept/SPLIT (kept policies on a split), to draw over training, each in a panel of its
    own with a line for every run; those of evaluations are tabulated, too."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(curves, Args, argv)


def curves(args: Args) -> str:
    """Write curves.csv and curves.png into the first directory; returns the text to print.

    Raises:
        UsageError: no finished run, a run without a curve, one that differs between directories, or an unknown
            --against.
    """
    from benchmarks.reporting import layout, learning_curves, metric_curves
    from benchmarks.reporting.runs import distinct, load
    from benchmarks.reporting.summary import summarise

    if not args.experiments:
        raise UsageError("benchmarks.curves needs the directory of an experiment: python -m benchmarks.curves DIR")
    runs = distinct([run for folder in args.experiments for run in load(folder)])
    summary = summarise(sorted(runs, key=lambda run: run.id))
    groups = learning_curves.make_groups(summary)
    if not groups:
        folders = ", ".join(map(str, args.experiments))
        raise UsageError(f"{folders}: no finished run to compare; finish one with benchmarks.transfer")
    if not any(group.label.startswith(args.against) for group in groups):
        labels = ", ".join(dict.fromkeys(group.label for group in groups))
        raise UsageError(f"--against '{args.against}' begins no label; known: {labels}")
    unknown = [name for name in args.metrics if not any(name in run.metric_names for run in runs)]
    if unknown:
        known = ", ".join(sorted({name for run in runs for name in run.metric_names}))
        raise UsageError(f"--metrics {unknown[0]}: no run has recorded it; known: {known}")
    thresholds = {group.task: args.reach for group in groups if args.reach is not None}
    thresholds = thresholds or learning_curves.halfway(groups)
    out = args.experiments[0]
    cli.write_csv(out / "curves.csv", learning_curves.rows(groups, thresholds), learning_curves.COLUMNS)
    cli.write_file(out / "curves.png", learning_curves.picture(groups, thresholds))
    if args.metrics:
        cli.write_csv(out / "metrics.csv", metric_curves.rows(groups, args.metrics), metric_curves.COLUMNS)
        cli.write_file(out / "metrics.png", metric_curves.picture(groups, args.metrics))
    parts = [layout.aligned(learning_curves.table(groups, thresholds, args.against), WIDTH)]
    evaluations = metric_curves.table(groups, args.metrics, args.against)
    parts += [layout.aligned(evaluations, WIDTH)] * bool(evaluations[1])
    parts += [layout.wrapped(note) for note in learning_curves.notes(groups)]
    if summary.missing:
        parts.append("\n".join(["not in the table:", *(f"  {name}" for name in summary.missing)]))
    return "\n\n".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
