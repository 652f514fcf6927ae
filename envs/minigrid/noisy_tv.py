"""MiniGrid's four rooms without any reward, and a TV in them: a trap for curiosity (Burda et al. 2018, 1808.04355).

The TV is a cell that cannot be entered, in the place of the level's goal. Its picture follows ``tv``: "noise" a new
random one at every step, whatever the agent does; "remote" a new one after each action "done" alone; "still" always the
same, the control. Rooms, moves, visibility and infos are those of ``envs.minigrid.env``; all other pixels are the same
under all three. Episodes end after ``max_steps``. ``state_hash`` and ``coverage`` know nothing of the picture.

In the symbolic view a picture is a random (object, colour, state) out of 10 x 6 x 3, "unseen" left out, so that the
next picture equals the one before in 1 step of 180. In the rgb view it is random bytes in all pixels of the cell, under
every palette.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

import envs.minigrid.rules as cells
from envs.counter_rng import below, mix
from envs.minigrid.env import MiniGridVectorEnv
from envs.minigrid.rules import DONE, EMPTY, TV, VIEW
from envs.registration import TV_VARIANTS
from envs.registry import UsageError, did_you_mean
from envs.spaces import Array
from envs.vector_env import SingleEnv

SHOWS = tuple(TV_VARIANTS)
PICTURES = 10 * 6 * 3
"""Number of pictures in the symbolic view: cells from ``EMPTY`` on."""
STILL = cells.code("ball", cells.COLOR_TO_IDX["purple"])
_PICTURE = 0


class NoisyTVVectorEnv(MiniGridVectorEnv):
    """``num_envs`` levels of MiniGrid-FourRooms-v0 with a TV, SAME_STEP with true final frames.

    Observations are ``MiniGridVectorEnv``'s view of 7 x 7 cells, rgb or symbolic. Infos are its own, and ``tv_seen``
    (N,) bool: the TV's cell is visible to the agent now.

    Args:
        num_envs: number of envs.
        tv: "noise", "still" or "remote".
        options: those of ``MiniGridVectorEnv``, but for ``env_id`` and ``full_view``.

    Raises:
        UsageError: an unknown ``tv``, an option that is fixed here, or ``actions`` without "done" for the remote.
    """

    name = "noisy-tv"
    variants = TV_VARIANTS
    state_names: ClassVar[tuple[str, ...]] = (*MiniGridVectorEnv.state_names, "pressed")
    metric_infos: ClassVar[dict[str, tuple[str, str]]] = {
        **MiniGridVectorEnv.metric_infos,
        "tv_seen": ("tv_seen", "mean"),
    }
    goal = TV

    def __init__(self, num_envs: int = 1, *, tv: str = "noise", **options: Any):
        if tv not in SHOWS:
            raise UsageError(f"noisy-tv: tv={tv!r}{did_you_mean(tv, SHOWS)} Known: {', '.join(SHOWS)}")
        if fixed := {"env_id", "full_view"} & options.keys():
            raise UsageError(f"noisy-tv: {', '.join(sorted(fixed))} cannot be chosen; use minigrid for that")
        self.tv = tv
        super().__init__(num_envs, "MiniGrid-FourRooms-v0", **options)
        if tv == "remote" and DONE not in self.action_set:
            raise UsageError("noisy-tv: tv='remote' needs the action 'done'; give actions='all', or name it among them")

    def _allocate(self) -> None:
        super()._allocate()
        self.pressed = np.zeros(self.num_envs, np.int64)
        """Uses of the remote in this episode."""
        self._place = np.zeros(self.num_envs, np.int64)
        """Place of the TV, an index into ``grid``."""

    def _begin(self, rows: Array) -> None:
        super()._begin(rows)
        self.pressed[rows] = 0
        self._place[rows] = (self.grid[rows] == TV).argmax(axis=1)

    def _rebuild_derived(self) -> None:
        super()._rebuild_derived()
        self._place[:] = (self.grid == TV).argmax(axis=1)

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        self.pressed += self.action_set[actions] == DONE
        return super()._advance(actions)

    # observations -------------------------------------------------------------------------------------------------

    def _screens(self, rows: Array) -> Array:
        """Cells of the view that show the TV, (n, 49) bool; one or none in a row."""
        places, _, visible = self._view_cells(rows)
        screens: Array = (places == self._place[rows, None]) & (visible == 1)
        return screens

    def _pictures(self, rows: Array) -> Array:
        """Bits, uint64 (n,), from which all of a picture follows."""
        if self.tv == "noise":
            return self.step_bits(rows, _PICTURE)
        return (
            mix(self.episode_bits[rows], self.pressed[rows]) if self.tv == "remote" else np.zeros(len(rows), np.uint64)
        )

    def _observe(self, rows: Array) -> Array:
        frames = super()._observe(rows)
        row, place = np.nonzero(self._screens(rows))
        line, column = np.divmod(place, VIEW)
        picture = self._pictures(rows[row])
        if self.view == "symbolic":
            cell = EMPTY + below(picture, PICTURES) if self.tv != "still" else STILL
            frames[row, column, line] = cells.SYMBOLS[cell]
            return frames
        pixel, tile = np.arange(self.tile), self.tile
        noise: Array = mix(picture[:, None], np.arange(3 * tile * tile)) >> np.uint64(56)
        y, x = line[:, None, None] * tile + pixel[:, None], column[:, None, None] * tile + pixel
        frames[row[:, None, None], y, x] = noise.reshape(-1, tile, tile, 3)
        return frames

    # infos --------------------------------------------------------------------------------------------------------

    def _step_infos(self) -> dict[str, Array]:
        return super()._step_infos() | {"tv_seen": self._screens(self.rows).any(axis=1)}

    def scripted(self) -> Array:
        raise UsageError("noisy-tv has no reward, so it has no scripted policy; use --policy random")


class NoisyTVEnv(SingleEnv):
    """One level with a TV."""

    vector_class = NoisyTVVectorEnv
