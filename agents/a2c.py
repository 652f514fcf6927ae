"""Advantage actor-critic, synchronous (Mnih et al. 2016): one gradient step on each rollout.

    policy loss = -E[A log pi(a|s)],   value loss = E[(V - R)^2]

Differs from the paper: advantages by GAE where ``gae_lambda`` < 1; one synchronous optimizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from agents.config import Config, Schedule
from agents.on_policy import OnPolicyAlgorithm


@dataclass(frozen=True)
class A2CConfig(Config):
    """A2C's settings; sources as named, otherwise stable-baselines3's, in Procgen's frame."""

    learning_rate: float | Schedule = 7e-4
    """Step size of RMSProp."""
    n_steps: int = 20
    """T, steps of each environment per update; the paper takes 5, UNREAL 20: Procgen's reward is late."""
    gae_lambda: float = 1.0
    """1: the paper's T-step returns."""
    rmsprop_alpha: float = 0.99
    """Decay of RMSProp's squared gradient."""
    rmsprop_epsilon: float = 1e-5
    """Added to RMSProp's root."""
    normalise_reward: bool = True
    """Divide rewards by the running std of their 0.99-discounted sum and clip to +-10 (baselines' VecNormalize)."""


class A2C(OnPolicyAlgorithm):
    """A2C over a representation; arguments as in ``OnPolicyAlgorithm``."""

    Config: ClassVar[type[A2CConfig]] = A2CConfig
    config: A2CConfig

    def make_optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        config = self.config
        return torch.optim.RMSprop(
            parameters, self.lr_schedule(1), alpha=config.rmsprop_alpha, eps=config.rmsprop_epsilon
        )

    def policy_loss(
        self, log_prob: Float[Tensor, " B"], old_log_prob: Float[Tensor, " B"], advantage: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        return -advantage * log_prob

    def value_loss(
        self, value: Float[Tensor, " B"], old_value: Float[Tensor, " B"], returns: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        return (value - returns).square()
