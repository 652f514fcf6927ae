"""MiniGrid stepped as arrays: mazes of rooms, keys and doors with one sparse reward (Chevalier-Boisvert et al. 2023).

Levels are minigrid's own (``reset(seed=level)``). Steps, visibility and frames are look-ups over all envs at once,
equal to minigrid's step for step and pixel for pixel (the tests compare them on every level family).

Actions: 0 left, 1 right, 2 forward, 3 pickup, 4 drop, 5 toggle, 6 done, or those that ``actions`` names. Reward:
1 - 0.9 * t / max_steps at success, else 0. Lava and, in Memory, the wrong end of the fork end the episode without
reward. An episode is truncated after ``max_steps``; one that succeeds in that very step is terminated.
Differs from minigrid: no mission in the observation (it never says more than the frame in these families). The object
of the task is known by identity, as in minigrid.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

import envs.minigrid.rules as cells
from envs.counter_rng import counter_hash, mix
from envs.level_map import LevelTransitions
from envs.minigrid.factor_vector import factor_vector
from envs.minigrid.level_map import TILE, level_map
from envs.minigrid.levels import FAMILIES, LADDER, PICKUP_TOGGLES
from envs.minigrid.renderer import AGENT, FRAME, LIT, PALETTES, frame_shape, paint, tile_table
from envs.minigrid.rules import DROP, EMPTY, FORWARD, LEFT, PAD, PICKUP, RIGHT, TOGGLE, VIEW, Layout
from envs.registry import UsageError, check_int, did_you_mean
from envs.spaces import Array
from envs.vector_env import BatchedEnv, SingleEnv

RENDERED = 160
"""Pixels of the longer side, at most, of a level that ``render`` paints."""
LAYOUTS_KEPT = 4096
"""Layouts kept in memory, 4 kB each at most: drawing one takes 0.2 to 2 ms."""


def family(env_id: str) -> str:
    """The family of a minigrid id. UsageError where it is unknown or its rules are not written here."""
    importlib.import_module("minigrid")  # registers its ids
    name = env_id.removeprefix("MiniGrid-").partition("-")[0]
    family_name = re.sub("[0-9SRN]*(Random)?$", "", name)
    if not env_id.startswith("MiniGrid-") or family_name not in FAMILIES:
        raise UsageError(
            f"minigrid: env_id='{env_id}' is not of a family whose rules are known here ({', '.join(FAMILIES)}); "
            "make it with minigrid itself"
        )
    if env_id not in gym.registry:
        known = [known for known in gym.registry if known.startswith("MiniGrid-")]
        raise UsageError(f"minigrid: unknown env_id '{env_id}'{did_you_mean(env_id, known)}")
    return family_name


def _action_set(actions: str | tuple[int | str, ...]) -> Array:
    """Numbers of the chosen actions in minigrid's order."""
    named = {"all": cells.ACTIONS, "navigate": cells.ACTIONS[:3]}
    chosen = named.get(actions, ()) if isinstance(actions, str) else tuple(actions)
    numbers = [cells.ACTIONS.index(a) if isinstance(a, str) and a in cells.ACTIONS else a for a in chosen]
    if len(numbers) < 2 or len(set(numbers)) < len(numbers) or not set(numbers) <= set(range(7)):
        raise UsageError(
            f"minigrid: actions={actions!r}; give 'all', 'navigate' (left, right, forward), or a tuple of different "
            f"ones of {', '.join(cells.ACTIONS)}"
        )
    return np.array(numbers)


class MiniGridVectorEnv(BatchedEnv):
    """``num_envs`` MiniGrid levels, SAME_STEP with true final frames.

    Observations: view "rgb" gives frames uint8 (N, H, W, 3), "symbolic" minigrid's encoding uint8 (N, 7, 7, 3), indexed
    [env, x, y] = (object, colour, state), object 0 where hidden; with ``full_view`` of the whole level, (N, W, H, 3).
    Infos at each step: ``agent_pos`` (N, 2) = (x, y), ``agent_dir`` (0 right, 1 down, 2 left, 3 up), ``carrying``
    (object number, 0 for none), ``coverage`` (cells visited / cells reachable through doors), ``rooms_seen`` (rooms
    visited; 0 where the level has none), ``state_hash`` (uint64 of grid, agent and carried object).

    Args:
        num_envs: number of envs.
        env_id: a minigrid id of one of ``FAMILIES``.
        seed: of the level draws.
        num_levels: levels, which are minigrid's seeds, are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: truncates episodes earlier, without a change in reward; None for ``max_steps`` alone.
        view: "rgb" or "symbolic".
        tile: pixels of a cell's side, 2..32; None for the most that fit in 64 pixels: 9 for the view of 7 x 7 cells.
            Frames smaller than 64 x 64 are padded right and bottom.
        full_view: observe the whole level in place of the 7 x 7 cells ahead.
        actions: "all", "navigate" (left, right, forward), or a tuple of names or numbers.
        max_steps: of the reward and of truncation; None for the task's own.
        palette: colours of the frames, one of ``PALETTES``; levels stay the same.
        highlight: lighten the visible cells, as minigrid does. Without it the agent's view does not distinguish a
            hidden cell from an empty one.

    Raises:
        UsageError: a value out of range, or a level family whose rules are not known here.
    """

    name = "minigrid"
    variants: ClassVar[dict[str, dict[str, Any]]] = {
        name: {"env_id": f"MiniGrid-{env_id}"} for name, env_id in LADDER.items()
    }
    state_names: ClassVar[tuple[str, ...]] = ("grid", "cell", "direction", "carrying", "visited", "entered")
    goal: ClassVar[int] = cells.code("goal", cells.COLOR_TO_IDX["green"])
    """The cell put in the place of a level's goal."""
    coverage_factors: ClassVar[dict[tuple[str, ...], tuple[str, str]]] = {("x", "y"): ("cells", "cells")}
    metric_infos: ClassVar[dict[str, tuple[str, str]]] = {
        "state_hash": ("states", "distinct"),
        "coverage": ("coverage", "final"),
    }

    def __init__(
        self,
        num_envs: int = 1,
        env_id: str = "MiniGrid-DoorKey-5x5-v0",
        *,
        seed: int = 0,
        num_levels: int = 10**6,
        start_level: int = 0,
        max_episode_steps: int | None = None,
        view: str = "rgb",
        tile: int | None = None,
        full_view: bool = False,
        actions: str | tuple[int | str, ...] = "all",
        max_steps: int | None = None,
        palette: str = "standard",
        highlight: bool = True,
        render_mode: str | None = None,
    ):
        if view not in ("rgb", "symbolic"):
            raise UsageError(f"minigrid: unknown view '{view}'; give rgb or symbolic")
        if palette not in PALETTES:
            raise UsageError(
                f"minigrid: unknown palette '{palette}'{did_you_mean(palette, PALETTES)}; known: {', '.join(PALETTES)}"
            )
        self.family = family(env_id)
        spec = gym.spec(env_id)
        module, _, name = str(spec.entry_point).partition(":")
        self.maker = getattr(importlib.import_module(module), name)(**spec.kwargs)
        """minigrid's own env, which draws the levels."""
        self.env_id, self.view, self.full_view, self.highlight = env_id, view, full_view, highlight
        self.palette, self.action_set = palette, _action_set(actions)
        as_pickup = TOGGLE if self.family in PICKUP_TOGGLES else PICKUP
        self._performed = np.where(self.action_set == PICKUP, as_pickup, self.action_set)
        self.max_steps = check_int(
            "minigrid", "max_steps", self.maker.max_steps if max_steps is None else max_steps, 1, 10**6
        )
        self.width, self.height = self.maker.width, self.maker.height
        self.columns: int = self.width if full_view else VIEW
        self.lines: int = self.height if full_view else VIEW
        fitting = max(2, FRAME // max(self.columns, self.lines))
        self.tile = check_int("minigrid", "tile", fitting if tile is None else tile, 2, 32)
        symbolic = (self.columns, self.lines, 3)
        shape = symbolic if view == "symbolic" else frame_shape(self.lines, self.columns, self.tile)
        super().__init__(
            num_envs,
            gym.spaces.Box(0, max(cells.OBJECT_TO_IDX.values()) if view == "symbolic" else 255, shape, np.uint8),
            len(self.action_set),
            seed=seed,
            num_levels=num_levels,
            start_level=start_level,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
        self._allocate()

    def _allocate(self) -> None:
        n, self._span = self.num_envs, self.height + 2 * PAD
        size = (self.width + 2 * PAD) * self._span
        self.grid = np.full((n, size), cells.WALL, np.uint16)
        self.cell, self.direction = np.full(n, PAD * self._span + PAD), np.zeros(n, np.int64)
        self.carrying = np.full(n, EMPTY, np.uint16)
        self.visited, self.entered = np.zeros((n, size), bool), np.zeros(n, np.int64)
        self._covered, self._rooms = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._free, self._room_map = np.ones(n, np.int64), np.zeros((n, size), np.uint8)
        self._grid_key = np.zeros(n, np.uint64)
        self._ahead = np.array([dx * self._span + dy for dx, dy in cells.STEPS])
        self._offsets = cells.view_offsets(self.height)
        self._layouts: dict[int, Layout] = {}

    @property
    def action_names(self) -> tuple[str, ...]:
        """Name of each action."""
        return tuple(cells.ACTIONS[action] for action in self.action_set)

    # episodes -----------------------------------------------------------------------------------------------------

    def layout(self, level: int) -> Layout:
        """Start of ``level``."""
        if level not in self._layouts:
            if len(self._layouts) == LAYOUTS_KEPT:
                del self._layouts[next(iter(self._layouts))]
            self._layouts[level] = cells.draw_layout(self.maker, level, FAMILIES[self.family], self.goal)
        return self._layouts[level]

    def _begin(self, rows: Array) -> None:
        for i in rows:
            start = self.layout(int(self.level[i]))
            self.grid[i], self.cell[i], self.direction[i] = start.grid, start.cell, start.direction
            self._free[i], self._room_map[i], self._grid_key[i] = start.free, start.rooms, start.key
        self.carrying[rows] = EMPTY
        self.visited[rows] = False
        for counter in (self.entered, self._covered, self._rooms):
            counter[rows] = 0
        self._record(rows)

    def _record(self, rows: Array) -> None:
        """Count the cells and rooms that the agents of ``rows`` stand in."""
        cell = self.cell[rows]
        self._covered[rows] += ~self.visited[rows, cell]
        self.visited[rows, cell] = True
        room = self._room_map[rows, cell].astype(np.int64)
        self._rooms[rows] += (room > 0) & (self.entered[rows] >> room & 1 == 0)
        self.entered[rows] |= 1 << room

    def _rebuild_derived(self) -> None:
        for i in self.rows:
            start = self.layout(int(self.level[i]))
            self._free[i], self._room_map[i] = start.free, start.rooms
        self._grid_key[:] = cells.grid_hash(self.grid)
        self._covered[:] = self.visited.sum(axis=1)
        in_rooms = self.entered & ~1  # bit 0: doors and gaps
        self._rooms[:] = ((in_rooms[:, None] >> np.arange(63)) & 1).sum(axis=1)

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        action = self._performed[actions]
        front = self.cell + self._ahead[self.direction]
        ahead = self.grid[self.rows, front]
        self.direction = (self.direction + (action == RIGHT) - (action == LEFT)) % 4

        moves = (action == FORWARD) & cells.WALKABLE[ahead]
        self.cell = np.where(moves, front, self.cell)
        goal, lava = moves & cells.GOAL[ahead], moves & cells.LAVA[ahead]

        empty_handed, after = self.carrying == EMPTY, ahead.copy()
        picks = (action == PICKUP) & cells.PICKABLE[ahead] & empty_handed
        drops = (action == DROP) & (ahead == EMPTY) & ~empty_handed
        after[picks] = EMPTY
        after[drops] = self.carrying[drops]
        toggles = action == TOGGLE
        locked = cells.LOCKED[ahead]
        unlocks = toggles & locked & (cells.KEY_COLOUR[self.carrying] == cells.COLOUR[ahead])
        after = np.where(toggles & ~locked, cells.TOGGLED[ahead], np.where(unlocks, cells.OPENED[ahead], after))
        self.carrying[picks] = ahead[picks]
        self.carrying[drops] = EMPTY
        self._put(front, ahead, after)
        self._record(np.flatnonzero(moves))

        done = goal | (cells.MARK[ahead] == cells.TARGET) & (picks | unlocks)
        t = self.time + 1
        terminated = done | lava
        return done * (1 - 0.9 * (t / self.max_steps)), terminated, (t >= self.max_steps) & ~terminated

    def _put(self, place: Array, before: Array, after: Array) -> None:
        rows = np.flatnonzero(before != after)
        place, before, after = place[rows], before[rows], after[rows]
        self.grid[rows, place] = after
        self._grid_key[rows] ^= counter_hash(place, before) ^ counter_hash(place, after)

    # observations -------------------------------------------------------------------------------------------------

    def _observe(self, rows: Array) -> Array:
        if self.view == "symbolic":
            return self._symbols(rows)
        if self.full_view:
            numbers = self._level(rows)
        else:
            numbers = self._partial(rows)
            if self.highlight:
                numbers += LIT * (numbers != 0)
            numbers[:, -1, VIEW // 2] += AGENT * 4  # it faces up
        return paint(tile_table(self.tile, self.palette), numbers)

    def _level(self, rows: Array) -> Array:
        """Tiles (n, H, W) of the whole level, the agent in it."""
        numbers = self._unpadded(self.grid[rows]) & 255
        agents = (np.arange(len(rows)), self.cell[rows] % self._span - PAD, self.cell[rows] // self._span - PAD)
        numbers[agents] += AGENT * (1 + self.direction[rows])
        if self.highlight:
            numbers += LIT * self._lit(rows)
        return numbers

    def render(self) -> tuple[Array, ...] | None:
        """The current frames, where ``render_mode`` is "rgb_array"; of symbols the whole level, painted."""
        if self.view != "symbolic" or self.render_mode != "rgb_array":
            return super().render()
        tile = max(2, min(RENDERED // max(self.width, self.height), RENDERED // VIEW))
        return tuple(paint(tile_table(tile, self.palette), self._level(self.rows)))

    def _symbols(self, rows: Array) -> Array:
        if not self.full_view:
            return np.ascontiguousarray(cells.SYMBOLS[self._partial(rows)].transpose(0, 2, 1, 3))
        symbols = np.ascontiguousarray(cells.SYMBOLS[self._unpadded(self.grid[rows]) & 255].transpose(0, 2, 1, 3))
        x, y = self.cell[rows] // self._span - PAD, self.cell[rows] % self._span - PAD
        agent = cells.OBJECT_TO_IDX["agent"], cells.COLOR_TO_IDX["red"]
        symbols[np.arange(len(rows)), x, y] = [(*agent, direction) for direction in self.direction[rows]]
        return symbols

    def _unpadded(self, padded: Array) -> Array:
        """Cells (n, H, W) int64, rows of the image first, without the padding, of (n, cells)."""
        grid = padded.reshape(len(padded), -1, self._span)[:, PAD:-PAD, PAD:-PAD]
        return grid.transpose(0, 2, 1).astype(np.int64)

    def _view_cells(self, rows: Array) -> tuple[Array, Array, Array]:
        """The 7 x 7 cells ahead, (n, 49) each: their places in ``grid``, their contents, their visibility (0 or 1)."""
        places = self.cell[rows][:, None] + self._offsets[self.direction[rows]]
        contents = self.grid[rows[:, None], places]
        return places, contents, np.ones_like(contents) if self.maker.see_through_walls else cells.visible(contents)

    def _partial(self, rows: Array) -> Array:
        """Unmarked cells of the view, (n, 7, 7) int64, rows of the image first; 0 where hidden."""
        _, contents, visible = self._view_cells(rows)
        numbers: Array = ((contents & 255) * visible).astype(np.int64).reshape(-1, VIEW, VIEW)
        numbers[:, -1, VIEW // 2] = self.carrying[rows] & 255  # minigrid shows it in the agent's own place
        return numbers

    def _lit(self, rows: Array) -> Array:
        """Visibility (n, H, W) of the whole level's cells."""
        places, _, visible = self._view_cells(rows)
        # hidden cells share one place outside of every level: the first cell of the padding
        lit = np.zeros((len(rows), self.grid.shape[1]), np.uint8)
        lit[np.arange(len(rows))[:, None], np.where(visible == 1, places, 0)] = 1
        return self._unpadded(lit)

    # infos and ground truth ---------------------------------------------------------------------------------------

    def _position(self) -> Array:
        return np.stack([self.cell // self._span - PAD, self.cell % self._span - PAD], axis=1)

    def _step_infos(self) -> dict[str, Array]:
        held = cells.OBJECT[self.carrying]
        return {
            "agent_pos": self._position(),
            "agent_dir": self.direction.copy(),
            "carrying": np.where(self.carrying == EMPTY, 0, held),
            "coverage": self._covered / self._free,
            "rooms_seen": self._rooms.copy(),
            "state_hash": mix(mix(mix(self._grid_key, self.cell), self.direction), self.carrying),
        }

    def factors(self) -> dict[str, Array]:
        """Agent's place and direction, the object it carries, and the number of open doors."""
        infos = self._step_infos()
        x, y = infos["agent_pos"].T
        doors = cells.OPEN[self.grid].sum(axis=1)
        return {"x": x, "y": y, "direction": infos["agent_dir"], "carrying": infos["carrying"], "open_doors": doors}

    def factor_vector(self, rows: Array) -> Array:
        """The map around the agent with nothing hidden, see ``envs.minigrid.factor_vector``."""
        return factor_vector(self.grid[rows], self.cell[rows], self.direction[rows], self.carrying[rows], self.height)

    def scripted(self) -> Array:
        """Next action on a shortest path; UsageError for ObstructedMaze, and where ``actions`` lacks one it needs."""
        from envs.minigrid.scripted import next_action

        if self.family == "ObstructedMaze":
            raise UsageError("minigrid: the scripted policy does not clear obstructed doors; use --policy random")
        planned = [
            next_action(self.grid[i], int(self.cell[i]), int(self.direction[i]), int(self.carrying[i]), self._ahead)
            for i in self.rows
        ]
        known = {int(action): number for number, action in enumerate(self.action_set)}
        if missing := {cells.ACTIONS[a] for a in planned if a not in known}:
            raise UsageError(
                f"minigrid: the scripted policy needs actions={', '.join(missing)} too; give actions='all'"
            )
        return np.array([known[a] for a in planned])

    def level_map(self, make: Callable[[int], Any]) -> LevelTransitions:
        """Every action on every cell of the level that ``make(n)`` gives n envs of."""
        return level_map(make, _overview)


def _overview(env: MiniGridVectorEnv) -> MiniGridVectorEnv:
    """Level 0 of the same MiniGrid id, all of it in view."""
    return MiniGridVectorEnv(1, env.env_id, full_view=True, highlight=False, tile=TILE, num_levels=1)


class MiniGridEnv(SingleEnv):
    """One MiniGrid level."""

    vector_class = MiniGridVectorEnv
