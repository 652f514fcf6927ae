"""Losses of a minibatch, cut into micro-batches.

    L_rl = policy loss + value_coef * value loss - entropy_coef * H

The policy and value losses are the algorithm's (``agents.ppo``, ``agents.a2c``). The auxiliary loss is the
representation's own, in mode online: of the same minibatch, or of windows of consecutive steps drawn from History.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from agents.config import Config
from agents.gradients import Loss
from agents.metrics import MetricMeans
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.policy import Policy
from agents.rewards import Targets
from agents.rollout import RolloutData, kept_steps
from envs.history import History
from envs.rng_streams import Streams, spawn
from envs.spaces import FEATURES
from envs.steps import Obs, Steps, flatten
from representations.feature_metrics import dead_units, effective_rank, feature_std

SampleLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Loss of each sample (B,) from three (B,) tensors; see ``OnPolicyAlgorithm.policy_loss`` and ``value_loss``."""


WATCHED = 512
"""Samples of a rollout that dead units and effective rank are measured on."""


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
        self.frozen = policy.mode == "frozen"
        self.all_advantages = ranks.gather_streams(targets.advantage).flatten()
        """Advantages in all ranks' environments, by t * N + i."""

    def micro_batches(self, indices: Int[Tensor, " B"], chunk_size: Callable[[int], int]) -> list[Loss]:
        """Losses whose sum over all ranks is that of the minibatch.

        Args:
            indices: the minibatch's samples, t * N + i over all ranks' environments.
            chunk_size: micro-batch size for a number of samples (``GradientStep.chunk_size``).
        """
        local = self.ranks.local_indices(indices, self.history.n_envs)
        advantage, all_advantages = self.targets.advantage.flatten()[local], self.all_advantages[indices]
        if self.config.normalise_advantage and len(all_advantages) > 1:
            advantage = (advantage - all_advantages.mean()) / (all_advantages.std() + 1e-8)
        size = chunk_size(len(local))
        return [
            functools.partial(self.compute, chunk, chunk_advantage, len(chunk) / len(indices))
            for chunk, chunk_advantage in zip(local.split(size), advantage.split(size), strict=True)
            if len(chunk)
        ]

    def compute(
        self, indices: Int[Tensor, " B"], advantage: Float[Tensor, " B"], weight: float, metrics: MetricMeans
    ) -> Float[Tensor, ""]:
        """L_rl of this rank's samples ``indices`` = t * n + i, times ``weight``, their fraction of the minibatch."""
        config, data, targets, distribution = self.config, self.data, self.targets, self.policy.distribution
        steps, features, context = self.encode(indices)
        heads = self.policy.heads(features, context)
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

    def encode(self, indices: Int[Tensor, " B"]) -> tuple[Steps, Float[Tensor, "B D"], Float[Tensor, "B K"] | None]:
        """This rank's samples ``indices`` = t * n + i: their steps (1, B), their features now, and their contexts."""
        data = self.data
        steps = self.history.minibatch(indices, (FEATURES,) if self.frozen else self.policy.representation.keys)
        context = None if data.contexts is None else data.contexts.flatten(0, 1)[indices]
        if self.frozen:
            return steps, steps.obs[FEATURES][0], context
        carried = tuple(state.flatten(0, 1)[indices] for state in data.states)
        state = carried if context is None else (*carried, context)
        return steps, self.policy.encode(flatten(steps.obs), state, steps.first[0])[0], context

    @torch.no_grad()
    def add_plasticity_metrics(self, metrics: MetricMeans) -> None:
        """Dead units and effective rank of the features, dead units of the policy's last hidden layer if it has one.

        Over at most ``WATCHED`` samples of the rollout, spread over its steps and environments. Draws nothing; the
        caller puts the policy into eval mode.
        """
        policy = self.policy
        _, features, context = self.encode(spread_indices(*self.targets.advantage.shape))
        metrics.add("representation/dead_units", dead_units(features))
        metrics.add("representation/effective_rank", effective_rank(features))
        if len(policy.hidden) and isinstance(policy.hidden[-1], nn.ReLU):
            with policy.autocast():
                hidden = policy.hidden(features if context is None else torch.cat([features, context], 1))
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

    Args:
        window_streams: windows per batch over all ranks, for representations that learn from windows.
        streams: random streams; each rank has one of its own here.
    """

    def __init__(
        self,
        policy: Policy,
        history: History,
        window_streams: int,
        streams: Streams,
        ranks: Ranks = SINGLE_PROCESS,
    ):
        self.policy, self.history, self.window_streams = policy, history, window_streams
        self.streams, self.ranks = streams, ranks

    @property
    def ready(self) -> bool:
        """True once History holds all that the representation draws from."""
        return self.history.length >= kept_steps(self.policy.representation, self.history.n_envs * self.ranks.count)

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
                loss, values = representation.auxiliary(self.history, windows, self._heads, generator)
            else:
                loss, values = representation.loss(self.history.minibatch(indices), self._heads, generator)
        metrics.add("loss/auxiliary", loss, weight)
        for name, value in values.items():
            metrics.add(f"auxiliary/{name}", value, weight)
        return loss * weight

    def _heads(self, features: Float[Tensor, "B D"], obs: Obs) -> tuple[Tensor, Tensor]:
        """Action outputs (B, M) and values (B,), for losses that read the policy."""
        # Replayed steps do not remember which skill they followed: none, then, for all of them.
        width = self.policy.context_dim
        heads = self.policy.heads(features, features.new_zeros(len(features), width) if width else None)
        return heads.action_outputs, heads.value


def spread_indices(steps: int, envs: int, count: int = WATCHED) -> Int[Tensor, " B"]:
    """At most ``count`` different samples t * envs + i of a rollout: steps evenly spaced, environments in turn."""
    count = min(count, steps * envs)
    k = torch.arange(count)
    # Where several samples fall on one step they are consecutive, so their environments differ.
    return k * steps // count * envs + k % envs


def add_feature_metrics(features: Float[Tensor, "B D"], weight: float, metrics: MetricMeans) -> None:
    """Spread of features over a batch, and their size."""
    metrics.add("representation/feature_std", feature_std(features), weight)
    metrics.add("representation/feature_size", features.float().square().mean().sqrt(), weight)
