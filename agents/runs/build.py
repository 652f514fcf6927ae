"""What a run is made of: its configuration, and the world, representation and bonuses it names, built or restored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.vec_env import VecEnv

from agents import checkpoint
from agents.config import bonus_spec, skilled_one
from agents.policy import PRECISIONS, Precision
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.runs.run_dir import UNNAMED
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv
from envs.rng_streams import stream_seed
from envs.suites import build
from envs.tasks import Task, World
from intrinsic import BONUSES
from intrinsic.base import IntrinsicBonus
from representations import REPRESENTATIONS
from representations.base import Representation, Unfit
from representations.pretrain import views_of
from representations.wrappers import AppendVectors, FeatureStack, RepresentationWrapper


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run's result; its hash names the run."""

    suite: str
    env: str
    repr: str
    repr_settings: dict[str, Any]
    mode: str
    algo: str
    algo_settings: dict[str, Any]
    bonus: str
    trunk: str
    train_levels: int
    pretrain_on: str
    pretrain_frames: int
    """Distinct frames of the unsupervised data; 0 where nothing is pre-trained."""
    pretrain_samples: int
    """Frames drawn from them in all, over all phases."""
    seed: int
    steps: int
    num_envs: int
    precision: str
    eval_envs: int
    """Environments of the final evaluation of a split, one episode or one window each."""
    window: int
    """Frames of an evaluation window, which runs on through the ends of episodes; 0: first episodes."""
    periodic_evals: int
    """Evaluations on training and held-out levels during training."""
    periodic_envs: int
    checkpoint_frames: int
    preset: str
    normalise: tuple[float, float] | None
    splits: tuple[str, ...]
    bonus_settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of each bonus in ``bonus``, which lists them as NAME:COEFFICIENT, or "none"."""
    compile: bool = field(default=False, metadata=UNNAMED)
    """Have torch compile the representation for the batch sizes of the run; it rounds differently."""


def resolve_precision(name: str, device: str = "cpu") -> Precision:
    """'auto' is bfloat16 where the processor or the GPU multiplies it in hardware, float32 elsewhere."""
    for precision in PRECISIONS:
        if name == precision:
            return precision
    if name != "auto":
        raise UsageError(f"--precision '{name}' is not one of auto, {', '.join(PRECISIONS)}")
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def resolve_device(name: str) -> str:
    """'auto' is the GPU where torch sees one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here; use --device cpu, or install a CUDA build of torch")
    if name in ("cpu", "cuda"):
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def find_task(config: RunConfig) -> Task:
    return next(task for task in build(config.suite, config.train_levels) if task.env == config.env)


def env_spec(config: RunConfig, task: Task, frames: int) -> EnvSpec:
    """Facts about a task's training environment with ``frames`` stacked frames, and the agent's discount."""
    env = Sb3VecEnv(task.source.stacked(frames).make(1, 0))
    discount = config.algo_settings.get("gamma", EnvSpec.discount)
    spec = EnvSpec.of(env, discount, frames)
    env.close()
    return spec


def build_representation(config: RunConfig, task: Task) -> Representation:
    """The representation as its seed makes it, before any training; no other stream is touched.

    What is pre-trained sees single frames, and their features side by side make motion; the rest stacks channels.
    Numbers that the world tells beside the image, and the method does not use, go to the policy as they are.
    """
    cls = REPRESENTATIONS.resolve(config.repr)
    single = config.mode != "online"
    spec = env_spec(config, task, frames=1 if single else task.motion)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "init", "representation"))
        representation: Representation = cls(spec, cls.Config(**config.repr_settings))
    vectors = [key for key, box in spec.space.spaces.items() if len(box.shape or ()) == 1 and key not in representation.keys]
    if single and task.motion > 1:
        representation = FeatureStack(representation, task.motion, stacked=config.mode == "finetune")
    return AppendVectors(representation, vectors) if vectors else representation


def build_bonuses(config: RunConfig, env: VecEnv, representation: Representation) -> list[IntrinsicBonus]:
    """The bonuses of a run over ``env``, each as the seed and its own name make it."""
    spec = bonus_spec(env, representation, config.mode, config.algo_settings.get("gamma", 0.99))
    bonuses = []
    for name, coefficient in parse_bonuses(config.bonus.split()).items():
        cls = BONUSES.resolve(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "init", "bonus", name))
            bonus: IntrinsicBonus = cls(spec, cls.Config(**config.bonus_settings.get(name, {})))
        bonus.coefficient = bonus.coefficient if coefficient is None else coefficient
        bonuses.append(bonus)
    return bonuses


def parse_bonuses(words: Iterable[str]) -> dict[str, float | None]:
    """``["icm:0.01", "rnd"]`` -> ``{"icm": 0.01, "rnd": None}``; None stands for the bonus's own coefficient.

    Raises:
        UsageError: an unknown name, one named twice, or a coefficient below 0.
    """
    found: dict[str, float | None] = {}
    for word in words:
        name, _, tail = word.rpartition(":")
        try:
            coefficient: float | None = float(tail)
        except ValueError:
            name, coefficient = word, None
        if word == "none":
            continue
        BONUSES.check(name or word)
        if name in found:
            raise UsageError(f"--bonus {word}: '{name}' is named twice; give it one coefficient")
        if coefficient is not None and not 0 <= coefficient < math.inf:
            raise UsageError(f"--bonus {word}: give a coefficient of at least 0, as in --bonus {name}:0.1")
        found[name] = coefficient
    return found


def load_trained(run: Path, config: Mapping[str, Any]) -> tuple[Representation, dict[str, World]]:
    """The representation of a finished run, in eval mode, and its worlds by split as that representation sees them.

    It is the method's own, without what was put around it for the policy.

    Raises:
        UsageError: no whole checkpoint is there.
    """
    _, task, representation, _ = _read_back(run, config)
    frames = task.motion
    while isinstance(representation, RepresentationWrapper):
        frames = 1 if isinstance(representation, FeatureStack) else frames
        representation = representation.inner
    return representation.eval(), {split: world.stacked(frames) for split, world in task.splits().items()}


def load_trained_bonuses(run: Path, config: Mapping[str, Any]) -> tuple[Representation, World, list[IntrinsicBonus]]:
    """The bonuses of a finished run, the representation as its policy holds it, and the world both learnt on.

    Raises:
        UsageError: no whole checkpoint is there.
    """
    known, task, representation, state = _read_back(run, config)
    world = task.source.stacked(1 if known.mode == "frozen" else task.motion)
    env = Sb3VecEnv(world.make(1, 0))
    bonuses = build_bonuses(known, env, representation)
    env.close()
    for bonus in bonuses:
        checkpoint.restore(bonus, state[f"bonus/{bonus.name}"])
    return representation.eval(), world, bonuses


def _read_back(run: Path, config: Mapping[str, Any]) -> tuple[RunConfig, Task, Representation, dict[str, Any]]:
    """A finished run's configuration, its task, its representation, and everything in its newest checkpoint."""
    known = RunConfig(**{each.name: config[each.name] for each in fields(RunConfig) if each.name in config})
    task = find_task(known)
    representation = build_representation(known, task)
    found = checkpoint.read(run / "checkpoint" / "train")
    if found is None:
        raise UsageError(f"{run} has no checkpoint; remove that folder and run it again")
    weights = found[1]["policy"]["module"]
    own = {key.removeprefix("representation."): v for key, v in weights.items() if key.startswith("representation.")}
    representation.load_state_dict(own)
    return known, task, representation, found[1]


def validate(configs: Sequence[RunConfig], ranks: Ranks = SINGLE_PROCESS) -> dict[str, str]:
    """Build the world and the representation of every run once, so that what cannot work fails before it writes.

    Returns:
        Representation -> why it and these worlds do not go together (an observation key that is missing).

    Raises:
        UsageError: a missing package, a setting a method's networks refuse, what several processes cannot do.
    """
    seen = set()
    refused: dict[str, str] = {}
    for config in configs:
        ranks.local_envs(config.num_envs)
        if config.bonus != "none":
            ranks.require_single_process("bonuses")
        told = {**config.repr_settings, "bonus": config.bonus, "bonus settings": config.bonus_settings}
        key = (config.env, config.repr, config.mode, tuple(sorted((name, str(v)) for name, v in told.items())))
        if key not in seen:
            seen.add(key)
            try:
                task = find_task(config)
                representation = build_representation(config, task)
                if representation.views and config.pretrain_samples:
                    views_of(task.source)
                if config.bonus != "none":
                    env = Sb3VecEnv(task.source.stacked(1 if config.mode == "frozen" else task.motion).make(1, 0))
                    skilled_one(build_bonuses(config, env, representation))
                    env.close()
                each = config.steps // config.num_envs
                if config.mode == "online" and representation.has_loss and representation.window > each:
                    raise UsageError(
                        f"{config.repr} learns from windows of {representation.window} steps; {config.steps:,} frames "
                        f"in {config.num_envs} environments are {each} steps each: give more --steps"
                    )
            except Unfit as reason:
                refused[config.repr] = str(reason)
    return refused
