"""Bayesian surprise (VIME; Houthooft et al. 2016, "VIME: variational information maximizing exploration").

    b = KL(p(theta | D, x) || p(theta | D)),   how far one transition x moves a forward model's beliefs, nats

linear: regression of the next state's features on fixed random features phi of state and action, noise variance s
known: exact. With the leverage h = phi^T Sigma phi / s and the error e before,

    b = K/2 (log(1 + h) - h / (1 + h)) + h |e|^2 / (2 s (1 + h)^2)

so that it falls as 1/n for an input met n times, also where the target is pure noise.

variational: a network with independent Gaussian weights; after a natural gradient step on x alone, to second order,

    b = 0.5 step^2 g^T H^-1 g,   g = gradient of -log p(y | x) in (mu, rho),   H_mu = 1/sigma^2,
    H_rho = 2 (d sigma / d rho)^2 / sigma^2

Differs from the paper: the linear model; states are fixed random features of frames, each of mean 0 and variance 1 (a
frozen representation's are taken likewise), not joint angles; one pass over each rollout in place of a pool; no
division by the median KL, for the agent divides by a running scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.func import grad

from envs.spaces import EnvSpec
from intrinsic.base import Config, IntrinsicBonus, Transitions, above, at_least
from intrinsic.models.gradient_gain import map_samples
from intrinsic.models.linear import LinearForward
from intrinsic.models.variational import VariationalForward

HIGHEST = 1000.0
"""nats; VIME clips there."""


def linear_surprise(leverage: Float[Tensor, " B"], error: Float[Tensor, "B K"], noise: float) -> Float[Tensor, " B"]:
    """KL(posterior with the sample || posterior without) in nats, over all K outputs."""
    grown = 1 + leverage
    spread = error.shape[1] * (leverage.log1p() - leverage / grown)
    return 0.5 * (spread + leverage * error.square().sum(1) / (noise * grown**2))


def step_surprise(gradient: tuple[Tensor, Tensor], rho: Tensor, step: float) -> Float[Tensor, ""]:
    """0.5 step^2 g^T H^-1 g in nats, H the curvature of the KL at no step; the gradient by mu and by rho."""
    by_mu, by_rho = gradient
    variance = F.softplus(rho) ** 2
    return 0.5 * step**2 * (variance * (by_mu**2 + by_rho**2 / (2 * rho.sigmoid() ** 2))).sum()


@dataclass(frozen=True)
class BayesianSurpriseConfig(Config):
    model: Literal["linear", "variational"] = "linear"
    """'linear' (exact) or 'variational' (VIME's)."""
    width: int = 32
    """Features of a frame; a frozen representation brings its own number."""
    inputs: int = 256
    """linear: D, random features of state and action."""
    hidden: int = 32
    """variational: units of the hidden layer."""
    noise: float = 0.3
    """sd of the likelihood, where targets have sd 1."""
    prior: float = 0.5
    """variational: sd of the weights' prior."""
    draws: int = 4
    """variational: draws of the weights; VIME takes 10."""
    step: float = 0.01
    """variational: size of the natural gradient step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in ("linear", "variational"):
            raise ValueError(f"model='{self.model}': give 'linear' or 'variational'")
        at_least(1, width=self.width, inputs=self.inputs, hidden=self.hidden, draws=self.draws)
        above(0, noise=self.noise, prior=self.prior, step=self.step)


class BayesianSurprise(IntrinsicBonus):
    """Information gained about a forward model, nats."""

    Config = BayesianSurpriseConfig
    config: BayesianSurpriseConfig
    model: LinearForward | VariationalForward

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        c = self.config
        if c.model == "linear":
            self.model = LinearForward(self.inputs, self.codes, c.width, c.inputs, c.noise**2)
        else:
            self.model = VariationalForward(self.inputs, self.codes, c.width, c.hidden, c.prior, c.noise, c.draws)
            self.optimizer = torch.optim.Adam([self.model.mu, self.model.rho], c.learning_rate)

    @torch.no_grad()
    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        if isinstance(self.model, LinearForward):
            return linear_surprise(
                *self.model.leverage_and_error(*self.model.regression(batch)), self.model.noise
            ).float()
        model = self.model
        noise, rho = model.weight_noise(), model.rho.detach()

        def surprise(x: Tensor, y: Tensor) -> Tensor:
            def loss(mu: Tensor, rho: Tensor) -> Tensor:
                return model.losses(mu, rho, noise, x.unsqueeze(0), y.unsqueeze(0)).squeeze(0)

            return step_surprise(grad(loss, (0, 1))(model.mu.detach(), rho), rho, self.config.step)

        return map_samples(surprise, *model.regression(batch)).clamp(max=HIGHEST)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        if isinstance(self.model, VariationalForward):
            return self.model.learn(batch, self.optimizer, generator)
        phi, y = self.model.regression(batch)
        _, error = self.model.leverage_and_error(phi, y)
        self.model.add(phi, y)
        return {"error": error.square().mean()}
