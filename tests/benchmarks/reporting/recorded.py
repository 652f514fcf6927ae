"""Recordings of runs, written by hand: every frame is of one colour that says which frame of which episode it is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.recording import sheets, store
from envs.spaces import Array

WIDTH, HEIGHT = 12, 8
VARIANT = 100
"""Added to the red of a visual variant's frames."""


def shade(level: int, step: int) -> tuple[int, int, int]:
    """Colour of a frame; level and step are below 256."""
    return step % 128, step // 128, level % 256


def frames(level: int, count: int, added: int = 0) -> list[Array]:
    pictures = np.zeros((count, HEIGHT, WIDTH, 3), np.uint8)
    for step in range(count):
        pictures[step] = np.array(shade(level, step)) + np.array([added, 0, 0])
    return list(pictures)


def write_episode(run: Path, split: str, level: int, rule: str, count: int, **changes) -> str:
    """Files of one episode of 3 actions, of which the first two do the same; its name."""
    name = f"{split}-{level}-0"
    images = dict(zip(*_sheets(name, frames(level, count)), strict=True))
    variants = []
    for variant, differs in changes.pop("variants", {}).items():
        files, data = _sheets(f"{name}-{variant}", frames(level, count, VARIANT))
        images |= dict(zip(files, data, strict=True))
        variants.append({"name": variant, "sheets": files, "width": WIDTH, "height": HEIGHT, "differs": differs})
    document = {
        **{"run": run.name, "label": "cnn, seed 0", "task": "coinrun-easy", "split": split, "level": level},
        **{"repeat": 0, "rule": rule, "greedy": False, "return": 10.0, "length": count, "cut": False},
        **{"width": WIDTH, "height": HEIGHT, "columns": sheets.COLUMNS, "frames": count},
        **{"sheets": _names(name, count), "frames_per_sheet": sheets.FRAMES_PER_SHEET},
        **{"actions": [step % 3 for step in range(count)], "action_names": ["left", "west", "<jump>"]},
        **{"effects": [0, 0, 1], "values": [step / 10 - 1 for step in range(count)], "means": None},
        **{"probabilities": [[0.25, 0.125, 0.625]] * count, "rewards": [0.0] * (count - 1) + [10.0]},
        **{"bonus": None, "variants": variants, "made_from": store.origin(run)},
    }
    store.save(run / store.FOLDER, name, document | changes, images)
    return name


def write_levels(run: Path, splits: dict[str, list[tuple[int, float | None, str | None]]]) -> None:
    """Level browser of (level, success, recording) rows; the return is ten times the success, or the level."""
    documents, images = [], {}
    for split, rows in splits.items():
        file = f"levels-{split}.webp"
        (images[file],) = sheets.encode([frames(level, 1)[0] for level, _, _ in rows])
        levels = [
            {"level": level, "return": level if success is None else 10 * success, "success": success}
            | {"episodes": 4, "recording": recording}
            for level, success, recording in rows
        ]
        documents.append({"split": split, "sheet": file, "levels": levels})
    whole = {"columns": sheets.COLUMNS, "width": WIDTH, "height": HEIGHT, "splits": documents}
    store.save(run / store.FOLDER, store.LEVELS, whole | {"made_from": store.origin(run)}, images)


def write_explanations(run: Path, name: str, level: int, count: int) -> None:
    """Saliency at two steps (2 x 3 patches), masks of two slots, and two latents at three values."""
    fixed = {"of": name, "made_from": store.origin(run)}
    folder = run / store.FOLDER
    grids = {"value": [[0, 0, 0, 0, 0, 1.0], [0] * 6], "action": [[2.0, -1, 1, 0, 0, 0], [0] * 6]}
    saliency = {"kind": "saliency", "rows": 2, "columns": 3, "steps": [0, 200], **grids}
    store.save(folder, f"{name}-saliency", saliency | fixed, {})
    files, data = _sheets(f"{name}-slots", frames(level, count, 2 * VARIANT // 3))
    shape = {"width": WIDTH, "height": HEIGHT, "columns": sheets.COLUMNS, "frames": count}
    slots = {"kind": "slots", "sheets": files, "frames_per_sheet": sheets.FRAMES_PER_SHEET, "slots": 2}
    store.save(folder, f"{name}-slots", {**slots, **shape, **fixed}, dict(zip(files, data, strict=True)))
    picture = sheets.arrange(frames(level, 6), 3)
    traversal = {"kind": "traversal", "step": 150, "latents": [4, 1], "kl": [2.5, 0.5], "values": [-3.0, 0.0, 3.0]}
    traversal |= {"sheets": [f"{name}-traversal.webp"], "width": WIDTH, "height": HEIGHT, "columns": 3}
    with io.BytesIO() as memory:
        Image.fromarray(picture).save(memory, "WEBP", lossless=True)
        store.save(folder, f"{name}-traversal", traversal | fixed, {f"{name}-traversal.webp": memory.getvalue()})


def write_recordings(run: Path) -> None:
    """Median, best and worst of training and unseen levels, a level more, and a browser of 18 levels."""
    train = [
        write_episode(
            run,
            "train",
            7,
            "median and best of 4 episodes by return",
            300,
            variants={
                "monochrome": [step % 5 == 4 for step in range(300)],
                "no-backgrounds": [0] * 300,
            },
        )
    ]
    write_explanations(run, train[0], 7, 300)
    train.append(write_episode(run, "train", 9, "worst of 4 episodes by return", 20, bonus=[0.5] * 20))
    unseen = [write_episode(run, "heldout", 40, "median of 4 episodes by return", 140)]
    unseen.append(write_episode(run, "heldout", 41, "best of 4 episodes by return", 30))
    unseen.append(write_episode(run, "heldout", 42, "worst of 4 episodes by return", 280, cut=True, length=400))
    unseen.append(write_episode(run, "heldout", 43, "first episode of its level", 10))
    shown = {7: train[0], 9: train[1], 40: unseen[0], 41: unseen[1], 42: unseen[2], 43: unseen[3]}
    write_levels(
        run,
        {
            "train": [(level, level / 20, shown.get(level)) for level in range(2, 20)],
            "heldout": [(level, (level - 40) / 3, shown.get(level)) for level in range(40, 44)],
        },
    )


def _names(name: str, length: int) -> list[str]:
    return [f"{name}-{index}.webp" for index in range(-(-length // sheets.FRAMES_PER_SHEET))]


def _sheets(name: str, pictures: list[Array]) -> tuple[list[str], list[bytes]]:
    return _names(name, len(pictures)), sheets.encode(pictures)
