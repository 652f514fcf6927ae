"""A run killed at any moment and started again ends with the same weights, to the bit, as one never stopped."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents import checkpoint

ROOT = Path(__file__).resolve().parents[3]


def command(out, *more):
    return [sys.executable, "-m", "benchmarks.transfer", "--preset", "smoke", "--no-baseline", "--out", str(out), *more]


def finish(out, *more):
    done = subprocess.run(command(out, *more), cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_and_kill(out, wanted, *more, sign=signal.SIGKILL):
    """Start the command, send ``sign`` as soon as ``wanted(run directory)`` holds, and wait for the end."""
    process = subprocess.Popen(
        command(out, *more),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not any(wanted(run) for run in out.glob("runs/*")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, sign)
    text, _ = process.communicate(timeout=60)
    return process.returncode, text


def result(out):
    """Everything a run leaves that must not depend on its interruptions."""
    (run,) = out.glob("runs/*")
    _, state = checkpoint.read(run / "checkpoint" / "train")
    tensors = {}
    timeless = {name: part for name, part in state.items() if name not in ("clock", "log")}
    plain = json.dumps(checkpoint.encode(strip_clock(timeless), "x", tensors), sort_keys=True)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = ("time/frames_per_second",)
    return {
        "tensors": {name: value.numpy().tobytes() for name, value in tensors.items()},
        "plain": plain,
        "records": [{k: v for k, v in record.items() if k not in timed} for record in records],
        "episodes": (run / "eval.csv").read_text(),
        "pictures": {p.name: p.read_bytes() for p in (run / "pictures").iterdir()},
    }


def strip_clock(state):
    """Without the wall-clock seconds that episode statistics carry beside return and length."""
    if isinstance(state, dict):
        return {key: strip_clock(value) for key, value in state.items() if key not in ("t", "t_start", "start_time")}
    if isinstance(state, list | tuple):
        return type(state)(strip_clock(value) for value in state)
    return state


def trained(frames):
    """A run whose log has passed ``frames`` frames of training."""

    def wanted(run):
        try:
            lines = (run / "metrics.jsonl").read_text().splitlines()
            return any(json.loads(line)["global_step"] >= frames for line in lines)
        except (OSError, ValueError):
            return False

    return wanted


def pretraining(run):
    return len(list((run / "checkpoint" / "pretrain").glob("*.json"))) >= 2


@pytest.mark.procgen
def test_killed_in_pretraining_and_twice_in_training_ends_the_same_on_procgen(tmp_path):
    args = ("--repr", "darla", "--set", "ppo.n_steps=32")
    finish(tmp_path / "whole", *args)
    for wanted in (pretraining, trained(1500), trained(3000)):
        code, text = start_and_kill(tmp_path / "killed", wanted, *args)
        assert code == -signal.SIGKILL, text
    finish(tmp_path / "killed", *args)
    assert result(tmp_path / "killed") == result(tmp_path / "whole")
    played = levels(tmp_path / "whole")
    assert all(0 <= level < 20 for level in played["train"])
    assert all(level >= 10**6 for level in played["heldout"])
    # a look is compared on the very levels that the training look was played on
    assert played["train"] == played["no-backgrounds"] == played["monochrome"]


def levels(out):
    """Split -> level seeds of the final evaluation, in the order of the environments."""
    (run,) = out.glob("runs/*")
    found = {}
    with open(run / "eval.csv", newline="") as handle:
        for row in csv.DictReader(handle):
            found.setdefault(row["split"], []).append(int(row["level_seed"]))
    return found


@pytest.mark.procgen
def test_an_end_to_end_network_killed_in_training_ends_the_same_on_procgen(tmp_path):
    args = ("--repr", "cnn")
    finish(tmp_path / "whole", *args)
    code, text = start_and_kill(tmp_path / "killed", trained(3000), *args)
    assert code == -signal.SIGKILL, text
    finish(tmp_path / "killed", *args)
    assert result(tmp_path / "killed") == result(tmp_path / "whole")


def test_a_tracker_and_its_failure_change_nothing(tmp_path, monkeypatch):
    args = ("--repr", "vae", "--suite", "counting", "--steps", "2048")
    finish(tmp_path / "none", *args)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    assert "wandb sync" in finish(tmp_path / "wandb", *args, "--log", "wandb")
    monkeypatch.setenv("WANDB_MODE", "no such mode")  # init raises
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    finish(tmp_path / "broken", *args, "--log", "wandb")
    assert result(tmp_path / "wandb") == result(tmp_path / "none")
    assert result(tmp_path / "broken") == result(tmp_path / "none")


def test_asked_to_stop_it_saves_first_and_says_how_to_go_on(tmp_path):
    args = ("--repr", "cnn", "--suite", "counting", "--steps", "60000")
    code, text = start_and_kill(tmp_path / "run", trained(5000), *args, sign=signal.SIGTERM)
    assert code == 75, text
    assert "The same command continues" in text
    (run,) = (tmp_path / "run").glob("runs/*")
    step, _ = checkpoint.read(run / "checkpoint" / "train")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["global_step"] == step >= 5000


def test_frozen_features_of_the_last_frames_survive_a_kill_on_breakout(tmp_path):
    args = ("--repr", "vae", "--suite", "breakout")
    finish(tmp_path / "whole", *args)
    code, text = start_and_kill(tmp_path / "killed", trained(2000), *args)
    assert code == -signal.SIGKILL, text
    finish(tmp_path / "killed", *args)
    assert result(tmp_path / "killed") == result(tmp_path / "whole")
    (run,) = (tmp_path / "whole").glob("runs/*")
    weights = checkpoint.read(run / "checkpoint" / "train")[1]["policy"]["module"]
    assert weights["hidden.0.weight"].shape == (256, 4 * 64)  # four frames of 64 latents


def test_a_goal_beside_the_image_reaches_the_policy_in_every_mode(tmp_path):
    # rooms: 6 numbers of the goal and 7 of the pose after the 64 latents, or after the trunk's 512
    for mode, name, wide in (("frozen", "vae", 64), ("finetune", "vae", 64), ("online", "cnn", 512)):
        out = tmp_path / mode
        finish(out, "--repr", name, "--suite", "rooms", "--mode", mode, "--steps", "1024")
        (run,) = out.glob("runs/*")
        weights = checkpoint.read(run / "checkpoint" / "train")[1]["policy"]["module"]
        assert weights["hidden.0.weight"].shape == (256, wide + 7 + 6)


def test_finetuned_motion_sees_stacked_frames(tmp_path):
    finish(tmp_path, "--repr", "vae", "--suite", "breakout", "--mode", "finetune", "--steps", "1024")
    (run,) = tmp_path.glob("runs/*")
    weights = checkpoint.read(run / "checkpoint" / "train")[1]["policy"]["module"]
    assert weights["hidden.0.weight"].shape == (256, 4 * 64)
    first = next(value for key, value in weights.items() if key.endswith("trunk.body.0.weight"))
    assert first.shape[1] == 3  # single frames, encoded one by one
