"""Frozen random network: a trunk's features without any learning, the floor of every table.

Random convolutional features are a strong baseline for exploration (Burda et al. 2018, "Large-scale study of
curiosity-driven learning") and the control that any pre-trained encoder must beat.

``encode`` returns LayerNorm(dense(trunk(x))): the trunk's dense layer before its relu, so that no feature is dead,
normalised over the D features of each frame, so that the policy's input has mean square 1 whatever the image's
brightness, the trunk or the number of channels. LayerNorm needs no frames and learns nothing. A vector "state" without
an image is read by ``nets.trunks.Mlp``, as in ``cnn``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Obs
from representations.base import Config, State
from representations.cnn import SingleInput, input_trunk


@dataclass(frozen=True)
class RandomConfig(Config):
    trunk: str = "nature"
    """'nature' (512 features), 'impala' or 'impoola' (256), or 'symbols' (256) for images of codes."""


class Random(SingleInput):
    """Random features, frozen only: trained, they would be ``cnn``."""

    Config = RandomConfig
    modes = ("frozen",)
    default_mode = "frozen"
    needs_pretraining = False
    has_loss = False

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.trunk = input_trunk(self.config.trunk, spec)
        self.features_dim = self.trunk.width

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        dense = self.trunk.dense
        features = dense(self.trunk.flat(obs[self.keys[0]])).to(dense.weight.dtype)
        return F.layer_norm(features, (self.features_dim,)), state
