"""Tables and numbers as text."""

from benchmarks.reporting.layout import aligned, frames, interval, listed, narrowed, pipes, without_empty_columns
from benchmarks.reporting.stats import Interval


def test_intervals_as_text():
    assert interval(Interval(9.0, 8.714, 9.266, "seeds", 3)) == "9.00 [8.71, 9.27]"
    assert interval(Interval(1.0, -0.5, 2.5, "seeds", 3), sign=True) == "+1.00 [-0.50, +2.50]"
    assert interval(Interval(9.0, 9.0, 9.0, "seeds", 1)) == "9.00 [n=1]"
    assert interval(Interval(10.0, 10.0, 10.0, "episodes", 64)) == "10.00 [all equal]"
    assert interval(None) == "–"
    nan = float("nan")
    assert interval(Interval(10.0, nan, nan, "seeds", 3)) == "10.00 [mixed]"


def test_columns_that_no_row_fills_are_left_out():
    table = (["a", "b", "c"], [["x", "–", ""], ["y", "–", "z"]])
    assert without_empty_columns(table) == (["a", "c"], [["x", ""], ["y", "z"]])


def test_lists_as_text():
    assert [listed("a"), listed("ab"), listed("abc", "or")] == ["a", "a and b", "a, b or c"]


def test_frames_as_text():
    assert [frames(count) for count in (2048, 1_000_000, 25_000_000, 1_500_000)] == ["2,048", "1M", "25M", "1.5M"]


def test_columns_are_aligned_and_a_long_first_column_is_cut():
    table = (["method", "x"], [["a long name of a method", "1.0"]])
    assert aligned(table).splitlines()[2] == "a long name of a method  1.0"
    assert aligned(table, width=17).splitlines()[2] == "a long name…  1.0"


def test_columns_that_do_not_fit_are_dropped_in_order():
    table = (["method", "mode", "norm.", "seeds"], [["cnn", "online", "0.50", "3"]])
    assert narrowed(table) == table
    # 6 + 6 + 5 + 5 and three gaps of two are 28
    assert narrowed(table, 27)[0] == ["method", "mode", "seeds"]
    assert narrowed(table, 20)[0] == ["method", "seeds"]  # the number of seeds always stays


def test_markdown_escapes_pipes():
    assert pipes((["a"], [["x|y"]])).splitlines() == ["| a    |", "|------|", "| x\\|y |"]
