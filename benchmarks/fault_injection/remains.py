"""Files that a run leaves, read back: its digest, its records, and what a message must look like."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

CLOCKS = ("t", "t_start", "start_time", "time")
"""Keys of wall-clock seconds that episode statistics carry."""


def only_run(out: Path) -> Path:
    """The one run of an experiment directory."""
    (run,) = (out / "runs").iterdir()
    return run


def digest(run: Path) -> dict[str, str]:
    """Hash of each thing that must not depend on how often the run was stopped: checkpoint, records, episodes.

    Raises:
        RuntimeError: no whole checkpoint is there, without which little is left to compare.
    """
    from agents import checkpoint

    newest = checkpoint.read(run / "checkpoint" / "train")
    if newest is None:
        raise RuntimeError(f"{run} has no whole checkpoint to compare")
    step, state = newest
    tensors: dict[str, Any] = {}
    # The clock holds seconds, and the log the length of a file that has seconds in it.
    timeless = without_clocks({name: part for name, part in state.items() if name not in ("clock", "log")})
    tree = json.dumps([step, checkpoint.encode(timeless, "", tensors)], sort_keys=True)
    content = "".join(f"{name}{value.numpy().tobytes().hex()}" for name, value in sorted(tensors.items()))
    hashes = {"checkpoint": _hash(tree + content), "records": _hash(json.dumps(records(run)))}
    for name in ("eval.csv", "validation.csv"):
        file = run / name
        hashes[name] = _hash(file.read_text(encoding="utf-8")) if file.exists() else "none"
    return hashes


def without_clocks(state: Any) -> Any:
    """A state without the wall-clock seconds in it."""
    if isinstance(state, dict):
        return {key: without_clocks(value) for key, value in state.items() if key not in CLOCKS}
    if isinstance(state, list | tuple):
        return type(state)(without_clocks(value) for value in state)
    return state


def records(run: Path) -> list[dict[str, float]]:
    """Records of metrics.jsonl without times; ValueError for a torn line."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("time/")} for line in lines]


def difference(run: Path, expected: dict[str, str]) -> str:
    """Parts of a run that are not as expected, in words; '' where all are."""
    if not (run / "done").exists():
        return "the run did not end"
    actual = digest(run)
    differing = [name for name in expected if actual.get(name) != expected[name]]
    return f"differs from the run never stopped in {', '.join(differing)}" if differing else ""


def newest_step(run: Path) -> int:
    """Frames of the newest whole checkpoint of training; 0 where there is none."""
    from agents import checkpoint

    newest = checkpoint.read(run / "checkpoint" / "train")
    return 0 if newest is None else newest[0]


def bad_message(status: int, text: str, pattern: str = "", statuses: tuple[int, ...] = (2,)) -> str:
    """Faults of what a refused command printed: its status, a traceback, no line that matches; '' without any."""
    if "Traceback (most recent call last)" in text:
        last = text.strip().splitlines()[-1]
        return f"a traceback, ending in: {last[:160]}"
    if status not in statuses:
        return f"exit status {status}, not {' or '.join(map(str, statuses))}; last line: {_last_line(text)}"
    if not re.search(pattern, text):
        return f"no line says '{pattern}'; last line: {_last_line(text)}"
    return ""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "(nothing)"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
