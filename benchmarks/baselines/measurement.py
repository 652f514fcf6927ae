"""Measurements of speed: each in a process of its own, round after round, and what follows from them."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.baselines.speed_rows import COMPARED, NO_BONUS, RATIOS, Row
from envs.registry import UsageError

if TYPE_CHECKING:
    from benchmarks.baselines.frameworks import Figures

TOLERATED = 0.85
"""Fraction of a committed ratio that has to be left: rounds on a shared machine differ by a tenth."""


@dataclass
class Measured:
    """Figures of one row, one for each round."""

    row: Row
    rounds: list[Figures] = field(default_factory=list)

    @property
    def speeds(self) -> list[float]:
        """Frames per second of each round."""
        return [figures.frames_per_second for figures in self.rounds]

    def as_json(self) -> dict[str, Any]:
        rounds = [asdict(figures) for figures in self.rounds]
        return {"group": self.row.group, "name": self.row.name, "rounds": rounds}


def measure(
    rows: Sequence[Row], rounds: int, seconds: float, device: str
) -> Iterator[tuple[list[Measured], dict[str, str]]]:
    """Measure rows that a ratio needs in every round, the others in the first.

    Yields after each measurement, so that a call cut short keeps what it has: all rows that have a measurement, and
    for those that cannot be measured here key -> reason.
    """
    all_rows = [Measured(row) for row in rows]
    absent: dict[str, str] = {}
    for number in range(rounds):
        for measured in all_rows:
            key = measured.row.key
            if key in absent or (number > 0 and key not in COMPARED):
                continue
            print(f"round {number + 1}/{rounds}: {key}", file=sys.stderr, flush=True)
            try:
                measured.rounds.append(in_own_process(measured.row, seconds, device))
            except UsageError as error:
                absent[key] = str(error)
            yield [row for row in all_rows if row.rounds and row.row.key not in absent], absent


def in_own_process(row: Row, seconds: float, device: str) -> Figures:
    """One measurement in a new process, so that no other one's memory or threads come into it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(_call, row, seconds, device).result()
        except BrokenProcessPool:
            raise UsageError("its process was killed; most likely the memory did not suffice") from None


def _call(row: Row, seconds: float, device: str) -> Figures:
    from benchmarks.baselines import frameworks

    return getattr(frameworks, row.function)(seconds, device, **row.options)


def ratios(measured: Sequence[Measured]) -> dict[str, list[float]]:
    """Ratio -> its value in each round that measured both of its rows."""
    speeds = {row.row.key: row.speeds for row in measured}
    return {
        ratio.name: [
            above / below for above, below in zip(speeds[ratio.numerator], speeds[ratio.denominator], strict=False)
        ]
        for ratio in RATIOS
        if ratio.numerator in speeds and ratio.denominator in speeds
    }


def dropped(now: dict[str, list[float]], committed: dict[str, list[float]]) -> list[str]:
    """A line for each ratio whose median is below ``TOLERATED`` times the committed median."""
    return [
        f"fell: {name} is {statistics.median(values):.2f}, committed {statistics.median(committed[name]):.2f}"
        for name, values in now.items()
        if name in committed and statistics.median(values) < TOLERATED * statistics.median(committed[name])
    ]


def bonus_costs(measured: Sequence[Measured]) -> dict[str, float]:
    """Row key -> fraction of a run's time that each bonus takes: 1 - frames/s with it over frames/s without."""
    speeds = {row.row.key: row.speeds for row in measured if row.row.group == "bonuses"}
    without = speeds.pop(NO_BONUS, None)
    if without is None:
        return {}
    return {
        key: statistics.median(1 - with_bonus / plain for with_bonus, plain in zip(values, without, strict=False))
        for key, values in speeds.items()
    }


def machine(device: str) -> dict[str, Any]:
    """Processor, versions and commit of these measurements."""
    import torch

    from agents.runs.build import resolve_precision

    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else "",
        "precision": resolve_precision("auto", device),
        "torch": torch.__version__,
        "commit": commit.stdout.decode().strip(),
    }
