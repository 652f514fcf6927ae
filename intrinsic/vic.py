"""VIC (Gregor, Rezende & Wierstra 2016, "Variational intrinsic control"), with its options drawn uniformly.

Each episode draws one of N options, Omega ~ p uniform, and the policy gets it one-hot until the episode ends. From the
episode's first and last observation, s_0 and s_f, q infers the option; the reward is for ending where no other does:

    r = log q(Omega | s_0, s_f) - log p(Omega) = log q(Omega | s_0, s_f) + log N   at the episode's last step, else 0,
    loss of q = mean of -log q(Omega | s_0, s_f)   over recent episodes,

in nats. r is at most log N, and 0 before q has learnt; its mean over episodes is a lower bound of I(Omega; s_f | s_0),
the empowerment of s_0 by closed-loop options. An episode earns nothing where its last frame cannot be shown (all of
Procgen's; a warning says so) or its first one is not known.

An episode is handed to ``score`` and ``learn`` as one transition: ``obs`` s_0, ``action`` Omega, ``next_obs`` s_f. s_0
may lie in an earlier rollout, so the bonus keeps that of each stream's running episode.

Differs from the paper: an option ends with the environment's episode, not by an action of its own, and starts where the
environment starts it; p stays uniform, as in the paper's grid, and is not learnt; the policy is PPO or A2C, not
Q-learning; few episodes end in a rollout, so q learns from the newest ``recent`` of them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic.base import Config, IntrinsicBonus, Transitions, at_least, gradient_step
from intrinsic.diayn import draw_one_hot
from intrinsic.inputs import zero_init_linear


@dataclass(frozen=True)
class VicConfig(Config):
    options: int = 8
    """N, of which each episode draws one; the paper's grid has 30."""
    width: int = 256
    """Units of q's dense layers."""
    recent: int = 1024
    """Newest finished episodes, of which q learns."""
    reuse: int = 8
    """Times an episode is learnt from, at least; a rollout in which none ended teaches nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(2, options=self.options)
        at_least(1, width=self.width, recent=self.recent, reuse=self.reuse)


class Endpoints(nn.Module):
    """Logits of the options from (s_0, s_f): one trunk encodes both, two dense layers compare them."""

    def __init__(self, trunk: nn.Module, width: int, options: int):
        super().__init__()
        self.trunk = trunk
        self.compare = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), zero_init_linear(width, options))

    def forward(self, start: Tensor, end: Tensor) -> Float[Tensor, "B K"]:
        logits: Tensor = self.compare(torch.cat([self.trunk(start), self.trunk(end)], 1))
        return logits


class Vic(IntrinsicBonus):
    """Log-probability of the option by where its episode ended, above chance."""

    Config = VicConfig
    config: VicConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        self.q = Endpoints(self.inputs.make_encoder(config.width), config.width, config.options)
        self.optimizer = torch.optim.Adam(self.q.parameters(), config.learning_rate)
        empty = torch.zeros(0, *self.inputs.shape, dtype=torch.uint8 if self.inputs.is_image else torch.float32)
        self.start: Tensor
        self.known: Tensor
        self.register_buffer("start", empty)  # s_0 of each stream's running episode; sized by the first rollout
        self.register_buffer("known", torch.zeros(0, dtype=torch.bool))
        self.starts: Tensor
        self.ends: Tensor
        self.option: Tensor
        self.finished: Tensor
        self.register_buffer("starts", empty.new_zeros(config.recent, *self.inputs.shape))
        self.register_buffer("ends", empty.new_zeros(config.recent, *self.inputs.shape))
        self.register_buffer("option", torch.zeros(config.recent, dtype=torch.int64))
        self.register_buffer("finished", torch.zeros((), dtype=torch.int64))  # episodes so far; next index of the ring

    @property
    def context_dim(self) -> int:
        return self.config.options

    def draw_context(self, count: int, generator: torch.Generator | None) -> Float[Tensor, "count K"]:
        return draw_one_hot(count, self.config.options, generator)

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        log_q = F.log_softmax(self.q(batch.obs, batch.next_obs), 1)
        return log_q.gather(1, batch.action.unsqueeze(1)).squeeze(1) + math.log(self.config.options)

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        logits = self.q(batch.obs, batch.next_obs)
        loss = F.cross_entropy(logits, batch.action)
        gradient_step(self.optimizer, loss)
        return {"loss": loss.detach(), "accuracy": (logits.detach().argmax(1) == batch.action).float().mean()}

    def update(self, steps: Steps, generator: torch.Generator) -> dict[str, float]:
        """Keep the episodes that ended, learn from recent ones where any did; means of the metrics."""
        ended = 0
        for episodes in self.transitions(steps, self.config.recent):
            self._keep(episodes)
            ended += len(episodes.action)
        if not self.finished and bool(steps.done.any()) and not bool((steps.done & steps.next_valid).any()):
            # one line a process: Python shows a warning of one place once
            warnings.warn(
                "vic: the environment does not show the last frame of an episode, so nothing is earned; take diayn",
                stacklevel=2,
            )
        updates = -(-ended * self.config.reuse // self.config.batch)
        metrics = [self.learn(self._draw_recent(generator), generator) for _ in range(updates)]
        self.start, self.known = self._running(steps)
        names = metrics[0] if metrics else ()
        means = {name: float(sum(values[name] for values in metrics)) / updates for name in names}
        return {**means, "episodes": float(ended)}

    def transitions(self, steps: Steps, size: int, generator: torch.Generator | None = None) -> Iterator[Transitions]:
        """Finished episodes, ``size`` at a time, in the order of time; ``index`` is that of the last step."""
        assert steps.context is not None, "the agent draws a context wherever context_dim is above 0"
        N = steps.shape[1]
        opened = _opened(steps.first)
        start, known = self._before(N, steps.first.device)
        index = (steps.done & steps.next_valid & ((opened >= 0) | known)).flatten().nonzero().squeeze(1)
        obs, next_obs = self.inputs.select(steps.obs), self.inputs.select(steps.next_obs)
        option = steps.context.flatten(0, 1).argmax(1)
        for rows in torch.split(index, size):
            time, stream = opened.flatten()[rows], rows % N
            within = obs[time.clamp(min=0) * N + stream]
            yield Transitions(
                obs=_choose(time >= 0, within, start[stream]), action=option[rows], next_obs=next_obs[rows], index=rows
            )

    def _before(self, streams: int, device: torch.device) -> tuple[Tensor, Bool[Tensor, " N"]]:
        """s_0 (N, ...) of the episodes that run as a rollout begins, and whether it is known."""
        if len(self.known) == streams:
            return self.start, self.known
        unknown = torch.zeros(streams, dtype=torch.bool, device=device)
        return self.start.new_zeros(streams, *self.inputs.shape), unknown

    def _running(self, steps: Steps) -> tuple[Tensor, Bool[Tensor, " N"]]:
        """s_0 (N, ...) of the episodes that run as the rollout ends, and whether it is known."""
        N = steps.shape[1]
        start, known = self._before(N, steps.first.device)
        last = _opened(steps.first)[-1]
        within = self.inputs.select(steps.obs)[last.clamp(min=0) * N + torch.arange(N, device=last.device)]
        return _choose(last >= 0, within, start), (last >= 0) | known

    def _keep(self, episodes: Transitions) -> None:
        """At most ``recent`` episodes into the ring, over the oldest."""
        count = len(episodes.action)
        slots = (self.finished + torch.arange(count, device=self.finished.device)) % self.config.recent
        self.starts[slots], self.ends[slots], self.option[slots] = episodes.obs, episodes.next_obs, episodes.action
        self.finished += count

    def _draw_recent(self, generator: torch.Generator) -> Transitions:
        """A batch of recent episodes, drawn evenly."""
        filled = min(int(self.finished), self.config.recent)
        slots = torch.randint(filled, (self.config.batch,), generator=generator, device=generator.device)
        slots = slots.to(self.option.device)
        return Transitions(obs=self.starts[slots], action=self.option[slots], next_obs=self.ends[slots], index=slots)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # a bonus is built before it meets its streams: a checkpoint says how many there were
        for name in ("start", "known"):
            if prefix + name in state_dict:
                setattr(self, name, getattr(self, name).new_zeros(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


def _opened(first: Bool[Tensor, "T N"]) -> Int[Tensor, "T N"]:
    """Time at which the episode of each step began; -1 before the rollout."""
    time = torch.arange(len(first), device=first.device).unsqueeze(1)
    return torch.where(first, time, -1).cummax(0).values


def _choose(mask: Bool[Tensor, " B"], chosen: Tensor, other: Tensor) -> Tensor:
    """Rows (B, ...) of ``chosen`` where the mask is set, of ``other`` elsewhere."""
    return torch.where(mask.view(-1, *(1,) * (chosen.dim() - 1)), chosen, other)
