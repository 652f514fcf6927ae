"""A run on episodes that never end: progress is shown, and a signal is answered in the middle of an evaluation."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.runs.callback import StopRequest

ENDLESS = """
import gymnasium as gym
import numpy as np


class Endless(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {}
"""
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_stop_gives_an_evaluation_its_grace(sent):
    stop, before = StopRequest(), signal.getsignal(sent)
    assert not stop.asked_for(0)
    with stop.listening():
        os.kill(os.getpid(), sent)
        assert stop.asked_for(0)
        assert not stop.asked_for(60)
        assert signal.getsignal(sent) == before  # a second one ends at once


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_answered_in_an_endless_evaluation(tmp_path, sent):
    (tmp_path / "endless.py").write_text(ENDLESS)
    words = ["--env", "endless:Endless", "--repr", "cnn", "--preset", "smoke", "--steps", "128", "--num-envs", "2"]
    words += ["--set", "ppo.n_steps=32", "ppo.minibatches=2", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.transfer", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    checkpoints = tmp_path / "out" / "runs"
    while not list(checkpoints.glob("*/checkpoint/train/*128.json")):
        time.sleep(0.2)
        assert process.poll() is None, process.stderr.read()
    time.sleep(3)  # into the final evaluation
    process.send_signal(sent)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "the evaluation of train was broken off" in out
    assert "The same command continues" in out
