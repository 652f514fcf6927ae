"""The one exception for a user's mistake, the one registry class, and checks of a value that both speak through.

Nothing here imports more than the standard library; every folder may import it.
"""

from __future__ import annotations

import difflib
import importlib
import operator
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any


class UsageError(Exception):
    """A mistake the user can mend: one line that names the value, the place and the cure.

    Command lines print it without a traceback and exit with status 2.
    """


class Registry(Mapping[str, str]):
    """Names -> ``"package.module:NAME"``, resolved only when asked for, so that listing names imports nothing.

    Third parties add names through the entry-point group ``group`` of their own package,
    or skip the registry: ``resolve("mypkg.mine:Mine")`` imports that object by its place.

    Args:
        kind: the thing registered, as messages call it.
        group: entry-point group.
        places: the built-in names; entry points add to them and never hide one.
        old_group: an earlier name of the group, still read; a line on stderr names the new one.
        attribute: what every such thing has; anything else that is named by its place is refused.
    """

    def __init__(self, kind: str, group: str, places: dict[str, str], old_group: str = "", attribute: str = ""):
        self.kind, self.group, self.places, self.old_group = kind, group, places, old_group
        self.attribute = attribute
        self._warned = False

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, str]:
        points = {point.name: point.value for point in entry_points(group=self.group)}
        return {**self._from_old_group(), **points, **self.places}

    def _from_old_group(self) -> dict[str, str]:
        if not self.old_group:
            return {}
        points = {point.name: point.value for point in entry_points(group=self.old_group)}
        if points and not self._warned:
            self._warned = True
            print(
                f"{self.kind} {', '.join(points)}: entry-point group '{self.old_group}' is now '{self.group}'; the old "
                "name is read for one more version",
                file=sys.stderr,
            )
        return points

    def check(self, name: str) -> str:
        """The place of ``name``; nothing is imported. Raises UsageError naming the known ones."""
        if name in self.places:  # which no entry point hides: listing those takes long
            return self.places[name]
        places = self._all()
        if name in places:
            return places[name]
        if ":" in name:
            return name
        hint = did_you_mean(name, places) or "."
        known = ", ".join(sorted(places))
        raise UsageError(f"unknown {self.kind} '{name}'{hint} Known: {known}; or your own as 'package.module:Class'")

    def name_of(self, item: type) -> str:
        """Name under which commands and their ``--set`` know a class; of one that is not here its own in lower case."""
        place = f"{item.__module__}:{item.__qualname__}"
        for places in (self.places, self):  # which no entry point hides: listing those takes long
            for name in places:
                if places[name] == place:
                    return name
        return item.__name__.lower()

    def resolve(self, name: str) -> Any:
        """Import and return the object behind ``name``."""
        place = self.check(name)
        module_name, _, attribute = place.partition(":")
        try:
            item = getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise  # the module exists; something *it* needs is missing, and that name matters
            raise UsageError(
                f"{self.kind} '{name}': no module '{module_name}'; check the spelling, or add its folder to PYTHONPATH"
            ) from None
        except AttributeError:
            raise UsageError(f"{self.kind} '{name}': module '{module_name}' has no '{attribute}'") from None
        if self.attribute and not hasattr(item, self.attribute):
            raise UsageError(f"{self.kind} '{name}' is none: it has no {self.attribute}; name a class that is one")
        return item


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest of ``known``, or nothing."""
    nearest = difflib.get_close_matches(str(name), list(known), 1)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


def check_int(owner: str, name: str, value: Any, low: int, high: int, cure: str = "give one that is") -> int:
    """``value`` as an int in [low, high]. True and 3.0 are not integers here.

    Raises:
        UsageError: anything else; the line names ``owner``, ``name`` and ``cure``.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise UsageError(f"{owner}: {name}={value!r} is not an integer in [{low}, {high}]; {cure}")
    return number
