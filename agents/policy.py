"""The policy: a representation with heads on top of its features.

    features = representation(obs)                             (B, D)
    h        = hidden(neck(features), context)                 the method's neck, if any (pooling over frames' channels,
               attention over slots), relu layers of sizes ``hidden``
               hidden(GRU(neck(features)), context)            with memory (``agents.memory``)
    action outputs = action_net(h), value = value_net(h)       (B, M), (B,); a Box's log std follows, one for all states
    bonus value    = bonus_net(h)                              (B,), where bonuses have a value head of their own

A context (a bonus's skill) is drawn when an episode begins and stays until it ends; it is appended to the features, or
to the memory's output, before the hidden layers.

What is carried from step to step is one tuple, each tensor (B, ...): what the representation carries, then the memory,
then the context. Whoever keeps it, splits it or writes it down need not know whose it is.

It is a stable-baselines3 ``BasePolicy`` and not an ``ActorCriticPolicy``: that one re-draws every weight below it
(``ortho_init``) after it was built, and loaded encoder weights would be lost.

Precision "bfloat16" runs the representation, its auxiliary loss and the hidden layers under autocast; the heads are
float32 always, because a value of 8 has a resolution of 1/16 in bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Bool, Float
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor, nn

from agents.actions import make_distribution
from agents.memory import Memory
from agents.runner import PolicyOutput, PolicyRunner
from envs.registry import UsageError
from envs.spaces import keyed
from envs.steps import Obs
from representations.base import Mode, Representation, State
from representations.threads import num_threads

Precision = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
COMPILER = "inductor"


@runtime_checkable
class ContextSource(Protocol):
    """A bonus that gives the policy a context (a skill) per episode."""

    @property
    def context_dim(self) -> int: ...
    def draw_context(self, count: int, generator: torch.Generator | None) -> Tensor: ...


class HeadOutputs(NamedTuple):
    """Outputs of the heads for B observations."""

    action_outputs: Tensor
    """(B, M), for ``Policy.distribution``."""
    value: Tensor
    """(B,)."""
    bonus_value: Tensor | None
    """(B,) value of the bonuses, where they have a head."""


class Policy(BasePolicy):
    """Representation and heads; see the module docstring.

    Args:
        observation_space: Box or a Dict of keys; images (C, H, W) uint8.
        action_space: a space that ``agents.actions`` has a distribution for.
        representation: built and, where needed, pre-trained; its weights are taken as they are.
        mode: "frozen" keeps the representation without gradient and in eval mode whatever the policy's own mode is.
        precision: see the module docstring.
        bonus_head: whether bonuses have a value head of their own.
        context: the bonus that draws contexts, where there is one.
        memory: units of the GRU between features and heads; 0: none.
    """

    def __init__(
        self,
        observation_space: gym.Space,
        action_space: gym.Space,
        representation: Representation,
        mode: Mode = "online",
        precision: Precision = "float32",
        bonus_head: bool = False,
        context: ContextSource | None = None,
        memory: int = 0,
    ):
        distribution = make_distribution(action_space)
        if precision not in PRECISIONS:
            raise UsageError(f"precision '{precision}'; known: {', '.join(PRECISIONS)}")
        super().__init__(observation_space, action_space)
        self.distribution = distribution
        self.representation, self.mode, self.precision = representation, mode, precision
        self._draw_context = None if context is None else context.draw_context
        self.context_dim = 0 if context is None else context.context_dim
        self._encoder_states = len(representation.initial_state(1))
        layers, width = self._make_hidden(memory)
        self.hidden = nn.Sequential(*layers)
        self.action_net = _orthogonal(nn.Linear(width, distribution.num_outputs), 0.01)
        self.log_std = nn.Parameter(torch.zeros(distribution.num_free)) if distribution.num_free else None
        self.value_net = _orthogonal(nn.Linear(width, 1), 1.0)
        self.bonus_net = _orthogonal(nn.Linear(width, 1), 1.0) if bonus_head else None
        self._compiled: Callable[..., tuple[Tensor, State]] | None = None
        self._compiled_for: frozenset[int] = frozenset()
        self.generator: torch.Generator | None = None
        """Draws the actions of ``predict``; None: torch's global generator."""
        if mode == "frozen":
            representation.requires_grad_(False)
        self.train(self.training)

    def _make_hidden(self, memory: int) -> tuple[list[nn.Module], int]:
        """Layers between features, or memory, and heads, and the width of their output; makes the memory."""
        representation = self.representation
        neck = representation.neck()
        layers: list[nn.Module] = [] if neck is None else [neck]
        width: int = representation.features_dim if neck is None else neck.width  # type: ignore[assignment]
        self.memory = Memory(neck, width, memory) if memory else None
        if memory:
            layers, width, neck = [], memory, None
        if self.context_dim:
            layers = [NeckWithContext(neck or nn.Identity(), self.context_dim)]
            width += self.context_dim
        # Linear heads alone on features that never move would test the heads, not the features; and a skill that is
        # only added to the action head's outputs would do the same everywhere.
        deeper = self.mode == "frozen" or self.context_dim > 0
        sizes = representation.hidden or (Representation.hidden if deeper else ())
        for size in sizes:
            layers += [_orthogonal(nn.Linear(width, size), math.sqrt(2)), nn.ReLU(inplace=True)]
            width = size
        return layers, width

    def train(self, mode: bool = True) -> Policy:
        """Set the mode as in torch, but keep a frozen representation in eval mode: its BatchNorm must not move."""
        super().train(mode)
        if self.mode == "frozen":
            self.representation.eval()
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Type of values and of the action head's outputs."""
        return self.value_net.weight.dtype

    @property
    def num_threads(self) -> int:
        """Worker threads that the rows of a batch are split among at most."""
        return num_threads(self.device) if self._compiled is None else 1

    def compile_for(self, *rows: int) -> None:
        """Have torch compile the representation's ``encode`` for batches of so many rows; others stay as they are.

        The compiler fuses what lies between convolutions, for each number of rows anew.
        """
        self._compiled_for = frozenset(rows)
        self._compiled = torch.compile(self.representation.encode, dynamic=False, backend=COMPILER)

    def trainable(self) -> list[nn.Parameter]:
        """Parameters of the one optimizer: everything that takes a gradient, so nothing of a frozen representation."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def autocast(self) -> AbstractContextManager[Any]:
        """Context in which the representation and the hidden layers run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    # forward pass -----------------------------------------------------------------------------------------------------

    def forward(self, obs: Obs, state: State, first: Bool[Tensor, " B"]) -> PolicyOutput:
        """Encode observations (B, ...) and apply the heads; ``first`` marks rows that open an episode."""
        return self.forward_features(*self.encode(obs, self.encoder_state(state), first), state, first)

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        """Features of observations (B, ...), and what the representation carries on; ``state`` is its own alone."""
        encode = self.representation.encode
        if self._compiled is not None and len(next(iter(obs.values()))) in self._compiled_for:
            encode = self._compiled
        with self.autocast():
            features, carried = encode(obs, state, first)
        return features.to(self.dtype), carried

    def forward_features(
        self, features: Float[Tensor, "B D"], encoded: State, state: State, first: Bool[Tensor, " B"]
    ) -> PolicyOutput:
        """Memory and heads on features.

        Args:
            encoded: what the representation carries on.
            state: the policy's, before this step.
        """
        inputs = self.remember(features, self.stored_state(state), first.unsqueeze(0))
        remembered = () if self.memory is None else (inputs,)
        context = self.context_of(state)
        contexts = () if context is None else (context,)
        return PolicyOutput(features, (*encoded, *remembered, *contexts), *self.heads(inputs, context))

    def heads(self, features: Float[Tensor, "B D"], context: Float[Tensor, "B K"] | None = None) -> HeadOutputs:
        """Outputs of the heads on features, or on the memory's outputs; ``context`` where the policy has one."""
        with self.autocast():
            hidden = self.hidden(features if context is None else torch.cat([features, context.to(features)], 1))
        with torch.autocast(self.device.type, enabled=False):
            hidden = hidden.to(self.dtype)
            bonus = None if self.bonus_net is None else self.bonus_net(hidden).squeeze(-1)
            outputs = self.action_net(hidden)
            if self.log_std is not None:
                outputs = torch.cat([outputs, self.log_std.expand(len(outputs), -1)], 1)
            return HeadOutputs(outputs, self.value_net(hidden).squeeze(-1), bonus)

    # sequences --------------------------------------------------------------------------------------------------------

    def unroll(self, obs: Obs, state: State, first: Bool[Tensor, "T B"]) -> Float[Tensor, "TB D"]:
        """Features of T steps of B streams, observations (T*B, ...), from the ``stored_state`` of their start.

        A representation that carries nothing encodes all of them at once.
        """
        steps, batch = first.shape
        state = self.encoder_state(state)
        if steps == 1 or not self._encoder_states:
            return self.encode(obs, state, first.flatten())[0]
        collected = []
        for t in range(steps):
            rows = slice(t * batch, (t + 1) * batch)
            features, state = self.encode({key: value[rows] for key, value in obs.items()}, state, first[t])
            collected.append(features)
        return torch.cat(collected)

    def remember(
        self, features: Float[Tensor, "TB D"], state: State, first: Bool[Tensor, "T B"]
    ) -> Float[Tensor, "TB H"]:
        """The memory's outputs for T steps of B streams from the ``stored_state`` of their start; else the features."""
        if self.memory is None:
            return features
        with self.autocast():
            outputs: Tensor = self.memory(features, state[-1], first)
        return outputs

    # state carried from step to step ----------------------------------------------------------------------------------

    def initial_state(self, batch: int) -> State:
        """State before any frame, on the policy's device; its context is still to be drawn."""
        state = tuple(tensor.to(self.device) for tensor in self.representation.initial_state(batch))
        if self.memory is not None:
            state = (*state, self.memory.initial_state(batch))
        return (*state, torch.zeros(batch, self.context_dim, device=self.device)) if self.context_dim else state

    def encoder_state(self, state: State) -> State:
        """The part of a state that is the representation's."""
        return state[: self._encoder_states]

    def stored_state(self, state: State) -> State:
        """The part of a state that an update begins from: not the context, nor what a frozen representation carries."""
        return state[self._encoder_states * (self.mode == "frozen") : len(state) - (self.context_dim > 0)]

    def context_of(self, state: State) -> Tensor | None:
        """Context (B, K) in a state; None where there is none."""
        return state[-1] if self.context_dim else None

    def draw_contexts(self, count: int, generator: torch.Generator | None) -> Tensor | None:
        """New contexts (count, K); None where there are none."""
        return None if self._draw_context is None else self._draw_context(count, generator)

    def start_episodes(
        self, state: State, first: Bool[Tensor, " B"], contexts: Tensor | torch.Generator | None
    ) -> State:
        """The state with a new context where ``first`` says that an episode begins.

        Args:
            contexts: rows of ``draw_contexts`` (B, K), or the generator that draws them.
        """
        if self._draw_context is None:
            return state
        context = state[-1]
        new = contexts if isinstance(contexts, Tensor) else self._draw_context(len(first), contexts)
        return (*state[:-1], torch.where(first.unsqueeze(1), new.to(context), context))

    # stable-baselines3's interface ------------------------------------------------------------------------------------

    def save(self, path: Any) -> None:
        """Refuse: an agent saves its policy."""
        raise UsageError("policy.save: save the agent, agent.save(path); load_agent(path).policy is its policy again")

    @classmethod
    def load(cls, path: Any, device: torch.device | str = "auto") -> Policy:
        """Refuse: nothing here is unpickled."""
        raise UsageError("Policy.load: take agents.runs.load.load_agent(path).policy, of what agent.save(path) wrote")

    def _predict(self, observation: Tensor | Mapping[str, Tensor], deterministic: bool = False) -> Tensor:
        obs = keyed(observation, self.observation_space)
        runner = PolicyRunner(self, len(next(iter(obs.values()))), self.generator)
        return runner.act(obs, deterministic=deterministic).action

    @torch.no_grad()
    def predict(
        self,
        observation: np.ndarray | Mapping[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """Actions, as the environment takes them, for one observation or a batch.

        ``state`` is what the previous call gave, None at the start.
        ``episode_start`` (B,) bool marks the rows whose carried state begins anew.
        """
        self.set_training_mode(False)
        tensors, vectorised = self.obs_to_tensor(observation)  # type: ignore[arg-type]
        obs: Obs = keyed(tensors, self.observation_space)  # type: ignore[arg-type]
        batch = len(next(iter(obs.values())))
        runner = PolicyRunner(self, batch, self.generator)
        if state is not None:
            runner.state = tuple(torch.as_tensor(array, device=self.device) for array in state)
            starts = np.zeros(batch, dtype=bool) if episode_start is None else np.asarray(episode_start, dtype=bool)
            runner.episode_start = torch.as_tensor(starts, device=self.device).expand(batch)
        actions = self.distribution.to_env(runner.act(obs, deterministic=deterministic).action)
        carried = tuple(tensor.cpu().numpy() for tensor in runner.state)
        return actions if vectorised else actions[0], carried or None


class NeckWithContext(nn.Module):
    """The neck over the features and the context (the last K columns) unchanged: (B, D + K) -> (B, D' + K)."""

    def __init__(self, neck: nn.Module, context_dim: int):
        super().__init__()
        self.neck, self.context_dim = neck, context_dim

    def forward(self, inputs: Float[Tensor, "B D_plus_K"]) -> Float[Tensor, "B D2_plus_K"]:
        features, context = inputs[:, : -self.context_dim], inputs[:, -self.context_dim :]
        features = self.neck(features)
        return torch.cat([features, context.to(features)], 1)


def _orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
