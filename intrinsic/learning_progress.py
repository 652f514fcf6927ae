"""Learning progress: prediction gain (Graves et al. 2017, "Automated curriculum learning for neural networks").

    b = L(x, theta) - L(x, theta'),   L = mean over K of (y - f(x))^2, theta' = theta after a step of learning from x

x holds fixed random features of the state and the action, y the next state's features, each of variance 1, so that b is
in variances of the target. What is learnt already earns nothing; of what cannot be learnt the linear model's gain falls
to 0, the network's to the little that one step memorises of its own minibatch.

network: a hidden layer; the step is the very one that learning would make on x's minibatch: tried, and not kept.
linear: recursive least squares on random features; the step is the exact refit with x, which leaves e / (1 + h) of the
error e, where h is x's leverage: b = e^2 (1 - (1 + h)^-2).

Differs from the paper: a reward of single transitions, where it was a bandit's for choosing a task; b may be below 0
with the network, where others of the minibatch pull away from x; Adam without momentum, so that b is exactly 0 at a
minimum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.base import Config, IntrinsicBonus, Transitions, above, at_least, gradient_step
from intrinsic.models.gradient_gain import batch_gain, rms_adam
from intrinsic.models.linear import LinearForward, RandomFeatures


def refit_gain(leverage: Float[Tensor, " B"], error: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Mean squared error before minus after the sample joined; the leverage and error before."""
    return error.square().mean(1) * (1 - (1 + leverage) ** -2)


def squared_error(model: Any, x: Float[Tensor, "B D"], y: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """Mean squared error of each sample."""
    error: Tensor = y - model(x)
    return error.square().mean(1)


@dataclass(frozen=True)
class LearningProgressConfig(Config):
    model: Literal["network", "linear"] = "network"
    """'network' (a gradient step's gain) or 'linear' (exact)."""
    width: int = 64
    """K, features of a frame; a frozen representation brings its own number."""
    hidden: int = 256
    """Units of the network, or random features of the linear model."""
    noise: float = 0.3
    """linear: sd of the targets' noise; with the prior of 1 it sets how fast a refit adapts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in ("network", "linear"):
            raise ValueError(f"model='{self.model}': give 'network' or 'linear'")
        at_least(1, width=self.width, hidden=self.hidden)
        above(0, noise=self.noise)


class LearningProgress(IntrinsicBonus):
    """Loss that one step of learning takes off each transition."""

    Config = LearningProgressConfig
    config: LearningProgressConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        c = self.config
        self.linear = c.model == "linear"
        if self.linear:
            self.model = LinearForward(self.inputs, self.codes, c.width, c.hidden, c.noise**2)
            return
        self.features = RandomFeatures(self.inputs, c.width)
        width = self.features.width
        self.net = nn.Sequential(nn.Linear(width + self.codes.size, c.hidden), nn.ReLU(), nn.Linear(c.hidden, width))
        self.optimizer = rms_adam(self.net, c.learning_rate)

    @torch.no_grad()
    def compute(self, steps: Steps) -> Float[Tensor, "T N"]:
        """Raw bonus, in minibatches of equal size as learning takes them: each is scored by its own step."""
        bonus = torch.zeros(steps.done.numel(), device=steps.action.device)
        known = max(1, int(steps.next_valid.sum()))
        minibatches = -(-known // self.config.batch)
        for batch in self.transitions(steps, -(-known // minibatches)):
            bonus[batch.index] = self.score(batch)
        return bonus.view(steps.shape)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        if self.linear:
            return refit_gain(*self.model.leverage_and_error(*self.model.regression(batch))).float()
        return batch_gain(self.net, self.optimizer, squared_error, *self.features.regression(batch, self.codes))

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        if self.linear:
            phi, y = self.model.regression(batch)
            _, error = self.model.leverage_and_error(phi, y)
            self.model.add(phi, y)
            return {"loss": error.square().mean()}
        loss = squared_error(self.net, *self.features.regression(batch, self.codes)).mean()
        gradient_step(self.optimizer, loss)
        return {"loss": loss.detach()}
