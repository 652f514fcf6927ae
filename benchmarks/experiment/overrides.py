"""``--set NAME.FIELD=VALUE``: any field of a chosen module, checked against its Config before a run starts."""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import difflib
import inspect
import textwrap
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from envs.registry import UsageError


def own_settings(words: Iterable[str], modules: Collection[str]) -> dict[str, dict[str, str]]:
    """``["darla.beta=4"]`` -> ``{"darla": {"beta": "4"}}``; only modules of this command may be named.

    Args:
        modules: registered names, and places "package.module:Class", which are also known by the class in lower case.
    """
    aliases = {name.rpartition(":")[2].lower(): name for name in modules} | {name: name for name in modules}
    settings: dict[str, dict[str, str]] = {}
    for word in words:
        path, equals, value = word.partition("=")
        name, dot, field = path.rpartition(".")
        if not (equals and dot and name and field):
            raise UsageError(f"--set {word}: write NAME.FIELD=VALUE, as in --set darla.beta=4")
        if name not in aliases:
            raise UsageError(
                f"--set {word}: '{name}' is not part of this command, which has {', '.join(sorted(modules))}"
            )
        settings.setdefault(aliases[name], {})[field] = value
    return settings


def apply_settings(name: str, config: Any, defaults: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """All fields of ``config`` as plain data: its own defaults, then ``defaults``, then the user's changes."""
    hints = typing.get_type_hints(config)
    values = dict(defaults)
    for field, text in changes.items():
        if field not in hints:
            near = difflib.get_close_matches(field, hints, 1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            raise UsageError(f"--set {name}.{field}: no such field{hint} {name} has: {', '.join(hints) or 'none'}")
        values[field] = parse(f"--set {name}.{field}={text}", text, hints[field])
    try:
        return dataclasses.asdict(config(**values))
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None


def parse(place: str, text: str, hint: Any) -> Any:
    """``text`` as a value of type ``hint`` (bool, int, float, str, None, Literal, tuples and unions of them)."""
    try:
        value = ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(text.lower(), text))
    except (ValueError, SyntaxError):
        value = text
    for kind in typing.get_args(hint) if _is_union(hint) else (hint,):
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is str and typing.get_origin(kind) is None:
            return text
        if typing.get_origin(kind) is typing.Literal and value in typing.get_args(kind):
            return value
        if typing.get_origin(kind) is tuple and isinstance(value, tuple):
            return value
        if isinstance(kind, type) and isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            return value
    raise UsageError(f"{place}: '{text}' is not a value of type {_type_name(hint)}")


def describe_settings(name: str, cls: Any) -> str:
    """The fields of a module's Config with their defaults and the strings under them."""
    notes: dict[str, str] = {}
    for kind in reversed([kind for kind in cls.Config.__mro__ if dataclasses.is_dataclass(kind)]):
        notes |= _notes(kind)
    rows = [
        f"  --set {name}.{field.name}={field.default!r:<12} {notes.get(field.name, '')}"
        for field in dataclasses.fields(cls.Config)
    ]
    modes = f"; modes: {', '.join(cls.modes)} (auto: {cls.default_mode})" if hasattr(cls, "modes") else ""
    return "\n".join([f"settings of {name}{modes}", *(rows or ["  none"])])


def _notes(config: Any) -> dict[str, str]:
    """Field -> the string under it, of the fields that this very class declares."""
    body = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        line.target.id: " ".join(str(ast.literal_eval(after.value)).split())
        for line, after in zip(body.body, body.body[1:], strict=False)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr)
    }


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, type(int | str))


def _type_name(hint: Any) -> str:
    written = [kind for kind in typing.get_args(hint) if typing.get_origin(kind) is not collections.abc.Callable]
    if _is_union(hint) and len(written) < len(typing.get_args(hint)):  # functions can be given in Python alone
        return " | ".join(_type_name(kind) for kind in written)
    return getattr(hint, "__name__", None) or str(hint)
