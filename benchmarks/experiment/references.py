"""Reference policies on the very levels of the runs: what chance and a simple script get there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.runs.config import RunConfig

FILE = "references.csv"
"""In an experiment directory: a row for each task, split, policy, set of levels and length of windows."""


def measure_references(configs: Iterable[RunConfig], experiment: Path) -> None:
    """Play a random and a scripted policy on the levels of every run, in windows as long; keep them in ``FILE``.

    Runs on the same levels share them.
    """
    from agents.runs.build import find_task
    from agents.runs.source import describe_source
    from agents.runs.splits import played_levels
    from envs.reference_scores import measured

    by_set = {
        (config.suite, config.env, config.level_set, config.eval_envs, config.window): config for config in configs
    }
    source = describe_source()
    for config in by_set.values():
        choose = partial(played_levels, config)
        task, table = find_task(config), experiment / FILE
        measured(task, config.eval_envs, table, source["command"], choose, config.window, source["commit"])
