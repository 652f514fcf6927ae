"""Frames per second and memory of whole runs, compared with those of other people's loops.

    python -m benchmarks.speed
    python -m benchmarks.speed --only agents
    python -m benchmarks.speed --check

Everything takes half an hour on two cores. ``--only`` takes groups, or words that the names of rows hold; ``--check``
measures the ratios again and names those that fell below the committed ones.

Groups: environments (random actions alone), agents (our PPO, stable-baselines3's, the usual single-file loop: CoinRun,
same network and hyperparameters), frozen (networks that only act), methods (PPO with each representation), pretraining,
bonuses, num_envs (16 to 1024 of them).

The other loops run as they come, and once more with the one setting of ours that they could have for a line: freed
memory kept (``representations.malloc``).

Every measurement is a process of its own. Rows that a ratio needs are measured in every round, one after the other, so
that a busy moment of the machine does not fall on one of them, the others in the first round; tables give the median
and the range, ratios are taken within a round.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from benchmarks import cli
from envs.registry import UsageError

if TYPE_CHECKING:
    from benchmarks.baselines.measurement import Measured
    from benchmarks.baselines.speed_rows import Row

COMMITTED = Path(__file__).parent / "results" / "speed.json"
RENAMED = {"worlds": "environments", "envs": "num_envs"}
"""Groups by their names of the version before."""


@dataclass(frozen=True)
class Args:
    """Frames per second of environments, agents, pre-training and bonuses, compared with other people's loops."""

    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD")] = ()
    """Groups, or words of the rows' names."""
    rounds: int = 3
    """Rounds of the rows that the ratios need; the others are measured once."""
    seconds: float = 2.0
    """A measurement repeats whole iterations for at least so long."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device of the networks."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the figures as JSON, after each measurement."""
    check: bool = False
    """Measure the ratios and compare them with the committed ones; exit status 1 if one fell."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(speed, Args, argv)


def speed(args: Args) -> int:
    """Measure and tabulate; 1 where a check finds that a ratio fell."""
    from benchmarks.baselines import measurement

    if args.rounds < 1 or args.seconds <= 0:
        raise UsageError(f"--rounds {args.rounds} --seconds {args.seconds}: give at least 1 and more than 0")
    committed = committed_ratios() if args.check else {}
    chosen = choose(args)
    machine = measurement.machine(args.device)
    measured: list[Measured] = []
    absent: dict[str, str] = {}
    for measured, absent in measurement.measure(chosen, args.rounds, args.seconds, args.device):  # noqa: B007
        if args.out:
            rows = [row.as_json() for row in measured]
            report = {"machine": machine, "rows": rows, "ratios": measurement.ratios(measured)}
            cli.write_file(args.out, (json.dumps(report, indent=1) + "\n").encode())
    reasons = [f"{key}: {reason}" for key, reason in absent.items()]
    print("\n\n".join([about(machine), *tables(measured), *reasons]))
    if not args.check:
        return 0
    fallen = measurement.dropped(measurement.ratios(measured), committed)
    print("\n" + ("\n".join(fallen) or f"no ratio below {measurement.TOLERATED:.0%} of the committed one"))
    return 1 if fallen else 0


def choose(args: Args) -> list[Row]:
    """The rows to measure. UsageError where --only names none."""
    from benchmarks.baselines.speed_rows import COMPARED, rows

    if args.check:
        return [row for row in rows() if row.key in COMPARED]
    groups = list(dict.fromkeys(row.group for row in rows()))
    words = []
    for word in args.only:
        if word in RENAMED:
            print(f"--only {word}: this group is now called {RENAMED[word]}", file=sys.stderr)
        words.append(RENAMED.get(word, word))
    chosen = [
        row
        for row in rows()
        if not words or any(word == row.group if word in groups else word in row.name for word in words)
    ]
    if not chosen:
        raise UsageError(f"--only {' '.join(args.only)}: no such row. Groups: {', '.join(groups)}")
    return chosen


def committed_ratios() -> dict[str, list[float]]:
    """Ratios of the committed table, each round's."""
    try:
        return json.loads(COMMITTED.read_text(encoding="utf-8"))["ratios"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"--check needs {COMMITTED} ({error}); write it by python -m benchmarks.speed --out {COMMITTED}"
        ) from None


def about(machine: dict[str, Any]) -> str:
    """The machine in one line."""
    hardware = " and ".join(filter(None, [f"{machine['cores']} cores of {machine['cpu']}", machine["gpu"]]))
    commit = machine["commit"] or "unknown"
    return f"{hardware}; torch {machine['torch']}, ours in {machine['precision']}; commit {commit}"


def tables(measured: Sequence[Measured]) -> list[str]:
    """A table of rows, and one of ratios where there are any."""
    from benchmarks.baselines.measurement import bonus_costs, ratios
    from benchmarks.reporting.layout import aligned

    costs = bonus_costs(measured)
    header = ["group", "row", "frames/s", "range", "peak MiB", *["time of the bonus"] * bool(costs)]
    body = []
    for row in measured:
        cost = [f"{costs[row.row.key]:.0%}" if row.row.key in costs else ""] * bool(costs)
        memory = f"{max(figures.peak_mib for figures in row.rounds):,.0f}"
        body.append([row.row.group, row.row.name, *_median_and_range(row.speeds, ",.0f"), memory, *cost])
    texts = [aligned((header, body))]
    lines = [[name, *_median_and_range(values, ".2f")] for name, values in ratios(measured).items() if values]
    if lines:
        texts.append(aligned((["ratio", "median", "range"], lines)))
    return texts


def _median_and_range(values: Sequence[float], form: str) -> list[str]:
    return [f"{statistics.median(values):{form}}", f"{min(values):{form}} to {max(values):{form}}"]


if __name__ == "__main__":
    raise SystemExit(main())
