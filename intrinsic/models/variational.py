"""A forward model whose weights are independent Gaussians: theta_j ~ N(mu_j, sigma_j^2), sigma = log(1 + e^rho)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intrinsic.base import Transitions
from intrinsic.inputs import BonusInput
from intrinsic.models.linear import RandomFeatures

START = 0.05
"""sigma at the start: small beside the prior's, so that the first draws already say something of the mean."""


def gaussian_kl(mu: Tensor, sigma: Tensor, prior_mu: Tensor | float, prior_sigma: Tensor | float) -> Tensor:
    """KL(N(mu, sigma^2) || N(prior_mu, prior_sigma^2)) in nats, summed over weights."""
    ratio = (sigma / prior_sigma) ** 2
    return 0.5 * (ratio + ((mu - prior_mu) / prior_sigma) ** 2 - 1 - ratio.log()).sum()


class VariationalForward(nn.Module):
    """One hidden layer of tanh, on what RandomFeatures show of state and action; ``mu`` and ``rho`` are all its
    weights.

    Args:
        prior: sd of the prior N(0, prior^2) of every weight.
        noise: sd of the likelihood N(y; f(x), noise^2) of every output.
        draws: of the weights, for the mean over the posterior.
    """

    def __init__(
        self, inputs: BonusInput, actions: int, width: int, hidden: int, prior: float, noise: float, draws: int
    ):
        super().__init__()
        self.eyes = RandomFeatures(inputs, width)
        self.actions, self.prior, self.noise, self.draws = actions, prior, noise, draws
        seen, said = self.eyes.width + actions, self.eyes.width
        self.shapes = ((seen, hidden), (1, hidden), (hidden, said), (1, said))
        parts = [torch.randn(shape) / math.sqrt(shape[0]) * (shape[0] > 1) for shape in self.shapes]
        self.mu = nn.Parameter(torch.cat([part.flatten() for part in parts]))
        self.rho = nn.Parameter(torch.full_like(self.mu, math.log(math.expm1(START))))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))
        self.learnt: Tensor

    def pair(self, batch: Transitions) -> tuple[Tensor, Tensor]:
        return self.eyes.pair(batch, self.actions)

    def noises(self, generator: torch.Generator | None = None) -> Tensor:
        """(draws, weights) standard normal; without a generator those of this state, the same until it learns."""
        if generator is None:
            generator = torch.Generator().manual_seed(int(self.learnt))
        return torch.randn(self.draws, len(self.mu), generator=generator, device=generator.device).to(self.mu.device)

    def losses(self, mu: Tensor, rho: Tensor, noises: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """(B,) nats, mean over draws of -log p(y | x, theta), less its constant."""
        theta = mu + F.softplus(rho) * noises
        flat = theta.split([rows * columns for rows, columns in self.shapes], 1)
        first, bias, second, shift = (part.view(-1, *shape) for part, shape in zip(flat, self.shapes, strict=True))
        said = torch.tanh(x @ first + bias) @ second + shift
        return 0.5 * ((y - said) / self.noise).square().sum(2).mean(0)

    def complexity(self, mu: Tensor, rho: Tensor) -> Tensor:
        """KL(posterior || prior), nats."""
        return gaussian_kl(mu, F.softplus(rho), 0.0, self.prior)

    def learn(
        self, batch: Transitions, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """One step on the bound: mean loss + KL(posterior || prior) / samples seen so far."""
        x, y = self.pair(batch)
        self.learnt += len(x)
        loss = self.losses(self.mu, self.rho, self.noises(generator), x, y).mean()
        complexity = self.complexity(self.mu, self.rho)
        optimizer.zero_grad()
        (loss + complexity / self.learnt).backward()
        optimizer.step()
        return {"loss": loss.detach(), "complexity": complexity.detach()}
