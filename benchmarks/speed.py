"""How fast is it? Frames per second of every world, alone, under random actions.

    python -m benchmarks.speed                       all worlds that are installed here
    python -m benchmarks.speed --only breakout       rows whose name holds the word

Every row is measured in several rounds that alternate with the other rows', so that a busy moment of the machine does
not fall on one of them; the table gives the median and the range. One process, one thread unless a world has its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from envs.registry import UsageError
from envs.tasks import World


@dataclass(frozen=True)
class Row:
    """One measured setting."""

    name: str
    world: World
    num_envs: int
    floor: float | None = None
    """Frames/s that the project promises for it on one core."""


@dataclass
class Measured:
    """Frames per second of each round."""

    row: Row
    rounds: list[float] = field(default_factory=list)


def breakout(**options: Any) -> World:
    return World("breakout", {"preset": "mini64", **options})


ROWS = (
    Row("breakout index, no copy", breakout(mode="index", copy=False), 2048, 1e6),
    Row("breakout index", breakout(mode="index"), 64, 1e5),
    Row("breakout rgb", breakout(mode="rgb", ball_px=2), 64),
    Row("breakout rgb, 4 stacked", breakout(mode="rgb", ball_px=2).stacked(4), 64),
    Row("procgen coinrun, easy", World("procgen", {"game": "coinrun"}), 64),
    Row("coinrun-themes", World("coinrun-themes"), 64),
    Row("minigrid doorkey-8x8 rgb", World("minigrid", {"env_id": "MiniGrid-DoorKey-8x8-v0"}), 64),
    Row(
        "minigrid doorkey-8x8 symbolic",
        World("minigrid", {"env_id": "MiniGrid-DoorKey-8x8-v0", "view": "symbolic"}),
        64,
    ),
    Row("rooms, fixed camera", World("rooms", {"camera": "fixed"}), 64),
    Row("rooms, moving camera", World("rooms", {"camera": "moving"}), 64),
    Row("sprites", World("sprites"), 64),
    Row("atari breakout", World("atari-breakout"), 8),
)


@dataclass(frozen=True)
class Args:
    """Frames per second of the worlds."""

    only: str = ""
    """Rows whose name holds this."""
    rounds: int = 3
    """Rounds of each row."""
    seconds: float = 1.0
    """Length of a round."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the figures as JSON."""


def main(argv: Sequence[str] | None = None) -> int:
    try:
        args = tyro.cli(Args, prog="python -m benchmarks.speed", args=sys.argv[1:] if argv is None else list(argv))
        print(speed(args))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def speed(args: Args) -> str:
    """Measure and tabulate."""
    chosen = [row for row in ROWS if args.only in row.name]
    if not chosen:
        raise UsageError(f"--only '{args.only}': no such row. Known: {', '.join(row.name for row in ROWS)}")
    if args.rounds < 1 or args.seconds <= 0:
        raise UsageError(f"--rounds {args.rounds} --seconds {args.seconds}: give at least 1 and more than 0")
    measured, absent = [], []
    for row in chosen:
        try:
            row.world.make(1, 0).close()
            measured.append(Measured(row))
        except UsageError as error:
            absent.append(f"{row.name}: {error}")
    for number in range(args.rounds):
        for one in measured:
            print(f"round {number + 1}/{args.rounds}: {one.row.name}", file=sys.stderr, flush=True)
            one.rounds.append(frames_per_second(one.row, args.seconds))
    if args.out:
        figures = [{"name": m.row.name, "num_envs": m.row.num_envs, "frames_per_second": m.rounds} for m in measured]
        args.out.write_text(json.dumps(figures, indent=1) + "\n")
    return "\n".join([table(measured), *absent])


def frames_per_second(row: Row, seconds: float) -> float:
    """One round: steps of random actions for about so long, after a tenth of it to warm up."""
    envs: Any = row.world.make(row.num_envs, 0)
    envs.reset()
    actions = np.random.default_rng(0).integers(envs.single_action_space.n, size=(256, row.num_envs))
    steps, start, warm = 0, time.perf_counter(), False
    while (passed := time.perf_counter() - start) < seconds:
        if not warm and passed > seconds / 10:
            steps, start, warm = 0, time.perf_counter(), True
        envs.step(actions[steps % 256])
        steps += 1
    envs.close()
    return steps * row.num_envs / passed


def table(measured: Sequence[Measured]) -> str:
    from benchmarks.tables import aligned

    header = ["world", "envs", "frames/s", "range", "promised"]
    rows = [
        [
            one.row.name,
            f"{one.row.num_envs:,}",
            f"{np.median(one.rounds):,.0f}",
            f"{min(one.rounds):,.0f} to {max(one.rounds):,.0f}",
            f"{one.row.floor:,.0f}" if one.row.floor else "",
        ]
        for one in measured
    ]
    return aligned((header, rows))


if __name__ == "__main__":
    raise SystemExit(main())
