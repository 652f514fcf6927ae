"""Trackers: sinks fed with the records of metrics.jsonl. A sink that fails does not disturb the run.

metrics.jsonl is the truth. A sink gets the same records, pictures and final table; the first thing that goes wrong in
it prints one line and switches it off. Nothing of a run reads back from a sink, so its weights are the same with any.

There are two clocks: records of pre-training are placed by the samples drawn, all others by frames. A resumed run
writes the records after its checkpoint again, and no sink shows one twice.
"""

from __future__ import annotations

import netrc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from envs.registry import UsageError

FINISH_SECONDS = 60.0
"""Longest time that a sink may take to flush at the end."""


class Sink(Protocol):
    """Backend of a tracker; every method may raise."""

    def begin(self, kept: Sequence[Mapping[str, float]]) -> None: ...
    def log(self, record: Mapping[str, float]) -> None: ...
    def picture(self, name: str, path: Path) -> None: ...
    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def finish(self) -> None: ...


class Tracker:
    """A sink that cannot hurt: without one, or after its first failure, every call does nothing."""

    def __init__(self, name: str = "none", make: Callable[[], Sink] | None = None):
        self.name = name
        self.sink: Sink | None = None
        if make is not None:
            self._guard(lambda: setattr(self, "sink", make()))

    def begin(self, kept: Sequence[Mapping[str, float]]) -> None:
        """Records of earlier starts that the run goes on from, once, before this start's first one."""
        if (sink := self.sink) is not None:
            self._guard(lambda: sink.begin(kept))

    def log(self, record: Mapping[str, float]) -> None:
        """One record of metrics.jsonl, with its ``global_step``."""
        if (sink := self.sink) is not None:
            self._guard(lambda: sink.log(record))

    def picture(self, name: str, path: Path) -> None:
        """A PNG on disk."""
        if (sink := self.sink) is not None:
            self._guard(lambda: sink.picture(name, path))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows that share their keys."""
        if (sink := self.sink) is not None and rows:
            self._guard(lambda: sink.table(name, rows))

    def finish(self) -> None:
        """Flush and close; a sink that hangs is left behind after ``FINISH_SECONDS``."""
        if (sink := self.sink) is None:
            return
        closing = threading.Thread(target=lambda: self._guard(sink.finish), daemon=True)
        closing.start()
        closing.join(FINISH_SECONDS)
        if closing.is_alive():
            self._switch_off(f"did not finish within {FINISH_SECONDS:.0f} s")
        self.sink = None

    def _guard(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever a foreign service throws: a run of days must not end for its chart
            self._switch_off(f"{type(error).__name__}: {error}")

    def _switch_off(self, why: str) -> None:
        self.sink = None
        reason = " ".join(why.split())[:200]
        print(f"tracker '{self.name}' is off for this run ({reason}); metrics.jsonl goes on", file=sys.stderr)


def open_tracker(kind: str, config: Mapping[str, Any], run_id: str, directory: Path) -> Tracker:
    """The tracker named on the command line, for one run.

    Args:
        kind: "none", "wandb" or "tensorboard".
        config: the run's configuration, shown beside its charts.
        run_id: stable over restarts.
        directory: the run's folder; sinks write below it.
    """
    if kind == "none":
        return Tracker()
    if kind not in SINKS:
        raise UsageError(f"--log '{kind}' is not one of none, {', '.join(SINKS)}")
    return Tracker(kind, lambda: SINKS[kind](config, run_id, directory))


SAMPLES = "pretrain/samples"
"""Samples drawn so far: the clock of pre-training."""


class Wandb:
    """Weights & Biases: one run per (configuration, seed), charts over ``global_step``; offline where there is no key.

    Charts of pre-training are over its samples. Offline files stay readable: ``wandb leet DIR`` shows them in the
    terminal, ``wandb sync DIR ...`` uploads them. A resumed offline run becomes a second folder with the same id;
    syncing all merges them. Records have an order, and DIR/wandb/sent counts those that were ever sent: the same record
    is not sent again.
    """

    def __init__(self, config: Mapping[str, Any], run_id: str, directory: Path):
        self.offline = os.environ.get("WANDB_MODE", "").lower() == "offline" or not has_key()
        if self.offline:
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else it looks for its server all the same
        # It takes any module called "agents" for a language-model library and advertises for it.
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
        import wandb

        self.wandb = wandb
        self.step = 0
        self.sent_file, self.count = directory / "wandb" / "sent", 0
        method = str(config["repr"])
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "rl-transfer"),
            id=run_id,
            name=run_id,
            group=f"{config['suite']}/{method}",
            job_type=str(config["algo"]),
            tags=[str(config["suite"]), method, str(config["preset"])],
            config=dict(config),
            dir=str(directory),
            mode="offline" if self.offline else "online",
            resume=None if self.offline else "allow",
            settings=wandb.Settings(silent=True, console="off", init_timeout=60),
        )
        self.run.define_metric("global_step")
        self.run.define_metric(SAMPLES)
        self.groups: set[str] = set()
        """First parts of names whose axis is told; two patterns that both match a name would leave it open."""
        if self.offline:
            folder = Path(self.run.dir).parent
            all_starts = folder.parent / f"offline-run-*-{run_id}"
            print(
                f"wandb is offline (no API key): `wandb leet {folder}` shows it, `wandb sync {all_starts}` uploads it"
            )

    def begin(self, kept: Sequence[Mapping[str, float]]) -> None:
        self.count = len(kept)
        self.step = int(kept[-1]["global_step"]) if kept else 0

    def log(self, record: Mapping[str, float]) -> None:
        self.step, self.count = int(record["global_step"]), self.count + 1
        if self.count > (int(self.sent_file.read_text(encoding="utf-8")) if self.sent_file.exists() else 0):
            self._tell_axes(record)
            self.run.log(dict(record))
            self.sent_file.write_text(str(self.count), encoding="utf-8")

    def _tell_axes(self, names: Iterable[str]) -> None:
        for group in {name.partition("/")[0] for name in names if "/" in name} - self.groups:
            self.groups.add(group)
            axis = SAMPLES if SAMPLES.startswith(f"{group}/") else "global_step"
            self.run.define_metric(f"{group}/*", step_metric=axis)

    def picture(self, name: str, path: Path) -> None:
        self._tell_axes(["pictures/"])
        self.run.log({f"pictures/{name}": self.wandb.Image(str(path)), "global_step": self.step})

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        data = [list(row.values()) for row in rows]
        self._tell_axes(["tables/"])
        self.run.log({f"tables/{name}": self.wandb.Table(columns=[*rows[0]], data=data), "global_step": self.step})

    def finish(self) -> None:
        self.run.finish()


def has_key() -> bool:
    """A key in the environment or in the netrc file; wandb itself would stop and ask for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class TensorBoard:
    """Event files below ``DIR/runs/<id>/tensorboard``; those of pre-training, in a folder there, have samples as steps.

    Needs the extra ``.[tensorboard]``.
    """

    def __init__(self, config: Mapping[str, Any], run_id: str, directory: Path):
        self.folder, self.step = directory / "tensorboard", 0
        self.config = "\n".join(f"    {key}: {value}" for key, value in config.items())
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
        self.writer.add_text("config", self.config)

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

    def finish(self) -> None:
        for writer in (self.writer, self.pretraining):
            if writer is not None:
                writer.close()


SINKS: dict[str, Callable[[Mapping[str, Any], str, Path], Sink]] = {"wandb": Wandb, "tensorboard": TensorBoard}
