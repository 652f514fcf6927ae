"""Random network distillation (Burda et al. 2018, "Exploration by random network distillation").

A predictor learns the outputs of a fixed random network f of the next observation; where it has seen little, it errs:

    bonus = 1/D sum over d of (f_hat_d(x_{t+1}) - f_d(x_{t+1}))^2,     D = 512 outputs, in units of f squared
    x = clip((o - mean) / std, -5, 5),                                  o the newest frame, by element

``score`` returns that mean, and the predictor descends it. Chance in the world does not keep it up by itself: what is
predicted is a function of x_{t+1}, which the predictor sees. Mean and std take in each rollout before it is scored.

Differs from the paper: no random steps before the first rollout, which starts mean and std itself (there 128 * 50);
relu where its code has leaky relu. Value heads, discount and running scale of the bonus are the agent's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic import base
from intrinsic.base import CHUNK, IntrinsicBonus, Transitions
from intrinsic.inputs import BonusInput
from intrinsic.moments import RunningMeanStd
from representations.nets import Trunk, orthogonal

CLIP = 5.0
"""Most standard deviations of a whitened number, of either sign; the paper's."""


@dataclass(frozen=True)
class RndConfig(base.Config):
    learning_rate: float = 1e-4
    """The paper's."""
    width: int = 512
    """D, and the size of the predictor's further layers."""
    share: float = 1.0
    """Part of each batch that the predictor learns from, drawn anew; the paper takes 0.25 at 128 environments and 1 at
    32, so that more environments do not wear the bonus off sooner."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"width={self.width}: give at least 1")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: give a part above 0, at most 1")


def linear_trunk(inputs: BonusInput, width: int) -> nn.Sequential:
    """``inputs.network`` for numbers ((B, *floats_shape) float), and without the last relu."""
    network = inputs.make_encoder(width)
    if isinstance(network, Trunk):
        return nn.Sequential(network.body, nn.Flatten(), network.dense)
    assert isinstance(network, nn.Sequential)
    dense = list(network)[1:-1]
    orthogonal(nn.Sequential(*dense))  # as in a trunk
    return nn.Sequential(nn.Flatten(), *dense)


class Rnd(IntrinsicBonus):
    Config = RndConfig
    config: RndConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width = self.config.width
        self.target = linear_trunk(self.inputs, width)
        self.target.requires_grad_(False)
        more = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        orthogonal(more)
        self.predictor = nn.Sequential(*linear_trunk(self.inputs, width), *more)
        self.moments = RunningMeanStd(self.inputs.float_shape)
        self.optimizer = torch.optim.Adam(self.predictor.parameters(), self.config.learning_rate)

    @torch.no_grad()
    def compute(self, steps: Steps) -> Tensor:
        for batch in self.transitions(steps, CHUNK):
            self.moments.update(self.inputs.to_float(batch.next))
        return super().compute(steps)

    def score(self, batch: Transitions) -> Tensor:
        return self.error(batch.next)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        count = len(batch.action)
        drawn = torch.randperm(count, generator=generator, device=generator.device)
        kept = drawn[: max(1, round(self.config.share * count))]
        loss = self.error(batch.next[kept.to(batch.next.device)]).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}

    def error(self, seen: Tensor) -> Tensor:
        """(B, ...) what followed -> (B,)."""
        x = self.moments.whiten(self.inputs.to_float(seen), CLIP)
        return (self.predictor(x) - self.target(x)).square().mean(1)
