"""Settings that suit a kind of task better than a class's own defaults, which are Procgen's.

A task names its ``kind``; a suite knows no setting. An entry holds for every algorithm or every representation: a new
one gets the discount that fits a task before anybody thinks of it. Entries by name go over those. Of all entries only
fields that the class has are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

Settings = Mapping[str, Any]
SHORT_HORIZON: Settings = {"gamma": 0.99, "n_steps": 128}
"""Rewards come within some 100 steps; Procgen's gamma of 0.999 learns Breakout several times slower."""
A2C: Mapping[str, Settings] = {"a2c": {"n_steps": 20}}
"""A2C keeps its own rollouts, which are shorter still."""


@dataclass(frozen=True)
class Tuned:
    """Settings of one kind of task."""

    algorithms: Settings = field(default_factory=dict)
    """For every algorithm."""
    representations: Settings = field(default_factory=dict)
    """For every representation."""
    by_name: Mapping[str, Settings] = field(default_factory=dict)
    """Settings of one algorithm, representation or bonus, over those above."""


TUNED: dict[str, Tuned] = {
    "procgen": Tuned({"timeout_is_terminal": True}),  # as published (train-procgen)
    # beta 4 drops a ball of 4 pixels
    "breakout": Tuned(SHORT_HORIZON, by_name={**A2C, "beta_vae": {"beta": 0.1, "learning_rate": 1e-3}}),
    "atari": Tuned(SHORT_HORIZON, by_name=A2C),
    # once every episode succeeds, advantages are noise; where it was divided by its spread, solved policies fell
    "minigrid": Tuned({**SHORT_HORIZON, "normalise_advantage": False}, by_name=A2C),
    # levels are drawn anew for each episode: what is rare over all of them is soon an episode's own first room, so a
    # bonus counts at the first visit alone
    "minigrid-symbolic": Tuned({**SHORT_HORIZON, "bonus_once": True}, {"trunk": "symbols"}, A2C),
    "noisy-tv": Tuned(SHORT_HORIZON, {"trunk": "symbols"}, A2C),
    # 4 steps suffice, and a wrong object costs nearly what the goal gives: at 0.99 policies dawdle to the time limit
    "rooms": Tuned({"gamma": 0.95, "n_steps": 64}, by_name=A2C),
    "sprites": Tuned(SHORT_HORIZON, by_name=A2C),
    "gymnasium": Tuned(SHORT_HORIZON, by_name=A2C),  # of --env: nothing is known about it
}
"""Task kind -> settings; a kind that is not here ("counting", your own) keeps every class's defaults."""


def algorithm_settings(kind: str, name: str, config_class: type) -> dict[str, Any]:
    """Settings of the algorithm ``name``, fields of ``config_class``, for tasks of ``kind``."""
    tuned = TUNED.get(kind, Tuned())
    return _fields_of(config_class, {**tuned.algorithms, **tuned.by_name.get(name, {})})


def representation_settings(kind: str, name: str, config_class: type) -> dict[str, Any]:
    """Settings of the representation ``name``, fields of ``config_class``, for tasks of ``kind``."""
    tuned = TUNED.get(kind, Tuned())
    return _fields_of(config_class, {**tuned.representations, **tuned.by_name.get(name, {})})


def bonus_settings(kind: str, name: str, config_class: type) -> dict[str, Any]:
    """Settings of the bonus ``name``, fields of ``config_class``, for tasks of ``kind``."""
    return _fields_of(config_class, TUNED.get(kind, Tuned()).by_name.get(name, {}))


def _fields_of(config_class: Any, settings: Settings) -> dict[str, Any]:
    names = {entry.name for entry in fields(config_class)}
    return {key: value for key, value in settings.items() if key in names}
