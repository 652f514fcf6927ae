"""Fitting a representation to recorded scenes, without any agent: resumable, measured on the way, one folder a seed.

DIR/<name>/checkpoint/   weights, optimizer, draws and the measurements so far
           *.png         pictures of the last step
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.steps import Obs
    from representations.base import Representation

Measure = Callable[["Representation"], Mapping[str, float]]
Row = dict[str, Any]
PARTS = 10
"""Measurements, and checkpoints, of one fit."""


class Measured:
    """Measurements so far, as a component of a checkpoint."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rows = [dict(row) for row in state["rows"]]


def fit(
    folder: Path,
    representation: Representation,
    frames: Callable[[], Obs],
    samples: int,
    seed: int,
    measure: Measure,
    precision: str = "auto",
) -> list[Row]:
    """Pre-train in place, or take up what ``folder`` holds; a row of what ``measure`` finds after each tenth.

    The last row is of the last step: nothing is chosen by what it scores.

    Args:
        frames: the training frames, as ``representations.pretrain.collect`` gives them; asked for only if needed.
        samples: frames drawn from them in all.

    Raises:
        UsageError: ``folder`` holds a fit with another budget.
    """
    import torch

    from agents import checkpoint
    from agents.progress import Bar
    from agents.train import resolve_precision
    from envs.streams import stream_seed
    from representations.pretrain import Pretrainer

    measured = Measured()
    pretrainer = Pretrainer(
        representation,
        frames(),
        samples,
        generator=torch.Generator().manual_seed(stream_seed(seed, "pretraining")),
        precision=resolve_precision(precision),
    )
    components = {**pretrainer.components(), "measured": measured}
    checkpoint.load(folder / "checkpoint", components)
    bar = Bar(folder.name)
    bar.stage("fit", pretrainer.total, pretrainer.drawn)
    while not pretrainer.done:
        losses = pretrainer.run(-(-pretrainer.total // PARTS))
        pretrainer.watch()
        representation.eval()
        found = measure(representation)
        short = {name.rsplit("/", 1)[-1]: value for name, value in losses.items()}
        measured.rows.append({"samples": pretrainer.drawn, **found, **short})
        checkpoint.save(folder / "checkpoint", pretrainer.drawn, components)
        bar.update(pretrainer.drawn, " ".join(f"{name}={value:.3g}" for name, value in found.items()))
    bar.close()
    representation.eval()
    return measured.rows


def as_csv(rows: Sequence[Row]) -> str:
    """A table with the columns of its first row, numbers of four digits."""
    with io.StringIO(newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
        return file.getvalue()


def write(folder: Path, name: str, rows: Sequence[Row], pictures: Mapping[str, Any]) -> None:
    """``name``.csv and pictures (uint8 arrays) into ``folder``, each whole or not at all."""
    from PIL import Image

    from agents.checkpoint import write_aside

    text = as_csv(rows).encode()
    write_aside(folder / f"{name}.csv", lambda path: path.write_bytes(text))
    for title, picture in pictures.items():
        image = Image.fromarray(picture)
        write_aside(folder / f"{title}.png", lambda path, image=image: image.save(path, format="PNG"))  # type: ignore[misc]
