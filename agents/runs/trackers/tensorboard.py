"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.runs.config import flat_values
from agents.runs.trackers.tracker import SAMPLES


class TensorBoard:
    """Event files below ``DIR/runs/<id>/tensorboard``; those of pre-training, in a folder there, have samples as steps.

    Needs the extra ``.[tensorboard]``.
    """

    def __init__(self, config: Mapping[str, Any], run_id: str, directory: Path):
        self.folder, self.step = directory / "tensorboard", 0
        self.config = dict(config)
        self.writer: Any = None
        self.pretraining: Any = None

    def begin(self, kept: Sequence[Mapping[str, float]]) -> None:
        """Open the event files; what was written after ``kept`` by earlier starts is purged from the charts."""
        from torch.utils.tensorboard import SummaryWriter

        resumed = self.folder.exists()
        training = [int(record["global_step"]) for record in kept if SAMPLES not in record]
        samples = [int(record[SAMPLES]) for record in kept if SAMPLES in record]
        self.step = max(training, default=0)
        places = (("", training), ("pretraining", samples))
        self.writer, self.pretraining = (
            SummaryWriter(str(self.folder / name), purge_step=max(steps, default=-1) + 1 if resumed else None)
            for name, steps in places
        )
        self.writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in self.config.items()))

    def log(self, record: Mapping[str, float]) -> None:
        if self.writer is None:
            self.begin(())
        if SAMPLES in record:
            for name, value in record.items():
                if name not in ("global_step", SAMPLES):
                    self.pretraining.add_scalar(name, value, int(record[SAMPLES]))
            return
        self.step = int(record["global_step"])
        for name, value in record.items():
            if name != "global_step":
                self.writer.add_scalar(name, value, self.step)

    def picture(self, name: str, path: Path) -> None:
        import numpy as np
        from PIL import Image

        with Image.open(path) as image:
            self.writer.add_image(f"pictures/{name}", np.asarray(image), self.step, dataformats="HWC")

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        lines = [" | ".join(map(str, rows[0])), " | ".join("---" for _ in rows[0])]
        lines += [" | ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()) for row in rows]
        self.writer.add_text(f"tables/{name}", "\n".join(lines), self.step)

    def summary(self, figures: Mapping[str, float]) -> None:
        """Final figures beside the configuration, in the table of the HPARAMS tab."""
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in flat_values(self.config).items()
        }
        # run_name: else a folder of its own, which other charts would show as another run
        self.writer.add_hparams(plain, dict(figures), run_name=".", global_step=self.step)

    def finish(self) -> None:
        for writer in (self.writer, self.pretraining):
            if writer is not None:
                writer.close()
