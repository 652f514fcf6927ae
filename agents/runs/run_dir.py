"""Experiment directories: many runs, each found again by the name that follows from its configuration.

DIR/experiment.json                 marks an experiment of this toolkit
DIR/fits/                           finished fits of representations, see fit_cache.py
DIR/replaced/<id>/<n>/              runs that --rerun ran again, as they were
DIR/runs/<id>/config.json           all values of the configuration
              source.json           commit, hash of the code, versions, machine, command, device, precision, threads,
                                    times; "starts": code, versions, device and threads of every start
              metrics.jsonl         one record a line, cut back to the checkpoint on resume
              validation.csv        one row per episode of the evaluations on validation levels during training
              eval.csv              one row per episode of the final evaluation
              pictures/*.png
              checkpoint/           see checkpoint.py
              failure.txt           why the newest start failed, if it did
              done                  written last
"""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agents.checkpoint import write_aside
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.runs.changes import changed_code, changed_sources, read_source, set_aside
from agents.runs.config import RunConfig, as_json, differences, run_id
from agents.runs.locks import try_lock
from agents.runs.source import describe_source, foreign_sources
from envs.registry import UsageError

STARTED_WITH = ("commit", "code", "versions", "device", "threads")
"""Facts of source.json that may change between the starts of a run."""
MARKER = "experiment.json"
FAILURE = "failure.txt"
FORMAT = 2
"""1: runs were named by all values of their configuration, the defaults among them."""


class Busy(UsageError):
    """Another process holds the run."""


def open_experiment(out: Path) -> Path:
    """Make ``out`` an experiment directory, or check that it is one.

    The marker is made before anything else, whole: of many processes that open a new directory at once none meets one
    that is not marked.

    Raises:
        UsageError: it holds something else, or runs of another version, or cannot be written.
    """
    marker = out / MARKER
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a directory")
    alien = out.is_dir() and any(not path.name.startswith(f".{MARKER}.") for path in out.iterdir())
    if alien and not marker.exists():  # looked for last: whoever makes anything else has made the marker before
        raise UsageError(f"--out {out} is not empty and not an experiment of this toolkit; name another directory")
    if marker.exists():
        _check_format(out, marker)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            write_aside(marker, lambda path: path.write_text(f'{{"format": {FORMAT}}}\n', encoding="utf-8"))
        (out / "runs").mkdir(exist_ok=True)
        if not os.access(out / "runs", os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UsageError(
            f"cannot write to --out {out} ({error.strerror}); name a directory you may write to"
        ) from error
    return out


def _check_format(out: Path, marker: Path) -> None:
    """UsageError where another version named the runs of ``out``; the marker goes where there are none."""
    try:
        written = json.loads(marker.read_text(encoding="utf-8")).get("format")
    except (ValueError, AttributeError):
        written = None
    if written == FORMAT:
        return
    runs = sorted(path for path in (out / "runs").glob("*") if path.is_dir())
    if runs:
        unfinished = [run for run in runs if not (run / "done").exists()]
        raise UsageError(
            f"--out {out} holds runs that another version named, such as {(unfinished or runs)[0].name}: reports still "
            "read them, but they cannot be continued or added to; give another --out"
        )
    marker.unlink()


def check_stored(path: Path, config: RunConfig) -> None:
    """UsageError where the run's folder ``path`` is there and was made by another configuration or another class."""
    stored_file = path / "config.json"
    if not stored_file.exists():
        return
    try:
        differing = differences(json.loads(stored_file.read_text(encoding="utf-8")), as_json(config))
    except (ValueError, AttributeError, RecursionError):
        raise UsageError(f"run {path} is damaged: config.json cannot be read; remove that folder") from None
    if differing:
        name, (then, now) = next(iter(differing.items()))
        raise UsageError(f"run {path} was made with {name}={then!r}, which is {now!r} now; give another --out")
    changed = changed_sources(path, config)
    if changed and not (path / "done").exists():
        raise UsageError(
            f"run {path} was begun with another version of {', '.join(changed)}; give another --out, or --rerun to "
            "begin it afresh"
        )


class RunDir:
    """One run's folder. Opening it takes a lock: two processes never write to one run.

    Of several ``ranks`` that train it the first opens it, and alone may write.

    Args:
        rerun: set aside what is there if it was finished, or begun by a foreign class, with other code.

    Raises:
        Busy: another process holds it.
        UsageError: it is damaged, or of other values.
    """

    def __init__(self, experiment: Path, config: RunConfig, ranks: Ranks = SINGLE_PROCESS, rerun: bool = False):
        self.config = as_json(config)
        self.id = run_id(config)
        self._run_config = config
        self.experiment = experiment
        self.path = experiment / "runs" / self.id
        self.writes = ranks.index == 0
        ranks.on_rank_zero(lambda: self._open(rerun))

    def _open(self, rerun: bool) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        lock = try_lock(self.path / "lock")
        if lock is None:
            raise Busy(f"run {self.path} is being trained by another process; wait for it or stop it")
        self._lock = lock
        try:
            if rerun and self._is_of_other_code():
                print(f"{self.id}: run again, what there was is in {set_aside(self.path)}")
            check_stored(self.path, self._run_config)
        except BaseException:
            lock.release()
            raise
        if not (self.path / "config.json").exists():
            text = json.dumps(self.config, indent=2) + "\n"
            write_aside(self.path / "config.json", lambda aside: aside.write_text(text, encoding="utf-8"))
        self._metrics = open(self.path / "metrics.jsonl", "ab", buffering=0)  # noqa: SIM115

    def _is_of_other_code(self) -> bool:
        changed = changed_code if self.done else changed_sources
        return bool(changed(self.path, self._run_config))

    @property
    def done(self) -> bool:
        return (self.path / "done").exists()

    @property
    def source(self) -> dict[str, Any]:
        """source.json as it stands; empty before the first ``write_source``."""
        return read_source(self.path)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    def log(self, record: Mapping[str, float | int]) -> None:
        """Append one record to metrics.jsonl, whole or not at all, without the numbers that JSON has no words for."""
        finite = {name: value for name, value in record.items() if math.isfinite(value)}
        line = (json.dumps(finite, allow_nan=False) + "\n").encode()
        length = os.path.getsize(self._metrics.name)
        if self._metrics.write(line) != len(line):  # the disk took its beginning
            os.truncate(self._metrics.name, length)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._metrics.name)

    def records(self) -> list[dict[str, Any]]:
        """All records of metrics.jsonl."""
        with open(self._metrics.name, encoding="utf-8") as lines:
            try:
                return [json.loads(line) for line in lines]
            except ValueError:
                reason = "metrics.jsonl has a torn line; remove that folder"
                raise UsageError(f"run {self.path} is damaged: {reason}") from None

    def state_dict(self) -> dict[str, int]:
        """Length of metrics.jsonl, bytes, of which all belongs to the checkpoint being written."""
        if not self.writes:
            return {}
        os.fsync(self._metrics.fileno())
        return {"metrics_bytes": os.path.getsize(self._metrics.name)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Cut off the records written after the checkpoint: the run will write them again."""
        if self.writes:
            if os.path.getsize(self._metrics.name) < state["metrics_bytes"]:
                raise UsageError(f"run {self.path} is damaged: metrics.jsonl lacks its end; remove that folder")
            os.truncate(self._metrics.name, state["metrics_bytes"])

    def start_afresh(self) -> None:
        """Drop the records of an earlier start, which left no checkpoint."""
        self.load_state_dict({"metrics_bytes": 0})

    def write_source(self, **facts: Any) -> None:
        """Add ``facts`` to source.json, which begins with where the numbers come from."""
        first = self.source or {**describe_source(), "foreign_sources": foreign_sources(self._run_config)}
        source = {**first, **facts}
        write_aside(
            self.path / "source.json",
            lambda aside: aside.write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8"),
        )

    def write_start(self, **facts: Any) -> None:
        """Add ``facts`` to source.json, and what this start runs with to its list of starts."""
        begun = self.source
        first = [{name: begun[name] for name in STARTED_WITH if name in begun}] if begun else []
        now = {**describe_source(), **facts}
        starts = [*begun.get("starts", first), {name: now[name] for name in STARTED_WITH if name in now}]
        (self.path / FAILURE).unlink(missing_ok=True)
        self.write_source(**facts, starts=starts)

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write ``name`` whole or not at all; all rows have the same keys."""
        write_rows(self.path / name, rows)

    def write_failure(self, reason: str) -> None:
        """Keep why this start failed, for reports; a place that cannot be written to goes without."""
        with contextlib.suppress(OSError):
            write_aside(self.path / FAILURE, lambda aside: aside.write_text(reason + "\n", encoding="utf-8"))

    def unmark_done(self) -> None:
        """Take back ``write_done``: the run is evaluated again from its last checkpoint."""
        (self.path / "done").unlink()

    def write_done(self) -> None:
        write_aside(self.path / "done", lambda aside: aside.write_text("", encoding="utf-8"))

    def close(self) -> None:
        if self.writes:
            self._metrics.close()
            self._lock.release()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV whole or not at all; all rows have the same keys."""

    def write(aside: Path) -> None:
        with open(aside, "w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    write_aside(path, write)
