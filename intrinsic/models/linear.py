"""What forward models of this package see and predict, through eyes that never learn; and the linear one, exact.

Fixed random features are what Burda et al. 2018 predict: nothing can make a target easier by looking away.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intrinsic.base import Transitions
from intrinsic.inputs import BonusInput


class RandomFeatures(nn.Module):
    """(B, ...) as seen -> (B, width) float32: a random trunk's output, or features as they are.

    Each row is brought to mean 0 and variance 1, so that a noise variance has a meaning in every world.
    """

    def __init__(self, inputs: BonusInput, width: int):
        super().__init__()
        self.inputs = inputs
        self.width = width if inputs.pictured else inputs.shape[0]
        self.net = inputs.make_encoder(width).requires_grad_(False) if inputs.pictured else nn.Identity()

    def forward(self, seen: Tensor) -> Tensor:
        return F.layer_norm(self.net(seen), (self.width,))

    def pair(self, batch: Transitions, actions: int) -> tuple[Tensor, Tensor]:
        """What a model gets (B, width + actions) and what it must say (B, width); the action is as loud as the rest."""
        seen = self(batch.now)
        action = F.one_hot(batch.action, actions).to(seen.dtype) * math.sqrt(self.width)
        return torch.cat([seen, action], 1), self(batch.next)


class LinearForward(nn.Module):
    """Bayesian linear regression y ~ N(W^T phi, noise I) on ``num_features`` random rectified features, prior W ~
    N(0, 1).

    The posterior's precision (D, D) is one for all outputs; its mean solves precision @ mean = moment (D, K).
    """

    def __init__(self, inputs: BonusInput, actions: int, width: int, num_features: int, noise: float):
        super().__init__()
        self.eyes = RandomFeatures(inputs, width)
        self.actions, self.noise = actions, noise
        seen = self.eyes.width + actions
        self.register_buffer("mix", torch.randn(seen, num_features) / math.sqrt(seen))
        self.register_buffer("shift", torch.randn(num_features))
        self.register_buffer("precision", torch.eye(num_features, dtype=torch.float64))
        self.register_buffer("moment", torch.zeros(num_features, self.eyes.width, dtype=torch.float64))
        self.mix: Tensor
        self.shift: Tensor
        self.precision: Tensor
        self.moment: Tensor

    def pair(self, batch: Transitions) -> tuple[Tensor, Tensor]:
        """phi (B, D) of length about 1, and y (B, K), float64."""
        x, y = self.eyes.pair(batch, self.actions)
        phi = F.relu(x @ self.mix + self.shift) / math.sqrt(self.mix.shape[1])
        return phi.double(), y.double()

    def leverage_and_error(self, phi: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """h (B,) = phi^T precision^-1 phi / noise, and y - mean^T phi (B, K).

        By the matrix inversion lemma these two give all that one more sample would change.
        """
        root = torch.linalg.cholesky(self.precision)
        mean = torch.cholesky_solve(self.moment, root)
        whitened = torch.linalg.solve_triangular(root, phi.T, upper=False)
        return whitened.square().sum(0) / self.noise, y - phi @ mean

    def add(self, phi: Tensor, y: Tensor) -> None:
        self.precision += phi.T @ phi / self.noise
        self.moment += phi.T @ y / self.noise
