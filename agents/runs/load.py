"""Trained agents read back: for use by ``load_agent``, and what commands need of finished runs.

agent = load_agent("runs/coinrun-quick")
env = agent.make_env(1, "heldout")
evaluate_policy(agent, env, 20, deterministic=False)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from agents import ALGORITHMS, checkpoint, saving
from agents.config import find_context_source
from agents.description import build_policy, world_of
from agents.policy import Policy
from agents.runs.build import RunParts, build_parts, policy_world
from agents.runs.bundles.opening import opened
from agents.runs.config import RunConfig, from_json, read_config
from agents.runs.kept_policies import load_policy
from agents.runs.splits import worlds_of
from envs.registry import UsageError
from envs.spaces import Array
from envs.tasks import Task, World
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic import BONUSES
from intrinsic.base import IntrinsicBonus
from intrinsic.normalise import DiscountedReturnStd
from representations import REPRESENTATIONS
from representations.base import Representation, check_mode
from representations.wrappers import FeatureStack, RepresentationWrapper


@dataclass(frozen=True)
class TrainedAgent:
    """A trained policy for use, and the environments it can act in; ``evaluate_policy`` of SB3 takes it."""

    path: Path
    policy: Policy
    """In eval mode."""
    worlds: Mapping[str, World] = field(default_factory=dict)
    """Split -> environment as the policy sees it, "train" among them; empty where it was trained in one that this
    toolkit did not make."""
    config: RunConfig | None = None
    """Configuration of its run; None for what ``save`` wrote."""

    def make_env(self, num_envs: int = 1, split: str = "train", seed: int = 0, **options: Any) -> Sb3VecEnv:
        """An environment of a split with any number of envs.

        Args:
            options: of the environment, in place of the split's, such as start_level and num_levels.

        Raises:
            UsageError: the agent has no such split.
        """
        if not self.worlds:
            raise UsageError(f"{self.path} was trained in an environment of your own; make it yourself")
        if split not in self.worlds:
            raise UsageError(f"{self.path} has no split '{split}'; it has: {', '.join(self.worlds)}")
        return Sb3VecEnv(self.worlds[split].with_options(**options).make(num_envs, seed))

    def predict(
        self,
        observation: Array | Mapping[str, Array],
        state: tuple[Array, ...] | None = None,
        episode_start: Array | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, tuple[Array, ...] | None]:
        """Actions for one observation or a batch, and the state to give with the next (``Policy.predict``)."""
        return self.policy.predict(observation, state, episode_start, deterministic)


def load_agent(
    path: Path | str,
    device: str = "cpu",
    representation: Representation | None = None,
    classes: Collection[type] = (),
) -> TrainedAgent:
    """The agent that training left in ``path``.

    Args:
        path: a run's folder, an experiment directory with one run, a kept policy (a file in the run's policies), what
            ``save`` wrote, or a bundle, local or as hf://USER/REPO[@REVISION].
        representation: built by the caller, where ``save`` met a class that cannot be built from its settings.
        classes: from outside of the toolkit, which a bundle may name; others in it are not imported.

    Raises:
        UsageError: no whole checkpoint is there, several runs are, or this version builds other networks.
    """
    name = str(path)
    path = opened(path, classes)
    kept = path.suffix == ".safetensors" and path.parent.name == "policies"
    run = path.parent.parent if kept else find_run(path, name)
    if run is None:
        state = saving.read(path)
        world, policy = world_of(state), build_policy(state, path, representation)
        return TrainedAgent(path, policy.to(torch.device(device)), {} if world is None else {"train": world})
    config = read_config(run)
    task, policy = load_policy_of(run, config)
    if path.suffix == ".safetensors":
        load_kept(path, policy)
    seen = {split: policy_world(config, task, world) for split, world in worlds_of(task).items()}
    return TrainedAgent(run, policy.to(torch.device(device)), seen, config)


def find_run(path: Path, name: str) -> Path | None:
    """The run's folder that ``path`` is, or the only one in it; None where it is no folder of runs.

    Args:
        name: of the place as the user gave it.

    Raises:
        UsageError: several runs are there, or none.
    """
    if (path / "config.json").exists():
        return path
    if not (path / "runs").is_dir():
        return None
    runs = sorted(config.parent for config in path.glob("runs/*/config.json"))
    if len(runs) != 1:
        names = ", ".join(run.name for run in runs[:4]) + ", ..." * (len(runs) > 4)
        raise UsageError(f"{name} holds {len(runs)} runs; name one, as {name}/runs/<id>: {names}")
    return runs[0]


def load_kept(path: Path, policy: Policy) -> None:
    """Give ``policy`` the weights of a kept one; UsageError where they are not there or do not fit."""
    try:
        load_policy(path, policy)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"kept policy {path} cannot be read ({saving.one_line(error)})") from None


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
    parts, _ = _restored_bonuses(run, config)
    return parts.representation.eval(), policy_world(parts.config, parts.task), list(parts.bonuses)


def load_bonuses(run: Path, config: Mapping[str, Any]) -> list[tuple[IntrinsicBonus, float]]:
    """The bonuses in a run's newest checkpoint, each with the factor that scaled it there.

    The factor is the coefficient over the running std of the discounted bonus (``agents.rewards``).

    Raises:
        UsageError: no whole checkpoint is there, or this version builds other networks.
    """
    parts, state = _restored_bonuses(run, config)
    scaled = []
    for bonus in parts.bonuses:
        scale = DiscountedReturnStd(parts.config.num_envs, prior=False)
        checkpoint.restore(scale, state[f"bonus_scale/{bonus.name}"])
        scaled.append((bonus, bonus.coefficient / scale.std))
    return scaled


def _restored_bonuses(run: Path, config: Mapping[str, Any]) -> tuple[RunParts, dict[str, Any]]:
    """A run's parts with trained bonuses, and everything in its newest checkpoint."""
    parts, state = _read_back(run, config)
    for bonus in parts.bonuses:
        checkpoint.restore(bonus, state[f"bonus/{bonus.name}"])
    return parts, state


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
    try:
        policy.load_state_dict(state["policy"]["module"])
    except RuntimeError as error:
        raise UsageError(f"{run} has another network now ({saving.one_line(error)})") from None
    policy.set_training_mode(False)
    return parts.task, policy


def _read_back(run: Path, config: Mapping[str, Any]) -> tuple[RunParts, dict[str, Any]]:
    """A finished run's parts with the trained representation, and everything in its newest checkpoint."""
    parts = build_parts(_known_settings(from_json(config)))
    newest = checkpoint.read(run / "checkpoint" / "train")
    if newest is None:
        raise UsageError(f"{run} has no checkpoint of training; run it again, further than its pre-training")
    try:
        weights, prefix = newest[1]["policy"]["module"], "representation."
    except (KeyError, TypeError):
        raise UsageError(f"{run} has a checkpoint without a policy; it is of no agent of this toolkit") from None
    own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    try:
        parts.representation.load_state_dict(own)
    except RuntimeError as error:
        reason = saving.one_line(error)
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
