"""GRID.toml: option names of a command with lists of values, checked before anything runs.

    repr = ["cnn", "darla"]            # a list is swept: one combination for each of its values
    seeds = [0, 1, 2]
    set."ppo.gamma" = [0.99, 0.999]    # as --set; where a combination lacks the module it is left out
    steps = 200_000                    # a single value holds for all
    bonus = [[], ["rnd:0.5", "icm"]]   # a list within the list is one value: several words at once
    out = "runs/gamma"
    threads = 1                        # of each cell; results depend on it to rounding

    [[exclude]]                        # combinations to leave out
    repr = "cnn"
    set."ppo.gamma" = 0.999

A grid holds what it names: the baseline is not added (``baseline = true`` adds it).
"""

from __future__ import annotations

import difflib
import itertools
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.experiment.overrides import parse
from benchmarks.experiment.settings_file import text_of
from envs.registry import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMMANDS = ("transfer", "explore")
OWN_KEYS = ("command", "threads", "out", "set", "exclude", "search", "slurm")
ONE_VALUE = ("log", "device", "cache", "preset")
"""Options of which a grid takes one value: they are of the command, not of a run; a preset decides what is compared."""
NOT_IN_A_GRID = {
    "rerun": "runs of other code are told; run them again with --rerun of the command itself",
    "dry_run": "give --dry-run to benchmarks.sweep",
    "continue_to": "give --continue-to to the command itself, with the same out, when the runs are finished",
}
SET = "set."
"""Beginning of the keys of settings in a combination."""
Combination = dict[str, Any]
"""Option, or ``SET`` and MODULE.FIELD, -> its value."""


@dataclass(frozen=True)
class GridFile:
    """Content of a GRID.toml; every value is one that its option takes."""

    path: Path
    command: str
    """Name of the command whose runs are the cells."""
    out: Path
    threads: int
    options: Mapping[str, Sequence[Any]]
    """Option, or ``SET`` and MODULE.FIELD (its values as text), -> values to be combined; one for what all share."""
    exclude: tuple[Mapping[str, Sequence[Any]], ...] = ()
    """Combinations to leave out: option -> values, of which any."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """Table [search] as it is written."""
    slurm: Mapping[str, Any] = field(default_factory=dict)
    """Table [slurm]: parameters of submitit's executor."""

    @property
    def swept(self) -> list[str]:
        """Keys of several values."""
        return [name for name, values in self.options.items() if len(values) > 1]

    def combinations(self) -> list[Combination]:
        """Every combination that is not excluded, the last key fastest.

        Raises:
            UsageError: all are excluded.
        """
        rows = [dict(zip(self.options, row, strict=True)) for row in itertools.product(*self.options.values())]
        kept = [row for row in rows if not any(matches(row, table) for table in self.exclude)]
        if not kept:
            raise UsageError(f"{self.path}: [[exclude]] leaves no combination; leave one of its tables out")
        return kept

    def words(self, combination: Combination) -> str:
        """Values that distinguish a combination, for messages: 'repr=darla seeds=0'."""
        return " ".join(f"{name.removeprefix(SET)}={in_words(combination[name])}" for name in self.swept)


def read_grid(path: Path, arguments: Mapping[str, type[Any]]) -> GridFile:
    """The content of GRID.toml.

    Args:
        arguments: command -> the dataclass of its options.

    Raises:
        UsageError: the file cannot be read, or a key or a value is none that the command takes; it names both and a
            cure.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name a GRID.toml") from None
    except ValueError as error:
        raise UsageError(f"{path} is not TOML: {error}; write NAME = [VALUE, VALUE], one a line") from None
    content = {name.replace("-", "_"): value for name, value in content.items()}
    command = content.get("command", COMMANDS[0])
    if command not in arguments:
        raise UsageError(f"{path}: command = {command!r}: give {' or '.join(map(repr, arguments))}")
    hints = typing.get_type_hints(arguments[command])
    options = {
        name: values
        for key, value in content.items()
        if key not in OWN_KEYS or key == "set"
        for name, values in checked(path, command, hints, key, value).items()
    }
    out, threads = content.get("out"), content.get("threads", 1)
    if not isinstance(out, str) or not out:
        raise UsageError(f'{path}: out = {out!r}: name the experiment directory, as in out = "runs/{path.stem}"')
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise UsageError(f"{path}: threads = {threads!r}: give a whole number of at least 1")
    tables = {name: table_of(path, name, content) for name in ("search", "slurm")}
    exclude = tuple(excluded(path, command, hints, options, table) for table in list_of_tables(path, content))
    return GridFile(path, command, Path(out), threads, options, exclude, **tables)


def checked(path: Path, command: str, hints: Mapping[str, Any], key: str, value: Any) -> dict[str, list[Any]]:
    """Values of one key of the file, by name: one of a single value, several of a list."""
    if key == "set":
        if not isinstance(value, Mapping):
            raise UsageError(f'{path}: set = {value!r}: write set."MODULE.FIELD" = [VALUE, VALUE]')
        return {
            f"{SET}{name}": [text_of(item) for item in listed_values(path, f'set."{name}"', item_or_list)]
            for name, item_or_list in settings_in(path, value).items()
        }
    if key in NOT_IN_A_GRID and key in hints:
        raise UsageError(f"{path}: {key}: {NOT_IN_A_GRID[key]}")
    if key not in hints:
        known = sorted({*hints, *OWN_KEYS} - NOT_IN_A_GRID.keys())
        near = difflib.get_close_matches(key, known, 1)
        cure = f"did you mean '{near[0]}'?" if near else f"python -m benchmarks.{command} --help lists the options"
        raise UsageError(f"{path}: key '{key}' is no option of benchmarks.{command}; {cure}")
    values = listed_values(path, key, value)
    if key in ONE_VALUE and len(values) > 1:
        raise UsageError(f"{path}: {key} = {value!r}: a grid has one {key}; give one value")
    return {key: [of_type(path, command, key, item, hints[key]) for item in values]}


def listed_values(path: Path, key: str, value: Any) -> list[Any]:
    """The list as it is, a single value as a list of one; UsageError for an empty list or one value twice."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise UsageError(f"{path}: {key} = []: give a value, or leave the key out")
    for index, item in enumerate(values):
        if item in values[:index] and type(item) in map(type, values[:index]):
            raise UsageError(f"{path}: {key} = {value!r}: {item!r} is there twice; give each value once")
    return values


def of_type(path: Path, command: str, key: str, item: Any, hint: Any) -> Any:
    """One value as its option has it; of an option of several words a tuple."""
    place = f"{path}: {key} = {item!r}"
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        return tuple(of_type(path, command, key, word, inner) for word in (item if isinstance(item, list) else [item]))
    if Path in typing.get_args(hint):
        return Path(of_type(path, command, key, item, str))
    choices = [word for kind in (hint, *typing.get_args(hint)) for word in literals(kind)]
    if isinstance(item, str) and item in choices:
        return item
    if isinstance(item, list | dict) or (hint is str and not isinstance(item, str)):
        raise UsageError(f"{place}: give one {'word in quotes' if hint is str else 'value'}, or a list of them")
    try:
        return parse(place, str(item), hint)
    except UsageError as error:
        raise UsageError(f"{error}; python -m benchmarks.{command} --help says what it takes") from None


def literals(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def settings_in(path: Path, table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """MODULE.FIELD -> what is written behind it, whether its key is quoted or nested."""
    settings: dict[str, Any] = {}
    for name, value in table.items():
        settings |= (
            settings_in(path, value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
        )
    if bad := [name for name in settings if "." not in name]:
        raise UsageError(f'{path}: set."{bad[0]}": write set."MODULE.FIELD", as in set."ppo.gamma" = [0.99, 0.999]')
    return settings


def excluded(
    path: Path, command: str, hints: Mapping[str, Any], options: Mapping[str, Sequence[Any]], table: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Values of one [[exclude]] table, each of which its key has in the grid."""
    values: dict[str, list[Any]] = {}
    for key, value in table.items():
        values |= checked(path, command, hints, key.replace("-", "_"), value)
    for name, own in values.items():
        strangers = [value for value in own if value not in options.get(name, ())]
        if strangers:
            has = ", ".join(in_words(value) for value in options.get(name, ())) or "nothing"
            raise UsageError(
                f"{path}: [[exclude]] {name.removeprefix(SET)} = {in_words(strangers[0])}: the grid has {has} there"
            )
    return values


def list_of_tables(path: Path, content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tables = content.get("exclude", [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) and table for table in tables):
        raise UsageError(f"{path}: exclude: write [[exclude]] on a line, and NAME = VALUE below it")
    return tables


def table_of(path: Path, name: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{path}: {name} = {table!r}: write [{name}] on a line, and NAME = VALUE below it")
    return table


def matches(combination: Combination, table: Mapping[str, Sequence[Any]]) -> bool:
    """True where a combination has, of every key of the table, one of its values."""
    return all(combination[name] in values for name, values in table.items())


def in_words(value: Any) -> str:
    """A value of a combination, for messages."""
    return "+".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def split(combination: Combination) -> tuple[dict[str, Any], dict[str, str]]:
    """Options of a combination, and its settings MODULE.FIELD -> text."""
    settings = {name.removeprefix(SET): text for name, text in combination.items() if name.startswith(SET)}
    return {name: value for name, value in combination.items() if not name.startswith(SET)}, settings
