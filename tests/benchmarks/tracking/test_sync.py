"""Offline runs are sent part by part, continued ones as one run; what came after training is written once."""

import stat

import numpy as np
import pytest
from PIL import Image, ImageSequence

from agents.runs.trackers import open_tracker
from benchmarks import dashboard
from benchmarks.reporting.runs import load
from benchmarks.tracking.after_training import additions, parts_of, probe_scores
from benchmarks.tracking.episodes import videos_of
from tests.agents.runs.tools import run_config
from tests.benchmarks.tools import make_run
from tests.benchmarks.tracking.conftest import inspected, train

STUB = '#!/bin/sh\necho "$@" >> {calls}\nif [ -n "$WANDB_FAILS" ]; then echo "wandb: no such project" >&2; exit 1; fi\n'


@pytest.fixture
def calls(tmp_path, monkeypatch, no_key):
    """Arguments of every call of ``wandb``, of which there is a stub on PATH, and a key."""
    file, program = tmp_path / "calls", tmp_path / "bin" / "wandb"
    program.parent.mkdir()
    program.write_text(STUB.format(calls=file))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    return lambda: [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def test_a_run_trained_without_a_tracker_is_sent_whole(calls, tmp_path, capsys, monkeypatch):
    path = train(tmp_path / "out", run_config(steps=256, kept_policies=0, splits=("train", "heldout")))
    assert dashboard.main(["--sync", str(tmp_path / "out"), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "written first: records of metrics.jsonl, " in told
    assert "result/gap" in told
    assert told.endswith("nothing was written or sent\n")
    assert not (path / "wandb").exists()
    assert dashboard.main(["--sync", str(tmp_path / "out"), "--entity", "team"]) == 0
    (part,) = parts_of(path)
    assert calls() == [["sync", "--yes", "--id", path.name, "--entity", "team", str(part)]]
    monkeypatch.undo()
    (run,) = load(tmp_path / "out")
    history = [record["history"]["item"] for record in inspected(part) if record["type"] == "history"]
    points = [(item["global_step"], item["train/return"]) for item in history if "train/return" in item]
    assert points == [(step, value) for step, value in run.series("train/return").tolist()]
    summary = inspected(part, "--summary")["summary"]
    assert summary["result/held_out_return"] == run.returns["heldout"].mean()
    assert summary["pictures/splits"]["_type"] == "image-file"


def test_what_was_written_is_written_once(experiment, calls, capsys):
    assert dashboard.main(["--sync", str(experiment)]) == 0
    (run,) = load(experiment)
    scores = probe_scores(experiment, [run])[run.id]
    assert set(scores) == {"probe/train", "probe/held_out"}
    assert additions(run, scores).names == []
    count = len(parts_of(run.path))
    assert dashboard.main(["--sync", str(experiment)]) == 0
    assert len(parts_of(run.path)) == count == 2  # training's, and what came after it
    assert additions(run, {**scores, "probe/train": 0.125}).names == ["probe/train"]
    assert calls()[0] == calls()[1] == ["sync", "--yes", "--id", run.id, *map(str, parts_of(run.path))]
    assert capsys.readouterr().out == "1 runs sent\n" * 2


def test_recorded_episodes_are_sent_frame_by_frame_as_videos(experiment, tmp_path):
    (run,) = load(experiment)
    videos = videos_of(run)
    assert set(videos) == {"train", "held_out"}
    assert videos["held_out"].recording["split"] == "heldout"
    assert "median" in videos["train"].recording["rule"]
    videos["train"].write(tmp_path / "train.gif")
    recording = videos["train"].recording
    source = videos["train"].folder / recording["sheets"][0]
    with Image.open(tmp_path / "train.gif") as film, Image.open(source) as tiles:
        scale = film.size[0] // recording["width"]  # small frames are enlarged
        first, sheet = (np.asarray(image.convert("RGB")) for image in (film, tiles))
        np.testing.assert_array_equal(first[::scale, ::scale], sheet[: recording["height"], : recording["width"]])
        shown = sum(frame.info["duration"] for frame in ImageSequence.Iterator(film))
    assert shown >= recording["frames"] * 60  # ms, 15 frames a second


def test_parts_of_a_stopped_run_are_sent_together_in_order(calls, tmp_path):
    path = make_run(tmp_path, "cnn", finished=False)
    for start in ("20261130_101502-x", "20261130_090000-x", "20261201_000000-x"):
        (path / "wandb" / f"offline-run-{start}").mkdir(parents=True)
    make_run(tmp_path, "darla", finished=False)  # never tracked: nothing to send
    assert dashboard.main(["--sync", str(tmp_path), "--project", "mine"]) == 0
    ((*words, first, second, third),) = calls()
    assert words == ["sync", "--yes", "--id", path.name, "--project", "mine"]
    assert [part.rpartition("/")[2][12:20] for part in (first, second, third)] == ["20261130"] * 2 + ["20261201"]
    assert first.endswith("090000-x")


def test_runs_that_cannot_be_sent_are_told_in_one_line(calls, tmp_path, monkeypatch, capsys):
    path = make_run(tmp_path, "cnn", finished=False)
    (path / "wandb" / "offline-run-20261130_101502-x").mkdir(parents=True)
    monkeypatch.setenv("WANDB_FAILS", "1")
    assert dashboard.main(["--sync", str(tmp_path)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: 1 of 1 runs were not sent, {path.name} first (wandb: no such project)")
    monkeypatch.delenv("WANDB_API_KEY")
    assert dashboard.main(["--sync", str(tmp_path)]) == 2
    assert "set WANDB_API_KEY" in capsys.readouterr().err
    assert dashboard.main(["--sync", str(tmp_path / "nowhere"), "--dry-run"]) == 2
    assert "is not an experiment directory" in capsys.readouterr().err
    (path / "wandb" / "offline-run-20261130_101502-x").rmdir()
    assert dashboard.main(["--sync", str(tmp_path), "--dry-run"]) == 2
    assert "nothing to send" in capsys.readouterr().err


def test_a_run_sent_while_it_trained_is_not_written_again(tmp_path, no_key):
    path = make_run(tmp_path, "cnn")
    (run,) = load(tmp_path)
    (path / "wandb" / "run-20261130_101502-x").mkdir(parents=True)
    assert not additions(run, {}).records
    open_tracker("wandb", {"repr": "cnn", "suite": "coinrun", "algo": "ppo", "preset": "quick"}, run.id, path).finish()
    assert "result/train_return" in additions(run, {}).names
