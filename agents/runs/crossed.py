"""A finished agent on the training levels of other seeds: the gap in which the levels' difficulty cancels.

    crossed gap of set j = return of agent j on set j - mean return of the other seeds' agents on set j

Both terms are returns on the very same levels. It is measured after a command's runs are done, and written beside each
run; a file of fewer seeds is completed once there are more.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock

from agents.runs.build import find_task
from agents.runs.config import RunConfig, training_set
from agents.runs.load import load_policy_of
from agents.runs.run_dir import write_rows
from agents.runs.source import commit
from agents.runs.splits import play, require_finite_returns
from envs.registry import UsageError
from envs.tasks import levels_of

FILE = "crossed.csv"
MIN_EPISODES = 64
COLUMNS = ("level_set", "seed", "level", "episode", "return", "length", "commit")


def play_other_sets(run: Path, config: RunConfig, others: Iterable[RunConfig]) -> bool:
    """Let the agent of a finished run play the training levels of ``others``, and write crossed.csv.

    Sets that are in the file already are kept. Another process that does the same is waited for.

    Returns:
        False where nothing was left to play, or the environment names no levels.
    """
    sets = {other.seed: training_set(other) for other in others if training_set(other) != training_set(config)}
    if not sets or levels_of(find_task(config).source) is None:
        return False
    with FileLock(run / f"{FILE}.lock"):
        rows = _rows(run / FILE)
        present = {row["level_set"] for row in rows}
        absent = {seed: levels for seed, levels in sets.items() if str(levels) not in present}
        if not absent:
            return False
        task, policy = load_policy_of(run, config)
        episodes = max(MIN_EPISODES, config.eval_envs // len(sets)) if not config.window else config.periodic_envs
        now = commit()
        for seed, levels in absent.items():
            world = task.source.with_options(**levels.options)
            played = play(config, task, policy, world, levels.first(episodes), episodes)
            require_finite_returns(played, f"levels {levels}")
            columns = (played.levels, played.repeats, played.returns, played.lengths)
            rows += [
                dict(zip(COLUMNS, (str(levels), seed, *values, now), strict=True))
                for values in zip(*(column.tolist() for column in columns), strict=True)
            ]
        write_rows(run / FILE, sorted(rows, key=lambda row: int(row["seed"])))
    return True


def _rows(path: Path) -> list[dict[str, Any]]:
    """Rows of an earlier file; of one that did not say, the commit is empty. UsageError for one that is none."""
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            return [{name: row.get(name, "") for name in COLUMNS} for row in csv.DictReader(handle)]
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{path} is damaged ({error}); remove it, and the levels are played again") from None
