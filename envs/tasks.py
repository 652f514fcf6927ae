"""What a suite is made of: worlds by name and options, tasks (a source and its targets), suites. Data only.

Nothing here imports torch, procgen or gymnasium, so a command line lists suites at once; ``World.make`` builds one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from envs import WORLDS

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

HELDOUT_START = 10**6
HELDOUT: dict[str, Any] = {"start_level": HELDOUT_START, "num_levels": 10**5}


@dataclass(frozen=True)
class World:
    """A world by registry name and its options, all but the number of envs and the seed."""

    name: str
    """A name of ``envs.WORLDS``, or "package.module:Class"."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of its class."""
    frames: int = 1
    """Frames stacked in the channels of an image; 1: none."""

    def make(self, num_envs: int, seed: int, first: int = 0) -> VectorEnv:
        """Build it. UsageError where an option is bad or the world's package is missing.

        Args:
            first: number of its first env among those of one seed, where several processes hold a part each. A world
                that draws by counter gives the envs they are in the whole; another, as Procgen, others of the kind.
        """
        cls = WORLDS.resolve(self.name)
        by_counter = hasattr(cls, "first")
        if first and not by_counter:
            from envs.rng_streams import stream_seed

            seed = stream_seed(seed, "from", first)
        world = cls(num_envs=num_envs, seed=seed, **self.options)
        if first and by_counter:
            world.first = first
        if self.frames == 1:
            return world
        from envs.wrappers.frame_stack import StackedVectorEnv

        return StackedVectorEnv(world, self.frames)

    def with_options(self, **options: Any) -> World:
        """The same world with some options changed."""
        return replace(self, options={**self.options, **options})

    def stacked(self, frames: int) -> World:
        """The same world with so many frames in the channels."""
        return replace(self, frames=frames)


@dataclass(frozen=True)
class Task:
    """One source and its targets."""

    env: str
    """Name in tables, as "coinrun-easy"."""
    source: World
    """The world that agents train on."""
    targets: dict[str, World]
    """Split name -> world that agents are tested on, never trained."""
    visual_variants: tuple[World, ...]
    """Worlds for frames without reward (``--pretrain-on all``): every look, on training levels only."""
    normalise: tuple[float, float] | None
    """(Rmin, Rmax) of the normalised return (R - Rmin) / (Rmax - Rmin); None where nobody gives constants."""
    train_levels: int
    """K: training levels are [0, K)."""
    motion: int = 1
    """Frames an agent needs to see at once to know where things go; 1 where a single frame will do."""
    window: int = 0
    """Evaluate on windows of so many frames that run on through the ends of episodes; 0: first episodes."""

    share: float = 1.0
    """Part of a preset's training frames that this task gets."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Agent or representation -> settings that fit the task better than its own defaults, which are Procgen's."""
    trunk: str = ""
    """Trunk of convolutional networks, "symbols" for worlds of codes; "": the preset's."""
    same_state_targets: tuple[str, ...] = ()
    """Targets that show the very states of the source, so that a policy's actions can be compared state by state."""

    def splits(self) -> dict[str, World]:
        """All worlds to evaluate on: "train" is the source."""
        return {"train": self.source, **self.targets}


@dataclass(frozen=True)
class Suite:
    """A named list of tasks."""

    about: str
    """One line for listings."""
    train_levels: int
    """Default K."""
    tasks: Callable[[int], tuple[Task, ...]]
    """K -> tasks."""
