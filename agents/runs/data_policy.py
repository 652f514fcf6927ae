"""The policy that gathers frames for pre-training: a short PPO of this task, levels and seed, or a finished run's.

Held random actions hardly leave the start of a level, so what an encoder must tell apart later is rare in their frames.
A short PPO gets further. It is a run of its own in DIR/policies of the cache of fits, trained once and shared by all
runs that ask for it; each of them is charged its frames and seconds in full. A finished run that is named instead must
be of the same seed and training levels: one policy for several seeds would make their agents depend on each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from agents import checkpoint
from agents.policy import Policy
from agents.runner import PolicyRunner
from agents.runs.build import EnvSpecs, find_task, policy_world
from agents.runs.config import RunConfig, read_config, training_set
from agents.runs.continued import finished_run, initial_run
from agents.runs.load import load_policy_of
from envs.level_sets import LevelRange
from envs.registry import UsageError
from envs.rng_streams import stream_seed
from envs.spaces import IMAGE, keyed, keyed_space
from envs.tasks import World
from representations import REPRESENTATIONS
from representations.base import Representation
from representations.collect import BehaviourMaker, HeldRandom
from representations.wrappers import unwrapped

EPSILON = 0.3
"""Chance of a uniformly random action in place of the policy's, at each step and in each environment."""
RUN_PREFIX = "policy:"
"""Prefix of ``RunConfig.pretrain_data`` that names a finished run's folder."""
EPISODES = 4
"""Episodes, or windows, that a short PPO is evaluated on, for its record."""


@dataclass(frozen=True)
class DataPolicy:
    """A trained policy and what it cost."""

    run: Path
    policy: Policy
    digest: str
    """Hash of its weights."""
    env_steps: int
    seconds: float
    commits: tuple[str, ...] = ()
    """Commits of its starts, each once."""
    held_out_read: bool = False
    """True where its held-out levels have been read: an agent that begins with its weights goes on after that."""

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for ``source.json`` of a run that uses it."""
        costs = {"env_steps": self.env_steps, "seconds": self.seconds}
        return {"run": str(self.run), "weights": self.digest, "commit": " ".join(self.commits), **costs}

    @property
    def encoder(self) -> dict[str, Tensor]:
        """Weights of its representation, without wrappers."""
        weights: dict[str, Tensor] = unwrapped(self.policy.representation).state_dict()
        return weights


def uses_data_policy(config: RunConfig) -> bool:
    """True for a run that takes frames or weights from a data policy."""
    return config.pretrain_data != "random" or takes_weights(config)


def takes_weights(config: RunConfig) -> bool:
    """True for a run that begins with weights of a data policy or of another run: all of them, or its encoder's."""
    whole = config.start_from_policy or config.init_from
    return bool(whole or REPRESENTATIONS.resolve(config.repr).starts_from_policy)


def behaviours(config: RunConfig, data_policy: DataPolicy | None) -> tuple[BehaviourMaker, ...]:
    """Behaviours that gather a run's frames, each an equal number."""
    if config.pretrain_data == "random":
        return (HeldRandom,)
    assert data_policy is not None
    policy = data_policy.policy

    def act_by_policy(envs: VectorEnv[Any, Any, Any], seed: int) -> EpsilonGreedy:
        return EpsilonGreedy(policy, envs, seed)

    return (HeldRandom, act_by_policy) if config.pretrain_data == "mixed" else (act_by_policy,)


def num_behaviours(config: RunConfig) -> int:
    """Number of behaviours that gather a run's frames."""
    return 2 if config.pretrain_data == "mixed" else 1


def data_policy_config(config: RunConfig) -> RunConfig:
    """The short PPO of a run's task, seed, and levels of pre-training."""
    settings, level_set = config.data_policy, config.pretrain_levels or config.level_set
    return RunConfig(
        suite=config.suite,
        env=config.env,
        repr="cnn",
        repr_settings=settings["repr_settings"],
        mode="online",
        algo="ppo",
        algo_settings=settings["algo_settings"],
        bonus="none",
        trunk=str(settings["repr_settings"].get("trunk", "own")),
        train_levels=LevelRange.parse(level_set).count if level_set else config.train_levels,
        level_set=level_set,
        pretrain_on="none",
        pretrain_frames=0,
        pretrain_samples=0,
        seed=config.seed,
        steps=settings["steps"],
        num_envs=settings["num_envs"],
        precision=config.precision,
        eval_envs=EPISODES,
        window=config.window,
        periodic_evals=0,
        periodic_envs=0,
        checkpoint_frames=config.checkpoint_frames,
        preset=config.preset,
        normalise=config.normalise,
        last_step=config.last_step,
        splits=("train",),
    )


def named_run(config: RunConfig) -> Path | None:
    """Folder of the finished run whose policy, or weights, the command names; None for a short PPO.

    The command names that folder, or an experiment directory that holds one such run for each seed.

    Raises:
        UsageError: no finished run of this task, seed and training levels is there, or several are.
    """
    if config.init_from:
        return initial_run(config)
    if not config.pretrain_data.startswith(RUN_PREFIX):
        return None
    words, path = f"--pretrain-data {config.pretrain_data}", Path(config.pretrain_data.removeprefix(RUN_PREFIX))
    run = finished_run(
        path,
        words,
        lambda run: not _mismatch(run, config),
        f"of {config.env} with seed {config.seed} on its training levels; name a directory with one, or one run's "
        "folder",
    )
    if mismatch := _mismatch(run, config):
        raise UsageError(f"{words}: {mismatch}")
    return run


def _mismatch(run: Path, config: RunConfig) -> str:
    """Reason why ``config`` may not take the policy of a run, in words; empty where it may."""
    other = read_config(run)
    if other.env != config.env:
        return f"that run plays {other.env}, and this one {config.env}"
    levels = {str(training_set(config)), *([config.pretrain_levels] if config.pretrain_levels else [])}
    trained_on = str(training_set(other))
    if other.seed == config.seed and trained_on in levels:
        return ""
    return (
        f"that run has seed {other.seed} and training levels {trained_on}, and this one seed {config.seed} and "
        f"{' or '.join(sorted(levels))}, so seeds would share an agent; name a directory with a run for each seed"
    )


def check_reads(run: Path, world: World, specs: EnvSpecs) -> None:
    """UsageError where the policy of a finished run reads what ``world`` does not show."""
    config = read_config(run)
    reads, shown = (specs.of(w).space.spaces for w in (policy_world(config, find_task(config)), world))
    missing = [key for key, box in reads.items() if key not in shown or box.shape[-2:] != shown[key].shape[-2:]]  # type: ignore[index]
    if missing:
        cure = "add --last-step, or " if config.last_step else ""
        raise UsageError(
            f"--pretrain-data {RUN_PREFIX}{run}: that run's policy reads {', '.join(missing)}, which this one's "
            f"environment does not give: {cure}name a run that sees what this one does"
        )


def load_data_policy(run: Path, device: str) -> DataPolicy:
    """The policy of a finished run, in eval mode, and its whole cost."""
    config = read_config(run)
    _, policy = load_policy_of(run, config)
    newest = max((run / "checkpoint" / "train").glob("*.safetensors"))
    source = json.loads((run / "source.json").read_text(encoding="utf-8"))
    seconds = source["pretrain_seconds"] + source["train_seconds"]
    commits = tuple(dict.fromkeys(start["commit"] for start in source.get("starts", [source])))
    return DataPolicy(
        run,
        policy.to(device),
        checkpoint.sha256(newest)[:16],
        total_env_steps(run),
        seconds,
        commits,
        held_out_read="held_out_read_at" in source,
    )


def total_env_steps(run: Path) -> int:
    """Environment steps of a finished run, pre-training included."""
    return sum(json.loads((run / "source.json").read_text(encoding="utf-8"))["env_steps"].values())


def take_policy(policy: Policy, data_policy: DataPolicy) -> None:
    """Give a policy all weights of the data policy. UsageError where they do not fit."""
    _load(policy, data_policy.policy.state_dict(), data_policy.run)


def take_encoder(representation: Representation, data_policy: DataPolicy) -> None:
    """Give a representation that ``starts_from_policy`` the encoder's weights. UsageError where they do not fit."""
    _load(unwrapped(representation), data_policy.encoder, data_policy.run)


def _load(module: nn.Module, weights: Mapping[str, Any], run: Path) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{run} has another network ({reason}); name a run like this one") from None


class EpsilonGreedy:
    """Behaviour of a policy that samples its actions, but for uniformly random ones with chance ``EPSILON``.

    Args:
        envs: environments of single frames, or of as many stacked ones as the policy takes.
    """

    def __init__(self, policy: Policy, envs: VectorEnv[Any, Any, Any], seed: int):
        self.policy, self.codes, self.space = policy, policy.distribution.codes, envs.single_observation_space
        self.rng = np.random.default_rng(stream_seed(seed, "random actions"))
        generator = torch.Generator(policy.device).manual_seed(stream_seed(seed, "policy"))
        self.runner = PolicyRunner(policy, envs.num_envs, generator)
        self.stack: NDArray[np.uint8] | None = None

    def act(self, observation: Any, first: NDArray[np.bool_]) -> NDArray[Any]:
        """Actions (N,); ``first`` marks the environments whose episode the observation opens."""
        obs = keyed(observation, self.space)
        if IMAGE in obs:
            obs[IMAGE] = self._stacked(obs[IMAGE], first)
        device = self.policy.device
        tensors = {key: torch.from_numpy(np.ascontiguousarray(value)).to(device) for key, value in obs.items()}
        images_first = {key: value.movedim(-1, 1) if value.dim() == 4 else value for key, value in tensors.items()}
        self.runner.episode_start = torch.from_numpy(first).to(device)
        chosen = self.runner.act(images_first).action.cpu().numpy()
        random = self.codes.random(len(chosen), self.rng)
        at_random = (self.rng.random(len(chosen)) < EPSILON).reshape(-1, *(1,) * (chosen.ndim - 1))
        return self.codes.to_env(np.where(at_random, random, chosen))

    def _stacked(self, image: NDArray[np.uint8], first: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The newest frames side by side in the channels, as many as the policy takes, oldest first."""
        frames = keyed_space(self.policy.observation_space)[IMAGE].shape[0] // image.shape[-1]  # type: ignore[index]
        repeated = np.tile(image, frames)
        if self.stack is None:
            self.stack = repeated
        pushed = np.concatenate([self.stack[..., image.shape[-1] :], image], axis=-1)
        self.stack = np.where(first[:, None, None, None], repeated, pushed)
        return self.stack
