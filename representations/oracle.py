"""Oracle: the environment's own factors as features, the ceiling of any representation.

``encode`` returns the observation "factors" (D,), which ``World.with_factors`` adds where an environment can tell them:
places, speeds, counts, kinds. Standardised like all frozen features, with the policy's hidden layers on top. Where even
this policy fails, the task is too hard or its budget too small to compare representations.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from envs.spaces import FACTORS, EnvSpec
from envs.steps import Obs
from representations.base import Representation, State


class Oracle(Representation):
    """The true factors, frozen only: there is nothing to fit."""

    modes = ("frozen",)
    default_mode = "frozen"
    needs_pretraining = False
    has_loss = False
    keys: tuple[str, ...] = (FACTORS,)

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        (self.features_dim,) = spec.space[FACTORS].shape or (1,)

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        return obs[FACTORS].float(), state
