"""DrAC (Raileanu et al. 2021, "Automatic data augmentation for generalization in reinforcement learning").

The policy and the value of an augmented frame f(s) shall be those of the frame itself:

    loss = G_pi + G_V,   G_pi = KL(pi(.|s) || pi(.|f(s))) in nats,   G_V = 1/2 (V(s) - V(f(s)))^2,   batch means

s is the target: no gradient flows through pi(.|s) and V(s). The gradient reaches the trunk and the policy's heads.
Weight 0.1 beside the RL loss (``aux_coef``), as published. ``encode`` returns the rectified dense layer of the
unchanged image, as ``cnn`` does; with weight 0 the two are one.

Differs from the paper: the augmentation is given, not chosen by a bandit (published test scores on Procgen, PPO = 100:
crop alone 132.7, UCB-DrAC 139.7).
The 1/2 is from the authors' code, which the published scores come from, the paper's formula has none; that code takes
-log pi(a|f(s)) of one drawn action a ~ pi(.|s) for G_pi, whose gradient is that of the KL on average. A new draw of f
for every pass over a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from envs.action_codes import ActionCodes
from envs.spaces import EnvSpec
from envs.steps import Steps, flatten
from representations.augment import augment, check_names
from representations.base import Config, Heads, Loss
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.actions import policy_kl


def value_distance(value: Float[Tensor, " B"], changed: Float[Tensor, " B"]) -> Float[Tensor, ""]:
    """Half the squared difference, mean over the batch."""
    return 0.5 * (value.float() - changed.float()).square().mean()


@dataclass(frozen=True)
class DracConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'; the published one is IMPALA's."""
    augmentations: tuple[str, ...] = ("crop",)
    """Names in ``representations.augment``, in this order."""
    pad: int = 12
    """Pixels of 'crop', the paper's at 64x64."""

    def __post_init__(self) -> None:
        self.at_least(pad=0)
        check_names(self.augmentations)
        if not self.augmentations:
            raise ValueError("augmentations=(): give at least one, without any this is cnn")


class Drac(Trunked):
    """See the module docstring. Online only: the loss reads the policy."""

    Config = DracConfig
    modes = ("online",)
    needs_pretraining = False

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.codes = ActionCodes(spec.action_space)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        obs = flatten(steps.obs)
        with torch.no_grad():
            outputs, value = heads(self.encode(obs)[0], obs)
        changed = augment(obs["image"], self.config.augmentations, self.config.pad, self.spec.channels, generator)
        features = self.encode({**obs, "image": changed})[0]
        changed_outputs, changed_value = heads(features, obs)
        policy, gap = policy_kl(self.codes, outputs, changed_outputs), value_distance(value, changed_value)
        loss = policy + gap
        return loss, {
            "loss": loss.detach(),
            "policy_distance": policy.detach(),
            "value_distance": gap.detach(),
            "feature_std": feature_std(features),
        }
