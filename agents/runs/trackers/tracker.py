"""Trackers: sinks fed with the records of metrics.jsonl. A sink that fails does not disturb the run.

metrics.jsonl is the truth. A sink gets the same records, pictures and final table; the first thing that goes wrong in
it prints one line and switches it off. Nothing of a run reads back from a sink, so its weights are the same with any.

There are two clocks: records of pre-training are placed by the samples drawn, all others by frames. A resumed run
writes the records after its checkpoint again, and no sink shows one twice.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from envs.registry import UsageError

FINISH_SECONDS = 60.0
"""Longest time that a sink may take to flush at the end."""
PROJECT = "rl-transfer"
"""Project that runs are shown in, where the environment names no other."""
SAMPLES = "pretrain/samples"
"""Samples drawn so far: the clock of pre-training."""
SINKS = {
    "wandb": "agents.runs.trackers.wandb:Wandb",
    "tensorboard": "agents.runs.trackers.tensorboard:TensorBoard",
    "trackio": "agents.runs.trackers.trackio:Trackio",
}
"""Tracker -> its sink: a class of (configuration, run's id, run's folder), imported only where it is asked for."""


class Sink(Protocol):
    """Backend of a tracker; every method may raise."""

    def begin(self, kept: Sequence[Mapping[str, float]]) -> None: ...
    def log(self, record: Mapping[str, float]) -> None: ...
    def picture(self, name: str, path: Path) -> None: ...
    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def summary(self, figures: Mapping[str, float]) -> None: ...
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

    def summary(self, figures: Mapping[str, float]) -> None:
        """Final figures of the run, by name: a column each where runs are tabulated."""
        if (sink := self.sink) is not None and figures:
            self._guard(lambda: sink.summary(figures))

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
        kind: "none" or one of ``SINKS``.
        config: the run's configuration, shown beside its charts.
        run_id: stable over restarts.
        directory: the run's folder; sinks write below it.
    """
    if kind == "none":
        return Tracker()
    if kind not in SINKS:
        raise UsageError(f"--log '{kind}' is not one of none, {', '.join(SINKS)}")
    module, name = SINKS[kind].split(":")
    return Tracker(kind, lambda: getattr(importlib.import_module(module), name)(config, run_id, directory))


class SentRecords:
    """Count of the records that a tracker was ever sent, in a file of the run: none is sent twice.

    Args:
        folder: the tracker's, in the run's folder; it is made when the first record is sent.
    """

    def __init__(self, folder: Path):
        self.file, self.count = folder / "sent", 0

    def begin(self, kept: int) -> None:
        """Go on after so many records."""
        self.count = kept

    def send(self, send: Callable[[], object]) -> None:
        """Call ``send`` for the next record, unless it was sent by an earlier start."""
        self.count += 1
        if self.count > (int(self.file.read_text(encoding="utf-8")) if self.file.exists() else 0):
            send()
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(str(self.count), encoding="utf-8")
