"""Trials of the fault matrix, its rows, and the account of a row."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

LONGEST_REASON = 2000


@dataclass(frozen=True)
class Trial:
    """One fault, injected once. It passed where it has neither a failure nor a reason why it was not tried."""

    name: str
    failure: str = ""
    """What was not as promised."""
    untried: str = ""
    """Why it cannot be tried here."""


@dataclass(frozen=True)
class Row:
    """One row of the matrix."""

    number: int
    inject: str
    """The fault."""
    expected: str
    """What must hold after it."""
    trials: Callable[[Path, bool], Iterator[Trial]]
    """(empty folder to work in, short form) -> its trials, as they end."""
    size: int
    """Number of trials of the full form."""
    short_size: int

    def planned(self, short: bool) -> int:
        return self.short_size if short else self.size


@dataclass(frozen=True)
class Account:
    """Outcome of a row."""

    passed: int
    tried: int
    reasons: tuple[str, ...]
    """Failures, then what was not tried; the same text once, with its count."""
    seconds: float

    @property
    def reason(self) -> str:
        """All reasons in one line."""
        text = " ".join("; ".join(self.reasons).split())
        return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 3] + "..."


def attempt(name: str, check: Callable[[], str]) -> Trial:
    """The trial whose ``check`` returns what was wrong, or ''; an exception of its own is a failure, too."""
    try:
        return Trial(name, check())
    except Exception as error:  # a trial that breaks must not hide those after it
        return Trial(name, f"the trial itself failed: {type(error).__name__}: {error}")


def account(row: Row, folder: Path, short: bool, tell: Callable[[Trial], object] = lambda trial: None) -> Account:
    """Run all trials of a row in ``folder``; those that never came count as tried and failed.

    Args:
        tell: called with each trial, as it ends.
    """
    started, ended = time.monotonic(), []
    try:
        for trial in row.trials(folder, short):
            ended.append(trial)
            tell(trial)
    except Exception as error:  # the others of the row are still worth their line
        ended.append(Trial("row", f"the row broke off: {type(error).__name__}: {error}"))
    missing = row.planned(short) - len(ended)
    ended += [Trial("missing", "the trial never ran")] * missing
    return summed(ended, time.monotonic() - started)


def summed(trials: Iterable[Trial], seconds: float) -> Account:
    """Account of trials that ended."""
    trials = list(trials)
    failures = Counter(trial.failure for trial in trials if trial.failure)
    untried = Counter(trial.untried for trial in trials if trial.untried)
    first = {trial.failure: trial.name for trial in reversed(trials)}
    reasons = [f"{count} x ({first[text]}) {text}" for text, count in failures.items()]
    reasons += [f"{count} not tried: {text}" for text, count in untried.items()]
    tried = len(trials) - untried.total()
    return Account(tried - failures.total(), tried, tuple(reasons), seconds)
