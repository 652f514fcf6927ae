"""Representations whose settings are looked for: what each may choose from, its trials as cells, its best settings.

A trial is a run for each seed of the grid that is evaluated on training and validation levels and on nothing else: its
held-out levels are never played.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.experiment.presets import BASELINE
from benchmarks.experiment.settings_file import settings_text, text_of
from benchmarks.sweeping.cells import Cell, Plan, arguments, as_cell, modules_of, with_labels
from benchmarks.sweeping.grid_file import SET, GridFile
from benchmarks.sweeping.ranges import Choices, Range, read_ranges
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from agents.runs.validate import PartsStore

FOLDER = "search"
"""Experiment directory of the trials, in that of the grid."""
VALIDATED = ("train",)
"""Splits of a trial's final evaluation: validation levels are played during training."""


@dataclass(frozen=True)
class Method:
    """A representation whose settings are looked for."""

    name: str
    ranges: Mapping[str, Range | Choices]
    """MODULE.FIELD -> the values to choose from; only settings that the method has."""
    trials: int
    grid: GridFile
    kind: type[Any]
    plan: Plan
    line: str
    """Command line that the runs name."""

    @property
    def seeds(self) -> list[Any]:
        return list(self.grid.options.get("seeds", [()]))

    def runs(self, settings: Mapping[str, Any], store: PartsStore) -> list[RunConfig]:
        """One run for each seed, with these settings, that never sees held-out levels."""
        fixed = {name: values[0] for name, values in self.grid.options.items()}
        changed = {f"{SET}{name}": text_of(value) for name, value in settings.items()}
        configs = []
        for seeds in self.seeds:
            own = {"repr": (self.name,), **({"seeds": seeds} if seeds else {})}
            args = arguments(self.grid, self.kind, {**fixed, **changed, **own, "baseline": False})
            planned = [config for config in self.plan(args) if config.repr == self.name]
            configs += [dataclasses.replace(config, splits=VALIDATED, kept_policies=0) for config in planned]
        if refused := store.validate(configs):
            raise UsageError("; ".join(refused.values()))
        return configs

    def cells(self, number: int, settings: Mapping[str, Any], store: PartsStore) -> list[Cell]:
        """Cells of a trial."""
        args = arguments(self.grid, self.kind, {name: values[0] for name, values in self.grid.options.items()})
        out = self.grid.out / FOLDER
        made = [as_cell(config, args, out, self.grid.threads, self.line) for config in self.runs(settings, store)]
        return [dataclasses.replace(cell, label=f"{cell.label}, trial {number}") for cell in with_labels(made)]

    def defaults(self, store: PartsStore) -> dict[str, Any]:
        """The settings that the method has anyway, where the ranges hold all of them; else none."""
        (config, *_) = self.runs({}, store)
        values = {name: value_of(config, name) for name in self.ranges}
        return values if all(self.ranges[name].holds(value) for name, value in values.items()) else {}


def methods_of(grid: GridFile, kind: type[Any], plan: Plan, line: str) -> list[Method]:
    """The representations of the grid, and the baseline beside them, each with as many trials.

    Raises:
        UsageError: the grid sweeps something else, or a range is of nothing that the grid has.
    """
    if grid.command != "transfer":
        raise UsageError(f'{grid.path}: command = "{grid.command}": --search takes runs of "transfer"')
    if others := [name for name in grid.swept if name not in ("repr", "seeds")]:
        name = others[0].removeprefix(SET)
        raise UsageError(f"{grid.path}: {name} has several values; beside --search give it one, or a range in [search]")
    trials, ranges = read_ranges(grid.path, grid.search)
    names = dict.fromkeys([*(name for words in grid.options.get("repr", [()]) for name in words), BASELINE])
    methods = []
    for name in names:
        combination = {option: values[0] for option, values in grid.options.items()}
        modules = modules_of(arguments(grid, kind, {**combination, "repr": (name,), "baseline": False}))
        own = {setting: span for setting, span in ranges.items() if setting.rpartition(".")[0] in modules}
        # without a range all trials would be one run
        methods.append(Method(name, own, trials if own else 1, grid, kind, plan, line))
    reached = {setting for method in methods for setting in method.ranges}
    if strangers := [setting for setting in ranges if setting not in reached]:
        raise UsageError(
            f'{grid.path}: [search] "{strangers[0]}": no representation of the grid has that module; they are '
            f"{', '.join(names)}"
        )
    return methods


def value_of(config: RunConfig, setting: str) -> Any:
    """A run's value of MODULE.FIELD; None where it has no such field."""
    from agents.runs.config import short_name

    module, _, field = setting.rpartition(".")
    settings = {config.repr: config.repr_settings, config.algo: config.algo_settings, **config.bonus_settings}
    named = {form: values for name, values in settings.items() for form in (name, short_name(name))}
    return named.get(module, {}).get(field)


def check_task(configs: Sequence[RunConfig]) -> None:
    """UsageError for several tasks, whose returns have no mean, or for one without validation levels."""
    from agents.runs.build import find_task

    if len(tasks := dict.fromkeys(config.env for config in configs)) > 1:
        raise UsageError(f"--search scores one task; name one of them with tasks in the grid: {', '.join(tasks)}")
    if find_task(configs[0]).validation is None or not configs[0].periodic_evals:
        raise UsageError(f"--search scores validation levels, and {configs[0].env} has none; take another task")


def score_of(cells: Sequence[Cell]) -> float | None:
    """Mean of the last validation returns of a trial's runs; None where one is not finished or has none."""
    from benchmarks.reporting.runs import read

    returns = [read(cell.folder).final_validation for cell in cells]
    known = [value for value in returns if value is not None]
    return sum(known) / len(known) if len(known) == len(returns) else None


def best_file(method: Method, folder: Path) -> Path:
    """File of a method's best settings."""
    from agents.runs.config import short_name

    return folder / f"best-{short_name(method.name)}.toml"


def best_text(method: Method, best: float, settings: Mapping[str, Any], usual: float | None, trials: int) -> str:
    """Text of that file."""
    seeds = ", ".join(str(seed) for words in method.seeds for seed in words) or "the preset's"
    comment = f"{method.name}: best of {trials} trials on validation levels alone, return {best:.4g} (seeds: {seeds})."
    if usual is not None:
        comment += f"\nWith the settings that it has anyway: {usual:.4g}."
    return settings_text(settings, comment)
