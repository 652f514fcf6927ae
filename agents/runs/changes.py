"""Code of a run: what has changed since it was trained, and its folder set aside to run it again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from agents.runs.config import RunConfig
from agents.runs.source import DECIDES, code_hash, commit, foreign_sources
from envs.registry import UsageError

REPLACED = "replaced"
"""Folder of an experiment directory that holds what was run again."""


def read_source(run: Path) -> dict[str, Any]:
    """source.json of a run's folder; empty without one. UsageError where it cannot be read."""
    file = run / "source.json"
    try:
        source: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    except ValueError:
        raise UsageError(f"run {run} is damaged: source.json cannot be read; remove that folder") from None
    return source


def changed_sources(run: Path, config: RunConfig) -> list[str]:
    """Classes of the run that are not of this toolkit and whose files changed since the run was begun."""
    now = foreign_sources(config)
    begun = read_source(run).get("foreign_sources", now)
    return [name for name, digest in now.items() if begun.get(name, digest) != digest]


def changed_code(run: Path, config: RunConfig) -> list[str]:
    """Changes of code since the newest start of the run in a folder, in words: this toolkit's, and foreign classes'.

    A run of a version that kept no hash of the code is compared by its commit.
    """
    source = read_source(run)
    newest = (source.get("starts") or [source])[-1]
    then, now = newest.get("commit", "unknown"), commit()
    by_commit = "unknown" not in (then, now) and then != now
    changed = newest["code"] != code_hash(DECIDES) if "code" in newest else by_commit
    words = [f"commit {then}, now {now}" if then != now else f"files that differ from commit {now}"] if changed else []
    return words + [f"another version of {name}" for name in changed_sources(run, config)]


def set_aside(run: Path) -> Path:
    """Move the contents of a run's folder, but for its lock, to a new folder of ``replaced``; returns that.

    What says that the run is finished, and with which code, goes last: a kill on the way leaves a run that is still
    known for what it is.
    """
    kept = run.parent.parent / REPLACED / run.name
    kept.mkdir(parents=True, exist_ok=True)
    target = kept / str(sum(1 for _ in kept.iterdir()))
    target.mkdir()
    last = ("done", "source.json", "config.json")
    first = sorted(path.name for path in run.iterdir() if path.name not in ("lock", *last))
    for name in (*first, *last):
        if (run / name).exists():
            shutil.move(run / name, target / name)
    return target
