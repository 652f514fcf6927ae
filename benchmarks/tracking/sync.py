"""Offline runs of experiment directories sent to Weights & Biases, by its own command.

A continued run has several parts with one id. They are sent by one command, in order of start, so that the project page
shows one run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reporting.runs import Run, load
from benchmarks.tracking.after_training import additions, parts_of, probe_scores, write_additions
from envs.registry import UsageError


@dataclass(frozen=True)
class Upload:
    """One run to send."""

    run: str
    parts: tuple[Path, ...]
    """In order of start."""
    added: tuple[str, ...] = ()
    """Names of what is written as one more part first."""

    def command(self, entity: str, project: str) -> list[str]:
        """Arguments of ``wandb`` that send it."""
        place = [*(["--entity", entity] if entity else []), *(["--project", project] if project else [])]
        return ["sync", "--yes", "--id", self.run, *place, *map(str, self.parts)]


def uploads(experiments: Sequence[Path], write: bool) -> list[Upload]:
    """The runs of experiment directories that have something to send.

    Args:
        write: write what their parts lack as one more part each; else it is only named.
    """
    planned = []
    for experiment in experiments:
        runs = load(experiment)
        scores = probe_scores(experiment, [run for run in runs if run.config])
        for run in runs:
            planned.append(_upload(run, scores.get(run.id, {}), write))
    return [upload for upload in planned if upload.parts or upload.added]


def _upload(run: Run, scores: dict[str, float], write: bool) -> Upload:
    if run.state != "finished":
        return Upload(run.id, tuple(parts_of(run.path)))
    missing = additions(run, scores)
    if write and missing.names:
        print(f"{run.id}: writing {len(missing.names)} of its contents", file=sys.stderr)
        write_additions(run, missing)
    return Upload(run.id, tuple(parts_of(run.path)), tuple(missing.names))


def describe(planned: Sequence[Upload], entity: str, project: str) -> str:
    """Account of what would be sent, for ``--dry-run``: the command of each run, and what would be written first."""
    lines = []
    for upload in planned:
        count = len(upload.parts) + bool(upload.added)
        lines.append(f"{upload.run}: {count} part{'s' * (count != 1)}")
        if upload.added:
            lines.append(f"  written first: {', '.join(upload.added)}")
        lines.append(f"  wandb {' '.join(upload.command(entity, project))}{' and the new part' * bool(upload.added)}")
    return "\n".join(lines)


def send(planned: Sequence[Upload], entity: str, project: str) -> str:
    """Send every run; returns a line to print.

    Raises:
        UsageError: a run could not be sent; the others were.
    """
    program, failed = _wandb(), {}
    for number, upload in enumerate(planned, 1):
        print(f"[{number}/{len(planned)}] {upload.run}", file=sys.stderr, flush=True)
        command = [program, *upload.command(entity, project)]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if ended.returncode:
            lines = (ended.stderr or ended.stdout).strip().splitlines()
            failed[upload.run] = lines[-1] if lines else f"exit status {ended.returncode}"
    if failed:
        name, reason = next(iter(failed.items()))
        raise UsageError(
            f"{len(failed)} of {len(planned)} runs were not sent, {name} first ({reason}); mend that, the same command "
            "sends the rest"
        )
    return f"{len(planned)} runs sent"


def _wandb() -> str:
    """Path of the command ``wandb``: the first on PATH, or the one beside this Python."""
    beside = Path(sys.executable).with_name("wandb")
    program = shutil.which("wandb") or (str(beside) if beside.exists() else "")
    if not program:
        raise UsageError("no command 'wandb' on PATH; pip install wandb, or activate the environment that has it")
    return program
