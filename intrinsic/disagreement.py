"""Disagreement (Pathak, Gandhi & Gupta 2019, "Self-supervised exploration via disagreement").

K forward models f_k of a fixed latent z, each with its own first weights and its own random subset of every batch:

    bonus = 1/D sum over d of  1/K sum over k of (f_kd(z_t, a_t) - mean over k of f_kd(z_t, a_t))^2
    loss  = sum over k of the mean squared error of f_k, over its own subset of the batch

``score`` returns that variance, in the unit of ``latent_error``, whose latent and network it takes: 1 is the variance
of what happens. Where the next latent is noise, all members learn the same mean and the bonus goes to 0, while the
error stays at the noise's variance for ever: a noisy television earns nothing in the end.

Differs from the paper: it lets the gradient of the bonus reach the policy, as a loss without the environment between;
here the bonus is a reward like any other. The latent is the agent's frozen features, or a random network; a member has
one residual block of 256, not four of 512.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from envs.spaces import EnvSpec
from intrinsic.base import Transitions, gradient_step
from intrinsic.latent_error import LatentBonus, LatentConfig


@dataclass(frozen=True)
class DisagreementConfig(LatentConfig):
    width: int = 256
    """Units of a forward model's layers."""
    blocks: int = 1
    """Residual blocks of a forward model, two layers each."""
    members: int = 5
    """K forward models; the paper's."""
    share: float = 0.8
    """Chance of each transition to train a member, drawn for each member by itself; at 1 the members differ by their
    first weights alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.members < 2:
            raise ValueError(f"members={self.members}: give at least 2, one cannot disagree")
        if not 0 < self.share <= 1:
            raise ValueError(f"share={self.share}: give a chance above 0, at most 1")


class Disagreement(LatentBonus):
    """Variance over the predictions of an ensemble."""

    Config = DisagreementConfig
    config: DisagreementConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        config = DisagreementConfig() if config is None else config
        super().__init__(spec, config, config.members)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        return self.predict(batch).var(0, unbiased=False).mean(1)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        predicted = self.predict(batch)
        error = (predicted - self.latent(batch.next_obs)).square().mean(2)
        drawn = torch.rand(error.shape, generator=generator, device=generator.device) < self.config.share
        mask = drawn.to(error)
        losses = (error * mask).sum(1) / mask.sum(1).clamp(min=1)
        gradient_step(self.optimizer, losses.sum())
        variance = predicted.detach().var(0, unbiased=False).mean()
        return {"loss": losses.detach().mean(), "disagreement": variance}
