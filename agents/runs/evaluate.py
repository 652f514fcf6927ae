"""Unbiased evaluation: the first k episodes of each environment, or windows of so many frames; sampled actions.

Taking the first n episodes to finish would favour short ones; every environment's first k count, however long they
last (the rule of CoinRun's own evaluation).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from agents.policy import Policy, log_probabilities
from envs.registry import UsageError
from envs.steps import Obs
from representations.base import State


@dataclass(frozen=True)
class Episodes:
    """Finished episodes or windows, environment by environment: each array (num_envs * k,)."""

    returns: np.ndarray
    """Undiscounted sum of the world's own reward, over an episode or a window."""
    lengths: np.ndarray
    level_seeds: np.ndarray
    """-1 where the world has no level seeds."""


@torch.no_grad()
def first_episodes(
    policy: Policy, env: gym.vector.VectorEnv, generator: torch.Generator, episodes_per_env: int = 1
) -> Episodes:
    """Play ``episodes_per_env`` episodes in every environment of ``env`` (SAME_STEP autoreset), then close it.

    Only environments that still owe an episode are encoded, so the tail of a few long episodes is cheap.
    """
    n, k = env.num_envs, episodes_per_env
    returns, lengths = np.zeros((n, k)), np.zeros((n, k), dtype=np.int64)
    seeds = np.full((n, k), -1, dtype=np.int64)
    finished = np.zeros(n, dtype=np.int64)
    with closing(PolicyRunner(policy, env, generator)) as player:
        while (active := np.flatnonzero(finished < k)).size:
            level_seed = player.level_seed.copy()
            reward, done = player.step(active)
            returns[active, finished[active]] += reward[active]
            lengths[active, finished[active]] += 1
            ended = active[done[active]]
            seeds[ended, finished[ended]] = level_seed[ended]
            finished[ended] += 1
    return Episodes(returns.ravel(), lengths.ravel(), seeds.ravel())


@torch.no_grad()
def fixed_length_returns(
    policy: Policy, env: gym.vector.VectorEnv, generator: torch.Generator, frames: int
) -> Episodes:
    """Sum of rewards over ``frames`` steps of every environment, through the ends of episodes; then close it.

    How the Breakout variants were scored in print: a game with three balls cannot go below -9, a window of 2500 frames
    of it went to -39. ``level_seeds`` are those a window began on.
    """
    everyone = np.arange(env.num_envs)
    with closing(PolicyRunner(policy, env, generator)) as player:
        seeds, returns = player.level_seed.copy(), np.zeros(env.num_envs)
        for _ in range(frames):
            returns += player.step(everyone)[0]
    return Episodes(returns, np.full(env.num_envs, frames), seeds)


@dataclass(frozen=True)
class Agreement:
    """How far a policy does the same on the same states under another look."""

    argmax: float
    """Part of the states in which the likeliest action is the same."""
    total_variation: float
    """Mean of 1/2 sum_a |pi(a) - pi'(a)|: 0 the same, 1 nothing in common."""
    states: int


@torch.no_grad()
def agreement(
    policy: Policy,
    source: gym.vector.VectorEnv,
    looks: Mapping[str, gym.vector.VectorEnv],
    generator: torch.Generator,
    steps: int,
) -> dict[str, Agreement]:
    """Play ``source`` with sampled actions, and every look in lockstep with the same actions; then close all.

    The looks must be worlds of the same seed that differ in what is shown and in nothing else, so that every step shows
    the same state under each look, whatever the policy remembers.

    Raises:
        UsageError: a look whose rewards or ends differ: it changes more than the looks.
    """
    everyone = np.arange(source.num_envs)
    same, apart = dict.fromkeys(looks, 0.0), dict.fromkeys(looks, 0.0)
    with ExitStack() as stack:
        player = stack.enter_context(closing(PolicyRunner(policy, source, generator)))
        others = {
            name: stack.enter_context(closing(PolicyRunner(policy, env, generator))) for name, env in looks.items()
        }
        for _ in range(steps):
            log_pi = player.look(everyone)
            actions = policy.draw(log_pi, generator).cpu().numpy()
            outcome = player.advance(actions)
            for name, other in others.items():
                seen = other.look(everyone)
                same[name] += float((seen.argmax(1) == log_pi.argmax(1)).float().mean())
                apart[name] += float((seen.exp() - log_pi.exp()).abs().sum(1).mean()) / 2
                if not all(map(np.array_equal, outcome, other.advance(actions))):
                    raise UsageError(f"'{name}' pays or ends otherwise than the source: it is not another look of it")
    return {name: Agreement(same[name] / steps, apart[name] / steps, steps * len(everyone)) for name in looks}


class PolicyRunner:
    """A policy at play; it knows the newest observation and the policy's state."""

    def __init__(self, policy: Policy, env: gym.vector.VectorEnv, generator: torch.Generator):
        self.policy, self.env, self.generator = policy, env, generator
        self.training = policy.training
        policy.set_training_mode(False)
        self.observation, infos = env.reset()
        self.level_seed = np.array(infos.get("level_seed", np.full(env.num_envs, -1)))
        self.first = torch.ones(env.num_envs, dtype=torch.bool, device=policy.device)
        self.state: State = policy.initial_state(env.num_envs)
        self.actions = np.zeros(env.num_envs, dtype=np.int64)

    def step(self, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step of every environment, of which those in ``active`` are looked at: rewards and ends (N,)."""
        self.actions[active] = self.policy.draw(self.look(active), self.generator).cpu().numpy()
        return self.advance(self.actions)

    def look(self, active: np.ndarray) -> torch.Tensor:
        """log pi (A, actions) of the environments in ``active`` (A,); to be called once a step."""
        policy = self.policy
        rows = torch.from_numpy(active).to(policy.device)
        part: State = tuple(whole[rows] for whole in self.state)
        part = policy.renew(part, self.first[rows], self.generator)
        _, part, (logits, *_) = policy.look(_rows(self.observation, active, policy.device), part, self.first[rows])
        for whole, new in zip(self.state, part, strict=True):
            whole[rows] = new.to(whole.dtype)
        return log_probabilities(logits)

    def advance(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Step every environment: rewards and ends (N,)."""
        self.observation, reward, terminated, truncated, infos = self.env.step(actions)
        done = terminated | truncated
        self.first = torch.from_numpy(done).to(self.policy.device)
        if "level_seed" in infos:
            self.level_seed[done] = infos["level_seed"][done]
        return reward, done

    def close(self) -> None:
        self.policy.set_training_mode(self.training)
        self.env.close()


def _rows(observation: np.ndarray | dict[str, np.ndarray], rows: np.ndarray, device: torch.device) -> Obs:
    """Rows of a VectorEnv's observation as the policy takes it: images (B, C, H, W), channels-last in memory."""
    by_key = observation if isinstance(observation, dict) else {"image": observation}
    taken = {key: torch.from_numpy(value[rows]).to(device) for key, value in by_key.items()}
    return {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in taken.items()}
