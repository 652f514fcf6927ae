"""Variational complexity gain (Graves et al. 2017, "Automated curriculum learning for neural networks").

    b = KL(theta' || psi) - KL(theta || psi),   to first order  -step * dKL/dtheta . dL(x, theta)/dtheta,   nats

theta = (mu, rho) are the posterior's means and spreads, psi the prior, theta' = theta - step * gradient of the loss L =
-log p(y | x) of the transition alone. What makes a regularised model grow is rewarded; what makes it shrink costs, so
that b may be below 0. One derivative along dKL/dtheta (two backward passes) gives b of the whole batch.

Differs from the paper: a reward of single transitions, where it was a bandit's for choosing a task; the prior is fixed,
where psi moved with theta; the forward model is that of ``variational``, on fixed random features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spaces import EnvSpec
from intrinsic.base import Config, IntrinsicBonus, Transitions, above, at_least
from intrinsic.models.variational import VariationalForward


@dataclass(frozen=True)
class ComplexityGainConfig(Config):
    width: int = 32
    """Features of a frame; a frozen representation brings its own number."""
    hidden: int = 32
    """Units of the hidden layer."""
    noise: float = 0.3
    """sd of the likelihood, where targets have sd 1."""
    prior: float = 0.5
    """sd of the weights' prior."""
    draws: int = 4
    """Draws of the weights."""
    step: float = 1e-3
    """Size of the transition's own gradient step, in (mu, rho)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, width=self.width, hidden=self.hidden, draws=self.draws)
        above(0, noise=self.noise, prior=self.prior)
        at_least(0, step=self.step)


class ComplexityGain(IntrinsicBonus):
    """Growth of a variational model's complexity by one transition, nats."""

    Config = ComplexityGainConfig
    config: ComplexityGainConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        c = self.config
        self.model = VariationalForward(self.inputs, self.codes, c.width, c.hidden, c.prior, c.noise, c.draws)
        self.optimizer = torch.optim.Adam([self.model.mu, self.model.rho], c.learning_rate)

    @torch.enable_grad()
    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        model, theta = self.model, (self.model.mu, self.model.rho)
        growth = torch.autograd.grad(model.complexity(*theta), theta)
        losses = model.losses(*theta, model.weight_noise(), *model.regression(batch))
        weight = torch.ones_like(losses, requires_grad=True)
        slopes = torch.autograd.grad(losses @ weight, theta, create_graph=True)
        # Linear in the weights, so that its derivative by each weight is that one's own slope along the growth
        along = torch.stack([(slope * direction).sum() for slope, direction in zip(slopes, growth, strict=True)]).sum()
        return -self.config.step * torch.autograd.grad(along, weight)[0]

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        return self.model.learn(batch, self.optimizer, generator)
