"""Row 3: checkpoints cut short, and single bits flipped in them. The one before must be used."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from benchmarks.fault_injection.trials import Row, Trial, attempt

CUTS = (0.0, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999)
"""Parts of a file that are left."""
FLIPS = 256


def damage(folder: Path, short: bool) -> Iterator[Trial]:
    """Each file of the newest of two checkpoints, damaged in many ways."""
    import torch

    from agents import checkpoint

    whole = folder / "whole"
    for step in (1, 2):
        checkpoint.save(whole, step, {"layer": torch.nn.Linear(64, 64), "history": Arrays(step)})
    newest = sorted(whole.glob("*2.*"))
    cuts = [(file, part) for file in newest for part in (CUTS[::4] if short else CUTS)]
    for file, part in cuts:
        size = int(part * file.stat().st_size)
        data = file.read_bytes()[:size]
        yield attempt(f"{file.suffix} cut to {size} bytes", partial(_one_before, whole, folder / "cut", file, data))
    draws = random.Random(0)
    for number in range(28 if short else FLIPS):
        file = newest[number % 2]
        flipped = bytearray(file.read_bytes())
        bit = draws.randrange(8 * len(flipped))
        flipped[bit // 8] ^= 1 << bit % 8
        name = f"{file.suffix}, bit {bit}"
        yield attempt(name, partial(_one_before, whole, folder / "flipped", file, bytes(flipped)))


class Arrays:
    """A component with arrays, numbers and text."""

    def __init__(self, seed: int):
        self.seed = seed

    def state_dict(self) -> dict[str, Any]:
        import numpy as np

        frames = np.random.default_rng(self.seed).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        return {"frames": frames, "position": [self.seed, 0.25], "name": "é"}


def _one_before(whole: Path, place: Path, file: Path, data: bytes) -> str:
    from agents import checkpoint

    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    (place / file.name).write_bytes(data)
    with redirect_stdout(StringIO()) as printed:
        newest = checkpoint.read(place)
    if newest is None or newest[0] != 1:
        return "the damage was not noticed" if newest else "no checkpoint was read"
    return "" if f"{file.stem}.json is damaged" in printed.getvalue() else "the damage was not told"


ROWS = (
    Row(
        3,
        "16 truncations and 256 flipped bits of a checkpoint",
        "noticed and told, the one before is used",
        damage,
        size=2 * len(CUTS) + FLIPS,
        short_size=4 + 28,
    ),
)
