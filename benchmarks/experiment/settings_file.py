"""Settings of modules in a TOML file, as ``--settings`` reads it and ``benchmarks.sweep --search`` writes it.

    [ppo]
    learning_rate = 0.0003

    [darla]
    beta = 4

A run records what the file says, as it does with ``--set``: its name and configuration are the same either way.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from benchmarks.experiment.overrides import apply_settings, own_settings
from envs.registry import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_settings(path: Path, modules: Collection[str]) -> dict[str, dict[str, str]]:
    """Module -> field -> text of its value, as ``own_settings`` gives them; only modules of the command may be named.

    Raises:
        UsageError: the file is missing or not of this form, or names a module, a field or a value that there is not.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--settings {path} cannot be read ({error.strerror}); name a TOML file") from None
    except ValueError as error:
        raise UsageError(
            f"--settings {path} is not TOML: {error}; write [MODULE], and FIELD = VALUE below it"
        ) from None
    if flat := [name for name, table in content.items() if not isinstance(table, Mapping)]:
        raise UsageError(f"--settings {path}: {flat[0]}: write [MODULE] on a line, and {flat[0]} = VALUE below it")
    words = [f"{name}.{field}={text_of(value)}" for name, table in content.items() for field, value in table.items()]
    try:
        settings = own_settings(words, modules)
        for name, changes in settings.items():
            apply_settings(name, config_of(name), {}, changes)
    except UsageError as error:
        raise UsageError(f"--settings {path}: {str(error).removeprefix('--set ')}") from None
    return settings


def config_of(name: str) -> Any:
    """The Config of a representation, a bonus or an algorithm."""
    from agents import ALGORITHMS
    from intrinsic import BONUSES
    from representations import REPRESENTATIONS

    for registry in (REPRESENTATIONS, ALGORITHMS, BONUSES):
        if name in registry.places or ":" in name:
            try:
                return registry.resolve(name).Config
            except UsageError:
                continue  # a class of one's own is of one registry
    raise UsageError(f"'{name}' is no representation, bonus or algorithm")


def text_of(value: Any) -> str:
    """A value of a TOML file as ``--set`` writes it; a list is a tuple there."""
    return repr(tuple(value)) if isinstance(value, list) else str(value)


def settings_text(settings: Mapping[str, Any], comment: str) -> str:
    """Text of a file.

    Args:
        settings: MODULE.FIELD -> value.
        comment: goes before them, line by line.
    """
    lines = [f"# {line}" for line in comment.splitlines()]
    modules: dict[str, list[str]] = {}
    for name, value in settings.items():
        module, _, field = name.rpartition(".")
        modules.setdefault(module, []).append(f"{field} = {toml_value(value)}")
    for module, fields in modules.items():
        lines += ["", f"[{module}]" if module.isidentifier() else f"[{json.dumps(module)}]", *fields]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A number, a truth value, a text or a list of them as TOML writes it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return repr(value) if isinstance(value, float) else json.dumps(value)
