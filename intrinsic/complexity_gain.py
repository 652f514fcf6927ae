"""Variational complexity gain (Graves et al. 2017, "Automated curriculum learning for neural networks").

    b = KL(theta' || psi) - KL(theta || psi),   to first order  -step * dKL/dtheta . dL(x, theta)/dtheta,   nats

theta = (mu, rho) are the posterior's means and spreads, psi the prior, theta' = theta - step * gradient of the loss L =
-log p(y | x) of the transition alone. What makes a regularised model grow pays; what makes it shrink costs, so that b
may be below 0. One derivative along dKL/dtheta (two backward passes) gives b of the whole batch.

Differs from the paper: a reward of single transitions, where it was a bandit's for choosing a task; the prior is fixed,
where psi moved with theta; the forward model is that of ``variational``, on fixed random features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from envs.spaces import EnvSpec
from intrinsic.base import Config, IntrinsicBonus, Transitions
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
    """Of the weights."""
    step: float = 1e-3
    """Of the transition's own gradient step, in (mu, rho)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.width, self.hidden, self.draws) < 1:
            raise ValueError("width, hidden and draws must be at least 1")
        if not min(self.noise, self.prior) > 0 or self.step < 0:
            raise ValueError("noise and prior must be above 0, step not below")


class ComplexityGain(IntrinsicBonus):
    Config = ComplexityGainConfig
    config: ComplexityGainConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        c = self.config
        self.model = VariationalForward(self.inputs, self.num_actions, c.width, c.hidden, c.prior, c.noise, c.draws)
        self.optimizer = torch.optim.Adam([self.model.mu, self.model.rho], c.learning_rate)

    @torch.enable_grad()
    def score(self, batch: Transitions) -> Tensor:
        model, theta = self.model, (self.model.mu, self.model.rho)
        growth = torch.autograd.grad(model.complexity(*theta), theta)
        losses = model.losses(*theta, model.noises(), *model.pair(batch))
        weight = torch.ones_like(losses, requires_grad=True)
        slopes = torch.autograd.grad(losses @ weight, theta, create_graph=True)
        # Linear in the weights, so that its derivative by each weight is that one's own slope along the growth
        along = torch.stack([(slope * way).sum() for slope, way in zip(slopes, growth, strict=True)]).sum()
        return -self.config.step * torch.autograd.grad(along, weight)[0]

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        return self.model.learn(batch, self.optimizer, generator)
