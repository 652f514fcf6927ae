"""Proximal policy optimisation (Schulman et al. 2017), as on Procgen (Cobbe et al. 2020).

    rho = pi(a|s) / pi_old(a|s)
    policy loss = -E[min(rho A, clip(rho, 1-e, 1+e) A)]
    value loss  = 0.5 E[max((V - R)^2, (V_clip - R)^2)]     value_loss "procgen"
                  E[(V_clip - R)^2]                         value_loss "sb3"
    V_clip      = V_old + clip(V - V_old, +-value_clip), or V without value_clip

Defaults are the published ones of train-procgen (easy: 64 environments x 256 steps, minibatches of 2048, 25M steps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from agents.config import Config
from agents.metrics import MetricMeans
from agents.on_policy import OnPolicyAlgorithm
from envs.registry import UsageError


@dataclass(frozen=True)
class PPOConfig(Config):
    """PPO's settings; sources as named, otherwise train-procgen."""

    epochs: int = 3
    """Passes over each rollout."""
    minibatches: int = 8
    """Optimizer steps per pass; steps x environments must divide by it."""
    clip_range: float = 0.2
    """e, largest distance of the probability ratio from 1 that is still rewarded."""
    value_clip: float | None = 0.2
    """Largest change of a value from the one it had when acting, in units of return; None does not clip."""
    value_loss: Literal["procgen", "sb3"] = "procgen"
    """The published form, 0.5 max(unclipped, clipped), or stable-baselines3's, the clipped one without the half."""
    target_kl: float | None = None
    """Approximate KL from the acting policy, mean over the minibatches so far, beyond 1.5 times which no further pass
    over the rollout begins (stable-baselines3 breaks off inside a pass); None makes all passes."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon (PLR, table 3)."""
    normalise_advantage: bool = True
    """Advantages of a minibatch to mean 0 and std 1 (baselines' ppo2)."""
    normalise_reward: bool = True
    """Divide rewards by the running std of their 0.99-discounted sum and clip to +-10 (baselines' VecNormalize)."""

    def check(self, num_envs: int) -> None:
        super().check(num_envs)
        if self.target_kl is not None and not self.target_kl > 0:
            raise UsageError(f"target_kl={self.target_kl}: give a number above 0, or None")
        if self.value_loss not in ("procgen", "sb3"):
            raise UsageError(f"value_loss '{self.value_loss}'; known: procgen, sb3")


class PPO(OnPolicyAlgorithm):
    """PPO over a representation; arguments as in ``OnPolicyAlgorithm``."""

    Config: ClassVar[type[PPOConfig]] = PPOConfig
    config: PPOConfig

    def make_optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, self.lr_schedule(1), eps=self.config.adam_epsilon)

    def stops_early(self, metrics: MetricMeans) -> bool:
        target = self.config.target_kl
        return target is not None and metrics.compute(self.ranks)["train/approx_kl"] > 1.5 * target

    def policy_loss(
        self, log_prob: Float[Tensor, " B"], old_log_prob: Float[Tensor, " B"], advantage: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        rho, e = (log_prob - old_log_prob).exp(), self.config.clip_range
        return -torch.min(rho * advantage, rho.clamp(1 - e, 1 + e) * advantage)

    def value_loss(
        self, value: Float[Tensor, " B"], old_value: Float[Tensor, " B"], returns: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        e, procgen = self.config.value_clip, self.config.value_loss == "procgen"
        clipped = value if e is None else old_value + (value - old_value).clamp(-e, e)
        error = (clipped - returns).square()
        return 0.5 * torch.max((value - returns).square(), error) if procgen else error
