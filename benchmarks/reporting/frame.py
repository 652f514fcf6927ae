"""Results.csv of experiment directories in pandas, one row for each finished run and split.

    from benchmarks.reporting.frame import load_results
    results = load_results("runs/coinrun-quick", "runs/rooms-quick")
    results[results.split == "heldout"].groupby(["env", "repr"]).return_mean.describe()

pandas comes with the extra ``stats``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.reporting.runs import COLUMNS
from envs.registry import UsageError

if TYPE_CHECKING:
    import pandas as pd

WHOLE = frozenset(
    {
        *("train_levels", "pretrain_frames", "threads", "seed", "steps", "levels", "episodes", "greedy_episodes"),
        *("pretrain_env_steps", "train_env_steps"),
    }
)
"""Columns of whole numbers."""
REAL = frozenset(
    {
        *("return_mean", "return_std", "normalised", "greedy_mean", "best_validation", "final_validation"),
        *("pretrain_seconds", "train_seconds", "frames_per_second"),
    }
)
"""Columns of real numbers: returns in the environment's own units, seconds, frames per second."""
NAME = "results.csv"


def load_results(*paths: str | Path) -> pd.DataFrame:
    """Rows of results.csv files, one below the other: one for each finished run and split.

    Whole numbers are Int64, real ones float64 and all else string; what a run does not say is missing. A run that is in
    several of the files with the same numbers is there once.

    Args:
        paths: experiment directories, folders of merged reports, or CSV files as ``benchmarks.report`` writes them.

    Raises:
        UsageError: pandas is not installed, a file is missing or no results.csv, or one run has other numbers in two
            of them.
    """
    try:
        import pandas as pd
    except ImportError:
        raise UsageError("load_results needs pandas; pip install -e '.[stats]'") from None
    if not paths:
        raise UsageError("load_results needs an experiment directory, as in load_results('runs/coinrun-quick')")
    types = {name: "Int64" if name in WHOLE else "float64" if name in REAL else "string" for name in COLUMNS}
    tables = [pd.read_csv(file, dtype=types) for file in map(results_file, paths)]
    rows = pd.concat(tables, ignore_index=True).drop_duplicates(ignore_index=True)
    again = rows[rows.run.notna() & rows.duplicated(["run", "split"])]
    if len(again):
        raise UsageError(
            f"run {again.run.iloc[0]} has other numbers in two of {', '.join(map(str, paths))}; leave one of them out"
        )
    return rows


def results_file(path: str | Path) -> Path:
    """The CSV file of a directory, or the one that is named; UsageError where there is none, or it is none of ours."""
    file = Path(path) / NAME if Path(path).is_dir() else Path(path)
    if not file.is_file():
        raise UsageError(f"{file} is not there; write it with python -m benchmarks.report {Path(path)}")
    with open(file, encoding="utf-8") as handle:
        columns = handle.readline().rstrip("\n").split(",")
    if columns[: len(COLUMNS)] != list(COLUMNS):
        missing = [name for name in COLUMNS if name not in columns]
        raise UsageError(
            f"{file} has no column {', '.join(missing) or 'in the place it had'}; write it anew with python -m "
            "benchmarks.report DIR"
        )
    return file
