"""MONet on scenes of several sprites, its masks scored against the sprites' exact ones.

    python -m benchmarks.segmentation
    python -m benchmarks.segmentation --size 64 --seeds 0 --samples 100000

Each seed trains on scenes of its own; the curve during training is of validation scenes, the final score of held-out
ones (``envs.level_sets``). Scored are scenes of two or more sprites (with one, the score is 1 or 0 and carries
nothing). Foreground ARI: the adjusted Rand index between the true sprites and the slot of the largest
mask, over the pixels of sprites only; 1 is perfect, 0 is chance, and a net with everything in one slot scores 0.
Writes DIR/segmentation.csv and, per seed, pictures of masks and of every slot's strongest latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import cli
from benchmarks.experiment.offline import Row, fit, write
from envs.level_sets import HELDOUT, VALIDATION, LevelRange, training_levels
from envs.registry import UsageError

if TYPE_CHECKING:
    from representations.monet import Monet

TASK = "segmentation"
"""Name whose drawn sets are the training scenes."""
SCORED = 1024
"""Held-out scenes of the final score; a quarter as many validation scenes in the scores during training."""
SHOWN = 10
"""Held-out scenes in a picture."""


@dataclass(frozen=True)
class Args:
    """Train MONet on scenes of one to three sprites; foreground ARI on held-out scenes with two or more."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """One fit each."""
    size: int = 32
    """Side of the images, pixels."""
    samples: int = 500_000
    """Images drawn in training."""
    scenes: int = 32_768
    """Distinct training scenes of each seed."""
    sprites: tuple[int, int] = (1, 3)
    """Fewest and most sprites of a scene."""
    set: tuple[str, ...] = ()
    """Settings of the method: --set monet.slots=6."""
    out: cli.OutputFolder = Path("runs/segmentation")
    """Directory of the results; the same command continues there."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(segmentation, Args, argv, interrupted=cli.RESUMABLE)


def segmentation(args: Args) -> str:
    """Fit and score every seed; returns the table."""
    from agents.runs.source import commit
    from benchmarks.experiment.overrides import apply_settings, own_settings
    from envs.sprites.multi_sprites import MultiSprites
    from representations import REPRESENTATIONS

    if args.samples < 160 or args.scenes < 16:
        raise UsageError(f"--samples {args.samples} --scenes {args.scenes}: give at least 160 and 16")
    if not args.seeds or args.sprites[1] < 2:
        raise UsageError("give --seeds at least one number, and --sprites at least 2 as the most: one cannot be scored")
    dataset = MultiSprites(counts=args.sprites, size=args.size)
    cls = REPRESENTATIONS.resolve("monet")
    defaults = {"slots": args.sprites[1] + 1, "latents": 8}
    settings = apply_settings("monet", cls.Config, defaults, own_settings(args.set, {"monet"}).get("monet", {}))
    rows: list[Row] = []
    for seed in args.seeds:
        levels = training_levels(TASK, seed, args.scenes)
        settings_of_row: Row = {"seed": seed, "size": args.size, "sprites": "-".join(map(str, args.sprites))}
        settings_of_row["level_set"] = str(levels)
        folder = args.out / f"monet-{args.size}-s{seed}"
        model = build(cls, settings, args.size, seed)
        scored = fit(
            folder,
            model,
            lambda levels=levels: {"image": images(dataset, np.array(levels.first(levels.count)))},  # type: ignore[misc]
            args.samples,
            seed,
            lambda model: {"ari_fg": score(model, dataset, SCORED // 4, VALIDATION)},  # type: ignore[arg-type]
            settings={**settings, "scenes": str(levels), "sprites": args.sprites},
        )
        final = {"samples": scored[-1]["samples"], "ari_fg": score(model, dataset, SCORED, HELDOUT)}
        curve = " ".join(f"{row['ari_fg']:.2f}" for row in scored)
        rows.append(
            {
                **settings_of_row,
                **final,
                "curve": curve,
                "seconds": round(scored[-1].get("seconds", 0)),
                "commit": commit(),
            }
        )
        write(folder, "curve", scored, model.pictures(*picture_inputs(dataset)))
    write(args.out, "segmentation", rows, {})
    return table(rows)


def build(cls: Any, settings: dict[str, Any], size: int, seed: int) -> Monet:
    """A new model for images of ``size`` pixels, its weights drawn from the seed's own stream."""
    import gymnasium as gym
    import torch

    from envs.rng_streams import stream_seed
    from envs.spaces import EnvSpec

    space = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (3, size, size), np.uint8)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "init", "representation"))
        return cls(EnvSpec(space), cls.Config(**settings))


def images(dataset: Any, ids: np.ndarray) -> Any:
    """Scenes as (n, 3, S, S) uint8."""
    import torch

    batches = [dataset.scenes(ids[start : start + 1024]).image for start in range(0, len(ids), 1024)]
    return torch.from_numpy(np.concatenate(batches)).permute(0, 3, 1, 2)


def scored_scenes(dataset: Any, count: int, levels: LevelRange) -> Any:
    """The first ``count`` ids of ``levels`` whose scenes have two or more sprites."""
    ids = np.array(levels.first(4 * count))
    several = ids[dataset.scenes(ids).n >= 2]
    if not len(several):
        raise UsageError("scenes with fewer than two sprites cannot be scored; give --sprites with at least 2")
    return several[:count]


def score(model: Monet, dataset: Any, count: int, levels: LevelRange) -> float:
    """Mean foreground ARI over ``count`` scenes of ``levels``."""
    import torch

    from representations.nets.images import pixels

    ids, scores = scored_scenes(dataset, count, levels), []
    with torch.no_grad():
        for start in range(0, len(ids), 128):
            batch = ids[start : start + 128]
            masks = model.masks(pixels(images(dataset, batch)))
            scores.append(foreground_ari(dataset.scenes(batch).mask, masks.argmax(0).squeeze(1).numpy()))
    return float(np.concatenate(scores).mean())


def picture_inputs(dataset: Any) -> tuple[Any, Any]:
    """Held-out scenes for pictures, and the generator of their samples."""
    import torch

    return {"image": images(dataset, scored_scenes(dataset, SHOWN, HELDOUT))}, torch.Generator().manual_seed(0)


def foreground_ari(true: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Adjusted Rand index of every image (n,) over the pixels where ``true`` is not 0 (Hubert and Arabie 1985).

    With n_ij pixels of sprite i in slot j, a_i and b_j its sums, and n pixels in all:

        ARI = (sum_ij C(n_ij, 2) - E) / ((sum_i C(a_i, 2) + sum_j C(b_j, 2)) / 2 - E),
        E = sum_i C(a_i, 2) sum_j C(b_j, 2) / C(n, 2)

    One sprite in one slot, where both are 0, counts 1.

    Args:
        true: (n, H, W) integers, 0 the background.
        slots: (n, H, W) integers, the slot that each pixel belongs to.
    """
    n, num_sprites, num_slots = len(true), int(true.max()) + 1, int(slots.max()) + 1
    table_size = num_sprites * num_slots
    sprite_and_slot = true.reshape(n, -1).astype(np.int64) * num_slots + slots.reshape(n, -1)
    numbered = np.arange(n)[:, None] * table_size + sprite_and_slot
    counts = np.bincount(numbered.ravel(), minlength=n * table_size).reshape(n, num_sprites, num_slots)[:, 1:]
    together = _pairs(counts).sum((1, 2))
    rows, columns, total = (_pairs(counts.sum(axes)) for axes in (2, 1, (1, 2)))
    rows, columns = rows.sum(1), columns.sum(1)
    expected = rows * columns / np.maximum(total, 1)
    largest = (rows + columns) / 2
    same = largest == expected
    return np.where(same, 1.0, (together - expected) / np.where(same, 1, largest - expected))


def _pairs(count: np.ndarray) -> np.ndarray:
    """C(count, 2)."""
    return count * (count - 1) / 2


def table(rows: Sequence[Row]) -> str:
    """Scores of every seed, and their median."""
    from benchmarks.reporting.layout import aligned

    scores = [row["ari_fg"] for row in rows]
    lines = [[str(row["seed"]), f"{row['samples']:,}", f"{row['ari_fg']:.3f}", row["curve"]] for row in rows]
    return (
        aligned((["seed", "images", "ARI-FG", "during training"], lines), width=120)
        + f"\n\nmedian of {len(scores)} seeds {np.median(scores):.3f} (worst {min(scores):.3f}, best {max(scores):.3f})"
    )


if __name__ == "__main__":
    raise SystemExit(main())
