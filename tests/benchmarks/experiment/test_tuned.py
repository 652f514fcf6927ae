"""Tuned settings: today's values for every suite, and a default that a new algorithm gets, too."""

from dataclasses import dataclass, fields

import pytest

from agents import ALGORITHMS
from benchmarks.experiment.tuned import TUNED, algorithm_settings, bonus_settings, representation_settings
from envs.suites import SUITES, build
from envs.suites.single import KIND
from intrinsic import BONUSES
from representations import REPRESENTATIONS

SHORT = {
    "breakout",
    "breakout-visual",
    "breakout-physics",
    "breakout-layout",
    "breakout-sparse",
    "atari-breakout",
    "minigrid",
    "minigrid-ladder",
    "minigrid-memory",
    "noisy-tv",
    "rooms",
    "rooms-moving",
    "sprites",
}


@pytest.mark.parametrize("suite", sorted(SUITES))
@pytest.mark.parametrize(("algo", "own_steps", "short_steps"), [("ppo", 256, 128), ("a2c", 20, 20)])
def test_every_suite_keeps_its_algorithm_settings(suite, algo, own_steps, short_steps):
    config = ALGORITHMS.resolve(algo).Config
    for task in build(suite):
        tuned = config(**algorithm_settings(task.kind, algo, config))
        expected = {field.name: field.default for field in fields(config)}
        if suite in SHORT:
            expected |= {"gamma": 0.99, "n_steps": short_steps}
        if task.kind == "rooms":
            expected |= {"gamma": 0.95, "n_steps": 64 if algo == "ppo" else 20}
        if suite in ("minigrid-ladder", "minigrid-memory"):
            expected |= {"bonus_once": True}
        if suite == "minigrid":
            expected |= {"normalise_advantage": False}
        if task.kind == "procgen":
            expected |= {"timeout_is_terminal": True}
        assert vars(tuned) == expected
        assert expected["n_steps"] in (own_steps, short_steps, 64)


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_every_suite_keeps_its_representation_settings(suite):
    symbolic = suite in ("minigrid-ladder", "minigrid-memory", "noisy-tv")
    for task in build(suite):
        for name in REPRESENTATIONS:
            config = REPRESENTATIONS.resolve(name).Config
            has_trunk = any(field.name == "trunk" for field in fields(config))
            expected = {"trunk": "symbols"} if symbolic and has_trunk else {}
            if suite.startswith("breakout") and name == "beta_vae":
                expected = {"beta": 0.1, "learning_rate": 1e-3}
            assert representation_settings(task.kind, name, config) == expected
        for name in ("icm", "rnd"):
            assert bonus_settings(task.kind, name, BONUSES.resolve(name).Config) == {}


def test_a_new_algorithm_gets_the_fields_it_has():
    @dataclass(frozen=True)
    class Config:
        gamma: float = 0.9
        other: int = 3

    assert algorithm_settings("breakout", "mine:Mine", Config) == {"gamma": 0.99}
    assert algorithm_settings("procgen", "mine:Mine", Config) == {}
    assert algorithm_settings("a kind of my own", "mine:Mine", Config) == {}


def test_every_tuned_kind_belongs_to_a_suite():
    assert set(TUNED) - {KIND} < {task.kind for suite in SUITES for task in build(suite)}


@pytest.mark.parametrize("algo", ["ppo", "a2c"])
def test_a_time_limit_is_terminal_on_procgen_alone(algo):
    kinds = {task.kind for name in SUITES for task in build(name, 20)}
    config = ALGORITHMS.resolve(algo).Config
    for kind in kinds:
        assert config(**algorithm_settings(kind, algo, config)).timeout_is_terminal is (kind == "procgen")
