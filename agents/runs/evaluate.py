"""Evaluation on named levels: every level equally often, in a fixed order, every episode to its end.

A visit is a level and a repetition number. What happens in it depends on the policy, the environment's options and the
visit alone: the environment begins exactly that level, and the noise of sampled actions is drawn by counter from
(level, repetition, step). So methods are compared level by level, visual variants start by start, and the number of
environments that play side by side changes nothing but rounding.

An environment that cannot name its levels (``names_levels``) plays the first episode of as many envs as there are
visits, all made from one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents.policy import Policy
from agents.runner import Action, PolicyRunner
from envs.counter_rng import counter_hash, mix, uniform
from envs.registry import UsageError
from envs.spaces import Array, keyed
from envs.steps import Obs
from envs.tasks import EPISODE_LIMIT

MakeEnv = Callable[[int], gym.vector.VectorEnv]
"""Number of envs -> a vector env (SAME_STEP autoreset), which the evaluation closes."""
SEED = 0
"""Seed of the environments of every evaluation; one that names its levels does not depend on it."""
NUM_ENVS = 64
"""Environments side by side at most."""
Watch = Callable[[int, int, int], None]
"""Told of an evaluation under way, after every step: visits ended, visits in all, steps taken. It may break it off."""
ACTIONS, CONTEXTS = 1, 2
"""Tags of the draws."""


@dataclass(frozen=True)
class Visits:
    """Levels (E,) to play, and the number (E,) of each repetition of a level."""

    levels: Array
    repeats: Array

    def __len__(self) -> int:
        return len(self.levels)


def equal_visits(levels: Sequence[int], episodes: int, first_repeat: int = 0) -> Visits:
    """Visits of each level equally often, ``episodes`` or a few more in all: rounds through the levels, in order.

    Args:
        first_repeat: number of the first repetition; other numbers are other episodes.
    """
    rounds = -(-episodes // len(levels))
    repeats = np.repeat(np.arange(first_repeat, first_repeat + rounds), len(levels))
    return Visits(np.tile(np.asarray(levels, np.int64), rounds), repeats)


@dataclass(frozen=True)
class Episodes:
    """Finished episodes or windows, in the order of the visits: each array (E,)."""

    levels: Array
    repeats: Array
    returns: Array
    """Undiscounted sum of the environment's reward, over an episode or a window."""
    lengths: Array
    """Steps."""
    cut: int = 0
    """Episodes that had not ended after ``EPISODE_LIMIT`` steps; their returns are of those."""


@torch.no_grad()
def play_visits(
    policy: Policy,
    make: MakeEnv,
    visits: Visits,
    *,
    greedy: bool = False,
    num_envs: int = NUM_ENVS,
    watch: Watch | None = None,
    limit: int = EPISODE_LIMIT,
) -> Episodes:
    """Play every visit to the end of its episode, or for ``limit`` steps.

    Only environments with an unfinished visit are encoded, so the tail of a few long episodes is cheap.

    Args:
        greedy: take the likeliest actions; else sampled ones.
        watch: told how far it is, after every step.
        limit: steps of an episode at most.
    """
    total = len(visits)
    env = _make(make, min(num_envs, total), total)
    returns, lengths = np.zeros(total), np.zeros(total, np.int64)
    finished, steps, cut = 0, 0, 0
    with closing(EvaluationEnv(policy, env, greedy)) as run:
        visit = np.arange(env.num_envs)
        run.begin(visit, visits.levels[visit], visits.repeats[visit])
        active, following = visit.copy(), env.num_envs
        while active.size:
            run.act(active)
            reward, done = run.step(run.actions)
            returns[visit[active]] += reward[active]
            lengths[visit[active]] += 1
            steps += 1
            overlong = lengths[visit[active]] >= limit
            cut += int((overlong & ~done[active]).sum())
            ended = active[done[active] | overlong]
            finished += len(ended)
            if watch is not None:
                watch(finished, total, steps)
            if not ended.size:
                continue
            fresh, idle = ended[: total - following], ended[total - following :]
            visit[fresh] = np.arange(following, following + len(fresh))
            following += len(fresh)
            if fresh.size:
                run.begin(fresh, visits.levels[visit[fresh]], visits.repeats[visit[fresh]])
            active = np.setdiff1d(active, idle)
    return Episodes(visits.levels, visits.repeats, returns, lengths, cut)


@torch.no_grad()
def play_windows(
    policy: Policy,
    make: MakeEnv,
    visits: Visits,
    frames: int,
    *,
    greedy: bool = False,
    watch: Watch | None = None,
) -> Episodes:
    """Sum rewards over ``frames`` steps from the start of every visit, through the ends of episodes.

    The published scores of the Breakout variants are such sums: a game with three balls cannot go below -9, a window of
    2500 frames of it went to -39.
    """
    env = _make(make, len(visits), len(visits))
    everyone, returns = np.arange(len(visits)), np.zeros(len(visits))
    with closing(EvaluationEnv(policy, env, greedy)) as run:
        run.begin(everyone, visits.levels, visits.repeats)
        for step in range(frames):
            run.act(everyone)
            returns += run.step(run.actions)[0]
            if watch is not None:
                watch(0, len(visits), step + 1)
    return Episodes(visits.levels, visits.repeats, returns, np.full(len(visits), frames))


def _make(make: MakeEnv, num_envs: int, total: int) -> gym.vector.VectorEnv:
    """A vector env of ``num_envs`` envs, or of ``total`` where it cannot begin a second visit."""
    env = make(num_envs)
    if num_envs < total and not names_levels(env):
        env.close()
        env = make(total)
    return env


def names_levels(env: gym.vector.VectorEnv) -> bool:
    """True where ``env.reset(options={"levels": ..., "repeats": ...})`` begins exactly those levels."""
    return bool(getattr(env, "names_levels", False))


class EvaluationEnv:
    """An environment of an evaluation and the policy that acts in it; knows the newest observation.

    Attributes:
        actions: newest action (N, ...) of each env, as it takes them.
    """

    def __init__(self, policy: Policy, env: gym.vector.VectorEnv, greedy: bool = False):
        self.policy, self.env, self.greedy, self.training = policy, env, greedy, policy.training
        policy.set_training_mode(False)
        self.runner = PolicyRunner(policy, env.num_envs)
        self.observation: Any = None
        self.draws = np.zeros(env.num_envs, np.uint64)
        """Hash of each env's visit, from which all its draws come."""
        self.time = np.zeros(env.num_envs, np.int64)
        """Steps since the visit began."""
        distribution = policy.distribution
        none_yet = torch.zeros(env.num_envs, *distribution.shape, dtype=distribution.dtype)
        self.actions = distribution.to_env(none_yet)

    def begin(self, rows: Array, levels: Array, repeats: Array) -> None:
        """Begin visits (K,) in the envs ``rows`` (K,).

        Raises:
            UsageError: the environment began another level, or cannot begin a second visit.
        """
        self.draws[rows], self.time[rows] = counter_hash(levels, repeats), 0
        self.runner.episode_start[torch.from_numpy(rows).to(self.runner.device)] = True
        if not names_levels(self.env):
            if self.observation is not None:
                raise UsageError(f"{self.env} cannot begin a named level; give it an env for each episode")
            self.observation, _ = self.env.reset()
            return
        mask, wanted, repetition = (np.zeros(self.env.num_envs, kind) for kind in (bool, np.int64, np.int64))
        mask[rows], wanted[rows], repetition[rows] = True, levels, repeats
        options = {"levels": wanted, "repeats": repetition}
        if not mask.all():
            options["reset_mask"] = mask
        self.observation, infos = self.env.reset(options=options)
        begun = np.asarray(infos["level_seed"])[rows]
        if not np.array_equal(begun, levels):
            wrong = np.flatnonzero(begun != levels)[0]
            raise UsageError(f"{self.env} was asked for level {levels[wrong]} and began level {begun[wrong]}")

    def act(self, active: Array) -> Action:
        """Choose actions for the environments ``active`` (A,); once per step."""
        rows, obs = self._rows(active)
        noise = None if self.greedy else self._noise(active)
        action = self.runner.act(obs, rows, noise=noise, contexts=self._contexts(active), deterministic=self.greedy)
        self.actions[active] = self.policy.distribution.to_env(action.action)
        return action

    def action_parameters(self, active: Array) -> torch.Tensor:
        """Parameters (A, P) of the action distributions in the environments ``active`` (A,), in place of ``act``."""
        rows, obs = self._rows(active)
        output = self.runner.forward(obs, rows, self._contexts(active))
        return self.policy.distribution.parameters(output.action_outputs)

    def step(self, actions: Array) -> tuple[Array, Array]:
        """Step every environment: rewards and ends (N,)."""
        self.observation, reward, terminated, truncated, _ = self.env.step(actions)
        done = terminated | truncated
        self.time += 1
        self.runner.episode_start = torch.from_numpy(done).to(self.policy.device)
        return reward, done

    def close(self) -> None:
        self.policy.set_training_mode(self.training)
        self.env.close()

    def _noise(self, active: Array) -> torch.Tensor:
        """Noise (A, Z) of sampled actions, by counter."""
        distribution = self.policy.distribution
        bits = mix(mix(self.draws[active], ACTIONS), self.time[active])
        numbers = uniform(mix(bits[:, None], np.arange(distribution.noise_size)))
        return distribution.noise_from_uniform(torch.from_numpy(numbers)).to(self.policy.device)

    def _contexts(self, active: Array) -> torch.Tensor | None:
        """Contexts (A, K), by counter where an episode begins and 0 elsewhere; None where the policy has none."""
        if not self.policy.context_dim:
            return None
        contexts = torch.zeros(len(active), self.policy.context_dim, device=self.policy.device)
        for row in np.flatnonzero(self.runner.episode_start.cpu().numpy()[active]):
            bits = mix(mix(self.draws[active[row : row + 1]], CONTEXTS), self.time[active[row]])
            generator = torch.Generator(self.policy.device).manual_seed(int(bits[0] >> np.uint64(1)))
            drawn = self.policy.draw_contexts(1, generator)
            assert drawn is not None
            contexts[row] = drawn[0]
        return contexts

    def _rows(self, active: Array) -> tuple[torch.Tensor, Obs]:
        """Indices and observations of ``active`` as the policy takes them: images (A, C, H, W), channels-last."""
        device = self.policy.device
        by_key = keyed(self.observation, self.policy.observation_space)
        obs = {key: torch.from_numpy(value[active]).to(device) for key, value in by_key.items()}
        images_first = {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in obs.items()}
        return torch.from_numpy(active).to(device), images_first
