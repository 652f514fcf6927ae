"""The suite of one Gymnasium environment, which a command line describes: an id, its options, and targets of its own.

A suite of this kind has no place in a module, so its name holds all of it: ``env:CartPole-v1``; where more is said, a
JSON object after the id, as in ``env:my_envs:Maze {"options": {"size": 9}, "targets": {"large": {"size": 15}}}``.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from envs.registry import UsageError
from envs.tasks import Suite, Task, World

PREFIX = "env:"
KIND = "gymnasium"
"""Kind of task, for settings that suit it."""
OURS = ("id", "num_envs", "seed", "image_channels", "stacked", "episode_limit", "step_in", "step_timeout")
"""Arguments of ``GymnasiumVectorEnv`` itself, which no option of an environment can be called."""
Options = dict[str, Any]


@dataclass(frozen=True)
class SingleEnv:
    """One environment as a command line describes it."""

    id: str
    """A Gymnasium id, or "package.module:Class"."""
    options: Options = field(default_factory=dict)
    """Keyword arguments of the environment."""
    targets: dict[str, Options] = field(default_factory=dict)
    """Target -> its options, over those of the source; "id" names another environment."""
    settings: Options = field(default_factory=dict)
    """Arguments of ``GymnasiumVectorEnv``: how observations are understood, and how envs are stepped."""
    motion: int = 1
    """Frames to stack in the channels."""

    def __post_init__(self) -> None:
        for options in (self.options, *self.targets.values()):
            for name in options:
                if name in OURS and not (name == "id" and options is not self.options):
                    raise UsageError(
                        f"--env-option {name}: the toolkit sets it; an option of the environment goes here"
                    )

    @property
    def name(self) -> str:
        """Name of the suite, which holds everything."""
        parts = {name: getattr(self, name) for name in ("options", "targets", "settings") if getattr(self, name)}
        parts |= {"motion": self.motion} if self.motion != 1 else {}
        return f"{PREFIX}{self.id}" + (f" {json.dumps(parts, sort_keys=True)}" if parts else "")

    @classmethod
    def parse(cls, name: str) -> SingleEnv:
        """The environment of a suite's name. UsageError where it holds none."""
        id, _, text = name.removeprefix(PREFIX).partition(" ")
        try:
            parts = json.loads(text) if text else {}
            return cls(id, **parts)
        except (ValueError, TypeError):
            raise UsageError(
                f"suite '{name}': write {PREFIX}ID alone, and options by --env ID --env-option NAME=VALUE"
            ) from None

    @property
    def task_name(self) -> str:
        """The id in characters that a folder's name may have."""
        return re.sub(r"[^\w.+-]+", "-", self.id.rpartition(":")[2]).strip("-.") or "env"

    def world(self, **changes: Any) -> World:
        """The environment with some options changed."""
        return World("gymnasium", {"id": self.id, **self.settings, **self.options, **changes})

    def suite(self) -> Suite:
        """The suite of one task; levels mean nothing to it."""
        return Suite(f"the environment {self.id}", 1, self._tasks, fixed_levels=True)

    def _tasks(self, levels: int) -> tuple[Task, ...]:
        source = self.world()
        targets = {name: self.world(**options) for name, options in self.targets.items()}
        return (Task(self.task_name, source, targets, (source,), None, levels, kind=KIND, motion=self.motion),)


def parse_options(words: Iterable[str], flag: str = "--env-option") -> Options:
    """``["size=9", "colour=red"]`` -> ``{"size": 9, "colour": "red"}``: values as Python writes them, or text."""
    options: Options = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (equals and name.isidentifier()):
            raise UsageError(f"{flag} {word}: write NAME=VALUE, as in {flag} size=9")
        if name in options:
            raise UsageError(f"{flag} {word}: '{name}' is given twice; give it one value")
        options[name] = _value(text)
    return options


def parse_targets(words: Iterable[str]) -> dict[str, Options]:
    """``["large:size=15,colour=red"]`` -> ``{"large": {"size": 15, "colour": "red"}}``."""
    targets: dict[str, Options] = {}
    for word in words:
        name, colon, text = word.partition(":")
        if not (colon and re.fullmatch(r"[\w.+/-]+", name) and text) or name == "train":
            raise UsageError(f"--env-target {word}: write TARGET:NAME=VALUE, as in --env-target large:size=15")
        if name in targets:
            raise UsageError(f"--env-target {word}: '{name}' is given twice; call one of them otherwise")
        targets[name] = parse_options(_split(text), "--env-target")
    return targets


def _split(text: str) -> list[str]:
    """Words between commas that part a NAME=VALUE from the next one."""
    return re.split(r",(?=\w+=)", text)


def _value(text: str) -> Any:
    try:
        value = ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(text.lower(), text))
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError):
        return text
    return value


def settings_of(given: Mapping[str, Any]) -> Options:
    """Arguments of ``GymnasiumVectorEnv`` that a command line names: those that are not None."""
    return {name: value for name, value in given.items() if value is not None}
