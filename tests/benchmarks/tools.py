"""Run directories as training leaves them, written by hand."""

from __future__ import annotations

import csv
import json
import zlib
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
    **changes,
) -> Path:
    """One run's folder as a training run leaves it."""
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
        record = {"global_step": step, "eval/train/return": train, "eval/heldout/return": unseen}
        records.append(record | {"eval/gap": train - unseen, "train/return": train})
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if not finished:
        return path
    source = {
        "commit": "abc1234",
        "command": "python -m benchmarks.transfer --repr darla",
        "versions": {"torch": "2.13.0", "numpy": "1.26.4"},
        "machine": "2 x A Processor",
        "precision": "float32",
        "frames_per_second": fps,
    }
    (path / "source.json").write_text(json.dumps(source))
    with open(path / "eval.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["split", "env", "episode", "level_seed", "return", "length"])
        for split, values in returns.items():
            writer.writerows([split, env, index, index, value, 30] for index, value in enumerate(values))
    (path / "pictures").mkdir()
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path / "pictures" / "looks.png")
    (path / "done").write_text("")
    return path


def one_of_each(experiment: Path) -> None:
    """cnn with a large gap, darla better on unseen levels, random with no gap at all."""
    make_run(experiment, "cnn", 0, {"train": [10, 10, 10, 10], "heldout": [10, 0, 0, 10]}, fps=2000.0)
    make_run(experiment, "darla", 0, {"train": [10, 10, 10, 0], "heldout": [10, 10, 0, 10]}, fps=500.0)
    make_run(experiment, "random", 0, {"train": [0, 0, 10, 0], "heldout": [0, 10, 0, 0]}, fps=3000.0)
