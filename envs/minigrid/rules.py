"""MiniGrid's cells as numbers, its rules as tables over them, and layouts drawn by minigrid itself.

A cell is one uint16:  ((object * 6 + colour) * 3 + state) + 256 * mark,  object, colour and state as minigrid encodes
them (``minigrid.core.constants``). The mark adds what the encoding leaves out: 0 nothing, 1 + colour a box with a key
of that colour in it, 7 the object or door whose picking up or opening is the task. On an empty cell a mark is a place
that ends the episode, seen by nobody: 7 with success, 1 without.

Grids are padded by six walls on each side, which is what minigrid shows outside of them, and flattened with x first:
cell (x, y) of a level of height H stands at (x + 6) * (H + 12) + y + 6.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.counter_rng import counter_hash
from envs.spaces import Array

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # minigrid imports pygame, which would greet

from minigrid.core.constants import COLOR_TO_IDX as COLOR_TO_IDX
from minigrid.core.constants import OBJECT_TO_IDX as OBJECT_TO_IDX

VIEW = 7
"""Side of the agent's view, in cells."""
PAD = VIEW - 1
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""(dx, dy) of directions 0 right, 1 down, 2 left, 3 up; y grows downward."""
ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
WRONG, TARGET = 1, 7


def code(kind: str, colour: int = 0, state: int = 0) -> int:
    """The cell of an unmarked object by minigrid's name for it."""
    return (OBJECT_TO_IDX[kind] * 6 + colour) * 3 + state


EMPTY, WALL = code("empty"), code("wall", COLOR_TO_IDX["grey"])
TV = code("agent")
"""A thing that does not block the view and cannot be walked into, taken or toggled. No minigrid level has it: see
``envs.minigrid.noisy_tv``."""
_CODES = np.arange(2048)
OBJECT, COLOUR, STATE, MARK = (_CODES & 255) // 18, (_CODES & 255) // 3 % 6, (_CODES & 255) % 3, _CODES >> 8


def _is(*kinds: str) -> Array:
    """Cells whose object is one of ``kinds``, bool (2048,)."""
    return np.isin(OBJECT, [OBJECT_TO_IDX[kind] for kind in kinds])


OPEN = _is("door") & (STATE == 0)
LOCKED = _is("door") & (STATE == 2)
SEE_BEHIND = ~(_is("wall") | (_is("door") & ~OPEN))
WALKABLE = _is("empty", "floor", "goal", "lava") | OPEN
PICKABLE = _is("key", "ball", "box")
GOAL, LAVA = _is("goal") | _is("empty") & (MARK == TARGET), _is("lava") | _is("empty") & (MARK == WRONG)
"""Cells that end the episode of who steps on them, with success and without."""
DOOR = _is("door")
KEY_COLOUR = np.where(_is("key"), COLOUR, -1)
"""Colour of a key, -1 of anything else."""
OPENED = np.where(DOOR, _CODES - STATE, _CODES).astype(np.uint16)
_TOGGLED = np.where(DOOR, np.where(OPEN, _CODES + 1, OPENED), _CODES)
_INSIDE = np.where((MARK > 0) & (MARK < TARGET), code("key") + 3 * (MARK - 1), EMPTY)
TOGGLED = np.where(_is("box"), _INSIDE, _TOGGLED).astype(np.uint16)
"""Cells after toggling, but for locked doors, which need their key."""
SYMBOLS = np.stack([OBJECT, COLOUR, STATE], axis=1)[:256].astype(np.uint8)


def _shadows() -> tuple[Array, Array]:
    """Visibility of a view's row as two look-ups, (128, 128) uint8 each.

    Both are indexed by bits: the cells of the row that the row below lights, and its clear cells. They give the lit
    cells of the row, and the cells that these light in the row above.

    The rule is minigrid's ``Grid.process_vis``: a lit clear cell lights its neighbours, first from left to right, then
    back, and the cells above both. Rows follow each other from the agent's own, so a view takes seven look-ups.
    """
    bits = (np.arange(128)[:, None] >> np.arange(VIEW)) & 1 == 1
    lit, clear = np.repeat(bits[:, None], 128, 1), np.repeat(bits[None], 128, 0)
    above = np.zeros_like(lit)
    for i, towards in [(i, 1) for i in range(VIEW - 1)] + [(i, -1) for i in range(VIEW - 1, 0, -1)]:
        shines = lit[..., i] & clear[..., i]
        lit[..., i + towards] |= shines
        above[..., i] |= shines
        above[..., i + towards] |= shines
    packed_lit, packed_above = (np.packbits(x, axis=2, bitorder="little")[..., 0] for x in (lit, above))
    return packed_lit, packed_above


LIT, ABOVE = _shadows()


def view_offsets(height: int) -> Array:
    """Offsets (4, 49) of the view's cells from the agent's own by direction, rows of the image first.

    The agent stands at the bottom centre and faces up.
    """
    row, column = np.divmod(np.arange(VIEW * VIEW), VIEW)
    ahead, aside = VIEW - 1 - row, column - VIEW // 2
    offsets = [((dx * ahead - dy * aside) * (height + 2 * PAD) + dy * ahead + dx * aside) for dx, dy in STEPS]
    return np.array(offsets)


def visible(view: Array) -> Array:
    """Visibility (n, 49) uint8, 1 where the agent sees the cell, of the cells (n, 49) of its view."""
    clear = np.packbits(SEE_BEHIND[view].reshape(-1, VIEW, VIEW), axis=2, bitorder="little")[..., 0]
    lit = np.empty_like(clear)
    shone = np.full(len(view), 1 << VIEW // 2, np.uint8)
    for row in range(VIEW - 1, -1, -1):
        lit[:, row] = LIT[shone, clear[:, row]]
        shone = ABOVE[shone, clear[:, row]]
    return np.unpackbits(lit[..., None], axis=2, count=VIEW, bitorder="little").reshape(-1, VIEW * VIEW)


def grid_hash(grid: Array) -> Array:
    """Hash, uint64 (n,), of padded grids (n, cells): the exclusive or of all (place, cell), so one change is cheap."""
    return np.bitwise_xor.reduce(counter_hash(np.arange(grid.shape[1]), grid), axis=1)


@dataclass(frozen=True)
class Layout:
    """Start of a level."""

    grid: Array
    """(cells,) uint16, padded."""
    cell: int
    """Agent's place, an index into ``grid``."""
    direction: int
    """0 right, 1 down, 2 left, 3 up."""
    free: int
    """Number of cells the agent could ever stand on and live: no walls, no lava; doors and movable things count."""
    rooms: Array
    """(cells,) uint8: number of the room a free cell belongs to, from 1; 0 for doors, gaps and all else."""
    key: np.uint64
    """``grid_hash`` of the grid."""


def draw_layout(env: Any, level: int, borders: str, goal: int) -> Layout:
    """Layout of ``level``, drawn by ``env``, an unwrapped minigrid env, from that seed.

    Args:
        env: draws the level.
        level: its seed.
        borders: between rooms: "doors", "gaps" (cells between two walls), or "" where the level has no rooms.
        goal: the cell put in the place of the level's goal.
    """
    env.reset(seed=int(level))
    height = env.height + 2 * PAD
    grid = np.full((env.width + 2 * PAD, height), WALL, np.uint16)
    target = getattr(env, "obj", getattr(env, "door", None))
    cells = [EMPTY if item is None else _encode(item, target) for item in env.grid.grid]
    grid[PAD:-PAD, PAD:-PAD] = np.array(cells).reshape(env.height, env.width).T
    flat = grid.ravel()
    flat[_is("goal")[flat]] = goal
    for mark, name in ((TARGET, "success_pos"), (WRONG, "failure_pos")):
        if (place := getattr(env, name, None)) is not None:
            grid[place[0] + PAD, place[1] + PAD] = EMPTY + 256 * mark
    cell = (int(env.agent_pos[0]) + PAD) * height + int(env.agent_pos[1]) + PAD
    free = np.zeros(len(flat), bool)
    free[_reachable(~_is("wall", "lava", "agent")[flat], cell, height)] = True
    rooms = np.zeros(len(flat), np.uint8)
    if borders:
        _number_rooms(rooms, free & ~(DOOR[flat] if borders == "doors" else _gaps(grid)), height)
    return Layout(flat, cell, int(env.agent_dir), int(free.sum()), rooms, grid_hash(flat[None])[0])


def _encode(item: Any, target: Any) -> int:
    kind, colour, state = item.encode()
    mark = TARGET if item is target else 0 if item.contains is None else 1 + item.contains.encode()[1]
    return int((kind * 6 + colour) * 3 + state + 256 * mark)


def _reachable(passable: Array, start: int, height: int) -> list[int]:
    open_cells = passable.tolist()
    reached, frontier = {start}, [start]
    while frontier:
        cell = frontier.pop()
        for neighbour in (cell + height, cell - height, cell + 1, cell - 1):
            if open_cells[neighbour] and neighbour not in reached:
                reached.add(neighbour)
                frontier.append(neighbour)
    return list(reached)


def _gaps(grid: Array) -> Array:
    wall = _is("wall")[grid]
    gaps = np.zeros(grid.shape, bool)
    gaps[1:-1] |= wall[:-2] & wall[2:]
    gaps[:, 1:-1] |= wall[:, :-2] & wall[:, 2:]
    return gaps.ravel()


def _number_rooms(rooms: Array, inside: Array, height: int) -> None:
    number = 0
    for cell in np.flatnonzero(inside):
        if not rooms[cell]:
            number += 1
            rooms[_reachable(inside, int(cell), height)] = number
