"""A scripted policy for MiniGrid that knows the whole level: breadth-first search, one subgoal at a time.

Nodes are (cell, direction). The policy fetches the key of the locked door, opens it, puts the key away if the task is
to pick something up, and walks to the goal or to the task's object. Doors in the way are opened; nothing is moved out
of the way.
"""

from __future__ import annotations

from collections import deque

import numpy as np

import envs.minigrid.rules as cells
from envs.minigrid.rules import DONE, DROP, EMPTY, FORWARD, LEFT, PICKUP, RIGHT, TOGGLE
from envs.spaces import Array


def next_action(grid: Array, cell: int, direction: int, carrying: int, ahead: Array) -> int:
    """The action to take now, or "done" where no path exists.

    Args:
        grid: (cells,) padded.
        cell: the agent's place in it.
        direction: the agent's, 0..3.
        carrying: the cell of the object the agent carries, ``EMPTY`` for nothing.
        ahead: (4,) change of ``cell`` by a step in each direction.
    """
    key = int(cells.KEY_COLOUR[carrying])
    target = cells.MARK[grid] == cells.TARGET
    target_object = target & cells.PICKABLE[grid]
    shut = cells.LOCKED[grid]
    opens = shut & (cells.COLOUR[grid] == key)
    keys = np.isin(cells.KEY_COLOUR[grid], cells.COLOUR[grid][shut])
    subgoals = [(cells.GOAL[grid], FORWARD), (target_object, PICKUP), (opens, TOGGLE), (keys, PICKUP)]
    if carrying != EMPTY:
        put_away = [(grid == EMPTY, DROP)] if target_object.any() and not opens.any() else []
        subgoals = put_away or [(cells.GOAL[grid], FORWARD), (opens, TOGGLE)]
    for wanted, last in subgoals:
        action = _towards(grid, cell, direction, key, ahead, wanted, last) if wanted.any() else None
        if action is not None:
            return action
    return DONE


def _towards(grid: Array, cell: int, direction: int, key: int, ahead: Array, wanted: Array, last: int) -> int | None:
    """First action of a shortest path to a place in front of a ``wanted`` cell, (cells,) bool, then ``last``."""
    steps = ahead.tolist()
    queue: deque[tuple[int, int, int | None]] = deque([(cell, direction, None)])
    known = {(cell, direction)}
    while queue:
        place, facing, first = queue.popleft()
        front = place + steps[facing]
        if wanted[front]:
            return last if first is None else first
        content = grid[front]
        neighbours = [(place, (facing - 1) % 4, LEFT), (place, (facing + 1) % 4, RIGHT)]
        if cells.WALKABLE[content] and not cells.LAVA[content]:
            neighbours.append((front, facing, FORWARD))
        elif cells.DOOR[content] and (not cells.LOCKED[content] or cells.COLOUR[content] == key):
            neighbours.append((front, facing, TOGGLE))
        for place, heading, action in neighbours:
            if (place, heading) not in known:
                known.add((place, heading))
                queue.append((place, heading, action if first is None else first))
    return None
