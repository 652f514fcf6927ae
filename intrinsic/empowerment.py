"""Empowerment as a bonus.

Klyubin, Polani & Nehaniv 2005; Mohamed & Rezende 2015, "Variational information maximisation for intrinsically
motivated reinforcement learning".

    E_n(s) = max over w of I(a; s' | s),   a: n actions drawn beforehand from the source w(a|s),   s': the state after

``models.channel_capacity`` computes it exactly where states can be listed. The bonus, in nats, bounds it from below.
For any source w and any planner q, normalised over a,

    E_n(s) >= E_w[log q(a | s, s') - log w(a | s)],

and given q the best source is w(a|s) = exp(m(s, a)) / Z(s) with m(s, a) = E[log q(a | s, s') | s, a]: the bound is then
log Z(s) = logsumexp over a of m(s, a). ``score`` returns log Z at the state arrived at, s'; at most n log A, 0 before
anything is learnt, and 0 where the episode terminated: nothing can be done from there.

    q(a | s, s') proportional to w(a | s) exp(g(s, s')_a),   the planner: posterior of a under the source
    loss of g = -log of b(a | s) exp(g_a), normalised over a,   which makes that the posterior under the behaviour b
    loss of b = -log b(a | s)
    loss of m = (log q(a | s, s') - m(s, a))^2,   q without gradient

g alone models the environment: it is log p(s' | s, a) up to what is the same for every a, so the source may differ from
what the policy does and no importance weight is needed. w and the bonus take m from an average of its network over the
last steps: with the newest, the noise of m would feed itself through w. Where m is the mean of log q, or of several q
as w moved, log Z is a lower bound (log is concave: the mean of several log q is below the log of one normalised q). An
error of m raises log Z by at most its largest value over a; noise alone, by about half of its variance.

Differs from the paper: there actions are drawn from w, here from the policy, hence b; m = log w + log Z is one network,
there log w and a normaliser psi are fit, with 1/beta beside the entropy (here beta = 1), and not averaged; g is one
network over all A^n sequences, not one per action in turn. Every sequence must be taken now and then: of one that the
policy gave up, m stays as it was.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from envs.action_codes import ActionCodes
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.base import Config, IntrinsicBonus, Transitions, at_least, gradient_step
from intrinsic.inputs import zero_init_linear

MAX_SEQUENCES = 4096
"""Most sequences of actions that the networks distinguish."""


@dataclass(frozen=True)
class EmpowermentConfig(Config):
    horizon: int = 1
    """n, actions in a row, chosen beforehand."""
    width: int = 256
    """Units of the dense layers."""
    averaging: float = 0.99
    """Fraction of the average that a step keeps: m is that of the last 1 / (1 - averaging) steps or so."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.averaging < 1:
            raise ValueError(f"averaging={self.averaging}: give a fraction of at least 0 and below 1")
        if not 1 <= self.horizon <= 3:
            raise ValueError(f"horizon={self.horizon}: give 1 to 3 actions")
        at_least(1, width=self.width)


class Planner(nn.Module):
    """g(s, s') and log b(s) of every sequence, on one trunk."""

    def __init__(self, trunk: nn.Module, width: int, sequences: int):
        super().__init__()
        self.trunk = trunk
        self.compare = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), zero_init_linear(width, sequences))
        self.behaviour = zero_init_linear(width, sequences)

    def forward(self, obs: Tensor, next_obs: Tensor) -> tuple[Float[Tensor, "B A"], Float[Tensor, "B A"]]:
        hidden = self.trunk(obs)
        g = self.compare(torch.cat([hidden, self.trunk(next_obs)], 1))
        return g, self.behaviour(hidden).log_softmax(1)


class Empowerment(IntrinsicBonus):
    """Variational bound on the empowerment of the state arrived at, nats."""

    Config = EmpowermentConfig
    config: EmpowermentConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width = self.config.width
        if self.codes.is_box:
            raise UsageError(f"empowerment lists all actions, which a {spec.action_space} has no end of; take vic, say")
        self.sequences = self.codes.count**self.config.horizon
        if self.sequences > MAX_SEQUENCES:
            raise UsageError(
                f"empowerment: {self.codes.count}^{self.config.horizon} sequences of actions; give a lower horizon"
            )
        self.planner = Planner(self.inputs.make_encoder(width), width, self.sequences)
        self.source = nn.Sequential(self.inputs.make_encoder(width), zero_init_linear(width, self.sequences))
        trained = [*self.planner.parameters(), *self.source.parameters()]
        self.average = copy.deepcopy(self.source).requires_grad_(False)
        self.optimizer = torch.optim.Adam(trained, self.config.learning_rate)

    def value(self, source: nn.Module, obs: Tensor) -> Float[Tensor, "B A"]:
        """Value m of every sequence in nats; that of an even q while the network gives 0."""
        offsets: Tensor = source(obs)
        return offsets - math.log(self.sequences)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        return self.value(self.average, batch.next_obs).clamp(max=0).logsumexp(1)  # log q is never above 0

    @torch.no_grad()
    def compute(self, steps: Steps) -> Float[Tensor, "T N"]:
        return super().compute(steps).masked_fill(steps.terminated, 0)

    def update(self, steps: Steps, generator: torch.Generator) -> dict[str, float]:
        return super().update(action_sequences(steps, self.config.horizon, self.codes), generator)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        g, log_b = self.planner(batch.obs, batch.next_obs)
        planner = F.cross_entropy(log_b.detach() + g, batch.action)
        behaviour = F.nll_loss(log_b, batch.action)
        # log softmax takes no notice of log Z, so m stands for log w
        log_q = (self.value(self.average, batch.obs) + g.detach()).log_softmax(1)
        error = self.value(self.source, batch.obs) - log_q
        source = error.gather(1, batch.action.unsqueeze(1)).square().mean()
        gradient_step(self.optimizer, planner + behaviour + source)
        self._update_average()
        return {"planner": planner.detach(), "behaviour": behaviour.detach(), "source": source.detach()}

    @torch.no_grad()
    def _update_average(self) -> None:
        for mean, newest in zip(self.average.parameters(), self.source.parameters(), strict=True):
            mean.lerp_(newest, 1 - self.config.averaging)


def action_sequences(steps: Steps, n: int, codes: ActionCodes) -> Steps:
    """Every run of n steps within one episode as one step (T - n + 1, N): its action sequence, and what followed it.

    The sequence's number has its first action as the highest digit, base ``codes.count``.

    Raises:
        UsageError: the rollout is shorter than n.
    """
    length = steps.shape[0] - n + 1
    if length < 1:
        raise UsageError(f"empowerment: horizon={n} needs rollouts of {n} steps or more, these have {steps.shape[0]}")
    action = codes.number(steps.action)
    number = torch.zeros_like(action[:length])
    within = steps.next_valid[n - 1 :].clone()
    for k in range(n):
        number = number * codes.count + action[k : k + length]
        if k < n - 1:
            within &= ~steps.done[k : k + length]
    return replace(
        steps,
        obs={key: value[:length] for key, value in steps.obs.items()},
        action=number,
        next_valid=within,
        make_next_obs=lambda: {key: value[n - 1 :] for key, value in steps.next_obs.items()},
        context=None,
    )
