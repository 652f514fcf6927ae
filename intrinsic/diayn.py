"""DIAYN (Eysenbach et al. 2018, "Diversity is all you need: learning skills without a reward function").

Each episode draws one of K skills, z ~ p uniform, and the policy gets it, one-hot, to the end. A discriminator q infers
the skill from the state that a step led to, by maximum likelihood; the reward is for skills that can be distinguished:

    r = log q(z | s') - log p(z) = log q(z | s') + log K,   in nats
    loss of q = mean of -log q(z | s')

``score`` returns r: at most log K; 0 on average where states say nothing of the skill, and 0 everywhere before q has
learnt. Its mean over steps is a lower bound of I(z; s').

Differs from the paper: the agent is PPO or A2C with its entropy bonus, where it was SAC with an entropy of weight 0.1;
8 skills, not 50; q learns from the newest rollout alone, at its own step size (3e-4 there), not from a replay of 1e6
steps, and is one trunk and a linear layer, not two layers of 300.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from envs.spaces import EnvSpec
from intrinsic.base import Config, IntrinsicBonus, Transitions, at_least, gradient_step
from intrinsic.inputs import zero_init_linear


def draw_one_hot(count: int, classes: int, generator: torch.Generator | None) -> Float[Tensor, "{count} {classes}"]:
    """Uniform draws, one-hot, on the generator's device."""
    device = torch.device("cpu") if generator is None else generator.device
    label = torch.randint(classes, (count,), generator=generator, device=device)
    return F.one_hot(label, classes).float()


@dataclass(frozen=True)
class DiaynConfig(Config):
    skills: int = 8
    """K, of which each episode draws one; the paper has 50."""
    width: int = 256
    """Units of the discriminator's dense layers; the paper has 300."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(2, skills=self.skills)
        at_least(1, width=self.width)


class Diayn(IntrinsicBonus):
    """Log-probability of the skill by the state it led to, above chance."""

    Config = DiaynConfig
    config: DiaynConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width = self.config.width
        self.discriminator = nn.Sequential(self.inputs.make_encoder(width), zero_init_linear(width, self.config.skills))
        self.optimizer = torch.optim.Adam(self.discriminator.parameters(), self.config.learning_rate)

    @property
    def context_dim(self) -> int:
        return self.config.skills

    def draw_context(self, count: int, generator: torch.Generator | None) -> Float[Tensor, "count K"]:
        return draw_one_hot(count, self.config.skills, generator)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        log_q = F.log_softmax(self.discriminator(batch.next_obs), 1)
        return log_q.gather(1, _skill(batch).unsqueeze(1)).squeeze(1) + math.log(self.config.skills)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        skill = _skill(batch)
        logits = self.discriminator(batch.next_obs)
        loss = F.cross_entropy(logits, skill)
        gradient_step(self.optimizer, loss)
        return {"loss": loss.detach(), "accuracy": (logits.detach().argmax(1) == skill).float().mean()}


def _skill(batch: Transitions) -> Int[Tensor, " B"]:
    """Number of each transition's skill."""
    assert batch.context is not None, "the agent draws a context wherever context_dim is above 0"
    return batch.context.argmax(1)
