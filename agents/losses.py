"""Losses of a minibatch, cut into micro-batches.

    L_rl = policy loss + value_coef * value loss - entropy_coef * H

The policy and value losses are the algorithm's (``agents.ppo``, ``agents.a2c``). The auxiliary loss is the
representation's own, in mode online: of the same minibatch, or of windows of consecutive steps drawn from History.

A minibatch is made of sequences: single samples, or with memory ``Config.sequence_steps`` steps of one environment
each, through which the policy runs again from the state it was acted from, reset where an episode begins.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from agents.config import Config
from agents.gradients import Loss
from agents.metrics import MetricMeans
from agents.minibatches import sequences, spread_indices
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.policy import Policy
from agents.rewards import Targets
from agents.rollout import RolloutData, kept_steps
from envs.history import History
from envs.rng_streams import Streams, spawn
from envs.spaces import FEATURES
from envs.steps import Obs, Steps, flatten
from representations.base import Heads, State
from representations.feature_metrics import dead_units, effective_rank, feature_std
from representations.wrappers import own_features

SampleLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Loss of each sample (B,) from three (B,) tensors; see ``OnPolicyAlgorithm.policy_loss`` and ``value_loss``."""


class ActorCriticLoss:
    """The RL loss of minibatches of one rollout.

    Args:
        policy_loss: from log pi(a|s) now and when acting, and the advantage.
        value_loss: from the value now and when acting, and the return.
    """

    def __init__(
        self,
        policy: Policy,
        history: History,
        data: RolloutData,
        targets: Targets,
        config: Config,
        policy_loss: SampleLoss,
        value_loss: SampleLoss,
        ranks: Ranks = SINGLE_PROCESS,
    ):
        self.policy, self.history, self.data, self.targets, self.config = policy, history, data, targets, config
        self.policy_loss, self.value_loss, self.ranks = policy_loss, value_loss, ranks
        self.frozen, self.steps = policy.mode == "frozen", config.sequence_steps
        self.all_advantages = ranks.gather_streams(targets.advantage).flatten()
        """Advantages in all ranks' environments, by t * N + i."""

    def micro_batches(self, indices: Int[Tensor, " B"], chunk_size: Callable[[int], int]) -> list[Loss]:
        """Losses whose sum over all ranks is that of the minibatch.

        Args:
            indices: the first samples of the minibatch's sequences, t * N + i over all ranks' environments.
            chunk_size: micro-batch size for a number of samples (``GradientStep.chunk_size``).
        """
        n_envs = self.history.n_envs
        local = sequences(self.ranks.local_indices(indices, n_envs), self.steps, n_envs)
        all_samples = sequences(indices, self.steps, n_envs * self.ranks.count)
        advantage, all_advantages = self.targets.advantage.flatten()[local], self.all_advantages[all_samples].flatten()
        if self.config.normalise_advantage and len(all_advantages) > 1:
            advantage = (advantage - all_advantages.mean()) / (all_advantages.std() + 1e-8)
        size = max(1, chunk_size(local.numel()) // self.steps)
        return [
            functools.partial(self.compute, chunk, chunk_advantage.flatten(), chunk.shape[1] / len(indices))
            for chunk, chunk_advantage in zip(local.split(size, 1), advantage.split(size, 1), strict=True)
            if chunk.numel()
        ]

    def compute(
        self, places: Int[Tensor, "T B"], advantage: Float[Tensor, " TB"], weight: float, metrics: MetricMeans
    ) -> Float[Tensor, ""]:
        """L_rl of this rank's sequences ``places`` = t * n + i, times ``weight``, their fraction of the minibatch."""
        config, data, targets, distribution = self.config, self.data, self.targets, self.policy.distribution
        steps, features, inputs, context = self.encode(places)
        indices = places.flatten()
        heads = self.policy.heads(inputs, context)
        parameters = distribution.parameters(heads.action_outputs)
        log_prob = distribution.log_prob(parameters, steps.action[0])
        old_log_prob = data.log_probs.flatten()[indices]
        policy_loss = self.policy_loss(log_prob, old_log_prob, advantage).mean()
        value_loss = self._value_loss(heads.value, targets.returns, data.values, indices)
        if heads.bonus_value is not None and data.bonus_values is not None and targets.bonus_returns is not None:
            bonus_loss = self._value_loss(heads.bonus_value, targets.bonus_returns, data.bonus_values, indices)
            metrics.add("loss/bonus_value", bonus_loss, weight)
            value_loss = value_loss + bonus_loss
        entropy = distribution.entropy(parameters).mean()
        metrics.add("loss/policy", policy_loss, weight)
        metrics.add("loss/value", value_loss, weight)
        metrics.add("loss/entropy", entropy, weight)
        with torch.no_grad():
            log_ratio = log_prob - old_log_prob
            metrics.add("train/approx_kl", (log_ratio.exp() - 1 - log_ratio).mean(), weight)
            if not self.frozen:
                add_feature_metrics(features, weight, metrics)
        return (policy_loss + config.value_coef * value_loss - config.entropy_coef * entropy) * weight

    def encode(
        self, places: Int[Tensor, "T B"]
    ) -> tuple[Steps, Float[Tensor, "TB D"], Float[Tensor, "TB H"], Float[Tensor, "TB K"] | None]:
        """This rank's sequences ``places`` = t * n + i, run through from the state they were acted from.

        Returns:
            Their steps (1, T*B), their features now, the inputs of the heads, and their contexts.
        """
        data, indices = self.data, places.flatten()
        steps = self.history.minibatch(indices, (FEATURES,) if self.frozen else self.policy.representation.keys)
        context = None if data.contexts is None else data.contexts.flatten(0, 1)[indices]
        state, first = data.states_at(places[0]), steps.first[0].view(places.shape)
        obs = flatten(steps.obs)
        features = obs[FEATURES] if self.frozen else self.policy.unroll(obs, state, first)
        return steps, features, self.policy.remember(features, state, first), context

    @torch.no_grad()
    def add_plasticity_metrics(self, metrics: MetricMeans) -> None:
        """Dead units of the features, effective rank of the method's own, dead units of the last hidden layer, if any.

        Vectors of the observation and older frames beside the method's features would hide that these have collapsed.
        Over at most ``WATCHED`` samples of the rollout, spread over its steps and environments. Draws nothing; the
        caller puts the policy into eval mode.
        """
        policy = self.policy
        _, features, inputs, context = self.encode(spread_indices(*self.targets.advantage.shape).unsqueeze(0))
        metrics.add("representation/dead_units", dead_units(features))
        metrics.add("representation/effective_rank", effective_rank(own_features(policy.representation, features)))
        if len(policy.hidden) and isinstance(policy.hidden[-1], nn.ReLU):
            with policy.autocast():
                hidden = policy.hidden(inputs if context is None else torch.cat([inputs, context], 1))
            metrics.add("policy/dead_units", dead_units(hidden))

    def _value_loss(
        self,
        value: Float[Tensor, " B"],
        returns: Float[Tensor, "T N"],
        old_values: Float[Tensor, "T+1 N"],
        indices: Int[Tensor, " B"],
    ) -> Float[Tensor, ""]:
        return self.value_loss(value, old_values[:-1].flatten()[indices], returns.flatten()[indices]).mean()


class AuxiliaryLoss:
    """The representation's own loss in mode online.

    A loss that reads the policy gets it as it acted: its memory is the one each sample was acted from, and begins empty
    in a window from History, which is older.

    Args:
        data: of the newest rollout.
        window_streams: windows per batch over all ranks, for representations that learn from windows.
        streams: random streams; each rank has one of its own here.
    """

    def __init__(
        self,
        policy: Policy,
        history: History,
        data: Callable[[], RolloutData],
        window_streams: int,
        streams: Streams,
        ranks: Ranks = SINGLE_PROCESS,
    ):
        self.policy, self.history, self.data, self.window_streams = policy, history, data, window_streams
        self.streams, self.ranks = streams, ranks

    @property
    def needed_steps(self) -> int:
        """Steps of each environment that the representation draws from."""
        return kept_steps(self.policy.representation, self.history.n_envs * self.ranks.count)

    @property
    def ready(self) -> bool:
        """True once History holds all that the representation draws from."""
        return self.history.length >= self.needed_steps

    def warn_if_never_ready(self, frames: int) -> None:
        """RuntimeWarning where training ends after ``frames`` of all environments, before there is any such loss."""
        needed = self.needed_steps * self.history.n_envs * self.ranks.count
        if frames < needed:
            warnings.warn(
                f"{self.policy.representation.name}: its loss begins after {needed:,} frames, more than are asked for; "
                "until then RL alone trains the network (train longer, or draw from a smaller replay)",
                RuntimeWarning,
                stacklevel=2,
            )

    def micro_batches(self, indices: Int[Tensor, " B"], size: int) -> list[Loss]:
        """Losses of at most ``size`` samples of the minibatch, t * N + i over all ranks, or one of windows.

        Each rank has noise of its own, and draws its windows from its own environments. The draws of a micro-batch do
        not depend on which worker thread computes it.
        """
        generator = self.streams[f"auxiliary/{self.ranks.index}" if self.ranks.index else "auxiliary"]
        if self.policy.representation.window > 1:
            return [functools.partial(self.compute, None, 1 / self.ranks.count, generator)]
        local = self.ranks.local_indices(indices, self.history.n_envs)
        chunks = [chunk for chunk in local.split(size) if len(chunk)]
        return [
            functools.partial(self.compute, chunk, len(chunk) / len(indices), chunk_generator)
            for chunk, chunk_generator in zip(chunks, spawn(generator, len(chunks)), strict=True)
        ]

    def compute(
        self, indices: Int[Tensor, " B"] | None, weight: float, generator: torch.Generator, metrics: MetricMeans
    ) -> Float[Tensor, ""]:
        """Loss of this rank's samples ``indices`` = t * n + i, or of windows from History, times ``weight``."""
        representation = self.policy.representation
        with self.policy.autocast():
            if indices is None:
                windows = -(-self.window_streams // self.ranks.count)
                loss, values = representation.auxiliary(self.history, windows, self._heads(), generator)
            else:
                steps = self.history.minibatch(indices)
                heads = self._heads(steps.first, self.data().states_at(indices))
                loss, values = representation.loss(steps, heads, generator)
        metrics.add("loss/auxiliary", loss, weight)
        for name, value in values.items():
            metrics.add(f"auxiliary/{name}", value, weight)
        return loss * weight

    def _heads(self, opens: Bool[Tensor, "1 B"] | None = None, state: State | None = None) -> Heads:
        """The policy for losses that read it: for samples acted from ``state``, or for windows."""
        policy = self.policy

        def heads(features: Tensor, obs: Obs, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
            rows = len(features)
            if opens is not None:
                first = opens
            elif first is None:
                first = torch.ones(1, rows, dtype=torch.bool, device=features.device)
            start = policy.stored_state(policy.initial_state(first.shape[1])) if state is None else state
            # Replayed steps do not remember which skill they followed: none, then, for all of them.
            context = features.new_zeros(rows, policy.context_dim) if policy.context_dim else None
            outputs = policy.heads(policy.remember(features, start, first), context)
            return outputs.action_outputs, outputs.value

        return heads


def add_feature_metrics(features: Float[Tensor, "B D"], weight: float, metrics: MetricMeans) -> None:
    """Spread of features over a batch, and their size."""
    metrics.add("representation/feature_std", feature_std(features), weight)
    metrics.add("representation/feature_size", features.float().square().mean().sqrt(), weight)
