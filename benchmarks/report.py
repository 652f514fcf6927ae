"""Results.csv, report.md and report.html of an experiment directory, or of several in one, rebuilt.

    python -m benchmarks.report DIR
    python -m benchmarks.report DIR --no-player
    python -m benchmarks.report DIR DIR --out runs/both

The files are rebuilt from every run; the same runs give the same bytes. The files of several directories go to a
folder of their own, and those of each directory stay as they are. A run that is in two directories is counted once.
Episodes that report.html shows, of the first seed of each row, are recorded where they are missing: runs/ID/recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks import cli
from envs.registry import UsageError

LONGEST_NAME = 100
"""Characters of the name of a merged report's folder."""


@dataclass(frozen=True)
class Args:
    """Rebuild results.csv, report.md and report.html of experiment directories."""

    experiments: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR [DIR ...]")]
    """Experiment directories, the --out of benchmarks.transfer; the runs of several go into one report."""
    out: cli.OutputFolder | None = None
    """Folder of the files. Default: the directory; of several A+B beside the first."""
    mixed: bool = False
    """Put directories into one report that have other budgets, commits, code, threads or training levels, which is
    refused without."""
    player: bool = True
    """Show episodes in report.html, and record those that are missing."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(report, Args, argv)


def report(args: Args) -> str:
    """Rebuild the files; returns the tables."""
    from benchmarks.reporting.report import write_merged

    out = folder_of_files(args)
    text = write_merged(args.experiments, out, args.mixed, args.player)
    return (
        text if out in args.experiments else f"{text}\n\nreport: {out / 'report.html'}   table: {out / 'results.csv'}"
    )


def folder_of_files(args: Args) -> Path:
    """Folder that the files go to; UsageError where they would take the place of a directory's own."""
    folders = list(dict.fromkeys(args.experiments))
    if not folders:
        raise UsageError("benchmarks.report needs the directory of an experiment: python -m benchmarks.report DIR")
    if args.out is None:
        names = "+".join(folder.resolve().name for folder in folders)[:LONGEST_NAME]
        return folders[0] if len(folders) == 1 else folders[0].parent / names
    if (args.out / "runs").is_dir() and [args.out.resolve()] != [folder.resolve() for folder in folders]:
        raise UsageError(f"--out {args.out} is an experiment directory with a report of its own; name another folder")
    return args.out


if __name__ == "__main__":
    raise SystemExit(main())
