"""--set NAME.FIELD=VALUE is checked, typed and explained."""

import typing
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest

from agents.ppo import PPO
from benchmarks.cli import report_error
from benchmarks.experiment.overrides import apply_settings, describe_settings, own_settings, parse
from envs.registry import UsageError
from intrinsic import BONUSES


@dataclass(frozen=True)
class Config:
    beta: float = 1.0
    """Weight of the KL term; the paper's Lab value."""
    latents: int = 10
    """Size of the code."""
    trunk: Literal["nature", "impala"] = "nature"
    """Convolutions."""
    capacity: float | None = None
    """Nats, or none."""
    hidden: tuple[int, ...] = (4, 5)
    """Layers."""
    clip: bool = True
    """On or off."""


class Module:
    Config: ClassVar = Config
    modes = ("frozen",)
    default_mode = "frozen"


def test_values_take_the_type_of_their_field():
    changes = {"beta": "4", "latents": "3", "trunk": "impala", "capacity": "2.5", "hidden": "(7,)", "clip": "false"}
    values = apply_settings("m", Config, {}, changes)
    assert values == {"beta": 4.0, "latents": 3, "trunk": "impala", "capacity": 2.5, "hidden": (7,), "clip": False}
    assert type(values["beta"]) is float
    assert apply_settings("m", Config, {"latents": 8}, {"capacity": "none"})["latents"] == 8


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        ("betta", "4", "no such field; did you mean 'beta'"),
        ("beta", "high", "'high' is not a value of type float"),
        ("latents", "2.5", "not a value of type int"),
        ("latents", "true", "not a value of type int"),
        ("trunk", "resnet", "not a value of type"),
        ("clip", "1", "not a value of type bool"),
    ],
)
def test_a_wrong_field_or_value_is_named(field, text, message):
    with pytest.raises(UsageError, match=message):
        apply_settings("m", Config, {}, {field: text})


def test_a_step_size_is_a_number_on_the_command_line():
    hint = typing.get_type_hints(PPO.Config)["learning_rate"]
    assert parse("--set ppo.learning_rate=1e-3", "1e-3", hint) == 1e-3
    with pytest.raises(UsageError, match=r"'fast' is not a value of type float$"):
        parse("--set ppo.learning_rate=fast", "fast", hint)


def test_words_are_split_and_must_name_a_module_of_the_command():
    assert own_settings(["darla.beta=4", "darla.latents=3"], {"darla", "ppo"}) == {
        "darla": {"beta": "4", "latents": "3"}
    }
    assert own_settings(["my.place:Mine.x=1"], {"my.place:Mine"}) == {"my.place:Mine": {"x": "1"}}
    named = BONUSES.name_of(type("MyBonus", (), {}))  # as messages call it
    assert own_settings([f"{named}.x=1"], {"my.place:MyBonus"}) == {"my.place:MyBonus": {"x": "1"}}
    for word in ("darla.beta", "beta=4", "darla.=3"):
        with pytest.raises(UsageError, match="write NAME"):
            own_settings([word], {"darla"})
    with pytest.raises(UsageError, match="'vae' is not part of this command"):
        own_settings(["vae.beta=1"], {"darla", "ppo"})


def test_help_shows_every_field_with_its_default_and_note():
    text = describe_settings("m", Module)
    assert "--set m.beta=1.0" in text
    assert "Weight of the KL term; the paper's Lab value." in text
    assert "On or off." in text  # the last field's note too
    assert text.count("--set") == 6


@pytest.mark.parametrize(("rank", "shown"), [(None, "error: so\n"), ("0", "error: so\n"), ("1", "")])
def test_a_mistake_is_printed_once_for_all_processes(rank, shown, capsys, monkeypatch):
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert report_error(UsageError("so")) == 2
    assert capsys.readouterr().err == shown
