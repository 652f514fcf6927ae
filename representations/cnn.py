"""End-to-end baseline: a trunk trained by the RL loss alone.

Nature-CNN (Mnih et al. 2015) or the IMPALA network of Procgen's PPO (Espeholt et al. 2018; Cobbe et al. 2020).
``encode`` returns the trunk's rectified dense layer (512 or 256), the last hidden layer of the policy. Where the
observation has a vector "state" and no image, the trunk is two tanh layers of 64 (``nets.trunks.Mlp``).
Initialised as stable-baselines3 does: orthogonal, gain sqrt(2), biases 0.

Differs from the paper: Procgen's code initialises IMPALA by Glorot's rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from envs.spaces import IMAGE, STATE, EnvSpec
from envs.steps import Obs
from representations.base import Config, Mode, Representation, State
from representations.nets.trunks import Trunk, make_trunk


@dataclass(frozen=True)
class CnnConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala', 'impoola', or 'symbols' for images of codes. IMPALA is the published one on Procgen and costs
    eight times the multiply-adds; Impoola is IMPALA with its map averaged over space. A vector "state" without an image
    takes 'mlp', whatever this says."""

    standardise: bool = False
    """Centre and scale the features by their mean and deviation over the first 4,096 frames of a random policy, once
    and for all: the start that frozen methods have. The better of both starts, by validation return, is the
    baseline."""


def input_key(spec: EnvSpec) -> str:
    """Observation key of a network that reads a vector where there is no image: "image" or "state"."""
    return STATE if STATE in spec.space.spaces and IMAGE not in spec.space.spaces else IMAGE


def input_trunk(name: str, spec: EnvSpec) -> Trunk:
    """Trunk for the ``input_key`` of ``spec``: the named one for images, ``Mlp`` for a vector."""
    if input_key(spec) == STATE:
        return make_trunk("mlp", spec.space[STATE].shape or ())
    return make_trunk(name, spec.image_shape)


class Trunked(Representation):
    """Representation whose features are a trunk's last layer: ``Cnn``, and the methods that add a loss to it.

    The trunk is the first thing drawn, so all of them begin with the same weights from the same seed.
    """

    Config: ClassVar[type[Config]] = CnnConfig
    default_mode: ClassVar[Mode] = "online"
    hidden: tuple[int, ...] = ()

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.trunk = input_trunk(self.config.trunk, spec)
        self.features_dim = self.trunk.width

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        return self.trunk(obs[self.keys[0]]).to(self.trunk.dense.weight.dtype), state


class SingleInput(Representation):
    """Base of what reads one key: the image, or the vector "state" where there is no image."""

    @property
    def keys(self) -> tuple[str, ...]:
        return (input_key(self.spec),)


class Cnn(SingleInput, Trunked):
    """End-to-end baseline, online only: without an objective of its own, a frozen one is ``random``."""

    modes = ("online",)
    needs_pretraining = False
    has_loss = False

    @classmethod
    def scaled_online(cls, config: Any) -> bool:
        return bool(config.standardise)
