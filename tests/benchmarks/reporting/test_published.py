"""The transcribed tables against their own aggregates."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.reporting import published
from benchmarks.reporting.published import Conditions
from envs.procgen.games import GAMES
from envs.suites import build


def ppo(source, column):
    return np.array(
        [
            (getattr(row, column) - game.easy[0]) / (game.easy[1] - game.easy[0])
            for name, game in GAMES.items()
            for row in published.rows(f"{name}-easy")
            if (row.method, row.source) == ("PPO", source)
        ]
    )


@pytest.mark.parametrize(
    ("source", "column", "mean"),
    # min-max means over the 16 games, worked out from the papers' tables apart from this transcription
    [("PLR", "test", 0.341), ("CLOP", "test", 0.397), ("Cetin", "test", 0.359), ("CLOP", "train", 0.73)],
)
def test_ppo_rows_give_the_known_min_max_mean(source, column, mean):
    scores = ppo(source, column)
    assert len(scores) == 16
    assert scores.mean() == pytest.approx(mean, abs=0.005 if column == "train" else 0.0006)


def test_gap_is_train_minus_test_up_to_rounding_and_runs():
    for row in published.ROWS:
        if row.train is None:
            assert published.gap(row) is None
        else:
            # a printed gap is a mean over runs of another rounding
            assert published.gap(row) == pytest.approx(row.train - row.test, abs=2.0)
            assert np.sign(published.gap(row)) == np.sign(row.train - row.test)


def test_coinrun_rows():
    rows = {(row.method, row.source): row for row in published.rows("coinrun-easy")}
    assert len(rows) == 14
    assert (rows["PPO", "CLOP"].train, rows["PPO", "CLOP"].test, published.gap(rows["PPO", "CLOP"])) == (10, 9, 1.1)
    assert (rows["PPO", "Cetin"].train, rows["PPO", "Cetin"].test, published.gap(rows["PPO", "Cetin"])) == (
        9.5,
        8.25,
        1.25,
    )
    assert rows["PPO", "PLR"].test == 8.6
    assert published.gap(rows["PPO + crop augmentation", "Cetin"]) == -0.6


def test_every_row_names_a_source_and_no_other_mode_has_rows():
    assert {row.source for row in published.ROWS} == set(published.STUDIES)
    assert published.rows("coinrun-hard") == ()


def test_differences_from_the_protocol_are_said():
    theirs = Conditions(200, 25_000_000, 10, "impala", "float32")
    assert published.differences("coinrun-easy", theirs) == ""
    ours = replace(theirs, levels=20, steps=1_000_000)
    assert published.differences("coinrun-easy", ours) == (
        "20 training levels here, 200 there; 1M frames here, 25M there"
    )
    breakout = Conditions(20, 1_000_000, 5, "nature", "float32")
    assert published.differences("breakout", breakout) == "1M frames here, 200,000 there"  # no levels there
    assert published.differences("breakout", replace(breakout, steps=200_000)) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": 1}, "1 seed here, 5 to 10 there"),
        ({"seeds": 3}, "3 seeds here, 5 to 10 there"),
        ({"trunk": "nature"}, "trunk nature here, impala there"),
        ({"precision": "bfloat16"}, "bfloat16 here, float32 there"),
    ],
)
def test_network_precision_seeds_and_level_sets_are_differences_too(change, words):
    theirs = Conditions(200, 25_000_000, 10, "impala", "float32")
    assert published.differences("coinrun-easy", replace(theirs, **change)) == words


def test_breakout_rows_stand_beside_splits_of_ours():
    (task,) = build("breakout")
    rows = published.rows("breakout")
    assert len(rows) == 12
    assert {row.split for row in rows} <= set(task.targets)
    schema = {row.split: published.gap(row) for row in rows if row.method == "Schema Networks"}
    assert schema == {"offset-paddle": -5.09, "middle-wall": 1.11, "random-target": 14.95, "juggling": 36.44}
    assert all(published.gap(row) is None for row in rows if row.method.startswith("A3C"))


def test_sums_of_every_column_as_they_were_read():
    # Sums of the transcription when it was checked against the papers: test, then train. A digit that changes shows.
    sums = {
        source: (
            round(sum(row.test for row in published.ROWS if row.source == source), 2),
            round(sum(row.train or 0 for row in published.ROWS if row.source == source), 2),
        )
        for source in published.STUDIES
    }
    assert sums == {
        "PLR": (174.5, 0),
        "CLOP test": (27.5, 0),
        "CLOP": (149.7, 217.3),
        "Schema": (84.0, 145.32),
        "Cetin": (156.74, 194.59),
    }
