"""Row 4: a full disk, at each kind of file that a run writes.

The disk is a tmpfs of a few MB, filled to its last page at the moment before the write. Mounting one takes root's
rights; without them the row is not tried.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import finish
from benchmarks.fault_injection.kills import KINDS, never_stopped, run_of
from benchmarks.fault_injection.tracker_faults import leave_no_room
from benchmarks.fault_injection.trials import Row, Trial, attempt

PLACES = ("checkpoint", "metrics.jsonl", "pictures", "tracker")
MEGABYTES = 64


def fill_disks(folder: Path, short: bool) -> Iterator[Trial]:
    """One full disk for each place."""
    expected = remains.digest(remains.only_run(never_stopped(KINDS[0], folder / "whole")))
    for place in PLACES:
        with small_disk(folder / f"disk-{place}") as disk:
            if disk is None:
                yield Trial(place, untried="a disk to fill, a tmpfs, cannot be mounted without root's rights")
            else:
                yield attempt(place, partial(_full, place, disk, expected))


@contextmanager
def small_disk(place: Path) -> Iterator[Path | None]:
    """A disk of its own at ``place``; None where this process may mount none."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield place if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)


def _full(place: str, disk: Path, expected: dict[str, str]) -> str:
    words = ("--log", "tensorboard") if place == "tracker" else ()
    # A checkpoint would meet the full disk before the records do.
    rare = {"checkpoint_frames": 10**6, "steps": 12 * 128} if place == "metrics.jsonl" else {}
    kind = {**KINDS[0], "words": words, "sizes": rare}
    log = disk.parent / f"{disk.name}.log"
    status, text = finish(run_of(kind, disk / "out", prepare=partial(fill_before, place, disk)), log)
    run = remains.only_run(disk / "out")
    if place == "tracker":
        if status or "tracker 'tensorboard' is off" not in text:
            return remains.bad_message(status, text, "tracker 'tensorboard' is off", (0,))
        return remains.difference(run, expected)
    if wrong := remains.bad_message(status, text, "no room left on the disk", (1, 2)):
        return wrong
    if place == "checkpoint" and remains.newest_step(run) != 128:
        return f"the checkpoint of frame 128 is gone: back at {remains.newest_step(run)}"
    if torn := torn_lines(run / "metrics.jsonl"):
        return torn
    (disk / "filler").unlink()
    status, text = finish(run_of(kind, disk / "out"), log.with_suffix(".again.log"))
    if status:
        return f"with room again: exit status {status}: {text[-200:]}"
    return "" if rare else remains.difference(run, expected)


def torn_lines(file: Path) -> str:
    """A complaint about lines that are no whole record."""
    try:
        for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
            json.loads(line)
            if not line.endswith("\n"):
                return "metrics.jsonl ends without a line end"
    except ValueError:
        return "metrics.jsonl holds a torn line"
    return ""


def fill_before(place: str, disk: Path) -> None:
    """Let the disk be full from the second write of a kind on."""
    from agents import checkpoint
    from agents.runs import final
    from agents.runs.run_dir import RunDir
    from agents.runs.trackers import Tracker
    from benchmarks.fault_injection.worker import before

    fill = partial(fill_up, disk)
    if place == "checkpoint":
        before(checkpoint, "save", 2, fill)
    elif place == "metrics.jsonl":
        before(RunDir, "log", 2, fill)
    elif place == "pictures":
        before(final, "pictures", 1, fill)
    else:  # the disk is full for the tracker alone: one that is full for all stops the run before
        before(Tracker, "log", 2, leave_no_room)


def fill_up(disk: Path) -> None:
    """Write a file until nothing more fits."""
    with open(disk / "filler", "ab", buffering=0) as handle:
        size = 1 << 20
        while size:
            try:
                handle.write(bytes(size))
            except OSError:
                size //= 2
    assert os.statvfs(disk).f_bavail == 0


ROWS = (
    Row(
        *(
            4,
            "full disk at checkpoint, metrics.jsonl, pictures and tracker",
            "loud, old checkpoint whole, no torn line",
        ),
        fill_disks,
        size=len(PLACES),
        short_size=len(PLACES),
    ),
)
