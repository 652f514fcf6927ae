"""Row 13: what does not fit: an old schema, other spaces, a foreign package, numpy 2, no Procgen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fault_injection import hostile_files, remains
from benchmarks.fault_injection.children import finish
from benchmarks.fault_injection.faulty_env import NAME
from benchmarks.fault_injection.kills import KINDS, run_of
from benchmarks.fault_injection.trials import Row, Trial, attempt

ROOT = Path(__file__).resolve().parents[2]


def meet_mismatches(folder: Path, short: bool) -> Iterator[Trial]:
    """Each mismatch once: one line with its cure."""
    checks = {
        "old checkpoint": old_checkpoint,
        "old experiment": old_experiment,
        "other observations": other_observations,
        "other actions": other_agent,
        "foreign package": foreign_package,
        "no Procgen": no_procgen,
    }
    for name, check in checks.items():
        yield attempt(name, partial(check, folder / name.replace(" ", "-")))
    import numpy as np

    if int(np.__version__.partition(".")[0]) >= 2:
        yield attempt("numpy 2", partial(_trains, folder / "numpy"))
    else:
        yield Trial("numpy 2", untried=f"numpy {np.__version__} is installed here; run this row where numpy 2 is")


def _trains(out: Path) -> str:
    status, text = finish(run_of(KINDS[0], out), out.with_suffix(".log"))
    return f"exit status {status}: {text[-200:]}" if status else ""


def _refused(job: Any, out: Path, pattern: str, statuses: tuple[int, ...] = (2,)) -> str:
    status, text = finish(job, out.with_suffix(".refused.log"))
    return remains.bad_message(status, text, pattern, statuses)


def old_checkpoint(out: Path) -> str:
    if wrong := _trains(out):
        return wrong
    hostile_files.only_newest(out)
    document, _ = hostile_files.newest(out)
    hostile_files.seal(document, lambda body: body.update(format=1))
    (remains.only_run(out) / "done").unlink()
    return _refused(run_of(KINDS[0], out), out, "has format 1 and this version reads format 2: start the run", (1, 2))


def old_experiment(out: Path) -> str:
    (out / "runs" / "coinrun-cnn-s0-abc").mkdir(parents=True)
    (out / "experiment.json").write_text(json.dumps({"format": 1}), encoding="utf-8")
    return _refused(run_of(KINDS[0], out), out, "holds runs that another version named.*give another --out")


def other_observations(out: Path) -> str:
    """A target with other observations than the source."""
    job = run_of({"repr": "cnn", "words": ("--env-target", "wide:width=7")}, out, source=("--env", NAME))
    return _refused(job, out, "target 'wide' of FaultyEnv observes.*the source", (1, 2))


def other_agent(out: Path) -> str:
    """Weights of a finished run for a task with other observations."""
    if wrong := _trains(out):
        return wrong
    words = ("--init-from", str(remains.only_run(out)))
    job = run_of({"repr": "cnn", "words": words}, out.with_name("other"), source=("--env", NAME))
    return _refused(job, out, "error: |failed: ", (1, 2))


def foreign_package(out: Path) -> str:
    """A package called ``agents`` that Python finds first."""
    (out / "agents").mkdir(parents=True)
    (out / "agents" / "__init__.py").touch()
    path = os.pathsep.join((str(out), str(ROOT)))
    command = [sys.executable, "-P", "-m", "benchmarks.transfer", "--dry-run"]
    done = subprocess.run(command, cwd=out, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    pattern = r"another installed package has the name of a folder of this checkout: agents \(.*; run from"
    return remains.bad_message(done.returncode, done.stderr, pattern)


def no_procgen(out: Path) -> str:
    job = run_of({"repr": "cnn"}, out, source=("--suite", "coinrun"), prepare=forget_procgen)
    return _refused(job, out, "procgen.*(breakout|minigrid)", (1, 2))


def forget_procgen() -> None:
    """Let importing Procgen fail as where it is not installed."""
    for name in ("procgen", "procgen_gym"):
        sys.modules[name] = None  # type: ignore[assignment]


ROWS = (
    Row(
        13,
        "old schemas, other spaces, a foreign package 'agents', numpy 2, no Procgen",
        "one line with a cure, no traceback",
        meet_mismatches,
        size=7,
        short_size=7,
    ),
)
