"""Constant bonus: 1 for every step, the control under every other bonus.

    r = 1   where the environment shows what followed, as for all bonuses

With ``bonus_once`` it is 1 at an episode's first visit of each state and 0 elsewhere: what first visits alone achieve,
whatever the bonus measures. A bonus is worth what it adds to that. Without ``bonus_once`` it says nothing of where to
go; it only makes longer episodes better, or shorter ones worse where an end is avoided.

The scale (README, "From the raw bonus to the reward") divides by the running standard deviation of R_t =
bonus_gamma R_{t-1} + r_t. Of a constant that falls towards 0, as R_t stays near 1 / (1 - bonus_gamma) after its first
rise: with T steps of each environment about  (1 / (1 - bonus_gamma)) sqrt((1 / (2 (1 - bonus_gamma))) / T).  So the
scaled bonus grows with the root of T, from 0.02 to 0.4 in 25M frames of 64 environments at the defaults. With
``bonus_once`` R_t varies and the scale settles.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from intrinsic.base import IntrinsicBonus, Transitions


class Constant(IntrinsicBonus):
    """1 for every step; learns nothing."""

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        return torch.ones(len(batch.action), device=batch.action.device)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        return {}
