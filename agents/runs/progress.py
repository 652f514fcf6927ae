"""A progress bar with the current return and the time left; plain lines where nobody watches a terminal."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

SILENCE = 60.0
"""Seconds after which a line is printed without a terminal, however little was done."""


class Bar:
    """One bar per stage of a run, on stderr."""

    def __init__(self, title: str):
        self.title = title
        self.bar: tqdm | None = None
        self.name, self.total, self.start, self.began, self.printed, self.said = "", 1, 0, 0.0, 0, 0.0

    def stage(self, name: str, total: int, done: int) -> None:
        """Open the bar of a stage of ``total`` units, ``done`` of them made earlier."""
        self.close()
        self.name, self.total, self.start, self.began = name, max(total, 1), done, time.perf_counter()
        self.printed, self.said = 10 * done // self.total, self.began
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=total, initial=done, desc=f"{self.title} {name}", unit_scale=True, dynamic_ncols=True, leave=False
            )

    def update(self, done: int, note: str = "") -> None:
        """``done`` units in all; ``note`` is shown beside."""
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(done - self.bar.n)
            return
        tenth = 10 * done // self.total
        late = bool(note) and time.perf_counter() - self.said > SILENCE
        if tenth > self.printed or late:
            self.printed, self.said = tenth, time.perf_counter()
            rate = (done - self.start) / max(time.perf_counter() - self.began, 1e-9)
            left = max(self.total - done, 0) / max(rate, 1e-9)
            print(f"{self.title} {self.name} {10 * tenth}% {note} {left:.0f} s left", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
