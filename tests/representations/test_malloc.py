"""Freed memory is kept, measured in a fresh process, by training and by pre-training."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

import agents.on_policy
import representations.pretrain
from agents.ppo import PPO
from envs.counting import CountingVectorEnv
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv
from representations.random import Random

FAULTS = """
import resource, torch
net = torch.nn.Sequential(*[torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(4)])
frames = torch.zeros(64, 16, 64, 64)  # 16 MiB, as each layer's activations
faults = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    net(frames).sum().backward()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[4:]))  # once it has settled; the heap may still grow by a block where other work delays a thread
"""
KEPT = "from representations.malloc import keep_freed_memory; keep_freed_memory()"
WAITING = "import benchmarks, os; print(os.environ['OMP_WAIT_POLICY'])"


def printed(program, **environment):
    told = {"OMP_WAIT_POLICY": "", **environment}
    env = {key: value for key, value in {**os.environ, **told}.items() if value}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_freed_memory_is_kept_for_the_next_micro_batch():
    pages = 4 * 16 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    assert int(printed(FAULTS)) > pages // 4  # what is spared: malloc itself keeps some of it
    assert int(printed(KEPT + FAULTS)) < 0.01 * pages


def test_training_and_pretraining_keep_freed_memory(monkeypatch):
    asked = []
    for module in (agents.on_policy, representations.pretrain):
        monkeypatch.setattr(module, "keep_freed_memory", lambda module=module: asked.append(module.__name__))
    env = Sb3VecEnv(CountingVectorEnv(2, size=36))
    random = Random(EnvSpec.of(env))
    PPO(env, random)
    frames = {"image": torch.from_numpy(np.zeros((4, 3, 36, 36), np.uint8))}
    representations.pretrain.Pretrainer(random, frames, 8, generator=torch.Generator())
    assert asked == ["agents.on_policy", "representations.pretrain"]


def test_waiting_threads_sleep_by_default():
    assert printed(WAITING) == "PASSIVE"
    assert printed(WAITING, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"
