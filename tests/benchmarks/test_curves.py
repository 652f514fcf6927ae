"""The command: a row for each run, comparisons, and refusals."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.curves import main
from benchmarks.reporting.learning_curves import make_groups
from benchmarks.reporting.metric_curves import at_frames, binned, lines_of, table
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.tools import make_run, write_rows


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


def curve_of(folder, name):
    """Lines of a run's metrics that hold an evaluation."""
    (path,) = (folder / "runs").glob(f"*{name}*/metrics.jsonl")
    return [line for line in path.read_text().splitlines() if "eval/gap" in line]


def test_metrics_are_drawn_in_a_panel_each(tmp_path):
    for name in ("cnn", "darla"):
        make_run(tmp_path, name)
    assert main([str(tmp_path), "--metrics", "eval/train/return"]) == 0
    with Image.open(tmp_path / "metrics.png") as picture:
        one = picture.size
    assert main([str(tmp_path), "--metrics", "eval/train/return", "eval/gap", "train/return"]) == 0
    with open(tmp_path / "metrics.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["metric"] == "eval/gap"]
    shown = [(int(row["frames"]), float(row["value"])) for row in rows if row["label"] == "darla"]
    records = [json.loads(line) for line in curve_of(tmp_path, "darla")]
    assert shown == [(record["global_step"], pytest.approx(record["eval/gap"])) for record in records]
    assert [row["seed"] for row in rows] == ["0"] * len(rows)
    with Image.open(tmp_path / "metrics.png") as picture:
        assert picture.size[0] == pytest.approx(2 * one[0], rel=0.01)
        assert picture.size[1] > 1.5 * one[1]


def test_every_run_has_a_line_of_its_own_values(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, "cnn", seed)
    make_run(tmp_path, "darla", 0, env="other")
    lines = lines_of(make_groups(summarise(load(tmp_path))), ["eval/gap", "train/return"])
    assert list(lines) == ["eval/gap", "train/return"]
    assert sorted(lines["eval/gap"]) == ["cnn, coinrun-easy, 20 levels", "darla, other, 20 levels"]
    (gaps,) = lines["eval/gap"]["darla, other, 20 levels"]
    assert np.allclose(gaps[:, 1], [0.5, 0.8, 1.1])  # 6, 7, 8 on training levels, 5.5, 6.2, 6.9 on others
    returns = [line.tolist() for line in lines["train/return"]["cnn, coinrun-easy, 20 levels"]]
    # 6, 7, 8 and 0.2 more for seed 1; the last frame falls into the last hundredth
    assert returns[0] == [[250_000, 6], [500_000, 7], [1_000_000, 8]]
    assert np.allclose(np.subtract(returns[1], returns[0]), [[0, 0.2]] * 3)


def test_points_of_a_part_of_training_are_averaged():
    points = np.array([[0, 1.0], [30, 2.0], [40, 4.0], [60, 8.0], [105, 16.0]])  # training ends with a whole rollout
    assert binned(points, steps=100, bins=2).tolist() == [[70 / 3, 7 / 3], [82.5, 12.0]]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("--against", "cnn", "--metrics", "loss/entropie"),
            "--metrics loss/entropie: no run has recorded it; known: eval/gap, eval/train/return",
        ),
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


def test_a_copy_of_a_run_counts_once_another_of_its_name_is_refused(tmp_path, capsys):
    for name in ("one", "two"):
        make_run(tmp_path / name, "cnn")
        make_run(tmp_path / name, "darla")
    folders = [str(tmp_path / name) for name in ("one", "two")]
    assert main(folders) == 0
    with open(tmp_path / "one" / "curves.csv", newline="") as handle:
        assert len(list(csv.DictReader(handle))) == 2
    (path,) = (tmp_path / "two" / "runs").glob("*-darla-*")
    records = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text(records.replace('"train/return": 8.0', '"train/return": 3.0'))
    assert main(folders) == 2
    message = capsys.readouterr().err
    assert f"run {path.name} in {folders[1]} is no copy of that in {folders[0]}" in message
    assert message.count("\n") == 1


def test_evaluations_are_tabulated_with_the_difference_of_seeds(tmp_path):
    for seed in (0, 1, 2):
        make_run(tmp_path, "cnn", seed)
        make_run(tmp_path, "darla", seed)
    for path in (tmp_path / "runs").glob("*"):
        height = 5.0 + int(path.name.split("-s")[1][0]) if "darla" in path.name else 4.0
        rows = [(0.5, "heldout", "b", 7, i, height + i) for i in (0, 1)] + [(1.0, "heldout", "b", 7, 0, 2.0)]
        rows += [(0.5, "train", half, 7, 0, value) for half, value in (("a", 1.0), ("b", 3.0))]
        write_rows(path / "matched.csv", ("fraction", "split", "half", "level", "episode", "return"), rows)
    groups = make_groups(summarise(load(tmp_path)))
    cnn, darla = groups
    assert at_frames(cnn, "kept/monochrome") == {}
    assert at_frames(cnn, "kept/train")[500_000].tolist() == [2.0] * 3
    assert {frames: values.tolist() for frames, values in at_frames(darla, "kept/heldout").items()} == {
        500_000: [5.5, 6.5, 7.5],
        1_000_000: [2.0, 2.0, 2.0],
    }
    header, lines = table(groups, ["kept/heldout", "eval/train/return"])
    assert header[-1] == "minus the baseline [95%]"
    # differences 1, 2, 3: mean 2, standard error 1 / sqrt 3, t of 2 degrees of freedom 4.303
    assert lines[2] == ["kept/heldout", "500,000", "darla", "6.50 [4.02, 8.98]", "+2.00 [-0.48, +4.48]"]
    assert [line[4] for line in lines[:2]] == ["–", "–"]
    # cnn and darla have one curve: 6, 7, 8 and 0.2 a seed
    assert [line[3].partition(" ")[0] for line in lines if line[0] == "eval/train/return"] == [
        "6.20",
        "7.20",
        "8.20",
    ] * 2
