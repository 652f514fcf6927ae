"""A policy for MiniGrid that knows the whole level: breadth-first search over (cell, direction), one subgoal at a time.

It fetches the key of the locked door, opens it, puts the key away where the task is to pick something up, and walks to
the goal or to the task's object. Doors in the way are opened; nothing is moved out of the way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

import envs.minigrid.rules as cells
from envs.minigrid.rules import DONE, DROP, EMPTY, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE
from envs.spaces import Array


def next_action(grid: Array, cell: int, direction: int, carrying: int, ahead: Array) -> int:
    """The action to take now, or "done" where no way is found.

    Args:
        grid: (cells,) padded.
        cell: the agent's place in it.
        direction: the agent's, 0..3.
        carrying: the cell of what the agent carries, ``EMPTY`` for nothing.
        ahead: (4,) what a step in each direction adds to ``cell``.
    """
    key = int(cells.KEY_COLOUR[carrying])
    target = cells.MARK[grid] == cells.TARGET
    thing = target & cells.PICKABLE[grid]
    shut = cells.LOCKED[grid]
    opens = shut & (cells.COLOUR[grid] == key)
    keys = np.isin(cells.KEY_COLOUR[grid], cells.COLOUR[grid][shut])
    subgoals = [(cells.GOAL[grid], FORWARD), (thing, PICKUP), (opens, TOGGLE), (keys, PICKUP)]
    if carrying != EMPTY:
        put_away = [(grid == EMPTY, DROP)] if thing.any() and not opens.any() else []
        subgoals = put_away or [(cells.GOAL[grid], FORWARD), (opens, TOGGLE)]
    for where, last in subgoals:
        action = _towards(grid, cell, direction, key, ahead, where.__getitem__, last) if where.any() else None
        if action is not None:
            return action
    return DONE


def _towards(
    grid: Array, cell: int, direction: int, key: int, ahead: Array, wanted: Callable[[int], bool], last: int
) -> int | None:
    """First action of a shortest way to stand before a cell that ``wanted`` tells, then do ``last``."""
    steps = ahead.tolist()
    queue: deque[tuple[int, int, int | None]] = deque([(cell, direction, None)])
    known = {(cell, direction)}
    while queue:
        place, facing, first = queue.popleft()
        front = place + steps[facing]
        if wanted(front):
            return last if first is None else first
        found = grid[front]
        ways = [(place, (facing - 1) % 4, LEFT), (place, (facing + 1) % 4, RIGHT)]
        if cells.WALKABLE[found] and not cells.LAVA[found]:
            ways.append((front, facing, FORWARD))
        elif cells.DOOR[found] and (not cells.LOCKED[found] or cells.COLOUR[found] == key):
            ways.append((front, facing, TOGGLE))
        for there, heading, action in ways:
            if (there, heading) not in known:
                known.add((there, heading))
                queue.append((there, heading, action if first is None else first))
    return None
