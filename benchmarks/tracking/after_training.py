"""Contents of a finished run that training did not send: probe scores, maps of the bonus, recorded episodes.

They are written as one more offline part of the run. A run that was trained without Weights & Biases is written whole,
from its metrics.jsonl. What was written once is not written again.
"""

from __future__ import annotations

import contextlib
import csv
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.runs.trackers.wandb import Wandb, Written, digest
from benchmarks.reporting.labels import labels_of, target_split, training_set
from benchmarks.reporting.runs import Run
from benchmarks.tracking.episodes import Video, videos_of
from benchmarks.tracking.figures import final_figures, run_facts

PROBE = "probe.csv"
PICTURES = ("splits", "bonus")
"""Pictures that the project page shows, by the names of their files."""


@dataclass(frozen=True)
class Additions:
    """Contents of a run that its parts lack."""

    records: bool
    """It has no part at all: its records are written, too."""
    figures: Mapping[str, float]
    pictures: Mapping[str, Path]
    videos: Mapping[str, Video]

    @property
    def names(self) -> list[str]:
        """Names as the project page calls them."""
        media = [*(f"pictures/{name}" for name in self.pictures), *(f"videos/{name}" for name in self.videos)]
        return ["records of metrics.jsonl"] * self.records + [*self.figures, *media]


def parts_of(run: Path) -> list[Path]:
    """Folders that hold the run's offline parts, in order of start, which is in their names."""
    return sorted((run / "wandb").glob("offline-run-*"))


def additions(run: Run, probes: Mapping[str, float]) -> Additions:
    """Contents that a finished run's parts lack, its probe scores among them."""
    written = Written(run.path / "wandb").read()
    figures = {**final_figures(run), **probes}
    pictures = {path.stem: path for path in run.pictures if path.stem in PICTURES}
    tracked = any((run.path / "wandb").glob("*run-*"))
    return Additions(
        not tracked and run.state == "finished",
        {name: value for name, value in figures.items() if written.get(name) != digest(repr(value).encode())},
        {n: path for n, path in pictures.items() if written.get(f"pictures/{n}") != digest(path.read_bytes())},
        {n: video for n, video in videos_of(run).items() if written.get(f"videos/{n}") != digest(video.identity)},
    )


def write_additions(run: Run, missing: Additions) -> None:
    """Write what a run's parts lack as one more offline part; nothing is sent."""
    from agents.runs.config import from_json

    with _offline(), open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        sink = Wandb({**run.config, **run_facts(from_json(run.config))}, run.id, run.path)
        sink.begin(() if missing.records else run.metrics)
        for record in run.metrics if missing.records else ():
            sink.log(record)
        for name, path in missing.pictures.items():
            sink.picture(name, path)
        with tempfile.TemporaryDirectory() as scratch:
            for name, video in missing.videos.items():
                video.write(path := Path(scratch) / f"{name}.gif")
                sink.video(name, path, video.identity)
        sink.summary(missing.figures)
        sink.finish()


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Weights & Biases writes files and sends nothing."""
    before = os.environ.get("WANDB_MODE")
    os.environ["WANDB_MODE"] = "offline"
    try:
        yield
    finally:
        if before is None:
            del os.environ["WANDB_MODE"]
        else:
            os.environ["WANDB_MODE"] = before


def probe_scores(experiment: Path, runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Run id -> ``probe/train`` and ``probe/held_out``: mean R2 over factors, by probe.csv of the directory.

    A split whose environment tells no factors has no score; a directory that was not probed has none.
    """
    file = experiment / PROBE
    if not file.exists():
        return {}
    names = labels_of(runs)
    with open(file, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    scores: dict[str, dict[str, float]] = {}
    for run in runs:
        own = [row for row in rows if _is_of(row, run, names[run.id])]
        for name, split in (("train", "train"), ("held_out", target_split(run.config["splits"]))):
            values = [float(row["r2"]) for row in own if row["split"] == split]
            if values:
                scores.setdefault(run.id, {})[f"probe/{name}"] = float(np.mean(values))
    return scores


def _is_of(row: Mapping[str, str], run: Run, label: str) -> bool:
    config: dict[str, Any] = run.config
    facts = {name: str(config[name]) for name in ("suite", "env", "repr", "mode", "train_levels", "seed")}
    facts |= {"method": label, "level_set": training_set(config)}
    return all(row[name] == value for name, value in facts.items())
