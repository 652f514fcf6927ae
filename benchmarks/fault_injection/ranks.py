"""Row 12: two ranks of torchrun on this machine: one is killed; one update ends early by its KL divergence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import LIMIT, descendants
from benchmarks.fault_injection.trials import Row, Trial, attempt

SECONDS = 60.0
EPOCHS = 9
ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def end_ranks(folder: Path, short: bool) -> Iterator[Trial]:
    """One rank killed, and updates that end early."""
    if not short:
        yield attempt("a killed rank", partial(_killed, folder / "killed"))
    yield attempt("an early end by target_kl", partial(_early_end, folder / "early"))
    if not short:
        yield Trial("two machines", untried="ranks on two machines need a second one; these two share the loopback")


def _start(out: Path, *words: str, **sizes: int) -> subprocess.Popen[str]:
    from benchmarks.fault_injection.worker import training, write_script

    out.mkdir(parents=True)
    job = training(out / "experiment", *words, report=False, sizes=sizes)
    command = [*TORCHRUN, str(write_script(job, out / "job.py"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with open(out.with_suffix(".log"), "w", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, text=True)


def _killed(out: Path) -> str:
    process = _start(out, steps=10**6)
    try:
        deadline = time.monotonic() + LIMIT
        while not list(out.glob("experiment/runs/*/checkpoint/train/*.json")):
            if process.poll() is not None or time.monotonic() > deadline:
                return f"it never came to train: {out.with_suffix('.log').read_text(encoding='utf-8')[-200:]}"
            time.sleep(0.05)
        ranks = descendants(process.pid)
        os.kill(_of_rank(ranks, "1"), signal.SIGKILL)
        status = process.wait(SECONDS)
        left = [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
    except subprocess.TimeoutExpired:
        return f"it did not end within {SECONDS:.0f} s of the kill"
    finally:
        _end(process)
    if not status:
        return "it ended as if nothing had happened"
    if left:
        return f"{len(left)} ranks were left behind"
    run = remains.only_run(out / "experiment")
    return "" if remains.newest_step(run) else "no whole checkpoint is left"


def _early_end(out: Path) -> str:
    from agents import checkpoint

    process = _start(out, "--set", f"ppo.epochs={EPOCHS}", "ppo.target_kl=1e-5")
    try:
        status = process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        return f"it hung for {LIMIT:.0f} s"
    finally:
        _end(process)
    text = out.with_suffix(".log").read_text(encoding="utf-8")
    if status:
        return f"exit status {status}: {text[-300:]}"
    newest = checkpoint.read(remains.only_run(out / "experiment") / "checkpoint" / "train")
    assert newest is not None
    # Weights of both ranks are compared at each save, which comes after each update here.
    step, epochs = newest[0], newest[1]["position"]["ranks"][0]["_n_updates"]
    return "" if step == 512 and epochs < 4 * EPOCHS else f"{epochs} of {4 * EPOCHS} epochs after {step} frames"


def _of_rank(processes: list[int], rank: str) -> int:
    for pid in processes:
        environment = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
        if f"RANK={rank}" in environment:
            return pid
    raise RuntimeError(f"no process of rank {rank}")


def _end(process: subprocess.Popen[str]) -> None:
    """End torchrun, which ends its ranks."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            for pid in descendants(process.pid):
                os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()


ROWS = (
    Row(
        12,
        "two ranks: one killed, updates that end early by target_kl",
        f"an error in less than {SECONDS:.0f} s, no hang, equal weights after each update",
        end_ranks,
        size=3,
        short_size=1,
    ),
)
