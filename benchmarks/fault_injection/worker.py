"""Commands as children run them: with runs of a few hundred frames, and faults put in beforehand."""

from __future__ import annotations

import dataclasses
import pickle
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl

# The modules below, and torch._dynamo, which optimizers import, take seconds that the children then need not spend.
import benchmarks.reporting.report
from benchmarks.experiment import execute
from benchmarks.experiment.presets import PRESETS

mpl.use("Agg")

N_STEPS, NUM_ENVS = 32, 4
ROLLOUT = N_STEPS * NUM_ENVS
TINY = dataclasses.replace(
    PRESETS["smoke"],
    steps=4 * ROLLOUT,
    train_levels=3,
    num_envs=NUM_ENVS,
    pretrain_frames=32,
    data_policy_steps=ROLLOUT,
    pretrain_share=1e-6,
    eval_envs=2,
    periodic_envs=1,
    windows=1,
    window_share=0.001,
    periodic_windows=1,
    checkpoint_frames=ROLLOUT,
    representations={"unreal": {"replay": 256, "length": 10}},
    algo={"ppo": {"n_steps": N_STEPS, "minibatches": 2}, "a2c": {"n_steps": N_STEPS}},
)
"""Four rollouts, a checkpoint after each. It takes the place of preset smoke in children."""


@dataclass(frozen=True)
class Command:
    """A command to run, as ``job`` of a child."""

    name: str
    words: tuple[str, ...]
    prepare: Callable[[], object] | None = None
    """Called before it; picklable. It puts the fault in."""
    report: bool = True
    """False leaves out what experiments add to their runs: estimate, references, report."""
    sizes: Mapping[str, Any] = field(default_factory=dict)
    """Changes to ``TINY``."""

    def __call__(self) -> None:
        PRESETS["smoke"] = dataclasses.replace(TINY, **self.sizes)
        if not self.report:
            leave_out_report()
        if self.prepare is not None:
            self.prepare()
        sys.argv = [self.name, *self.words]
        runpy.run_module(f"benchmarks.{self.name}", run_name="__main__", alter_sys=True)


def training(
    out: Path,
    *words: str,
    repr: str = "cnn",
    algo: str = "ppo",
    seeds: tuple[int, ...] = (0,),
    source: tuple[str, ...] = ("--suite", "counting"),
    **options: Any,
) -> Command:
    """A run of ``benchmarks.transfer`` at ``TINY``'s sizes.

    Args:
        words: more options of the command.
        source: the options that name its environment.
        options: fields of ``Command``.
    """
    chosen = ("--repr", repr, "--algo", algo, *source, "--preset", "smoke", "--no-baseline", "--seeds")
    fixed = ("--precision", "float32", "--device", "cpu", "--out", str(out))
    return Command("transfer", (*chosen, *map(str, seeds), *fixed, *words), **options)


def write_script(job: Command, path: Path) -> Path:
    """A Python file that runs ``job`` in an interpreter of its own, which PYTHONPATH leads here."""
    job_file = path.with_suffix(".job")
    job_file.write_bytes(pickle.dumps(job))
    text = f"import pickle\n\nif __name__ == '__main__':\n    pickle.load(open({str(job_file)!r}, 'rb'))()\n"
    path.write_text(text, encoding="utf-8")
    return path


def leave_out_report() -> None:
    """Let an experiment end with its runs."""
    replace(execute, "announce", lambda *arguments: "")
    replace(execute, "cross", lambda *arguments: None)
    replace(execute, "measure_references", lambda *arguments: None)
    replace(benchmarks.reporting.report, "write_report", lambda out: "no report")


def replace(holder: Any, name: str, value: Any) -> None:
    """Give a module or class another attribute, which it must have."""
    if not hasattr(holder, name):
        raise AttributeError(f"{holder.__name__} has no {name}: the fault would not be put in")
    setattr(holder, name, value)


def before(holder: Any, name: str, nth: int, action: Callable[[], object]) -> None:
    """Let the nth call (from 1) of a function begin with ``action``."""
    original, calls = getattr(holder, name), [0]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth:
            action()
        return original(*arguments, **options)

    replace(holder, name, wrapped)
