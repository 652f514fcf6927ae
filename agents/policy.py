"""Policy: a representation, hidden layers, and two linear heads.

    features = representation.encode(obs, state, first)        (B, D)
    h        = hidden(features)                                (B, D') the representation's neck, where it has one
                                                               (attention over slots), relu layers of sizes ``hidden``
    logits   = action_net(h), value = value_net(h)             (B, A), (B,)
    bonus value = bonus_net(h)                                 (B,), where bonuses have a value head of their own

A context (a bonus's skill) is drawn when an episode begins, is the last part of the state that ``encode`` carries, and
stands beside the features before the hidden layers.

It is a stable-baselines3 ``BasePolicy`` and not an ``ActorCriticPolicy``: that one re-draws every weight below it
(``ortho_init``) after it was built, and loaded encoder weights would be lost.

Precision "bfloat16" runs the representation, its own loss and the hidden layers under autocast; the two heads are
float32 always, because a value of 8 has a resolution of 1/16 in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from agents.parallel.threads import num_threads, parallel_map
from envs.registry import UsageError
from envs.steps import Obs
from representations.base import Mode, Representation, State

Precision = Literal["float32", "bfloat16"]


class Context(Protocol):
    """Who tells the policy what to be about in an episode: a bonus with skills."""

    @property
    def context_dim(self) -> int: ...
    def draw_context(self, count: int, generator: torch.Generator | None) -> Tensor: ...


PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
COMPILER = "inductor"
LEAST = 16
"""Rows that are worth a thread of their own."""
Judged = tuple[Tensor, Tensor, Tensor | None]
"""Logits (B, A), value (B,), and the value of the bonuses (B,) where they have a head."""


def keyed_space(space: gym.Space) -> gym.spaces.Dict:
    """The space by key; a bare Box is the key "image"."""
    return space if isinstance(space, gym.spaces.Dict) else gym.spaces.Dict({"image": space})


def log_probabilities(logits: Tensor) -> Tensor:
    """Logits (B, A) -> log pi (B, A), the way torch.distributions.Categorical does it."""
    return logits - logits.logsumexp(-1, keepdim=True)


class Policy(BasePolicy):
    """Acts on the features of one representation; see the module docstring.

    Args:
        observation_space: Box (C, H, W) uint8 or a Dict of keys.
        action_space: Discrete; anything else is a UsageError.
        representation: built and, where needed, pre-trained; its weights are taken as they are.
        mode: "frozen" keeps the representation without gradient and in eval mode whatever the policy's own mode is.
        precision: see the module docstring.
        bonus_head: with a value head for the bonuses.
        context: the bonus that draws contexts, where there is one.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        representation: Representation,
        mode: Mode = "online",
        precision: Precision = "float32",
        bonus_head: bool = False,
        context: Context | None = None,
    ):
        if not isinstance(action_space, gym.spaces.Discrete):
            raise UsageError(f"action space {action_space}: policies here choose among Discrete actions only")
        if precision not in PRECISIONS:
            raise UsageError(f"precision '{precision}'; known: {', '.join(PRECISIONS)}")
        super().__init__(observation_space, action_space)
        self.representation, self.mode, self.precision = representation, mode, precision
        self.draw_context = None if context is None else context.draw_context
        self.context_dim = 0 if context is None else context.context_dim
        neck = representation.neck()
        layers: list[nn.Module] = [] if neck is None else [neck]
        width: int = representation.features_dim if neck is None else neck.width  # type: ignore[assignment]
        if self.context_dim:
            layers = [Joined(neck or nn.Identity(), self.context_dim)]
            width += self.context_dim
        # Linear heads alone on features that never move would judge the heads, not the features; and a skill that is
        # only added to the logits would do the same everywhere.
        deeper = mode == "frozen" or self.context_dim > 0
        sizes = representation.hidden or (Representation.hidden if deeper else ())
        for size in sizes:
            layers += [_orthogonal(nn.Linear(width, size), math.sqrt(2)), nn.ReLU(inplace=True)]
            width = size
        self.hidden = nn.Sequential(*layers)
        self.action_net = _orthogonal(nn.Linear(width, int(action_space.n)), 0.01)
        self.value_net = _orthogonal(nn.Linear(width, 1), 1.0)
        self.bonus_net = _orthogonal(nn.Linear(width, 1), 1.0) if bonus_head else None
        self._compiled: Callable[..., tuple[Tensor, State]] | None = None
        self._compiled_for: frozenset[int] = frozenset()
        self.generator: torch.Generator | None = None
        """Draws the actions of ``predict``; None: torch's global generator."""
        if mode == "frozen":
            representation.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Policy:
        """As in torch, but a frozen representation stays in eval mode: its BatchNorm must not wake."""
        super().train(mode)
        if self.mode == "frozen":
            self.representation.eval()
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Of logits and values."""
        return self.value_net.weight.dtype

    @property
    def num_threads(self) -> int:
        """Threads that the rows of a batch are worth at most."""
        return num_threads(self.device) if self._compiled is None else 1

    def compile_for(self, *rows: int) -> None:
        """Have torch compile the representation's ``encode`` for batches of so many rows; others stay as they are.

        The compiler fuses what lies between convolutions, for each number of rows anew.
        """
        self._compiled_for = frozenset(rows)
        self._compiled = torch.compile(self.representation.encode, dynamic=False, backend=COMPILER)

    def trainable(self) -> list[nn.Parameter]:
        """What the one optimizer moves: everything that takes a gradient, so nothing of a frozen representation."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def encode(self, obs: Obs, state: State = (), first: Tensor | None = None) -> tuple[Tensor, State]:
        """Observations (B, ...) -> features (B, D) and the next state, its context as it was."""
        kept = state[-1:] if self.context_dim else ()
        encode = self.representation.encode
        if self._compiled is not None and len(next(iter(obs.values()))) in self._compiled_for:
            encode = self._compiled
        with self.autocast():
            features, state = encode(obs, state[: len(state) - len(kept)], first)
        return features.to(self.dtype), (*state, *kept)

    def context(self, state: State) -> Tensor | None:
        """The context (B, K) in a state; None where there is none."""
        return state[-1] if self.context_dim else None

    def contexts(self, count: int, generator: torch.Generator | None) -> Tensor | None:
        """New contexts (count, K); None where there are none."""
        return None if self.draw_context is None else self.draw_context(count, generator)

    def renew(self, state: State, first: Tensor, drawn: Tensor | torch.Generator | None) -> State:
        """The state with a new context where ``first`` (B,) says that an episode begins.

        ``drawn``: rows of ``contexts`` (B, K), or a generator.
        """
        if self.draw_context is None:
            return state
        *rest, context = state
        new = drawn if isinstance(drawn, Tensor) else self.draw_context(len(first), drawn)
        return (*rest, torch.where(first.unsqueeze(1), new.to(context), context))

    def heads(self, features: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features (B, D), and contexts (B, K) where there are any -> logits (B, A) and values (B,)."""
        return self.all_heads(features, context)[:2]

    def all_heads(self, features: Tensor, context: Tensor | None = None) -> Judged:
        """As ``heads``, and the value of the bonuses (B,) where they have a head."""
        with self.autocast():
            hidden = self.hidden(features if context is None else torch.cat([features, context.to(features)], 1))
        with torch.autocast(self.device.type, enabled=False):
            hidden = hidden.to(self.dtype)
            bonus = None if self.bonus_net is None else self.bonus_net(hidden).squeeze(-1)
            return self.action_net(hidden), self.value_net(hidden).squeeze(-1), bonus

    @torch.no_grad()
    def look(self, obs: Obs, state: State, first: Tensor) -> tuple[Tensor, State, Judged]:
        """Encode observations (B, ...) and judge them, without gradient; rows side by side where there are enough."""
        batch = len(first)
        count = max(1, min(self.num_threads, batch // LEAST))
        rows = [slice(k * batch // count, (k + 1) * batch // count) for k in range(count)]

        def work(part: slice) -> tuple[Tensor, State, Judged]:
            some = {key: value[part] for key, value in obs.items()}
            features, after = self.encode(some, tuple(kept[part] for kept in state), first[part])
            return features, after, self.all_heads(features, self.context(after))

        parts = parallel_map(work, rows, count)
        if count == 1:
            return parts[0]
        features, states, judged = zip(*parts, strict=True)
        logits, value, bonus = zip(*judged, strict=True)
        whole = tuple(torch.cat(each) for each in zip(*states, strict=True))
        return torch.cat(features), whole, (torch.cat(logits), torch.cat(value), _cat(bonus))

    def noise(self, count: int, generator: torch.Generator | None) -> Tensor:
        """What ``draw`` takes for ``count`` actions (count, A), a row an action."""
        weight = self.action_net.weight
        return torch.empty(count, len(weight), dtype=weight.dtype, device=weight.device).exponential_(
            generator=generator
        )

    def draw(self, log_pi: Tensor, drawn: Tensor | torch.Generator | None) -> Tensor:
        """One action (B,) from log pi (B, A), with rows of ``noise`` (B, A) or a generator.

        With a generator, what ``Categorical.sample`` draws from the same state of it.
        """
        pi = log_pi.softmax(-1)
        # The largest of p / q, q exponential, is a draw from p: torch.multinomial's own way, by rows here.
        noise = drawn if isinstance(drawn, Tensor) else torch.empty_like(pi).exponential_(generator=drawn)
        return (pi / noise).argmax(-1)

    def tensors(self, observation: np.ndarray | Mapping[str, np.ndarray]) -> Obs:
        """What a VecEnv gives -> tensors by key, without a copy: a CHW view of HWC memory stays one."""
        keyed = observation if isinstance(observation, Mapping) else {"image": observation}
        return {key: torch.from_numpy(value) for key, value in keyed.items()}

    def _choose(
        self, obs: Tensor | Mapping[str, Tensor], state: State, first: Tensor, deterministic: bool
    ) -> tuple[Tensor, State]:
        state = self.renew(state, first, self.generator)
        _, state, (logits, *_) = self.look(dict(obs) if isinstance(obs, Mapping) else {"image": obs}, state, first)
        log_pi = log_probabilities(logits)
        return log_pi.argmax(-1) if deterministic else self.draw(log_pi, self.generator), state

    def _predict(self, observation: Tensor | Mapping[str, Tensor], deterministic: bool = False) -> Tensor:
        some = next(iter(observation.values())) if isinstance(observation, Mapping) else observation
        first = torch.ones(some.shape[0], dtype=torch.bool, device=self.device)
        return self._choose(observation, self.initial_state(some.shape[0]), first, deterministic)[0]

    def initial_state(self, batch: int) -> State:
        """The state before any frame, on the policy's device; its context is still to be drawn."""
        state = tuple(part.to(self.device) for part in self.representation.initial_state(batch))
        return (*state, torch.zeros(batch, self.context_dim, device=self.device)) if self.context_dim else state

    @torch.no_grad()
    def predict(
        self,
        observation: np.ndarray | Mapping[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions for one observation or a batch; ``state`` is what the previous call gave, None at the start.

        ``episode_start`` (B,) bool marks the streams whose representation state begins anew.
        """
        self.set_training_mode(False)
        tensors, vectorised = self.obs_to_tensor(observation)  # type: ignore[arg-type]
        batch = (next(iter(tensors.values())) if isinstance(tensors, Mapping) else tensors).shape[0]
        if state is None:
            carried, episode_start = self.initial_state(batch), np.ones(batch, dtype=bool)
        else:
            carried = tuple(torch.as_tensor(part, device=self.device) for part in state)
        first = torch.zeros(batch, dtype=torch.bool, device=self.device)
        if episode_start is not None:
            first.copy_(torch.as_tensor(episode_start))
        chosen, carried = self._choose(tensors, carried, first, deterministic)
        actions = chosen.cpu().numpy()
        return actions if vectorised else actions[0], tuple(part.cpu().numpy() for part in carried) or None


class Joined(nn.Module):
    """The neck on the features, the context (its last K columns) beside: (B, D + K) -> (B, D' + K)."""

    def __init__(self, neck: nn.Module, context_dim: int):
        super().__init__()
        self.neck, self.context_dim = neck, context_dim

    def forward(self, joined: Tensor) -> Tensor:
        features, context = joined[:, : -self.context_dim], joined[:, -self.context_dim :]
        features = self.neck(features)
        return torch.cat([features, context.to(features)], 1)


def _cat(parts: Sequence[Tensor | None]) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None


def _orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
