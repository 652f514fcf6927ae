"""Runs of several experiment directories in one table: copies counted once, and directories that share nothing refused.

Inside a directory every row is kept and the marks say what must not be subtracted. Of two directories more can be said:
where they have a task in common, but no value of a fact that decides a comparison, nothing in one can be compared with
anything in the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reporting.labels import frames_of, level_set_kind, training_set
from benchmarks.reporting.layout import frames, listed
from benchmarks.reporting.runs import Run, load
from envs.registry import UsageError

KEPT_APART = "report each by itself, or add --mixed for one report whose marks say what was not compared"
NUMBERS = "eval.csv"
"""File that holds a run's outcome."""
Differences = dict[str, tuple[str, str]]
"""Fact, in words -> its values in one directory and in another."""


@dataclass(frozen=True)
class Merged:
    """Runs of several directories, each once, by id."""

    runs: tuple[Run, ...]
    copies: tuple[str, ...] = ()
    """A sentence about each run that is in several directories."""


def merge(folders: Sequence[Path], mixed: bool = False) -> Merged:
    """Every run of the directories, each once.

    Args:
        mixed: also merge directories that cannot be compared.

    Raises:
        UsageError: a directory is none, two runs of one id differ, or two directories cannot be compared.
    """
    by_folder = {folder: load(folder) for folder in dict.fromkeys(map(Path, folders))}
    if not mixed:
        for (first, ours), (second, theirs) in itertools.combinations(by_folder.items(), 2):
            require_comparable(first, ours, second, theirs)
    by_id: dict[str, list[Run]] = {}
    for run in itertools.chain.from_iterable(by_folder.values()):
        by_id.setdefault(run.id, []).append(run)
    chosen = {name: chosen_copy(copies) for name, copies in sorted(by_id.items())}
    sentences = [sentence(by_id[name], run) for name, run in chosen.items() if len(by_id[name]) > 1]
    return Merged(tuple(chosen.values()), tuple(sentences))


def chosen_copy(copies: Sequence[Run]) -> Run:
    """The first finished one of runs of one id, else the first; UsageError where two finished ones differ."""
    from agents.runs.config import differences as config_differences

    finished = [run for run in copies if run.state == "finished"]
    for run in finished[1:]:
        first = finished[0]
        what = ["configuration"] * bool(config_differences(first.config, run.config))
        what += ["evaluation"] * ((first.path / NUMBERS).read_bytes() != (run.path / NUMBERS).read_bytes())
        if what:
            raise UsageError(
                f"run {run.id} is in {folder_of(first)} and in {folder_of(run)} with another {listed(what)}: which one "
                "counts is not known; name one of the two directories, or move one of the runs away"
            )
    return (finished or list(copies))[0]


def sentence(copies: Sequence[Run], chosen: Run) -> str:
    """Sentence about a run that is in several directories."""
    where = listed(str(folder_of(run)) for run in copies)
    same = all(run.state == chosen.state for run in copies)
    return f"{chosen.id}: in {where}, counted once" + ("" if same else f" ({chosen.state}, in {folder_of(chosen)})")


def folder_of(run: Run) -> Path:
    """Experiment directory of a run."""
    return run.path.parent.parent


def require_comparable(first: Path, ours: Iterable[Run], second: Path, theirs: Iterable[Run]) -> None:
    """UsageError where two directories have a task in common and nothing that could be compared there."""
    first_tasks, second_tasks = by_task(ours), by_task(theirs)
    for env, levels in sorted(first_tasks.keys() & second_tasks.keys()):
        differing = differences(first_tasks[env, levels], second_tasks[env, levels])
        words = [f"{name} ({first}: {one}; {second}: {other})" for name, (one, other) in differing.items()]
        if words:
            raise UsageError(
                f"{first} and {second} cannot be compared on {env} with {levels:,} training levels: they have other "
                f"{listed(words)}; {KEPT_APART}"
            )


def by_task(runs: Iterable[Run]) -> dict[tuple[str, int], list[Run]]:
    """Finished runs of each task: env and number of training levels."""
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        if run.state == "finished":
            groups.setdefault((str(run.config["env"]), int(run.config["train_levels"])), []).append(run)
    return groups


def differences(ours: Sequence[Run], theirs: Sequence[Run]) -> Differences:
    """Facts of which no value of one side is a value of the other; a side that does not say shares everything."""
    first, second = (facts(runs) | level_sets(runs, other) for runs, other in ((ours, theirs), (theirs, ours)))
    return {
        name: (listed(sorted(own)), listed(sorted(other)))
        for name, own in first.items()
        if own and (other := second.get(name, set())) and not own & other
    }


def facts(runs: Sequence[Run]) -> dict[str, set[str]]:
    """Fact, in words -> its values, of what decides whether returns may be subtracted."""
    return {
        "frames of RL": {frames(frames_of(run.config)) for run in runs},
        "frames of an evaluation window": {f"{run.config.get('window', 0):,}" for run in runs},
        "kinds of training levels": {level_set_kind(run.config) for run in runs},
        "commits": {str(value) for run in runs for value in run.values("commit")},
        "hashes of the code": {str(value) for run in runs for value in run.values("code")},
        "numbers of threads": {str(value) for run in runs for value in run.values("threads")},
    }


def level_sets(runs: Iterable[Run], others: Iterable[Run]) -> dict[str, set[str]]:
    """Training levels of each seed that both sides have."""
    seeds = {run.config["seed"] for run in others}
    sets: dict[str, set[str]] = {}
    for run in runs:
        if run.config["seed"] in seeds:
            sets.setdefault(f"training levels of seed {run.config['seed']}", set()).add(training_set(run.config))
    return sets
