"""The player's data: what a page holds of recordings, its size, and agents that cannot be played any more."""

import base64
import json
import re

import numpy as np

from benchmarks.recording import record as recorder
from benchmarks.recording import sheets, store
from benchmarks.recording.record import read
from benchmarks.reporting import player
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.reporting.recorded import HEIGHT, WIDTH, frames, write_episode, write_levels, write_recordings
from tests.benchmarks.tools import make_run


def cells(experiment):
    return summarise(load(experiment)).cells


def decoded(address):
    assert address.startswith("data:image/webp;base64,")
    return base64.b64decode(address.partition(",")[2])


def test_the_page_holds_the_first_seeds_episodes_to_the_pixel(tmp_path):
    for seed in (0, 1):
        write_recordings(make_run(tmp_path, "cnn", seed))
    make_run(tmp_path, "vae")
    data = player.player(cells(tmp_path))
    assert data["lines"] == []
    (run,) = data["data"]["runs"]
    assert run["name"] == "cnn, seed 0"
    assert run["choices"] == [
        {"title": "median by return", "episodes": ["train-7-0", "heldout-40-0"]},
        {"title": "best by return", "episodes": ["train-7-0", "heldout-41-0"]},
        {"title": "worst by return", "episodes": ["train-9-0", "heldout-42-0"]},
    ]
    names = [episode["name"] for episode in run["episodes"]]
    assert names == ["heldout-40-0", "heldout-41-0", "heldout-42-0", "heldout-43-0", "train-7-0", "train-9-0"]
    median = run["episodes"][4]
    images = [decoded(address) for address in median["sheets"]]
    np.testing.assert_array_equal(sheets.decode(images, 300, (HEIGHT, WIDTH)), frames(7, 300))
    assert (median["return"], median["values"][1], median["variants"][0]["differs"][4]) == (10.0, -0.9, True)
    assert "made_from" not in median
    assert [row["recording"] for row in run["levels"]["splits"][0]["levels"]].count(None) == 16


def test_several_tasks_are_named(tmp_path):
    for levels in (20, 500):
        write_recordings(make_run(tmp_path, "cnn", levels=levels))
    runs = player.player(cells(tmp_path))["data"]["runs"]
    assert [run["name"] for run in runs] == [f"cnn, seed 0, coinrun-easy, {count} levels" for count in (20, 500)]


def noisy_run(experiment, name, episodes, count):
    """A run with ``episodes`` of noise on training levels, which no compression makes small, by level from 0."""
    run = make_run(experiment, name)
    rules = ["median of 9 episodes by return", "best of 9 episodes by return"]
    rules += ["first episode of its level"] * (episodes - 2)
    for level, rule in enumerate(rules):
        episode = write_episode(run, "train", level, rule, count)
        noise = np.random.default_rng(level).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)
        (image,) = sheets.encode(list(noise))
        (run / store.FOLDER / f"{episode}-0.webp").write_bytes(image)
    write_levels(run, {"train": [(level, 0.5, f"train-{level}-0") for level in range(episodes)]})
    return run


def test_too_large_a_page_loses_quality_first_then_levels(tmp_path):
    run = noisy_run(tmp_path, "cnn", 5, 200)
    shown = [player.Shown("cnn", read(run))]
    whole, lines = player.fitting(shown, 10**9)
    assert lines == []
    images = player.Images(20)
    smallest = player.size([player.run_data(shown[0], images)])
    coarse, lines = player.fitting(shown, player.size(whole) - 1)
    assert lines == ["Pictures are of quality 60 (of 100), so that this page stays small."]
    assert player.size(coarse) < player.size(whole)
    assert len(coarse[0]["episodes"]) == 5
    less, lines = player.fitting(shown, smallest - 1)
    assert lines[1] == "Episodes left out for the same reason: 1."
    assert player.size(less) < smallest
    assert [episode["level"] for episode in less[0]["episodes"]] == [0, 1, 2, 3]  # the last of the single levels
    assert [row["recording"] is None for row in less[0]["levels"]["splits"][0]["levels"]] == [False] * 4 + [True]
    assert [choice["episodes"] for choice in less[0]["choices"]] == [["train-0-0"], ["train-1-0"]]
    least, _ = player.fitting(shown, smallest // 4)
    assert least[0]["choices"] == [{"title": "median by return", "episodes": ["train-0-0"]}]
    assert [episode["rule"] for episode in least[0]["episodes"]] == ["median of 9 episodes by return"]


def test_a_report_of_five_methods_is_below_ten_megabytes(tmp_path, monkeypatch, capsys):
    for name in ("cnn", "vae", "darla", "random", "cpc"):
        run = make_run(tmp_path, name)
        for level in range(3):
            episode = write_episode(run, "train", level, "first episode of its level", 2)
            noise = np.random.default_rng(level).integers(0, 256, (900_000,), dtype=np.uint8)
            (run / store.FOLDER / f"{episode}-0.webp").write_bytes(b"RIFF" + noise.tobytes())
    monkeypatch.setattr(player, "record", lambda cells: [])
    monkeypatch.setattr(player, "smaller", lambda image, quality: image[: len(image) * quality // 100])
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_bytes()
    print(f"{len(page):,} bytes")
    assert 7_000_000 < len(page) < 10_000_000
    assert b"Pictures are of quality 40 (of 100)" in page


def test_a_report_without_its_agents_says_so(tmp_path):
    run = make_run(tmp_path, "cnn")
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert f"{run.name}: no episodes (UsageError: " in page
    assert "<script" not in page
    assert "script-src &#39;none&#39;" in page
    write_report(tmp_path, with_player=False)
    assert "no episodes" not in (tmp_path / "report.html").read_text()


def test_texts_of_recordings_cannot_become_markup(tmp_path, monkeypatch):
    run = make_run(tmp_path, "cnn")
    write_episode(run, "train", 3, "</script><script>alert(1)</script>", 4)
    monkeypatch.setattr(player, "record", lambda cells: [])
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<script") == 2  # the data and the player
    (text,) = re.findall(r'id="player-data">(.*?)</script>', page)
    assert json.loads(text)["runs"][0]["episodes"][0]["rule"] == "</script><script>alert(1)</script>"


def test_a_damaged_recording_leaves_the_report_whole(tmp_path, monkeypatch):
    run = make_run(tmp_path, "cnn")
    name = write_episode(run, "train", 3, "median of 4 episodes by return", 4)
    file = run / store.FOLDER / f"{name}.json"
    document = json.loads(file.read_text())
    del document["values"]
    file.write_text(json.dumps(document))
    monkeypatch.setattr(player, "record", lambda cells: [])
    write_report(tmp_path)
    assert "cnn, seed 0: its recordings cannot be read (KeyError: " in (tmp_path / "report.html").read_text()


def test_a_smoke_run_records_little_and_others_all(tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr(recorder, "record_run", lambda run, quality, note: asked.update({run.name: quality}))
    runs = [make_run(tmp_path, "cnn", preset="smoke").name, make_run(tmp_path, "vae").name]
    assert player.record(cells(tmp_path)) == []
    assert (asked[runs[0]].playable, asked[runs[0]].kept_steps) == (0, 256)
    assert asked[runs[1]] == recorder.Quality()
