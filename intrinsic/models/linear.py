"""Fixed random features for the forward models of this package; and the linear forward model, exact.

Fixed random features are what Burda et al. 2018 predict: nothing can make a target easier by leaving out what is hard.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from envs.action_codes import ActionCodes
from intrinsic.base import Transitions
from intrinsic.inputs import BonusInput


class RandomFeatures(nn.Module):
    """Features (B, width) float32 of a bonus's inputs: a random trunk's output, or frozen features as they are.

    Each row is brought to mean 0 and variance 1, so that a noise variance means the same in every environment.
    """

    def __init__(self, inputs: BonusInput, width: int):
        super().__init__()
        self.inputs = inputs
        self.width = width if inputs.is_image else inputs.shape[0]
        self.net = inputs.make_encoder(width).requires_grad_(False) if inputs.is_image else nn.Identity()

    def forward(self, inputs: Tensor) -> Float[Tensor, "B D"]:
        return F.layer_norm(self.net(inputs), (self.width,))

    def regression(self, batch: Transitions, codes: ActionCodes) -> tuple[Float[Tensor, "B E"], Float[Tensor, "B D"]]:
        """Inputs (B, width + code) and targets (B, width) of a forward model; a choice has the features' norm."""
        features: Tensor = self(batch.obs)
        action = codes.encode(batch.action).to(features.dtype) * math.sqrt(self.width)
        return torch.cat([features, action], 1), self(batch.next_obs)


class LinearForward(nn.Module):
    """Bayesian linear regression on ``num_features`` random rectified features phi.

    y ~ N(W^T phi, noise I) with the prior W ~ N(0, 1). The posterior's precision (D, D) is one for all outputs; its
    mean solves precision @ mean = moment (D, K).
    """

    def __init__(self, inputs: BonusInput, codes: ActionCodes, width: int, num_features: int, noise: float):
        super().__init__()
        self.features = RandomFeatures(inputs, width)
        self.codes, self.noise = codes, noise
        size = self.features.width + codes.size
        self.register_buffer("mix", torch.randn(size, num_features) / math.sqrt(size))
        self.register_buffer("shift", torch.randn(num_features))
        self.register_buffer("precision", torch.eye(num_features, dtype=torch.float64))
        self.register_buffer("moment", torch.zeros(num_features, self.features.width, dtype=torch.float64))
        self.mix: Tensor
        self.shift: Tensor
        self.precision: Tensor
        self.moment: Tensor

    def regression(self, batch: Transitions) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B K"]]:
        """Inputs phi, of length about 1, and targets y, both float64."""
        x, y = self.features.regression(batch, self.codes)
        phi = F.relu(x @ self.mix + self.shift) / math.sqrt(self.mix.shape[1])
        return phi.double(), y.double()

    def leverage_and_error(
        self, phi: Float[Tensor, "B D"], y: Float[Tensor, "B K"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B K"]]:
        """Leverage h = phi^T precision^-1 phi / noise, and error y - mean^T phi.

        By the matrix inversion lemma these two give all that one more sample would change.
        """
        root = torch.linalg.cholesky(self.precision)
        mean = torch.cholesky_solve(self.moment, root)
        whitened = torch.linalg.solve_triangular(root, phi.T, upper=False)
        return whitened.square().sum(0) / self.noise, y - phi @ mean

    def add(self, phi: Float[Tensor, "B D"], y: Float[Tensor, "B K"]) -> None:
        """Refit the posterior with these samples."""
        self.precision += phi.T @ phi / self.noise
        self.moment += phi.T @ y / self.noise
