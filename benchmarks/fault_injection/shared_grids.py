"""Row 10: two processes on one run, and on one grid. Row 11: runs that crash or are killed within a grid."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import finish, started
from benchmarks.fault_injection.kills import KINDS, never_stopped, run_of
from benchmarks.fault_injection.trials import Row, Trial, attempt

FINISHED, FAILED, BUSY = 0, 1, 3
SEEDS = (0, 1, 2)


# row 10 --------------------------------------------------------------------------------------------------------------


def run_twice(folder: Path, short: bool) -> Iterator[Trial]:
    """Ten times the second of two on one run is refused; ten times two commands share three runs."""
    for number in range(1 if short else 10):
        yield attempt(f"one run {number}", partial(_refused, folder / f"run{number}"))
    for number in range(1 if short else 10):
        yield attempt(f"one grid {number}", partial(_shared, folder / f"grid{number}"))


def _refused(out: Path) -> str:
    gate = out.with_suffix(".gate")
    held = run_of(KINDS[0], out, prepare=partial(wait_in_rollout, str(gate)))
    with started(held, out.with_suffix(".first.log")) as first:
        if not first.wait_for(lambda: gate.with_suffix(".here").exists()):
            return f"the first process ended early: {first.text[-200:]}"
        status, text = finish(run_of(KINDS[0], out), out.with_suffix(".second.log"))
        if wrong := remains.bad_message(status, text, "another process trains", (BUSY,)):
            return wrong
        gate.touch()
        if status := first.wait():
            return f"the first process exited {status}: {first.text[-200:]}"
    return _trained_once(out, 1)


def wait_in_rollout(gate: str) -> None:
    """Let the run wait in its second update until the file ``gate`` is there."""
    import time

    from agents.on_policy import OnPolicyAlgorithm
    from benchmarks.fault_injection.worker import before

    def wait() -> None:
        Path(gate).with_suffix(".here").touch()
        while not Path(gate).exists():
            time.sleep(0.01)

    before(OnPolicyAlgorithm, "train", 2, wait)


def _shared(out: Path) -> str:
    grid = run_of(KINDS[0], out, seeds=SEEDS)
    with started(grid, out.with_suffix(".a.log")) as one, started(grid, out.with_suffix(".b.log")) as other:
        statuses = {one.wait(), other.wait()}
        text = one.text + other.text
    if not statuses <= {FINISHED, BUSY}:
        return f"exit statuses {sorted(statuses)}: {text[-200:]}"
    return _trained_once(out, len(SEEDS))


def _trained_once(out: Path, count: int) -> str:
    """A complaint where a run is missing, unfinished, or was started more than once."""
    runs = list((out / "runs").iterdir())
    if len(runs) != count or not all((run / "done").exists() for run in runs):
        return f"{sum((run / 'done').exists() for run in runs)} of {count} runs are finished"
    starts = [len(json.loads((run / "source.json").read_text(encoding="utf-8"))["starts"]) for run in runs]
    if starts != [1] * count:
        return f"runs were started {starts} times"
    steps = [[record["global_step"] for record in remains.records(run)] for run in runs]
    return "" if all(these == sorted(these) for these in steps) else "records of two processes are mixed"


# row 11 --------------------------------------------------------------------------------------------------------------


def crash_cells(folder: Path, short: bool) -> Iterator[Trial]:
    """The middle one of three runs raises, cannot get memory, or is killed with its process."""
    whole = never_stopped(KINDS[0], folder / "whole", seeds=SEEDS)
    expected = {run.name: remains.digest(run) for run in (whole / "runs").iterdir()}
    for fault in ("raises", "killed") if short else ("raises", "out of memory", "killed"):
        yield attempt(fault, partial(_crashed, folder / fault.replace(" ", "-"), fault, expected))


def _crashed(out: Path, fault: str, expected: dict[str, Any]) -> str:
    from benchmarks.fault_injection.worker import Command

    job = run_of(KINDS[0], out, seeds=SEEDS, prepare=partial(crash_second, fault))
    status, text = finish(job, out.with_suffix(".log"))
    wanted = -signal.SIGKILL if fault == "killed" else FAILED
    if status != wanted:
        return f"exit status {status}, not {wanted}: {text[-200:]}"
    done = {run.name for run in (out / "runs").iterdir() if (run / "done").exists()}
    if fault != "killed" and len(done) != len(SEEDS) - 1:
        return f"{len(done)} other runs are finished, not {len(SEEDS) - 1}"
    status, text = finish(Command("report", (str(out),)), out.with_suffix(".report.log"))
    (gap,) = [name for name in expected if "-s1-" in name]
    if status or "Traceback" in text or gap not in (out / "report.md").read_text(encoding="utf-8"):
        return f"the report does not name the gap {gap} (exit status {status})"
    status, text = finish(run_of(KINDS[0], out, seeds=SEEDS), out.with_suffix(".again.log"))
    if status:
        return f"the same command again: exit status {status}: {text[-200:]}"
    wrong = [remains.difference(out / "runs" / name, digest) for name, digest in expected.items()]
    return next(filter(None, wrong), "")


def crash_second(fault: str) -> None:
    """Let the second of the grid's runs come to a bad end in its second update."""
    from agents.on_policy import OnPolicyAlgorithm
    from benchmarks.fault_injection.worker import before

    def end() -> None:
        if fault == "killed":  # as the kernel does where memory is short
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "out of memory":
            raise MemoryError("Unable to allocate 64.0 GiB")
        raise RuntimeError("a mistake in an update")

    before(OnPolicyAlgorithm, "train", 4 + 2, end)  # four updates are the first run's


ROWS = (
    Row(
        10,
        "two processes on one run, and on one grid of three runs, 10 times each",
        "the second is refused, each run is trained once",
        run_twice,
        size=20,
        short_size=2,
    ),
    Row(
        11,
        "a run of a grid raises, has no memory, or is killed with its process",
        "others untouched, the report names the gap, the same command fills it",
        crash_cells,
        size=3,
        short_size=2,
    ),
)
