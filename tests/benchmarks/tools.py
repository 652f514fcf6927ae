"""Run directories as training leaves them, written by hand."""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def make_run(
    experiment: Path,
    name: str,
    seed: int = 0,
    returns: dict | None = None,
    *,
    env: str = "coinrun-easy",
    levels: int = 20,
    fps: float = 1000.0,
    finished: bool = True,
    curve: bool = True,
    old: bool = False,
    level_set: str = "",
    env_steps: tuple[int, int] | None = None,
    seconds: tuple[float, float] | None = None,
    source: dict | None = None,
    repeats: int = 1,
    **changes,
) -> Path:
    """One run's folder as a training run leaves it.

    Args:
        returns: split -> returns, in the order of levels, ``repeats`` on each: training levels from the start of
            ``level_set`` (else a block of the seed's own), the others from 2,000,000.
        old: eval.csv of the protocol before, which names no levels.
        level_set: "START+COUNT".
        env_steps, seconds: of pre-training and RL.
        source: more of source.json.
    """
    returns = returns or {"train": [10.0, 10.0], "heldout": [10.0, 0.0]}
    config = {
        "suite": "coinrun",
        "env": env,
        "repr": name,
        "repr_settings": {"trunk": "nature"},
        "mode": "online" if name == "cnn" else "frozen",
        "algo": "ppo",
        "algo_settings": {},
        "bonus": "none",
        "trunk": "nature",
        "train_levels": levels,
        **({} if old else {"level_set": level_set or f"{10**8 + seed * 10**6}+{levels}"}),
        "pretrain_on": "none" if name == "cnn" else "source",
        "pretrain_frames": 0 if name == "cnn" else 512,
        "seed": seed,
        "steps": 1_000_000,
        "preset": "quick",
        "normalise": [5, 10],
        "splits": list(returns),
    } | changes
    path = experiment / "runs" / f"{env}-{name}-{levels}levels-s{seed}-{zlib.crc32(json.dumps(config).encode()):x}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    records = [{"global_step": 0, "pretrain/samples": 64, "pretrain/vae/loss": 3.0}]
    for index, step in enumerate((250_000, 500_000, 1_000_000) if curve else ()):
        train, unseen = 6 + index + 0.2 * seed, 5.5 + 0.7 * index
        unseen_name = "heldout" if old else "validation"
        record = {"global_step": step, "eval/train/return": train, f"eval/{unseen_name}/return": unseen}
        records.append(record | {"eval/gap": train - unseen, "train/return": train})
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if not finished:
        return path
    stages = ("pretrain", "train")
    facts = {
        "commit": "abc1234",
        "command": "python -m benchmarks.transfer --repr darla",
        "versions": {"torch": "2.13.0", "numpy": "1.26.4"},
        "machine": "2 x A Processor",
        "precision": "float32",
        "frames_per_second": fps,
        **({"env_steps": dict(zip(stages, env_steps, strict=True))} if env_steps else {}),
        **(dict(zip((f"{stage}_seconds" for stage in stages), seconds, strict=True)) if seconds else {}),
        **(source or {}),
    }
    (path / "source.json").write_text(json.dumps(facts))
    if old:
        header = ("split", "env", "episode", "level_seed", "return", "length")
        rows = [(s, env, i, i, value, 30) for s, values in returns.items() for i, value in enumerate(values)]
    else:
        header = ("split", "env", "level", "episode", "actions", "return", "length")
        own = int(config["level_set"].partition("+")[0])
        rows = [
            (split, env, (own if split == "train" else 2 * 10**6) + i // repeats, i % repeats, "sampled", value, 30)
            for split, values in returns.items()
            for i, value in enumerate(values)
        ]
    write_rows(path / "eval.csv", header, rows)
    (path / "pictures").mkdir()
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path / "pictures" / "looks.png")
    (path / "done").write_text("")
    return path


def write_rows(path: Path, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    """A CSV file."""
    with open(path, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        writer.writerows(rows)


def one_of_each(experiment: Path) -> None:
    """cnn with a large gap, darla better on unseen levels, random with no gap at all."""
    make_run(experiment, "cnn", 0, {"train": [10, 10, 10, 10], "heldout": [10, 0, 0, 10]}, fps=2000.0)
    make_run(experiment, "darla", 0, {"train": [10, 10, 10, 0], "heldout": [10, 10, 0, 10]}, fps=500.0)
    make_run(experiment, "random", 0, {"train": [0, 0, 10, 0], "heldout": [0, 10, 0, 0]}, fps=3000.0)
