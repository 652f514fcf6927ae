"""Representations fitted to recorded frames, without any agent: resumable, measured on the way, one folder a seed.

DIR/<name>/checkpoint/   weights, optimizer, draws and the measurements so far
           *.png         pictures of the last step
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import cli
from envs.registry import UsageError

if TYPE_CHECKING:
    from envs.steps import Obs
    from representations.base import Representation

Measure = Callable[["Representation"], Mapping[str, float]]
Row = dict[str, Any]
MEASUREMENTS = 10
"""Measurements, and checkpoints, of one fit."""


class Measured:
    """Measurements so far and the settings they were made with, as a component of a checkpoint."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.rows: list[Row] = []

    @property
    def seconds(self) -> float:
        """Seconds of the fit so far, over all its starts."""
        return self.rows[-1].get("seconds", 0.0) if self.rows else 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"settings": self.settings, "rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        stored = state.get("settings", self.settings)
        for name in sorted({*stored, *self.settings}):
            before, now = stored.get(name), self.settings.get(name)
            if before != now:
                raise UsageError(
                    f"the fit was started with {name}={before}, now asked for {name}={now}; "
                    "repeat the first command, or give another --out"
                )
        self.rows = [dict(row) for row in state["rows"]]


def fit(
    folder: Path,
    representation: Representation,
    frames: Callable[[], Obs],
    samples: int,
    seed: int,
    measure: Measure,
    precision: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Pre-train in place, or continue what ``folder`` holds; a row of measurements after each tenth.

    The last row is of the last step: nothing is chosen by what it scores.

    Args:
        frames: the training frames, as ``representations.collect.collect`` gives them; asked for only if needed.
        samples: frames drawn from them in all.
        settings: everything else that decides the outcome, plain data by name; kept with the weights.

    Raises:
        UsageError: ``folder`` holds a fit with another budget or other settings.
    """
    import torch

    from agents import checkpoint
    from agents.runs.build import resolve_precision
    from agents.runs.progress import Bar
    from envs.rng_streams import stream_seed
    from representations.pretrain import Pretrainer

    measured = Measured(settings or {})

    def restored(obs: Obs) -> tuple[Pretrainer, dict[str, Any]]:
        draws = torch.Generator().manual_seed(stream_seed(seed, "pretraining"))
        pretrainer = Pretrainer(representation, obs, samples, generator=draws, precision=resolve_precision(precision))
        components = {"measured": measured, **pretrainer.components()}
        checkpoint.load(folder / "checkpoint", components)
        return pretrainer, components

    pretrainer, components = restored({})
    if not pretrainer.done:
        pretrainer, components = restored(frames())
    started = time.perf_counter() - measured.seconds
    bar = Bar(folder.name)
    bar.stage("fit", pretrainer.total, pretrainer.drawn)
    while not pretrainer.done:
        losses = pretrainer.run(-(-pretrainer.total // MEASUREMENTS))
        pretrainer.watch()
        representation.eval()
        measurements = measure(representation)
        short = {name.rsplit("/", 1)[-1]: value for name, value in losses.items()}
        seconds = time.perf_counter() - started
        measured.rows.append({"samples": pretrainer.drawn, "seconds": seconds, **measurements, **short})
        checkpoint.save(folder / "checkpoint", pretrainer.drawn, components)
        bar.update(pretrainer.drawn, " ".join(f"{name}={value:.3g}" for name, value in measurements.items()))
    bar.close()
    representation.eval()
    return measured.rows


def write(folder: Path, name: str, rows: Sequence[Row], pictures: Mapping[str, Any]) -> None:
    """``name``.csv, with the columns of its first row, and pictures (uint8 arrays) into ``folder``, each whole."""
    from PIL import Image

    columns = list(rows[0])
    kept = [{column: row[column] for column in columns if column in row} for row in rows]
    cli.write_csv(folder / f"{name}.csv", kept, columns, cli.significant(4))
    for title, picture in pictures.items():
        with io.BytesIO() as file:
            Image.fromarray(picture).save(file, format="PNG")
            cli.write_file(folder / f"{title}.png", file.getvalue())
