"""Progress of cells from the files of their runs, and the table and lines that show it."""

import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from benchmarks.sweeping.progress import Row, is_damaged, newest_record, time_left
from benchmarks.sweeping.table import Display, line
from tests.benchmarks.tools import make_run


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setattr(Row, "total", 10_000)
    made = []
    for name in ("darla, seed 0", "cnn, seed 0", "cnn, seed 1"):
        cell = SimpleNamespace(name=name, label=name, folder=tmp_path / name, out=tmp_path)
        cell.folder.mkdir()
        made.append(Row(cell))
    return made


def records(row, *values, torn=""):
    text = "".join(json.dumps(value) + "\n" for value in values)
    (row.cell.folder / "metrics.jsonl").write_text(text + torn)
    row.read()


def step(frames, speed, **more):
    return {"global_step": frames, "time/frames_per_second": speed, **more}


def test_the_newest_record_holds_frames_return_and_speed(rows):
    records(rows[0], {"global_step": 0, "pretrain/samples": 64})
    assert (rows[0].frames, rows[0].seconds_left) == (0, None)
    first = step(2000, 100.0, **{"train/return": 1.5})
    records(rows[0], first, step(4000, 120.0), torn='{"global_step": 60')
    assert (rows[0].frames, rows[0].speed, rows[0].record["train/return"]) == (4000, 120.0, 1.5)
    assert rows[0].seconds_left == 6000 / 120
    assert newest_record(rows[1].cell.folder / "metrics.jsonl") == {}


def test_a_finished_run_without_its_results_is_damaged(tmp_path):
    path = make_run(tmp_path, "cnn", seed=2)
    cell = SimpleNamespace(folder=path)
    assert not is_damaged(cell)
    (path / "eval.csv").unlink()
    assert is_damaged(cell)
    (path / "done").unlink()
    assert not is_damaged(cell)


def test_only_the_end_of_a_long_file_is_read(rows):
    records(rows[0], *[step(number, 10.0, noise="x" * 50) for number in range(5000)])
    assert rows[0].frames == 4999


def test_the_time_left_shares_the_work_between_the_slots(rows):
    assert time_left(rows, 2) is None
    records(rows[0], step(4000, 100.0))
    records(rows[1], step(8000, 50.0))
    # 60 s and 40 s are left; the third, of unknown speed, counts 10,000 / 75 = 133.3 s: 233.3 s in two slots
    assert time_left(rows, 1) == pytest.approx(700 / 3)
    assert time_left(rows, 2) == pytest.approx(400 / 3)  # no less than the longest
    for row in rows:
        row.state = "finished"
    assert time_left(rows, 2) == 0.0


def test_a_line_says_what_changed(rows):
    records(rows[0], step(2500, 100.0, **{"train/return": 1.234}))
    rows[0].state = "running"
    assert line(rows[0]) == "darla, seed 0: running, 2,500 of 10,000, return 1.23, 75 s left"
    rows[0].state, rows[0].deaths, rows[0].reason = "failed", 3, "killed by signal 9 (output: logs)"
    words = "darla, seed 0: failed, died 3 times, 2,500 of 10,000, return 1.23 (killed by signal 9 (output: logs))"
    assert line(rows[0]) == words


def test_without_a_terminal_each_change_is_a_line(rows):
    console = Console(width=100, record=True, force_terminal=False)
    with Display(2, console) as display:
        display.show(rows)
        rows[1].state = "running"
        display.show(rows)
        display.show(rows)
        rows[1].state = "finished"
        display.show(rows)
        display.final(rows)
    text = console.export_text()
    assert text.splitlines()[:2] == ["cnn, seed 0: running, 0 of 10,000", "cnn, seed 0: finished, 0 of 10,000"]
    assert text.count("running") == 1
    header, body = text.splitlines()[3], text.splitlines()[5:8]
    assert header.replace("┃", " ").split() == ["cell", "state", "frames", "return", "left"]
    assert [row.replace("│", " ").split()[3] for row in body] == ["waiting", "finished", "waiting"]
    assert "1 of 3 cells finished" in text


def test_a_terminal_gets_a_table_that_changes(rows):
    console = Console(width=100, force_terminal=True, record=True)
    with Display(2, console) as display:
        rows[0].state = "running"
        display.show(rows)
        assert display.live.is_started
    assert not display.live.is_started
    assert "darla, seed 0" in console.export_text()
