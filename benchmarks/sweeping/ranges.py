"""The table [search] of GRID.toml: ranges and choices of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envs.registry import UsageError

TRIALS = 20
"""Trials of each representation, where the table does not say."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; whole ones where both are."""

    low: float
    high: float
    log: bool = False
    """Draw the logarithm evenly."""

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def holds(self, value: Any) -> bool:
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    def distribution(self) -> Any:
        """The same for optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log)
        return FloatDistribution(self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choices:
    """Values to choose from."""

    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        return value in self.values

    def distribution(self) -> Any:
        """The same for optuna."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)


def read_ranges(path: Path, table: Mapping[str, Any]) -> tuple[int, dict[str, Range | Choices]]:
    """Number of trials, and MODULE.FIELD -> its values.

    Raises:
        UsageError: no range, or one that is none.
    """
    trials = table.get("trials", TRIALS)
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < 1:
        raise UsageError(f"{path}: [search] trials = {trials!r}: give a whole number of at least 1")
    settings = flat({name: value for name, value in table.items() if name != "trials"})
    if not settings:
        raise UsageError(f'{path}: [search] has no range; write "ppo.learning_rate" = {{ low = 1e-5, high = 1e-3 }}')
    return trials, {name: read_range(path, name, value) for name, value in settings.items()}


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """MODULE.FIELD -> its range, whether its key is quoted or nested."""
    settings: dict[str, Any] = {}
    for name, value in table.items():
        nested = isinstance(value, Mapping) and not {"low", "high"} & value.keys()
        settings |= flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return settings


def read_range(path: Path, name: str, value: Any) -> Range | Choices:
    """The values of one setting."""
    place = f'{path}: [search] "{name}" = {value!r}'
    if isinstance(value, list) and len(value) > 1:
        if any(isinstance(item, list | dict) for item in value):
            raise UsageError(f"{place}: give numbers, words or truth values")
        return Choices(tuple(value))
    if not isinstance(value, Mapping) or not {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
        raise UsageError(f"{place}: write {{ low = A, high = B }}, with log = true or without, or a list of choices")
    low, high, log = value["low"], value["high"], value.get("log", False)
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    if not numbers or not low < high or not isinstance(log, bool):
        raise UsageError(f"{place}: give numbers low < high, and log = true or false")
    if log and low <= 0:
        raise UsageError(f"{place}: a logarithm needs low above 0")
    return Range(low, high, log)
