"""Level sets: which levels train, choose and test.

A level is a number that an environment makes a layout, an appearance and a start from. Ranges that never meet::

    [0, 1 000 000)                  the published training sets, 0 to K - 1
    [1 000 000, 1 100 000)          validation: learning curves, and every choice made on them
    [2 000 000, 2 100 000)          held out: read after a run is done, and never before
    [3 000 000, 4 000 000)          frames for pre-training that no agent trains on
    [100 000 000, 2 100 000 000)    drawn training sets, a block of 1 000 000 for each task and seed

A drawn training set is a function of the task and the seed alone. So every method and algorithm of one seed trains on
the same levels, a set of more levels contains the set of fewer, and the sets of 2,000 consecutive seeds are disjoint.
Levels are made by hashing their number, so the first K of a block are as good as any K of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from envs.registry import UsageError

LARGEST = 10**6
"""Levels of a training set at most."""
_FIRST_BLOCK, _BLOCKS = 10**8, 2000


@dataclass(frozen=True)
class LevelRange:
    """The levels [start, start + count); ``str`` and ``parse`` write it as "START+COUNT"."""

    start: int
    count: int

    def __str__(self) -> str:
        return f"{self.start}+{self.count}"

    @classmethod
    def parse(cls, text: str) -> LevelRange:
        """The range that ``text``, "START+COUNT", names. UsageError for anything else."""
        start, plus, count = text.partition("+")
        if not (plus and start.isdecimal() and count.isdecimal() and int(count)):
            raise UsageError(f"level set '{text}' is not START+COUNT, such as 100000000+200")
        return cls(int(start), int(count))

    def __contains__(self, level: int) -> bool:
        return self.start <= level < self.start + self.count

    @property
    def options(self) -> dict[str, int]:
        """Options of an environment on these levels."""
        return {"start_level": self.start, "num_levels": self.count}

    def first(self, n: int) -> range:
        """The first n levels, or all of them where there are fewer."""
        return range(self.start, self.start + min(n, self.count))


VALIDATION = LevelRange(10**6, 10**5)
HELDOUT = LevelRange(2 * 10**6, 10**5)
PRETRAINING = LevelRange(3 * 10**6, 10**6)


def published_levels(count: int) -> LevelRange:
    """Training levels 0 to ``count`` - 1 (Cobbe et al. 2020), the same for every seed."""
    return LevelRange(0, _checked(count))


def training_levels(task: str, seed: int, count: int) -> LevelRange:
    """The drawn training set of a task and a seed.

    Args:
        task: name of the task, as "coinrun-easy".
        seed: of the run; seeds that differ by less than 2,000 share no level.
        count: levels, at most 1,000,000.
    """
    digest = hashlib.sha256(f"training levels/{task}".encode()).digest()
    block = (int.from_bytes(digest[:8], "little") + seed) % _BLOCKS
    return LevelRange(_FIRST_BLOCK + block * LARGEST, _checked(count))


def _checked(count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= LARGEST:
        raise UsageError(f"train_levels={count!r} must be an integer in [1, {LARGEST:,}]")
    return count
