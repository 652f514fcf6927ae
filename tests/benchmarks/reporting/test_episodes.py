"""CSV files of a run: levels, repetitions, greedy rows, files of the protocol before."""

import numpy as np
import pytest

from benchmarks.reporting.episodes import read_agreement, read_crossed, read_evaluation, read_matched
from tests.benchmarks.tools import write_rows

HEADER = ("split", "env", "level", "episode", "actions", "return", "length")


def test_sampled_and_greedy_episodes_are_kept_apart_with_their_levels(tmp_path):
    rows = [("train", "e", 7, 1, "sampled", 4, 11), ("train", "e", 7, 0, "sampled", 2, 12)]
    rows += [("train", "e", 9, 0, "sampled", 9, 13), ("train", "e", 7, 0, "greedy", 5, 14)]
    write_rows(tmp_path / "eval.csv", HEADER, rows)
    evaluation = read_evaluation(tmp_path / "eval.csv")
    returns = evaluation.returns["train"]
    assert returns.levels.tolist() == [7, 7, 9]
    assert returns.repetitions.tolist() == [1, 0, 0]
    assert returns.lengths.tolist() == [11, 12, 13]
    assert returns.by_level() == {7: [2.0, 4.0], 9: [9.0]}
    assert returns.mean() == 6.0  # (3 + 9) / 2; over episodes 5
    assert evaluation.greedy["train"].values.tolist() == [5.0]
    assert evaluation.named_levels


def test_a_repetition_that_is_there_twice_is_refused(tmp_path):
    write_rows(tmp_path / "eval.csv", HEADER, [("train", "e", 7, 0, "sampled", 4, 11)] * 2)
    with pytest.raises(ValueError, match="split train has a level twice"):
        read_evaluation(tmp_path / "eval.csv")


def test_old_files_name_no_levels(tmp_path):
    header = ("split", "env", "episode", "level_seed", "return", "length")
    write_rows(tmp_path / "eval.csv", header, [("train", "e", 0, 5, 4, 11), ("train", "e", 1, 5, 2, 11)])
    evaluation = read_evaluation(tmp_path / "eval.csv")
    assert not evaluation.named_levels
    assert evaluation.returns["train"].levels.tolist() == [0, 1]  # level_seed was the env's seed, not a level


def test_crossed_episodes_are_by_the_seed_whose_set_it_is(tmp_path):
    assert read_crossed(tmp_path / "crossed.csv") == {}
    rows = [("5+2", 1, 5, 0, 3, 10), ("8+2", 2, 8, 0, 6, 10), ("8+2", 2, 9, 0, 8, 10)]
    write_rows(tmp_path / "crossed.csv", ("level_set", "seed", "level", "episode", "return", "length"), rows)
    crossed = read_crossed(tmp_path / "crossed.csv")
    assert {seed: returns.mean() for seed, returns in crossed.items()} == {1: 3.0, 2: 7.0}


def test_kept_policies_are_in_the_order_of_training(tmp_path):
    rows = [(0.2, "train", "a", 1, 0, 6), (0.1, "train", "a", 1, 0, 2), (0.1, "train", "a", 2, 0, 4)]
    rows += [(0.1, "train", "b", 1, 0, 9), (0.1, "heldout", "b", 1, 0, 1)]
    write_rows(tmp_path / "matched.csv", ("fraction", "split", "half", "level", "episode", "return"), rows)
    kept = read_matched(tmp_path / "matched.csv")
    assert set(kept) == {("train", "a"), ("train", "b"), ("heldout", "b")}
    np.testing.assert_array_equal(kept["train", "a"].fractions, [0.1, 0.2])
    np.testing.assert_array_equal(kept["train", "a"].means, [3.0, 6.0])


def test_agreement_of_actions_is_not_taken_for_one_of_effects(tmp_path):
    (tmp_path / "agreement.csv").write_text("split,argmax,total_variation,states\nheldout,0.5,0.1,96\n")
    assert read_agreement(tmp_path / "agreement.csv") == {}
