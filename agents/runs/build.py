"""A run's task, representation and bonuses, built as its seed makes them."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
import torch

from agents.config import with_features
from agents.policy import PRECISIONS, Precision
from agents.runs.config import RunConfig, parse_bonuses, training_set
from envs.level_sets import LevelRange
from envs.registry import UsageError
from envs.rng_streams import stream_seed
from envs.spaces import FACTORS, EnvSpec, keyed_space
from envs.suites import build
from envs.tasks import Task, World, levels_of, without_levels
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic import BONUSES
from intrinsic.base import IntrinsicBonus
from representations import REPRESENTATIONS
from representations.base import Representation, Unfit
from representations.standardise import Standardised
from representations.wrappers import AppendVectors, FeatureStack


@dataclass(frozen=True)
class RunParts:
    """A run's configuration, and what it is trained with before any training."""

    config: RunConfig
    task: Task
    representation: Representation
    bonuses: tuple[IntrinsicBonus, ...] = ()


class EnvSpecs:
    """Facts about environments; each environment is made once to read them, and closed."""

    def __init__(self) -> None:
        self._spaces: dict[str, tuple[gym.spaces.Dict, gym.Space, int]] = {}
        self.understood: dict[str, tuple[str, ...]] = {}
        """Environment, in words -> a line an entry of its observation, where it had to be understood."""

    def of(self, world: World, discount: float = EnvSpec.discount) -> EnvSpec:
        """Observations and actions of ``world`` as an agent with this discount sees them."""
        key = repr(without_levels(world))
        if key not in self._spaces:
            try:
                env = Sb3VecEnv(world.make(1, 0))
            except UsageError as error:
                if world.factors:
                    raise Unfit(str(error)) from None
                raise
            self._spaces[key] = keyed_space(env.observation_space), env.action_space, env.frames
            if env.understood:
                self.understood.setdefault(str(getattr(env.vector_env, "name", world.name)), env.understood)
            env.close()
        space, actions, frames = self._spaces[key]
        return EnvSpec(space, actions, discount, frames)


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
    """The task of a run on the run's own training levels; UsageError where its suite no longer has it."""
    tasks = {task.env: task for task in build(config.suite, config.train_levels)}
    if config.env not in tasks:
        raise UsageError(f"suite '{config.suite}' has no task '{config.env}'; it has: {', '.join(tasks)}")
    task = tasks[config.env].on_levels(training_set(config))
    task = task.with_last_step() if config.last_step else task
    return task.with_factors() if _reads_factors(config.repr) else task


def _reads_factors(name: str) -> bool:
    """True for a representation whose class asks for the true factors; one that decides its keys later does not."""
    keys = REPRESENTATIONS.resolve(name).keys
    return isinstance(keys, tuple) and FACTORS in keys


def encoder_world(config: RunConfig, task: Task) -> World:
    """The training environment as the representation sees it: single frames where it is pre-trained."""
    return task.source.stacked(task.motion if reads_stacks(config) else 1)


def reads_stacks(config: RunConfig) -> bool:
    """True where the encoder reads frames stacked in the channels, as an agent's own does."""
    return config.mode == "online" or _takes_encoder(config)


def policy_world(config: RunConfig, task: Task, world: World | None = None) -> World:
    """``world`` (the training environment by default) as the policy sees it: single frames where features are kept."""
    single = config.mode == "frozen" and not reads_stacks(config)
    return (world or task.source).stacked(1 if single else task.motion)


def pretraining_worlds(config: RunConfig, task: Task) -> tuple[World, ...]:
    """Environments that give the frames of pre-training, stacked as the encoder takes them.

    Raises:
        UsageError: other levels are asked for, and an environment names none.
    """
    worlds = task.visual_variants if config.pretrain_on == "all" else (task.source,)
    if config.pretrain_levels:
        if any(levels_of(world) is None for world in worlds):
            raise UsageError(f"{task.env} names no levels to pre-train on; leave --pretrain-levels at same")
        options = LevelRange.parse(config.pretrain_levels).options
        worlds = tuple(world.with_options(**options) for world in worlds)
    return tuple(world.stacked(task.motion) for world in worlds) if reads_stacks(config) else worlds


def _takes_encoder(config: RunConfig) -> bool:
    return bool(REPRESENTATIONS.resolve(config.repr).starts_from_policy)


def build_parts(config: RunConfig, specs: EnvSpecs | None = None) -> RunParts:
    """Everything of a run that is built before its environments.

    Raises:
        Unfit: the representation needs an observation key that the task lacks.
        UsageError: a setting that networks refuse.
    """
    specs, task = specs or EnvSpecs(), find_task(config)
    discount = config.algo_settings.get("gamma", EnvSpec.discount)
    representation = build_representation(config, task, specs.of(encoder_world(config, task), discount))
    if config.bonus == "none":
        return RunParts(config, task, representation)
    spec = specs.of(policy_world(config, task), discount)
    return RunParts(config, task, representation, tuple(build_bonuses(config, spec, representation)))


def build_representation(config: RunConfig, task: Task, spec: EnvSpec) -> Representation:
    """The representation as its seed makes it; no other stream is touched.

    Frozen and fine-tuned features are standardised where the run takes frames to fit their scale. What is pre-trained
    encodes single frames, and their features side by side show motion; the rest stacks channels.
    Vectors of the observation that the method does not use go to the policy as they are.
    """
    cls = REPRESENTATIONS.resolve(config.repr)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "init", "representation"))
        representation: Representation = cls(spec, cls.Config(**config.repr_settings))
    spaces, used = spec.space.spaces, representation.keys
    vectors = [key for key, box in spaces.items() if len(box.shape or ()) == 1 and key not in used]
    if config.pretrain_frames:
        representation = Standardised(representation)
    if not reads_stacks(config) and task.motion > 1:
        representation = FeatureStack(representation, task.motion, stacked=config.mode == "finetune")
    return AppendVectors(representation, vectors) if vectors else representation


def build_bonuses(config: RunConfig, spec: EnvSpec, representation: Representation) -> list[IntrinsicBonus]:
    """The bonuses of a run, each as the seed and its own name make it.

    Args:
        spec: of the environment that the policy acts in.
    """
    spec = with_features(spec, representation, config.mode)
    bonuses = []
    for name, coefficient in parse_bonuses(config.bonus.split()).items():
        cls = BONUSES.resolve(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(config.seed, "init", "bonus", name))
            bonus: IntrinsicBonus = cls(spec, cls.Config(**config.bonus_settings.get(name, {})))
        bonus.coefficient = bonus.coefficient if coefficient is None else coefficient
        bonuses.append(bonus)
    return bonuses
