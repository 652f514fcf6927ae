"""GQN's predictions of held-out rooms from cameras it was not shown, compared with simple rivals.

    python -m benchmarks.views
    python -m benchmarks.views --camera free --samples 1000000

Each seed trains on rooms of its own; the curve during training is of validation rooms, the final scores are of
held-out ones (``envs.level_sets``): mean squared error of a pixel in [0, 1] between the true view and the one rendered
with the prior's mean, after 1, 2, ... context views, beside

    copy      the context view whose camera is nearest to the query's
    mean      the mean of all training images
    shuffled  the same prediction, with each context view's pose taken from another scene

and two measures of uncertainty: the standard deviation of a pixel over samples, and the nats by which the true view
surprises the model (KL of posterior and prior). Writes DIR/views.csv, a chart, and per seed pictures of context, truth
and prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from benchmarks import cli
from benchmarks.experiment.offline import Row, fit, write
from envs.level_sets import HELDOUT, LARGEST, VALIDATION, LevelRange, training_levels
from envs.registry import UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from representations.gqn import Gqn

TASK = "views"
"""Name whose drawn sets are the training rooms."""
SCORED = 512
"""Held-out rooms of the final score; a quarter as many validation rooms in the scores during training."""
DRAWN = 8
"""Samples whose spread is the uncertainty."""
SHOWN = 8
"""Held-out rooms in a picture."""


@dataclass(frozen=True)
class Args:
    """Train GQN on rooms with one to three objects; predict unseen views of held-out rooms."""

    seeds: tuple[int, ...] = (0,)
    """One fit each."""
    camera: Literal["ring", "free", "trajectory"] = "ring"
    """Placement of the cameras."""
    samples: int = 600_000
    """Views drawn in training, context and query."""
    scenes: int = 10_000
    """Distinct training rooms of each seed."""
    set: tuple[str, ...] = ()
    """Settings of the method: --set gqn.steps=12 gqn.channels=128."""
    out: cli.OutputFolder = Path("runs/views")
    """Directory of the results; the same command continues there."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(views, Args, argv, interrupted=cli.RESUMABLE)


def views(args: Args) -> str:
    """Fit and score every seed; returns the table."""
    import torch

    from agents.runs.source import commit
    from benchmarks.experiment.overrides import apply_settings, own_settings
    from envs.rng_streams import stream_seed
    from representations import REPRESENTATIONS

    cls = REPRESENTATIONS.resolve("gqn")
    settings = apply_settings("gqn", cls.Config, {}, own_settings(args.set, {"gqn"}).get("gqn", {}))
    config = cls.Config(**settings)
    check(args, config.batch * config.views)
    rows: list[Row] = []

    def record_first(levels: LevelRange, count: int) -> dict[str, Tensor]:
        return record(np.array(levels.first(count)), config.views, args.camera)

    validation, unseen = record_first(VALIDATION, SCORED // 4), record_first(HELDOUT, SCORED)
    for seed in args.seeds:
        folder = args.out / f"gqn-{args.camera}-s{seed}"
        levels = training_levels(TASK, seed, args.scenes)
        rooms = record_first(levels, args.scenes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(seed, "init", "representation"))
            model = cls(spec(), config)
        measured = fit(
            folder,
            model,
            lambda rooms=rooms: rooms,  # type: ignore[misc]
            args.samples,
            seed,
            lambda model: {"mse_unseen": prediction_errors(model, validation, config.views - 1)["gqn"]},  # type: ignore[arg-type]
            settings={**settings, "scenes": str(levels)},
        )
        seconds = round(measured[-1].get("seconds", 0))
        mean = rooms["image"].float().mean((0, 1)) / 255
        for count in range(1, config.views):
            setting = {"seed": seed, "camera": args.camera, "level_set": str(levels), "context": count}
            setting["samples"] = measured[-1]["samples"]
            errors = prediction_errors(model, unseen, count, mean)
            rows.append({**setting, **errors, "seconds": seconds, "commit": commit()})
        write(folder, "curve", measured, {"predictions": predictions(model, unseen)})
    write(args.out, "views", rows, {})
    chart(args.out, rows)
    return table(rows)


def check(args: Args, least: int) -> None:
    """Raise UsageError for numbers no fit could work with; ``least`` views are one optimizer step."""
    cli.check_seeds(args.seeds)
    if args.samples < least:
        raise UsageError(f"--samples {args.samples}: one optimizer step draws {least}; give at least that")
    if not 1 <= args.scenes <= LARGEST:
        raise UsageError(f"--scenes {args.scenes}: give 1 to {LARGEST}, the rooms of one seed")


def spec() -> Any:
    """``EnvSpec`` of a room's view and its camera; nothing acts."""
    import gymnasium as gym

    from envs.spaces import EnvSpec

    image, pose = gym.spaces.Box(0, 255, (3, 64, 64), np.uint8), gym.spaces.Box(-10, 10, (7,), np.float32)
    return EnvSpec(gym.spaces.Dict({"image": image, "pose": pose}))


def record(seeds: np.ndarray, views: int, camera: str) -> dict[str, Tensor]:
    """Rooms as windows for pre-training: image (S, V, 3, 64, 64) uint8, pose (S, V, 7), first (S, V)."""
    import torch

    from envs.rooms.scenes import scenes
    from representations.collect import FIRST

    images, poses = [], []
    for start in range(0, len(seeds), 256):
        batch = scenes(seeds[start : start + 256], views, camera, depth=False, masks=False)
        images.append(batch.images)
        poses.append(batch.poses)
    image = torch.from_numpy(np.concatenate(images)).movedim(-1, -3)
    pose = torch.from_numpy(np.concatenate(poses))
    return {"image": image, "pose": pose, FIRST: torch.zeros(image.shape[:2], dtype=torch.bool)}


def prediction_errors(model: Gqn, rooms: dict[str, Tensor], count: int, mean: Tensor | None = None) -> dict[str, float]:
    """Errors of predicting the last view of each room from its first ``count``; with ``mean``, of all rivals too.

    Returns:
        mean squared errors of a pixel; ``spread``, the standard deviation over samples; ``surprise`` in nats a scene.
    """
    import torch

    from agents.runs.build import resolve_precision

    generator = torch.Generator().manual_seed(0)
    bfloat16 = resolve_precision("auto") == "bfloat16"
    sums: dict[str, float] = {}
    total = len(rooms["image"])
    for start in range(0, total, 64):
        image, pose = (rooms[key][start : start + 64].transpose(0, 1) for key in ("image", "pose"))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            scores = _scores(model, image, pose, count, mean, generator)
        for name, value in scores.items():
            sums[name] = sums.get(name, 0.0) + float(value.sum())
    return {name: value / total for name, value in sums.items()}


def _scores(
    model: Gqn, image: Tensor, pose: Tensor, count: int, mean: Tensor | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """Errors and uncertainties of each scene (B,)."""
    import torch

    from representations.nets.images import pixels

    truth, query = pixels(image[-1]).float(), pose[-1]
    context, context_pose = image[:count], pose[:count]
    code = model.codes(context, context_pose).sum(0)
    guesses = {"gqn": model.renderer(code, query, None)[0]}
    if mean is not None:
        nearest = (context_pose[..., :3] - query[None, :, :3]).square().sum(-1).argmin(0)
        copied = context[nearest, torch.arange(len(nearest))]
        shuffled = model.predict(context, context_pose.roll(1, dims=1), query)
        guesses |= {"copy": pixels(copied), "mean": mean.expand_as(truth), "shuffled": shuffled}
    scores = {name: (guess.float().clamp(0, 1) - truth).square().mean((1, 2, 3)) for name, guess in guesses.items()}
    if mean is not None:
        drawn = torch.stack([model.renderer(code, query, generator)[0] for _ in range(DRAWN)])
        scores["spread"] = drawn.var(0).mean((1, 2, 3)).sqrt()
        scores["surprise"] = model.renderer(code, query, generator, pixels(image[-1]))[1]
    return scores


def predictions(model: Gqn, rooms: dict[str, Tensor]) -> np.ndarray:
    """Pictures: a column per room; down, three context views, the true view, predictions from 1, 3 and all views."""
    from representations.nets.images import pixels, tile

    image, pose = (rooms[key][:SHOWN].transpose(0, 1) for key in ("image", "pose"))
    rows = [pixels(view).float() for view in (*image[:3], image[-1])]
    for count in sorted({1, min(3, len(image) - 1), len(image) - 1}):
        rows.append(model.predict(image[:count], pose[:count], pose[-1]))
    return tile(rows, 3)


def chart(out: Path, rows: Sequence[Row]) -> None:
    """DIR/views.png: errors and uncertainty against the number of context views, mean over seeds."""
    import matplotlib.pyplot as plt

    from agents.checkpoint import write_aside

    counts = sorted({row["context"] for row in rows})
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), constrained_layout=True)
    for name in ("gqn", "copy", "mean", "shuffled"):
        left.plot(counts, [np.mean([r[name] for r in rows if r["context"] == c]) for c in counts], "o-", label=name)
    right.plot(counts, [np.mean([r["spread"] for r in rows if r["context"] == c]) for c in counts], "o-")
    left.set(xlabel="context views", ylabel="mean squared error", xticks=counts, ylim=(0, None))
    right.set(xlabel="context views", ylabel="std of a pixel over samples", xticks=counts, ylim=(0, None))
    left.legend(frameon=False)
    write_aside(out / "views.png", lambda path: figure.savefig(path, format="png", dpi=120))
    plt.close(figure)


def table(rows: Sequence[Row]) -> str:
    """Errors and uncertainty of each seed and number of context views."""
    from benchmarks.reporting.layout import aligned

    names = ("gqn", "copy", "mean", "shuffled", "spread")
    lines = [
        [str(row["seed"]), str(row["context"]), *(f"{row[name]:.4f}" for name in names), f"{row['surprise']:.0f}"]
        for row in rows
    ]
    return aligned((["seed", "context", *names, "surprise"], lines), width=120)


if __name__ == "__main__":
    raise SystemExit(main())
