"""Unbiased evaluation: the first k episodes of each environment, or windows of so many frames; sampled actions.

Taking the first n episodes to finish would favour short ones; every environment's first k count, however long they
last (the rule of CoinRun's own evaluation).
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from agents.policy import Policy, log_probabilities
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
    with closing(Player(policy, env, generator)) as player:
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
def windows(policy: Policy, env: gym.vector.VectorEnv, generator: torch.Generator, frames: int) -> Episodes:
    """Sum of rewards over ``frames`` steps of every environment, through the ends of episodes; then close it.

    How the Breakout variants were scored in print: a game with three balls cannot go below -9, a window of 2500 frames
    of it went to -39. ``level_seeds`` are those a window began on.
    """
    everyone = np.arange(env.num_envs)
    with closing(Player(policy, env, generator)) as player:
        seeds, returns = player.level_seed.copy(), np.zeros(env.num_envs)
        for _ in range(frames):
            returns += player.step(everyone)[0]
    return Episodes(returns, np.full(env.num_envs, frames), seeds)


class Player:
    """A policy at play with sampled actions; it knows the newest observation and the policy's state."""

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
        policy = self.policy
        rows = torch.from_numpy(active).to(policy.device)
        part: State = tuple(whole[rows] for whole in self.state)
        features, part = policy.encode(_rows(self.observation, active, policy.device), part, self.first[rows])
        for whole, new in zip(self.state, part, strict=True):
            whole[rows] = new.to(whole.dtype)
        logits, _ = policy.heads(features)
        self.actions[active] = policy.draw(log_probabilities(logits), self.generator).cpu().numpy()
        self.observation, reward, terminated, truncated, infos = self.env.step(self.actions)
        done = terminated | truncated
        self.first = torch.from_numpy(done).to(policy.device)
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
