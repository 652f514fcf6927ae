"""Settings that PPO and A2C share, and the environment as an agent's bonuses see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from envs.registry import UsageError
from envs.spaces import FEATURES, EnvSpec
from intrinsic.base import IntrinsicBonus
from representations.base import Representation

Schedule = Callable[[float], float]
"""A setting by the fraction of training that remains, which falls from 1 to 0."""


@dataclass(frozen=True)
class Config:
    """Settings of every on-policy algorithm; an algorithm subclasses it."""

    learning_rate: float | Schedule = 5e-4
    """Step size of the one optimizer; in Python also a function of the fraction of training that remains (1 to 0)."""
    anneal_learning_rate: bool = False
    """Let the step size fall linearly, to 0 at the last frame of training."""
    n_steps: int = 256
    """T, steps of each environment per rollout."""
    gamma: float = 0.999
    """Discount (train-procgen)."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation; 1 gives Monte-Carlo returns with a bootstrapped end."""
    entropy_coef: float = 0.01
    """Weight of the policy's entropy, nats (train-procgen)."""
    value_coef: float = 0.5
    """Weight of the value loss (train-procgen, stable-baselines3)."""
    max_grad_norm: float = 0.5
    """Norm that the RL gradient and the auxiliary gradient are each clipped to (train-procgen)."""
    normalise_advantage: bool = False
    """Advantages of a minibatch to mean 0 and std 1."""
    normalise_reward: bool = False
    """Divide rewards by the running std of their 0.99-discounted sum and clip to +-10 (baselines' VecNormalize)."""
    timeout_is_terminal: bool = False
    """Treat a time limit as a terminal state, as published on Procgen; False bootstraps from the last frame."""
    micro_batch: int | None = None
    """Samples per forward pass at most; a minibatch's gradient is summed over them. Changes speed, not the RL gradient;
    an auxiliary loss that compares samples with each other (contrastive) gets this many at once. None: 256 on a CPU,
    whose caches hold no more, the whole minibatch on a GPU."""
    aux_coef: float | None = None
    """Weight of the auxiliary loss (mode online), whose gradient is clipped by itself; None takes the method's."""
    window_streams: int = 16
    """Windows per auxiliary batch, for representations that learn from windows."""
    extrinsic: float = 1.0
    """Weight of the environment's own reward; 0 trains on bonuses alone. What is logged and scored is the
    environment's."""
    bonus_once: bool = False
    """Give a bonus for a state at its first visit in an episode only (RIDE, NovelD): where levels are drawn anew for
    each episode a bonus otherwise stays where the view is rare."""
    bonus_head: bool = False
    """Give the bonuses a value head and a discount of their own (RND's setting)."""
    bonus_gamma: float = 0.99
    """Discount of the bonuses under their own head, and of the sum that scales them in any case."""
    bonus_episodic: bool = False
    """End the bonuses' stream, too, where an episode ends; under their own head only."""
    memory: Literal["none", "gru"] = "none"
    """What the policy carries through an episode, between features and heads: nothing, or the state of a GRU."""
    memory_size: int = 256
    """Units of the GRU (UNREAL's LSTM)."""
    memory_steps: int = 32
    """Steps that a gradient of the GRU goes back at most: minibatches are made of sequences of so many steps, each from
    the state it was acted from. ``n_steps`` must divide by it, or be less."""

    epochs = 1  # not fields: an algorithm that makes one step on each rollout has no such settings
    minibatches = 1

    @property
    def step_size(self) -> float | Schedule:
        """Step size as stable-baselines3 takes it: a number, or a function of the fraction of training that remains."""
        rate = self.learning_rate
        if callable(rate):
            return lambda remaining: checked_step_size(rate(remaining), remaining)
        return (lambda remaining: rate * remaining) if self.anneal_learning_rate else rate

    @property
    def memory_units(self) -> int:
        """Units of the GRU; 0 without memory."""
        return self.memory_size if self.memory == "gru" else 0

    @property
    def sequence_steps(self) -> int:
        """Steps of the sequences that minibatches are made of; 1 without memory, where they are single samples."""
        return min(self.memory_steps, self.n_steps) if self.memory == "gru" else 1

    def check(self, num_envs: int) -> None:
        """UsageError naming the field that no agent over ``num_envs`` environments could work with."""
        counts = ("n_steps", "epochs", "minibatches", "micro_batch", "window_streams", "memory_size", "memory_steps")
        for name in counts:
            if (value := getattr(self, name)) is not None and value < 1:
                raise UsageError(f"{name}={value}: give a whole number of at least 1")
        for name in ("gamma", "gae_lambda", "bonus_gamma"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}={getattr(self, name)}: give a number from 0 to 1")
        for name in ("learning_rate", "max_grad_norm"):
            if not callable(getattr(self, name)) and not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)}: give a number above 0")
        if callable(self.learning_rate):
            checked_step_size(self.learning_rate(1.0), 1.0)
            if self.anneal_learning_rate:
                raise UsageError(
                    "anneal_learning_rate=True: a learning_rate that is a function falls by itself; leave out"
                )
        if self.extrinsic < 0:
            raise UsageError(f"extrinsic={self.extrinsic}: give a number of at least 0; 0 trains on bonuses alone")
        if self.aux_coef is not None and self.aux_coef < 0:
            raise UsageError(f"aux_coef={self.aux_coef}: give a number of at least 0")
        if (self.n_steps * num_envs) % self.minibatches:
            raise UsageError(
                f"{self.n_steps} steps x {num_envs} environments do not divide into {self.minibatches} minibatches"
            )
        self._check_memory(num_envs)

    def _check_memory(self, num_envs: int) -> None:
        if self.memory not in ("none", "gru"):
            raise UsageError(f"memory '{self.memory}'; known: none, gru")
        steps = self.sequence_steps
        if self.n_steps % steps:
            raise UsageError(
                f"n_steps={self.n_steps} does not divide by memory_steps={steps}; give a divisor, or {self.n_steps}"
            )
        if (self.n_steps // steps * num_envs) % self.minibatches:
            raise UsageError(
                f"{self.n_steps // steps} sequences of memory_steps={steps} x {num_envs} environments do not divide "
                f"into {self.minibatches} minibatches; give fewer minibatches, or less memory_steps"
            )


def checked_step_size(value: float, remaining: float) -> float:
    """The step size that a function gave; UsageError where no optimizer could take it."""
    if not (isinstance(value, int | float) and 0 <= value < math.inf):
        raise UsageError(
            f"learning_rate({remaining:g}) = {value!r}: give a function of the fraction of training that remains whose "
            "values are finite and at least 0"
        )
    return value


def bonus_spec(env: VecEnv, representation: Representation, mode: str, discount: float = 0.99) -> EnvSpec:
    """The environment as an agent's Steps hold it, for its bonuses: observations, and features where they are frozen.

    Stacked frames are what the env or its wrappers say; 1 where none does.
    """
    return with_features(EnvSpec.of(env, discount), representation, mode)


def with_features(spec: EnvSpec, representation: Representation, mode: str) -> EnvSpec:
    """``spec`` with the features that History keeps where the representation is frozen."""
    if mode != "frozen":
        return spec
    features = gym.spaces.Box(-np.inf, np.inf, (representation.features_dim,), np.float32)
    return replace(spec, space=gym.spaces.Dict({**spec.space.spaces, FEATURES: features}))


def find_context_source(bonuses: Sequence[IntrinsicBonus]) -> IntrinsicBonus | None:
    """The bonus that gives the policy a skill, where there is one. UsageError where there are more."""
    sources = [bonus for bonus in bonuses if bonus.context_dim]
    if len(sources) > 1:
        raise UsageError(f"bonuses {[bonus.name for bonus in sources]} each give the policy a skill; give one")
    return sources[0] if sources else None
