"""The command that shows an agent at work: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from agents.runs.evaluate import Visits
from agents.runs.load import load_agent
from agents.runs.locks import try_lock
from benchmarks import watch
from benchmarks.recording import films, sheets
from benchmarks.recording.episode import Episode, play_episodes
from tests.agents.runs.tools import run_config, the_run, train_here

LEVEL = ["--level", "1"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    out = tmp_path_factory.mktemp("watched")
    train_here(out, run_config(steps=128, periodic_evals=0, eval_envs=3, kept_policies=1))
    return out


@pytest.fixture(scope="module")
def frames(out):
    agent = load_agent(out)
    (episode,) = play_episodes(agent.policy, agent.worlds["train"], Visits(np.array([1]), np.array([0])))
    return np.stack(episode.frames)


def watched(argv, capsys):
    assert watch.main([str(word) for word in argv]) == 0
    return capsys.readouterr().out.splitlines()


def error_of(argv, capsys):
    assert watch.main([str(word) for word in argv]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_it_says_what_the_evaluation_said(out, tmp_path, capsys):
    *lines, last = watched([out, "--episodes", 3, "--split", "heldout", "--out", tmp_path / "a.png"], capsys)
    with open(the_run(out) / "eval.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["split"] == "heldout"]
    assert lines == [
        f"heldout, level {row['level']}, repetition 0, sampled actions: return {float(row['return']):.4g} in "
        f"{row['length']} steps"
        for row in rows
    ]
    assert last.startswith(f"{the_run(out).name}: {tmp_path / 'a.png'} (")


def run_of(page):
    """The one run in the page's data."""
    (data,) = re.findall(r'<script type="application/json" id="player-data">(.*?)</script>', page, re.DOTALL)
    (run,) = json.loads(data)["runs"]
    return run


def test_a_page_holds_the_frames_and_loads_nothing(out, frames, tmp_path, capsys):
    watched([out, *LEVEL, "--out", tmp_path / "a.html"], capsys)
    text = (tmp_path / "a.html").read_text()
    (episode,) = run_of(text)["episodes"]
    pictures = [base64.b64decode(source.partition("base64,")[2]) for source in episode["sheets"]]
    np.testing.assert_array_equal(sheets.decode(pictures, episode["frames"], frames.shape[1:3]), frames)
    assert "http" not in re.sub(r"http://www.w3.org/2000/svg|http-equiv", "", text)


@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_an_animation_shows_every_step_enlarged(out, frames, tmp_path, capsys, ending):
    watched([out, *LEVEL, "--out", tmp_path / f"a.{ending}"], capsys)
    durations = []
    with Image.open(tmp_path / f"a.{ending}") as film:
        assert film.n_frames in (len(frames), len(frames) + films.PAUSE)  # Pillow joins equal frames of a gif
        for number in range(len(frames)):
            film.seek(number)
            shown = np.asarray(film.convert("RGB")).astype(int)[::2, ::2]
            assert np.abs(shown - frames[number]).max() <= (0 if ending == "webp" else 8)
            durations.append(film.info["duration"])
    assert durations[:-1] == pytest.approx([1000 / films.FRAMES_PER_SECOND] * (len(frames) - 1), abs=10)


def test_a_film_shows_every_step(out, frames, tmp_path, capsys):
    av = pytest.importorskip("av")
    watched([out, *LEVEL, "--out", tmp_path / "a.mp4"], capsys)
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == len(frames) + films.PAUSE
    difference = np.abs(np.stack(shown[: len(frames)])[:, ::2, ::2].astype(int) - frames)
    assert difference.mean() < 12


def test_frames_of_odd_sizes_become_a_film(tmp_path):
    av = pytest.importorskip("av")
    data = films.mp4([[np.full((201, 133, 3), 90, np.uint8)] * 3], tmp_path / "a.mp4")
    with av.open(io.BytesIO(data)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert shown[0].shape == (202, 134, 3)
    assert np.abs(shown[0].astype(int) - 90).max() <= 3


def test_a_contact_sheet_begins_each_episode_in_a_row_of_its_own(out, frames, tmp_path, capsys):
    watched([out, *LEVEL, "--episodes", 2, "--out", tmp_path / "a.png"], capsys)
    sheet = np.asarray(Image.open(tmp_path / "a.png"))
    size = frames.shape[1]
    for place, frame in enumerate(frames):
        np.testing.assert_array_equal(sheet[:size, place * size : (place + 1) * size], frame)
    assert sheet.shape[0] == 2 * size


def test_several_splits_play_side_by_side(out, frames, tmp_path, capsys):
    lines = watched([out, "--split", "train", "heldout", "--episodes", 2, "--out", tmp_path / "a.webp"], capsys)
    assert [line.split(",")[0] for line in lines[:-1]] == ["train", "train", "heldout", "heldout"]
    with Image.open(tmp_path / "a.webp") as film:
        assert film.size == (2 * (64 + 64 + films.GAP), 2 * 64)


def test_one_that_has_ended_stays_at_its_last_frame():
    short, long = ([np.full((3, 2, 3), shade, np.uint8) for shade in shades] for shades in ((1, 2), (5, 6, 7)))
    shown = films.side_by_side([short, long])
    assert [(frame[0, 0, 0], frame[0, -1, 0]) for frame in shown] == [(1, 5), (2, 6), (2, 7)]
    assert all((frame[:, 2 : 2 + films.GAP] == 255).all() and frame.shape == (3, 4 + films.GAP, 3) for frame in shown)


def test_variants_are_framed_where_the_effect_differs():
    dark, bright = np.zeros((8, 9, 3), np.uint8), np.full((8, 9, 3), 200, np.uint8)
    episode = Episode(0, 0, False, frames=[dark, dark], variants={"bright": ([bright, bright], [False, True])})
    same, other = (frame[:, 9 + films.GAP :] for frame in films.with_variants(episode))
    assert (same == 200).all()
    assert (other[2:-2, 2:-2] == 200).all()
    assert (other[0] == films.DIFFERS).all()
    assert (other[:, -1] == films.DIFFERS).all()
    assert all((frame[:, :9] == 0).all() for frame in films.with_variants(episode))


def test_a_page_shows_the_variants(out, tmp_path, capsys):
    watched([out, *LEVEL, "--variants", "--out", tmp_path / "a.html"], capsys)
    text = (tmp_path / "a.html").read_text()
    (episode,) = run_of(text)["episodes"]
    (variant,) = episode["variants"]
    assert variant["name"] == "swapped"
    assert len(variant["differs"]) == episode["frames"]


def test_a_page_shows_splits_side_by_side(out, tmp_path, capsys):
    watched([out, "--split", "train", "heldout", "--episodes", "2", "--out", tmp_path / "a.html"], capsys)
    run = run_of((tmp_path / "a.html").read_text())
    levels = {episode["name"]: episode["level"] for episode in run["episodes"]}
    assert [choice["episodes"] for choice in run["choices"]] == [["train-0", "heldout-0"], ["train-1", "heldout-1"]]
    assert run["choices"][1]["title"] == f"2: levels {levels['train-1']}, {levels['heldout-1']}"


def test_long_episodes_are_thinned_evenly_on_a_sheet(tmp_path):
    count = 3 * sheets.FRAMES_PER_SHEET
    shades = [np.full((1, 2, 3), place // 4, np.uint8) for place in range(count)]
    sheet = np.asarray(Image.open(io.BytesIO(films.contact_sheet([shades], tmp_path / "a.png"))))
    tiles = sheet[:, ::2, 0].ravel()
    assert len(tiles) == sheets.FRAMES_PER_SHEET
    assert (tiles[0], tiles[-1]) == (0, (count - 1) // 4)
    assert set(np.diff(tiles.astype(int))) == {0, 1}


def test_a_run_in_progress_is_watched_undisturbed(out, tmp_path, capsys):
    shutil.copytree(out, tmp_path / "running")
    run = the_run(tmp_path / "running")
    for name in ("done", "eval.csv"):
        (run / name).unlink()
    lock = try_lock(run / "lock")
    assert lock is not None
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    lines = watched([run, *LEVEL, "--out", tmp_path / "a.png"], capsys)
    assert lines[:-1] == watched([out, *LEVEL, "--out", tmp_path / "b.png"], capsys)[:-1]
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    lock.release()


def test_a_saved_agent_and_a_kept_policy_are_watched(out, tmp_path, capsys):
    agent = train_here(out, run_config(steps=128, periodic_evals=0, eval_envs=3, kept_policies=1))
    agent.save(tmp_path / "saved")
    expected = watched([out, *LEVEL, "--greedy", "--out", tmp_path / "a.png"], capsys)[0]
    assert "likeliest actions" in expected
    assert watched([tmp_path / "saved", *LEVEL, "--greedy", "--out", tmp_path / "a.png"], capsys)[0] == expected
    (kept,) = (the_run(out) / "policies").iterdir()
    assert watched([kept, *LEVEL, "--greedy", "--out", tmp_path / "a.png"], capsys)[0] == expected


def test_what_cannot_be_watched_is_refused_in_a_line(out, tmp_path, capsys, monkeypatch):
    assert error_of([out, "--out", "a.avi"], capsys) == (
        "error: --out a.avi: name a file that ends in .html, .webp, .gif, .mp4, .png"
    )
    (tmp_path / "a.png").mkdir()
    assert "is a directory" in error_of([out, "--out", tmp_path / "a.png"], capsys)
    assert "--episodes 0" in error_of([out, "--episodes", 0], capsys)
    assert "no such split; it has: train, heldout, swapped, validation" in error_of([out, "--split", "no"], capsys)
    assert "--level 7: levels of split 'train' go from 0 to 2" in error_of([out, "--level", 7], capsys)
    assert "no such split" in error_of([out, "--split", "train", "no"], capsys)
    assert "name it there" in error_of([out, "--split", "heldout", "--variants"], capsys)
    assert "--level 1: levels of split 'heldout' go from 2000000" in error_of(
        [out, "--split", "heldout", *LEVEL], capsys
    )
    assert str(tmp_path) in error_of([tmp_path], capsys)
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install -e '.[video]'" in error_of([out, "--out", "a.mp4"], capsys)


def test_one_of_several_runs_must_be_named(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    assert f"holds 2 runs; name one, as {tmp_path}/runs/<id>: a, b" in error_of([tmp_path], capsys)
