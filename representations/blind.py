"""Blind policy: what can be had without looking, the control under every table.

``encode`` returns the constant 1, whatever the image (or the vector "state", where there is no image). Two hidden
layers and the heads are trained on it by RL, so the policy learns the best fixed distribution of actions ("run right
and jump"). A return that a blind policy reaches, too, is no evidence of a representation.

Vectors that the environment gives beside the image, such as a goal, reach the policy as with every method.
"""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor, ones

from envs.steps import Obs
from representations.base import State
from representations.cnn import SingleInput


class Blind(SingleInput):
    """A constant feature, frozen only: there is nothing to fit."""

    modes = ("frozen",)
    default_mode = "frozen"
    needs_pretraining = False
    has_loss = False
    sees = False
    features_dim = 1  # 1 and not 0: a zero would shut the relus above it, whose biases start at 0

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        observation = obs[self.keys[0]]
        return ones(len(observation), 1, device=observation.device), state
