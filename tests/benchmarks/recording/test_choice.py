"""The rule that chooses episodes, on rows written by hand."""

import numpy as np

from benchmarks.recording.choice import Choice, by_level, by_return, file_word, merged, shown_splits
from benchmarks.reporting.episodes import Returns


def returns(*rows):
    """Episodes of (level, repetition, return)."""
    levels, repeats, values = (np.array(column) for column in zip(*rows, strict=True))
    return Returns(values.astype(float), levels, repeats, np.full(len(rows), 9.0))


def test_median_best_and_worst_are_the_first_of_equal_returns():
    # sorted returns 0 0 3 7 7: the median is 3, of two at 0 level 4, of two at 7 repetition 0 of level 5
    rows = returns((9, 0, 0), (5, 1, 7), (5, 0, 7), (4, 2, 0), (8, 0, 3))
    assert by_return("heldout", rows) == [
        Choice("heldout", 8, 0, "median of 5 episodes by return"),
        Choice("heldout", 5, 0, "best of 5 episodes by return"),
        Choice("heldout", 4, 2, "worst of 5 episodes by return"),
    ]


def test_the_median_of_an_even_number_is_the_lower_one_and_names_join():
    # sorted 0 0 10 10: the second, 0, which is the worst, too; training levels have it beside the variants
    rows = returns((3, 0, 10), (4, 0, 0), (5, 0, 10), (2, 1, 0))
    assert by_return("train", rows) == [
        Choice("train", 2, 1, "median and worst of 4 episodes by return", with_variants=True),
        Choice("train", 3, 0, "best of 4 episodes by return"),
    ]


def test_each_level_shows_its_first_episode():
    rows = returns((7, 1, 0), (7, 0, 5), (3, 0, 1), (4, 0, 2))
    assert [(choice.level, choice.repeat) for choice in by_level("train", rows, 2)] == [(7, 0), (3, 0)]
    twice = [Choice("a", 1, 0, "best"), Choice("a", 1, 0, "first"), Choice("b", 1, 0, "first")]
    assert [(choice.split, choice.rule) for choice in merged(twice)] == [("a", "best"), ("b", "first")]


def test_unseen_levels_of_the_source_are_shown_else_the_first_other_split():
    assert shown_splits(dict.fromkeys(["train", "dark", "heldout"])) == ["train", "heldout"]
    assert shown_splits(dict.fromkeys(["train", "dark", "bright"])) == ["train", "dark"]
    assert shown_splits(dict.fromkeys(["train"])) == ["train"]


def test_names_of_files_hold_letters_and_digits():
    assert file_word("no-backgrounds+mono/heldout") == "no_backgrounds_mono_heldout"
    assert Choice("dark/heldout", 12, 3, "").name == "dark_heldout-12-3"
