"""Evaluation without bias: the first k episodes of each environment, or windows of fixed length; sampled actions.

Taking the first n episodes to finish would favour short ones. The first k of every environment count, however long they
last (the rule of CoinRun's own evaluation).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch

from agents.policy import Policy
from agents.runner import Action, PolicyRunner
from envs.registry import UsageError
from envs.spaces import keyed
from envs.steps import Obs


@dataclass(frozen=True)
class Episodes:
    """Finished episodes or windows, environment by environment: each array (num_envs * k,)."""

    returns: np.ndarray
    """Undiscounted sum of the environment's reward, over an episode or a window."""
    lengths: np.ndarray
    """Steps."""
    level_seeds: np.ndarray
    """-1 where the environment has no level seeds."""


@torch.no_grad()
def first_episodes(
    policy: Policy, env: gym.vector.VectorEnv, generator: torch.Generator, episodes_per_env: int = 1
) -> Episodes:
    """Run ``episodes_per_env`` episodes in every environment of ``env`` (SAME_STEP autoreset), then close it.

    Only environments that lack an episode are encoded, so the tail of a few long episodes is cheap.
    """
    n, k = env.num_envs, episodes_per_env
    returns, lengths = np.zeros((n, k)), np.zeros((n, k), dtype=np.int64)
    seeds = np.full((n, k), -1, dtype=np.int64)
    finished = np.zeros(n, dtype=np.int64)
    with closing(EvaluationEnv(policy, env, generator)) as run:
        while (active := np.flatnonzero(finished < k)).size:
            level_seed = run.level_seed.copy()
            run.act(active)
            reward, done = run.step(run.actions)
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
    """Sum rewards over ``frames`` steps of every environment, through the ends of episodes; then close it.

    The published scores of the Breakout variants are such sums: a game with three balls cannot go below -9, a window of
    2500 frames of it went to -39. ``level_seeds`` are those a window began on.
    """
    everyone = np.arange(env.num_envs)
    with closing(EvaluationEnv(policy, env, generator)) as run:
        seeds, returns = run.level_seed.copy(), np.zeros(env.num_envs)
        for _ in range(frames):
            run.act(everyone)
            returns += run.step(run.actions)[0]
    return Episodes(returns, np.full(env.num_envs, frames), seeds)


@dataclass(frozen=True)
class Agreement:
    """Agreement of a policy's actions between the source and a visual variant, on the same states."""

    argmax: float
    """Fraction of the states in which the likeliest action is the same."""
    total_variation: float
    """Mean of 1/2 sum_a |pi(a) - pi'(a)|: 0 for equal distributions, 1 for disjoint ones."""
    states: int
    """Number of states compared."""


@torch.no_grad()
def compare_actions(
    policy: Policy,
    source: gym.vector.VectorEnv,
    variants: Mapping[str, gym.vector.VectorEnv],
    generator: torch.Generator,
    steps: int,
) -> dict[str, Agreement]:
    """Act in ``source`` with sampled actions, step every variant with the same actions; then close all.

    Variants are environments of the same seed that differ in their pixels alone. So every step shows the same state
    under each of them, whatever state the policy carries.

    Raises:
        UsageError: a variant whose rewards or ends differ: it changes more than pixels.
    """
    everyone = np.arange(source.num_envs)
    same, distance = dict.fromkeys(variants, 0.0), dict.fromkeys(variants, 0.0)
    with ExitStack() as stack:
        run, *others = (
            stack.enter_context(closing(EvaluationEnv(policy, env, generator))) for env in (source, *variants.values())
        )
        distribution = policy.distribution
        for _ in range(steps):
            parameters = run.act(everyone).parameters
            outcome = run.step(run.actions)
            for name, other in zip(variants, others, strict=True):
                variant_parameters = other.action_parameters(everyone)
                same_mode = distribution.mode(variant_parameters) == distribution.mode(parameters)
                same[name] += float(same_mode.float().mean())
                distance[name] += float(distribution.total_variation(variant_parameters, parameters).mean())
                if not all(map(np.array_equal, outcome, other.step(run.actions))):
                    raise UsageError(f"'{name}' rewards or ends otherwise than the source: it is no visual variant")
    return {name: Agreement(same[name] / steps, distance[name] / steps, steps * len(everyone)) for name in variants}


class EvaluationEnv:
    """An environment of an evaluation and the policy that acts in it; knows the newest observation."""

    def __init__(self, policy: Policy, env: gym.vector.VectorEnv, generator: torch.Generator):
        self.policy, self.env, self.training = policy, env, policy.training
        policy.set_training_mode(False)
        self.runner = PolicyRunner(policy, env.num_envs, generator)
        self.observation, infos = env.reset()
        self.level_seed = np.array(infos.get("level_seed", np.full(env.num_envs, -1)))
        distribution = policy.distribution
        self.actions = torch.zeros(env.num_envs, *distribution.shape, dtype=distribution.dtype).numpy()

    def act(self, active: np.ndarray) -> Action:
        """Draw actions for the environments ``active`` (A,); once per step."""
        rows, obs = self._rows(active)
        action = self.runner.act(obs, rows)
        self.actions[active] = action.action.cpu().numpy()
        return action

    def action_parameters(self, active: np.ndarray) -> torch.Tensor:
        """Parameters (A, P) of the action distributions in the environments ``active`` (A,), in place of ``act``."""
        rows, obs = self._rows(active)
        return self.policy.distribution.parameters(self.runner.forward(obs, rows).action_outputs)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Step every environment: rewards and ends (N,)."""
        self.observation, reward, terminated, truncated, infos = self.env.step(actions)
        done = terminated | truncated
        self.runner.episode_start = torch.from_numpy(done).to(self.policy.device)
        if "level_seed" in infos:
            self.level_seed[done] = infos["level_seed"][done]
        return reward, done

    def close(self) -> None:
        self.policy.set_training_mode(self.training)
        self.env.close()

    def _rows(self, active: np.ndarray) -> tuple[torch.Tensor, Obs]:
        """Indices and observations of ``active`` as the policy takes them: images (A, C, H, W), channels-last."""
        device = self.policy.device
        by_key = keyed(self.observation, self.policy.observation_space)
        obs = {key: torch.from_numpy(value[active]).to(device) for key, value in by_key.items()}
        images_first = {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in obs.items()}
        return torch.from_numpy(active).to(device), images_first
