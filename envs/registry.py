"""The one exception for a user's mistake, and the one registry class; every folder may import both."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any


class UsageError(Exception):
    """A mistake the user can mend: one line that names the value, the place and the cure.

    Command lines print it without a traceback and exit with status 2.
    """


class Registry(Mapping[str, str]):
    """Names -> ``"package.module:Class"``, resolved only when asked for, so that listing names imports nothing.

    Third parties add names through the entry-point group ``<group>`` of their own package,
    or skip the registry: ``resolve("mypkg.mine:Mine")`` imports that class by its place.
    """

    def __init__(self, kind: str, group: str, places: dict[str, str]):
        self.kind, self.group, self.places = kind, group, places

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, str]:
        return {**{point.name: point.value for point in entry_points(group=self.group)}, **self.places}

    def check(self, name: str) -> str:
        """The place of ``name``; nothing is imported. Raises UsageError naming the known ones."""
        places = self._all()
        if name in places:
            return places[name]
        if ":" in name:
            return name
        near = difflib.get_close_matches(name, places, 1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        known = ", ".join(sorted(places))
        raise UsageError(f"unknown {self.kind} '{name}'{hint} Known: {known}; or your own as 'package.module:Class'")

    def resolve(self, name: str) -> Any:
        """Import and return the class behind ``name``."""
        place = self.check(name)
        module_name, _, attribute = place.partition(":")
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise  # the module exists; something *it* needs is missing, and that name matters
            raise UsageError(
                f"{self.kind} '{name}': no module '{module_name}'; check the spelling, or add its folder to PYTHONPATH"
            ) from None
        except AttributeError:
            raise UsageError(f"{self.kind} '{name}': module '{module_name}' has no '{attribute}'") from None
