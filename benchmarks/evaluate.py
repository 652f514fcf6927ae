"""Evaluations added to finished runs: more episodes, other levels, likeliest actions.

    python -m benchmarks.evaluate runs/coinrun-quick --split heldout --episodes 1000
    python -m benchmarks.evaluate runs/coinrun-quick/runs/RUN --split train heldout --greedy
    python -m benchmarks.evaluate runs/coinrun-quick --split heldout --levels 5000000+200 --episodes 400

Episodes go to added.csv in each run's folder. No table of a report reads them: these keep to the final evaluation,
which was fixed before training. source.json says what was added, and a run that is trained on afterwards says so, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from benchmarks import cli
from benchmarks.cli import Device
from envs.level_sets import LevelRange
from envs.registry import UsageError

if TYPE_CHECKING:
    from agents.runs.added import Wanted
    from agents.runs.config import RunConfig
    from agents.runs.evaluate import Episodes
    from envs.spaces import Array

HEADER = ["run", "split", "levels", "actions", "episodes", "return", "standard error"]


@dataclass(frozen=True)
class Args:
    """Play finished runs again and add the episodes to them, beside their final evaluation."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folders of finished runs, DIR/runs/<id>, or experiment directories, of which all finished runs are played."""
    split: tuple[str, ...] = ()
    """Splits to play, validation among them. Default: those of the run."""
    levels: str = ""
    """Levels in place of the splits' own, as START+COUNT."""
    episodes: int | None = None
    """Episodes, or windows, of each split at least, every level equally often. Default: as many as the run's own."""
    greedy: bool = False
    """Take the likeliest actions, and play each level once; else actions are sampled."""
    device: Device = "auto"
    """Where policies are evaluated."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(evaluate, Args, argv)


def evaluate(args: Args) -> str:
    """Play every run and split, write as each ends, and return the table to print.

    Raises:
        UsageError: no finished run is there, or a value that no run could work with.
    """
    from agents.runs.added import add
    from agents.runs.added import evaluate as play
    from agents.runs.build import resolve_device
    from agents.runs.config import read_config
    from agents.runs.load import load_policy_of
    from benchmarks.reporting import layout

    if args.episodes is not None and args.episodes < 1:
        raise UsageError(f"--episodes {args.episodes}: give a whole number of at least 1")
    device, rows = resolve_device(args.device), []
    for run in finished_runs(args.runs):
        config = read_config(run)
        task, policy = load_policy_of(run, config)
        policy.to(device)
        for wanted in evaluations(args, config):
            episodes = play(config, task, policy, wanted)
            add(run, config, wanted, episodes)
            rows.append(table_row(run.name, wanted, episodes))
    return (
        layout.aligned((HEADER, rows), layout.WIDTH) + "\n\nadded to added.csv of each run; its tables stay as they are"
    )


def evaluations(args: Args, config: RunConfig) -> list[Wanted]:
    """Evaluations that the command asks of one run."""
    from agents.runs.added import Wanted

    levels = LevelRange.parse(args.levels) if args.levels else None
    episodes = args.episodes or config.eval_envs
    return [Wanted(split, episodes, levels, args.greedy) for split in dict.fromkeys(args.split or config.splits)]


def finished_runs(folders: Sequence[Path]) -> list[Path]:
    """Folders of finished runs, each once; a line for each of an experiment directory that is not finished.

    Raises:
        UsageError: a folder that is named holds none.
    """
    runs: dict[Path, None] = {}
    for folder in folders:
        if (folder / "config.json").exists():
            if not (folder / "done").exists():
                raise UsageError(f"{folder} is not finished; bring it to its end with the command that began it")
            runs[folder] = None
            continue
        known = sorted(path.parent for path in folder.glob("runs/*/config.json"))
        finished = [path for path in known if (path / "done").exists()]
        if not finished:
            raise UsageError(f"{folder} holds no finished run; name DIR/runs/<id>, or the --out of an experiment")
        for path in known:
            if path not in finished:
                print(f"not finished, left out: {path.name}")
        runs |= dict.fromkeys(finished)
    if not runs:
        raise UsageError("benchmarks.evaluate needs the folder of a finished run: python -m benchmarks.evaluate DIR")
    return list(runs)


def table_row(name: str, wanted: Wanted, episodes: Episodes) -> list[str]:
    """One evaluation in words: levels count equally, and the error is over levels, over episodes where one is known."""
    import numpy as np

    levels = np.unique(episodes.levels)
    units = np.array([episodes.returns[episodes.levels == level].mean() for level in levels])
    units = units if len(units) > 1 else episodes.returns
    actions = "greedy" if wanted.greedy else "sampled"
    chosen = str(wanted.levels) if wanted.levels else "its own"
    counts = f"{len(episodes.returns):,} on {len(levels):,} levels"
    return [name, wanted.split, chosen, actions, counts, f"{units.mean():.2f}", standard_error(units)]


def standard_error(values: Array) -> str:
    """Standard error of a mean, or a dash for one value."""
    return f"{values.std(ddof=1) / len(values) ** 0.5:.2f}" if len(values) > 1 else "–"


if __name__ == "__main__":
    raise SystemExit(main())
