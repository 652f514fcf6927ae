"""Controls of each task: what chance, a script, a blind policy, the plain CNN and the true factors reach there.

    python -m benchmarks.transfer --suite rooms --repr cnn blind oracle --seeds 0 1 2 --out runs/controls-rooms
    python -m benchmarks.controls runs/controls-* --out benchmarks/results/controls.csv

From them follows what a task can decide at its size, which ``benchmarks.experiment.outcomes`` then declares:

    held-out return   the CNN's return on validation levels is above the blind policy's, beyond the interval of the
                      difference; its interval lies above any script that looks at nothing, below any script that
                      solves the task, and below a return of ``CEILING`` (normalised)
    gap               the interval of the CNN's gap is above 0: crossed, which plays training levels alone, else its
                      return on training levels minus that on validation levels
    looks             on training levels the CNN is above the blind policy, beyond the interval, so that there is a
                      return to keep, and in some visual variant of these it is lower, beyond the interval

Methods are compared on held-out levels later, so no agent's return there chooses what may be marked; that of a script
that never learns is read there. Intervals on validation levels are over seeds alone. A task without held-out levels
has its gap in its first variant. No claim rests on fewer than 3 seeds or on a run that fell. The table shows the
returns on held-out levels beside what is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from benchmarks import cli
from benchmarks.experiment.outcomes import Outcome
from benchmarks.experiment.presets import BASELINE
from benchmarks.experiment.references import FILE
from envs.reference_scores import POLICIES, Reference, known, mean_return
from envs.registry import UsageError

if TYPE_CHECKING:
    from benchmarks.reporting.cells import Cell
    from benchmarks.reporting.stats import Interval

HELDOUT = "heldout"
"""End of the names of splits on held-out levels."""
BLIND, ORACLE = "blind", "oracle"
TRAINED = (BLIND, BASELINE, ORACLE)
CEILING = 0.95
"""Normalised return from which no method can be told to be better."""
UNSEEING_SCRIPTS = "coinrun"
"""Beginning of the names of tasks whose script takes one action for ever: a policy that sees nothing either."""
COLUMNS = (
    *("task", "preset", "steps", "train_levels", "level_set", "policy", "split", "return", "low", "high", "normalised"),
    *("seeds", "fell", "commit"),
)


@dataclass(frozen=True)
class Args:
    """Tabulate controls of tasks, and what each task can decide."""

    experiments: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Experiment directories with rows cnn, blind and, where the task tells its factors, oracle."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """CSV to write."""


@dataclass(frozen=True)
class Controls:
    """The trained controls of one task, and its reference policies."""

    trained: dict[str, Cell]
    """Representation -> its cell; cnn and blind at least."""
    references: tuple[Reference, ...]
    """Returns of policies that never learn, of all tasks and levels of the experiment."""

    @property
    def cnn(self) -> Cell:
        return self.trained[BASELINE]

    def reference(self, policy: str, split: str) -> float | None:
        """Mean return of a policy that never learns on the CNN's levels of a split; None where it was not played."""
        return mean_return(self.played(split), self.cnn.env, split, policy)

    def played(self, split: str) -> list[Reference]:
        """Rows of the policies that never learn on the CNN's levels of a split."""
        from benchmarks.reporting.reference_rows import on_their_levels

        return on_their_levels(self.references, self.cnn.runs, split)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(controls, Args, argv)


def controls(args: Args) -> str:
    """Read the experiments, write the CSV; returns the table as Markdown.

    Raises:
        UsageError: a directory without finished rows of cnn and blind on the same task.
    """
    from benchmarks.reporting import layout

    tasks = [task for experiment in args.experiments for task in read(experiment)]
    if args.out:
        cli.write_csv(args.out, [row for task in tasks for row in rows(task)], COLUMNS)
    return layout.pipes(table(tasks))


def read(experiment: Path) -> list[Controls]:
    """Controls of each task of an experiment directory."""
    from benchmarks.reporting.runs import load
    from benchmarks.reporting.summary import summarise

    summary = summarise(load(experiment))
    references = known(experiment / FILE)
    tasks = []
    for task in dict.fromkeys(cell.task for cell in summary.cells):
        cells = [cell for cell in summary.cells if cell.task == task and cell.config["repr"] in TRAINED]
        by_name = {
            str(cell.config["repr"]): cell
            for cell in sorted(cells, key=lambda cell: TRAINED.index(cell.config["repr"]))
        }
        names = [cell.config["repr"] for cell in cells]
        if len(by_name) < len(cells):
            raise UsageError(f"{experiment}: {task[0]} has several rows of one control ({', '.join(sorted(names))})")
        if not {BASELINE, BLIND} <= by_name.keys():
            raise UsageError(
                f"{experiment}: {task[0]} has finished runs of {', '.join(names) or 'no control'}; "
                f"train --repr {BASELINE} {BLIND} there first"
            )
        if len({cell.steps for cell in cells}) > 1:
            raise UsageError(
                f"{experiment}: the controls of {task[0]} differ in their frames; give all the same --steps"
            )
        tasks.append(Controls(by_name, references))
    if not tasks:
        raise UsageError(f"{experiment} has no finished run; train --repr {BASELINE} {BLIND} there first")
    return tasks


def decided(task: Controls) -> tuple[Outcome, ...]:
    """Outcomes that the task can decide, by the rules above."""
    from benchmarks.reporting.matching import SOURCE

    cnn, blind = task.cnn, task.trained[BLIND]
    if not cnn.comparable(blind):
        return ()
    outcomes: list[Outcome] = []
    if cnn.target.endswith(HELDOUT) and _decides_return(task):
        outcomes.append("held-out return")
    gap = cnn.crossed_gap or _gap(cnn)
    if gap is not None and gap.low > 0:
        outcomes.append("gap")
    looks = [split for split in cnn.splits if split not in (SOURCE, cnn.target) and not split.endswith(HELDOUT)]
    if cnn.difference(blind, SOURCE).low > 0 and any(cnn.gaps[split].low > 0 for split in looks):
        outcomes.append("looks")
    return tuple(outcomes)


def _decides_return(task: Controls) -> bool:
    """True where validation levels tell the CNN from a blind policy, from scripts, and from the ceiling."""
    from benchmarks.reporting.cells import over_seeds, seed_difference

    cnn, blind = task.cnn, task.trained[BLIND]
    own, others = _validation(cnn), _validation(blind)
    if not (own and others and seed_difference(cnn, own, blind, others).low > 0):
        return False
    interval = over_seeds(cnn.seeds, own)
    high = cnn.normalised(interval.high)
    if high is not None and high >= CEILING:
        return False
    scripted = task.reference("scripted", cnn.target)
    if cnn.env.startswith(UNSEEING_SCRIPTS):
        return scripted is not None and interval.low > scripted
    # Where time costs reward, 1 is out of reach, and the script's return is the ceiling.
    return scripted is None or interval.high < scripted


def _gap(cnn: Cell) -> Interval | None:
    """Training return minus that on validation levels; of a task without held-out levels that of its target."""
    from benchmarks.reporting.cells import over_seeds
    from benchmarks.reporting.matching import SOURCE

    if not cnn.target.endswith(HELDOUT):
        return cnn.gaps.get(cnn.target)
    own = _validation(cnn)
    return over_seeds(cnn.seeds, cnn.means(SOURCE)[:, 0] - own) if own else None


def _validation(cell: Cell) -> list[float]:
    """Each seed's last return on validation levels; empty where a run has none."""
    values = [run.final_validation for run in cell.runs if run.final_validation is not None]
    return values if len(values) == len(cell.runs) else []


def rows(task: Controls) -> list[dict[str, Any]]:
    """Rows of the CSV: each policy on each split."""
    from benchmarks.reporting.labels import training_set

    cnn = task.cnn
    size = {
        "task": cnn.env,
        "preset": str(cnn.config.get("preset", "")),
        "steps": cnn.steps,
        "train_levels": cnn.train_levels,
        "level_set": ", ".join(dict.fromkeys(training_set(run.config) for run in cnn.runs)),
    }
    csv_rows = []
    for policy in POLICIES:
        for split in cnn.splits:
            if (mean := task.reference(policy, split)) is not None:
                commits = {row.commit for row in task.played(split) if row.policy == policy}
                row = {"policy": policy, "split": split, "return": mean, "normalised": cnn.normalised(mean)}
                csv_rows.append(size | row | {"commit": ", ".join(sorted(commits - {""}))})
    for name, cell in task.trained.items():
        commit = ", ".join(cell.differing("commit")) or cell.runs[0].source["commit"]
        shared = size | {"policy": name, "seeds": len(cell.runs), "fell": len(cell.fallen), "commit": commit}
        for split, value in cell.returns.items():
            row = {"split": split, "return": value.estimate, "low": value.low, "high": value.high}
            csv_rows.append(shared | row | {"normalised": cell.normalised(value.estimate)})
    return csv_rows


def table(tasks: Sequence[Controls]) -> tuple[list[str], list[list[str]]]:
    """A row for each task: each policy's return on unseen levels, the CNN against blind, its gap, what is decided."""
    from benchmarks.reporting import layout

    header = ["task", "frames, levels, seeds", "split", *POLICIES, BLIND, BASELINE, ORACLE, f"{BASELINE} minus {BLIND}"]
    lines = []
    for task in tasks:
        cnn, split = task.cnn, task.cnn.target
        returns = [
            layout.ABSENT if (mean := task.reference(policy, split)) is None else layout.number(mean)
            for policy in POLICIES
        ]
        trained = [task.trained.get(name) for name in TRAINED]
        returns += [layout.interval(cell.returns[split]) if cell else layout.ABSENT for cell in trained]
        size = f"{layout.frames(cnn.steps)}, {cnn.train_levels:,}, {len(cnn.runs)}"
        difference = layout.interval(cnn.difference(task.trained[BLIND], split), sign=True)
        gap = layout.interval(cnn.crossed_gap or cnn.gaps.get(split), sign=True)
        lines.append([cnn.env, size, split, *returns, difference, gap, ", ".join(decided(task)) or "nothing"])
    return [*header, f"gap of {BASELINE}", "decides"], lines


if __name__ == "__main__":
    raise SystemExit(main())
