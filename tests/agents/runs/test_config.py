"""A run's name: readable, different where results are, and the same after an option is added with its default."""

import dataclasses
from dataclasses import dataclass, field

import pytest

from agents.ppo import PPO, PPOConfig
from agents.runs import config as config_module
from agents.runs.config import (
    RunConfig,
    as_json,
    changed_fields,
    differences,
    from_json,
    named_values,
    parse_bonuses,
    run_id,
)
from envs.registry import UsageError
from intrinsic.rnd import Rnd
from representations.cnn import Cnn
from tests.agents.runs.tools import run_config


def test_the_name_is_readable():
    assert run_id(run_config()).startswith("counting-cnn-online-ppo-3levels-s1-")
    config = run_config(bonus="rnd:0.5 icm:1", seed=7, bonus_settings={"rnd": {}, "icm": {}})
    assert run_id(config).startswith("counting-cnn-online-ppo-rnd-icm-3levels-s7-")
    assert run_id(run_config("representations.cnn:Cnn")).startswith("counting-cnn-online-")


def test_every_field_changes_the_name():
    base = run_config()
    others = {
        "repr": "representations.cnn:Cnn",
        "algo": "agents.ppo:PPO",
        "bonus": "rnd:1",
        "data_policy": {"steps": 1},
        **{"repr_settings": {**base.repr_settings, "trunk": "impala"}},
        **{"algo_settings": {**base.algo_settings, "gamma": 0.5}},
        **{"bonus_settings": {"rnd": {"share": 0.125}}, "splits": ("train",), "normalise": (0.0, 2.0), "compile": True},
        **{"continued": (512,)},
    }
    names = {run_id(base)}
    for option in dataclasses.fields(RunConfig):
        value = getattr(base, option.name)
        changed = f"{value}x" if isinstance(value, str) else others[option.name] if option.name in others else value + 1
        names.add(run_id(dataclasses.replace(base, **{option.name: others.get(option.name, changed)})))
    assert len(names) == 1 + len(dataclasses.fields(RunConfig))


def test_defaults_are_not_part_of_the_name():
    named = named_values(run_config(bonus="rnd:1", bonus_settings={"rnd": dataclasses.asdict(Rnd.Config())}))
    assert named["algo_settings"] == {"n_steps": 32, "minibatches": 2}  # what differs from PPO's own
    assert named["repr_settings"] == {}
    assert named["bonus_settings"] == {"rnd": {}}
    assert "compile" not in named
    assert named["seed"] == 1


def test_a_new_option_renames_nothing(monkeypatch):
    old = run_config(bonus="rnd:1", bonus_settings={"rnd": dataclasses.asdict(Rnd.Config())})
    name = run_id(old)

    @dataclass(frozen=True)
    class NewPPOConfig(PPOConfig):
        warmup: int = 0

    @dataclass(frozen=True)
    class NewCnnConfig(Cnn.Config):
        layers: tuple[int, ...] = (1, 2)

    @dataclass(frozen=True)
    class NewRndConfig(Rnd.Config):
        whitening: str = "none"

    @dataclass(frozen=True)
    class NewRunConfig(RunConfig):
        evaluation_video: bool = False
        tags: dict[str, int] = field(default_factory=dict)

    for cls, new in ((PPO, NewPPOConfig), (Cnn, NewCnnConfig), (Rnd, NewRndConfig)):
        monkeypatch.setattr(cls, "Config", new)
    monkeypatch.setattr(config_module, "RunConfig", NewRunConfig)
    settings = {
        "repr_settings": dataclasses.asdict(NewCnnConfig()),
        "algo_settings": dataclasses.asdict(NewPPOConfig(n_steps=32, minibatches=2)),
        "bonus_settings": {"rnd": dataclasses.asdict(NewRndConfig())},
    }
    new = NewRunConfig(**{**dataclasses.asdict(old), **settings})
    assert run_id(new) == name
    assert differences(as_json(old), as_json(new)) == {}  # a directory of before goes on
    assert run_id(dataclasses.replace(new, evaluation_video=True)) != name
    settings["algo_settings"]["warmup"] = 5
    assert run_id(dataclasses.replace(new, **settings)) != name


def test_values_come_back_from_json_without_options_that_are_gone():
    config = run_config()
    assert run_id(from_json({**as_json(config), "overlap": False})) == run_id(config)
    assert from_json(as_json(config)) == config


def test_fields_that_differ_from_their_defaults():
    @dataclass
    class Config:
        required: int
        pair: tuple[int, int] = (1, 2)
        names: list[str] = field(default_factory=list)

    assert changed_fields(Config, {"required": 0, "pair": [1, 2], "names": []}) == {"required": 0}
    assert changed_fields(Config, {"required": 0, "pair": [1, 3], "names": ["a"], "unknown": 1}) == {
        **{"required": 0, "pair": [1, 3], "names": ["a"], "unknown": 1}
    }


def test_differences_are_named_with_both_values():
    stored = {"seed": 1, "algo_settings": {"gamma": 0.99, "gone": 3}, "normalise": None}
    now = {"seed": 1, "algo_settings": {"gamma": 0.999, "new": 0}, "normalise": None}
    assert differences(stored, now) == {"algo_settings.gamma": (0.99, 0.999)}


def test_bonuses_are_names_with_coefficients():
    assert parse_bonuses(["icm:0.01", "rnd", "none"]) == {"icm": 0.01, "rnd": None}
    assert parse_bonuses(["pack.mine:Mine", "pack.mine:Other:0.5"]) == {"pack.mine:Mine": None, "pack.mine:Other": 0.5}
    with pytest.raises(UsageError, match="at least 0"):
        parse_bonuses(["rnd:inf"])
