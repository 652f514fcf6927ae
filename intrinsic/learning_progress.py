"""Learning progress: prediction gain (Graves et al. 2017, "Automated curriculum learning for neural networks").

    b = L(x, theta) - L(x, theta'),   L = mean over K of (y - f(x))^2, theta' = theta after a step of learning from x

x is the state seen through fixed random features and the action, y the next state's features, each of variance 1, so
that b is in variances of the target. What is learnt already pays nothing; of what cannot be learnt the linear model's
gain falls to 0, the network's to the little that one step learns by heart of its own minibatch.

network: a hidden layer; the step is the very one that learning would make of x's minibatch: tried, and not kept.
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
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.base import Config, IntrinsicBonus, Transitions
from intrinsic.models.gradient_gain import batch_gain, rms_adam
from intrinsic.models.linear import LinearForward, RandomFeatures


def refit_gain(leverage: Tensor, error: Tensor) -> Tensor:
    """(B,) mean squared error before minus after the sample joined; leverage (B,), error (B, K) before."""
    return error.square().mean(1) * (1 - (1 + leverage) ** -2)


def squared_error(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """(B,)."""
    return (y - model(x)).square().mean(1)


@dataclass(frozen=True)
class LearningProgressConfig(Config):
    model: Literal["network", "linear"] = "network"
    """'network' (a gradient step's gain) or 'linear' (exact)."""
    width: int = 64
    """K, features of a frame; a frozen representation brings its own number."""
    hidden: int = 256
    """Units of the network, or random features of the linear model."""
    noise: float = 0.3
    """linear: sd of the targets' noise; with the prior of 1 it says how fast a refit follows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in ("network", "linear"):
            raise ValueError(f"model='{self.model}': give 'network' or 'linear'")
        if min(self.width, self.hidden) < 1 or not self.noise > 0:
            raise ValueError("width, hidden and noise must be above 0")


class LearningProgress(IntrinsicBonus):
    Config = LearningProgressConfig
    config: LearningProgressConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        c = self.config
        self.linear = c.model == "linear"
        if self.linear:
            self.model = LinearForward(self.inputs, self.num_actions, c.width, c.hidden, c.noise**2)
            return
        self.eyes = RandomFeatures(self.inputs, c.width)
        seen, said = self.eyes.width + self.num_actions, self.eyes.width
        self.net = nn.Sequential(nn.Linear(seen, c.hidden), nn.ReLU(), nn.Linear(c.hidden, said))
        self.optimizer = rms_adam(self.net, c.learning_rate)

    @torch.no_grad()
    def compute(self, steps: Steps) -> Tensor:
        """As the base's, but in minibatches of learning, equal in size: each is rated by its own step."""
        bonus = torch.zeros(steps.action.numel(), device=steps.action.device)
        known = max(1, int(steps.next_valid.sum()))
        parts = -(-known // self.config.batch)
        for batch in self.transitions(steps, -(-known // parts)):
            bonus[batch.place] = self.score(batch)
        return bonus.view(steps.shape)

    def score(self, batch: Transitions) -> Tensor:
        if self.linear:
            return refit_gain(*self.model.leverage_and_error(*self.model.pair(batch))).float()
        return batch_gain(self.net, self.optimizer, squared_error, *self.eyes.pair(batch, self.num_actions))

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        if self.linear:
            phi, y = self.model.pair(batch)
            _, error = self.model.leverage_and_error(phi, y)
            self.model.add(phi, y)
            return {"loss": error.square().mean()}
        loss = squared_error(self.net, *self.eyes.pair(batch, self.num_actions)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach()}
