"""Prediction error in a fixed latent (Burda et al. 2018, "Large-scale study of curiosity-driven learning").

    z = (phi(x) - mean) / std,     bonus = 1/D sum over d of (f_d(z_t, a_t) - z_{t+1, d})^2

phi never learns: the agent's frozen features where there are any, else a random network, the paper's "random
features". Mean is by feature, std one number for all, the root of the mean variance, so that phi's unit does not matter
while a feature that hardly moves stays small; both take in each rollout before it is scored. ``score`` returns the
error in that unit: 1 is what predicting the mean would cost. The forward model f descends it.

What moves by chance (a noisy television) is rewarded for ever, less the less of it phi lets through.

Differs from the paper: frames are not whitened but phi is; the random network is ``BonusInput.make_encoder``, whose
last layer is rectified; the agent decides whether an episode's end is ignored. The features of inverse dynamics are
``icm``.
"""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from envs.action_codes import ActionCodes
from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic import base
from intrinsic.base import CHUNK, IntrinsicBonus, Transitions, at_least, gradient_step
from intrinsic.inputs import InputKind
from intrinsic.normalise import RunningMeanStd


@dataclass(frozen=True)
class LatentConfig(base.Config):
    on: InputKind = "auto"
    """'auto' and 'features': the agent's frozen features; 'image', and 'auto' without such: a fixed random network."""
    latents: int = 512
    """D of the random network; features bring their own."""
    width: int = 512
    """Units of the forward model's layers; the paper's."""
    blocks: int = 4
    """Residual blocks of the forward model, two layers each; the paper's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, latents=self.latents, width=self.width)
        at_least(0, blocks=self.blocks)


class EnsembleLinear(nn.Module):
    """K dense layers in one product, the action joined to their inputs."""

    def __init__(self, members: int, inputs: int, action_size: int, outputs: int):
        super().__init__()
        bound = 1 / math.sqrt(inputs + action_size)  # nn.Linear's
        self.weight = nn.Parameter(torch.empty(members, inputs + action_size, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "K B I"], action: Float[Tensor, "B A"]) -> Float[Tensor, "K B O"]:
        repeated = action.expand(len(x), *action.shape)
        return torch.baddbmm(self.bias, torch.cat([x, repeated], 2), self.weight)


class Dynamics(nn.Module):
    """K forward models in one; the action enters every layer."""

    def __init__(self, members: int, latents: int, codes: ActionCodes, width: int, blocks: int):
        super().__init__()
        self.members, self.codes = members, codes
        self.first = EnsembleLinear(members, latents, codes.size, width)
        self.inner = nn.ModuleList(EnsembleLinear(members, width, codes.size, width) for _ in range(2 * blocks))
        self.last = EnsembleLinear(members, width, codes.size, latents)

    def forward(self, z: Float[Tensor, "B D"], action: Shaped[Tensor, "B ..."]) -> Float[Tensor, "K B D"]:
        code = self.codes.encode(action).to(z.dtype)
        hidden = F.leaky_relu(self.first(z.expand(self.members, *z.shape), code))
        for layer_1, layer_2 in zip(self.inner[::2], self.inner[1::2], strict=True):
            hidden = hidden + layer_2(F.leaky_relu(layer_1(hidden, code)), code)
        predicted: Tensor = self.last(hidden, code)
        return predicted


class LatentBonus(IntrinsicBonus, ABC):
    """A bonus of ``members`` forward models in a fixed, standardised latent."""

    Config: ClassVar[type[base.Config]] = LatentConfig
    config: LatentConfig

    def __init__(self, spec: EnvSpec, config: Any = None, members: int = 1):
        super().__init__(spec, config)
        self.phi: nn.Module = nn.Identity()
        latents = self.config.latents if self.inputs.is_image else self.inputs.shape[0]
        if self.inputs.is_image:
            self.phi = self.inputs.make_encoder(latents).requires_grad_(False)
        self.moments = RunningMeanStd((latents,))
        self.dynamics = Dynamics(members, latents, self.codes, self.config.width, self.config.blocks)
        self.optimizer = torch.optim.Adam(self.dynamics.parameters(), self.config.learning_rate)

    @torch.no_grad()
    def compute(self, steps: Steps) -> Float[Tensor, "T N"]:
        for batch in self.transitions(steps, CHUNK):
            self.moments.update(self.phi(batch.next_obs))
        return super().compute(steps)

    def latent(self, inputs: Tensor) -> Float[Tensor, "B D"]:
        """Latent z of selected inputs."""
        return self.moments.standardise(self.phi(inputs))

    def predict(self, batch: Transitions) -> Float[Tensor, "K B D"]:
        """Predictions of z_{t+1} by every member."""
        predicted: Tensor = self.dynamics(self.latent(batch.obs), batch.action)
        return predicted


class LatentError(LatentBonus):
    """Squared error of one forward model in the latent."""

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        return (self.predict(batch)[0] - self.latent(batch.next_obs)).square().mean(1)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        loss = self.score(batch).mean()
        gradient_step(self.optimizer, loss)
        return {"loss": loss.detach()}
