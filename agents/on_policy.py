"""On-policy learning around a representation: the update that PPO and A2C share, and what a checkpoint holds.

A subclass of stable-baselines3's on-policy algorithm: ``learn``, callbacks, loggers, ``predict``, ``evaluate_policy``
and ``EvalCallback`` are its own. Rollout (``agents.rollout``, ``agents.rewards``) and update are ours, because its have
no place for a bonus or an auxiliary loss. Per minibatch

    L = policy loss + value_coef * value loss - entropy_coef * H
    step along  clip(grad L) + aux_coef * clip(grad L_own)

L_own is the representation's own loss (mode online). Each gradient is clipped by its own norm, the coefficient comes
after: it weighs directions, whatever unit the own loss has. Then the bonuses learn from the rollout, once.

Several processes (``agents.parallel.distributed``) share the samples of each minibatch; gradients are summed before
they are clipped.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.utils import safe_mean
from torch import Tensor

from agents import checkpoint
from agents.config import Config
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.parallel.threads import parallel_map
from agents.policy import log_probabilities
from agents.rewards import Paid
from envs.history import FEATURES
from envs.registry import UsageError
from envs.rng_streams import spawn
from envs.steps import Obs, flatten
from representations.base import feature_std, warn_if_collapsed

__all__ = ["Config", "OnPolicy"]


class Means:
    """Weighted means of metrics over an update; tensors are read only once, at the end."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Tensor, float]] = {}

    def add(self, name: str, value: Tensor, weight: float = 1.0) -> None:
        total, weights = self.sums.get(name, (torch.zeros((), device=value.device), 0.0))
        self.sums[name] = total + value.detach() * weight, weights + weight

    def join(self, other: Means) -> None:
        """Take in what another has seen."""
        for name, (total, weights) in other.sums.items():
            before = self.sums.get(name, (torch.zeros((), device=total.device), 0.0))
            self.sums[name] = before[0] + total, before[1] + weights

    def values(self, ranks: Ranks = SINGLE_PROCESS) -> dict[str, float]:
        """Over all ranks, of which some may lack a metric."""
        own = [(name, float(total), weights) for name, (total, weights) in self.sums.items()]
        pooled: dict[str, tuple[float, float]] = {}
        for name, total, weights in ranks.all_gather(own):
            before = pooled.get(name, (0.0, 0.0))
            pooled[name] = before[0] + total, before[1] + weights
        return {name: total / weights for name, (total, weights) in pooled.items()}


Loss = Callable[[Means], Tensor]
"""A part of a loss, and where to note what it came to."""
Gradient = list[Tensor | None]
"""By parameter; None where no sample reached it."""


def _sum(gradients: Sequence[Sequence[Tensor | None]], parameters: int) -> Gradient:
    """In the order given, so that it rounds alike whichever part was ready first."""
    total: Gradient = [None] * parameters
    for gradient in gradients:
        for k, more in enumerate(gradient):
            if more is not None:
                before = total[k]
                # What autograd gives may be expanded, and that cannot be added to or clipped in place.
                total[k] = more.clone() if before is None else before.add_(more)
    return total


class OnPolicy(Paid):
    """Base of PPO and A2C; arguments as in ``Rollout``."""

    @abstractmethod
    def policy_loss(self, log_pi: Tensor, old_log_pi: Tensor, advantage: Tensor) -> Tensor:
        """Loss of each sample (B,) from the log-probabilities now and when acting, and the advantage."""

    @abstractmethod
    def value_loss(self, value: Tensor, old_value: Tensor, returns: Tensor) -> Tensor:
        """Loss of each sample (B,) from the values now and when acting, and the lambda-return."""

    def train(self) -> None:
        """Epochs of minibatches over the rollout, then the bonuses' own learning."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        means = Means()
        total = self.every_advantage.numel()
        if self.frozen:  # they stay as they are while the heads learn
            self._measure(self._rollout.obs[FEATURES].flatten(0, 1), 1.0, means)
        for _ in range(self.config.epochs):
            order = torch.randperm(total, generator=self.streams["minibatches"], device=self.device)
            for indices in order.split(total // self.config.minibatches):
                self._update(indices, means)
            self._n_updates += 1
        self.ranks.broadcast(self.policy.buffers())
        self.metrics |= means.values(self.ranks) | {"train/explained_variance": self._explained_variance()}
        self._watch()
        if self.visits is not None:
            self.visits.remember(self._rollout)
        for name, bonus in self.bonuses.items():
            learnt = bonus.update(self._rollout, self.streams[f"bonus/{name}"])
            self.metrics |= {f"bonus/{name}/{metric}": value for metric, value in learnt.items()}
        del self._rollout  # it may hold a copy of every next frame
        for name, value in self.metrics.items():
            self.logger.record(name, value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _watch(self) -> None:
        """Warn, once, where the features no longer tell one frame from another."""
        spread, size = (self.metrics[f"representation/feature_{name}"] for name in ("std", "size"))
        if not self._collapsed:
            when = f"after {self.num_timesteps:,} frames"
            self._collapsed = warn_if_collapsed(self.representation.name, spread, size, when)

    def _update(self, indices: Tensor, means: Means) -> None:
        """One optimizer step on the minibatch ``indices`` (B,) = t * N + i of the rollout, over all environments."""
        parameters = self.policy.trainable()
        both = self.auxiliary and self.history.length >= self.representation.window
        # The own loss begins: where it cannot be parted it takes longest.
        own, rl = self._gradients((self._own_losses(indices) if both else [], self._rl_losses(indices)), means)
        self._clip(rl, "rl", means)
        if both:
            self._clip(own, "auxiliary", means)
            torch._foreach_mul_([more for more in own if more is not None], self.aux_coef)
            rl = _sum((rl, own), len(parameters))
        for parameter, gradient in zip(parameters, rl, strict=True):
            parameter.grad = gradient
        self.policy.optimizer.step()
        if not self.frozen:
            self.representation.after_step()

    def _gradients(self, groups: Sequence[Sequence[Loss]], means: Means) -> list[Gradient]:
        """Of the sum of each group's losses, all of them side by side where there are lanes."""
        parameters = self.policy.trainable()

        def work(loss: Loss) -> tuple[tuple[Tensor | None, ...], Means]:
            seen = Means()
            return torch.autograd.grad(loss(seen), parameters, allow_unused=True), seen

        found = parallel_map(work, [loss for group in groups for loss in group], self.num_threads)
        for _, seen in found:
            means.join(seen)
        gradients = (gradient for gradient, _ in found)
        return [_sum(list(itertools.islice(gradients, len(group))), len(parameters)) for group in groups]

    def _clip(self, gradient: Gradient, name: str, means: Means) -> None:
        """Add up the ranks' gradients, in place, and scale the sum to the norm that is allowed."""
        parameters = self.policy.trainable()
        for parameter, own in zip(parameters, gradient, strict=True):
            parameter.grad = own
        self.ranks.sum_gradients(parameters)
        means.add(f"gradient/{name}_norm", torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm))
        gradient[:] = [parameter.grad for parameter in parameters]

    def _rl_losses(self, indices: Tensor) -> list[Loss]:
        """The RL loss in parts; their sum, over all ranks, is that of the whole minibatch."""
        total, own = len(indices), self.ranks.local_indices(indices, self.n_envs)
        advantage, every = self.advantages.flatten()[own], self.every_advantage[indices]
        if self.config.normalise_advantage and len(every) > 1:
            advantage = (advantage - every.mean()) / (every.std() + 1e-8)
        size = min(total if self.frozen else self.micro_batch, max(1, -(-len(own) // self.num_threads)))
        return [
            functools.partial(self._rl_loss, part, part_advantage, len(part) / total)
            for part, part_advantage in zip(own.split(size), advantage.split(size), strict=True)
            if len(part)
        ]

    def _rl_loss(self, part: Tensor, advantage: Tensor, share: float, means: Means) -> Tensor:
        """L of the steps ``part`` (B,) = t * N + i, times their share of the minibatch."""
        steps = self.history.minibatch(part, (FEATURES,) if self.frozen else self.representation.keys)
        if self.frozen:
            features = steps.obs[FEATURES][0]
        else:
            carried = (*self.states, *(() if self.contexts is None else (self.contexts,)))
            state = tuple(kept.flatten(0, 1)[part] for kept in carried)
            features = self.policy.encode(flatten(steps.obs), state, steps.first[0])[0]
        context = None if self.contexts is None else self.contexts.flatten(0, 1)[part]
        logits, value, bonus_value = self.policy.all_heads(features, context)
        log_pi_all = log_probabilities(logits)
        log_pi = log_pi_all.gather(1, steps.action[0].unsqueeze(1)).squeeze(1)
        old_log_pi = self.log_probs.flatten()[part]
        policy = self.policy_loss(log_pi, old_log_pi, advantage).mean()
        value_error = self.value_loss(value, self.values[:-1].flatten()[part], self.returns.flatten()[part]).mean()
        if self.bonus_values is not None and bonus_value is not None:
            old, returns = (kept.flatten()[part] for kept in (self.bonus_values[:-1], self.bonus_returns))
            bonus_error = self.value_loss(bonus_value, old, returns).mean()
            means.add("loss/bonus_value", bonus_error, share)
            value_error = value_error + bonus_error
        entropy = -(log_pi_all.exp() * log_pi_all).sum(-1).mean()
        means.add("loss/policy", policy, share)
        means.add("loss/value", value_error, share)
        means.add("loss/entropy", entropy, share)
        with torch.no_grad():
            log_ratio = log_pi - old_log_pi
            means.add("train/approx_kl", (log_ratio.exp() - 1 - log_ratio).mean(), share)
            if not self.frozen:
                self._measure(features, share, means)
        return (policy + self.vf_coef * value_error - self.ent_coef * entropy) * share

    def _measure(self, features: Tensor, share: float, means: Means) -> None:
        means.add("representation/feature_std", feature_std(features), share)
        means.add("representation/feature_size", features.float().square().mean().sqrt(), share)

    def _own_losses(self, indices: Tensor) -> list[Loss]:
        """The representation's own loss, in parts of the same minibatch or on windows drawn from History.

        Each rank has noise of its own, and draws its part of the windows from its own environments.
        """
        generator = self.streams[f"auxiliary/{self.ranks.index}" if self.ranks.index else "auxiliary"]
        if self.representation.window > 1:
            return [functools.partial(self._own_loss, None, 1 / self.ranks.count, generator)]
        parts = [part for part in self.ranks.local_indices(indices, self.n_envs).split(self.micro_batch) if len(part)]
        return [
            functools.partial(self._own_loss, part, len(part) / len(indices), draws)
            for part, draws in zip(parts, spawn(generator, len(parts)), strict=True)
        ]

    def _own_loss(self, part: Tensor | None, share: float, generator: torch.Generator, means: Means) -> Tensor:
        """L_own of the steps ``part`` (B,) = t * N + i, or of windows from History, times its share of the whole."""

        def heads(features: Tensor, obs: Obs) -> tuple[Tensor, Tensor]:
            # Replayed steps do not remember which skill they followed: none, then, for all of them.
            wide = self.policy.context_dim
            return self.policy.heads(features, features.new_zeros(len(features), wide) if wide else None)

        with self.policy.autocast():
            if part is None:
                streams = -(-self.config.window_streams // self.ranks.count)
                loss, metrics = self.representation.auxiliary(self.history, streams, heads, generator)
            else:
                loss, metrics = self.representation.loss(self.history.minibatch(part), heads, generator)
        means.add("loss/auxiliary", loss, share)
        for name, value in metrics.items():
            means.add(f"auxiliary/{name}", value, share)
        return loss * share

    def _explained_variance(self) -> float:
        """1 - Var(R - V) / Var(R); nan where the returns do not vary."""
        returns, values = self.ranks.gather_streams(self.returns), self.ranks.gather_streams(self.values[:-1])
        variance = returns.var()
        return float(1 - (returns - values).var() / variance) if variance > 0 else float("nan")

    def dump_logs(self, iteration: int = 0) -> None:
        """The charts that every run has; episode returns are the world's own."""
        seconds = max((time.time_ns() - self.start_time) / 1e9, sys.float_info.epsilon)
        episodes = self.ranks.all_gather(list(self.ep_info_buffer or ()))
        if episodes:
            self.logger.record("train/return", safe_mean([episode["r"] for episode in episodes]))
            self.logger.record("train/episode_length", safe_mean([episode["l"] for episode in episodes]))
        frames = self.num_timesteps - self._num_timesteps_at_start
        self.logger.record("time/frames_per_second", frames / seconds)
        super().dump_logs(iteration)

    @property
    def exact_env(self) -> bool:
        """The environment gives its state and takes it back; without, a restored agent begins new episodes."""
        return hasattr(self.env, "state_dict") and getattr(self.env, "exact_state", True)

    def components(self) -> dict[str, Any]:
        """Everything with state, by name, for ``agents.checkpoint``; the policy brings its optimizer along.

        Loaded into a fresh agent built by the same call, ``learn(..., reset_num_timesteps=False)`` goes on bit for bit,
        if the environment gives its state. Take it between iterations: at ``on_rollout_start`` or after ``learn``.
        """
        spread = functools.partial(checkpoint.Spread, ranks=self.ranks)
        parts: dict[str, Any] = {
            "policy": self.policy,
            "streams": spread(self.streams),
            "history": spread(self.history),
            "counters": spread(Counters(self)),
        }
        if self.reward_scale is not None:
            parts["reward_scale"] = self.reward_scale
        if self.visits is not None:
            parts["visits"] = self.visits
        for name, bonus in self.bonuses.items():
            parts[f"bonus/{name}"] = bonus
            parts[f"bonus_scale/{name}"] = self.bonus_scales[name]
        if self.exact_env:
            parts["env"] = spread(self.env)
        return parts

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """Write a checkpoint into the directory ``path``, where stable-baselines3 would pickle into a file."""
        if exclude or include:
            raise UsageError("save(exclude=, include=): a checkpoint here always holds all components")
        self.ranks.assert_in_sync(self.policy.parameters(), f"weights after {self.num_timesteps:,} frames")
        checkpoint.save(Path(path), self.num_timesteps, self.components(), self.ranks)

    @classmethod
    def load(cls, *args: Any, **kwargs: Any) -> Any:
        """Refused: nothing here rebuilds objects from a file."""
        raise UsageError(f"{cls.__name__}.load: build the agent as before, then call its restore(path)")

    def restore(self, path: Any) -> None:
        """Go on from the newest checkpoint in the directory ``path``."""
        if checkpoint.load(Path(path), self.components()) is None:
            raise UsageError(f"no checkpoint in {path}")


class Counters:
    """Where an agent stands: counts, the newest observations, the representation's state, recent episodes."""

    NUMBERS = ("num_timesteps", "first_reward", "_n_updates", "_episode_num", "_current_progress_remaining")

    def __init__(self, agent: OnPolicy):
        self.agent = agent

    def state_dict(self) -> dict[str, Any]:
        agent = self.agent
        obs = agent._last_obs
        return {
            **{name: getattr(agent, name) for name in self.NUMBERS},
            "last_obs": {key: value.copy() for key, value in obs.items()} if isinstance(obs, Mapping) else obs,
            "episode_starts": agent._last_episode_starts,
            "state": list(agent._state),
            "episodes": [{key: float(value) for key, value in e.items()} for e in agent.ep_info_buffer or ()],
            "successes": [float(success) for success in agent.ep_success_buffer or ()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        agent = self.agent
        for name in self.NUMBERS:
            setattr(agent, name, state[name])
        agent._last_obs, agent._last_episode_starts = state["last_obs"], state["episode_starts"]
        if not agent.exact_env:
            agent._last_obs = None  # learn() then resets the environment
        agent._state = tuple(torch.as_tensor(part).to(agent.device) for part in state["state"])
        agent._seen = None
        agent.policy.generator = agent.streams["evaluation"]  # the streams, loaded before, are new objects
        agent.ep_info_buffer = deque(state["episodes"], maxlen=agent._stats_window_size)
        agent.ep_success_buffer = deque(state["successes"], maxlen=agent._stats_window_size)
