"""The contract of every intrinsic bonus: score the whole rollout, then learn from it; both once per rollout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from envs.steps import Steps


class IntrinsicBonus(nn.Module, ABC):
    """Turns Steps into a reward of its own.

    The agent calls ``compute`` on the whole rollout *before* advantages are estimated, scales the result by the
    running standard deviation of its discounted sum, adds ``coefficient`` times it to the reward, and calls
    ``update`` after the policy update. Everything that must survive a restart is a parameter, a buffer, or a
    ``torch.optim`` optimizer held as an attribute: all three are checkpointed without further code.
    """

    context_dim: ClassVar[int] = 0
    """Size of what the policy must see beside the observation (a skill); 0 for most."""

    coefficient: float = 1.0

    @abstractmethod
    def compute(self, steps: Steps) -> Tensor:
        """Raw bonus (T, B), no gradient, not scaled; 0 where ``steps.next_valid`` is False and next_obs is used."""

    @abstractmethod
    def update(self, steps: Steps, generator: torch.Generator) -> dict[str, float]:
        """Learn from the rollout with the bonus's own optimizer and draws; returns metrics to log."""
