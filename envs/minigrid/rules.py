"""MiniGrid's cells as numbers, its rules as tables over them, and levels drawn by minigrid itself.

A cell is one uint16:  ((object * 6 + colour) * 3 + state) + 256 * mark,  object, colour and state as minigrid encodes
them (``minigrid.core.constants``). The mark tells what the encoding leaves out: 0 nothing, 1 + colour a box with a key
of that colour in it, 7 the object or door whose picking up or opening is the task.

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

from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

VIEW = 7
"""Side of the agent's view, in cells."""
PAD = VIEW - 1
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""(dx, dy) of directions 0 right, 1 down, 2 left, 3 up; y grows downward."""
ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
TARGET = 7


def code(thing: str, colour: int = 0, state: int = 0) -> int:
    """The cell of an unmarked object by minigrid's name for it."""
    return (OBJECT_TO_IDX[thing] * 6 + colour) * 3 + state


EMPTY, WALL = code("empty"), code("wall", COLOR_TO_IDX["grey"])
TV = code("agent")
"""A thing seen past that cannot be walked into, taken or toggled. No minigrid level has it: see
``envs.minigrid.noisy_tv``."""
_CODES = np.arange(2048)
OBJECT, COLOUR, STATE, MARK = (_CODES & 255) // 18, (_CODES & 255) // 3 % 6, (_CODES & 255) % 3, _CODES >> 8


def _is(*things: str) -> Array:
    return np.isin(OBJECT, [OBJECT_TO_IDX[thing] for thing in things])


OPEN = _is("door") & (STATE == 0)
LOCKED = _is("door") & (STATE == 2)
SEE_BEHIND = ~(_is("wall") | (_is("door") & ~OPEN))
WALKABLE = _is("empty", "floor", "goal", "lava") | OPEN
PICKABLE = _is("key", "ball", "box")
GOAL, LAVA, DOOR = _is("goal"), _is("lava"), _is("door")
KEY_COLOUR = np.where(_is("key"), COLOUR, -1)
"""Colour of a key, -1 of anything else."""
OPENED = np.where(DOOR, _CODES - STATE, _CODES).astype(np.uint16)
_TOGGLED = np.where(DOOR, np.where(OPEN, _CODES + 1, OPENED), _CODES)
_INSIDE = np.where((MARK > 0) & (MARK < TARGET), code("key") + 3 * (MARK - 1), EMPTY)
TOGGLED = np.where(_is("box"), _INSIDE, _TOGGLED).astype(np.uint16)
"""What a cell becomes when toggled, but for locked doors, which need their key."""
SYMBOLS = np.stack([OBJECT, COLOUR, STATE], axis=1)[:256].astype(np.uint8)


def _shadows() -> tuple[Array, Array]:
    """(128, 128) uint8 twice, by (cells of a view row that the row below lights, cells of it that are clear), as bits:
    the cells of the row that are lit, and those of the row above that they light.

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
    return tuple(np.packbits(x, axis=2, bitorder="little")[..., 0] for x in (lit, above))  # type: ignore[return-value]


LIT, ABOVE = _shadows()


def view_offsets(height: int) -> Array:
    """(4, 49) by direction: where the view's cells lie from the agent's own, rows of the image first.

    The agent stands at the bottom centre and looks up.
    """
    row, column = np.divmod(np.arange(VIEW * VIEW), VIEW)
    ahead, aside = VIEW - 1 - row, column - VIEW // 2
    offsets = [((dx * ahead - dy * aside) * (height + 2 * PAD) + dy * ahead + dx * aside) for dx, dy in STEPS]
    return np.array(offsets)


def visible(seen: Array) -> Array:
    """(n, 49) uint8, 1 where the agent sees the cell, from the cells (n, 49) of its view."""
    clear = np.packbits(SEE_BEHIND[seen].reshape(-1, VIEW, VIEW), axis=2, bitorder="little")[..., 0]
    lit = np.empty_like(clear)
    shone = np.full(len(seen), 1 << VIEW // 2, np.uint8)
    for row in range(VIEW - 1, -1, -1):
        lit[:, row] = LIT[shone, clear[:, row]]
        shone = ABOVE[shone, clear[:, row]]
    return np.unpackbits(lit[..., None], axis=2, count=VIEW, bitorder="little").reshape(-1, VIEW * VIEW)


def grid_hash(grid: Array) -> Array:
    """uint64 (n,) of padded grids (n, cells): the exclusive or of all (place, cell), so one change is cheap."""
    return np.bitwise_xor.reduce(counter_hash(np.arange(grid.shape[1]), grid), axis=1)


@dataclass(frozen=True)
class Layout:
    """How a level begins."""

    grid: Array
    """(cells,) uint16, padded."""
    cell: int
    """Where the agent stands, an index into ``grid``."""
    direction: int
    """0 right, 1 down, 2 left, 3 up."""
    free: int
    """Cells it could ever stand on and live: no walls, no lava; doors and movable things count."""
    rooms: Array
    """(cells,) uint8: number of the room a free cell is part of, from 1; 0 for doors, gaps and all else."""
    key: np.uint64
    """``grid_hash`` of the grid."""


def draw_layout(env: Any, level: int, borders: str, goal: int) -> Layout:
    """Level ``level`` as ``env``, an unwrapped minigrid env, draws it from that seed.

    ``borders`` says what lies between rooms: "doors", "gaps" (cells between two walls), or "" where there are none.
    ``goal`` is the cell that stands where the level has its goal.
    """
    env.reset(seed=int(level))
    height = env.height + 2 * PAD
    grid = np.full((env.width + 2 * PAD, height), WALL, np.uint16)
    target = getattr(env, "obj", getattr(env, "door", None))
    cells = [EMPTY if thing is None else _encode(thing, target) for thing in env.grid.grid]
    grid[PAD:-PAD, PAD:-PAD] = np.array(cells).reshape(env.height, env.width).T
    flat = grid.ravel()
    flat[GOAL[flat]] = goal
    cell = (int(env.agent_pos[0]) + PAD) * height + int(env.agent_pos[1]) + PAD
    free = np.zeros(len(flat), bool)
    free[_reached(flat, ~_is("wall", "lava", "agent")[flat], cell, height)] = True
    rooms = np.zeros(len(flat), np.uint8)
    if borders:
        _number_rooms(rooms, flat, free & ~(DOOR[flat] if borders == "doors" else _gaps(grid)), height)
    return Layout(flat, cell, int(env.agent_dir), int(free.sum()), rooms, grid_hash(flat[None])[0])


def _encode(thing: Any, target: Any) -> int:
    kind, colour, state = thing.encode()
    mark = TARGET if thing is target else 0 if thing.contains is None else 1 + thing.contains.encode()[1]
    return (kind * 6 + colour) * 3 + state + 256 * mark


def _reached(grid: Array, passable: Array, start: int, height: int) -> list[int]:
    open_cells = passable.tolist()
    found, front = {start}, [start]
    while front:
        here = front.pop()
        for there in (here + height, here - height, here + 1, here - 1):
            if open_cells[there] and there not in found:
                found.add(there)
                front.append(there)
    return list(found)


def _gaps(grid: Array) -> Array:
    wall = _is("wall")[grid]
    gaps = np.zeros(grid.shape, bool)
    gaps[1:-1] |= wall[:-2] & wall[2:]
    gaps[:, 1:-1] |= wall[:, :-2] & wall[:, 2:]
    return gaps.ravel()


def _number_rooms(rooms: Array, grid: Array, inside: Array, height: int) -> None:
    number = 0
    for cell in np.flatnonzero(inside):
        if not rooms[cell]:
            number += 1
            rooms[_reached(grid, inside, int(cell), height)] = number
