"""Environments by name and options, tasks (a source and its targets), and suites. Data only.

Nothing here imports torch, procgen or gymnasium, so a command line lists suites at once; ``World.make`` builds one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from envs import ENVIRONMENTS, level_sets
from envs.level_sets import LevelRange

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

EPISODE_LIMIT = 27_000
"""Steps after which an evaluation cuts an episode that has not ended: half an hour of an Atari game. No suite here has
longer ones."""
HELDOUT: dict[str, Any] = level_sets.HELDOUT.options
"""Options of an environment on held-out levels."""


@dataclass(frozen=True)
class World:
    """An environment by registry name and its options, all but the number of envs and the seed."""

    name: str
    """A name of ``envs.ENVIRONMENTS``, or "package.module:Class"."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of its class."""
    frames: int = 1
    """Frames stacked in the channels of an image; 1: none."""
    factors: bool = False
    """Add the observation "factors": the ground truth as a vector (``envs.wrappers.factors``)."""
    last_step: bool = False
    """Add the observations "last_action" and "last_reward" (``envs.wrappers.last_step``)."""

    def make(self, num_envs: int, seed: int, first: int = 0) -> VectorEnv[Any, Any, Any]:
        """Build the vector env.

        Args:
            num_envs: number of envs.
            seed: of its draws.
            first: number of its first env among those of one seed, where several processes hold some each. An
                environment that draws by counter gives exactly those envs; another, as Procgen, others of the kind.

        Raises:
            UsageError: an option is bad, or the environment's package is missing.
        """
        from envs.wrappers.foreign import conforming

        cls = ENVIRONMENTS.resolve(self.name)
        by_counter = hasattr(cls, "first_env")
        if first and not by_counter:
            from envs.rng_streams import stream_seed

            seed = stream_seed(seed, "from", first)
        env: VectorEnv[Any, Any, Any] = cls(num_envs=num_envs, seed=seed, **self.options)
        if first and by_counter:
            env.first_env = first  # type: ignore[attr-defined]
        env = conforming(env, guarded=True)
        if self.factors:
            from envs.wrappers.factors import FactorsVectorEnv

            env = FactorsVectorEnv(env)
        if self.last_step:
            from envs.wrappers.last_step import LastStepVectorEnv

            env = LastStepVectorEnv(env)
        if self.frames != 1:
            from envs.wrappers.frame_stack import StackedVectorEnv

            env = StackedVectorEnv(env, self.frames)
        env.made_by = self  # type: ignore[attr-defined]  # a saved agent says in which environment it was trained
        return env

    def with_options(self, **options: Any) -> World:
        """The same environment with some options changed."""
        return replace(self, options={**self.options, **options})

    def stacked(self, frames: int) -> World:
        """The same environment with so many frames in the channels."""
        return replace(self, frames=frames)

    def with_factors(self) -> World:
        """The same environment with its true factors as the observation "factors"."""
        return replace(self, factors=True)

    def with_last_step(self) -> World:
        """The same environment with the last action and reward as observations."""
        return replace(self, last_step=True)


@dataclass(frozen=True)
class Task:
    """One source and its targets."""

    env: str
    """Name in tables, as "coinrun-easy"."""
    source: World
    """Environment that agents train on."""
    targets: dict[str, World]
    """Split name -> environment that agents are tested on, never trained."""
    visual_variants: tuple[World, ...]
    """Environments for frames without reward (``--pretrain-on all``): every visual variant, on training levels only."""
    normalise: tuple[float, float] | None
    """(Rmin, Rmax) of the normalised return (R - Rmin) / (Rmax - Rmin); None where nobody gives constants."""
    train_levels: int
    """K, number of training levels; a suite names them [0, K), ``on_levels`` puts a drawn set in their place."""
    kind: str = ""
    """Kind of environment, as "breakout": the key of settings that suit it; "" has none."""
    motion: int = 1
    """Frames an agent needs at once to know where things go; 1 where a single frame will do."""
    window: int = 0
    """Evaluate on windows of so many frames that run on through the ends of episodes; 0: first episodes."""
    share: float = 1.0
    """Fraction of a preset's training frames that this task gets."""
    same_state_targets: tuple[str, ...] = ()
    """Targets that show the very states of the source, so that a policy's actions can be compared state by state."""

    def splits(self) -> dict[str, World]:
        """All environments to evaluate on: "train" is the source."""
        return {"train": self.source, **self.targets}

    @property
    def validation(self) -> World | None:
        """The source on validation levels; None for a task that has no held-out ones."""
        if not any(_is_on(world, level_sets.HELDOUT) for world in self.targets.values()):
            return None
        return self.source.with_options(**level_sets.VALIDATION.options)

    def on_levels(self, training: LevelRange) -> Task:
        """The same task with ``training`` for its training levels, wherever it shows these."""
        published = level_sets.published_levels(self.train_levels)

        def moved(world: World) -> World:
            return world.with_options(**training.options) if _is_on(world, published) else world

        return replace(self._changed(moved), train_levels=training.count)

    def with_factors(self) -> Task:
        """The same task with the true factors as an observation, wherever it is played."""
        return self._changed(World.with_factors)

    def with_last_step(self) -> Task:
        """The same task with the last action and reward as observations, wherever it is played."""
        return self._changed(World.with_last_step)

    def _changed(self, change: Callable[[World], World]) -> Task:
        """The same task in changed environments."""
        return replace(
            self,
            source=change(self.source),
            targets={split: change(world) for split, world in self.targets.items()},
            visual_variants=tuple(map(change, self.visual_variants)),
        )


@dataclass(frozen=True)
class Suite:
    """A named list of tasks."""

    about: str
    """One line for listings."""
    train_levels: int
    """Default K."""
    tasks: Callable[[int], tuple[Task, ...]]
    """K -> tasks."""
    fixed_levels: bool = False
    """True where K belongs to the suite's question, which is about visual variants, combinations, exploration or memory
    and not about a gap: then only the command line changes K. With few levels agents learn these by heart, and nothing
    is measured."""
    pretrain_levels: int = 10_000
    """Levels of ``level_sets.PRETRAINING`` that frames come from under ``--pretrain-levels more``."""


def levels_of(world: World) -> LevelRange | None:
    """The levels that an environment's options name; None where they name none, or Procgen's "all" (0)."""
    start, count = world.options.get("start_level"), world.options.get("num_levels")
    return LevelRange(start, count) if isinstance(start, int) and isinstance(count, int) and count > 0 else None


def without_levels(world: World) -> World:
    """The same environment without options that name its levels, which decide none of its spaces."""
    kept = {name: value for name, value in world.options.items() if name not in ("start_level", "num_levels")}
    return replace(world, options=kept)


def _is_on(world: World, levels: LevelRange) -> bool:
    return levels_of(world) == levels


def with_heldout(worlds: dict[str, World]) -> dict[str, World]:
    """Each target on the training levels, and as ``<name>/heldout`` on held-out ones."""
    splits: dict[str, World] = {}
    for name, world in worlds.items():
        splits |= {name: world, f"{name}/heldout": world.with_options(**HELDOUT)}
    return splits


def only_heldout(worlds: dict[str, World]) -> dict[str, World]:
    """Each target on held-out levels alone, as ``<name>/heldout``."""
    return {f"{name}/heldout": world.with_options(**HELDOUT) for name, world in worlds.items()}
