"""Learning curves as numbers: areas and crossings by hand, groups of seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.reporting.learning_curves import (
    area,
    area_difference,
    frames_to_reach,
    halfway,
    make_groups,
    notes,
    table,
    training_curve,
)
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.tools import make_run


def test_the_area_of_a_broken_line_by_hand():
    frames, returns = np.array([10.0, 30, 40]), np.array([2.0, 6, 0])
    # 0..10 flat at 2: 20; 10..30 from 2 to 6: 80; 30..40 from 6 to 0: 30; 40..50 flat at 0. 130 / 50
    assert area(frames, returns, 50) == pytest.approx(2.6)
    # cut at 35, where the line stands at 3: 20 + 80 + 22.5
    assert area(frames, returns, 35) == pytest.approx(122.5 / 35)
    assert area(np.array([7.0]), np.array([3.0]), 20) == pytest.approx(3)


def test_the_frame_at_which_a_return_is_reached_by_hand():
    frames, returns = np.array([10.0, 30, 40]), np.array([2.0, 6, 10])
    assert frames_to_reach(frames, returns, 3) == pytest.approx(15)  # a quarter of 10..30
    assert frames_to_reach(frames, returns, 10) == pytest.approx(40)
    assert frames_to_reach(frames, returns, 1) == pytest.approx(10)  # begins above
    assert math.isnan(frames_to_reach(frames, returns, 11))
    assert frames_to_reach(np.array([0.0, 10, 20]), np.array([0.0, 8, 1]), 4) == pytest.approx(5)  # first time counts


def test_seeds_make_a_group_and_settings_keep_groups_apart(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, "cnn", seed)
        make_run(tmp_path, "unreal", seed, repr_settings={"value_replay": True})
        make_run(tmp_path, "unreal", seed, repr_settings={"value_replay": False})
    groups = make_groups(summarise(load(tmp_path)))
    assert groups[0].label == "cnn"
    assert {group.label for group in groups} == {"cnn", "unreal (value_replay=true)", "unreal (value_replay=false)"}
    assert all(len(group.curves) == 2 for group in groups)
    # returns 6, 7, 8 at 250k, 500k, 1M frames, 0.2 more for seed 1:
    # 6 * 0.25 + 6.5 * 0.25 + 7.5 * 0.5 = 6.875
    assert groups[0].areas[:, 0].tolist() == pytest.approx([6.875, 7.075])
    assert halfway(groups) == {("coinrun-easy", 20): pytest.approx(8.1)}  # all end at 8.1 on average


def test_curves_of_the_protocol_before_say_what_they_favour(tmp_path):
    make_run(tmp_path / "new", "cnn")
    make_run(tmp_path / "old", "cnn", old=True)
    said = {name: notes(make_groups(summarise(load(tmp_path / name)))) for name in ("new", "old")}
    assert [any("favours short ones" in note for note in said[name]) for name in ("new", "old")] == [False, True]


def test_areas_are_paired_by_training_set(tmp_path):
    for seed in (0, 1, 2):
        make_run(tmp_path, "cnn", seed)
        make_run(tmp_path, "darla", seed)
    cnn, darla = make_groups(summarise(load(tmp_path)))
    difference = area_difference(darla, cnn)  # equal in each seed, though seeds differ by 0.2
    assert (difference.estimate, difference.low, difference.high) == pytest.approx((0.0, 0.0, 0.0))


def test_a_curve_is_cut_where_training_was_to_end(tmp_path):
    make_run(tmp_path, "cnn", steps=750_000)
    frames, returns = training_curve(load(tmp_path)[0])
    assert frames.tolist() == [250_000, 500_000, 750_000]
    assert returns.tolist() == [6, 7, 7.5]


@pytest.mark.parametrize("kind", [{"algo": "a2c"}, {"algo_settings": {"memory": "gru"}}, {"level_set": "0+20"}])
def test_curves_of_another_agent_or_kind_of_levels_are_not_subtracted(tmp_path, kind):
    for seed in range(2):
        make_run(tmp_path, "cnn", seed)
        make_run(tmp_path, "darla", seed, **kind)
        make_run(tmp_path, "vae", seed)
    groups = make_groups(summarise(load(tmp_path)))
    for against in ("", "cnn"):
        header, rows = table(groups, halfway(groups), against)
        shown = {row[0]: (row[header.index("AUC minus its [95%]")][:5], row[header.index("against")]) for row in rows}
        assert shown == {"cnn": ("–", "–"), "vae": ("+0.00", "cnn"), "darla": ("–", "–")}


def test_the_group_compared_with_is_named_with_its_marks(tmp_path):
    for seed in range(2):
        make_run(tmp_path, "cnn", seed, source={"commit": f"abc{seed}"})
        make_run(tmp_path, "vae", seed)
    groups = make_groups(summarise(load(tmp_path)))
    header, rows = table(groups, halfway(groups))
    (row,) = (row for row in rows if row[0] == "vae")
    assert (row[header.index("AUC minus its [95%]")], row[header.index("against")]) == ("+0.00 [mixed]", "cnn §")
