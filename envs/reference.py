"""Reference scores: what a random and a hand-written policy get, so that an agent's figure can be read.

    python -m envs --score SUITE

prints the rows below for one suite. Windows and first episodes are counted as ``benchmarks.transfer`` counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from envs.registry import UsageError
from envs.tasks import Task, World

Array = np.ndarray
Policy = Literal["random", "scripted"]
POLICIES: tuple[Policy, ...] = ("random", "scripted")


@dataclass(frozen=True)
class Reference:
    """One policy on one split."""

    env: str
    split: str
    policy: str
    mean: float
    """Return of an episode, or of a window."""
    std: float
    """Over episodes or windows (n - 1)."""
    count: int


def returns(world: World, policy: Policy, count: int, window: int, seed: int = 0) -> Array:
    """(count,): the first episode's return of each of ``count`` envs, or the sum over ``window`` steps where not 0.

    Raises:
        UsageError: the world has no scripted policy.
    """
    envs: Any = world.make(count, seed)
    if policy == "scripted" and not hasattr(envs, "scripted"):
        raise UsageError(f"{world.name} has no scripted policy; use --policy random")
    rng = np.random.default_rng(seed)
    envs.reset()
    total, alive, steps = np.zeros(count), np.ones(count, bool), 0
    while steps < window if window else alive.any():
        actions = envs.scripted() if policy == "scripted" else rng.integers(envs.single_action_space.n, size=count)
        _, reward, terminated, truncated, _ = envs.step(actions)
        total += reward * alive
        if not window:
            alive &= ~(terminated | truncated)
        steps += 1
    envs.close()
    return total


def score(task: Task, policy: Policy, count: int, seed: int = 0) -> list[Reference]:
    """A row for every split of a task."""
    rows = []
    for split, world in task.splits().items():
        found = returns(world, policy, count, task.window, seed)
        rows.append(Reference(task.env, split, policy, round(found.mean(), 2), round(found.std(ddof=1), 2), count))
    return rows
