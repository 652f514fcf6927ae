"""Experiment directories: many runs, each found again by the hash of its configuration.

DIR/experiment.json                 says that DIR is ours
DIR/runs/<id>/config.json           everything that decides the result
              source.json           commit, versions, machine, command, times
              metrics.jsonl         one record a line, cut back to the checkpoint on resume
              eval.csv              one row per episode of the final evaluation
              pictures/*.png
              checkpoint/           see checkpoint.py
              done                  written last
"""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agents.checkpoint import write_aside
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from envs.registry import UsageError

PACKAGES = ("torch", "stable-baselines3", "gymnasium", "numpy", "procgen", "procgen-mirror")


def open_experiment(out: Path) -> Path:
    """Make ``out`` an experiment directory, or check that it is one.

    Raises:
        UsageError: it holds something else, or cannot be written.
    """
    marker = out / "experiment.json"
    if out.is_dir() and any(out.iterdir()) and not marker.exists():
        raise UsageError(f"--out {out} is not empty and not an experiment of this toolkit; name another directory")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a directory")
    try:
        (out / "runs").mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            write_aside(marker, lambda path: path.write_text('{"format": 1}\n'))
        if not os.access(out / "runs", os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise UsageError(
            f"cannot write to --out {out} ({error.strerror}); name a directory you may write to"
        ) from error
    return out


def run_id(config: Mapping[str, Any]) -> str:
    """Readable, and unique for everything that decides the result."""
    canonical = json.dumps(config, sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:10]
    name = str(config["repr"]).split(":")[-1].lower()
    bonuses = [word.rpartition(":")[0].split(":")[-1].lower() for word in config.get("bonus", "none").split()]
    sizes = (f"{config['train_levels']}levels", f"s{config['seed']}")
    parts = (config["env"], name, config["mode"], config["algo"], *filter(None, bonuses), *sizes)
    return "-".join((*parts, digest))


UNNAMED = {"named": False}
"""Metadata of a field that came later: at its default it is left out, so that runs from before keep their names."""


def as_json(config: Any) -> dict[str, Any]:
    """A dataclass as what JSON gives back: tuples become lists. Fields marked ``UNNAMED`` only where they are set."""
    later = {each.name: each.default for each in dataclasses.fields(config) if not each.metadata.get("named", True)}
    told = dataclasses.asdict(config)
    return json.loads(json.dumps({name: value for name, value in told.items() if later.get(name, ...) != value}))


class RunDir:
    """One run's folder. Opening it takes a lock: two processes never write to one run.

    Of several ``ranks`` that train it together the first opens it, and alone may write.
    """

    def __init__(self, experiment: Path, config: Mapping[str, Any], ranks: Ranks = SINGLE_PROCESS):
        self.config = dict(config)
        self.id = run_id(self.config)
        self.path = experiment / "runs" / self.id
        self.writes = ranks.index == 0
        ranks.on_rank_zero(self._open)

    def _open(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.path / "lock", "w")  # noqa: SIM115 (held for the life of the run)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UsageError(f"run {self.path} is being trained by another process; wait for it or stop it") from None
        try:
            self._check_config()
        except UsageError:
            self._lock.close()
            raise
        self._metrics = open(self.path / "metrics.jsonl", "a")  # noqa: SIM115

    def _check_config(self) -> None:
        path = self.path / "config.json"
        if not path.exists():
            write_aside(path, lambda aside: aside.write_text(json.dumps(self.config, indent=2) + "\n"))
            return
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = None
        if found != self.config:
            raise UsageError(f"run {self.path} is damaged: config.json does not match its name; remove that folder")

    @property
    def done(self) -> bool:
        return (self.path / "done").exists()

    @property
    def source(self) -> dict[str, Any]:
        """source.json as it stands; empty before the first ``write_source``."""
        path = self.path / "source.json"
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoint"

    def log(self, record: Mapping[str, float | int]) -> None:
        """Append one record to metrics.jsonl."""
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()

    def state_dict(self) -> dict[str, int]:
        """How much of metrics.jsonl belongs to the checkpoint being written."""
        if not self.writes:
            return {}
        self._metrics.flush()
        os.fsync(self._metrics.fileno())
        return {"metrics_bytes": os.path.getsize(self._metrics.name)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Cut off the records written after the checkpoint: the run will write them again."""
        if self.writes:
            self._metrics.flush()
            os.truncate(self._metrics.name, state["metrics_bytes"])

    def start_afresh(self) -> None:
        """No checkpoint was found: drop what an earlier start wrote before its first one."""
        self.load_state_dict({"metrics_bytes": 0})

    def write_source(self, **more: Any) -> None:
        """Where the numbers come from: commit, command, versions, machine, and ``more``."""
        source = {**(self.source or describe_source()), **more}
        write_aside(self.path / "source.json", lambda aside: aside.write_text(json.dumps(source, indent=2) + "\n"))

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows (all with the same keys) aside and rename."""

        def write(aside: Path) -> None:
            with open(aside, "w", newline="") as handle:
                writer = csv.DictWriter(handle, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)

        write_aside(self.path / name, write)

    def write_done(self) -> None:
        write_aside(self.path / "done", lambda aside: aside.write_text(""))

    def close(self) -> None:
        if self.writes:
            self._metrics.close()
            self._lock.close()


def describe_source() -> dict[str, Any]:
    """Commit, command line, package versions, machine."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = f"python -m {module.name.removesuffix('.__main__')}" if module else f"python {Path(sys.argv[0]).name}"
    return {
        "commit": commit(),
        "command": " ".join([program, *sys.argv[1:]]),
        "versions": versions,
        "machine": f"{os.cpu_count()} x {processor()}",
    }


def commit() -> str:
    """Short commit of the checkout, '+' where files differ from it; 'unknown' outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as handle:
            names = [line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
