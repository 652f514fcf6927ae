"""Row 1: SIGKILL at random moments. Row 2: SIGKILL at six points within a save.

Both start the command again afterwards and compare with the run that was never stopped.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import finish, started
from benchmarks.fault_injection.trials import Row, Trial, attempt

KINDS: tuple[dict[str, Any], ...] = (
    {"repr": "cnn"},
    {"repr": "vae", "sizes": {"pretrain_share": 0.002}},
    {"repr": "cnn", "algo": "a2c", "words": ("--bonus", "rnd", "--memory", "gru")},
)
"""Runs to kill: end-to-end, one that is pre-trained, and one with a bonus and a memory."""
SAVES = 10
POINTS = (
    "tensors half written",
    "tensors whole, not renamed",
    "tensors renamed",
    "document half written",
    "document renamed",
    "older document removed",
)
KEPT = 2
"""Checkpoints kept; older ones are removed from the third save on."""


def run_of(kind: dict[str, Any], out: Path, **more: Any) -> Any:
    from benchmarks.fault_injection.worker import training

    options = {name: value for name, value in kind.items() if name != "words"}
    return training(out, *kind.get("words", ()), **options, report=False, **more)


def never_stopped(kind: dict[str, Any], out: Path, **more: Any) -> Path:
    """The finished run that nothing was done to, which others are compared with.

    Raises:
        RuntimeError: not even that one ends.
    """
    status, text = finish(run_of(kind, out, **more), out.with_suffix(".log"))
    if status:
        raise RuntimeError(f"the run to compare with exited {status}: {text[-300:]}")
    return out


# row 1 ---------------------------------------------------------------------------------------------------------------


def kill_at_random(folder: Path, short: bool) -> Iterator[Trial]:
    """Kills spread at random over the whole time of a run, its start and its evaluation included."""
    draws = random.Random(0)
    kinds = KINDS[:1] if short else KINDS
    whole = {}
    for index, kind in enumerate(kinds):
        out = folder / f"whole{index}"
        begun = time.monotonic()
        run = remains.only_run(never_stopped(kind, out))
        whole[index] = remains.digest(run), _seconds(begun, run)
    for number in range(4 if short else 50):
        index = number % len(kinds)
        expected, seconds = whole[index]
        moment = draws.random()
        name = f"{kinds[index]['repr']}, kill {number + 1} at {moment:.0%} of the run"
        out = folder / f"killed{number}"
        yield attempt(name, partial(_killed, kinds[index], out, moment, seconds, expected))


def _seconds(begun: float, run: Path) -> float:
    """From the start of a child to the ``done`` of its run."""
    age = time.time() - (run / "done").stat().st_mtime
    return time.monotonic() - begun - age


def _killed(kind: dict[str, Any], out: Path, moment: float, seconds: float, expected: dict[str, str]) -> str:
    for again in range(5):
        place = out.with_name(f"{out.name}-{again}")
        with started(run_of(kind, place), place.with_suffix(".log")) as child:
            child.process.join(max(0.0, child.started + moment * seconds - time.monotonic()))
            status = child.kill()
        if status == -signal.SIGKILL:
            break
        moment *= 0.8  # it was quicker than the run whose time was taken
    else:
        return "it ended before it could be killed"
    status, text = finish(run_of(kind, place), place.with_suffix(".again.log"))
    return f"exit status {status}: {text[-200:]}" if status else remains.difference(remains.only_run(place), expected)


# row 2 ---------------------------------------------------------------------------------------------------------------


def kill_within_saves(folder: Path, short: bool) -> Iterator[Trial]:
    """Kills at each point of ten saves; a run of as many rollouts as it needs for that."""
    rollouts = 4 if short else SAVES + KEPT
    sizes = {"steps": rollouts * _rollout(), "checkpoint_frames": _rollout()}
    run = partial(run_of, KINDS[0], sizes=sizes)
    expected = remains.digest(remains.only_run(never_stopped(KINDS[0], folder / "whole", sizes=sizes)))
    for point, nth in itertools.product(POINTS, range(2, 3) if short else range(1, SAVES + 1)):
        # Nothing older is there to be removed before the third save.
        save = nth + KEPT * (point == POINTS[-1])
        out = folder / f"{POINTS.index(point)}-{nth}"
        yield attempt(f"{point}, save {save}", partial(_killed_in_save, run, out, point, save, expected))


def _rollout() -> int:
    from benchmarks.fault_injection.worker import ROLLOUT

    return ROLLOUT


def _killed_in_save(run: Any, out: Path, point: str, save: int, expected: dict[str, str]) -> str:
    with started(run(out, prepare=partial(kill_in_save, point, save)), out.with_suffix(".log")) as child:
        status = child.wait()
    if status != -signal.SIGKILL:
        return f"the kill never came: exit status {status}: {child.text[-200:]}"
    place = remains.only_run(out)
    if (step := remains.newest_step(place)) < (save - 1) * _rollout():
        return f"more than one interval lost: back at frame {step} from {save * _rollout()}"
    status, text = finish(run(out), out.with_suffix(".again.log"))
    return f"exit status {status}: {text[-200:]}" if status else remains.difference(place, expected)


def kill_in_save(point: str, save: int) -> None:
    """Let this process be killed at a point of its nth save (from 1) of training."""
    from benchmarks.fault_injection.worker import replace

    rename, unlink, saves = os.replace, Path.unlink, [0]

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def renamed(source: Any, target: Any) -> None:
        target = Path(target)
        if target.parent.name == "train":
            saves[0] += target.suffix == ".safetensors"
            _at_rename(point if saves[0] == save else "", Path(source), target, rename, die)
        rename(source, target)
        if point == "document renamed" and saves[0] == save and target.match("train/*.json"):
            die()

    def unlinked(path: Path, missing_ok: bool = False) -> None:
        # Its document is gone. Temporary files, which begin with a dot, are removed, too.
        if point == POINTS[-1] and saves[0] == save and path.match("train/[0-9]*.safetensors"):
            die()
        unlink(path, missing_ok)

    replace(os, "replace", renamed)
    replace(Path, "unlink", unlinked)


def _at_rename(point: str, source: Path, target: Path, rename: Any, die: Any) -> None:
    """Die before a rename, or right after it, if the point is there."""
    tensors = target.suffix == ".safetensors"
    if point == ("tensors half written" if tensors else "document half written"):
        os.truncate(source, source.stat().st_size // 2)
        die()
    if point == "tensors whole, not renamed" and tensors:
        die()
    if point == "tensors renamed" and tensors:
        rename(source, target)
        die()


ROWS = (
    Row(
        *(
            1,
            "SIGKILL at 50 random moments of a run",
            "resumed, its bits and records are those of the run never killed",
        ),
        kill_at_random,
        size=50,
        short_size=4,
    ),
    Row(
        2,
        "SIGKILL at 6 points in each of 10 saves",
        "loadable, at most one interval lost, same bits in the end",
        kill_within_saves,
        size=60,
        short_size=6,
    ),
)
