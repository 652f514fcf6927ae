"""Learning curves as numbers: areas and crossings by hand, groups, comparisons and refusals."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
from PIL import Image

from benchmarks.curves import area, curve, groups, halfway, main, reached
from benchmarks.reporting.runs import load, summarise
from tests.benchmarks.reporting.test_report import make_run


def test_the_area_of_a_broken_line_by_hand():
    frames, returns = np.array([10.0, 30, 40]), np.array([2.0, 6, 0])
    # 0..10 flat at 2: 20; 10..30 from 2 to 6: 80; 30..40 from 6 to 0: 30; 40..50 flat at 0. 130 / 50
    assert area(frames, returns, 50) == pytest.approx(2.6)
    # cut at 35, where the line stands at 3: 20 + 80 + 22.5
    assert area(frames, returns, 35) == pytest.approx(122.5 / 35)
    assert area(np.array([7.0]), np.array([3.0]), 20) == pytest.approx(3)


def test_the_frame_at_which_a_return_is_reached_by_hand():
    frames, returns = np.array([10.0, 30, 40]), np.array([2.0, 6, 10])
    assert reached(frames, returns, 3) == pytest.approx(15)  # a quarter of 10..30
    assert reached(frames, returns, 10) == pytest.approx(40)
    assert reached(frames, returns, 1) == pytest.approx(10)  # begins above
    assert math.isnan(reached(frames, returns, 11))
    assert reached(np.array([0.0, 10, 20]), np.array([0.0, 8, 1]), 4) == pytest.approx(5)  # first time counts


def test_seeds_make_a_group_and_settings_keep_groups_apart(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, "cnn", seed)
        make_run(tmp_path, "unreal", seed, repr_settings={"value_replay": True})
        make_run(tmp_path, "unreal", seed, repr_settings={"value_replay": False})
    found = groups(summarise(load(tmp_path)))
    assert found[0].label == "cnn"
    assert {group.label for group in found} == {"cnn", "unreal (value_replay=true)", "unreal (value_replay=false)"}
    assert all(len(group.curves) == 2 for group in found)
    # returns 6, 7, 8 at 250k, 500k, 1M frames, 0.2 more for seed 1:
    # 6 * 0.25 + 6.5 * 0.25 + 7.5 * 0.5 = 6.875
    assert found[0].areas[:, 0].tolist() == pytest.approx([6.875, 7.075])
    assert halfway(found) == {("coinrun-easy", 20): pytest.approx(8.1)}  # all end at 8.1 on average


def test_a_curve_is_cut_where_training_was_to_end(tmp_path):
    make_run(tmp_path, "cnn", steps=750_000)
    frames, returns = curve(load(tmp_path)[0])
    assert frames.tolist() == [250_000, 500_000, 750_000]
    assert returns.tolist() == [6, 7, 7.5]


def test_the_command_writes_a_row_for_each_run_and_compares_with_the_baseline(tmp_path, capsys):
    for seed in (0, 1):
        make_run(tmp_path, "cnn", seed)
        make_run(tmp_path, "darla", seed)
    make_run(tmp_path, "darla", 2, finished=False)
    assert main([str(tmp_path), "--reach", "7"]) == 0
    text = capsys.readouterr().out
    assert "stopped at 1,000,000 of 1,000,000" in text
    assert "darla 512" in text  # frames of pre-training are told, not counted
    with open(tmp_path / "curves.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["repr"], row["seed"]) for row in rows] == [("cnn", "0"), ("cnn", "1"), ("darla", "0"), ("darla", "1")]
    assert [float(row["auc"]) for row in rows] == pytest.approx([6.875, 7.075, 6.875, 7.075])
    # seed 0 is at 7 at 500k; seed 1 goes from 6.2 to 7.2 over 250k..500k: 450k
    assert [float(row["reached"]) for row in rows[:2]] == pytest.approx([500_000, 450_000])
    assert json.loads(rows[0]["settings"]) == {}
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size[0] > 500
    line = next(line for line in text.splitlines() if line.startswith("darla"))
    assert "+0.00" in line
    assert line.rstrip().endswith("cnn")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--against", "mine"), "--against 'mine' begins no label; known: cnn"),
        ((), "no record with 'train/return'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, argv, message):
    make_run(tmp_path, "cnn", curve="--against" in argv)
    assert main([str(tmp_path), *argv]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_directory_without_finished_runs_is_refused(tmp_path, capsys):
    make_run(tmp_path, "cnn", finished=False)
    assert main([str(tmp_path)]) == 2
    assert "no finished run to compare" in capsys.readouterr().err
