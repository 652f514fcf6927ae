"""The loop over cells, on a backend of scripted ends: starts, retries, stops and the exit status."""

from types import SimpleNamespace

import pytest

from agents.runs.callback import StopRequest
from agents.runs.locks import try_lock
from benchmarks.experiment.grid import BUSY, FAILED, FINISHED, PREEMPTED
from benchmarks.sweeping import loop as loop_module
from benchmarks.sweeping.loop import Loop, Stopped

KILLED = -9


class Scripted:
    """A backend whose cells end, one after another look, with the statuses that a test gives."""

    def __init__(self, slots, **ends):
        self.slots, self.ends, self.started, self.most = slots, {name: list(own) for name, own in ends.items()}, [], 0
        self.alive, self.stopped, self.killed = set(), [], []

    def start(self, cells):
        self.started += [cell.name for cell in cells]
        self.alive |= {cell.name for cell in cells}
        self.most = max(self.most, len(self.alive))
        return [self.attempt(cell) for cell in cells]

    def attempt(self, cell):
        status = self.ends[cell.name].pop(0)

        def look():
            if status is None and cell.name not in self.stopped:
                return None
            self.alive.discard(cell.name)
            if status == FINISHED:
                (cell.folder / "done").touch()
            return PREEMPTED if status is None else status

        stop, kill = (lambda: self.stopped.append(cell.name)), (lambda: self.killed.append(cell.name))
        return SimpleNamespace(status=look, stop=stop, kill=kill)


@pytest.fixture
def cells(tmp_path, monkeypatch):
    monkeypatch.setattr(loop_module, "PAUSE", 0.0)
    monkeypatch.setattr("benchmarks.sweeping.progress.Row.total", 100)
    monkeypatch.setattr(loop_module, "is_damaged", lambda cell: (cell.folder / "torn").exists())
    made = [SimpleNamespace(name=name, label=name, folder=tmp_path / "runs" / name, out=tmp_path) for name in "abcd"]
    for cell in made:
        cell.folder.mkdir(parents=True)
    return made


def run(cells, backend, stop=None, show=lambda rows: None):
    loop = Loop(cells, backend, show)
    return loop, loop.run(stop or StopRequest())


def test_no_more_cells_run_than_there_is_room_for(cells):
    backend = Scripted(2, a=[0], b=[0], c=[0], d=[0])
    _, tally = run(cells, backend)
    assert (backend.started, backend.most, tally.status) == (["a", "b", "c", "d"], 2, FINISHED)
    assert tally.finished == ["a", "b", "c", "d"]


def test_a_backend_without_slots_gets_all_at_once(cells):
    backend = Scripted(None, a=[0], b=[0], c=[0], d=[0])
    run(cells, backend)
    assert backend.most == 4


def test_finished_cells_are_not_started_again(cells):
    (cells[1].folder / "done").touch()
    backend = Scripted(1, a=[0], c=[0], d=[0])
    _, tally = run(cells, backend)
    assert (backend.started, tally.status, len(tally.finished)) == (["a", "c", "d"], FINISHED, 4)


def test_a_finished_cell_whose_results_are_damaged_is_started(cells):
    for name in ("done", "torn"):
        (cells[1].folder / name).touch()
    backend = Scripted(1, a=[0], b=[0], c=[0], d=[0])
    run(cells, backend)
    assert backend.started == ["a", "b", "c", "d"]


def test_a_dead_cell_is_started_twice_more_and_then_named(cells):
    (cells[2].folder / "failure.txt").write_text("MemoryError: no room\n")
    backend = Scripted(4, a=[0], b=[KILLED, KILLED, 0], c=[KILLED, 1, 1, 0], d=[0])
    loop, tally = run(cells, backend)
    assert [backend.started.count(name) for name in "abcd"] == [1, 3, 3, 1]
    assert tally.status == FAILED
    assert tally.finished == ["a", "b", "d"]
    assert tally.failed == {"c": f"MemoryError: no room (output: {cells[2].out / 'logs'})"}
    assert [row.deaths for row in loop.rows] == [0, 2, 3, 0]
    assert loop.rows[1].reason.startswith("killed by signal 9 (output: ")


def test_a_cell_that_somebody_stopped_goes_on_and_that_is_no_death(cells):
    backend = Scripted(1, a=[PREEMPTED] * 5 + [0], b=[0], c=[0], d=[0])
    loop, tally = run(cells, backend)
    assert (backend.started.count("a"), tally.status, loop.rows[0].deaths) == (6, FINISHED, 0)


def test_a_cell_of_another_command_is_looked_at_again_at_the_end(cells):
    lock = try_lock(cells[0].folder / "lock")
    backend = Scripted(1, a=[BUSY], b=[0], c=[0], d=[0])
    loop, tally = run(cells, backend)
    assert (tally.status, tally.busy, loop.rows[0].state) == (BUSY, ["a"], "elsewhere")
    lock.release()
    for cell in cells:
        (cell.folder / "done").unlink(missing_ok=True)
    backend = Scripted(1, a=[BUSY, 0], b=[0], c=[0], d=[0])
    _, tally = run(cells, backend)
    assert (backend.started, tally.status) == (["a", "b", "c", "d", "a"], FINISHED)


def test_asked_to_stop_all_cells_stop_and_no_other_starts(cells):
    backend, stop = Scripted(2, a=[0], b=[None], c=[None], d=[0]), StopRequest()

    def show(rows):
        stop.asked = "c" in backend.started

    with pytest.raises(Stopped):
        run(cells, backend, stop, show)
    assert (backend.started, backend.stopped, backend.killed) == (["a", "b", "c"], ["b", "c"], [])


def test_cells_end_with_a_sweep_that_breaks(cells):
    def show(rows):
        raise KeyboardInterrupt

    backend = Scripted(2, a=[None], b=[None])
    with pytest.raises(KeyboardInterrupt):
        run(cells, backend, show=show)
    assert backend.killed == ["a", "b"]
