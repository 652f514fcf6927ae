"""The command: a row for each run, comparisons, and refusals."""

from __future__ import annotations

import csv
import json

import pytest
from PIL import Image

from benchmarks.curves import main
from tests.benchmarks.tools import make_run


def test_a_row_for_each_run_and_a_comparison_with_the_baseline(tmp_path, capsys):
    for seed in (0, 1):
        make_run(tmp_path, "cnn", seed)
        make_run(tmp_path, "darla", seed)
    make_run(tmp_path, "darla", 2, finished=False)
    assert main([str(tmp_path), "--reach", "7"]) == 0
    text = capsys.readouterr().out
    assert "stopped at 1,000,000 of 1,000,000" in text
    assert "darla 512" in text  # frames of pre-training are named, not counted
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
