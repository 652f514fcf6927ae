"""Records, and a run that is killed and goes on, for the tests of every sink."""

import json
import subprocess

from agents.runs.trackers import open_tracker

CONFIG = {"repr": "cnn", "suite": "coinrun", "algo": "ppo", "preset": "smoke", "seed": 3}
PRETRAINING = [{"global_step": 0, "pretrain/samples": 64 * n, "pretrain/vae/loss": 1 / n} for n in (1, 2, 3)]
TRAINING = [{"global_step": 128 * n, "loss/policy": 0.5 * n} for n in (1, 2, 3, 4)]


def use(tracker, tmp_path):
    tracker.log({"global_step": 5, "eval/gap": 0.5})
    tracker.picture("splits", tmp_path / "splits.png")
    tracker.table("final", [{"repr": "cnn", "gap": 0.5}])
    tracker.summary({"result/gap": 0.75, "cost/env_steps": 96.0})
    tracker.finish()


def resumed(kind, tmp_path):
    """A run with its pre-training, killed after three records of training, that goes on from the second."""
    first = open_tracker(kind, CONFIG, "coinrun-cnn-s3", tmp_path)
    first.begin([])
    for record in [*PRETRAINING, *TRAINING[:3]]:
        first.log(record)
    first.finish()
    second = open_tracker(kind, CONFIG, "coinrun-cnn-s3", tmp_path)
    second.begin([*PRETRAINING, *TRAINING[:2]])
    for record in TRAINING[2:]:
        second.log(record)
    second.finish()


def records_of(folder):
    """Records of wandb's offline files in a folder, by what ``wandb leet`` reads."""
    read = subprocess.run(["wandb", "leet", "inspect", "--json", str(folder)], capture_output=True, text=True)
    return [json.loads(line) for line in read.stdout.splitlines()]
