"""Settings that are timed, and the ratios between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from envs.tasks import World
from intrinsic import BONUSES
from representations import REPRESENTATIONS

COINRUN = World("procgen", {"game": "coinrun", "num_levels": 200})
NO_BONUS = "bonuses: none"
SPLIT = ("vae", "darla", "monet")
"""Representations whose pre-training is also timed with batches whole, torch splitting each operation."""


@dataclass(frozen=True)
class Row:
    """One timed setting."""

    group: str
    name: str
    function: str
    """Name of a function of ``benchmarks.baselines.frameworks``."""
    options: dict[str, Any]

    @property
    def key(self) -> str:
        return f"{self.group}: {self.name}"


@dataclass(frozen=True)
class Ratio:
    """Frames/s of one row over those of another, both named by their keys."""

    name: str
    numerator: str
    denominator: str


RATIOS = (
    Ratio("impala: ours / stable-baselines3", "agents: impala, ours", "agents: impala, stable-baselines3"),
    Ratio("impala: ours / single file", "agents: impala, ours", "agents: impala, single file"),
    Ratio("nature: ours / stable-baselines3", "agents: nature, ours", "agents: nature, stable-baselines3"),
    Ratio("nature: ours / single file", "agents: nature, ours", "agents: nature, single file"),
    Ratio("frozen nature / coinrun alone", "frozen: nature, only acting", "environments: coinrun"),
    Ratio("frozen nature / end to end", "frozen: nature, only acting", "agents: nature, ours"),
    Ratio("frozen impala / end to end", "frozen: impala, only acting", "agents: impala, ours"),
    *(
        Ratio(f"pretraining {name}: threads / one stream", f"pretraining: {name}", f"pretraining: {name}, one stream")
        for name in SPLIT
    ),
)
COMPARED = {key for ratio in RATIOS for key in (ratio.numerator, ratio.denominator)}


def rows() -> list[Row]:
    """Every setting, group by group."""
    return [*_environments(), *_agents(), *_frozen(), *_methods(), *_bonuses(), *_num_envs()]


def _breakout(**options: Any) -> World:
    return World("breakout", {"preset": "mini64", **options})


def _environments() -> list[Row]:
    doorkey = {"env_id": "MiniGrid-DoorKey-8x8-v0"}
    settings: list[tuple[str, World, int]] = [
        ("breakout index, no copy", _breakout(mode="index", copy=False), 2048),
        ("breakout index", _breakout(mode="index"), 64),
        ("breakout rgb", _breakout(mode="rgb", ball_px=2), 64),
        ("breakout rgb, 4 stacked", _breakout(mode="rgb", ball_px=2).stacked(4), 64),
        ("coinrun", COINRUN, 64),
        ("coinrun-themes", World("coinrun-themes"), 64),
        ("minigrid doorkey-8x8 rgb", World("minigrid", doorkey), 64),
        ("minigrid doorkey-8x8 symbolic", World("minigrid", {**doorkey, "view": "symbolic"}), 64),
        ("rooms, fixed camera", World("rooms", {"camera": "fixed"}), 64),
        ("rooms, moving camera", World("rooms", {"camera": "moving"}), 64),
        ("sprites", World("sprites"), 64),
        ("atari breakout", World("atari-breakout"), 8),
    ]
    return [
        Row("environments", name, "environment", {"world": world, "num_envs": num_envs})
        for name, world, num_envs in settings
    ]


def _agents() -> list[Row]:
    rows = []
    for trunk, n_steps in (("nature", 128), ("impala", 32)):  # the least that is a minibatch of 2048 frames
        size = {"world": COINRUN, "num_envs": 64, "n_steps": n_steps, "trunk": trunk}
        rows += [
            Row("agents", f"{trunk}, ours", "ours", size),
            Row("agents", f"{trunk}, ours in float32", "ours", {**size, "precision": "float32"}),
            Row("agents", f"{trunk}, single file", "single_file", size),
            Row("agents", f"{trunk}, stable-baselines3", "sb3", size),
            Row("agents", f"{trunk}, single file, memory kept", "single_file", {**size, "keep_memory": True}),
            Row("agents", f"{trunk}, stable-baselines3, memory kept", "sb3", {**size, "keep_memory": True}),
        ]
    return rows


def _size(**changes: Any) -> dict[str, Any]:
    return {"world": COINRUN, "num_envs": 64, "n_steps": 64, **changes}


def _frozen() -> list[Row]:
    rows = [
        Row("frozen", f"{trunk}, only acting", "ours", _size(repr="random", trunk=trunk))
        for trunk in ("nature", "impala")
    ]
    many = _size(num_envs=256, n_steps=16, repr="random", trunk="nature")
    return [*rows, Row("frozen", "nature, only acting, 256 environments", "ours", many)]


def _methods() -> list[Row]:
    """PPO with each representation that reads images alone, and the pre-training of each that has one."""
    rows = []
    for name in REPRESENTATIONS.places:
        cls = REPRESENTATIONS.resolve(name)
        if not isinstance(cls.keys, tuple) or cls.keys == ("image",):
            rows.append(Row("methods", f"ppo over {name} ({cls.default_mode})", "ours", _size(repr=name)))
        if cls.needs_pretraining:
            world = World("rooms", {"camera": "moving"}) if cls.views else COINRUN
            options = {"world": world, "repr": name, "samples": 512 if name == "monet" else 2048}
            rows.append(Row("pretraining", name, "pretraining", options))
            if name in SPLIT:
                rows.append(Row("pretraining", f"{name}, one stream", "pretraining", {**options, "threads": 1}))
    return rows


def _bonuses() -> list[Row]:
    return [
        Row("bonuses", "none", "ours", _size()),
        *(Row("bonuses", name, "ours", _size(bonus=name)) for name in BONUSES.places),
    ]


def _num_envs() -> list[Row]:
    return [
        Row("num_envs", f"{count} environments", "ours", _size(num_envs=count, n_steps=16_384 // count, trunk="nature"))
        for count in (16, 64, 256, 1024)
    ]
