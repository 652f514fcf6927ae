"""Bonuses compared by the rewards that they find and chance does not, by how soon, and by the states they reach.

    python -m benchmarks.explore --bonus rnd icm prediction_gain
    python -m benchmarks.explore --bonus rnd:1 icm+rnd:0.5 --suite noisy-tv --preset smoke
    python -m benchmarks.explore --bonus rnd --suite minigrid-ladder --tasks doorkey-8x8 --seeds 0 1 2

Each word is a row: a bonus, NAME or NAME:COEFFICIENT, or several joined by +; the agent without a bonus is added, and
where bonuses are for first visits only (``bonus_once``) also ``constant``: what first visits alone achieve. The same
command again returns what is finished and continues what is not; more names extend the same tables.

A success is an episode with a return above 0. While it trains, an agent's success rate is that of the newest episode of
each environment; its area is the mean of that rate over training, from which the gain over ``constant`` is taken.
"First reward" counts the frames of all environments; half success is the first time that rate is 0.5. What an
environment tells of itself (``metric_infos``, as coverage of a level and distinct states) gets a column each.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks import cli
from benchmarks.experiment.arguments import REMOVED, ExperimentArgs, with_env
from benchmarks.experiment.execute import execute
from benchmarks.experiment.plan import CONSTANT, Row, counts_first_visits, plan_runs
from benchmarks.experiment.presets import DEFAULT, PRESETS
from envs.spaces import Array
from envs.suites import label
from intrinsic import BONUSES

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from benchmarks.reporting.cells import Cell
    from benchmarks.reporting.episodes import Returns
    from benchmarks.reporting.runs import Run
    from benchmarks.reporting.stats import Interval

_ALGO: dict[str, dict[str, Any]] = {DEFAULT: {"n_steps": 128, "minibatches": 8}, "a2c": {}}
_SHARED: dict[str, Any] = {"train_levels": None, "kept_policies": 0}
SIZES = {
    "smoke": replace(PRESETS["smoke"], **_SHARED),
    "quick": replace(PRESETS["quick"], **_SHARED, num_envs=32, eval_envs=128, checkpoint_frames=131_072, algo=_ALGO),
    "standard": replace(
        PRESETS["standard"], **_SHARED, steps=3_000_000, num_envs=32, checkpoint_frames=262_144, algo=_ALGO
    ),
}
"""The presets of the transfer benchmark, on as many levels as the suite has, and with smaller rollouts: a reward that
is found once must be learnt from soon. No policy is kept on the way, as nothing is compared at equal return."""
COLUMNS = (
    *("suite", "env", "repr", "mode", "algo", "memory", "bonus", "extrinsic", "train_levels", "level_set", "seed"),
    *("steps", "train_env_steps"),
    *("success", "heldout_success"),
    *("first_reward", "half_success", "success_area"),
)
LAST_COLUMNS = ("frames_per_second", "commit", "continued")
"""Columns after those of the environments' own metrics."""
CONTROL = CONSTANT
"""Bonus that the others are compared with."""
ENV_METRIC = "explore/"
"""Beginning of the chart names of an environment's own metrics."""
Values = dict[str, Any]


@dataclass(frozen=True)
class Args(ExperimentArgs):
    """Train an agent with each bonus on environments whose reward is hard to find; success, coverage, bonus maps."""

    bonus: tuple[str, ...] = ("rnd",)
    """Rows: NAME, NAME:COEFFICIENT, or several joined by +, as rnd:0.5+icm."""
    repr: str = "cnn"
    """The representation under all rows."""
    suite: str = "minigrid-ladder"
    """Tasks whose reward is hard to find: minigrid-ladder, breakout-sparse, procgen-maze, noisy-tv; any other suite
    works, too, your own as package.module:NAME."""
    baseline: bool = True
    """Add the row without a bonus, and the constant bonus where first visits only are rewarded."""
    preset: Literal["smoke", "quick", "standard"] = "quick"
    """Size: smoke (a minute a row), quick (1M frames, 1 seed), standard (3M frames, 3 seeds)."""


def main(argv: Sequence[str] | None = None) -> int:
    names = f"Bonuses: {', '.join(BONUSES)}"
    return cli.main(explore, Args, argv, listing=names, removed=REMOVED, interrupted=cli.RESUMABLE)


def explore(args: Args) -> int:
    """Plan every row, run what is not finished, write explore.csv, explore.png, the maps and the common report."""
    from benchmarks.reporting.report import describe_run

    args = with_env(args)
    out = args.out or Path("runs") / f"explore-{label(args.suite)}-{args.preset}"
    return execute(args, plan(args), (args.repr,), out, describe_run, write)


def plan(args: Args) -> list[RunConfig]:
    """Every run of this command; UsageError for a value none could work with."""
    words = [*args.bonus, *(["none"] if args.baseline else [])]
    bonuses = [tuple(name for name in word.split("+") if name != "none") for word in words]

    def planned() -> list[RunConfig]:
        rows = [Row(args.repr, bonus, init_from=args.init_from) for bonus in dict.fromkeys(bonuses)]
        return plan_runs(args, rows, SIZES)

    configs = planned()
    if args.baseline and counts_first_visits(configs):
        bonuses.append((CONTROL,))
        configs = planned()
    return configs


def write(experiment: Path) -> str:
    """Rebuild everything that is made from the runs in DIR; returns the text to print."""
    from benchmarks.reporting import bonus_maps, layout, report
    from benchmarks.reporting.runs import load
    from benchmarks.reporting.summary import summarise

    runs = load(experiment)
    for run in runs:
        if run.state == "finished":
            bonus_maps.draw(run)
    summary = summarise(runs)
    rows = [row(run) for run in summary.runs if run.state == "finished"]
    for name, data in (("explore.csv", as_csv(rows).encode()), ("explore.png", picture(summary.cells))):
        if data:
            cli.write_file(experiment / name, data)
    report.write_report(experiment)
    parts = [layout.aligned(table(summary.cells), 160)] if summary.cells else ["no finished runs yet"]
    parts += [layout.wrapped(note) for note in notes(summary.cells)]
    return "\n\n".join(parts)


def row(run: Run) -> Values:
    """One row of explore.csv. Rates are fractions; nan where nothing was recorded or reached."""
    frames, success = run.series("train/success").T
    last = {name: value for record in run.metrics for name, value in record.items()}
    half = np.flatnonzero(success >= 0.5)
    return {
        **{name: run.config.get(name, "") for name in COLUMNS},
        "train_env_steps": run.env_steps.get("train", ""),
        "memory": run.config["algo_settings"].get("memory", "none"),
        "extrinsic": 1.0 if run.config["bonus"] == "none" else run.config["algo_settings"].get("extrinsic", 1.0),
        "success": success_rate(run.returns["train"]),
        "heldout_success": success_rate(run.returns["heldout"]) if "heldout" in run.returns else math.nan,
        "first_reward": last.get("train/first_reward", math.nan),
        "half_success": float(frames[half[0]]) if len(half) else math.nan,
        "success_area": success_area(frames, success, run.config["steps"]),
        **{name: late_value(run, ENV_METRIC + name) for name in env_metrics([run])},
        "frames_per_second": run.source.get("frames_per_second", math.nan),
        "commit": run.source.get("commit", ""),
        "continued": run.continued,
    }


def success_rate(returns: Returns) -> float:
    """Fraction of episodes with a return above 0, every level with the same weight."""
    return replace(returns, values=(returns.values > 0).astype(np.float64)).mean()


def success_area(frames: Array, success: Array, steps: int) -> float:
    """Mean success rate over frames 0 to ``steps``: the area under the points (P,), (P,); nan without points.

    The curve begins at 0, so that frames before the first episode ended count as failures, and records that lie close
    together weigh no more than the frames between them.
    """
    from benchmarks.reporting.learning_curves import area

    return area(np.append(0.0, frames), np.append(0.0, success), steps) if len(frames) else math.nan


def env_metrics(runs: Iterable[Run]) -> list[str]:
    """Names of the metrics that the environments of these runs told of themselves."""
    names = {name for run in runs for record in run.metrics for name in record if name.startswith(ENV_METRIC)}
    return sorted(name.removeprefix(ENV_METRIC) for name in names)


def is_count(values: Iterable[float]) -> bool:
    """True for a metric that counts, False for a rate in 0..1."""
    return any(value > 1 for value in values)


def late_value(run: Run, name: str) -> float:
    """Last value of a count, mean of a rate over the last tenth of training; nan without a value there."""
    values = [record[name] for record in run.metrics if name in record]
    if is_count(values):
        return float(values[-1])
    start = 0.9 * run.config["steps"]
    late = [record[name] for record in run.metrics if name in record and record["global_step"] >= start]
    return float(np.mean(late)) if late else math.nan


def table(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """A row for each method on each task: medians over seeds, and the range where there are several."""
    from benchmarks.reporting import layout
    from benchmarks.reporting.several_tasks import holm

    rows = [[row(run) for run in cell.runs] for cell in cells]
    own = env_metrics(run for cell in cells for run in cell.runs)
    kinds = {"success": "%", "heldout_success": "%", "first_reward": "frames", "half_success": "frames"}
    for name in own:
        values = [values.get(name, math.nan) for group in rows for values in group]
        kinds[name] = "count" if is_count(values) else "%"
    kinds["frames_per_second"] = "count"
    header = ["task", "method", "seeds", "success", "unseen levels", "first reward", "half success"]
    header += [*(name.replace("_", " ") for name in own), "frames/s", f"area minus {CONTROL} [95%]", "p", "p (Holm)"]
    gains = [gain_over_control(cell, cells) for cell in cells]
    p_values = [gain.p if gain else math.nan for gain in gains]
    adjusted = holm(p_values)
    lines = []
    medians = [float(np.median([values["success"] for values in group])) for group in rows]
    for index in sorted(range(len(cells)), key=lambda index: (cells[index].env, -medians[index])):
        columns = {name: [float(values.get(name, math.nan)) for values in rows[index]] for name in kinds}
        texts = [ranged(columns[name], kind) for name, kind in kinds.items()]
        tests = [layout.ABSENT if math.isnan(p) else f"{p:.3f}" for p in (p_values[index], adjusted[index])]
        line = [cells[index].env, cells[index].name, str(len(rows[index])), *texts]
        lines.append([*line, layout.interval(gains[index], sign=True), *tests])
    kept = [index for index in range(len(header)) if any(line[index] != "–" for line in lines)]
    return [header[index] for index in kept], [[line[index] for index in kept] for line in lines]


def gain_over_control(cell: Cell, cells: Sequence[Cell]) -> Interval | None:
    """Area under the success curve minus that of the constant bonus on the same task; None without such a row.

    Of several coefficients of the constant bonus the one with the largest area counts.
    """
    from benchmarks.reporting.cells import seed_difference
    from benchmarks.reporting.labels import agent_of

    def setting(other: Cell) -> tuple[Any, ...]:
        kind = (other.level_set_kind, other.config["repr"], other.config["mode"], agent_of(other.config))
        return (*other.task, *kind, other.steps)

    controls = [other for other in cells if is_control(other) and setting(other) == setting(cell)]
    if not controls or is_control(cell):
        return None
    areas, *control_areas = ([row(run)["success_area"] for run in one.runs] for one in (cell, *controls))
    if not np.isfinite([*areas, *(area for own in control_areas for area in own)]).all():
        return None
    best = int(np.argmax([np.mean(own) for own in control_areas]))
    return seed_difference(cell, areas, controls[best], control_areas[best])


def is_control(cell: Cell) -> bool:
    """True for the constant bonus alone."""
    return str(cell.config["bonus"]).partition(":")[0] == CONTROL and " " not in cell.config["bonus"]


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
    """Notes on how to read the numbers."""
    lines = [
        "success = episodes of the final evaluation with a return above 0; first reward, half success = frames of all "
        "environments until the first reward and until half of the environments' newest episodes succeed, counted from "
        "when each has finished one; rates of the "
        "environment's own = means over the last tenth of training. Medians over seeds [lowest, highest].",
        f"Primary outcome: area under the success curve minus that of '{CONTROL}', a bonus of 1 that measures nothing: "
        "what a bonus adds to first visits; of several coefficients the best one's. The interval (t) resamples seeds, "
        "paired by training set; p (Holm) is corrected for all rows of the table that have one.",
    ]
    if any(len(cell.runs) < 3 for cell in cells):
        lines.append("Fewer than three seeds in some rows: preliminary.")
    return lines


def picture(cells: Sequence[Cell]) -> bytes:
    """explore.png: the charted metric over frames; a panel for each task."""
    from benchmarks.reporting import png_figures
    from benchmarks.reporting.cells import is_baseline
    from benchmarks.reporting.figure_styles import Curve, styles

    name, ylabel = charted_metric([run for cell in cells for run in cell.runs])
    panels: dict[str, tuple[dict[str, Curve], float]] = {}
    for cell in cells:
        curves = [
            np.array([(record["global_step"], record[name]) for record in run.metrics if name in record], dtype=float)
            for run in cell.runs
        ]
        curves = [curve for curve in curves if len(curve)]
        if curves:
            steps = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
            values = np.array([np.interp(steps, curve[:, 0], curve[:, 1]) for curve in curves])
            series, _ = panels.setdefault(cell.env, ({}, 0.5))
            series[cell.label] = Curve(steps, np.median(values, 0), values.min(0), values.max(0))
    if not panels:
        return b""
    labels = list(dict.fromkeys(cell.label for cell in cells))
    baselines = [cell.label for cell in cells if is_baseline(cell)]
    return png_figures.learning(panels, styles(labels, baselines), ylabel=ylabel)


def charted_metric(runs: Sequence[Run]) -> tuple[str, str]:
    """Success of training episodes; where no run had any, the environments' first rate. With a label for its axis."""
    records = [record for run in runs for record in run.metrics]
    if not any(record.get("train/success") for record in records):
        for name in env_metrics(runs):
            if not is_count(record.get(ENV_METRIC + name, 0) for record in records):
                return ENV_METRIC + name, name.replace("_", " ")
    return "train/success", "success of training episodes"


def as_csv(rows: Sequence[Values]) -> str:
    """explore.csv: numbers to four decimals; an environment's own metrics before the last columns."""
    own = sorted({name for values in rows for name in values} - {*COLUMNS, *LAST_COLUMNS})
    ordered = sorted(rows, key=lambda values: (values["env"], values["repr"], values["bonus"], values["seed"]))
    return cli.csv_text(ordered, (*COLUMNS, *own, *LAST_COLUMNS))


if __name__ == "__main__":
    raise SystemExit(main())
