"""Trackio: a local database of runs, shown by ``trackio show``; no account, no network."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.runs.trackers.tracker import PROJECT, SAMPLES, SentRecords


@contextlib.contextmanager
def _local() -> Iterator[None]:
    """Keep trackio from asking the hub for the user's name, which it does where a token of the hub is stored.

    Whoever names a server or a Space of the hub for trackio wants the network, and gets it.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not {"TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"} & set(os.environ)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


class Trackio:
    """One run of the local project; a point is placed by frames, or by samples in pre-training.

    A resumed run goes on in the same run of the database. It gives its configuration again: trackio would put an empty
    one in its place. There is no summary, so final figures are points of their own at the last frame.

    Needs the extra ``.[trackio]``. ``TRACKIO_DIR`` and ``TRACKIO_PROJECT`` choose database and project.
    """

    def __init__(self, config: Mapping[str, Any], run_id: str, directory: Path):
        import trackio

        self.trackio, self.step = trackio, 0
        self.sent = SentRecords(directory / "trackio")
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        with _local(), contextlib.redirect_stdout(io.StringIO()):  # ten lines, of which a user needs one
            self.run = trackio.init(
                project,
                name=run_id,
                group=f"{config['suite']}/{config['repr']}",
                config=dict(config),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        trackio.context_vars.current_run.set(None)  # else it finishes the run once more when Python ends, and says so
        print(f"trackio: `trackio show --project {project}` shows it in a browser on this machine")

    def begin(self, kept: Sequence[Mapping[str, float]]) -> None:
        self.sent.begin(len(kept))
        self.step = int(kept[-1]["global_step"]) if kept else 0

    def log(self, record: Mapping[str, float]) -> None:
        self.step = int(record["global_step"])
        values = {name: value for name, value in record.items() if name not in ("global_step", SAMPLES)}
        place = int(record[SAMPLES]) if SAMPLES in record else self.step
        self.sent.send(lambda: self.run.log(values, step=place))

    def picture(self, name: str, path: Path) -> None:
        self.run.log({f"pictures/{name}": self.trackio.Image(str(path))}, step=self.step)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        data = [list(row.values()) for row in rows]
        self.run.log({f"tables/{name}": self.trackio.Table(columns=[*rows[0]], data=data)}, step=self.step)

    def summary(self, figures: Mapping[str, float]) -> None:
        self.run.log(dict(figures), step=self.step)

    def finish(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.run.finish()
