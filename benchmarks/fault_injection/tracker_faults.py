"""Row 9: trackers that are missing, without a key, without a terminal, killed, locked out or out of room.

The run must be the run without a tracker, bit for bit, and wait less than a second for any call while it trains.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import finish
from benchmarks.fault_injection.kills import KINDS, never_stopped, run_of
from benchmarks.fault_injection.trials import Row, Trial, attempt

STALL = 1.0
"""Seconds that one record may take."""
OFF = r"tracker '\w+' is off for this run"
CASES = {
    "missing package": ("wandb", OFF),
    "no key": ("wandb", "wandb is offline"),
    "no terminal": ("wandb", "wandb is offline"),
    "core killed": ("wandb", ""),
    "locked folder": ("tensorboard", OFF),
    "full disk": ("tensorboard", OFF),
}
"""Fault -> tracker, line that must be printed."""
QUESTIONS = ("(1) Create a W&B account", "Enter your choice", "Paste an API key")


def break_trackers(folder: Path, short: bool) -> Iterator[Trial]:
    """Each fault once. No tracker here has a database; a folder that cannot be made stands for a locked one."""
    expected = remains.digest(remains.only_run(never_stopped(KINDS[0], folder / "whole")))
    for fault, (tracker, line) in CASES.items():
        if short and tracker == "wandb" and fault != "missing package":
            continue
        if importlib.util.find_spec(tracker) is None and fault != "missing package":
            yield Trial(fault, untried=f"{tracker} is not installed here")
        else:
            yield attempt(fault, partial(_broken, folder / fault.replace(" ", "-"), fault, tracker, line, expected))


def _broken(out: Path, fault: str, tracker: str, line: str, expected: dict[str, str]) -> str:
    stalls = out.with_suffix(".stalls")
    kind = {**KINDS[0], "words": ("--log", tracker)}
    job = run_of(kind, out, prepare=partial(spoil_tracker, fault, str(out), str(stalls)))
    status, text = finish(job, out.with_suffix(".log"))
    if wrong := remains.bad_message(status, text, line, (0,)):
        return wrong
    if asked := [question for question in QUESTIONS if question in text]:
        return f"it asked: {asked[0]}"
    longest = max(map(float, stalls.read_text(encoding="utf-8").split()), default=0.0)
    if longest > STALL:
        return f"one record held the run for {longest:.1f} s"
    return remains.difference(remains.only_run(out), expected)


def spoil_tracker(fault: str, out: str, stalls: str) -> None:
    """Put the fault in, and write the seconds of each record into the file ``stalls``."""
    from agents.runs.trackers import Tracker
    from benchmarks.fault_injection.worker import before, replace

    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        os.environ.pop(name, None)
    os.environ["NETRC"] = os.devnull
    log = Tracker.log
    Path(stalls).touch()

    def timed(tracker: Tracker, record: Any) -> None:
        begun = time.monotonic()
        log(tracker, record)
        with open(stalls, "a", encoding="utf-8") as handle:
            handle.write(f"{time.monotonic() - begun:.3f}\n")

    if fault == "missing package":
        sys.modules["wandb"] = None  # type: ignore[assignment]
    elif fault == "no terminal":
        sys.stdin.close()
    elif fault == "full disk":
        leave_no_room()
    elif fault == "locked folder":
        before(Tracker, "begin", 1, partial(_take_place, Path(out)))
    replace(Tracker, "log", timed)
    if fault == "core killed":
        before(Tracker, "log", 2, _kill_core)


def leave_no_room() -> None:
    """Let tensorboard find its disk full from now on."""
    from torch.utils.tensorboard import SummaryWriter

    from benchmarks.fault_injection.worker import replace

    def refused(*arguments: object) -> None:
        with open("/dev/full", "w", encoding="utf-8") as handle:
            handle.write("x")

    replace(SummaryWriter, "add_scalar", refused)


def _take_place(out: Path) -> None:
    """A file where the tracker would make its folder."""
    (remains.only_run(out) / "tensorboard").touch()


def _kill_core() -> None:
    """SIGKILL to the process that wandb sends its records to."""
    from benchmarks.fault_injection.children import descendants

    killed = [pid for pid in descendants(os.getpid()) if b"wandb" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    if not killed:
        raise RuntimeError("no process of wandb was there to be killed")
    for pid in killed:
        os.kill(pid, signal.SIGKILL)


ROWS = (
    Row(
        9,
        "tracker missing, no key, no terminal, its process killed, locked out, disk full",
        f"same bits, no question, no record takes {STALL:g} s",
        break_trackers,
        size=len(CASES),
        short_size=3,
    ),
)
