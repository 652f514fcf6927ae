"""Collection of a rollout: T steps of N environments, each frame encoded once and kept in History.

A truncated step has gamma V(final frame) in ``RolloutData.bootstrap``, unless timeout_is_terminal. Where the
environment cannot show its final frame, ``terminal_observation`` is the frame before it, and V of that one is taken.

A frozen representation encodes here and never again: updates read the features that History keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from agents.config import Config
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.policy import Policy
from agents.runner import Action, PolicyRunner
from envs.history import History
from envs.rng_streams import Streams
from envs.spaces import FEATURES, keyed, keyed_space
from envs.steps import Obs, Steps
from representations.base import Representation, State

Observation = np.ndarray | dict[str, np.ndarray]
"""Observations (N, ...) of a VecEnv."""


@dataclass
class RolloutData:
    """Data of a rollout that History does not hold, in the dtype of the policy's heads; overwritten by the next one."""

    log_probs: Float[Tensor, "T N"]
    """log pi(a|s) when acting."""
    values: Float[Tensor, "T+1 N"]
    """V of the observation at each step, and of the one after the last."""
    bonus_values: Float[Tensor, "T+1 N"] | None
    """The same of the bonuses' own head, where there is one."""
    bootstrap: Float[Tensor, "T N"]
    """gamma V(final observation) at truncated steps, else 0; added to the reward."""
    contexts: Float[Tensor, "T N K"] | None
    """Context (a skill) that the policy read with each observation."""
    states: tuple[Tensor, ...]
    """State that was carried into each step, (T, N, ...) each, as far as an update begins from it
    (``Policy.stored_state``): what a representation that is trained carries, and the memory."""

    def states_at(self, indices: Int[Tensor, " B"]) -> State:
        """``states`` that were carried into the samples ``indices`` = t * N + i, each (B, ...)."""
        return tuple(state.flatten(0, 1)[indices] for state in self.states)

    @classmethod
    def allocate(cls, policy: Policy, n_steps: int, n_envs: int) -> RolloutData:
        """Storage for rollouts of (n_steps, n_envs) by ``policy``."""

        def zeros(*shape: int, dtype: torch.dtype = policy.dtype) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=policy.device)

        carried = policy.stored_state(policy.initial_state(n_envs))
        return cls(
            log_probs=zeros(n_steps, n_envs),
            values=zeros(n_steps + 1, n_envs),
            bonus_values=None if policy.bonus_net is None else zeros(n_steps + 1, n_envs),
            bootstrap=zeros(n_steps, n_envs),
            contexts=zeros(n_steps, n_envs, policy.context_dim, dtype=torch.float32) if policy.context_dim else None,
            states=tuple(zeros(n_steps, *tensor.shape, dtype=tensor.dtype) for tensor in carried),
        )


def kept_steps(representation: Representation, total_envs: int) -> int:
    """Steps of each environment that an auxiliary loss draws from: a window, or the replay it asks for."""
    return max(representation.window, -(-representation.replay_frames // total_envs))


def make_history(
    policy: Policy, config: Config, n_envs: int, total_envs: int, bonus_frames: bool, auxiliary: bool
) -> History:
    """Storage of rollouts by ``policy``, and of the older steps that its auxiliary loss draws from.

    Args:
        n_envs: environments of this rank.
        total_envs: environments of all ranks.
        bonus_frames: keep frames for a bonus even where the representation is frozen.
        auxiliary: whether there is an auxiliary loss.
    """
    representation, distribution, frozen = policy.representation, policy.distribution, policy.mode == "frozen"
    wanted = kept_steps(representation, total_envs)
    return History(
        keyed_space(policy.observation_space),
        config.n_steps,
        n_envs,
        frames=not frozen or bonus_frames,
        features_dim=representation.features_dim if frozen else 0,
        extra=max(0, wanted - config.n_steps) if auxiliary else 0,
        action_shape=distribution.shape,
        action_dtype=distribution.dtype,
        device=policy.device,
    )


class RolloutCollector:
    """Acts, and stores what a rollout needs: ``begin``, T times ``act`` and ``add``, then ``finish``.

    Args:
        policy: acts; its ``mode`` says whether features are stored instead of being encoded again.
        history: storage of T steps of this rank's N environments.
        config: settings of the agent.
        streams: random streams of the agent; here "policy" (actions) and "context".
        final_observations: keep the true last observations of episodes, which bonuses need.
        ranks: processes that train the agent, N environments each.
    """

    def __init__(
        self,
        policy: Policy,
        history: History,
        config: Config,
        streams: Streams,
        final_observations: bool = True,
        ranks: Ranks = SINGLE_PROCESS,
    ):
        self.policy, self.history, self.config, self.streams, self.ranks = policy, history, config, streams, ranks
        self.final_observations = final_observations
        self.frozen = policy.mode == "frozen"
        self.runner = PolicyRunner(policy, history.n_envs)
        self.allocate()
        self._t = 0
        self._action: Action | None = None

    def allocate(self) -> None:
        """Make the storage anew; to be called after the policy's dtype was changed."""
        self.data = RolloutData.allocate(self.policy, self.history.n_steps, self.history.n_envs)

    def forget(self) -> None:
        """Drop what is known of the environments' past: they were reset from outside."""
        self.history.clear()
        self.runner.reset()

    @property
    def is_open(self) -> bool:
        """True from ``begin`` to ``close``: a checkpoint then holds the rollout, as far as it has come."""
        return self.history.held

    @property
    def steps_taken(self) -> int:
        """Complete steps of the newest rollout."""
        return self._t

    def begin(self) -> None:
        """Open a new rollout."""
        self.history.begin()
        self.history.held = True
        self.data.bootstrap.zero_()
        self._t = 0

    def close(self) -> None:
        """Leave the rollout to the update: from now on no checkpoint needs it."""
        self.history.held = False

    @torch.no_grad()
    def act(self, observation: Observation) -> np.ndarray:
        """Actions (N, ...) of the next step, as the environment takes them.

        Noise is drawn for the environments of all ranks, contexts whether or not an episode begins: what a stream of
        random numbers gives at a step does not depend on what happened before.
        """
        n_envs, data, policy = self.history.n_envs, self.data, self.policy
        first_env = self.ranks.index * n_envs
        noise = policy.distribution.draw_noise(
            self.ranks.count * n_envs, self.streams["policy"], policy.action_net.weight
        )[first_env : first_env + n_envs]
        contexts = policy.draw_contexts(n_envs, self.streams["context"])
        for stored, carried in zip(data.states, policy.stored_state(self.runner.state), strict=True):
            stored[self._t].copy_(carried)
        action = self.runner.act(self._add_observation(observation), noise=noise, contexts=contexts)
        if data.contexts is not None:
            data.contexts[self._t].copy_(action.output.state[-1])
        self._add_output(action.output.features, action.output.value, action.output.bonus_value)
        data.log_probs[self._t] = policy.distribution.log_prob(action.parameters, action.action)
        self._action = action
        return policy.distribution.to_env(action.action)

    @torch.no_grad()
    def add(self, rewards: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]]) -> None:
        """Complete the step that ``act`` began; only finished environments are gone through one by one."""
        assert self._action is not None, "act() comes before add()"
        finished = np.flatnonzero(dones)
        truncated = np.zeros(len(dones), dtype=bool)
        truncated[finished] = [infos[i].get("TimeLimit.truncated", False) for i in finished]
        finals = self._final_observations(finished, truncated, infos)
        ended, cut_off = torch.from_numpy(dones), torch.from_numpy(truncated)
        self.history.add_step(self._action.action, torch.from_numpy(rewards), ended & ~cut_off, cut_off, finals)
        self.runner.episode_start = ended.to(self.runner.device)
        self._t, self._action = self._t + 1, None

    @torch.no_grad()
    def finish(self, observation: Observation) -> Steps:
        """The finished rollout (T, N); ``observation`` follows its last step."""
        output = self.runner.evaluate_next(self._add_observation(observation))
        self._add_output(output.features, output.value, output.bonus_value)
        return self.rollout()

    def rollout(self) -> Steps:
        """The newest rollout (T, N), once it is finished."""
        return replace(self.history.rollout(), context=self.data.contexts)

    def state_dict(self) -> dict[str, Any]:
        """Data of an open rollout beside ``History``'s; the runner's state is saved by itself."""
        values = {"values": self.data.values, "bonus_values": self.data.bonus_values}
        by_step = {name: getattr(self.data, name)[: self._t] for name in ("log_probs", "bootstrap")}
        if self.data.contexts is not None:
            by_step["contexts"] = self.data.contexts[: self._t]
        states = [state[: self._t] for state in self.data.states]
        return {**values, **by_step, "states": states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on within a rollout, or before a new one where ``state`` is empty."""
        self._t, self._action = len(state.get("log_probs", ())), None
        pairs = [(getattr(self.data, name), saved) for name, saved in state.items() if name != "states"]
        for target, saved in (*pairs, *zip(self.data.states, state.get("states", ()), strict=bool(state))):
            if saved is not None:
                target[: len(saved)].copy_(torch.as_tensor(saved))

    def _add_observation(self, observation: Observation) -> Obs:
        return self.history.add_obs(self._tensors(observation), self.runner.episode_start)

    def _add_output(self, features: Tensor, value: Tensor, bonus_value: Tensor | None) -> None:
        if self.frozen:
            self.history.add_features(features)
        self.data.values[self._t] = value
        if self.data.bonus_values is not None and bonus_value is not None:
            self.data.bonus_values[self._t] = bonus_value

    def _tensors(self, observation: Observation) -> Obs:
        """Tensors by key, without a copy: a CHW view of HWC memory stays one."""
        arrays: Mapping[str, np.ndarray] = keyed(observation, self.policy.observation_space)
        return {key: torch.from_numpy(array) for key, array in arrays.items()}

    def _final_observations(
        self, finished: np.ndarray, truncated: np.ndarray, infos: list[dict[str, Any]]
    ) -> dict[int, Obs]:
        """True last observations by environment; on the way, gamma V of truncated steps goes into ``bootstrap``."""
        known = [i for i in finished.tolist() if infos[i].get("terminal_observation") is not None]
        bootstrapped = [i for i in known if truncated[i] and not self.config.timeout_is_terminal]
        keep = self.history.frames or self.final_observations
        true = [i for i in known if keep and not infos[i].get("terminal_observation_is_previous", False)]
        envs = sorted({*bootstrapped, *true})
        if not envs:
            return {}
        device = self.runner.device
        observations = [self._tensors(infos[i]["terminal_observation"]) for i in envs]
        finals = {key: torch.stack([obs[key] for obs in observations]).to(device) for key in observations[0]}
        if bootstrapped or self.frozen:
            output = self.runner.evaluate_final(finals, torch.as_tensor(envs, device=device))
            if self.frozen:
                finals[FEATURES] = output.features
            for row, i in enumerate(envs):
                if i in bootstrapped:
                    self.data.bootstrap[self._t, i] = self.config.gamma * output.value[row]
        return {i: {key: final[row] for key, final in finals.items()} for row, i in enumerate(envs) if i in true}
