"""All acting: in training (``agents.rollout``), in evaluation (``agents.runs.evaluate``) and in ``Policy.predict``.

A ``PolicyRunner`` knows for each of N environments what the policy carries from step to step and whether an episode
begins. ``act`` draws contexts where episodes begin, runs the forward pass and draws actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from agents.distributions import ActionDistribution
from envs.steps import Obs
from representations.base import State
from representations.threads import parallel_map

MIN_ROWS_PER_THREAD = 16


class PolicyOutput(NamedTuple):
    """One forward pass over B observations."""

    features: Tensor
    """(B, D)."""
    state: State
    """Carried to the next step, each (B, ...): the representation's, the memory, the context."""
    action_outputs: Tensor
    """(B, M), for ``Policy.distribution``."""
    value: Tensor
    """(B,)."""
    bonus_value: Tensor | None
    """(B,) value of the bonuses, where they have a head."""


@runtime_checkable
class ActingPolicy(Protocol):
    """The part of ``agents.policy.Policy`` that acting needs."""

    @property
    def mode(self) -> str: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def num_threads(self) -> int: ...
    @property
    def distribution(self) -> ActionDistribution: ...
    def __call__(self, obs: Obs, state: State, first: Tensor) -> PolicyOutput: ...
    def forward_features(self, features: Tensor, encoded: State, state: State, first: Tensor) -> PolicyOutput: ...
    def initial_state(self, batch: int) -> State: ...
    def encoder_state(self, state: State) -> State: ...
    def start_episodes(self, state: State, first: Tensor, contexts: Tensor | torch.Generator | None) -> State: ...


class Action(NamedTuple):
    """Actions of B environments and the forward pass they come from."""

    action: Tensor
    """(B, ...) as ``Policy.distribution`` stores them."""
    parameters: Tensor
    """(B, P) of the distribution they are drawn from."""
    output: PolicyOutput


class PolicyRunner:
    """A policy acting in ``num_envs`` environments; nothing here records gradients.

    Attributes:
        state: carried by the policy, each tensor (N, ...), after the newest forward pass.
        episode_start: (N,) bool, whether the next observations open an episode; whoever steps the environments sets it.

    Args:
        generator: draws contexts and actions where the caller brings no noise; None: torch's global generator.
    """

    state: State
    episode_start: Bool[Tensor, " N"]

    def __init__(self, policy: ActingPolicy, num_envs: int, generator: torch.Generator | None = None):
        self.policy, self.num_envs, self.generator = policy, num_envs, generator
        self.device = policy.device  # which a policy looks up among its parameters each time it is asked
        self.reset()

    def reset(self) -> None:
        """Forget the past of all environments: every next observation opens an episode."""
        self.state = self.policy.initial_state(self.num_envs)
        self.episode_start = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._encoded: tuple[Tensor, State] | None = None  # of the observations that ``act`` gets next

    def act(
        self,
        obs: Obs,
        rows: Int[Tensor, " B"] | None = None,
        *,
        noise: Float[Tensor, "B Z"] | None = None,
        contexts: Float[Tensor, "B K"] | None = None,
        deterministic: bool = False,
    ) -> Action:
        """Choose actions for observations (B, ...).

        Args:
            rows: the environments they come from; None: all N.
            noise: rows of the distribution's ``draw_noise``; None draws it here.
            contexts: new contexts, used where an episode begins; None draws them here.
            deterministic: take the likeliest actions.
        """
        output = self.forward(obs, rows, contexts)
        distribution = self.policy.distribution
        parameters = distribution.parameters(output.action_outputs)
        if deterministic:
            return Action(distribution.mode(parameters), parameters, output)
        action = distribution.sample(parameters, self.generator if noise is None else noise)
        return Action(action, parameters, output)

    @torch.no_grad()
    def forward(
        self, obs: Obs, rows: Int[Tensor, " B"] | None = None, contexts: Float[Tensor, "B K"] | None = None
    ) -> PolicyOutput:
        """Forward pass over observations (B, ...), once per step; the state of their environments moves on."""
        state, first = self._select(rows)
        state = self.policy.start_episodes(state, first, self.generator if contexts is None else contexts)
        if rows is not None:
            output = self._compute(obs, state, first)
            for whole, new in zip(self.state, output.state, strict=True):
                whole[rows] = new.to(whole.dtype)
            return output
        if self._encoded is None:
            output = self._compute(obs, state, first)
        else:  # memory and heads have learnt since, and contexts were drawn for the episodes that begin
            output = self.policy.forward_features(*self._encoded, state, first)
        self.state, self._encoded = output.state, None
        return output

    @torch.no_grad()
    def evaluate_next(self, obs: Obs) -> PolicyOutput:
        """Forward pass over the observations (N, ...) that ``act`` will get next; nothing is drawn, no state moves on.

        A frozen representation does not encode them again then.
        """
        output = self._compute(obs, self.state, self.episode_start)
        if self.policy.mode == "frozen":
            # Copied, as where a matrix begins in memory decides how its products round.
            encoded = self.policy.encoder_state(output.state)
            self._encoded = output.features.clone(), tuple(tensor.clone() for tensor in encoded)
        return output

    @torch.no_grad()
    def evaluate_final(self, obs: Obs, rows: Int[Tensor, " B"]) -> PolicyOutput:
        """Forward pass over the last observations (B, ...) of the running episodes ``rows``; no state moves on."""
        state, first = self._select(rows)
        return self._compute(obs, state, torch.zeros_like(first))

    def _select(self, rows: Tensor | None) -> tuple[State, Tensor]:
        if rows is None:
            return self.state, self.episode_start
        return tuple(tensor[rows] for tensor in self.state), self.episode_start[rows]

    def _compute(self, obs: Obs, state: State, first: Bool[Tensor, " B"]) -> PolicyOutput:
        """Forward pass, its rows split among worker threads where there are enough."""
        batch = len(first)
        count = max(1, min(self.policy.num_threads, batch // MIN_ROWS_PER_THREAD))
        if count == 1:
            return self.policy(obs, state, first)

        def work(rows: slice) -> PolicyOutput:
            chunk = {key: value[rows] for key, value in obs.items()}
            return self.policy(chunk, tuple(tensor[rows] for tensor in state), first[rows])

        rows = [slice(k * batch // count, (k + 1) * batch // count) for k in range(count)]
        features, states, action_outputs, value, bonus = zip(*parallel_map(work, rows, count), strict=True)
        return PolicyOutput(
            torch.cat(features),
            tuple(torch.cat(chunks) for chunks in zip(*states, strict=True)),
            torch.cat(action_outputs),
            torch.cat(value),
            _cat_if_any(bonus),
        )

    def state_dict(self) -> dict[str, Any]:
        """Carried state and episode starts, between two calls of ``act``."""
        return {"state": list(self.state), "episode_start": self.episode_start}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict()`` of an equal runner; the next observations are encoded anew."""
        self.state = tuple(torch.as_tensor(tensor).to(self.device) for tensor in state["state"])
        self.episode_start = torch.as_tensor(state["episode_start"]).to(self.device)
        self._encoded = None


def _cat_if_any(chunks: Sequence[Shaped[Tensor, " _"] | None]) -> Tensor | None:
    tensors = [chunk for chunk in chunks if chunk is not None]
    return torch.cat(tensors) if tensors else None
