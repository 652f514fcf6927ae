"""Random network distillation (Burda et al. 2018, "Exploration by random network distillation").

A predictor learns the outputs of a fixed random network f of the next observation; on what it has met seldom, it errs:

    bonus = 1/D sum over d of (f_hat_d(x_{t+1}) - f_d(x_{t+1}))^2,     D = 512 outputs, in units of f squared
    x = clip((o - mean) / std, -5, 5),                                  o the newest frame, by element

``score`` returns that mean, and the predictor descends it. Chance in the environment does not keep it up by itself: the
target is a function of x_{t+1}, which the predictor gets. Mean and std take in each rollout before it is scored.

Differs from the paper: no random steps before the first rollout, which starts mean and std itself (there 128 * 50);
relu where its code has leaky relu. Value heads, discount and running scale of the bonus are the agent's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic import base
from intrinsic.base import CHUNK, IntrinsicBonus, Transitions, at_least, gradient_step
from intrinsic.inputs import BonusInput
from intrinsic.normalise import RunningMeanStd
from representations.nets.trunks import Trunk, orthogonal

CLIP = 5.0
"""Most standard deviations of a whitened number, of either sign; the paper's."""


@dataclass(frozen=True)
class RndConfig(base.Config):
    learning_rate: float = 1e-4
    """The paper's."""
    width: int = 512
    """D, and the size of the predictor's further layers."""
    share: float = 1.0
    """Fraction of each batch that the predictor learns from, drawn anew; the paper takes 0.25 at 128 environments and 1
    at 32, so that more environments do not wear the bonus off sooner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, width=self.width)
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: give a fraction above 0, at most 1")


def linear_trunk(inputs: BonusInput, width: int) -> nn.Sequential:
    """``inputs.make_encoder`` for float inputs (B, *float_shape), and without the last relu."""
    network = inputs.make_encoder(width)
    if isinstance(network, Trunk):
        return nn.Sequential(network.body, nn.Flatten(), network.dense)
    assert isinstance(network, nn.Sequential)
    dense = list(network)[1:-1]
    orthogonal(nn.Sequential(*dense))  # as in a trunk
    return nn.Sequential(nn.Flatten(), *dense)


class Rnd(IntrinsicBonus):
    """Error of imitating a fixed random network."""

    Config = RndConfig
    config: RndConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width = self.config.width
        self.target = linear_trunk(self.inputs, width)
        self.target.requires_grad_(False)
        head = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        orthogonal(head)
        self.predictor = nn.Sequential(*linear_trunk(self.inputs, width), *head)
        self.moments = RunningMeanStd(self.inputs.float_shape)
        self.optimizer = torch.optim.Adam(self.predictor.parameters(), self.config.learning_rate)

    @torch.no_grad()
    def compute(self, steps: Steps) -> Float[Tensor, "T N"]:
        for batch in self.transitions(steps, CHUNK):
            self.moments.update(self.inputs.to_float(batch.next_obs))
        return super().compute(steps)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        return self.error(batch.next_obs)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        count = len(batch.action)
        order = torch.randperm(count, generator=generator, device=generator.device)
        rows = order[: max(1, round(self.config.share * count))]
        loss = self.error(batch.next_obs[rows.to(batch.next_obs.device)]).mean()
        gradient_step(self.optimizer, loss)
        return {"loss": loss.detach()}

    def error(self, next_obs: Tensor) -> Float[Tensor, " B"]:
        """Mean squared error of the predictor on each."""
        x = self.moments.whiten(self.inputs.to_float(next_obs), CLIP)
        difference: Tensor = self.predictor(x) - self.target(x)
        return difference.square().mean(1)
