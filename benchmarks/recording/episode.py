"""Episodes of a trained agent played once more, each step kept: what is seen, valued, chosen and rewarded.

They are the episodes of the evaluation, to the step: the same levels, the same noise of sampled actions. Visual
variants that show the same states are stepped alongside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch

from agents.policy import Policy
from agents.runs.agreement import Lockstep
from agents.runs.evaluate import SEED, EvaluationEnv, Visits, names_levels
from benchmarks.recording.bonus import EpisodeBonus, StepInputs
from benchmarks.recording.screen import Screen, make_visible
from envs.spaces import Array, keyed
from envs.tasks import EPISODE_LIMIT, World

KEPT_STEPS = 1000
"""Steps of an episode that are kept if nothing else is asked for; it is played to its end all the same."""
SIDE_BY_SIDE = 16
"""Episodes played at once, which bounds the memory that their frames take."""
Watch = Callable[[int, int], None]
"""Told of steps under way: how many since the last time, and how many episodes have ended."""


@dataclass
class Episode:
    """One recorded episode; its first T steps are kept."""

    level: int
    repeat: int
    greedy: bool
    action_names: list[str] | None = None
    """Names of the Discrete actions, where the environment has any."""
    effects: list[int] | None = None
    """Number of the effect of each Discrete action; None where all differ, or nothing is known."""
    total: float = 0.0
    """Undiscounted return of all its steps."""
    length: int = 0
    """Steps in all."""
    frames: list[Array] = field(default_factory=list)
    """T frames (H, W, 3) uint8, each before its action."""
    actions: list[Array] = field(default_factory=list)
    """T actions as agents store them, () or (K,)."""
    parameters: list[torch.Tensor] = field(default_factory=list)
    """T rows (P,) of the action distribution's parameters."""
    values: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    bonus: list[float] | None = None
    """Scaled as in training; the last step's is 0, as nothing is known to follow it."""
    variants: dict[str, tuple[list[Array], list[bool]]] = field(default_factory=dict)
    """Visual variant -> T frames of the same states, and whether the likeliest effect differs there."""
    inputs: list[StepInputs] = field(default_factory=list)
    """T inputs of the policy, where they are kept."""

    @property
    def cut(self) -> bool:
        """Steps are missing at its end."""
        return self.length > len(self.actions)


@torch.no_grad()
def play_episodes(
    policy: Policy,
    world: World,
    visits: Visits,
    *,
    variants: Mapping[str, World] | None = None,
    bonus: EpisodeBonus | None = None,
    greedy: bool = False,
    window: int = 0,
    kept_steps: int = KEPT_STEPS,
    keep_inputs: bool = False,
    outcomes: tuple[Array, Array] | None = None,
    watch: Watch | None = None,
) -> list[Episode]:
    """Play every visit of ``world``, as the policy sees it, to the end of its episode.

    Args:
        variants: environments that show the same states.
        bonus: scores the steps.
        greedy: take the likeliest actions; else sampled ones.
        window: play so many steps through the ends of episodes instead; 0: episodes.
        kept_steps: steps of an episode that are kept.
        outcomes: (returns, lengths) of the visits where they are known: what is not kept is not played then.
        keep_inputs: keep what the policy read at each step, too.
        watch: told of every step.

    Raises:
        UsageError: nothing can be seen of it, or a variant changes more than pixels.
    """
    last = kept_steps if outcomes is not None else EPISODE_LIMIT
    wanted = _Wanted(variants or {}, bonus, greedy, window, kept_steps, last, keep_inputs, watch)
    episodes: list[Episode] = []
    for start in range(0, len(visits), SIDE_BY_SIDE):
        chunk = Visits(*(column[start : start + SIDE_BY_SIDE] for column in (visits.levels, visits.repeats)))
        episodes += _play(policy, world, chunk, wanted, len(episodes))
    if outcomes is not None:
        for episode, value, length in zip(episodes, *outcomes, strict=True):
            if episode.length == kept_steps < length:
                episode.total, episode.length = float(value), int(length)
    return episodes


class _Wanted(NamedTuple):
    """Arguments of ``play_episodes`` that hold for all visits."""

    variants: Mapping[str, World]
    bonus: EpisodeBonus | None
    greedy: bool
    window: int
    kept_steps: int
    last_step: int
    """Steps after which an episode is left."""
    keep_inputs: bool
    watch: Watch | None


def _play(policy: Policy, world: World, visits: Visits, wanted: _Wanted, before: int) -> list[Episode]:
    """Play a few visits side by side, after ``before`` others."""
    env = make_visible(world, len(visits), SEED)
    rows = np.arange(len(visits))
    if not names_levels(env):  # its levels are the numbers of envs of one seed
        env.close()
        rows, env = visits.levels, make_visible(world, int(visits.levels.max()) + 1, SEED)
    variants = wanted.variants
    makers = {name: lambda count, other=other: make_visible(other, count, SEED) for name, other in variants.items()}
    names, effects = (getattr(env, name, None) for name in ("action_names", "action_effects"))
    facts = wanted.greedy, names and list(names), effects and list(effects)
    episodes = {
        row: Episode(level, repeat, *facts, variants={name: ([], []) for name in variants})
        for row, level, repeat in zip(rows.tolist(), visits.levels.tolist(), visits.repeats.tolist(), strict=True)
    }
    with closing(EvaluationEnv(policy, env, wanted.greedy)) as run, closing(Lockstep(run, makers)) as lockstep:
        recorder = _Recorder(run, lockstep, episodes, wanted.keep_inputs or wanted.bonus is not None)
        run.begin(rows, visits.levels, visits.repeats)
        lockstep.begin(rows, visits.levels, visits.repeats)
        active = rows
        for step in range(min(wanted.window or EPISODE_LIMIT, wanted.last_step)):
            done = recorder.step(active, keep=step < wanted.kept_steps)
            count = len(active)
            active = active if wanted.window else active[~done[active]]
            if wanted.watch is not None:
                wanted.watch(count, before + len(rows) - len(active))
            if not len(active):
                break
    if wanted.bonus is not None:
        recorder.score(wanted.bonus)
    for episode in episodes.values() if not wanted.keep_inputs else ():
        episode.inputs.clear()
    return list(episodes.values())


class _Recorder:
    """Writes the steps of episodes down, by the env they are played in."""

    def __init__(self, run: EvaluationEnv, lockstep: Lockstep, episodes: Mapping[int, Episode], keep_inputs: bool):
        self.run, self.lockstep, self.episodes, self.keep_inputs = run, lockstep, episodes, keep_inputs
        self.screen = Screen(run.env)
        self.screens = {name: Screen(other.env) for name, other in lockstep.envs.items()}

    def step(self, active: Array, keep: bool) -> Array:
        """Step the envs ``active`` (A,) and write it down, the pictures and choices if ``keep``; ends (N,)."""
        run, lockstep = self.run, self.lockstep
        frames = self.screen.frames(run.observation, active) if keep else None
        variants = {
            name: screen.frames(lockstep.envs[name].observation, active)
            for name, screen in self.screens.items()
            if keep
        }
        seen = keyed(run.observation, run.policy.observation_space) if self.keep_inputs and keep else {}
        state, first = tuple(tensor.clone() for tensor in run.runner.state), run.runner.episode_start.clone()
        action = run.act(active)
        same = {name: same for name, (same, _) in lockstep.compare(action.parameters, active).items()}
        outcome = run.step(run.actions)
        lockstep.step(run.actions, active, outcome)
        for place, row in enumerate(active.tolist()):
            episode, reward, ended = self.episodes[row], float(outcome[0][row]), bool(outcome[1][row])
            episode.total += reward
            episode.length += 1
            if frames is None:
                continue
            episode.frames.append(frames[place])
            episode.actions.append(action.action[place].cpu().numpy())
            episode.parameters.append(action.parameters[place].float().cpu())
            episode.values.append(float(action.output.value[place]))
            episode.rewards.append(reward)
            for name, pictures in variants.items():
                episode.variants[name][0].append(pictures[place])
                episode.variants[name][1].append(not same[name][place])
            if seen:
                episode.inputs.append(
                    StepInputs(
                        {key: values[row].copy() for key, values in seen.items()},
                        action.output.features[place].cpu(),
                        tuple(tensor[row] for tensor in state),
                        bool(first[row]),
                        ended,
                    )
                )
        return outcome[1]

    def score(self, bonus: EpisodeBonus) -> None:
        """Give the finished episodes their bonuses."""
        for episode in self.episodes.values():
            episode.bonus = bonus.score(episode.inputs, np.stack(episode.actions))
