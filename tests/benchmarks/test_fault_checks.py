"""What the fault matrix looks at after a fault: that it sees what is wrong, else each row would always pass."""

from __future__ import annotations

import json
import os
import time

import pytest
import torch

from agents import checkpoint
from benchmarks.fault_injection import children, remains, shared_grids, worker
from benchmarks.fault_injection.full_disk import torn_lines

RECORD = {"global_step": 1, "time/seconds": 2.0}
TRACEBACK = "Traceback (most recent call last):\n  File x\nValueError: a mistake\n"


class Part:
    """A component of a checkpoint."""

    def __init__(self, value=1.0):
        self.value = value

    def state_dict(self):
        return {"value": torch.tensor([self.value]), "count": 3, "episodes": [{"r": 1.0, "t": time.time()}]}


def make_run(run, records=(RECORD,), evaluation="a\n1\n", done=True, **parts):
    """A run's folder as far as ``remains.digest`` reads it."""
    run.mkdir(parents=True)
    checkpoint.save(run / "checkpoint" / "train", 128, parts or {"policy": Part()})
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (run / "eval.csv").write_text(evaluation)
    if done:
        (run / "done").touch()
    return run


def test_runs_that_differ_in_seconds_alone_are_the_same(tmp_path):
    first = make_run(tmp_path / "1", policy=Part(), clock=Part(1.0), log=Part(1.0))
    second = make_run(tmp_path / "2", [{**RECORD, "time/seconds": 9.0}], policy=Part(), clock=Part(2.0), log=Part(2.0))
    assert remains.difference(second, remains.digest(first)) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy": Part(1.5)}, "differs from the run never stopped in checkpoint"),
        ({"records": [RECORD, RECORD]}, "differs from the run never stopped in records"),
        ({"evaluation": "a\n2\n"}, "differs from the run never stopped in eval.csv"),
        ({"done": False}, "the run did not end"),
    ],
)
def test_every_other_difference_is_seen(tmp_path, changes, told):
    expected = remains.digest(make_run(tmp_path / "whole"))
    assert remains.difference(make_run(tmp_path / "run", **changes), expected) == told


def test_a_run_without_a_checkpoint_is_no_run_to_compare_with(tmp_path):
    run = make_run(tmp_path / "run")
    for file in (run / "checkpoint" / "train").iterdir():
        file.unlink()
    with pytest.raises(RuntimeError, match="has no whole checkpoint to compare"):
        remains.digest(run)
    assert remains.newest_step(run) == 0


@pytest.mark.parametrize(
    ("status", "text", "wrong"),
    [
        (2, "error: give more\n", ""),
        (2, f"error: give more\n{TRACEBACK}", "a traceback, ending in: ValueError: a mistake"),
        (0, "error: give more\n", "exit status 0, not 2; last line: error: give more"),
        (2, "error: something\n", "no line says 'give more'; last line: error: something"),
        (2, "", "no line says 'give more'; last line: (nothing)"),
    ],
)
def test_a_message_must_have_its_status_its_line_and_no_traceback(status, text, wrong):
    assert remains.bad_message(status, text, "give more") == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('{"a": 1}\n{"a": 2}\n', ""),
        ('{"a": 1}\n{"a": ', "metrics.jsonl holds a torn line"),
        ('{"a": 1}\n{"a": 2}', "metrics.jsonl ends without a line end"),
    ],
)
def test_torn_lines_are_seen(tmp_path, text, wrong):
    (tmp_path / "metrics.jsonl").write_text(text)
    assert torn_lines(tmp_path / "metrics.jsonl") == wrong


def test_a_run_that_two_processes_trained_is_seen(tmp_path):
    run = make_run(tmp_path / "runs" / "a", [{"global_step": step} for step in (1, 2)])
    (run / "source.json").write_text(json.dumps({"starts": [{}]}))
    assert shared_grids._trained_once(tmp_path, 1) == ""
    assert shared_grids._trained_once(tmp_path, 2) == "1 of 2 runs are finished"
    (run / "metrics.jsonl").write_text('{"global_step": 2}\n{"global_step": 1}\n')
    assert shared_grids._trained_once(tmp_path, 1) == "records of two processes are mixed"
    (run / "source.json").write_text(json.dumps({"starts": [{}, {}]}))
    assert shared_grids._trained_once(tmp_path, 1) == "runs were started [2] times"
    (run / "done").unlink()
    assert shared_grids._trained_once(tmp_path, 1) == "0 of 1 runs are finished"


def test_a_fault_comes_at_the_nth_call_and_needs_its_place():
    class Holder:
        def call(self):
            came.append("call")

    came: list[str] = []
    worker.before(Holder, "call", 2, lambda: came.append("fault"))
    for _ in range(3):
        Holder().call()
    assert came == ["call", "fault", "call", "call"]
    with pytest.raises(AttributeError, match="Holder has no gone: the fault would not be put in"):
        worker.replace(Holder, "gone", None)


def test_processes_that_a_child_leaves_behind_are_found(tmp_path):
    with children.started(leave_one_behind, tmp_path / "log") as child:
        assert child.wait(60) == 3
        (orphan,) = child.orphans(patience=0.0)
        assert child.text == f"{orphan}\n"
        child.kill()
        assert child.orphans(patience=5.0) == []


def leave_one_behind():
    if (pid := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    print(pid, flush=True)
    return 3


def test_a_child_that_hangs_is_ended(tmp_path):
    with children.started(sleep, tmp_path / "log") as child, pytest.raises(TimeoutError, match=r"no end within 0 s"):
        child.wait(0.1)
    assert child.status == -9


def sleep():
    time.sleep(60)
