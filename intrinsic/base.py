"""The contract of every intrinsic bonus: score the whole rollout, then learn from it; both once per rollout.

A bonus of its own, whole:

    class Surprise(IntrinsicBonus):
        def __init__(self, spec, config=None):
            super().__init__(spec, config)
            self.net = self.inputs.make_encoder(64)
            self.optimizer = torch.optim.Adam(self.net.parameters(), self.config.learning_rate)

        def score(self, batch):                       # (B,), no gradient
            return (self.net(batch.next) - self.net(batch.now)).square().mean(1)

        def learn(self, batch, generator):            # one step of the optimizer
            ...
            return {"loss": loss.detach()}
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.inputs import BonusInput, Look

CHUNK = 1024
"""Transitions scored at once: bounds the memory of activations, changes no value."""


@dataclass(frozen=True)
class Config:
    """Settings that all bonuses share."""

    learning_rate: float = 1e-3
    """Step size of the bonus's own Adam."""
    batch: int = 256
    """Transitions per step of it; one pass over each rollout."""
    on: Look = "image"
    """What it looks at: 'image' (the newest frame), 'features' (of the agent's frozen representation), or 'auto':
    the features where there are any."""

    def __post_init__(self) -> None:
        if self.batch < 1 or not self.learning_rate > 0:
            raise ValueError(f"batch={self.batch}, learning_rate={self.learning_rate}: both must be above 0")


@dataclass(frozen=True)
class Transitions:
    """B steps of which it is known what followed, flat, as the bonus sees them."""

    now: Tensor
    """(B, C, H, W) uint8 newest frames, or (B, D) features, where the action was taken."""
    action: Tensor
    """(B,) int64."""
    next: Tensor
    """What followed, like ``now``; never the first frame of another episode."""
    place: Tensor
    """(B,) int64, t * N + stream."""
    context: Tensor | None = None
    """(B, K) what the policy was shown beside the observation."""


class IntrinsicBonus(nn.Module, ABC):
    """Turns Steps into a reward of its own.

    The agent calls ``compute`` on the whole rollout *before* advantages are estimated, scales the result by the
    running standard deviation of its discounted sum, adds ``coefficient`` times it to the reward, and calls
    ``update`` after the policy update. Everything that must survive a restart is a parameter, a buffer, or a
    ``torch.optim`` optimizer held as an attribute: all three are checkpointed without further code.

    Most bonuses write ``score`` and ``learn`` alone; one that pays an episode as a whole overrides ``compute``.

    Args:
        spec: the environment as Steps hold it: images (C, H, W) uint8, perhaps "features" (D,).
        config: of the subclass; None takes its defaults.
    """

    Config: ClassVar[type[Config]] = Config
    coefficient: float = 0.5
    """Weight of the scaled bonus in the reward; ``--bonus NAME:0.1`` sets it."""

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__()
        self.config = self.Config() if config is None else config
        self.spec, self.num_actions = spec, spec.num_actions
        self.inputs = BonusInput(spec, self.config.on)
        if self.num_actions < 2:
            raise UsageError(f"{self.name}: an environment of {self.num_actions} actions leaves nothing to explore")

    @property
    def name(self) -> str:
        """For charts and messages: PixelError is pixel_error."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def keys(self) -> tuple[str, ...]:
        """Observations it reads; the agent keeps these."""
        return (self.inputs.key,)

    @property
    def context_dim(self) -> int:
        """K, size of what the policy must see beside the observation (a skill); 0 for most."""
        return 0

    def draw_context(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Contexts (count, K) for as many new episodes."""
        return torch.zeros(count, self.context_dim)

    @torch.no_grad()
    def compute(self, steps: Steps) -> Tensor:
        """Raw bonus (T, N), no gradient, not scaled; 0 where the world cannot show what followed."""
        bonus = torch.zeros(steps.action.numel(), device=steps.action.device)
        for batch in self.transitions(steps, CHUNK):
            bonus[batch.place] = self.score(batch).float()
        return bonus.view(steps.shape)

    def update(self, steps: Steps, generator: torch.Generator) -> dict[str, float]:
        """One pass over the rollout in random order, ``config.batch`` transitions a step; means of its metrics."""
        sums: dict[str, Tensor] = {}
        total = 0
        for batch in self.transitions(steps, self.config.batch, generator):
            share = len(batch.action)
            total += share
            for name, value in self.learn(batch, generator).items():
                sums[name] = sums.get(name, torch.zeros(())) + value.detach().float().cpu() * share
        return {name: float(value) / total for name, value in sums.items()}

    @abstractmethod
    def score(self, batch: Transitions) -> Tensor:
        """Raw bonus (B,); called without gradient."""

    @abstractmethod
    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        """One step of the bonus's own optimizer, with its own draws; scalars to log."""

    def transitions(self, steps: Steps, size: int, generator: torch.Generator | None = None) -> Iterator[Transitions]:
        """The steps whose successor is known, ``size`` at a time; in random order where a generator is given."""
        places = steps.next_valid.flatten().nonzero().squeeze(1)
        if generator is not None:
            order = torch.randperm(len(places), generator=generator, device=generator.device)
            places = places[order.to(places.device)]
        now, following = self.inputs.select(steps.obs), self.inputs.select(steps.next_obs)
        context = None if steps.context is None else steps.context.flatten(0, 1)
        for part in places.split(size) if len(places) else ():
            yield Transitions(
                now=now[part],
                action=steps.action.flatten()[part],
                next=following[part],
                place=part,
                context=None if context is None else context[part],
            )
