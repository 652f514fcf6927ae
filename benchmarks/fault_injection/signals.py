"""Row 5: SIGTERM, SIGUSR1 and SIGINT in ten phases of a run, and a second signal that ends it at once."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fault_injection import remains
from benchmarks.fault_injection.children import finish, started
from benchmarks.fault_injection.kills import never_stopped, run_of
from benchmarks.fault_injection.trials import Row, Trial, attempt

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name))
PREEMPTED = 75
KIND: dict[str, Any] = {"repr": "vae", "sizes": {"pretrain_share": 0.002, "periodic_evals": 2}}
PHASES = {
    "before pre-training": 0,
    "in pre-training": 0,
    "saving pre-training": 0,
    "scaling features": 0,
    "building the agent": 128,
    "in a rollout": 128,
    "in an update": 256,
    "saving": 256,
    "evaluating between rollouts": 256,
    "evaluating at the end": 512,
}
"""Phase -> frames that the newest checkpoint must hold afterwards: those of the rollout that was running."""
SECOND = {"SIGTERM": -signal.SIGTERM, "SIGINT": 130, "SIGUSR1": -int(getattr(signal, "SIGUSR1", 10))}
"""Signal -> exit status after the second one."""


def send_signals(folder: Path, short: bool) -> Iterator[Trial]:
    """Each signal in each phase, and each twice."""
    whole = remains.only_run(never_stopped(KIND, folder / "whole"))
    expected, allowed = remains.digest(whole), _allowed(whole, short)
    cases = list(itertools.product(PHASES, SIGNALS))
    for number, (phase, sent) in enumerate(cases[6::10] if short else cases):
        trial = partial(_signalled, folder / str(number), phase, sent, allowed, expected)
        yield attempt(f"{sent.name} {phase}", trial)
    for sent in SIGNALS[:1] if short else SIGNALS:
        yield attempt(
            f"{sent.name} twice", partial(_twice, folder / f"twice-{sent.name}", sent, 20.0 if short else 1.0)
        )


def _allowed(run: Path, short: bool) -> float:
    """Seconds from a signal to the end: a rollout's and 2; the short form runs on machines that do other things."""
    import json

    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rates = [json.loads(line).get("time/frames_per_second") for line in lines]
    rollout = 128 / next(rate for rate in reversed(rates) if rate)
    return 60.0 if short else rollout + 2.0


def _signalled(out: Path, phase: str, sent: signal.Signals, allowed: float, expected: dict[str, str]) -> str:
    mark = out.with_suffix(".sent")
    job = run_of(KIND, out, prepare=partial(signal_in, phase, int(sent), str(mark)))
    with started(job, out.with_suffix(".log")) as child:
        status = child.wait()
        ended, text = time.time(), child.text
    if not mark.exists():
        return f"the signal was never sent: exit status {status}: {text[-200:]}"
    if status != PREEMPTED:
        return f"exit status {status}, not {PREEMPTED}: {text[-200:]}"
    if (seconds := ended - mark.stat().st_mtime) > allowed:
        return f"it took {seconds:.1f} s to stop, more than the {allowed:.1f} s of a rollout and 2 s"
    run = remains.only_run(out)
    if (step := remains.newest_step(run)) != PHASES[phase]:
        return f"frame {step} is saved, not {PHASES[phase]}"
    status, text = finish(run_of(KIND, out), out.with_suffix(".again.log"))
    return f"exit status {status}: {text[-200:]}" if status else remains.difference(run, expected)


def _twice(out: Path, sent: signal.Signals, allowed: float) -> str:
    mark = out.with_suffix(".sent")
    job = run_of(KIND, out, prepare=partial(signal_in, "in a rollout", int(sent), str(mark), twice=True))
    with started(job, out.with_suffix(".log")) as child:
        status = child.wait()
        ended = time.time()
    if status != SECOND[sent.name]:
        return f"exit status {status} after the second signal, not {SECOND[sent.name]}"
    seconds = ended - mark.stat().st_mtime
    return f"it lived {seconds:.1f} s after the second signal" if seconds > allowed else ""


def signal_in(phase: str, number: int, mark: str, twice: bool = False) -> None:
    """Let this process send itself a signal in a phase; ``mark`` is a file made right before the last one."""
    from agents import checkpoint
    from agents.on_policy import OnPolicyAlgorithm
    from agents.rollout import RolloutCollector
    from agents.runs import pretraining, train
    from benchmarks.fault_injection.worker import before, replace
    from representations.pretrain import Pretrainer

    def send() -> None:
        Path(mark).touch()
        os.kill(os.getpid(), number)

    def send_twice() -> None:
        os.kill(os.getpid(), number)
        threading.Timer(0.3, send).start()
        time.sleep(30)

    def save(directory: Path, *arguments: Any) -> None:
        saves[directory.name] = saves.get(directory.name, 0) + 1
        if saves.get(phase_saves.get(phase, ""), 0) == 2 and not Path(mark).exists():
            send()
        original(directory, *arguments)

    original, saves = checkpoint.save, dict[str, int]()
    phase_saves = {"saving pre-training": "pretrain", "saving": "train"}
    places: dict[str, tuple[Any, str, int]] = {
        "before pre-training": (train, "pretrain", 1),
        "in pre-training": (Pretrainer, "run", 3),
        "scaling features": (pretraining, "standardise", 1),
        "building the agent": (train, "build_agent", 1),
        "in a rollout": (RolloutCollector, "act", 5),
        "in an update": (OnPolicyAlgorithm, "train", 2),
        "evaluating between rollouts": (train, "periodic_evaluation", 1),
        "evaluating at the end": (train, "final_evaluation", 1),
    }
    if phase in places:
        before(*places[phase], send_twice if twice else send)
    else:
        replace(checkpoint, "save", save)


ROWS = (
    Row(
        5,
        "SIGTERM, SIGUSR1 and SIGINT in 10 phases; each twice",
        "saved within a rollout and 2 s, or at once",
        send_signals,
        size=3 * len(PHASES) + 3,
        short_size=3 + 1,
    ),
)
