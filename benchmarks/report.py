"""An experiment directory's results.csv, report.md and report.html, rebuilt.

    python -m benchmarks.report DIR

The files are rebuilt from every run in DIR; the same runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import cli


@dataclass(frozen=True)
class Args:
    """Rebuild results.csv, report.md and report.html of an experiment directory."""

    experiment: cli.Experiment
    """Experiment directory, the --out of benchmarks.transfer."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(report, Args, argv)


def report(args: Args) -> str:
    """Rebuild the files; returns the table."""
    from benchmarks.reporting.report import write_report

    return write_report(args.experiment)


if __name__ == "__main__":
    raise SystemExit(main())
