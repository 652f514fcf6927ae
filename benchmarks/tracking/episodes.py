"""Recorded episodes as the project page shows them: the median one by return, of training and of held-out levels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.recording import films, sheets
from benchmarks.recording.record import read

if TYPE_CHECKING:
    from benchmarks.reporting.runs import Run

MEDIAN = "median"
"""Word of the rule by which the episode was recorded."""


@dataclass(frozen=True)
class Video:
    """One recorded episode."""

    folder: Path
    recording: dict[str, Any]
    """Its JSON, as ``recording.store`` describes it."""

    @property
    def identity(self) -> bytes:
        """Everything that its pictures were made from."""
        return json.dumps(self.recording, sort_keys=True).encode()

    def write(self, path: Path) -> None:
        """Write it as a GIF, which Weights & Biases plays as a video."""
        recording = self.recording
        size = (recording["height"], recording["width"])
        images = [(self.folder / file).read_bytes() for file in recording["sheets"]]
        frames = sheets.decode(images, recording["frames"], size, recording["columns"])
        path.write_bytes(films.gif([list(frames)], path))


def videos_of(run: Run) -> dict[str, Video]:
    """The median episodes "train" and "held_out", those that were recorded of the run as it stands."""
    recordings = read(run.path)
    videos: dict[str, Video] = {}
    for recording in recordings.episodes.values():
        if MEDIAN in recording["rule"]:
            name = "train" if recording["split"] == "train" else "held_out"
            videos[name] = Video(recordings.folder, recording)
    return videos
