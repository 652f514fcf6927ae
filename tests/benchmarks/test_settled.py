"""What importing the package settles for the process, seen in a fresh one."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
net = torch.nn.Sequential(*[torch.nn.Conv2d(16, 16, 3, padding=1) for _ in range(4)])
frames = torch.zeros(64, 16, 64, 64)  # 16 MiB, as each layer's activations
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    net(frames).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
WAITING = "import os; print(os.environ['OMP_WAIT_POLICY'])"


def printed(program, **environment):
    told = {"OMP_WAIT_POLICY": "", **environment}
    env = {key: value for key, value in {**os.environ, **told}.items() if value}
    return subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_freed_memory_is_kept_for_the_next_micro_batch():
    pages = 4 * 16 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    assert int(printed(FAULTS)) > pages  # what is spared
    assert int(printed("import benchmarks" + FAULTS)) < 0.01 * pages


def test_threads_sleep_while_they_wait_unless_told_otherwise():
    assert printed("import benchmarks\n" + WAITING) == "PASSIVE"
    assert printed("import benchmarks\n" + WAITING, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"
