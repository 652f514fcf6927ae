"""Unbiased evaluation: the first k episodes of each environment, sampled actions.

Taking the first n episodes to finish would favour short ones; every environment's first k count, however long they
last (the rule of CoinRun's own evaluation).
"""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from agents.policy import Policy, log_probabilities
from envs.steps import Obs
from representations.base import State


@dataclass(frozen=True)
class Episodes:
    """Finished episodes, environment by environment: each array (num_envs * k,)."""

    returns: np.ndarray
    """Undiscounted sum of the world's own reward."""
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
    observation, infos = env.reset()
    level_seed = np.asarray(infos.get("level_seed", seeds[:, 0])).copy()
    first = torch.ones(n, dtype=torch.bool, device=policy.device)
    state = policy.initial_state(n)
    training = policy.training
    policy.set_training_mode(False)
    actions = np.zeros(n, dtype=np.int64)
    while (active := np.flatnonzero(finished < k)).size:
        rows = torch.from_numpy(active).to(policy.device)
        part: State = tuple(s[rows] for s in state)
        features, part = policy.encode(_rows(observation, active, policy.device), part, first[rows])
        for whole, new in zip(state, part, strict=True):
            whole[rows] = new
        logits, _ = policy.heads(features)
        actions[active] = policy.draw(log_probabilities(logits), generator).cpu().numpy()
        observation, reward, terminated, truncated, infos = env.step(actions)
        done = terminated | truncated
        first = torch.from_numpy(done).to(policy.device)
        returns[active, finished[active]] += reward[active]
        lengths[active, finished[active]] += 1
        ended = active[done[active]]
        seeds[ended, finished[ended]] = level_seed[ended]
        finished[ended] += 1
        if "level_seed" in infos:
            level_seed[done] = infos["level_seed"][done]
    policy.set_training_mode(training)
    env.close()
    return Episodes(returns.ravel(), lengths.ravel(), seeds.ravel())


def _rows(observation: np.ndarray | dict[str, np.ndarray], rows: np.ndarray, device: torch.device) -> Obs:
    """Rows of a VectorEnv's observation as the policy takes it: images (B, C, H, W), channels-last in memory."""
    by_key = observation if isinstance(observation, dict) else {"image": observation}
    taken = {key: torch.from_numpy(value[rows]).to(device) for key, value in by_key.items()}
    return {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in taken.items()}
