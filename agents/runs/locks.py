"""Locks on files, which end with their process, on every system that Python's ``filelock`` knows."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


def try_lock(path: Path) -> FileLock | None:
    """The lock on ``path``, held until its ``release()``; None where another process holds it.

    The file stays where it is: were it removed, a third process could lock another file of the same name.
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
