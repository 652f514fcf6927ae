"""Procgen objects of one env and one level each, stepped as if they were one object.

For options under which Procgen cannot write its state (``use_generated_assets``), so that a level can only be chosen by
building an object for it: 5 to 10 ms each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from envs.spaces import Array


class SingleLevels:
    """The part of ``ProcgenGym3Env`` that a vector env needs, over one object an env.

    Args:
        num: number of envs.
        build: an object of one env for a level.
    """

    def __init__(self, num: int, build: Callable[[int], Any]):
        self._build = build
        self._objects: list[Any] = [None] * num

    def begin(self, rows: Sequence[int], levels: Sequence[int]) -> None:
        """Put a fresh object for its level into each of ``rows``."""
        for row, level in zip(rows, levels, strict=True):
            if self._objects[row] is not None:
                self._objects[row].close()
            self._objects[row] = self._build(level)

    def act(self, actions: Array) -> None:
        """Take ``actions`` (N,)."""
        for game, action in zip(self._objects, actions, strict=True):
            game.act(np.array([action], np.int32))

    def observe(self) -> tuple[Array, dict[str, Array], Array]:
        """Rewards (N,), frames under "rgb" and firsts (N,), fresh."""
        rewards, observations, firsts = zip(*(game.observe() for game in self._objects), strict=True)
        frames = np.concatenate([observation["rgb"] for observation in observations])
        return np.concatenate(rewards), {"rgb": frames}, np.concatenate(firsts)

    def get_info(self) -> list[dict[str, Any]]:
        """Levels of each env's present episode and of the one before."""
        return [game.get_info()[0] for game in self._objects]

    def close(self) -> None:
        """Free all objects."""
        for game in self._objects:
            if game is not None:
                game.close()
