"""Hashes of everything that short runs compute: proof that a change of the code moves no number.

    python -m benchmarks.neutrality --out hashes.csv
    python -m benchmarks.neutrality --against benchmarks/results/neutrality.csv --only darla icm

One row a case: every representation under PPO and A2C, every bonus, every suite, some combinations, and a run that is
killed and resumed. All at preset smoke, float32, one thread. A row holds three hashes, each over values without their
names, so that renaming a metric or a module changes none of them:

* weights   tensors of the policy and the bonuses in the last checkpoint
* records   numbers of every record in metrics.jsonl, times left out
* episodes  level, return and length of every episode of the final evaluation

Hashes of one machine and one version of torch can be compared; another processor may round differently.

A result names its behaviour by its commit and the neutrality hash of its path: ``behaviour(row)``, one hash over the
three of the case that trains as it does (the same representation, agent, bonus and suite). Two commits with the same
hash there are one behaviour, and their runs may stand in one cell of a table; where it differs they may not.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from safetensors import safe_open
from tqdm import tqdm

from benchmarks import cli
from envs.registry import UsageError
from envs.suites import SUITES, build
from intrinsic import BONUSES
from representations import REPRESENTATIONS

HASHES = ("weights", "records", "episodes")
COLUMNS = ("case", *HASHES, "arguments")
SMALLER = {"monet": "--set monet.slots=3 monet.channels=(4,4,8) monet.decoder_channels=4"}
"""Settings of methods whose default size takes minutes even at preset smoke."""
AUXILIARY = ("unreal", "drac")
"""Representations that have a loss beside the agent's in their default mode."""


@dataclass(frozen=True)
class Case:
    """One short run of ``benchmarks.transfer``."""

    name: str
    arguments: str
    killed: bool = False
    """Kill it after its first checkpoint, then run the same command again."""
    auxiliary: bool = False
    """Its records must hold metrics of an auxiliary loss: a hash of a plain network would prove nothing."""
    runs: int = 1
    """Runs that the command trains: control rows count, too."""


def cases() -> Iterator[Case]:
    """Every registered representation, bonus and suite, and combinations that reach other code."""
    for name in REPRESENTATIONS:
        suite = "rooms" if name in ("gqn", "oracle") else "coinrun"
        for algo in ("ppo", "a2c"):
            arguments = f"--repr {name} --suite {suite} --algo {algo} {SMALLER.get(name, '')}".strip()
            yield Case(f"{name}/{algo}", arguments, auxiliary=name in AUXILIARY)
    doorkey = "--suite minigrid-ladder --tasks doorkey-8x8"
    for name in BONUSES:
        yield Case(f"bonus/{name}", f"--repr cnn --bonus {name} {doorkey}")
    for name in SUITES:
        yield Case(f"suite/{name}", f"--repr cnn --suite {name} --tasks {build(name)[0].env} --steps 2048")
    yield Case("breakout/darla/frozen", "--repr darla --suite breakout")
    yield Case("breakout/beta_vae/finetune", "--repr beta_vae --mode finetune --suite breakout")
    yield Case("breakout/cpc/frozen", "--repr cpc --mode frozen --suite breakout")
    yield Case("monet/attention", f"--repr monet --suite coinrun {SMALLER['monet']} monet.pool=attention")
    yield Case("rooms/random", "--repr random --suite rooms-moving")
    yield Case("rooms/diayn", "--repr cnn --suite rooms --bonus diayn")
    yield Case("bonus/on_features", "--repr random --suite coinrun --bonus rnd --set rnd.on=features")
    yield Case("bonus/two_with_own_head", f"--repr cnn --bonus icm:0.01 rnd:1 {doorkey} --set ppo.bonus_head=True")
    yield Case("timeouts", "--repr cnn --suite minigrid --tasks minigrid-empty --set ppo.timeout_is_terminal=True")
    yield Case("unreal/memory", "--repr unreal --memory gru --last-step --suite counting", auxiliary=True)
    yield Case("cpc/memory", f"--repr cpc --mode online --memory gru {doorkey}", auxiliary=True)
    yield Case("curl/online", "--repr curl --mode online --suite coinrun", auxiliary=True)
    yield Case("vae/mixed", "--repr vae --suite coinrun --pretrain-data mixed", runs=4)
    yield Case("vae/more", "--repr vae --suite coinrun --pretrain-levels more", runs=4)
    yield Case("killed/unreal", "--repr unreal --suite counting --steps 8192", killed=True, auxiliary=True)
    yield Case("killed/darla", "--repr darla --suite coinrun --steps 8192", killed=True)
    yield Case("killed/icm", f"--repr cnn --bonus icm {doorkey} --steps 8192", killed=True)


def run_case(case: Case, folder: Path) -> dict[str, str]:
    """Run one case in ``folder`` and hash its files; RuntimeError with the end of its stderr where it fails."""
    command = [
        *(sys.executable, "-m", "benchmarks.transfer", *case.arguments.split()),
        *("--preset", "smoke", "--no-baseline", "--precision", "float32", "--device", "cpu", "--out", str(folder)),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if case.killed:
        _start_and_kill(command, environment, folder)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{case.name}: {' '.join(command)} exited {done.returncode}: {done.stderr[-2000:]}")
    return {"case": case.name, **hash_runs(case, list((folder / "runs").iterdir())), "arguments": case.arguments}


def hash_runs(case: Case, runs: Sequence[Path]) -> dict[str, str]:
    """The three hashes of a case's runs; of several, hashes of theirs.

    Raises:
        RuntimeError: another number of runs, or no auxiliary loss where the case is there for it.
    """
    if len(runs) != case.runs:
        raise RuntimeError(f"{case.name}: {len(runs)} runs where {case.runs} were expected")
    if case.auxiliary and not all('"auxiliary/' in (run / "metrics.jsonl").read_text(encoding="utf-8") for run in runs):
        raise RuntimeError(f"{case.name}: no record of an auxiliary loss, so its hash would be a plain network's")
    hashes = {}
    for name, hash_run in zip(HASHES, (hash_weights, hash_records, hash_episodes), strict=True):
        of_runs = sorted(hash_run(run) for run in runs)
        hashes[name] = of_runs[0] if len(runs) == 1 else _digest(" ".join(of_runs))
    return hashes


def _start_and_kill(command: Sequence[str], environment: dict[str, str], folder: Path) -> None:
    """Start the run, and kill it once a checkpoint of its training is whole; RuntimeError where it ended first."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(folder.glob("runs/*/checkpoint/train/*.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL or list(folder.glob("runs/*/done")):
        raise RuntimeError(f"{' '.join(command)} ended before it could be killed")


def hash_weights(run: Path) -> str:
    """Tensors of the policy and the bonuses in the newest checkpoint, whatever they are called."""
    newest = max((run / "checkpoint" / "train").glob("*.safetensors"))
    rows = []
    with safe_open(newest, "pt") as tensors:
        for key in tensors.keys():  # noqa: SIM118 (not a dict)
            component, _, name = key.partition(".")
            if name.startswith("module.") and (component == "policy" or component.startswith("bonus/")):
                tensor = tensors.get_tensor(key)
                content = hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
                rows.append(f"{tensor.dtype} {tuple(tensor.shape)} {content}")
    return _digest("\n".join(sorted(rows)))


def hash_records(run: Path) -> str:
    """Numbers of every record, sorted within it, without times."""
    rows = []
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        rows.append(" ".join(sorted(repr(value) for key, value in record.items() if not key.startswith("time/"))))
    return _digest("\n".join(rows))


def hash_episodes(run: Path) -> str:
    """Level, return and length of the final evaluation's episodes, in their order."""
    with open(run / "eval.csv", encoding="utf-8", newline="") as handle:
        rows = [f"{row['level']} {row['return']} {row['length']}" for row in csv.DictReader(handle)]
    return _digest("\n".join(rows))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def behaviour(row: Mapping[str, str]) -> str:
    """One hash over the three of a row; equal hashes at two commits mean that the case computes the same."""
    return _digest(" ".join(row[name] for name in HASHES))


def compare(rows: Sequence[dict[str, str]], before: Sequence[dict[str, str]]) -> list[str]:
    """One line for each hash that differs from ``before``; cases of one side alone are left out."""
    known = {row["case"]: row for row in before}
    return [
        f"{row['case']}: {name} {known[row['case']][name]} -> {row[name]}"
        for row in rows
        if row["case"] in known
        for name in HASHES
        if row[name] != known[row["case"]][name]
    ]


@dataclass(frozen=True)
class Args:
    """Hash everything that short runs compute, as proof that a change of the code moves no number."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the table as CSV, after each case."""
    against: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """CSV to compare with; exit status 1 where a hash differs."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="WORD")] = ()
    """Cases whose name contains one of these words. Default: all."""
    jobs: int = 2
    """Runs at a time, one thread each."""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.main(neutrality, Args, argv)


def neutrality(args: Args) -> int:
    """Run the chosen cases, write their hashes, and compare them; 1 where one differs."""
    if args.jobs < 1:
        raise UsageError(f"--jobs {args.jobs}: give a whole number of at least 1")
    if args.against is not None and not args.against.is_file():
        raise UsageError(f"--against {args.against}: no such file; write one by python -m benchmarks.neutrality --out")
    chosen = [case for case in cases() if not args.only or any(word in case.name for word in args.only)]
    if not chosen:
        raise UsageError(f"--only {' '.join(args.only)}: no such case; known: {', '.join(c.name for c in cases())}")
    folder = Path(tempfile.mkdtemp(prefix="neutrality-"))
    rows: list[dict[str, str]] = []
    try:
        with ThreadPoolExecutor(args.jobs) as pool:
            places = [folder / str(number) for number in range(len(chosen))]
            for row in tqdm(pool.map(run_case, chosen, places), total=len(chosen), unit="run"):
                rows.append(row)
                if args.out is not None:
                    cli.write_csv(args.out, rows, COLUMNS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if args.against is None:
        return 0
    with open(args.against, encoding="utf-8", newline="") as handle:
        before = list(csv.DictReader(handle))
    differing = compare(rows, before)
    print("\n".join(differing) or f"{len(rows)} cases, no difference")
    if absent := [row["case"] for row in rows if row["case"] not in {known["case"] for known in before}]:
        print(f"not in {args.against}, so not compared: {', '.join(absent)}")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
