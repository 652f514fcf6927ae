"""Suites: named tasks, each a source world to train on and target worlds to test on without training. Data only.

Nothing here imports torch, procgen or gymnasium, so a command line lists suites at once; ``World.make`` builds one.

Levels: training plays seeds [0, K), held-out targets play [1 000 000, 1 100 000), so they are disjoint for every K that
``build`` accepts. A target named after a look or a rule alone shows it on the *training* levels; ``<name>/heldout``
shows it on held-out levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from envs import WORLDS
from envs.procgen_games import GAMES, near
from envs.registry import UsageError

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

    def make(self, num_envs: int, seed: int) -> VectorEnv:
        """Build it. UsageError where an option is bad or the world's package is missing."""
        return WORLDS.resolve(self.name)(num_envs=num_envs, seed=seed, **self.options)

    def but(self, **options: Any) -> World:
        """The same world with some options changed."""
        return World(self.name, {**self.options, **options})


@dataclass(frozen=True)
class Task:
    """One source and its targets."""

    env: str
    """Name in tables, as "coinrun-easy"."""
    source: World
    """The world that agents train on."""
    targets: dict[str, World]
    """Split name -> world that agents are tested on, never trained."""
    looks: tuple[World, ...]
    """Worlds for frames without reward (``--pretrain-on all``): every look, on training levels only."""
    normalise: tuple[float, float] | None
    """(Rmin, Rmax) of the normalised return (R - Rmin) / (Rmax - Rmin); None where nobody gives constants."""
    train_levels: int
    """K: training levels are [0, K)."""

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


def _coinrun(levels: int) -> tuple[Task, ...]:
    source = World("procgen", {"game": "coinrun", "distribution_mode": "easy", "num_levels": levels, "start_level": 0})
    looks = {
        "no-backgrounds": source.but(use_backgrounds=False),
        "monochrome": source.but(use_monochrome_assets=True),
        "no-backgrounds+monochrome": source.but(use_backgrounds=False, use_monochrome_assets=True),
    }
    targets = {"heldout": source.but(**HELDOUT), **looks}
    return (Task("coinrun-easy", source, targets, (source, *looks.values()), GAMES["coinrun"].easy, levels),)


def _coinrun_visual(levels: int) -> tuple[Task, ...]:
    """The source is plain: black background, first theme of everything. Hard mode, as easy has a single theme."""
    source = World(
        "procgen",
        {
            "game": "coinrun",
            "distribution_mode": "hard",
            "num_levels": levels,
            "start_level": 0,
            "use_backgrounds": False,
            "restrict_themes": True,
        },
    )
    looks = {
        "backgrounds": source.but(use_backgrounds=True),
        "themes": source.but(restrict_themes=False),
        "backgrounds+themes": source.but(use_backgrounds=True, restrict_themes=False),
        "monochrome": source.but(use_monochrome_assets=True),
        "monochrome+colours": source.but(use_monochrome_assets=True, use_backgrounds=True, restrict_themes=False),
    }
    # these change the layout behind a seed, so on training seeds they would not show training levels
    layouts = {
        "generated": source.but(use_generated_assets=True, use_backgrounds=True, restrict_themes=False),
        "no-pits": source.but(debug_mode=2),
        "no-crates": source.but(debug_mode=4),
        "flat": source.but(debug_mode=8),
        "flat+no-pits+no-crates": source.but(debug_mode=14),
        "easy": source.but(distribution_mode="easy"),
    }
    targets = {"heldout": source.but(**HELDOUT)}
    for name, world in looks.items():
        targets |= {name: world, f"{name}/heldout": world.but(**HELDOUT)}
    targets |= {f"{name}/heldout": world.but(**HELDOUT) for name, world in layouts.items()}
    return (Task("coinrun-hard", source, targets, (source, *looks.values()), GAMES["coinrun"].hard, levels),)


def _procgen16(levels: int) -> tuple[Task, ...]:
    tasks = []
    for name, game in GAMES.items():
        source = World("procgen", {"game": name, "distribution_mode": "easy", "num_levels": levels, "start_level": 0})
        tasks.append(Task(f"{name}-easy", source, {"heldout": source.but(**HELDOUT)}, (source,), game.easy, levels))
    return tuple(tasks)


def _counting(levels: int) -> tuple[Task, ...]:
    source = World("counting", {"num_levels": levels, "start_level": 0})
    swapped = source.but(look="swapped")
    # 10..13 steps, 11.5 on average; a random one of 4 actions earns a quarter of them
    normalise = (11.5 / 4, 11.5)
    targets = {"heldout": source.but(**HELDOUT), "swapped": swapped}
    return (Task("counting", source, targets, (source, swapped), normalise, levels),)


SUITES: dict[str, Suite] = {
    "coinrun": Suite("CoinRun easy: unseen levels, and three other looks of the training levels", 200, _coinrun),
    "coinrun-visual": Suite(
        "CoinRun hard, plain: looks x (training, unseen) levels, and other layouts", 500, _coinrun_visual
    ),
    "procgen16": Suite("all 16 Procgen games, easy: unseen levels", 200, _procgen16),
    "counting": Suite("a counting world for tests: unseen levels and a swapped look", 200, _counting),
}


def build(suite_name: str, train_levels: int | None = None) -> tuple[Task, ...]:
    """The tasks of a suite with K training levels; None takes the suite's own K.

    Raises:
        UsageError: unknown suite, or K that leaves [1, 1 000 000), where held-out levels begin.
    """
    if suite_name not in SUITES:
        raise UsageError(f"unknown suite '{suite_name}'{near(suite_name, SUITES)} Known: {', '.join(SUITES)}")
    suite = SUITES[suite_name]
    levels = suite.train_levels if train_levels is None else train_levels
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels < HELDOUT_START:
        raise UsageError(
            f"suite '{suite_name}': train_levels={levels!r} must be an integer in [1, {HELDOUT_START}), below the "
            "held-out levels"
        )
    return suite.tasks(levels)
