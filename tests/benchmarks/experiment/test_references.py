"""Reference policies on the levels of planned runs."""

import csv

import numpy as np

from benchmarks.experiment.references import FILE, measure_references
from envs.level_sets import LevelRange, training_levels
from envs.reference_scores import returns
from envs.suites import build
from tests.agents.runs.tools import run_config


def test_references_play_the_levels_of_each_run_once(tmp_path):
    drawn = [training_levels("counting", seed, 3) for seed in (1, 2)]
    configs = [run_config(seed=levels, level_set=str(drawn[levels]), eval_envs=6) for levels in (0, 1)]
    measure_references([*configs, configs[0]], tmp_path)
    with open(tmp_path / FILE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["split"], row["levels"]) for row in rows if row["policy"] == "random") == sorted(
        [("train", str(levels)) for levels in drawn]
        + [("swapped", str(levels)) for levels in drawn]
        + [("heldout", "2000000+6")]
    )
    task = build("counting", 3)[0].on_levels(drawn[1])
    played = returns(task.source, "random", np.tile(drawn[1].first(3), 2), np.repeat([0, 1], 3))
    (own,) = [row for row in rows if (row["split"], row["levels"], row["policy"]) == ("train", str(drawn[1]), "random")]
    assert float(own["mean"]) == round(played.mean(), 2)
    # a variant that changes pixels alone is the source to a policy that reads none
    (variant,) = [
        row for row in rows if (row["split"], row["levels"], row["policy"]) == ("swapped", str(drawn[1]), "random")
    ]
    assert (variant["mean"], variant["std"]) == (own["mean"], own["std"])
    before = (tmp_path / FILE).read_bytes()
    measure_references(configs, tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_published_runs_are_tested_on_levels_drawn_from_all(tmp_path):
    measure_references([run_config(level_set="0+3", eval_envs=4)], tmp_path)
    with open(tmp_path / FILE, newline="") as file:
        names = {row["split"]: row["levels"] for row in csv.DictReader(file)}
    assert names["heldout"] == "4 drawn from all"
    measure_references([run_config(level_set="0+3", eval_envs=6)], tmp_path)
    with open(tmp_path / FILE, newline="") as file:
        played = {row["levels"] for row in csv.DictReader(file) if row["split"] == "heldout"}
    assert played == {"4 drawn from all", "6 drawn from all"}


def test_references_are_scored_in_the_windows_of_their_runs(tmp_path):
    configs = [run_config(eval_envs=4, window=window) for window in (0, 5, 9)]
    measure_references(configs, tmp_path)
    with open(tmp_path / FILE, newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["split"], row["policy"]) == ("train", "random")]
    task = build("counting", 3)[0].on_levels(LevelRange(0, 3))
    levels, repeats = np.array([0, 1, 2, 0, 1, 2]), np.repeat([0, 1], 3)
    expected = {
        str(window): round(float(returns(task.source, "random", levels, repeats, window=window).mean()), 2)
        for window in (0, 5, 9)
    }
    assert {row["window"]: float(row["mean"]) for row in rows} == expected
    assert len(set(expected.values())) == 3
    assert len({row["commit"] for row in rows} - {""}) == 1
