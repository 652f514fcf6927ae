"""Trackers get every record, and nothing that goes wrong in them reaches the run."""

import subprocess
import sys
import time

import pytest

from agents.runs.trackers import Tracker, open_tracker, tracker
from envs.registry import UsageError
from tests.agents.runs.trackers.tools import CONFIG, use


class Sink:
    """Remembers what it got; raises at the call named ``broken``."""

    def __init__(self, broken=""):
        self.broken, self.got = broken, []
        self._take("init")

    def _take(self, what, *content):
        if what == self.broken:
            raise RuntimeError(f"{what} failed\nwith a second line")
        self.got.append((what, *content))

    def begin(self, kept):
        self._take("begin", list(kept))

    def log(self, record):
        self._take("log", dict(record))

    def picture(self, name, path):
        self._take("picture", name)

    def table(self, name, rows):
        self._take("table", name, list(rows))

    def summary(self, figures):
        self._take("summary", dict(figures))

    def finish(self):
        self._take("finish")


def test_a_sink_gets_everything_in_order(tmp_path, capsys):
    sink = Sink()
    use(Tracker("fake", lambda: sink), tmp_path)
    assert sink.got == [
        ("init",),
        ("log", {"global_step": 5, "eval/gap": 0.5}),
        ("picture", "splits"),
        ("table", "final", [{"repr": "cnn", "gap": 0.5}]),
        ("summary", {"result/gap": 0.75, "cost/env_steps": 96.0}),
        ("finish",),
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("broken", ["init", "log", "picture", "table", "summary", "finish"])
def test_a_failure_prints_one_line_and_switches_the_sink_off(broken, tmp_path, capsys):
    made = []

    def make():
        made.append(Sink(broken))
        return made[0]

    use(Tracker("fake", make), tmp_path)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "tracker 'fake' is off" in line
    assert f"{broken} failed" in line
    if made:
        order = ["init", "log", "picture", "table", "summary", "finish"]
        assert [entry[0] for entry in made[0].got] == order[: order.index(broken)]  # nothing after the failure


def test_a_sink_that_hangs_at_the_end_is_left_behind(monkeypatch, capsys):
    class Slow(Sink):
        def finish(self):
            time.sleep(2)

    monkeypatch.setattr(tracker, "FINISH_SECONDS", 0.05)
    start = time.monotonic()
    Tracker("fake", Slow).finish()
    assert time.monotonic() - start < 1
    assert "did not finish" in capsys.readouterr().err


def test_an_unknown_kind_is_refused_and_none_imports_nothing(tmp_path):
    with pytest.raises(UsageError, match="'mlflow' is not one of none, wandb, tensorboard, trackio"):
        open_tracker("mlflow", CONFIG, "x", tmp_path)
    code = "import sys; from pathlib import Path; from agents.runs.trackers import open_tracker\n"
    code += "open_tracker('none', {}, 'x', Path('.')).log({'global_step': 1})\n"
    code += "assert 'wandb' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_package_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    use(open_tracker("wandb", CONFIG, "x", tmp_path), tmp_path)
    assert capsys.readouterr().err.count("\n") == 1
