"""What importing the package settles for the process, seen in a fresh one."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
counts = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(100 * 2**20, dtype=torch.uint8).fill_(1)
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(counts[-1])
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
    pages = 100 * 2**20 // os.sysconf("SC_PAGE_SIZE")
    assert int(printed(FAULTS)) > 0.9 * pages  # what is spared
    assert int(printed("import benchmarks" + FAULTS)) < 0.01 * pages


def test_threads_sleep_while_they_wait_unless_told_otherwise():
    assert printed("import benchmarks\n" + WAITING) == "PASSIVE"
    assert printed("import benchmarks\n" + WAITING, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"
