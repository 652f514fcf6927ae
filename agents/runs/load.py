"""Finished runs read back: the representation and the bonuses that training ended with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents import ALGORITHMS, checkpoint
from agents.config import find_context_source
from agents.policy import Policy
from agents.runs.build import RunParts, build_parts, policy_world
from agents.runs.config import RunConfig, from_json
from envs.registry import UsageError
from envs.tasks import Task, World
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic import BONUSES
from intrinsic.base import IntrinsicBonus
from representations import REPRESENTATIONS
from representations.base import Representation, check_mode
from representations.wrappers import FeatureStack, RepresentationWrapper


def load_trained(run: Path, config: Mapping[str, Any]) -> tuple[Representation, dict[str, World]]:
    """The representation of a finished run, in eval mode, and its environments by split, in frames as it takes them.

    It is the method's own, without the wrappers that the policy needs.

    Raises:
        UsageError: no whole checkpoint is there, or this version builds other networks.
    """
    parts, _ = _read_back(run, config)
    representation, frames = parts.representation, parts.task.motion
    while isinstance(representation, RepresentationWrapper):
        frames = 1 if isinstance(representation, FeatureStack) else frames
        representation = representation.inner
    return representation.eval(), {split: world.stacked(frames) for split, world in parts.task.splits().items()}


def load_trained_bonuses(run: Path, config: Mapping[str, Any]) -> tuple[Representation, World, list[IntrinsicBonus]]:
    """The bonuses of a finished run, the representation in its policy, and the environment both were trained in.

    Raises:
        UsageError: no whole checkpoint is there, or this version builds other networks.
    """
    parts, state = _read_back(run, config)
    for bonus in parts.bonuses:
        checkpoint.restore(bonus, state[f"bonus/{bonus.name}"])
    return parts.representation.eval(), policy_world(parts.config, parts.task), list(parts.bonuses)


def load_policy_of(run: Path, config: RunConfig) -> tuple[Task, Policy]:
    """The task and the policy of a finished run, in eval mode.

    Raises:
        UsageError: no whole checkpoint is there, or this version builds other networks.
    """
    parts, state = _read_back(run, dataclasses.asdict(config))
    precision = json.loads((run / "source.json").read_text(encoding="utf-8")).get("precision", "float32")
    env = Sb3VecEnv(policy_world(parts.config, parts.task).make(1, 0))
    head = config.algo_settings.get("bonus_head", False) and bool(parts.bonuses)
    source = find_context_source(list(parts.bonuses))
    mode = check_mode(config.repr, parts.representation, config.mode)
    memory = ALGORITHMS.resolve(config.algo).Config(**parts.config.algo_settings).memory_units
    spaces = env.observation_space, env.action_space
    policy = Policy(*spaces, parts.representation, mode, precision, head, source, memory)
    env.close()
    policy.load_state_dict(state["policy"]["module"])
    policy.set_training_mode(False)
    return parts.task, policy


def _read_back(run: Path, config: Mapping[str, Any]) -> tuple[RunParts, dict[str, Any]]:
    """A finished run's parts with the trained representation, and everything in its newest checkpoint."""
    parts = build_parts(_known_settings(from_json(config)))
    newest = checkpoint.read(run / "checkpoint" / "train")
    if newest is None:
        raise UsageError(f"{run} has no checkpoint; remove that folder and run it again")
    weights, prefix = newest[1]["policy"]["module"], "representation."
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    try:
        parts.representation.load_state_dict(own)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{run} was trained by another version of {parts.config.repr} ({reason})") from None
    return parts, newest[1]


def _known_settings(config: RunConfig) -> RunConfig:
    """Without settings that the classes no longer have, as in runs of an earlier version."""

    def known(cls: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(cls.Config)}
        return {name: value for name, value in settings.items() if name in names}

    return dataclasses.replace(
        config,
        repr_settings=known(REPRESENTATIONS.resolve(config.repr), config.repr_settings),
        algo_settings=known(ALGORITHMS.resolve(config.algo), config.algo_settings),
        bonus_settings={name: known(BONUSES.resolve(name), own) for name, own in config.bonus_settings.items()},
    )
