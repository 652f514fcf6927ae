"""ICM (Pathak et al. 2017, "Curiosity-driven exploration by self-supervised prediction").

Features phi keep what identifies the action taken, and a forward model predicts them; the bonus is its error:

    a_hat = g(phi(x_t), phi(x_{t+1})),                        L_I = -log softmax(a_hat)[a_t],  in nats
    phi_hat = f(phi(x_t), a_t),     bonus = L_F = 1/2 sum over features of (phi_hat - phi(x_{t+1}))^2
    loss = mean over the batch of  (1 - beta) L_I + beta L_F

Of actions that are several choices L_I is the sum over them. Of a Box it is half the squared error, and the accuracy
that is logged the fraction on the right side of the box's middle in every number.

phi learns from L_I alone: L_F sends it no gradient, neither through its target nor through its input. Under L_F too,
phi would have an easy way to lower it, to shrink and to forget what is hard to predict, and the bonus would fade
everywhere without anything learnt; the paper's own code has that way open, large-scale curiosity's closes it as here.
``feature_variance`` (mean over features of the variance over a batch) is logged to show it. As Adam takes no notice of
a loss's scale and the two losses share no weight, beta hardly matters here.

``score`` returns L_F, a sum as in the paper, in units of phi squared; the running scale outside takes the unit away.

Differs from the paper: phi is ``BonusInput.make_encoder`` (Nature's trunk of ``width``, relu), not four convolutions
of 32 with elu and 288 numbers; an optimizer of its own beside PPO's or A2C's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from envs.spaces import EnvSpec
from intrinsic import base
from intrinsic.base import IntrinsicBonus, Transitions, at_least, gradient_step
from intrinsic.inputs import concat_action
from representations.nets.actions import action_hits, action_loss


@dataclass(frozen=True)
class IcmConfig(base.Config):
    width: int = 256
    """Numbers of phi."""
    hidden: int = 256
    """Units of the inverse and of the forward model, one layer each; the paper's."""
    beta: float = 0.2
    """Weight of L_F against L_I, 0..1; the paper's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, width=self.width, hidden=self.hidden)
        if not 0 < self.beta < 1:
            raise ValueError(f"beta={self.beta}: give a weight between 0 and 1; at either one model never learns")


class Icm(IntrinsicBonus):
    """Forward error in features that tell the action."""

    Config = IcmConfig
    config: IcmConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width, hidden, actions = self.config.width, self.config.hidden, self.codes.size
        self.phi = self.inputs.make_encoder(width)
        self.inverse = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, actions))
        self.dynamics = nn.Sequential(nn.Linear(width + actions, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.optimizer = torch.optim.Adam(self.parameters(), self.config.learning_rate)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        phi, next_phi = self.features(batch)
        return self.forward_error(phi, batch.action, next_phi)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        phi, next_phi = self.features(batch)
        logits = self.inverse(torch.cat([phi, next_phi], 1))
        inverse = action_loss(self.codes, logits, batch.action, "mean")
        forward = self.forward_error(phi.detach(), batch.action, next_phi.detach()).mean()
        beta = self.config.beta
        gradient_step(self.optimizer, (1 - beta) * inverse + beta * forward)
        return {
            "inverse_loss": inverse.detach(),
            "inverse_accuracy": action_hits(self.codes, logits.detach(), batch.action).float().mean(),
            "forward_loss": forward.detach(),
            "feature_variance": phi.detach().var(0, unbiased=False).mean(),
        }

    def features(self, batch: Transitions) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """phi(x_t) and phi(x_{t+1})."""
        phi, next_phi = self.phi(torch.cat([batch.obs, batch.next_obs])).chunk(2)
        return phi, next_phi

    def forward_error(
        self, phi: Float[Tensor, "B D"], action: Shaped[Tensor, "B ..."], next_phi: Float[Tensor, "B D"]
    ) -> Float[Tensor, " B"]:
        """L_F of each transition."""
        predicted: Tensor = self.dynamics(concat_action(phi, action, self.codes))
        return (predicted - next_phi).square().sum(1) / 2
