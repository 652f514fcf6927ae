"""Suites: named tasks, each a source environment to train on and targets to test on without training. Data only.

One file a family: ``procgen``, ``breakout``, ``atari``, ``dmc``, ``minigrid``, ``rooms``, ``sprites``, ``counting``;
``single`` is the suite of one environment that a command line names, ``env:ID``. A suite of your own is a ``Suite``
object: name it ``package.module:NAME``, or add it by the entry-point group ``rl_transfer.suites``.

Levels: a suite names the training levels [0, K), and a run puts its own set in their place (``Task.on_levels``). Ranges
are those of ``envs.level_sets``. A target named after a visual variant or a rule alone shows it on the *training*
levels; ``<name>/heldout`` shows it on held-out levels.
"""

from __future__ import annotations

from envs.level_sets import VALIDATION
from envs.registry import Registry, UsageError
from envs.suites.single import PREFIX, SingleEnv
from envs.tasks import Suite, Task

SUITES = Registry(
    "suite",
    "rl_transfer.suites",
    {
        "coinrun": "envs.suites.procgen:COINRUN",
        "coinrun-visual": "envs.suites.procgen:COINRUN_VISUAL",
        "coinrun-shifts": "envs.suites.procgen:COINRUN_SHIFTS",
        "coinrun-themes": "envs.suites.procgen:COINRUN_THEMES",
        "coinrun-coin": "envs.suites.procgen:COINRUN_COIN",
        "coinrun-coin-random": "envs.suites.procgen:COINRUN_COIN_RANDOM",
        "procgen16": "envs.suites.procgen:PROCGEN16",
        "procgen-maze": "envs.suites.procgen:PROCGEN_MAZE",
        "breakout": "envs.suites.breakout:BREAKOUT",
        "breakout-visual": "envs.suites.breakout:BREAKOUT_VISUAL",
        "breakout-physics": "envs.suites.breakout:BREAKOUT_PHYSICS",
        "breakout-layout": "envs.suites.breakout:BREAKOUT_LAYOUT",
        "breakout-sparse": "envs.suites.breakout:BREAKOUT_SPARSE",
        "atari-breakout": "envs.suites.atari:ATARI_BREAKOUT",
        "dmc": "envs.suites.dmc:DMC",
        "minigrid": "envs.suites.minigrid:MINIGRID",
        "minigrid-ladder": "envs.suites.minigrid:MINIGRID_LADDER",
        "minigrid-memory": "envs.suites.minigrid:MINIGRID_MEMORY",
        "noisy-tv": "envs.suites.minigrid:NOISY_TV",
        "rooms": "envs.suites.rooms:ROOMS",
        "rooms-moving": "envs.suites.rooms:ROOMS_MOVING",
        "sprites": "envs.suites.sprites:SPRITES",
        "counting": "envs.suites.counting:COUNTING",
    },
)


def find_suite(name: str) -> Suite:
    """The suite of that name, or of the place "package.module:NAME".

    Raises:
        UsageError: unknown, or no ``Suite``.
    """
    if name.startswith(PREFIX):
        return SingleEnv.parse(name).suite()
    suite = SUITES.resolve(name)
    if not isinstance(suite, Suite):
        raise UsageError(f"suite '{name}' is a {type(suite).__name__}; name an object of the class envs.tasks.Suite")
    return suite


def descriptions() -> dict[str, str]:
    """One line for every registered suite."""
    return {name: find_suite(name).about for name in SUITES}


def label(name: str) -> str:
    """A suite's name as part of a folder's: of a place its object in lower case, of an environment its id."""
    if name.startswith(PREFIX):
        return SingleEnv.parse(name).task_name
    return name.rpartition(":")[2].lower() if ":" in name else name


def build(suite_name: str, train_levels: int | None = None) -> tuple[Task, ...]:
    """The tasks of a suite with K training levels; None takes the suite's own K.

    Raises:
        UsageError: unknown suite, or K that leaves [1, 1 000 000), where validation levels begin.
    """
    suite = find_suite(suite_name)
    levels = suite.train_levels if train_levels is None else train_levels
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels < VALIDATION.start:
        raise UsageError(
            f"suite '{suite_name}': train_levels={levels!r} must be an integer in [1, {VALIDATION.start}), below the "
            "validation levels"
        )
    return suite.tasks(levels)
