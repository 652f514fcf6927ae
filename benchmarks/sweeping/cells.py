"""Cells of a sweep: every run that a combination of the grid plans, each once, however many combinations plan it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.experiment.arguments import ExperimentArgs, with_env
from benchmarks.experiment.plan import asks_for_other_data
from benchmarks.experiment.presets import BASELINE
from benchmarks.sweeping.grid_file import GridFile, split
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from agents.runs.validate import PartsStore

Plan = Callable[[Any], "list[RunConfig]"]
"""Runs of a command, from its arguments."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep, as another process gets it."""

    name: str
    """The run's id: its folder in ``out``/runs."""
    label: str
    """The run in the words of the grid, for tables."""
    config: RunConfig
    out: Path
    threads: int
    command: str
    """Command line that the run's source.json names."""
    args: ExperimentArgs
    """Options of the combination, of which a run takes its tracker, device and cache of fits."""

    @property
    def folder(self) -> Path:
        return self.out / "runs" / self.name


def cells_of(grid: GridFile, kind: type[Any], plan: Plan, line: str, store: PartsStore) -> list[Cell]:
    """Every run of the grid, checked and ready to be trained, in the order of the combinations.

    Args:
        kind: the command's dataclass of options.
        plan: its runs for given options.
        line: the command line that the runs' source.json names.
        store: gets the parts of the runs, for an estimate of their time.

    Raises:
        UsageError: a combination that none could run, or a setting of a module that no combination has.
    """
    combinations = grid.combinations()
    planned = [(grid.words(each), arguments(grid, kind, each)) for each in combinations]
    check_settings(grid, [args for _, args in planned])
    cells: dict[str, Cell] = {}
    for words, args in planned:
        for config in runs_of(grid, plan, words, args, store):
            cell = as_cell(config, args, grid.out, grid.threads, line)
            cells.setdefault(cell.name, cell)
    return with_labels(list(cells.values()))


def as_cell(config: RunConfig, args: ExperimentArgs, out: Path, threads: int, line: str) -> Cell:
    """One planned run as a cell."""
    from agents.runs.config import run_id

    return Cell(run_id(config), "", config, out, threads, line, args)


def arguments(grid: GridFile, kind: type[Any], combination: Mapping[str, Any]) -> Any:
    """The command's options for one combination, with the settings of the modules that it has."""
    options, settings = split(dict(combination))
    if isinstance(options.get("repr"), tuple) and not options["repr"]:
        raise UsageError(f"{grid.path}: repr = []: name a representation")
    args = kind(**{"baseline": False, **options, "out": grid.out})
    own = {f"{name}={text}" for name, text in settings.items() if name.rpartition(".")[0] in modules_of(args)}
    return with_env(dataclasses.replace(args, set=tuple(sorted(own))))


def modules_of(args: Any) -> set[str]:
    """Names by which settings may call the modules of a command: representations, bonuses, algorithm."""
    from agents.runs.config import short_name

    words = [args.repr] if isinstance(args.repr, str) else list(args.repr)
    words += [bonus.rpartition(":")[0] or bonus for word in args.bonus for bonus in word.split("+")]
    words += [bonus for word in args.bonus for bonus in word.split("+")]
    words += [BASELINE] if args.baseline or asks_for_other_data(args) else []
    return {form for word in (*words, args.algo) for form in (word, short_name(word))}


def check_settings(grid: GridFile, planned: Sequence[Any]) -> None:
    """UsageError for a setting of a module that no combination has."""
    modules = set().union(*(modules_of(args) for args in planned))
    for name in split(dict.fromkeys(grid.options))[1]:
        module = name.rpartition(".")[0]
        if module not in modules:
            raise UsageError(
                f'{grid.path}: set."{name}": no combination has a module {module!r}; they have '
                f"{', '.join(sorted(modules))}"
            )


def runs_of(grid: GridFile, plan: Plan, words: str, args: Any, store: PartsStore) -> list[RunConfig]:
    """Runs of one combination, those that follow from others among them."""
    from benchmarks.experiment.execute import runnable, with_equal_budgets

    if (args.equal_budget or getattr(args, "both_starts", False)) and not args.baseline:
        option = "equal_budget" if args.equal_budget else "both_starts"
        raise UsageError(f"{grid.path}: {option} adds rows of the baseline; write baseline = true beside it")
    named = (args.repr,) if isinstance(args.repr, str) else args.repr
    try:
        configs = plan(args)
        return with_equal_budgets(args, runnable(configs, store.validate(configs), named), store)
    except UsageError as error:
        raise UsageError(f"{grid.path}{f' ({words})' if words else ''}: {error}") from None


def with_labels(cells: Sequence[Cell]) -> list[Cell]:
    """The cells with the labels of reports, and the task, number of levels and seed where there are several."""
    from agents.runs.config import as_json
    from benchmarks.reporting.labels import labels_of
    from benchmarks.reporting.runs import Run

    labels = labels_of([Run(cell.name, cell.folder, "unfinished", config=as_json(cell.config)) for cell in cells])
    several = {
        name: len({getattr(cell.config, name) for cell in cells}) > 1 for name in ("env", "train_levels", "seed")
    }

    def label(cell: Cell) -> str:
        words = [labels[cell.name], *[cell.config.env] * several["env"]]
        words += [f"{cell.config.train_levels:,} levels"] * several["train_levels"]
        return ", ".join([*words, *[f"seed {cell.config.seed}"] * several["seed"]])

    return [dataclasses.replace(cell, label=label(cell)) for cell in cells]
