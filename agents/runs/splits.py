"""Evaluation of a run's policy on its splits: which levels, how often, episodes or windows.

All splits on training levels play the same visits, so a visual variant is compared with the source start by start. All
methods and seeds play the same held-out levels. Learning curves and choices read ``VALIDATION`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.policy import Policy
from agents.runs.build import policy_world
from agents.runs.config import RunConfig, training_set
from agents.runs.evaluate import SEED, Episodes, Watch, equal_visits, play_visits, play_windows
from envs import level_sets
from envs.counter_rng import below, counter_hash
from envs.finite import NotFinite
from envs.tasks import Task, World, levels_of

VALIDATION = "validation"
"""Name of the split that curves and choices read: the source on levels that neither train nor test."""
ALL_LEVELS = 2**31 - 1


def worlds_of(task: Task) -> dict[str, World]:
    """Environment of each split, ``VALIDATION`` among them where the task has one."""
    return task.splits() if task.validation is None else {**task.splits(), VALIDATION: task.validation}


def evaluate_split(
    config: RunConfig,
    task: Task,
    policy: Policy,
    split: str,
    episodes: int,
    *,
    first_repeat: int = 0,
    greedy: bool = False,
    watch: Watch | None = None,
) -> Episodes:
    """Play each level of a split equally often, ``episodes`` or a few more in all: episodes, or windows.

    Args:
        split: of the task, or ``VALIDATION``.
        first_repeat: number of the first repetition of a level; other numbers are other episodes.
        greedy: take the likeliest actions, and play each level once.
        watch: told how far it is, after every step.
    """
    source = worlds_of(task)[split]
    levels = played_levels(config, source, episodes)
    count = len(levels) if greedy else episodes
    played = play(config, task, policy, source, levels, count, first_repeat, greedy, watch)
    return require_finite_returns(played, f"split '{split}'")


def play(
    config: RunConfig,
    task: Task,
    policy: Policy,
    source: World,
    levels: Sequence[int],
    episodes: int,
    first_repeat: int = 0,
    greedy: bool = False,
    watch: Watch | None = None,
) -> Episodes:
    """Play ``levels`` of ``source`` equally often, as often as gives ``episodes``."""
    world, visits = policy_world(config, task, source), equal_visits(levels, episodes, first_repeat)
    if config.window:
        return play_windows(
            policy, lambda count: world.make(count, SEED), visits, config.window, greedy=greedy, watch=watch
        )
    return play_visits(policy, lambda count: world.make(count, SEED), visits, greedy=greedy, watch=watch)


def require_finite_returns(episodes: Episodes, place: str) -> Episodes:
    """The episodes as they are. NotFinite where a return is not finite, with its level and repetition."""
    bad = np.flatnonzero(~np.isfinite(episodes.returns))
    if len(bad):
        level, repeat, value = (column[bad[0]] for column in (episodes.levels, episodes.repeats, episodes.returns))
        raise NotFinite(
            f"return of level {level}, repetition {repeat} is {value} in the evaluation on {place}: the environment "
            f"gave it ({len(bad)} of {len(episodes.returns)} episodes); mend its step() and run the same command again"
        )
    return episodes


def played_levels(config: RunConfig, world: World, episodes: int) -> Sequence[int]:
    """The first levels of the world's set, at most ``episodes``.

    A run on the published training set is tested, as published, on levels drawn from all. An environment without named
    levels has starts 0, 1, ... of its seed.
    """
    levels = levels_of(world)
    if levels is None:
        return range(episodes)
    if levels == level_sets.HELDOUT and training_set(config).start == 0:
        drawn: list[int] = below(counter_hash(np.arange(episodes)), ALL_LEVELS).tolist()
        return drawn
    return levels.first(episodes)
