"""Summaries: all cells of an experiment, the baseline of each, and the runs that are in no table.

The baseline of a row is the end-to-end network on the same task and number and kind of training levels, under the same
agent (algorithm, memory, last step), whose environment steps are those of the row, pre-training included (at most one
rollout more); else the one with as many frames of RL, which the tables then say. Other budgets are never subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.experiment.changed_settings import changed_settings
from benchmarks.experiment.outcomes import DECLARED, Conditions, Declaration, Outcome, declared
from benchmarks.reporting.cells import Cell, is_baseline, is_data_policy_control
from benchmarks.reporting.labels import agent_of, flat_settings, labels_of, protocol
from benchmarks.reporting.runs import Run

Budget = Literal["equal budget", "equal RL steps"]


@dataclass(frozen=True)
class Reference:
    """The baseline's cell that a row is compared with, and what the two have in common."""

    cell: Cell
    budget: Budget


@dataclass(frozen=True)
class Summary:
    """All cells of an experiment, and the runs they are made of."""

    cells: tuple[Cell, ...]
    """By task and number of training levels; inside, the best on held-out levels first where the task can rank."""
    runs: tuple[Run, ...]
    missing: tuple[str, ...]
    """Runs that are in no table, cells of the grid without a run, and splits that were left out, by name."""

    @property
    def envs(self) -> list[str]:
        return sorted({cell.env for cell in self.cells})

    @property
    def levels(self) -> list[int]:
        return sorted({cell.train_levels for cell in self.cells})

    @property
    def labels(self) -> list[str]:
        return list(dict.fromkeys(cell.label for cell in self.cells))

    @property
    def baselines(self) -> list[str]:
        """Labels of the rows that others may be compared with."""
        return sorted({cell.label for cell in self.cells if is_baseline(cell)})

    @property
    def named_levels(self) -> bool:
        """False where the runs are of the protocol before; then all of them are."""
        return all(cell.named_levels for cell in self.cells)

    def cell(self, label: str, env: str, levels: int) -> Cell | None:
        key = (label, env, levels)
        return next((cell for cell in self.cells if (cell.label, cell.env, cell.train_levels) == key), None)

    def reference(self, cell: Cell) -> Reference | None:
        """The baseline that a row is compared with; None for the baseline itself, and where no budget is equal."""
        candidates = self._candidates(cell)
        if is_baseline(cell) or not candidates:
            return None
        equal: list[tuple[Budget, list[Cell]]] = [
            ("equal budget", [other for other in candidates if _equal_budget(cell, other)]),
            ("equal RL steps", [other for other in candidates if other.steps == cell.steps]),
        ]
        for budget, cells in equal:
            if cells:
                return Reference(_likest(cell, better_start(cells)), budget)
        return None

    def data_policy_controls(self, cell: Cell) -> list[Cell]:
        """Controls of a row whose frames are of other levels or of a policy: see ``experiment.plan.CONTROLS``.

        On its task and levels, under its protocol and agent: the data policy's encoder frozen and fine-tuned, and
        the agent that started from it, of as many environment steps in all. Empty for the other rows, and for these.
        """

        def setting(other: Cell) -> tuple[object, ...]:
            return other.task, other.level_set_kind, agent_of(other.config), protocol(other.config)

        if not protocol(cell.config) or is_data_policy_control(cell):
            return []
        controls = [other for other in self.cells if is_data_policy_control(other) and setting(other) == setting(cell)]
        return [other for other in controls if not other.config.get("start_from_policy") or _equal_budget(cell, other)]

    def equal_steps(self, cell: Cell) -> Cell | None:
        """The better start of the baseline with as many frames of RL; None where there is none."""
        equal = [other for other in self._candidates(cell) if other.steps == cell.steps]
        return _likest(cell, better_start(equal)) if equal else None

    def cost_reference(self, cell: Cell) -> Cell | None:
        """The baseline whose seconds a row's are divided by: as many frames of RL; for a baseline the shortest one.

        Of two starts it is that of ``reference``, else the better one.
        """
        candidates = self._candidates(cell)
        steps = min((other.steps for other in candidates), default=0) if is_baseline(cell) else cell.steps
        equal = [other for other in candidates if other.steps == steps]
        reference = self.reference(cell)
        start = [other for other in equal if reference and is_standardised(other) == is_standardised(reference.cell)]
        return _likest(cell, start or better_start(equal)) if equal else None

    def _candidates(self, cell: Cell) -> list[Cell]:
        """Baselines on the task and kind of levels of a row, under its agent."""
        key = (cell.task, cell.level_set_kind, agent_of(cell.config))
        others = [other for other in self.cells if is_baseline(other)]
        return [other for other in others if (other.task, other.level_set_kind, agent_of(other.config)) == key]


def better_start(baselines: Sequence[Cell]) -> list[Cell]:
    """Those of plain and of standardised start, whichever has the higher last validation return; all of one kind alone.

    Nothing of the test decides. Plain where they are equal, or a run has no validation return.
    """
    starts = {kind: [cell for cell in baselines if is_standardised(cell) == kind] for kind in (False, True)}
    if not (starts[False] and starts[True]):
        return list(baselines)
    means = {}
    for kind, cells in starts.items():
        values = [run.final_validation for cell in cells for run in cell.runs]
        known = [value for value in values if value is not None]
        means[kind] = sum(known) / len(known) if len(known) == len(values) else float("-inf")
    return starts[means[True] > means[False] > float("-inf")]


def is_standardised(baseline: Cell) -> bool:
    """True for a baseline whose features are standardised at its start."""
    return bool(baseline.config["repr_settings"].get("standardise"))


def declaration(cell: Cell) -> Declaration:
    """Outcomes that the cell's task can decide, at its preset and size and for its kind of agent and levels."""
    algo, memory, last_step = agent_of(cell.config)
    preset = str(cell.config.get("preset", ""))
    changed = changed_settings(cell.config) if (cell.env, preset) in DECLARED else ()
    conditions = Conditions(algo, memory, last_step, str(cell.config.get("trunk", "")), cell.level_set_kind, changed)
    return declared(cell.env, preset, cell.steps, cell.train_levels, conditions)


def decides(cells: Iterable[Cell], outcome: Outcome) -> bool:
    """True where every one of these cells declares ``outcome``."""
    return all(outcome in declaration(cell).outcomes for cell in cells)


def summarise(runs: Sequence[Run]) -> Summary:
    """Gather runs into cells with labels, and name what is left out and why."""
    readable, missing = _readable(runs)
    labels = labels_of(readable)
    groups: dict[tuple[str, int, str], list[Run]] = {}
    for run in readable:
        if run.state == "finished":
            key = (run.config["env"], run.config["train_levels"], labels[run.id])
            groups.setdefault(key, []).append(run)
    cells = []
    for (_, _, label), group in groups.items():
        kept, refused = _one_of_each_seed(label, group)
        missing += refused
        if kept:
            cells.append(Cell(label, tuple(sorted(kept, key=lambda run: run.config["seed"]))))
    missing += _absent_seeds(readable, labels)
    missing += [message for cell in cells for message in _dropped_splits(cell)]
    missing += [_not_crossed(cell) for cell in cells if cell.uncrossed]
    return Summary(tuple(_ordered(cells)), tuple(runs), tuple(missing))


def _readable(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Runs that may share a table, and those that may not by name, with the reason."""
    missing = [f"{run.id}: {run.state}, {run.reason}" for run in runs if run.state != "finished"]
    readable = [run for run in runs if run.config]
    finished = [run for run in readable if run.state == "finished"]
    old = {run.id for run in finished if not run.named_levels}
    if old and len(old) < len(finished):
        reason = "old protocol, which does not name its levels; report such runs in a directory of their own"
        missing += [f"{run_id}: {reason}" for run_id in sorted(old)]
        readable = [run for run in readable if run.id not in old]
    return readable, missing


def _one_of_each_seed(label: str, group: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Runs whose seed no other run of the cell has, and the names of the others: which of them counts is not known."""
    by_seed: dict[int, list[Run]] = {}
    for run in group:
        by_seed.setdefault(run.config["seed"], []).append(run)
    kept = [runs[0] for runs in by_seed.values() if len(runs) == 1]
    refused = []
    for seed, runs in sorted(by_seed.items()):
        if len(runs) > 1:
            differing = [name for name in ("splits", "normalise") if len({str(run.config[name]) for run in runs}) > 1]
            reason = f" (their {' and '.join(differing)} differ)" if differing else ""
            names = ", ".join(sorted(run.id for run in runs))
            refused.append(f"{label}: seed {seed} is there {len(runs)} times{reason}, move all but one away: {names}")
    return kept, refused


def _dropped_splits(cell: Cell) -> Iterable[str]:
    for split in dict.fromkeys(split for run in cell.runs for split in run.config["splits"]):
        if split not in cell.splits:
            having = ", ".join(str(run.config["seed"]) for run in cell.runs if split in run.config["splits"])
            yield f"{cell.label}, {cell.env}, {cell.levels_in_words}: split {split} only has seed {having}"


def _not_crossed(cell: Cell) -> str:
    """Sentence about the agents that have not played all other seeds' training levels."""
    gap = cell.crossed_gap
    lacking = "no crossed gap" if gap is None else f"crossed gap of {gap.seeds} of {len(cell.runs)} seeds alone"
    return (
        f"{cell.label}, {cell.env}, {cell.levels_in_words}: {lacking}; agents of seed "
        f"{', '.join(map(str, cell.uncrossed))} lack other seeds' levels; the row's command, with any of its seeds, "
        "lets them play these"
    )


def _absent_seeds(runs: Sequence[Run], labels: dict[str, str]) -> Iterable[str]:
    """Seeds that other cells of the grid have and one lacks."""
    seeds: dict[tuple[str, str, int], set[int]] = {}
    tasks: dict[str, set[tuple[str, int]]] = {}
    suites: dict[str, str] = {}
    for run in runs:
        label, task = labels[run.id], (run.config["env"], run.config["train_levels"])
        seeds.setdefault((label, *task), set()).add(run.config["seed"])
        suites[label] = run.config["suite"]
        tasks.setdefault(run.config["suite"], set()).add(task)
    all_seeds = set().union(*seeds.values())
    for label, suite in sorted(suites.items()):
        for env, levels in sorted(tasks[suite]):
            absent = sorted(all_seeds - seeds.get((label, env, levels), set()))
            if absent:
                yield f"{label}, {env}, {levels} training levels: no run with seed {', '.join(map(str, absent))}"


def _ordered(cells: Sequence[Cell]) -> list[Cell]:
    """By task and protocol; inside by held-out return where every cell of the task can decide it, else by label."""
    tasks = {cell.task for cell in cells}
    ranked = {task for task in tasks if decides([cell for cell in cells if cell.task == task], "held-out return")}

    def place(cell: Cell) -> tuple[Any, ...]:
        return (
            *cell.task,
            protocol(cell.config),
            -float(cell.means(cell.target).mean()) if cell.task in ranked else 0.0,
            cell.label,
        )

    return sorted(cells, key=place)


def _equal_budget(cell: Cell, baseline: Cell) -> bool:
    """True where the baseline took as many environment steps as the row in all, or less than a rollout more."""
    more = baseline.total_env_steps - cell.total_env_steps
    rollout = baseline.config.get("num_envs", 1) * baseline.config["algo_settings"].get("n_steps", 1)
    return not math.isnan(more) and 0 <= more < max(rollout, 1)


def _likest(cell: Cell, candidates: Sequence[Cell]) -> Cell:
    """The candidate that shares most settings with a row; the first by label where several do."""
    own = flat_settings(cell.config)

    def likeness(other: Cell) -> int:
        theirs = flat_settings(other.config)
        return sum(own.get(name) == value for name, value in theirs.items())

    return max(
        sorted(candidates, key=lambda other: other.label),
        key=lambda other: (other.label == cell.label, likeness(other)),
    )
