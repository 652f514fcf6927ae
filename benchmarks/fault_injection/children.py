"""Commands in processes of their own, which a trial may kill, signal, starve and search for orphans.

They are forked from a server that has imported torch, so that a start takes tenths of a second. Each child leads a
session of its own, by which the processes that it leaves behind are found.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIMIT = 300.0
"""Seconds after which a child counts as hung: far above any of these runs, on a busy machine too."""
SERVER = multiprocessing.get_context("forkserver") if hasattr(os, "fork") else multiprocessing.get_context()


class Child:
    """A process that runs ``job``; its output, both streams together, goes to ``log``.

    Args:
        job: picklable; its result, or the status of its SystemExit, is the exit status.
    """

    def __init__(self, job: Callable[[], Any], log: Path):
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when the server imports torch
        SERVER.set_forkserver_preload(["benchmarks.fault_injection.worker"])
        multiprocessing.forkserver.ensure_running()
        self.others = set(descendants(os.getpid()))
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        self.process = SERVER.Process(target=_enter, args=(job, str(log)))
        self.started = time.monotonic()
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def status(self) -> int | None:
        """Exit status, minus the number of the signal that ended it; None while it runs."""
        status: int | None = self.process.exitcode
        return status

    def wait(self, seconds: float = LIMIT) -> int:
        """The exit status; TimeoutError, after it was killed, where it takes longer."""
        self.process.join(seconds)
        if self.status is None:
            self.kill()
            raise TimeoutError(f"no end within {seconds:.0f} s; its last words: {self.text[-300:]}")
        return self.status

    def wait_for(self, condition: Callable[[], bool], seconds: float = LIMIT) -> bool:
        """True once the condition holds; False where the child ended first."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.status is not None:
                return condition()
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"nothing came within {seconds:.0f} s; its last words: {self.text[-300:]}")
            time.sleep(0.002)
        return True

    def send(self, number: int) -> None:
        """Send a signal, where the child still runs."""
        if self.status is None:
            os.kill(self.pid, number)

    def kill(self) -> int:
        """SIGKILL to the child and to all it left behind; returns its exit status."""
        self.send(signal.SIGKILL)
        self.process.join(60)
        for orphan in self.orphans():
            try:
                os.kill(orphan, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return self.status if self.status is not None else 0

    def orphans(self, patience: float = 5.0) -> list[int]:
        """Processes that the child left behind and that still live ``patience`` seconds after its end.

        They are those of its session, and what the server forked for it, as for workers of an environment.
        """
        deadline = time.monotonic() + patience
        while (left := self._left_behind()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _left_behind(self) -> list[int]:
        in_session = {pid for pid, (_, session) in living().items() if session == self.pid}
        return sorted((in_session | set(descendants(os.getpid()))) - self.others - {self.pid})


def living() -> dict[int, tuple[int, int]]:
    """Living process -> its parent and its session."""
    processes = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if state not in "ZX":
            processes[int(folder.name)] = int(parent), int(session)
    return processes


def descendants(ancestor: int) -> list[int]:
    """Living children of a process, theirs, and so on."""
    processes, tree = living(), [ancestor]
    for pid in tree:
        tree += [child for child, (parent, _) in processes.items() if parent == pid]
    return tree[1:]


def _enter(job: Callable[[], Any], log: str) -> None:
    """Entry of a child: a session of its own, no input, all output to ``log``."""
    os.setsid()
    sys.stdout.flush()
    for stream, path, mode in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND)):
        handle = os.open(path, mode)
        os.dup2(handle, stream)
        os.close(handle)
    os.dup2(1, 2)
    result = job()
    sys.stdout.flush()
    sys.exit(result if isinstance(result, int) else 0)


@contextmanager
def started(job: Callable[[], Any], log: Path) -> Iterator[Child]:
    """A child that is killed at the end, if it has not ended by itself."""
    child = Child(job, log)
    try:
        yield child
    finally:
        if child.status is None:
            child.kill()


def finish(job: Callable[[], Any], log: Path, seconds: float = LIMIT) -> tuple[int, str]:
    """Exit status and output of a child that ends by itself."""
    with started(job, log) as child:
        status = child.wait(seconds)
        return status, child.text
