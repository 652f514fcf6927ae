"""Actions of any space: as agents store them, as environments take them, and as numbers for a network.

    space          stored, (...) + shape             given to the environment         code, E numbers
    Discrete       () int64, 0 .. n-1                start added                      one-hot, E = n
    MultiDiscrete  (K,) int64, each 0 .. n_k - 1     start added, its own shape       one-hots side by side, E = sum n_k
    MultiBinary    (K,) int64, 0 or 1                int8, its own shape              as they are, E = K
    Box            (K,) float32, may lie outside     clipped to the box, its shape    clipped to the box, E = K

``outputs`` of a policy or of a classifier of actions follow the code: logits of each choice, logits of each bit; of a
Box the expected actions.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from envs.counter_rng import mix, uniform
from envs.registry import UsageError
from envs.spaces import Array, Space

KNOWN = "Discrete, MultiDiscrete, MultiBinary and Box of floats"


class ActionCodes:
    """Facts about an action space and conversions between the forms of an action; holds no weights.

    Attributes:
        choices: number of values of each of the K whole numbers of an action, () for a Box.
        shape: of one stored action.
        dtype: of stored actions.
        size: E, numbers of a code.
        count: number of different actions; 0 for a Box, and where nothing acts.

    Args:
        space: None where nothing acts: codes are empty.

    Raises:
        UsageError: a space of another kind, or a Box that is not of floats.
    """

    def __init__(self, space: Space | None):
        self.space = space
        self.choices: tuple[int, ...] = ()
        self.shape: tuple[int, ...] = ()
        self.dtype = torch.int64
        start: Any = 0
        if isinstance(space, gym.spaces.Discrete):
            self.choices, start = (int(space.n),), space.start
        elif isinstance(space, gym.spaces.MultiDiscrete):
            self.choices, start = tuple(np.ravel(space.nvec).tolist()), space.start
        elif isinstance(space, gym.spaces.MultiBinary):
            self.choices = (2,) * math.prod(space.shape)
        elif isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating):
            self.dtype = torch.float32
        elif space is not None:
            raise UsageError(f"action space {space}: actions here are {KNOWN}; wrap the environment so that its are")
        if space is not None and not isinstance(space, gym.spaces.Discrete):
            self.shape = (math.prod(space.shape or ()),)
        self.start: Array = np.ravel(np.asarray(start, np.int64))
        self.size = math.prod(self.shape) if self.is_box or self.is_binary else sum(self.choices)
        self.count = math.prod(self.choices) if self.choices else 0

    @property
    def is_box(self) -> bool:
        """True for actions that are real numbers."""
        return isinstance(self.space, gym.spaces.Box)

    @property
    def is_binary(self) -> bool:
        """True for actions that are bits."""
        return isinstance(self.space, gym.spaces.MultiBinary)

    @property
    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest numbers (K,) of a Box, float32."""
        assert isinstance(self.space, gym.spaces.Box)
        return np.ravel(self.space.low).astype(np.float32), np.ravel(self.space.high).astype(np.float32)

    # for networks -----------------------------------------------------------------------------------------------------

    def encode(self, action: Shaped[Tensor, ...]) -> Float[Tensor, "... E"]:
        """Codes (..., E) float32 of stored actions (...) + shape."""
        if self.is_box:
            low, high = (torch.as_tensor(bound, device=action.device) for bound in self.bounds)
            return action.float().clamp(low, high)
        if self.is_binary:
            return action.float()
        if self.space is None:
            return torch.zeros(*action.shape, 0, device=action.device)
        columns = action.unsqueeze(-1) if not self.shape else action
        one_hots = [torch.nn.functional.one_hot(columns[..., k], n) for k, n in enumerate(self.choices)]
        return torch.cat(one_hots, -1).float()

    def number(self, action: Shaped[Tensor, ...]) -> Int[Tensor, ...]:
        """Numbers (...) in 0 .. count - 1 of stored actions, the first of its whole numbers the highest digit."""
        if not self.shape:
            return action
        numbers = torch.zeros(action.shape[:-1], dtype=torch.int64, device=action.device)
        for k, n in enumerate(self.choices):
            numbers = numbers * n + action[..., k]
        return numbers

    # for environments -------------------------------------------------------------------------------------------------

    def to_env(self, stored: Array) -> Array:
        """Actions (N, ...) as the environment takes them, from stored ones (N, ...)."""
        space: Any = self.space
        if self.is_box:
            actions: Array = np.clip(stored.reshape(-1, *space.shape).astype(space.dtype), space.low, space.high)
            return actions
        if not self.shape:
            return stored + self.start if self.start.any() else stored
        return (stored + self.start).reshape(-1, *space.shape).astype(space.dtype)

    def from_env(self, actions: Any) -> Array:
        """Stored actions (N, ...) from those that the environment takes."""
        array = np.asarray(actions)
        if self.is_box:
            return array.reshape(len(array), -1).astype(np.float32)
        stored: Array = array.reshape(-1, *self.shape).astype(np.int64) - self.start
        return stored

    def random(self, count: int, rng: np.random.Generator) -> Array:
        """Stored actions (count, ...), uniform over the space.

        Raises:
            UsageError: a Box without bounds.
        """
        if self.is_box:
            low, high = self.finite_bounds
            return rng.uniform(low, high, (count, len(low))).astype(np.float32)
        size = (count, *self.shape)
        drawn: Array = rng.integers(np.asarray(self.choices) if self.shape else self.choices[0], size=size)
        return drawn

    def by_counter(self, bits: Array) -> Array:
        """Stored actions (N, ...), uniform over the space, from random bits (N,) uint64."""
        if not self.shape:
            return (bits % np.uint64(self.choices[0])).astype(np.int64)
        numbers = uniform(mix(bits[:, None], np.arange(self.shape[0])))
        if self.is_box:
            low, high = self.finite_bounds
            return (low + numbers * (high - low)).astype(np.float32)
        return (numbers * np.asarray(self.choices)).astype(np.int64)

    @property
    def finite_bounds(self) -> tuple[Array, Array]:
        """``bounds``; UsageError where a Box has none."""
        low, high = self.bounds
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise UsageError(
                f"action space {self.space}: its bounds must be finite; leave gymnasium's ClipAction out (actions are "
                "clipped here), or give the Box bounds by gymnasium.wrappers.TransformAction"
            )
        return low, high


def random_actions(space: Space, count: int, rng: np.random.Generator) -> Array:
    """Actions (count, ...) as the environment takes them, uniform over the space."""
    codes = ActionCodes(space)
    return codes.to_env(codes.random(count, rng))
