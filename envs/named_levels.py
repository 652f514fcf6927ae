"""Named levels: a reset that says on which level each env begins.

    env.reset(options={"levels": (N,) int, "repeats": (N,) int, "reset_mask": (N,) bool})

Env i of the mask begins on exactly ``levels[i]``, as its repetition number ``repeats[i]`` (0 where left out). All that
follows depends on the env's options, the level, the repetition and the actions alone: not on N, on i, on the env's seed
or on what was played before. A level need not lie in the env's own range. A vector env that can do this has
``names_levels`` True.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.counter_rng import counter_hash
from envs.registry import UsageError
from envs.spaces import Array

OPTIONS = ("reset_mask", "levels", "repeats")
LARGEST_LEVEL = 2**31 - 2
"""Levels are int32, and so is the end of a range of one."""
UNNAMED = -1
"""Stream of an env whose level nobody named."""


@dataclass(frozen=True)
class ResetRequest:
    """Checked options of a reset."""

    mask: Array
    """Envs that begin anew, bool (N,)."""
    levels: Array | None
    """Level of each env, int64 (N,); None where the env draws its own."""
    repeats: Array
    """Repetition of each env's level, int64 (N,)."""

    @classmethod
    def of(cls, name: str, num_envs: int, options: Mapping[str, Any] | None, names_levels: bool) -> ResetRequest:
        """Check ``options`` of a reset of the environment ``name``.

        Raises:
            UsageError: a mask, levels or repeats of another shape or kind, a level out of range, or levels for an
                environment that cannot begin on a named one.
        """
        given = dict(options or {})
        mask: Array = np.asarray(given.get("reset_mask", np.ones(num_envs, bool)))
        if mask.dtype != bool or mask.shape != (num_envs,) or not mask.any():
            raise UsageError(f"{name}: reset_mask must be a bool array ({num_envs},) with at least one True")
        repeats = _whole_numbers(name, "repeats", given.get("repeats", np.zeros(num_envs, np.int64)), num_envs)
        if given.get("levels") is None:
            if "repeats" in given:
                raise UsageError(f"{name}: reset got repeats without levels; name the levels, too")
            return cls(mask, None, repeats)
        if not names_levels:
            raise UsageError(f"{name} cannot begin on named levels with these options; leave levels out of the reset")
        levels = _whole_numbers(name, "levels", given["levels"], num_envs)
        if levels[mask].max() > LARGEST_LEVEL:
            raise UsageError(f"{name}: level {levels[mask].max()} is above the largest, {LARGEST_LEVEL}")
        return cls(mask, levels, repeats)

    @property
    def rows(self) -> Array:
        """Numbers of the envs that begin anew."""
        return np.flatnonzero(self.mask)

    def streams(self) -> Array:
        """Number (N,) of each env's stream of draws: a hash of level and repetition, or ``UNNAMED``."""
        return np.full(len(self.mask), UNNAMED, np.int64) if self.levels is None else stream(self.levels, self.repeats)


def stream(levels: Array, repeats: Array) -> Array:
    """Streams (N,) int64, not negative, of named levels and their repetitions."""
    bits = counter_hash(levels, repeats) >> np.uint64(1)
    numbers: Array = bits.astype(np.int64)
    return numbers


def _whole_numbers(name: str, option: str, values: Any, num_envs: int) -> Array:
    numbers = np.asarray(values)
    if numbers.dtype.kind not in "iu" or numbers.shape != (num_envs,) or numbers.min() < 0:
        raise UsageError(f"{name}: {option} must be an array ({num_envs},) of integers that are not negative")
    return numbers.astype(np.int64)
