"""A forward model whose weights are independent Gaussians: theta_j ~ N(mu_j, sigma_j^2), sigma = log(1 + e^rho)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from envs.action_codes import ActionCodes
from intrinsic.base import Transitions, gradient_step
from intrinsic.inputs import BonusInput
from intrinsic.models.linear import RandomFeatures

START = 0.05
"""sigma at the start: small beside the prior's, so that the first draws already say something of the mean."""


def gaussian_kl(mu: Tensor, sigma: Tensor, prior_mu: Tensor | float, prior_sigma: Tensor | float) -> Float[Tensor, ""]:
    """KL(N(mu, sigma^2) || N(prior_mu, prior_sigma^2)) in nats, summed over weights."""
    ratio = (sigma / prior_sigma) ** 2
    return 0.5 * (ratio + ((mu - prior_mu) / prior_sigma) ** 2 - 1 - ratio.log()).sum()


class VariationalForward(nn.Module):
    """One hidden layer of tanh on the RandomFeatures of state and action; ``mu`` and ``rho`` hold all its weights.

    Args:
        prior: sd of the prior N(0, prior^2) of every weight.
        noise: sd of the likelihood N(y; f(x), noise^2) of every output.
        draws: draws of the weights, for the mean over the posterior.
    """

    def __init__(
        self, inputs: BonusInput, codes: ActionCodes, width: int, hidden: int, prior: float, noise: float, draws: int
    ):
        super().__init__()
        self.features = RandomFeatures(inputs, width)
        self.codes, self.prior, self.noise, self.draws = codes, prior, noise, draws
        inputs_dim, outputs_dim = self.features.width + codes.size, self.features.width
        self.shapes = ((inputs_dim, hidden), (1, hidden), (hidden, outputs_dim), (1, outputs_dim))
        means = [torch.randn(shape) / math.sqrt(shape[0]) * (shape[0] > 1) for shape in self.shapes]
        self.mu = nn.Parameter(torch.cat([mean.flatten() for mean in means]))
        self.rho = nn.Parameter(torch.full_like(self.mu, math.log(math.expm1(START))))
        self.register_buffer("learnt", torch.zeros((), dtype=torch.int64))
        self.learnt: Tensor

    def regression(self, batch: Transitions) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B D"]]:
        """Inputs and targets of the model."""
        return self.features.regression(batch, self.codes)

    def weight_noise(self, generator: torch.Generator | None = None) -> Float[Tensor, "draws W"]:
        """Standard normal draws; without a generator those of this state, the same until it learns."""
        if generator is None:
            generator = torch.Generator().manual_seed(int(self.learnt))
        return torch.randn(self.draws, len(self.mu), generator=generator, device=generator.device).to(self.mu.device)

    def losses(
        self,
        mu: Float[Tensor, " W"],
        rho: Float[Tensor, " W"],
        noise: Float[Tensor, "draws W"],
        x: Float[Tensor, "B E"],
        y: Float[Tensor, "B D"],
    ) -> Float[Tensor, " B"]:
        """Nats of each sample, mean over draws of -log p(y | x, theta), less its constant."""
        theta = mu + F.softplus(rho) * noise
        flat = torch.split(theta, [rows * columns for rows, columns in self.shapes], 1)
        weight_1, bias_1, weight_2, bias_2 = (
            values.view(-1, *shape) for values, shape in zip(flat, self.shapes, strict=True)
        )
        predicted = torch.tanh(x @ weight_1 + bias_1) @ weight_2 + bias_2
        return 0.5 * ((y - predicted) / self.noise).square().sum(2).mean(0)

    def complexity(self, mu: Float[Tensor, " W"], rho: Float[Tensor, " W"]) -> Float[Tensor, ""]:
        """KL(posterior || prior), nats."""
        return gaussian_kl(mu, F.softplus(rho), 0.0, self.prior)

    def learn(
        self, batch: Transitions, optimizer: torch.optim.Optimizer, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """One step on the bound: mean loss + KL(posterior || prior) / samples learnt so far."""
        x, y = self.regression(batch)
        self.learnt += len(x)
        loss = self.losses(self.mu, self.rho, self.weight_noise(generator), x, y).mean()
        complexity = self.complexity(self.mu, self.rho)
        gradient_step(optimizer, loss + complexity / self.learnt)
        return {"loss": loss.detach(), "complexity": complexity.detach()}
