"""Maps over the cells of a level: the transitions they are drawn from.

An env whose levels consist of cells may have a method ``level_map(make) -> LevelTransitions``, where ``make(n)`` gives
a new vector env with n copies of one level. Drawings of a quantity over the cells (as a bonus) use it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.spaces import Array


@dataclass(frozen=True)
class LevelTransitions:
    """Every action from every heading on every cell that can be stood on: n transitions."""

    picture: Array
    """The level from above (h, w, 3) uint8."""
    shape: tuple[int, int]
    """Cells of the level, (H, W)."""
    cell: Array
    """Row-major number (n,) of the cell where each transition starts, below H * W."""
    obs: Array
    """Observations (n, ...) before the action."""
    action: Array
    """Actions (n,)."""
    next_obs: Array
    """Observations (n, ...) that truly followed: the final frame where the episode ended."""

    def average(self, values: Array) -> Array:
        """Mean of ``values`` (n,) in each cell (H, W), nan where no transition starts."""
        cells = self.shape[0] * self.shape[1]
        counts = np.bincount(self.cell, minlength=cells)
        sums = np.bincount(self.cell, weights=values, minlength=cells)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).reshape(self.shape)
