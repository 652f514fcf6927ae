"""Cells brought to their end: started as the backend has room, dead ones started again, the rest never held up.

A cell that dies, by a signal or an error, is started twice more, and named if it dies again. A cell that another
command trains is looked at again when the others are done. Asked to stop, all cells save and stop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from agents.runs.callback import StopRequest
from benchmarks.experiment.grid import BUSY, FINISHED, PREEMPTED, Tally
from benchmarks.sweeping.backends import LOGS, Attempt, Backend
from benchmarks.sweeping.cells import Cell
from benchmarks.sweeping.progress import Row, failure, is_damaged

ATTEMPTS = 3
"""Starts of a cell that dies each time."""
PAUSE = 0.5
"""Seconds between two looks at the cells."""


class Stopped(Exception):
    """The sweep was asked to stop, and all of its cells have saved and stopped."""


class Loop:
    """The cells of a sweep and how far each is.

    Args:
        show: called with all rows after every look.
    """

    def __init__(self, cells: Sequence[Cell], backend: Backend, show: Callable[[Sequence[Row]], None]):
        self.rows = [Row(cell) for cell in cells]
        self.backend, self.show = backend, show
        self.running: list[tuple[Row, Attempt]] = []
        self.waiting = [row for row in self.rows if is_damaged(row.cell) or not self._finished(row)]
        self.elsewhere: list[Row] = []

    def run(self, stop: StopRequest) -> Tally:
        """Bring all cells to their end.

        Raises:
            Stopped: a stop was asked for.
        """
        stopping = False
        try:
            while self.running or (self.waiting and not stopping):
                if stop.asked and not stopping:
                    stopping = True
                    for _, attempt in self.running:
                        attempt.stop()
                if not stopping:
                    self._start()
                self._look(stopping)
                if not (self.waiting or self.running or stopping):
                    self.waiting, self.elsewhere = self._left_by_others(), []
        finally:
            for _, attempt in self.running:
                attempt.kill()
        self.show(self.rows)
        if stopping:
            raise Stopped
        return self.tally()

    def tally(self) -> Tally:
        """Outcomes of all cells."""
        tally = Tally()
        for row in self.rows:
            if row.state == "finished":
                tally.finished.append(row.cell.name)
            elif row.state == "elsewhere":
                tally.busy.append(row.cell.name)
            else:
                tally.failed[row.cell.name] = row.reason
        return tally

    def _start(self) -> None:
        room = len(self.waiting) if self.backend.slots is None else self.backend.slots - len(self.running)
        chosen, self.waiting = self.waiting[: max(room, 0)], self.waiting[max(room, 0) :]
        if chosen:
            for row in chosen:
                row.state = "running"
            attempts = self.backend.start([row.cell for row in chosen])
            self.running += zip(chosen, attempts, strict=True)

    def _look(self, stopping: bool) -> None:
        """Note the ends of cells and read how far the others are."""
        going_on = []
        for row, attempt in self.running:
            status = attempt.status()
            row.read()
            if status is None:
                going_on.append((row, attempt))
            else:
                self._note_end(row, status, stopping)
        self.running = going_on
        self.show(self.rows)
        if self.running:
            time.sleep(PAUSE)

    def _note_end(self, row: Row, status: int, stopping: bool) -> None:
        if self._finished(row):
            return
        if stopping or status == PREEMPTED:
            row.state = "stopped"
            self.waiting.append(row)  # somebody stopped this one cell: it goes on
        elif status == BUSY:
            row.state = "elsewhere"
            self.elsewhere.append(row)
        else:
            row.deaths += 1
            row.reason = reason(row.cell, status)
            row.state = "waiting" if row.deaths < ATTEMPTS else "failed"
            if row.deaths < ATTEMPTS:
                self.waiting.append(row)

    def _left_by_others(self) -> list[Row]:
        """Cells that another command trained and has left unfinished, or finished, since they were looked at."""
        from agents.runs.locks import try_lock

        free = []
        for row in self.elsewhere:
            lock = None if self._finished(row) else try_lock(row.cell.folder / "lock")
            if lock is not None:
                lock.release()
                free.append(row)
        return free

    def _finished(self, row: Row) -> bool:
        """True, and noted, for a cell whose run is at its end."""
        if not (row.cell.folder / "done").exists():
            return False
        row.read()
        row.state = "finished"
        return True


def reason(cell: Cell, status: int) -> str:
    """Why a cell died, in one line, and where its output is."""
    own = failure(cell) if status > FINISHED else ""
    killed = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
    return f"{own or killed} (output: {cell.out / LOGS})"
