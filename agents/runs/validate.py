"""Planned runs checked before anything is written, and their parts, each built once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

from agents.actions import make_distribution
from agents.config import find_context_source
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.rollout import kept_steps
from agents.runs.build import (
    EnvSpecs,
    RunParts,
    build_parts,
    encoder_world,
    find_task,
    policy_world,
    pretraining_worlds,
)
from agents.runs.config import RunConfig, run_id
from agents.runs.continued import check_initial
from agents.runs.data_policy import check_reads, named_run, uses_data_policy
from envs.registry import UsageError
from representations.base import Unfit
from representations.collect import check_views


class PartsStore:
    """Parts of runs: built by ``validate`` or on demand, and handed out once.

    Runs that differ in their seed alone, or in a task whose spaces are the same, are checked by the first of them. So
    at most one representation a method waits here for its run, however many runs are planned.
    """

    def __init__(self) -> None:
        self.specs = EnvSpecs()
        self._waiting: dict[str, RunParts] = {}
        self._representatives: dict[str, str] = {}

    def validate(self, configs: Sequence[RunConfig], ranks: Ranks = SINGLE_PROCESS) -> dict[str, str]:
        """Fail now where a run would later.

        Returns:
            Representation -> why it cannot be trained on a task of these runs (an observation key that is missing).

        Raises:
            UsageError: a missing package, a setting a method's networks refuse, what several processes cannot do, data
                of pre-training that cannot be had.
        """
        refused: dict[str, str] = {}
        for config in configs:
            ranks.local_envs(config.num_envs)
            if config.bonus != "none":
                ranks.require_single_process("bonuses")
            if not config.init_from and (config.pretrain_levels or uses_data_policy(config)):
                named, worlds = named_run(config), pretraining_worlds(config, find_task(config))
                if named is not None:
                    check_reads(named, worlds[0], self.specs)
            try:
                self._check_targets(config)
                self._check(config)
            except Unfit as reason:
                refused[config.repr] = str(reason)
                continue
            if config.init_from:
                check_initial(self.representative(config), config, self.specs)
        return refused

    def representative(self, config: RunConfig) -> RunParts:
        """Parts of the run that was checked for ``config`` and all like it; to be read or copied, not trained."""
        return self._waiting[self._representatives[self._kind(config)]]

    def take(self, config: RunConfig) -> RunParts:
        """The run's own parts, which are no longer kept here."""
        return self._waiting.pop(run_id(config), None) or build_parts(config, self.specs)

    def drop(self, config: RunConfig) -> None:
        """Forget the parts of a run that will not be trained."""
        self._waiting.pop(run_id(config), None)

    def _check(self, config: RunConfig) -> None:
        kind = self._kind(config)
        if kind not in self._representatives:
            actions = self.specs.of(policy_world(config, find_task(config))).action_space
            assert actions is not None, "environments have actions"
            make_distribution(actions)
            parts = build_parts(config, self.specs)
            if parts.representation.views and config.pretrain_samples:
                check_views(parts.task.source)
            find_context_source(parts.bonuses)
            self._waiting[run_id(config)] = parts
            self._representatives[kind] = run_id(config)
        self._check_steps(config)

    def _check_targets(self, config: RunConfig) -> None:
        """UsageError where a target's observations or actions are not the source's: no policy plays both."""
        task = find_task(config)
        source = self.specs.of(policy_world(config, task))
        for split, target in task.targets.items():
            spec = self.specs.of(policy_world(config, task, target))
            for what, ours, theirs in (
                ("observes", source.space, spec.space),
                ("takes actions", source.action_space, spec.action_space),
            ):
                if not _same(ours, theirs):
                    raise UsageError(
                        f"target '{split}' of {task.env} {what} {_words(theirs)}, the source {_words(ours)}: a policy "
                        "of one cannot play the other; give the target the source's spaces, or leave it out"
                    )

    def _check_steps(self, config: RunConfig) -> None:
        """UsageError where an auxiliary loss would never be computed: the run would train a plain network."""
        representation, steps = self.representative(config).representation, config.steps // config.num_envs
        if config.mode != "online" or not representation.has_loss or config.algo_settings.get("aux_coef") == 0:
            return
        given = f"{config.steps:,} frames in {config.num_envs} environments are {steps} steps each: give more --steps"
        if representation.window > steps:
            raise UsageError(f"{config.repr} learns from windows of {representation.window} steps; {given}")
        needed = kept_steps(representation, config.num_envs)
        if needed > steps:
            smaller = config.num_envs * steps // 4
            cure = f", or --set {config.repr}.replay={smaller}" if "replay" in config.repr_settings else ""
            raise UsageError(
                f"{config.repr} learns from a replay of {representation.replay_frames:,} frames once it is full, "
                f"{needed} steps each; {given}{cure}"
            )

    def _kind(self, config: RunConfig) -> str:
        """Everything that decides whether a run's parts can be built."""
        task = find_task(config)
        worlds = encoder_world(config, task), policy_world(config, task)
        spaces = [repr(self.specs.of(world)) for world in worlds]
        settings = config.repr_settings, config.bonus_settings, config.algo_settings.get("gamma")
        pretraining = task.source.name if config.pretrain_samples else ""
        return json.dumps([config.repr, config.mode, config.bonus, settings, spaces, task.motion, pretraining])


def _same(one: gym.Space[Any] | None, other: gym.Space[Any] | None) -> bool:
    """Equal spaces; of vectors and images shape and type alone count, not their bounds."""
    if isinstance(one, gym.spaces.Dict) and isinstance(other, gym.spaces.Dict):
        return set(one.spaces) == set(other.spaces) and all(_same(one[key], other[key]) for key in one.spaces)
    if isinstance(one, gym.spaces.Box) and isinstance(other, gym.spaces.Box):
        return (one.shape, one.dtype) == (other.shape, other.dtype)
    return one == other


def _words(space: gym.Space[Any] | None) -> str:
    if isinstance(space, gym.spaces.Dict):
        return ", ".join(f"{key} {_words(box)}" for key, box in space.spaces.items())
    return f"{space.dtype} {space.shape}" if isinstance(space, gym.spaces.Box) else str(space)
