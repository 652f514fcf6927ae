"""Reference policies on the very levels of the runs: what chance and a simple script get there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.runs.config import RunConfig

FILE = "references.csv"
"""In an experiment directory: a row for each task, split, policy and set of levels."""


def measure_references(configs: Iterable[RunConfig], experiment: Path) -> None:
    """Play a random and a scripted policy on the levels of every run, once for each set; keep them in ``FILE``."""
    from agents.runs.build import find_task
    from agents.runs.source import describe_source
    from agents.runs.splits import played_levels
    from envs.reference_scores import measured

    by_set = {(config.suite, config.env, config.level_set, config.eval_envs): config for config in configs}
    command = describe_source()["command"]
    for config in by_set.values():
        choose = partial(played_levels, config)
        measured(find_task(config), config.eval_envs, experiment / FILE, command, choose)
