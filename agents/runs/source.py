"""Origin of a run's numbers: commit, command, versions, machine, and classes from outside the toolkit."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agents import ALGORITHMS
from agents.runs.config import RunConfig, parse_bonuses
from envs.registry import Registry
from envs.suites import SUITES, build
from envs.suites.single import PREFIX
from intrinsic import BONUSES
from representations import REPRESENTATIONS

PACKAGES = ("torch", "stable-baselines3", "gymnasium", "numpy", "procgen", "procgen-mirror")
DECIDES = ("agents", "envs", "intrinsic", "representations")
"""Packages whose code decides a result."""
OWN = ("agents", "benchmarks", "envs", "intrinsic", "representations")
"""Packages that the commit covers."""
_recorded_command = [""]


def describe_source() -> dict[str, Any]:
    """Commit, hash of the code, command line, package versions, machine."""
    return {
        "commit": commit(),
        "code": code_hash(DECIDES),
        "command": _recorded_command[0] or command_line(),
        "versions": package_versions(),
        "machine": f"{os.cpu_count()} x {processor()}",
    }


def command_line() -> str:
    """Command line of this process."""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    program = f"python -m {module.name.removesuffix('.__main__')}" if module else f"python {Path(sys.argv[0]).name}"
    return " ".join([program, *sys.argv[1:]])


def record_command(line: str) -> None:
    """Let runs of this process name ``line`` as their command: that of the user, who did not start this process."""
    _recorded_command[0] = line


def package_versions() -> dict[str, str]:
    """Versions of Python and of those of ``PACKAGES`` that are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


@cache
def code_hash(names: tuple[str, ...]) -> str:
    """Hash of the sources of packages and modules; "PACKAGE.*" stands for a package without those inside."""
    digest = hashlib.sha256()
    for name in names:
        module = importlib.import_module(name.removesuffix(".*"))
        assert module.__file__ is not None
        file = Path(module.__file__)
        files = [file]
        if file.name == "__init__.py":
            files = sorted(file.parent.glob("*.py") if name.endswith(".*") else file.parent.rglob("*.py"))
        for path in files:
            digest.update(f"{name}/{path.relative_to(file.parent)}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def foreign_sources(config: RunConfig) -> dict[str, str]:
    """Class, suite or environment of the run that no commit of this toolkit covers -> ``file_hash``."""
    named: list[tuple[Registry, str]] = [
        (SUITES, config.suite),
        (REPRESENTATIONS, config.repr),
        (ALGORITHMS, config.algo),
    ]
    named += [(BONUSES, name) for name in parse_bonuses(config.bonus.split())]
    hashes = {}
    for registry, name in named:
        if name.startswith(PREFIX):
            continue
        module = registry.check(name).partition(":")[0]
        if module.partition(".")[0] not in OWN:
            hashes[name] = file_hash(module)
    tasks = [task for task in build(config.suite) if task.env == config.env]
    for world in (world for task in tasks for world in task.splits().values()):
        place = str(world.options.get("id", "")) if world.name == "gymnasium" else world.name
        module = place.partition(":")[0] if ":" in place else ""
        if module and module.partition(".")[0] not in OWN:
            hashes[place] = file_hash(module)
    return hashes


def file_hash(module: str) -> str:
    """First 16 digits of the SHA-256 of a module's file."""
    file = getattr(importlib.import_module(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16] if file else "unknown"


def commit() -> str:
    """Short commit of the checkout, '+' where files differ from it; 'unknown' outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        head, changes = (
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changes else "")


def processor() -> str:
    """Model of the processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            names = [line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()
