"""Row 14: the same seed twice, for every representation and algorithm, in two processes of other hash seeds."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agents import ALGORITHMS
from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import finish
from benchmarks.fault_injection.kills import run_of
from benchmarks.fault_injection.trials import Row, Trial, attempt
from representations import REPRESENTATIONS

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("gqn", "oracle", "content_pose")
"""Representations that read what the counting environment does not have."""
CASES = tuple(itertools.product(REPRESENTATIONS.places, ALGORITHMS.places))


def repeat_runs(folder: Path, short: bool) -> Iterator[Trial]:
    """Two runs of each case: one forked from the server, one in an interpreter of its own."""
    for repr, algo in CASES[:4:3] if short else CASES:
        yield attempt(f"{repr}, {algo}", partial(_same, folder, repr, algo))


def _same(folder: Path, repr: str, algo: str) -> str:
    from benchmarks.fault_injection.worker import write_script

    first, second = (folder / f"{repr}-{algo}-{number}" for number in (1, 2))
    status, text = finish(_job(first, repr, algo), first.with_suffix(".log"))
    if status:
        return f"{repr}, {algo}: exit status {status}: {text[-200:]}"
    script = write_script(_job(second, repr, algo), first.with_suffix(".py"))
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    if done.returncode:
        return f"{repr}, {algo}, second: exit status {done.returncode}: {done.stderr[-200:]}"
    wrong = remains.difference(remains.only_run(second), remains.digest(remains.only_run(first)))
    return f"{repr}, {algo}: {wrong}" if wrong else ""


def _job(out: Path, repr: str, algo: str) -> Any:
    suite = "rooms" if repr in ROOMS else "counting"
    small = ("--set", "monet.slots=3", "monet.channels=(4,4,8)", "monet.decoder_channels=4")
    kind = {"repr": repr, "algo": algo, "words": small if repr == "monet" else ()}
    # Two rollouts; a few optimizer steps of pre-training, of whatever size a method's batch is.
    return run_of(kind, out, source=("--suite", suite), sizes={"steps": 256, "pretrain_share": 1e-4})


ROWS = (
    Row(
        14,
        "the same seed twice, every representation under PPO and A2C",
        "the same bits",
        repeat_runs,
        size=len(CASES),
        short_size=2,
    ),
)
