"""Which bonus finds a reward that chance does not? Train with each, and see how soon it is found, and where they go.

    python -m benchmarks.explore --bonus rnd icm prediction_gain
    python -m benchmarks.explore --bonus rnd:1 icm+rnd:0.5 --suite noisy-tv --preset smoke
    python -m benchmarks.explore --bonus rnd --suite minigrid-ladder --tasks doorkey-8x8 --seeds 0 1 2

Each word is a row: a bonus, NAME or NAME:COEFFICIENT, or several joined by +; the agent without a bonus is added. The
same command again returns what is finished and continues what is not; more names extend the same tables.

A success is an episode with a return above 0. While it trains, an agent's success rate is that of its last 100
episodes; "frames to first reward" counts all environments' frames; half success is the first time that rate is 0.5.
Coverage: part of a level's cells an episode stood on; states: distinct states met in all. Both where the world tells.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks import cli
from benchmarks.experiment.arguments import REMOVED, ExperimentArgs
from benchmarks.experiment.execute import execute
from benchmarks.experiment.plan import Row, plan_runs
from benchmarks.experiment.presets import DEFAULT, PRESETS
from intrinsic import BONUSES

if TYPE_CHECKING:
    from benchmarks.reporting.cells import Cell
    from benchmarks.reporting.runs import Run

SUITES = ("minigrid-ladder", "breakout-sparse", "procgen-maze", "noisy-tv")
_ALGO: dict[str, dict[str, Any]] = {DEFAULT: {"n_steps": 128, "minibatches": 8}, "a2c": {}}
SIZES = {
    "smoke": replace(PRESETS["smoke"], train_levels=None),
    "quick": replace(
        PRESETS["quick"], train_levels=None, num_envs=32, eval_envs=128, checkpoint_frames=131_072, algo=_ALGO
    ),
    "standard": replace(
        PRESETS["standard"], steps=3_000_000, train_levels=None, num_envs=32, checkpoint_frames=262_144, algo=_ALGO
    ),
}
"""The transfer benchmark's sizes, on as many levels as the suite has, and with smaller rollouts: what is found once
must be learnt from soon."""
COLUMNS = (
    *("suite", "env", "repr", "mode", "algo", "bonus", "extrinsic", "seed", "steps", "success", "heldout_success"),
    *("first_reward", "half_success", "success_area", "coverage", "states", "tv", "frames_per_second", "commit"),
)
Values = dict[str, Any]


@dataclass(frozen=True)
class Args(ExperimentArgs):
    """Train an agent with each bonus on environments whose reward is hard to find; success, coverage, bonus maps."""

    bonus: tuple[str, ...] = ("rnd",)
    """Rows: NAME, NAME:COEFFICIENT, or several joined by +, as rnd:0.5+icm."""
    repr: str = "cnn"
    """The representation under all rows."""
    suite: Literal["minigrid-ladder", "breakout-sparse", "procgen-maze", "noisy-tv"] = "minigrid-ladder"
    """Tasks whose reward is hard to find."""
    baseline: bool = True
    """Add the row without a bonus."""
    preset: Literal["smoke", "quick", "standard"] = "quick"
    """Size: smoke (a minute a row), quick (1M frames, 1 seed), standard (3M frames, 3 seeds)."""


def main(argv: Sequence[str] | None = None) -> int:
    names = f"Bonuses: {', '.join(BONUSES)}\nSuites: {', '.join(SUITES)}"
    return cli.main(explore, Args, argv, listing=names, removed=REMOVED, interrupted=cli.RESUMABLE)


def explore(args: Args) -> int:
    """Plan every row, run what is not finished, write explore.csv, explore.png, the maps and the common report."""
    from benchmarks.reporting.report import describe_run

    words = [*args.bonus, *(["none"] if args.baseline else [])]
    bonuses = [tuple(name for name in word.split("+") if name != "none") for word in words]
    configs = plan_runs(args, [Row(args.repr, bonus) for bonus in dict.fromkeys(bonuses)], SIZES)
    out = args.out or Path("runs") / f"explore-{args.suite}-{args.preset}"
    return execute(args, configs, (args.repr,), out, describe_run, write)


def write(experiment: Path) -> str:
    """Rebuild everything that is drawn from the runs in DIR; returns the text to print."""
    from benchmarks.reporting import bonus_maps, layout, report
    from benchmarks.reporting.cells import summarise
    from benchmarks.reporting.runs import load

    runs = load(experiment)
    for run in runs:
        if run.state == "finished":
            bonus_maps.draw(run)
    summary = summarise(runs)
    found = [row(run) for run in summary.runs if run.state == "finished"]
    for name, data in (("explore.csv", as_csv(found).encode()), ("explore.png", picture(summary.cells))):
        if data:
            cli.write_file(experiment / name, data)
    report.write_report(experiment)
    parts = [layout.aligned(table(summary.cells), 160)] if summary.cells else ["no finished runs yet"]
    parts += [layout.wrapped(note) for note in notes(summary.cells)]
    return "\n\n".join(parts)


def row(run: Run) -> Values:
    """explore.csv: one row per run. Rates and coverage are parts of 1; nan where nothing was told or reached."""
    training = [(record["global_step"], record["train/success"]) for record in run.metrics if "train/success" in record]
    frames, success = (
        (np.array(column, dtype=float) for column in zip(*training, strict=True)) if training else ((), ())
    )
    last = {name: value for record in run.metrics for name, value in record.items()}
    found = {name: run.config.get(name, "") for name in COLUMNS}
    weight = 1.0 if run.config["bonus"] == "none" else run.config["algo_settings"].get("extrinsic", 1.0)
    half = np.flatnonzero(np.asarray(success) >= 0.5)
    return found | {
        "extrinsic": weight,
        "success": float((run.returns["train"] > 0).mean()),
        "heldout_success": float((run.returns["heldout"] > 0).mean()) if "heldout" in run.returns else math.nan,
        "first_reward": last.get("train/first_reward", math.nan),
        "half_success": float(frames[half[0]]) if len(half) else math.nan,
        "success_area": float(np.mean(success)) if len(success) else math.nan,
        "coverage": late_mean(run, "explore/coverage"),
        "states": last.get("explore/states", math.nan),
        "tv": late_mean(run, "explore/tv_seen"),
        "frames_per_second": run.source.get("frames_per_second", math.nan),
        "commit": run.source.get("commit", ""),
    }


def late_mean(run: Run, name: str) -> float:
    """Mean of a chart over the last tenth of training; nan where it has none."""
    start = 0.9 * run.config["steps"]
    found = [record[name] for record in run.metrics if name in record and record["global_step"] >= start]
    return float(np.mean(found)) if found else math.nan


def table(cells: Iterable[Cell]) -> tuple[list[str], list[list[str]]]:
    """A row for each method on each task: medians over seeds, and the range where there are several."""
    header = ["task", "method", "seeds", "success", "unseen levels", "first reward", "half success", "coverage"]
    header += ["states", "TV in sight", "frames/s"]
    lines = []
    for cell in sorted(cells, key=lambda cell: (cell.env, -np.median([row(run)["success"] for run in cell.runs]))):
        found = [row(run) for run in cell.runs]

        def shown(name: str, kind: str, found: list[Values] = found) -> str:
            values = [float(each[name]) for each in found]
            return ranged(values, kind)

        kinds = {"success": "%", "heldout_success": "%", "first_reward": "frames", "half_success": "frames"}
        kinds |= {"coverage": "%", "states": "count", "tv": "%", "frames_per_second": "count"}
        lines.append([cell.env, cell.label, str(len(found)), *(shown(name, kind) for name, kind in kinds.items())])
    kept = [place for place in range(len(header)) if any(line[place] != "–" for line in lines)]
    return [header[place] for place in kept], [[line[place] for place in kept] for line in lines]


def ranged(values: Sequence[float], kind: str) -> str:
    """'80% [75%, 91%]': median and range; what no seed reached is 'never', one that some did not counts as inf."""
    if all(map(math.isnan, values)):
        return "never" if kind == "frames" and len(values) else "–"
    filled = sorted(math.inf if math.isnan(value) else value for value in values)
    middle = float(np.median(filled))

    def text(value: float) -> str:
        if math.isinf(value):
            return "never"
        return f"{value:.0%}" if kind == "%" else f"{value:,.0f}"

    return text(middle) if len(filled) == 1 else f"{text(middle)} [{text(filled[0])}, {text(filled[-1])}]"


def notes(cells: Sequence[Cell]) -> list[str]:
    """How the numbers are to be read."""
    said = [
        "success = episodes of the final evaluation with a return above 0; first reward, half success = frames of all "
        "environments until the first reward and until half of the last 100 training episodes succeed; coverage, TV in "
        "inputs = means over the last tenth of training. Medians over seeds [lowest, highest]."
    ]
    if any(len(cell.runs) < 3 for cell in cells):
        said.append("Fewer than three seeds in some rows: a first look.")
    return said


def picture(cells: Sequence[Cell]) -> bytes:
    """explore.png: success, or coverage where nothing is ever paid, over frames; a panel for each task."""
    from benchmarks.reporting import figures
    from benchmarks.reporting.cells import is_baseline

    panels: dict[str, tuple[dict[str, figures.Curve], float]] = {}
    for cell in cells:
        name = "train/success" if cell.config["suite"] != "noisy-tv" else "explore/coverage"
        curves = [
            np.array([(record["global_step"], record[name]) for record in run.metrics if name in record], dtype=float)
            for run in cell.runs
        ]
        curves = [curve for curve in curves if len(curve)]
        if curves:
            steps = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
            values = np.array([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves])
            series, _ = panels.setdefault(cell.env, ({}, 0.5))
            series[cell.label] = figures.Curve(steps, np.median(values, 0), values.min(0), values.max(0))
    if not panels:
        return b""
    labels = list(dict.fromkeys(cell.label for cell in cells))
    baseline = next((cell.label for cell in cells if is_baseline(cell)), "")
    what = "coverage of an episode" if cells[0].config["suite"] == "noisy-tv" else "success of training episodes"
    return figures.learning(panels, figures.colours(labels, baseline), ylabel=what)


def as_csv(found: Iterable[Values]) -> str:
    """Numbers to four decimals."""
    ordered = sorted(found, key=lambda row: (row["env"], row["repr"], row["bonus"], row["seed"]))
    return cli.csv_text(ordered, COLUMNS)


if __name__ == "__main__":
    raise SystemExit(main())
