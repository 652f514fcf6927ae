"""Transitions over the cells of a MiniGrid level: every action, in every direction, on every cell.

The agent is put on every cell of level 0 that it could ever stand on, behind closed doors too, faces every direction
and takes every action once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from envs.level_map import LevelTransitions
from envs.minigrid.rules import LEFT, OBJECT, OBJECT_TO_IDX, PAD
from envs.spaces import Array

TILE = 8
"""Pixels of a cell's side in the picture."""


def level_map(make: Callable[[int], Any], overview: Callable[[Any], Any]) -> LevelTransitions:
    """All transitions on the one level that ``make(n)``, n envs of it, holds.

    Args:
        overview: from an env to one that shows its whole level, a cell TILE pixels wide.
    """
    first = make(1).unwrapped
    first.reset()
    cells, directions = standing_cells(first), np.arange(4)
    actions = np.arange(len(first.action_set))
    cell, direction, action = (grid.ravel() for grid in np.meshgrid(cells, directions, actions, indexing="ij"))
    env = make(len(cell)).unwrapped
    env.reset()
    left = int(np.flatnonzero(env.action_set == LEFT)[0])
    # One turn short of ``direction``: the step that completes it returns the observation.
    env.set_state({"cell": cell, "direction": (direction + 1) % 4})
    obs = env.step(np.full(len(cell), left))[0]
    next_obs, _, terminated, truncated, infos = env.step(action)
    next_obs = next_obs.copy()
    for i in np.flatnonzero(terminated | truncated):
        next_obs[i] = infos["final_obs"][i]
    column, row = cell // _padded_height(env) - PAD, cell % _padded_height(env) - PAD
    return LevelTransitions(
        picture=overview(env).reset()[0][0][: TILE * env.height, : TILE * env.width],
        shape=(env.height, env.width),
        cell=row * env.width + column,
        obs=obs,
        action=action,
        next_obs=next_obs,
    )


def standing_cells(env: Any) -> Array:
    """Cells of level 0 (indices into its padded grid) that an agent can reach, if doors open and objects give way."""
    layout = env.layout(0)
    solid = np.isin(OBJECT[layout.grid], [OBJECT_TO_IDX[name] for name in ("wall", "lava")])
    passable = ~solid.reshape(-1, _padded_height(env))
    reached = np.zeros_like(passable)
    reached.ravel()[layout.cell] = True
    while True:
        wider = reached.copy()
        wider[1:] |= reached[:-1]
        wider[:-1] |= reached[1:]
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider &= passable
        if (wider == reached).all():
            break
        reached = wider
    # Nobody stands on a key, a door or the goal before something changed: those cells are left out.
    empty = OBJECT[layout.grid] == OBJECT_TO_IDX["empty"]
    return np.flatnonzero(reached.ravel() & empty)


def _padded_height(env: Any) -> int:
    return int(env.height) + 2 * PAD
