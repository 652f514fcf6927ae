"""Every method on four toys: few-label read-outs of a known factor beside those of random features.

    python -m benchmarks.toys
    python -m benchmarks.toys --repr vae atc --out runs/toys.csv

A method is pre-trained on frames of a toy (``envs.toys``) by held random actions. Then a ridge regression from its
features to the factor is fitted on a few labelled frames, and scored on frames of other levels:

    R2 = 1 - sum |y - y_hat|^2 / sum |y - mean(y)|^2

The features are centred and scaled as a frozen policy gets them. ``random`` is an untrained network of the same trunk
and seed, read in the same way. ``NAMED`` says beforehand on which toy a method must be better; there it is tried with
``--seeds`` seeds, on the other toys with ``--other-seeds``. A method "beats random" where the 95% interval of the
difference, paired by seed, lies above 0. Finished rows of ``--out`` are not made again.
"""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from benchmarks import cli
from envs.registry import UsageError
from envs.spaces import Array
from envs.toys import TOYS

if TYPE_CHECKING:
    from representations.base import Representation

CONTROL = "random"
NAMED = {
    "vae": "place",
    "beta_vae": "place",
    "darla": "place",
    "monet": "agent",
    "cpc": "flicker",
    "atc": "flicker",
    "simclr": "shape",
    "curl": "shape",
    "inverse": "agent",
    "time_contrastive": "flicker",
    "shuffle": "place",
    "arrow": "agent",
    "motion_mask": "place",
    "deep_cluster": "place",
    "nat": "place",
    "content_pose": "place",
    "conv_draw": "agent",
    "acn": "agent",
    "svg_lp": "agent",
    "bigan": "place",
    "rotation": "flicker",
    "context": "flicker",
    "jigsaw": "flicker",
    "colorization": "shape",
    "inpainting": "flicker",
    "mae": "flicker",
    "vicreg": "shape",
    "pca": "place",
    "ica": "place",
    "kmeans": "shape",
    "sparse_coding": "shape",
    "slow": "flicker",
    "ae": "place",
    "dae": "place",
    "vq_vae": "place",
}
"""Method -> the toy on which it must beat random features, written down before any was tried."""
SIZES = ("frames", "steps", "labels")
COLUMNS = ("toy", "repr", "seed", "r2", *SIZES, "commit")
BATCH = 256
"""Frames of an optimizer step at most, so that no method sees more than another because its batch is larger."""
SCORED = 1024
"""Frames that a read-out is scored on."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Args:
    """Try methods on the four toys against random features."""

    repr: tuple[str, ...] = ()
    """Methods; none: every one that can be fitted on frames alone."""
    toys: tuple[str, ...] = TOYS
    """Toys."""
    seeds: int = 10
    """Seeds on the toy that a method is named for."""
    other_seeds: int = 3
    """Seeds on the other toys."""
    frames: int = 4096
    """Frames to fit on, those of windows included."""
    steps: int = 300
    """Optimizer steps of a fit, all phases together."""
    labels: int = 128
    """Labelled frames of a read-out."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")] = Path("runs/toys.csv")
    """CSV with a row for each fit; a picture is written beside it."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(toys, Args, argv)


def toys(args: Args) -> str:
    """Fit what is missing, write CSV and picture; returns the table."""
    from agents.runs.progress import Bar
    from benchmarks.reporting import layout, png_figures

    for name in args.toys:
        if name not in TOYS:
            raise UsageError(f"--toys {name}: unknown toy; give some of {', '.join(TOYS)}")
    if min(args.seeds, args.other_seeds) < 2 or args.labels < 16:
        raise UsageError("give --seeds and --other-seeds of 2 or more, and --labels of 16 or more")
    methods = args.repr or fittable()
    fits = planned(methods, args)
    rows = [
        row
        for row in read(args.out)
        if all(int(row[key]) == getattr(args, key) for key in ("frames", "steps", "labels"))
    ]
    done = {(row["toy"], row["repr"], int(row["seed"])) for row in rows}
    bar = Bar("toys")
    bar.stage("fits", len(fits), len([fit for fit in fits if fit in done]))
    for number, (toy, method, seed) in enumerate(fits, 1):
        if (toy, method, seed) not in done:
            rows.append(fit_and_score(toy, method, seed, args))
            cli.write_csv(args.out, rows, COLUMNS)
        bar.update(number, f"{method} on {toy}: R2 {float(rows[-1]['r2']):.2f}")
    bar.close()
    names, scores = grid(rows, methods, args.toys)
    picture = png_figures.heatmap(names, list(args.toys), scores, "R2 of few-label read-outs, mean over seeds")
    cli.write_file(args.out.with_suffix(".png"), picture)
    return layout.aligned(table(rows, methods, args.toys), width=200)


def fittable() -> tuple[str, ...]:
    """Methods that are pre-trained on frames of any environment."""
    from representations import REPRESENTATIONS

    classes = {name: REPRESENTATIONS.resolve(name) for name in REPRESENTATIONS.places}
    return tuple(
        name
        for name, cls in classes.items()
        if cls.needs_pretraining and "frozen" in cls.modes and not cls.views and "pose" not in _keys(cls)
    )


def _keys(cls: Any) -> tuple[str, ...]:
    return cls.keys if isinstance(cls.keys, tuple) else ()


def planned(methods: Sequence[str], args: Args) -> list[tuple[str, str, int]]:
    """(Toy, method, seed) of every fit, and of the control of each."""
    fits = [
        (toy, method, seed)
        for method in methods
        for toy in args.toys
        for seed in range(args.seeds if NAMED.get(method) == toy else args.other_seeds)
    ]
    controls = dict.fromkeys((toy, CONTROL, seed) for toy, _, seed in fits)
    return [*controls, *fits]


def fit_and_score(toy: str, method: str, seed: int, args: Args) -> Row:
    """Row of one fit: the method is pre-trained on a toy and read out."""
    import torch

    from agents.runs.source import commit
    from benchmarks.reporting import read_outs
    from envs.level_sets import HELDOUT, training_levels
    from envs.rng_streams import stream_seed
    from envs.spaces import EnvSpec
    from envs.tasks import World
    from envs.wrappers.sb3 import Sb3VecEnv
    from representations import REPRESENTATIONS

    levels = training_levels(f"toy-{toy}", seed, 100_000)
    world = World("toys", {"toy": toy, **levels.options})
    env = Sb3VecEnv(world.make(1, 0))
    torch.manual_seed(stream_seed(seed, "weights") % 2**31)
    cls = REPRESENTATIONS.resolve(method)
    representation = cls(EnvSpec.of(env), smaller(cls.Config()))
    env.close()
    if representation.needs_pretraining:
        pretrain(representation, world, seed, args)
    representation.eval()
    unseen = World("toys", {"toy": toy, **HELDOUT.options})
    labelled = read_outs.features_and_factors(world, representation, args.labels, stream_seed(seed, "labelled"))
    scored = read_outs.features_and_factors(unseen, representation, SCORED, stream_seed(seed, "scored"))
    (factor,) = labelled[1]
    predict = read_outs.fit(labelled[0], labelled[1][factor], read_outs.FEW_LABELS)
    score = read_outs.r_squared(scored[1][factor], predict(scored[0]))
    sizes = {size: getattr(args, size) for size in SIZES}
    return {"toy": toy, "repr": method, "seed": seed, "r2": score, **sizes, "commit": commit()}


def smaller(config: Any) -> Any:
    """``config`` with batches of ``BATCH`` frames at most."""
    if getattr(config, "batch", 0) <= BATCH:
        return config
    return dataclasses.replace(config, batch=BATCH)


def pretrain(representation: Representation, world: Any, seed: int, args: Args) -> None:
    """Fit in place on frames of ``world``."""
    import torch

    from envs.rng_streams import stream_seed
    from representations.collect import collect
    from representations.pretrain import Pretrainer

    frames = collect((world,), args.frames, stream_seed(seed, "frames"), window=representation.window)
    samples = args.steps * type(representation).frames_per_step(representation.config)
    draws = torch.Generator().manual_seed(stream_seed(seed, "pretraining"))
    trainer = Pretrainer(representation, frames, samples, generator=draws)
    while not trainer.done:
        trainer.run(trainer.total)


def read(path: Path) -> list[Row]:
    """Rows of an earlier call; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scores_of(rows: Sequence[Row], toy: str, method: str) -> dict[int, float]:
    """Seed -> R2."""
    return {int(row["seed"]): float(row["r2"]) for row in rows if (row["toy"], row["repr"]) == (toy, method)}


def grid(rows: Sequence[Row], methods: Sequence[str], toys: Sequence[str]) -> tuple[list[str], Array]:
    """Methods, the control first, and their mean R2 (methods, toys)."""
    names = [CONTROL, *(name for name in methods if name != CONTROL)]
    means = [[np.mean(list(scores_of(rows, toy, name).values()) or [math.nan]) for toy in toys] for name in names]
    return names, np.array(means)


def difference(rows: Sequence[Row], toy: str, method: str) -> tuple[float, float, float] | None:
    """Mean of R2 minus the control's, paired by seed, and its 95% t interval; None with fewer than two seeds."""
    from benchmarks.reporting.student_t import mean_interval

    control, own = scores_of(rows, toy, CONTROL), scores_of(rows, toy, method)
    gains = [own[seed] - control[seed] for seed in own if seed in control]
    return mean_interval(gains) if len(gains) > 1 else None


def table(rows: Sequence[Row], methods: Sequence[str], toys: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Mean R2 of each method on each toy, and on its named toy what it gains over random features."""
    names, means = grid(rows, methods, toys)
    lines = []
    for name, values in zip(names, means, strict=True):
        toy = NAMED.get(name, "")
        gain = difference(rows, toy, name) if toy in toys else None
        said = "" if gain is None else f"{gain[0]:+.2f} [{gain[1]:+.2f}, {gain[2]:+.2f}]"
        verdict = "" if gain is None else ("yes" if gain[1] > 0 else "no")
        cells = ["–" if math.isnan(value) else f"{value:.2f}" for value in values]
        lines.append([name, *cells, toy, said, verdict])
    return ["R2", *toys, "named for", "minus random there", "beats random"], lines


if __name__ == "__main__":
    raise SystemExit(main())
