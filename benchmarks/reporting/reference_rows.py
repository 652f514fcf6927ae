"""Rows of reference policies that were played on the very levels of some runs, and in windows as long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.reporting.runs import Run
from envs.reference_scores import Reference, set_name


def set_names(runs: Iterable[Run], split: str) -> set[str]:
    """Names of the sets of levels that runs were evaluated on."""
    return {set_name(np.unique(run.returns[split].levels)) for run in runs}


def on_their_levels(rows: Iterable[Reference], runs: Sequence[Run], split: str) -> list[Reference]:
    """Rows of the task of ``runs`` on the levels of one of them; a row without names is of an env without levels."""
    names = {"", *set_names(runs, split)}
    keys = {(run.config["env"], split, int(run.config.get("window", 0))) for run in runs}
    return [row for row in rows if (row.env, row.split, row.window) in keys and row.levels in names]
