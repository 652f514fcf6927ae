"""A suite of Gymnasium environments: no levels, no images, several seeds."""

import csv
import json

from benchmarks import transfer

POLE = """
from envs.tasks import Suite, Task, World


def tasks(levels):
    source = World("gymnasium", {"id": "CartPole-v1"})
    targets = {"again": source.with_options(sutton_barto_reward=True)}
    return (Task("pole", source, targets, (source,), None, levels, kind="mine"),)


POLE = Suite("a pole on a cart", 5, tasks)
"""


def test_a_suite_without_levels_or_images_gets_its_report(tmp_path, monkeypatch, capsys):
    (tmp_path / "poles.py").write_text(POLE)
    monkeypatch.syspath_prepend(tmp_path)
    out = tmp_path / "out"
    sizes = ["--seeds", "0", "1", "--steps", "128", "--num-envs", "4", "--set", "ppo.n_steps=32", "ppo.minibatches=2"]
    words = ["--suite", "poles:POLE", "--repr", "cnn", "--preset", "smoke", *sizes, "--out", str(out)]
    assert transfer.main(words) == 0
    assert "pole, seed 0: 128 frames of PPO" in capsys.readouterr().out
    runs = sorted(out.glob("runs/*"))
    assert [json.loads((run / "config.json").read_text())["level_set"] for run in runs] == ["", ""]
    assert not any((run / "crossed.csv").exists() or (run / "pictures").exists() for run in runs)
    with open(out / "results.csv", newline="") as handle:
        rows = [(row["seed"], row["split"], float(row["return_mean"])) for row in csv.DictReader(handle)]
    assert [row[:2] for row in rows] == [("0", "train"), ("0", "again"), ("1", "train"), ("1", "again")]
    # every step earns 1; in the variant only the fall, -1, counts
    assert all(value > 5 if split == "train" else value == -1 for _, split, value in rows)
