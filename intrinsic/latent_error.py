"""Prediction error in a fixed latent (Burda et al. 2018, "Large-scale study of curiosity-driven learning").

    z = (phi(x) - mean) / std,     bonus = 1/D sum over d of (f_d(z_t, a_t) - z_{t+1, d})^2

phi never learns: the agent's frozen features where there are any, else a random network, the paper's "random
features". Mean is by feature, std one number for all, the root of the mean variance, so that phi's unit does not matter
while a feature that hardly moves stays small; both take in each rollout before it is scored. ``score`` returns the
error in that unit: 1 is what predicting the mean would cost. The forward model f descends it.

What moves by chance (a noisy television) pays for ever, less the less of it phi lets through.

Differs from the paper: frames are not whitened but phi is; the random network is ``BonusInput.make_encoder``, whose
last layer is
rectified; the agent decides whether an episode's end is ignored. The features of inverse dynamics are ``icm``.
"""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic import base
from intrinsic.base import CHUNK, IntrinsicBonus, Transitions
from intrinsic.inputs import Look
from intrinsic.moments import RunningMeanStd


@dataclass(frozen=True)
class LatentConfig(base.Config):
    on: Look = "auto"
    """'auto' and 'features': the agent's frozen features; 'image', and 'auto' without such: a fixed random network."""
    latents: int = 512
    """D of the random network; features bring their own."""
    width: int = 512
    """Of the forward model; the paper's."""
    blocks: int = 4
    """Residual blocks of the forward model, two layers each; the paper's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latents < 1 or self.width < 1 or self.blocks < 0:
            raise ValueError(
                f"latents={self.latents}, width={self.width}, blocks={self.blocks}: give at least 1, 1 and 0"
            )


class Dense(nn.Module):
    """K dense layers side by side, with the action beside their inputs: (K, B, I) and (B, A) -> (K, B, O)."""

    def __init__(self, members: int, inputs: int, actions: int, outputs: int):
        super().__init__()
        bound = 1 / math.sqrt(inputs + actions)  # nn.Linear's
        self.weight = nn.Parameter(torch.empty(members, inputs + actions, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor, action: Tensor) -> Tensor:
        beside = action.expand(len(x), *action.shape)
        return torch.baddbmm(self.bias, torch.cat([x, beside], 2), self.weight)


class Dynamics(nn.Module):
    """K forward models side by side: z (B, D) and actions (B,) -> (K, B, D); the action enters every layer."""

    def __init__(self, members: int, latents: int, actions: int, width: int, blocks: int):
        super().__init__()
        self.members, self.actions = members, actions
        self.first = Dense(members, latents, actions, width)
        self.inner = nn.ModuleList(Dense(members, width, actions, width) for _ in range(2 * blocks))
        self.last = Dense(members, width, actions, latents)

    def forward(self, z: Tensor, action: Tensor) -> Tensor:
        taken = F.one_hot(action, self.actions).to(z.dtype)
        hidden = F.leaky_relu(self.first(z.expand(self.members, *z.shape), taken))
        for one, two in zip(self.inner[::2], self.inner[1::2], strict=True):
            hidden = hidden + two(F.leaky_relu(one(hidden, taken)), taken)
        return self.last(hidden, taken)


class InLatent(IntrinsicBonus, ABC):
    """Bonuses of forward models in a fixed, standardised latent; ``members`` of them."""

    Config: ClassVar[type[base.Config]] = LatentConfig
    config: LatentConfig

    def __init__(self, spec: EnvSpec, config: Any = None, members: int = 1):
        super().__init__(spec, config)
        self.phi: nn.Module = nn.Identity()
        (latents,) = self.inputs.shape if not self.inputs.pictured else (self.config.latents,)
        if self.inputs.pictured:
            self.phi = self.inputs.make_encoder(latents).requires_grad_(False)
        self.moments = RunningMeanStd((latents,))
        self.dynamics = Dynamics(members, latents, self.num_actions, self.config.width, self.config.blocks)
        self.optimizer = torch.optim.Adam(self.dynamics.parameters(), self.config.learning_rate)

    @torch.no_grad()
    def compute(self, steps: Steps) -> Tensor:
        for batch in self.transitions(steps, CHUNK):
            self.moments.update(self.phi(batch.next))
        return super().compute(steps)

    def latent(self, seen: Tensor) -> Tensor:
        """z (B, D) of what is looked at."""
        return self.moments.standardise(self.phi(seen))

    def predict(self, batch: Transitions) -> Tensor:
        """(K, B, D) of every member."""
        return self.dynamics(self.latent(batch.now), batch.action)

    def descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class LatentError(InLatent):
    def score(self, batch: Transitions) -> Tensor:
        return (self.predict(batch)[0] - self.latent(batch.next)).square().mean(1)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        loss = self.score(batch).mean()
        self.descend(loss)
        return {"loss": loss.detach()}
