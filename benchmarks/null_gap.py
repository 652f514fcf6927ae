"""Null calibration of the report: policies that never learn, put through it as methods, have no gap.

    python -m benchmarks.null_gap --out benchmarks/results/null-gap.csv
    python -m benchmarks.null_gap --suite sprites --task sprites --pairs 10 --keep runs/null

For each pair of level sets, training sets of some seeds and a held-out set of its own, two "methods" play: ``fixed``,
the environment's scripted policy (held random actions where there is none), and ``noisy``, which takes the action of
``fixed`` with probability 0.7 and else holds a random one, for 8 steps each. Their runs are written as training leaves
them, and ``benchmarks.reporting`` reads them back, reports them and gives the intervals. The true value of each is 0:

    gap of fixed           training minus held-out return, which the draw of the levels alone makes
    gap of noisy, net      the same of ``noisy`` minus that of ``fixed``, paired by training set and by level
    gap of noisy           not net
    crossed gap of noisy   own training set minus the other seeds' agents on it
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from benchmarks import cli
from benchmarks.reporting.stats import Interval
from envs.counter_rng import below, counter_hash, mix, uniform
from envs.level_sets import HELDOUT, LevelRange, training_levels
from envs.registry import UsageError
from envs.tasks import Task, World

Method = Literal["fixed", "noisy"]
FIXED: Method = "fixed"
NOISY: Method = "noisy"
SCRIPTED, HELD_STEPS = 0.7, 8
"""Probability with which ``noisy`` does as ``fixed`` does, and the steps for which it stays at that."""
COLUMNS = (
    *("task", "pair", "quantity", "seeds", "train_levels", "heldout_levels", "heldout", "over", "estimate", "low"),
    *("high", "covers_zero", "commit"),
)
_NUM_ENVS = 64
_BASE, _CHOICE, _OTHER = 11, 12, 13  # tags of the draws


@dataclass(frozen=True)
class Args:
    """Intervals of gaps that are 0, over drawn pairs of level sets."""

    suite: str = "coinrun"
    """Suite of the task."""
    task: str = "coinrun-easy"
    """Task whose source is played."""
    pairs: int = 40
    """Draws of training sets and of a held-out set."""
    seeds: int = 3
    """Training sets, and seeds of the noisy policy, in each pair."""
    train_levels: int = 20
    """Levels of a training set."""
    heldout_levels: int = 64
    """Levels of a held-out set; as many episodes, at least, are played of every training set."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """CSV to write."""
    keep: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Keep the experiment directories of the pairs here, and play no run again that is there; else remove them."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(null_gap, Args, argv)


def null_gap(args: Args) -> str:
    """Play, report and tabulate every pair; returns how often each interval covers 0.

    Raises:
        UsageError: an unknown task, one without named levels, or numbers without an interval.
    """
    from agents.runs.source import commit

    task, revision = find_task(args), commit()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for pair in range(args.pairs):
            sizes = f"{args.seeds}seeds-{args.train_levels}+{args.heldout_levels}levels"
            experiment = (args.keep or Path(scratch)) / f"{args.task}-{sizes}-pair{pair}"
            write_pair(experiment, task, args, pair)
            heldout = heldout_set(args, pair)
            for quantity, interval in reported(experiment):
                rows.append(
                    {
                        **{"task": args.task, "pair": pair, "quantity": quantity, "seeds": interval.seeds},
                        **{"train_levels": args.train_levels, "heldout_levels": args.heldout_levels},
                        **{"heldout": str(heldout), "over": interval.over, "estimate": interval.estimate},
                        **{"low": interval.low, "high": interval.high},
                        **{"covers_zero": int(interval.low <= 0 <= interval.high), "commit": revision},
                    }
                )
            if args.out:
                cli.write_csv(args.out, rows, COLUMNS)
    return table(rows)


def find_task(args: Args) -> Task:
    """The task of ``args``, checked."""
    from envs.suites import build

    if min(args.pairs, args.seeds) < 1 or min(args.train_levels, args.heldout_levels) < 2:
        raise UsageError("give 1 pair and 1 seed or more, and 2 levels or more of each kind")
    if args.pairs * args.heldout_levels > HELDOUT.count:
        raise UsageError(f"--pairs {args.pairs} x --heldout-levels {args.heldout_levels}: more than {HELDOUT.count:,}")
    tasks = {task.env: task for task in build(args.suite, args.train_levels)}
    if args.task not in tasks:
        raise UsageError(f"--task {args.task} is not of suite {args.suite}; its tasks: {', '.join(tasks)}")
    return tasks[args.task]


def heldout_set(args: Args, pair: int) -> LevelRange:
    """Held-out levels of one pair, disjoint over pairs."""
    return LevelRange(HELDOUT.start + pair * args.heldout_levels, args.heldout_levels)


# playing --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Played:
    """Episodes of one agent on one set of levels, each array (E,)."""

    levels: NDArray[np.int64]
    repeats: NDArray[np.int64]
    returns: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @property
    def columns(self) -> Iterator[tuple[Any, ...]]:
        """Level, repetition, return and length of each episode."""
        return zip(*(column.tolist() for column in vars(self).values()), strict=True)


def play(world: World, levels: LevelRange, episodes: int, method: Method, seed: int) -> Played:
    """Play the levels equally often, ``episodes`` or a few more in all, each to its end.

    Raises:
        UsageError: the environment cannot begin on named levels.
    """
    from agents.runs.evaluate import equal_visits

    visits = equal_visits(levels.first(levels.count), episodes)
    total = len(visits)
    returns, lengths = np.zeros(total), np.zeros(total, np.int64)
    env: Any = world.with_options(**levels.options).make(min(_NUM_ENVS, total), 0)
    with closing(env):
        if not getattr(env, "names_levels", False):
            raise UsageError(f"{world.name} cannot begin on named levels; choose a task that can")
        if not hasattr(env.single_action_space, "n"):
            raise UsageError(f"{world.name} has actions {env.single_action_space}; choose a task of Discrete actions")
        visit = np.arange(env.num_envs)
        time = np.zeros(env.num_envs, np.int64)
        env.reset(options={"levels": visits.levels[visit], "repeats": visits.repeats[visit]})
        active, following = visit.copy(), env.num_envs
        while active.size:
            bits = counter_hash(seed, visits.levels[visit], visits.repeats[visit])
            _, reward, terminated, truncated, _ = env.step(actions(env, method, bits, time))
            returns[visit[active]] += np.asarray(reward)[active]
            lengths[visit[active]] += 1
            time += 1
            ended = active[(terminated | truncated)[active]]
            fresh, idle = ended[: total - following], ended[total - following :]
            if fresh.size:
                visit[fresh] = np.arange(following, following + len(fresh))
                following += len(fresh)
                time[fresh] = 0
                mask = np.isin(np.arange(env.num_envs), fresh)
                named = {"levels": visits.levels[visit], "repeats": visits.repeats[visit]}
                env.reset(options={**named, "reset_mask": mask})
            active = np.setdiff1d(active, idle)
    return Played(visits.levels, visits.repeats, returns, lengths)


def actions(env: Any, method: Method, bits: NDArray[np.uint64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Actions (N,) of a policy that never learns; draws come from the visit's hash (N,) and its time (N,)."""
    count, block = int(env.single_action_space.n), time // HELD_STEPS
    base = env.scripted() if hasattr(env, "scripted") else below(mix(mix(bits, _BASE), block), count)
    if method == FIXED:
        return np.asarray(base, np.int64)
    as_base = uniform(mix(mix(bits, _CHOICE), block)) < SCRIPTED
    return np.where(as_base, base, below(mix(mix(bits, _OTHER), block), count))


# runs as training leaves them -----------------------------------------------------------------------------------------


def write_pair(experiment: Path, task: Task, args: Args, pair: int) -> None:
    """Write finished runs of both methods, one a seed, with their episodes on other seeds' sets."""
    seeds = range(pair * args.seeds, (pair + 1) * args.seeds)
    sets = {seed: training_levels(task.env, seed, args.train_levels) for seed in seeds}
    heldout = heldout_set(args, pair)
    for method in (FIXED, NOISY):
        for seed in seeds:
            path = experiment / "runs" / f"{task.env}-{method}-s{seed}"
            if (path / "done").exists():
                continue
            on = {
                owner: play(task.source, levels, args.heldout_levels, method, seed)
                for owner, levels in sets.items()
                if owner == seed or method == NOISY
            }
            splits = {"train": on.pop(seed), "heldout": play(task.source, heldout, args.heldout_levels, method, seed)}
            write_run(path, task, args.suite, method, seed, sets, splits, on)


def write_run(
    path: Path,
    task: Task,
    suite: str,
    method: Method,
    seed: int,
    sets: dict[int, LevelRange],
    splits: dict[str, Played],
    others: dict[int, Played],
) -> None:
    """Write one run's folder: configuration, origin, evaluation; ``others``: episodes on the sets of other seeds."""
    from agents.runs.source import describe_source

    path.mkdir(parents=True, exist_ok=True)
    config = {
        **{"suite": suite, "env": task.env, "repr": method, "repr_settings": {}, "mode": "online", "algo": "none"},
        **{"algo_settings": {}, "bonus": "none", "trunk": "none", "train_levels": sets[seed].count, "seed": seed},
        **{"level_set": str(sets[seed]), "pretrain_on": "none", "pretrain_frames": 0, "pretrain_samples": 0},
        **{"steps": 0, "preset": "none", "normalise": task.normalise, "splits": list(splits), "window": 0},
    }
    stages = ("pretrain", "train", "eval")
    source = describe_source() | {"env_steps": {"pretrain": 0, "train": 0}, "frames_per_second": 0.0}
    source |= {f"{stage}_seconds": 0.0 for stage in stages}
    evaluation = [
        (split, task.env, level, repeat, "sampled", value, length)
        for split, played in splits.items()
        for level, repeat, value, length in played.columns
    ]
    crossed = [(str(sets[owner]), owner, *columns) for owner, played in others.items() for columns in played.columns]
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "source.json").write_text(json.dumps(source), encoding="utf-8")
    (path / "metrics.jsonl").write_text("", encoding="utf-8")
    _write_rows(path / "eval.csv", ("split", "env", "level", "episode", "actions", "return", "length"), evaluation)
    if crossed:
        _write_rows(path / "crossed.csv", ("level_set", "seed", "level", "episode", "return", "length"), crossed)
    (path / "done").write_text("", encoding="utf-8")


def _write_rows(path: Path, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


# what the report says -------------------------------------------------------------------------------------------------


def reported(experiment: Path) -> Iterator[tuple[str, Interval]]:
    """Report an experiment directory and give the intervals of its gaps, by quantity."""
    from benchmarks.reporting.report import write_report
    from benchmarks.reporting.runs import load
    from benchmarks.reporting.summary import summarise

    write_report(experiment, with_player=False)
    cells = {str(cell.config["repr"]): cell for cell in summarise(load(experiment)).cells}
    fixed, noisy = cells[FIXED], cells[NOISY]
    yield "gap of fixed", fixed.gaps["heldout"]
    yield "gap of noisy, net", noisy.gap_difference(fixed, "heldout")
    yield "gap of noisy", noisy.gaps["heldout"]
    if noisy.crossed_gap is not None:
        yield "crossed gap of noisy", noisy.crossed_gap


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Number of pairs whose interval covers 0, mean estimate and mean width, for each quantity."""
    from benchmarks.reporting import layout

    lines = []
    for quantity in dict.fromkeys(row["quantity"] for row in rows):
        mine = [row for row in rows if row["quantity"] == quantity]
        covered = sum(row["covers_zero"] for row in mine)
        width = np.mean([row["high"] - row["low"] for row in mine])
        estimate = np.mean([row["estimate"] for row in mine])
        lines.append([quantity, f"{covered} of {len(mine)}", layout.number(estimate, sign=True), layout.number(width)])
    return layout.aligned((["quantity", "covers 0", "mean estimate", "mean width"], lines))


if __name__ == "__main__":
    raise SystemExit(main())
