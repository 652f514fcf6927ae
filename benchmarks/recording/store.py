"""Files of recordings: RUN/recordings/NAME.json beside NAME-0.webp, NAME-1.webp, ..., and levels.json.

    {"format": 1, "run": id, "label": "darla, seed 0", "task": env, "split": "train", "level": 12, "repeat": 0,
     "rule": "median of 64 episodes by return", "greedy": false, "return": 10.0, "length": 88, "cut": false,
     "width": w, "height": h, "columns": 16, "sheets": ["NAME-0.webp", ...], "frames_per_sheet": 256, "frames": n,
     "actions": [...], "action_names": [...] or null, "effects": [...] or null, "values": [...],
     "probabilities": [[...]] or null, "means": [[...]] or null, "rewards": [...], "bonus": [...] or null,
     "variants": [{"name": "monochrome", "sheets": [...], "width": w, "height": h, "differs": [0, 1, ...]}],
     "made_from": {...}}

``return`` and ``length`` are of the whole episode, as in eval.csv; everything that is a list has an entry for each of
the first n steps, and ``cut`` says that steps are missing at the end. An action is a number, or a list of numbers where
the environment takes several. ``probabilities`` are of Discrete actions, ``means`` of real ones. ``effects`` has the
number of the effect of each Discrete action: those with one number do the same. ``bonus`` is scaled as in training.
``differs`` is 1 where the likeliest effect is another one than in the split itself. Numbers have four digits after the
point.

    {"format": 1, "columns": 16, "width": w, "height": h,
     "splits": [{"split": "train", "sheet": "levels-train.webp",
                 "levels": [{"level": 12, "return": 7.5, "success": 0.75 or null, "episodes": 4,
                             "recording": NAME or null}, ...]}],
     "made_from": {...}}

The sheet of a split shows the first frame of each of its levels, in their order. ``success`` is the part of episodes
with a return above 0, null in a run that has returns below 0. ``recording`` is an episode on the level.

Explanations of an episode, NAME-KIND.json, are described in ``explanations``.

``made_from`` holds the hashes of the checkpoint and of eval.csv. A file whose ``made_from`` is not that of the run as
it stands counts as missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cli import write_file

FOLDER = "recordings"
LEVELS = "levels"
FORMAT = 1
VERSION = 3
"""Rises with what is recorded, so that what an earlier version wrote is made anew."""
Json = dict[str, Any]


def origin(run: Path) -> Json:
    """Digest of everything in a run's folder that its recordings depend on."""
    checkpoints = sorted((run / "checkpoint" / "train").glob("*.json"))
    files = {"checkpoint": checkpoints[-1] if checkpoints else None, "eval": run / "eval.csv"}
    return {"version": VERSION, **{name: _digest(path) for name, path in files.items()}}


def _digest(path: Path | None) -> str:
    """Hash of a file; "" where there is none. A checkpoint's JSON holds the hash of its tensors."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path and path.exists() else ""


def save(folder: Path, name: str, document: Mapping[str, Any], images: Mapping[str, bytes]) -> Path:
    """Write images, then NAME.json, which says that they are whole; returns its path."""
    for file, data in images.items():
        write_file(folder / file, data)
    path = folder / f"{name}.json"
    write_file(path, json.dumps({"format": FORMAT, **document}, separators=(",", ":"), allow_nan=False).encode())
    return path


def find(folder: Path, name: str, made_from: Mapping[str, Any]) -> Json | None:
    """NAME.json where it and its images are there and were made from just this; else None."""
    try:
        document: Json = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        valid = document["format"] == FORMAT and document["made_from"] == dict(made_from)
        whole = all((folder / file).exists() for file in images_of(document))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return document if valid and whole else None


def images_of(document: Mapping[str, Any]) -> Iterator[str]:
    """Names of the images of a recording, or of a level browser."""
    yield from document.get("sheets", ())
    for variant in document.get("variants", ()):
        yield from variant["sheets"]
    for split in document.get("splits", ()):
        yield split["sheet"]


def rounded(values: Sequence[Any]) -> list[Any]:
    """Numbers, and lists of them, with four digits after the point."""
    return [rounded(value) if isinstance(value, list | tuple) else round(float(value), 4) for value in values]
