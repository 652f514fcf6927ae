"""How fast is it, beside what people use? Whole runs, side by side, frames per second and memory.

    python -m benchmarks.speed                       everything (half an hour on two cores)
    python -m benchmarks.speed --only agents         one group, or the rows whose name holds the word
    python -m benchmarks.speed --check               the ratios again, beside the committed ones: what fell?

Groups: worlds (random actions alone), agents (our PPO, stable-baselines3's, the usual single-file loop: CoinRun, same
network and hyperparameters), frozen (networks that only act), methods (PPO with each representation), pretraining,
bonuses, envs (16 to 1024 of them).

The other loops run as they come, and once more with the one setting of ours that they could have for a line: freed
memory kept (``representations.malloc``).

Every measurement is a process of its own. Rows that a ratio needs are measured in every round, one after the other, so
that a busy moment of the machine does not fall on one of them, the rest in the first; tables give the median and the
range, ratios are taken within a round.
"""

from __future__ import annotations

import json
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
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from benchmarks import cli
from envs.registry import UsageError
from envs.tasks import World
from intrinsic import BONUSES
from representations import REPRESENTATIONS

if TYPE_CHECKING:
    from benchmarks.baselines.frameworks import Figures

COMMITTED = Path(__file__).parent / "results" / "speed.json"
KEPT = 0.85
"""Part of a committed ratio that has to be left: rounds on a shared machine differ by a tenth."""


@dataclass(frozen=True)
class Row:
    """One measured setting."""

    group: str
    name: str
    work: str
    """A function of ``benchmarks.baselines.frameworks``."""
    options: dict[str, Any]
    floor: float | None = None
    """Frames/s that the project promises for it on one core."""

    @property
    def key(self) -> str:
        return f"{self.group}: {self.name}"


@dataclass(frozen=True)
class Ratio:
    """Frames/s of one row over those of another."""

    name: str
    above: str
    below: str
    promised: float | None = None


@dataclass
class Measured:
    """Figures of each round."""

    row: Row
    rounds: list[Figures] = field(default_factory=list)

    @property
    def speeds(self) -> list[float]:
        return [figures.frames_per_second for figures in self.rounds]


COINRUN = World("procgen", {"game": "coinrun", "num_levels": 200})


def _breakout(**options: Any) -> World:
    return World("breakout", {"preset": "mini64", **options})


def _worlds() -> list[Row]:
    doorkey = {"env_id": "MiniGrid-DoorKey-8x8-v0"}
    listed: list[tuple[str, World, int, float | None]] = [
        ("breakout index, no copy", _breakout(mode="index", copy=False), 2048, 1e6),
        ("breakout index", _breakout(mode="index"), 64, 1e5),
        ("breakout rgb", _breakout(mode="rgb", ball_px=2), 64, None),
        ("breakout rgb, 4 stacked", _breakout(mode="rgb", ball_px=2).stacked(4), 64, None),
        ("coinrun", COINRUN, 64, None),
        ("coinrun-themes", World("coinrun-themes"), 64, None),
        ("minigrid doorkey-8x8 rgb", World("minigrid", doorkey), 64, None),
        ("minigrid doorkey-8x8 symbolic", World("minigrid", {**doorkey, "view": "symbolic"}), 64, None),
        ("rooms, fixed camera", World("rooms", {"camera": "fixed"}), 64, None),
        ("rooms, moving camera", World("rooms", {"camera": "moving"}), 64, None),
        ("sprites", World("sprites"), 64, None),
        ("atari breakout", World("atari-breakout"), 8, None),
    ]
    return [Row("worlds", name, "world", {"world": w, "num_envs": n}, floor) for name, w, n, floor in listed]


def _agents() -> list[Row]:
    rows = []
    for trunk, n_steps in (("nature", 128), ("impala", 32)):  # the least that is a minibatch of 2048 frames
        size = {"world": COINRUN, "num_envs": 64, "n_steps": n_steps, "trunk": trunk}
        rows += [
            Row("agents", f"{trunk}, ours", "ours", size),
            Row("agents", f"{trunk}, ours in float32", "ours", {**size, "precision": "float32"}),
            Row("agents", f"{trunk}, single file", "single_file", size),
            Row("agents", f"{trunk}, stable-baselines3", "sb3", size),
            Row("agents", f"{trunk}, single file, memory kept", "single_file", {**size, "kept": True}),
            Row("agents", f"{trunk}, stable-baselines3, memory kept", "sb3", {**size, "kept": True}),
        ]
    return rows


def rows() -> list[Row]:
    """All of them."""
    size = {"world": COINRUN, "num_envs": 64, "n_steps": 64}
    found = [*_worlds(), *_agents()]
    for trunk in ("nature", "impala"):
        found.append(Row("frozen", f"{trunk}, only acting", "ours", {**size, "repr": "random", "trunk": trunk}))
    many = {**size, "num_envs": 256, "n_steps": 16, "repr": "random", "trunk": "nature"}
    found.append(Row("frozen", "nature, only acting, 256 environments", "ours", many))
    for name in REPRESENTATIONS.places:
        cls = REPRESENTATIONS.resolve(name)
        if "image" in cls.keys and set(cls.keys) <= {"image"}:
            found.append(Row("methods", f"ppo over {name} ({cls.default_mode})", "ours", {**size, "repr": name}))
        if cls.needs_pretraining:
            scenes = World("rooms", {"camera": "moving"}) if cls.views else COINRUN
            found.append(Row("pretraining", name, "pretraining", {"world": scenes, "repr": name, "samples": 2048}))
    found.append(Row("bonuses", "none", "ours", size))
    found += [Row("bonuses", name, "ours", {**size, "bonus": name}) for name in BONUSES.places]
    for count in (16, 64, 256, 1024):
        options = {"world": COINRUN, "num_envs": count, "n_steps": 16_384 // count, "trunk": "nature"}
        found.append(Row("envs", f"{count} environments", "ours", options))
    return found


RATIOS = (
    Ratio("impala: ours / stable-baselines3", "agents: impala, ours", "agents: impala, stable-baselines3", 4.0),
    Ratio("impala: ours / single file", "agents: impala, ours", "agents: impala, single file", 2.5),
    Ratio("nature: ours / stable-baselines3", "agents: nature, ours", "agents: nature, stable-baselines3", 2.0),
    Ratio("nature: ours / single file", "agents: nature, ours", "agents: nature, single file"),
    Ratio("frozen nature / coinrun alone", "frozen: nature, only acting", "worlds: coinrun", 0.25),
    Ratio("frozen nature / end to end", "frozen: nature, only acting", "agents: nature, ours"),
    Ratio("frozen impala / end to end", "frozen: impala, only acting", "agents: impala, ours"),
)
COMPARED = {key for ratio in RATIOS for key in (ratio.above, ratio.below)}


@dataclass(frozen=True)
class Args:
    """Frames per second of worlds, agents, pre-training and bonuses, beside what people use."""

    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD")] = ()
    """Groups, or words of the rows' names."""
    rounds: int = 3
    """Rounds of the rows that the ratios need; the others are measured once."""
    seconds: float = 2.0
    """A measurement repeats whole iterations for at least so long."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where networks run."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the figures as JSON, after each round."""
    check: bool = False
    """Measure the ratios and compare them with the committed ones; exit status 1 if one fell."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(speed, Args, argv)


def speed(args: Args) -> int:
    """Measure and tabulate; 1 where a check finds that a ratio fell."""
    if args.rounds < 1 or args.seconds <= 0:
        raise UsageError(f"--rounds {args.rounds} --seconds {args.seconds}: give at least 1 and more than 0")
    committed = _committed() if args.check else {}
    chosen = [row for row in rows() if _wanted(row, args)]
    if not chosen:
        groups = ", ".join(dict.fromkeys(row.group for row in rows()))
        raise UsageError(f"--only {' '.join(args.only)}: no such row. Groups: {groups}")
    place = machine(args.device)
    for measured, absent in measure(chosen, args):  # noqa: B007, the last round's are printed
        found = ratios(measured)
        if args.out:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            report = {"machine": place, "rows": [_json(one) for one in measured], "ratios": found}
            args.out.write_text(json.dumps(report, indent=1) + "\n")
    print("\n\n".join([_about(place), *tables(measured, found), *absent]))
    if not args.check:
        return 0
    fallen = fell(found, committed)
    print("\n" + ("\n".join(fallen) if fallen else f"no ratio below {KEPT:.0%} of the committed one"))
    return 1 if fallen else 0


def _wanted(row: Row, args: Args) -> bool:
    if args.check:
        return row.key in COMPARED
    groups = {each.group for each in rows()}
    return not args.only or any(word == row.group if word in groups else word in row.name for word in args.only)


def measure(chosen: Sequence[Row], args: Args) -> Iterator[tuple[list[Measured], list[str]]]:
    """What is known after each round; what cannot be measured here is named with the reason."""
    measured: list[Measured] = [Measured(row) for row in chosen]
    absent: list[str] = []
    for number in range(args.rounds):
        for one in [one for one in measured if number == 0 or one.row.key in COMPARED]:
            print(f"round {number + 1}/{args.rounds}: {one.row.key}", file=sys.stderr, flush=True)
            try:
                one.rounds.append(alone(one.row, args))
            except UsageError as error:
                measured.remove(one)
                absent.append(f"{one.row.key}: {error}")
        yield measured, absent


def alone(row: Row, args: Args) -> Figures:
    """One measurement, in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(_call, row, args.seconds, args.device).result()
        except BrokenProcessPool:
            raise UsageError("its process was killed; most likely the memory did not suffice") from None


def _call(row: Row, seconds: float, device: str) -> Figures:
    from benchmarks.baselines import frameworks

    return getattr(frameworks, row.work)(seconds, device, **row.options)


def ratios(measured: Sequence[Measured]) -> dict[str, list[float]]:
    """Each ratio, round by round, where both rows were measured."""
    known = {one.row.key: one.speeds for one in measured}
    return {
        ratio.name: [above / below for above, below in zip(known[ratio.above], known[ratio.below], strict=True)]
        for ratio in RATIOS
        if ratio.above in known and ratio.below in known
    }


def fell(found: dict[str, list[float]], committed: dict[str, list[float]]) -> list[str]:
    """A line for each ratio whose median is below ``KEPT`` times the committed median."""
    return [
        f"fell: {name} is {statistics.median(now):.2f}, committed {statistics.median(committed[name]):.2f}"
        for name, now in found.items()
        if name in committed and statistics.median(now) < KEPT * statistics.median(committed[name])
    ]


def _committed() -> dict[str, list[float]]:
    try:
        return json.loads(COMMITTED.read_text())["ratios"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"--check needs {COMMITTED} ({error}); write it by python -m benchmarks.speed --out {COMMITTED}"
        ) from None


def machine(device: str) -> dict[str, Any]:
    """Where and on what this was measured."""
    import torch

    from agents.runs.build import resolve_precision

    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
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


def _about(machine: dict[str, Any]) -> str:
    place = " and ".join(filter(None, [f"{machine['cores']} cores of {machine['cpu']}", machine["gpu"]]))
    return f"{place}; torch {machine['torch']}, ours in {machine['precision']}; commit {machine['commit'] or 'unknown'}"


def _json(one: Measured) -> dict[str, Any]:
    return {"group": one.row.group, "name": one.row.name, "rounds": [asdict(figures) for figures in one.rounds]}


def tables(measured: Sequence[Measured], found: dict[str, list[float]]) -> list[str]:
    """One of rows, one of ratios."""
    from benchmarks.reporting.layout import aligned

    shares = bonus_shares(measured)
    header = ["group", "row", "frames/s", "range", "peak MiB", "promised"]
    body = [
        [
            one.row.group,
            one.row.name,
            f"{statistics.median(one.speeds):,.0f}",
            f"{min(one.speeds):,.0f} to {max(one.speeds):,.0f}",
            f"{max(figures.peak_mib for figures in one.rounds):,.0f}",
            f"{one.row.floor:,.0f}" if one.row.floor else shares.get(one.row.key, ""),
        ]
        for one in measured
    ]
    shown = [aligned((header, body))]
    promised = {ratio.name: ratio.promised for ratio in RATIOS}
    if found:
        lines = [
            [
                name,
                f"{statistics.median(values):.2f}",
                f"{min(values):.2f} to {max(values):.2f}",
                _least(promised[name]),
            ]
            for name, values in found.items()
        ]
        shown.append(aligned((["ratio", "median", "range", "promised"], lines)))
    return shown


def _least(promised: float | None) -> str:
    return "" if promised is None else f"{promised:g}"


def bonus_shares(measured: Sequence[Measured]) -> dict[str, str]:
    """What part of a run each bonus takes: 1 - frames/s with it over frames/s without."""
    of = {one.row.key: one.speeds for one in measured if one.row.group == "bonuses"}
    plain = of.get("bonuses: none")
    if plain is None:
        return {}
    taken = {
        key: statistics.median(1 - with_it / without for with_it, without in zip(speeds, plain, strict=True))
        for key, speeds in of.items()
        if key != "bonuses: none"
    }
    return {key: f"{share:.0%} of the run" for key, share in taken.items()}


if __name__ == "__main__":
    raise SystemExit(main())
