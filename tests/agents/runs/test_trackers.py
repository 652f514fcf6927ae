"""Trackers get every record, and nothing that goes wrong in them reaches the run."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from agents.runs import trackers
from agents.runs.trackers import Tracker, open_tracker
from envs.registry import UsageError

CONFIG = {"repr": "cnn", "suite": "coinrun", "algo": "ppo", "preset": "smoke", "seed": 3}


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

    def finish(self):
        self._take("finish")


def use(tracker, tmp_path):
    tracker.log({"global_step": 5, "eval/gap": 0.5})
    tracker.picture("splits", tmp_path / "splits.png")
    tracker.table("final", [{"repr": "cnn", "gap": 0.5}])
    tracker.finish()


def test_a_sink_gets_everything_in_order(tmp_path, capsys):
    sink = Sink()
    use(Tracker("fake", lambda: sink), tmp_path)
    assert sink.got == [
        ("init",),
        ("log", {"global_step": 5, "eval/gap": 0.5}),
        ("picture", "splits"),
        ("table", "final", [{"repr": "cnn", "gap": 0.5}]),
        ("finish",),
    ]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("broken", ["init", "log", "picture", "table", "finish"])
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
        order = ["init", "log", "picture", "table", "finish"]
        assert [entry[0] for entry in made[0].got] == order[: order.index(broken)]  # nothing after the failure


def test_a_sink_that_hangs_at_the_end_is_left_behind(monkeypatch, capsys):
    class Slow(Sink):
        def finish(self):
            time.sleep(2)

    monkeypatch.setattr(trackers, "FINISH_SECONDS", 0.05)
    start = time.monotonic()
    Tracker("fake", Slow).finish()
    assert time.monotonic() - start < 1
    assert "did not finish" in capsys.readouterr().err


def test_an_unknown_kind_is_refused_and_none_imports_nothing(tmp_path):
    with pytest.raises(UsageError, match="'mlflow' is not one of none, wandb, tensorboard"):
        open_tracker("mlflow", CONFIG, "x", tmp_path)
    code = "import sys; from pathlib import Path; from agents.runs.trackers import open_tracker\n"
    code += "open_tracker('none', {}, 'x', Path('.')).log({'global_step': 1})\n"
    code += "assert 'wandb' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_package_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    use(open_tracker("wandb", CONFIG, "x", tmp_path), tmp_path)
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def test_a_key_is_found_where_wandb_would_look(no_key, monkeypatch, tmp_path):
    assert not trackers.has_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password abc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert trackers.has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not trackers.has_key()
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    assert trackers.has_key()


def test_wandb_without_a_key_writes_offline_and_can_be_read_back(no_key, tmp_path, capsys):
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    Image.new("RGB", (8, 6)).save(tmp_path / "splits.png")
    tracker = open_tracker("wandb", CONFIG, "coinrun-cnn-s3", tmp_path)
    tracker.log({"global_step": 100, "eval/gap": 0.25})
    use(tracker, tmp_path)
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.count("\n") == 1
    assert "wandb leet" in output.out
    assert "wandb sync" in output.out
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    read = subprocess.run(["wandb", "leet", "inspect", "--json", str(folder)], capture_output=True, text=True)
    records = [json.loads(line) for line in read.stdout.splitlines()]
    (run,) = (record["run"] for record in records if record["type"] == "run")
    assert run["run_id"] == "coinrun-cnn-s3"
    assert run["run_group"] == "coinrun/cnn"
    text = read.stdout
    assert '"global_step"' in text
    assert "eval/gap" in text
    assert "pictures/splits" in text
    assert "tables/final" in text
    after = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])
    assert torch.equal(before[2], after[2])


def records_of(folder):
    """Records of wandb's offline files in a folder, by what ``wandb leet`` reads."""
    read = subprocess.run(["wandb", "leet", "inspect", "--json", str(folder)], capture_output=True, text=True)
    return [json.loads(line) for line in read.stdout.splitlines()]


PRETRAINING = [{"global_step": 0, "pretrain/samples": 64 * n, "pretrain/vae/loss": 1 / n} for n in (1, 2, 3)]
TRAINING = [{"global_step": 128 * n, "loss/policy": 0.5 * n} for n in (1, 2, 3, 4)]


def resumed(kind, tmp_path):
    """A run with its pre-training, killed after three records of training, that goes on from the second."""
    first = open_tracker(kind, CONFIG, "coinrun-cnn-s3", tmp_path)
    first.begin([])
    for record in [*PRETRAINING, *TRAINING[:3]]:
        first.log(record)
    first.finish()
    second = open_tracker(kind, CONFIG, "coinrun-cnn-s3", tmp_path)
    second.begin([*PRETRAINING, *TRAINING[:2]])
    for record in TRAINING[2:]:
        second.log(record)
    second.finish()


def test_tensorboard_has_an_axis_for_pretraining_and_no_point_twice(tmp_path):
    pytest.importorskip("tensorboard", reason="extra .[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    resumed("tensorboard", tmp_path)
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss/policy")] == [
        (128, 0.5),
        (256, 1.0),
        (384, 1.5),
        (512, 2.0),
    ]
    offline = EventAccumulator(str(tmp_path / "tensorboard" / "pretraining")).Reload()
    assert [event.step for event in offline.Scalars("pretrain/vae/loss")] == [64, 128, 192]
    assert "pretrain/vae/loss" not in read.Tags()["scalars"]


def test_wandb_has_an_axis_for_pretraining_and_no_point_twice(no_key, tmp_path, capsys):
    resumed("wandb", tmp_path)
    messages = capsys.readouterr().out.splitlines()
    sync = f"`wandb sync {tmp_path / 'wandb'}/offline-run-*-coinrun-cnn-s3` uploads it"
    assert [sync in line for line in messages] == [True, True]
    # a second start within the same second has "-1" at its end
    folders = sorted((tmp_path / "wandb").glob("offline-run-*-coinrun-cnn-s3*"))
    files = [records_of(folder) for folder in folders]
    sent = [record["history"]["item"] for records in files for record in records if record["type"] == "history"]
    points = [(item["global_step"], item["loss/policy"]) for item in sent if "loss/policy" in item]
    assert points == [(128, 0.5), (256, 1.0), (384, 1.5), (512, 2.0)]
    metrics = [record["metric"] for record in files[0] if "metric" in record]
    axes = {metric.get("glob_name"): metric.get("step_metric") for metric in metrics}
    assert (axes["pretrain/*"], axes["loss/*"]) == ("pretrain/samples", "global_step")
    assert (tmp_path / "wandb" / "sent").read_text() == "7"


def test_tensorboard_gets_scalars_at_their_steps_and_the_picture(tmp_path):
    pytest.importorskip("tensorboard", reason="extra .[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    Image.new("RGB", (8, 6)).save(tmp_path / "splits.png")
    tracker = open_tracker("tensorboard", CONFIG, "x", tmp_path)
    tracker.log({"global_step": 100, "eval/gap": 0.25})
    use(tracker, tmp_path)
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("eval/gap")] == [(100, 0.25), (5, 0.5)]
    assert read.Tags()["images"] == ["pictures/splits"]
    assert read.Images("pictures/splits")[0].step == 5
