"""Marks: what a row needs before it may be said to differ from its baseline."""

import math

import numpy as np
import pytest

from benchmarks.experiment.outcomes import UNDECLARED, declared
from benchmarks.reporting.comparisons import main_comparisons
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from benchmarks.reporting.tables import headline
from tests.benchmarks.reporting.test_summary import allow
from tests.benchmarks.tools import make_run


def pair(experiment, seeds=3, shift=2.0, **changes):
    """cnn and a darla that gets ``shift`` more on unseen levels, in every seed but for a little noise."""
    rng = np.random.default_rng(0)
    for seed in range(seeds):
        values = {"train": [8.0] * 6, "heldout": (4 + 0.2 * rng.random(6)).tolist()}
        make_run(experiment, "cnn", seed, values)
        better = values | {"heldout": (4 + shift + 0.2 * rng.random(6)).tolist()}
        make_run(experiment, "darla", seed, better, **changes)


def marks(experiment):
    return {row.outcome: row.marked for row in main_comparisons(summarise(load(experiment)))}


def test_only_declared_outcomes_are_marked(tmp_path, monkeypatch):
    pair(tmp_path)
    assert marks(tmp_path) == {"held-out return": False, "gap": True}  # coinrun-easy at quick declares the gap only
    allow(monkeypatch, "held-out return")
    assert marks(tmp_path) == {"held-out return": True, "gap": False}
    allow(monkeypatch)
    assert marks(tmp_path) == {"held-out return": False, "gap": False}


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_fewer_than_three_seeds_are_never_marked(tmp_path, seeds):
    pair(tmp_path, seeds)
    assert marks(tmp_path)["gap"] == (seeds == 3)


def test_a_fall_or_several_commits_take_the_mark(tmp_path):
    fell = {"best_validation": {"step": 1, "return": 9.0}, "final_validation": {"step": 2, "return": 7.0}}
    for name, source in (("fell", fell), ("mixed", {"commit": "other"})):
        pair(tmp_path / name)
        make_run(tmp_path / name, "darla", 3, {"train": [8.0] * 6, "heldout": [6.0] * 6}, source=source)
        make_run(tmp_path / name, "cnn", 3, {"train": [8.0] * 6, "heldout": [4.1] * 6})
        assert marks(tmp_path / name)["gap"] is False


def test_an_interval_around_zero_is_not_marked(tmp_path):
    pair(tmp_path, shift=0.0)
    (row,) = (row for row in main_comparisons(summarise(load(tmp_path))) if row.outcome == "gap")
    assert row.difference.low < 0 < row.difference.high
    assert not row.marked


def test_p_values_are_corrected_for_the_declared_rows_alone(tmp_path, monkeypatch):
    allow(monkeypatch, "gap", "held-out return")
    pair(tmp_path, shift=1.0)
    rng = np.random.default_rng(1)
    for seed in range(3):
        values = {"train": rng.normal(8, 1, 6).tolist(), "heldout": rng.normal(5, 1, 6).tolist()}
        make_run(tmp_path, "vae", seed, values)
    rows = main_comparisons(summarise(load(tmp_path)))
    raw = sorted(row.difference.p for row in rows)
    corrected = sorted(row.corrected_p for row in rows)
    assert len(rows) == 4
    assert corrected[0] == pytest.approx(4 * raw[0])  # Holm: the smallest of four, times four
    allow(monkeypatch, "gap")
    rows = main_comparisons(summarise(load(tmp_path)))
    assert sorted(math.isnan(row.corrected_p) for row in rows) == [False, False, True, True]
    gaps = sorted((row.difference.p, row.corrected_p) for row in rows if row.outcome == "gap")
    assert gaps[0][1] == pytest.approx(2 * gaps[0][0])


def test_a_declaration_holds_for_its_size_alone():
    assert declared("coinrun-easy", "quick", 1_000_000, 20).outcomes == {"gap"}
    assert declared("coinrun-easy", "quick", 999_999, 20) is UNDECLARED
    assert declared("coinrun-easy", "quick", 1_000_000, 500) is UNDECLARED
    assert declared("coinrun-easy", "smoke", 1_000_000, 20) is UNDECLARED
    assert declared("mine", "quick", 1_000_000, 20).outcomes == frozenset()


def other_data(experiment, controls, darla=6.0):
    """cnn, a darla on mixed data, and controls by their returns on unseen levels."""
    rng = np.random.default_rng(0)
    rows = {
        "policy_cnn frozen": {},
        "policy_cnn finetune": {},
        "cnn online": {"start_from_policy": True, "steps": 1_200_000, "env_steps": (250_000, 1_200_000)},
    }
    for seed in range(3):
        make_run(experiment, "cnn", seed, {"train": [8.0] * 6, "heldout": (4 + 0.2 * rng.random(6)).tolist()})
        better = {"train": [8.0] * 6, "heldout": (darla + 0.2 * rng.random(6)).tolist()}
        make_run(experiment, "darla", seed, better, pretrain_data="mixed", env_steps=(450_000, 1_000_000))
        for name, height in controls.items():
            values = {"train": [8.0] * 6, "heldout": (height + 0.2 * rng.random(6)).tolist()}
            method, mode = name.split()
            make_run(experiment, method, seed, values, mode=mode, pretrain_data="mixed", **rows[name])


BEATEN = {"policy_cnn frozen": 5.0, "policy_cnn finetune": 5.5, "cnn online": 4.5}


@pytest.mark.parametrize(
    ("controls", "marked"),
    [
        (BEATEN, True),
        ({**BEATEN, "policy_cnn frozen": 6.5}, False),
        ({**BEATEN, "policy_cnn finetune": 6.5}, False),
        ({**BEATEN, "cnn online": 6.5}, False),
        ({name: height for name, height in BEATEN.items() if name != "cnn online"}, False),
    ],
    ids=["all beaten", "frozen not", "fine-tuned not", "level switch not", "one absent"],
)
def test_on_other_data_a_row_helps_only_beyond_three_controls(tmp_path, monkeypatch, controls, marked):
    other_data(tmp_path, controls)
    for outcome in ("held-out return", "gap"):
        allow(monkeypatch, outcome)
        rows = main_comparisons(summarise(load(tmp_path)))
        (row,) = (row for row in rows if row.cell.config["repr"] == "darla" and row.outcome == outcome)
        assert row.marked == marked


def test_a_level_switch_of_another_total_is_no_control(tmp_path, monkeypatch):
    other_data(tmp_path, BEATEN)
    for seed in range(3):  # as long in all as another row's, and better than darla
        start = {"start_from_policy": True, "pretrain_data": "mixed", "steps": 1_300_000}
        values = {"train": [8.0] * 6, "heldout": [6.5] * 6}
        make_run(tmp_path, "cnn", seed, values, env_steps=(250_000, 1_300_000), **start)
    allow(monkeypatch, "held-out return")
    summary = summarise(load(tmp_path))
    rows = [row for row in main_comparisons(summary) if row.outcome == "held-out return"]
    (row,) = (row for row in rows if row.cell.config["repr"] == "darla")
    assert row.marked
    steps = [c.config["steps"] for c in summary.data_policy_controls(row.cell) if c.config["repr"] == "cnn"]
    assert steps == [1_200_000]


def test_a_row_on_other_data_may_be_worse_without_controls(tmp_path, monkeypatch):
    other_data(tmp_path, {}, darla=2.0)
    allow(monkeypatch, "held-out return")
    (row,) = (row for row in main_comparisons(summarise(load(tmp_path))) if row.outcome == "held-out return")
    assert row.marked
    assert row.difference.estimate < -1


def test_rows_of_one_protocol_are_ranked_alone(tmp_path, monkeypatch):
    other_data(tmp_path, BEATEN)
    for seed in range(3):
        make_run(tmp_path, "vae", seed, {"train": [8.0] * 6, "heldout": [3.0] * 6})
    allow(monkeypatch, "held-out return")
    summary = summarise(load(tmp_path))
    # random frames first, then mixed ones, each by held-out return: 4, 3 | 6, 5.5, 5, 4.5
    assert [(cell.config["repr"], cell.config["mode"]) for cell in summary.cells] == [
        ("cnn", "online"),
        ("vae", "frozen"),
        ("darla", "frozen"),
        ("policy_cnn", "finetune"),
        ("policy_cnn", "frozen"),
        ("cnn", "online"),
    ]
    assert summary.baselines == [summary.cells[0].label]
    header, rows = headline(summary)
    data = [row[header.index("data")] for row in rows if row[0]]
    assert data == ["", "", *["frames of mixed behaviour"] * 4]
