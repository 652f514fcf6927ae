"""The contract of every intrinsic bonus: score the whole rollout, then learn from it, once per rollout each.

A bonus of one's own, whole (README.md in this folder runs one):

    class Surprise(IntrinsicBonus):
        def __init__(self, spec, config=None):
            super().__init__(spec, config)
            self.net = self.inputs.make_encoder(64)
            self.optimizer = torch.optim.Adam(self.net.parameters(), self.config.learning_rate)

        def score(self, batch):                       # (B,), no gradient
            return (self.net(batch.next_obs) - self.net(batch.obs)).square().mean(1)

        def learn(self, batch, generator):            # one step of the optimizer
            ...
            return {"loss": loss.detach()}
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from envs.action_codes import ActionCodes
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.inputs import BonusInput, InputKind

CHUNK = 1024
"""Transitions scored at once: bounds the memory of activations, changes no value."""


def at_least(minimum: int, **settings: float | int) -> None:
    """Check the settings of a bonus; ValueError with the first below ``minimum``, by name."""
    for name, value in settings.items():
        if not value >= minimum:
            raise ValueError(f"{name}={value}: give at least {minimum}")


def above(bound: int, **settings: float | int) -> None:
    """Check the settings of a bonus; ValueError with the first at or below ``bound``, by name."""
    for name, value in settings.items():
        if not value > bound:
            raise ValueError(f"{name}={value}: give a number above {bound}")


@dataclass(frozen=True)
class Config:
    """Settings that all bonuses share."""

    learning_rate: float = 1e-3
    """Step size of the bonus's own Adam."""
    batch: int = 256
    """Transitions per step of it; one pass over each rollout."""
    on: InputKind = "image"
    """Inputs: 'image' (the newest frame), 'features' (of the agent's frozen representation), or 'auto': the features
    where there are any."""

    def __post_init__(self) -> None:
        at_least(1, batch=self.batch)
        above(0, learning_rate=self.learning_rate)


@dataclass(frozen=True)
class Transitions:
    """B steps with a known successor, flat, as inputs of a bonus."""

    obs: Tensor
    """(B, C, H, W) uint8 newest frames, or (B, D) features, where the action was taken."""
    action: Shaped[Tensor, "B ..."]
    """(B,) int64 of Discrete actions, (B, K) of others, as ``envs.action_codes`` stores them."""
    next_obs: Tensor
    """Observations that followed, like ``obs``; never the first frame of another episode."""
    index: Int[Tensor, " B"]
    """(B,) int64, t * N + stream."""
    context: Float[Tensor, "B K"] | None = None
    """(B, K) context of the policy, given with the observation."""


def gradient_step(optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""]) -> None:
    """One step of the optimizer down the gradient of a scalar loss."""
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


class IntrinsicBonus(nn.Module, ABC):
    """A reward of the agent's own, computed from Steps.

    The agent calls ``compute`` on the whole rollout *before* advantages are estimated, divides the result by the
    running standard deviation of its discounted sum, adds ``coefficient`` times it to the reward, and calls ``update``
    after the policy update. Everything that must survive a restart is a parameter, a buffer, or a ``torch.optim``
    optimizer held as an attribute: all three are checkpointed without further code.

    Most bonuses write only ``score`` and ``learn``; one that rewards an episode as a whole overrides ``compute``.

    Args:
        spec: the environment as Steps hold it: images (C, H, W) uint8, perhaps "features" (D,).
        config: of the subclass; None takes its defaults.

    Raises:
        UsageError: the environment lacks the inputs, or has a single action.
    """

    Config: ClassVar[type[Config]] = Config
    coefficient: float = 0.5
    """Weight of the scaled bonus in the reward; ``--bonus NAME:0.1`` sets it."""

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__()
        self.config = self.Config() if config is None else config
        self.spec, self.codes = spec, ActionCodes(spec.action_space)
        self.inputs = BonusInput(spec, self.config.on)
        if self.codes.count < 2 and not self.codes.is_box:
            raise UsageError(f"{self.name}: an environment of {self.codes.count} actions leaves nothing to explore")

    @property
    def num_actions(self) -> int:
        """Number of Discrete actions; 0 where actions are not Discrete. ``codes`` knows every kind of action."""
        return self.spec.num_actions

    @property
    def name(self) -> str:
        """Name in charts and messages, by which ``--set`` knows it."""
        from intrinsic import BONUSES

        return BONUSES.name_of(type(self))

    @property
    def keys(self) -> tuple[str, ...]:
        """Observations it reads; the agent keeps these."""
        return (self.inputs.key,)

    @property
    def context_dim(self) -> int:
        """K, size of the context (a skill) that the policy must get with the observation; 0 for most."""
        return 0

    def draw_context(self, count: int, generator: torch.Generator | None) -> Float[Tensor, "count K"]:
        """Contexts of ``count`` new episodes."""
        return torch.zeros(count, self.context_dim)

    @torch.no_grad()
    def compute(self, steps: Steps) -> Float[Tensor, "T N"]:
        """Raw bonus, without gradient or scaling; 0 where the environment cannot show what followed."""
        bonus = torch.zeros(steps.done.numel(), device=steps.action.device)
        for batch in self.transitions(steps, CHUNK):
            bonus[batch.index] = self.score(batch).float()
        return bonus.view(steps.shape)

    def update(self, steps: Steps, generator: torch.Generator) -> dict[str, float]:
        """One pass over the rollout in random order, ``config.batch`` transitions a step; means of the metrics."""
        sums: dict[str, Tensor] = {}
        total = 0
        for batch in self.transitions(steps, self.config.batch, generator):
            size = len(batch.action)
            total += size
            for name, value in self.learn(batch, generator).items():
                sums[name] = sums.get(name, torch.zeros(())) + value.detach().float().cpu() * size
        return {name: float(value) / total for name, value in sums.items()}

    @abstractmethod
    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        """Raw bonus of each transition; called without gradient."""

    @abstractmethod
    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        """One step of the bonus's own optimizer, with its own draws; scalars to log."""

    def transitions(self, steps: Steps, size: int, generator: torch.Generator | None = None) -> Iterator[Transitions]:
        """Steps with a known successor, ``size`` at a time; in random order where a generator is given."""
        index = steps.next_valid.flatten().nonzero().squeeze(1)
        if generator is not None:
            order = torch.randperm(len(index), generator=generator, device=generator.device)
            index = index[order.to(index.device)]
        obs, next_obs = self.inputs.select(steps.obs), self.inputs.select(steps.next_obs)
        context = None if steps.context is None else steps.context.flatten(0, 1)
        for rows in torch.split(index, size) if len(index) else ():
            yield Transitions(
                obs=obs[rows],
                action=steps.action.flatten(0, 1)[rows],
                next_obs=next_obs[rows],
                index=rows,
                context=None if context is None else context[rows],
            )
