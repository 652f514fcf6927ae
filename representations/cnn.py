"""The end-to-end baseline: a convolutional trunk trained by the RL loss alone.

Nature-CNN (Mnih et al. 2015) or the IMPALA network of Procgen's PPO (Espeholt et al. 2018; Cobbe et al. 2020).
``encode`` returns the trunk's rectified dense layer (512 or 256), the last hidden layer of the policy.
Initialised as stable-baselines3 does: orthogonal, gain sqrt(2), biases 0.

Differs from the paper: Procgen's code initialises IMPALA by Glorot's rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Obs
from representations.base import Config, Representation, State
from representations.nets import make_trunk


@dataclass(frozen=True)
class CnnConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala', or 'symbols' for a world of codes. IMPALA is the published one on Procgen and costs eight
    times the multiply-adds."""


class Trunked(Representation):
    """A trunk whose rectified dense layer is the feature: ``Cnn``, and the methods that add a loss to it.

    The trunk is the first thing drawn, so all of them begin with the same weights from the same seed.
    """

    Config: ClassVar[type[Config]] = CnnConfig
    default_mode = "online"
    hidden = ()

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.trunk = make_trunk(self.config.trunk, spec.image_shape)
        self.features_dim = self.trunk.width

    def encode(self, obs: Obs, state: State = (), first: Tensor | None = None) -> tuple[Tensor, State]:
        return self.trunk(obs["image"]).to(self.trunk.dense.weight.dtype), state


class Cnn(Trunked):
    """Trained online only: without an objective of its own, a frozen one is ``random``."""

    modes = ("online",)
    needs_pretraining = False
    has_loss = False
