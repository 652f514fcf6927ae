"""A finished agent on the training levels of other seeds: the gap in which the levels' difficulty cancels.

    crossed gap of set j = return of agent j on set j - mean return of the other seeds' agents on set j

Both terms are returns on the very same levels. It is measured after all seeds are done, and written beside each run.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from agents.runs.config import RunConfig, training_set
from agents.runs.load import load_policy_of
from agents.runs.run_dir import write_rows
from agents.runs.splits import play

FILE = "crossed.csv"
MIN_EPISODES = 64
COLUMNS = ("level_set", "seed", "level", "episode", "return", "length")


def play_other_sets(run: Path, config: RunConfig, others: Iterable[RunConfig]) -> bool:
    """Let the agent of a finished run play the training levels of ``others``, and write crossed.csv.

    Returns:
        False where the file already has all these sets.
    """
    sets = {other.seed: training_set(other) for other in others if training_set(other) != training_set(config)}
    if not sets or {str(levels) for levels in sets.values()} <= _sets_in(run / FILE):
        return False
    task, policy = load_policy_of(run, config)
    episodes = max(MIN_EPISODES, config.eval_envs // len(sets)) if not config.window else config.periodic_envs
    rows = []
    for seed, levels in sorted(sets.items()):
        world = task.source.with_options(**levels.options)
        played = play(config, task, policy, world, levels.first(episodes), episodes)
        columns = (played.levels, played.repeats, played.returns, played.lengths)
        rows += [
            dict(zip(COLUMNS, (str(levels), seed, *values), strict=True))
            for values in zip(*(column.tolist() for column in columns), strict=True)
        ]
    write_rows(run / FILE, rows)
    return True


def _sets_in(path: Path) -> set[str]:
    if not path.exists():
        return set()
    with open(path, newline="") as handle:
        return {row["level_set"] for row in csv.DictReader(handle)}
