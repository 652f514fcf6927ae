"""A finished run's folder as files of a bundle, and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agents import checkpoint
from agents.checkpoint import write_aside
from agents.runs.bundles.manifest import check_name
from envs.registry import UsageError

FORMAT = 1
BUNDLE = "bundle.json"
AGENT, METRICS = "agent", "metrics.json"
COPIED = ("config.json", "eval.csv", "validation.csv", "agreement.csv", "matched.csv", "crossed.csv")
"""Files that a bundle has as they are, those that the run has."""
REQUIRED = ("config.json", "source.json", "eval.csv", METRICS, f"{AGENT}.json", f"{AGENT}.safetensors")
"""Files that every run of a bundle has."""


def pack_run(run: Path, folder: Path) -> None:
    """Write what a bundle has of a finished run to ``folder``.

    The user's home folder in commands and paths becomes "~".

    Raises:
        UsageError: it has no whole checkpoint.
    """
    folder.mkdir(parents=True)
    newest = checkpoint.read(run / "checkpoint" / "train")
    if newest is None:
        raise UsageError(f"{run} has no checkpoint to share; bring the run to its end again")
    step, state = newest
    kept = {name: value for name, value in state.items() if name.startswith("bonus")}
    kept["policy"] = {"module": state["policy"]["module"], "optimizers": {}}
    checkpoint.write_document(folder / f"{AGENT}.json", step, kept)
    for name in COPIED:
        if (run / name).exists():
            shutil.copyfile(run / name, folder / name)
    source = (run / "source.json").read_text(encoding="utf-8")
    home = str(Path.home())
    _write(folder / "source.json", source.replace(home, "~") if len(home) > 1 else source)
    records = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    _write(folder / METRICS, "[\n" + ",\n".join(records) + "\n]\n")
    for picture in sorted((run / "pictures").glob("*.png")):
        (folder / "pictures").mkdir(exist_ok=True)
        check_name(f"runs/{run.name}/pictures/{picture.name}", run)
        shutil.copyfile(picture, folder / "pictures" / picture.name)


def unpack_run(folder: Path, names: Iterable[str], run: Path) -> None:
    """Write a run's folder from its files in a bundle: what reads runs reads it.

    Args:
        names: of its files, relative to ``folder``.

    Raises:
        UsageError: a file is missing or damaged.
    """
    names = set(names)
    if missing := [name for name in REQUIRED if name not in names]:
        raise UsageError(f"bundle: run {run.name} lacks {missing[0]}; get it again")
    (run / "checkpoint" / "train").mkdir(parents=True)
    (run / "pictures").mkdir()
    for name in names & {*COPIED, "source.json"}:
        shutil.copyfile(folder / name, run / name)
    for name in names:
        if name.startswith("pictures/") and name.endswith(".png"):
            shutil.copyfile(folder / name, run / name)
    try:
        step, _ = checkpoint.read_document(folder / f"{AGENT}.json")
        records = [json.dumps(record) for record in json.loads((folder / METRICS).read_text(encoding="utf-8"))]
        target = run / "checkpoint" / "train" / f"{int(step):012d}.json"
    except checkpoint.DAMAGE as error:
        raise UsageError(f"bundle: run {run.name} cannot be read ({type(error).__name__}: {error})") from None
    for suffix in (".json", ".safetensors"):
        shutil.copyfile(folder / f"{AGENT}{suffix}", target.with_suffix(suffix))
    _write(run / "metrics.jsonl", "".join(f"{record}\n" for record in records))
    _write(run / "done", "")


def write_index(folder: Path, facts: dict[str, Any]) -> None:
    """Write bundle.json."""
    _write(folder / BUNDLE, json.dumps({"format": FORMAT, **facts}, indent=2) + "\n")


def check_index(folder: Path, bundle: object) -> None:
    """UsageError where bundle.json is missing, or of another format."""
    try:
        written = json.loads((folder / BUNDLE).read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"bundle {bundle}: {BUNDLE} cannot be read ({type(error).__name__})") from None
    if written != FORMAT:
        raise UsageError(f"bundle {bundle} has format {written!r} and this version reads {FORMAT}; make it again")


def _write(path: Path, text: str) -> None:
    write_aside(path, lambda aside: aside.write_text(text, encoding="utf-8"))
