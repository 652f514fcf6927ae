"""Gymnasium ids of every environment, registered with string entry points: nothing is imported before ``make``.

Gymnasium 1 loads no plug-ins, so the folder goes before the id:
``gymnasium.make("envs.breakout:Breakout-MiddleWall-v0")``. After ``register_ids()`` every bare id is known.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

ATARI_VARIANTS: dict[str, dict[str, Any]] = {f"mode-{mode}": {"mode": mode} for mode in (0, 4, 8, 12, 32, 36, 40, 44)}
ATARI_VARIANTS |= {"hard": {"difficulty": 1}, "rgb": {"view": "rgb"}}
ROOMS_VARIANTS: dict[str, dict[str, Any]] = {
    "fixed": {"camera": "fixed"},
    "moving": {"camera": "moving"},
    "first_person": {"camera": "first_person"},
    "two_distractors": {"distractors": 2},
    "heldout_combinations": {"combinations": "heldout"},
}
SPRITES_VARIANTS: dict[str, dict[str, Any]] = {
    "one_distractor": {},
    "two_distractors": {"distractors": 2},
    "three_distractors": {"distractors": 3},
    "heldout_combinations": {"combinations": "heldout"},
    "gradient": {"background": "gradient"},
    "noise": {"background": "noise"},
    "small": {"radius": 4.5},
}
TOY_VARIANTS: dict[str, dict[str, Any]] = {toy: {"toy": toy} for toy in ("place", "shape", "flicker", "agent")}
TV_VARIANTS: dict[str, dict[str, Any]] = {tv: {"tv": tv} for tv in ("noise", "still", "remote")}


def all_ids() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(id, place, options) of every id; the classes are ``<place>Env``, one env, and ``<place>VectorEnv``."""
    from envs.breakout.variants import VARIANTS  # here, as the folders' own __init__ imports this module
    from envs.minigrid.levels import LADDER
    from envs.procgen.games import GAMES
    from envs.suites.dmc import TASKS as DMC_TASKS

    for name in VARIANTS:
        yield f"Breakout-{_title(name)}-v0", "envs.breakout.env:Breakout", {"variant": name}
    for name, options in ATARI_VARIANTS.items():
        yield f"AtariBreakout-{_title(name)}-v0", "envs.atari:AtariBreakout", options
    for name in DMC_TASKS:
        yield f"DMC-{_title(name)}-v0", "envs.dmc:Dmc", {"task": name}
    for env_id in LADDER.values():
        yield f"FastMiniGrid-{env_id}", "envs.minigrid.env:MiniGrid", {"env_id": f"MiniGrid-{env_id}"}
    for name, options in TV_VARIANTS.items():
        yield f"NoisyTV-{_title(name)}-v0", "envs.minigrid.noisy_tv:NoisyTV", options
    for name, options in ROOMS_VARIANTS.items():
        yield f"Rooms-{_title(name)}-v0", "envs.rooms.env:Rooms", options
    for name, options in SPRITES_VARIANTS.items():
        yield f"Sprites-{_title(name)}-v0", "envs.sprites.env:Sprites", options
    for name, game in GAMES.items():
        yield f"Procgen/{game.title}-v0", "envs.procgen.env:Procgen", {"game": name}
    yield "Procgen/CoinRunThemes-v0", "envs.procgen.coinrun_themes:CoinRunThemes", {}
    yield "Procgen/CoinRunCoin-v0", "envs.procgen.coinrun_coin:CoinRunCoin", {}
    yield "Counting-v0", "envs.counting:Counting", {}
    for name, options in TOY_VARIANTS.items():
        yield f"Toy-{_title(name)}-v0", "envs.toys:Toy", options


def register_ids() -> None:
    """Make every id known to ``gymnasium.make`` and ``make_vec``; a second call changes nothing."""
    from gymnasium.envs.registration import register, registry

    for env_id, place, options in all_ids():
        if env_id not in registry:
            register(env_id, entry_point=f"{place}Env", vector_entry_point=f"{place}VectorEnv", kwargs=options)


def register_on_import() -> None:
    """Register where gymnasium is imported already: ``gymnasium.make("envs.rooms:...")`` imports that folder."""
    if "gymnasium" in sys.modules:
        register_ids()


def _title(name: str) -> str:
    return name.title().replace("_", "").replace("-", "")
