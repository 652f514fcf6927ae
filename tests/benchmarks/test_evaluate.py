"""What the command that plays finished runs again chooses and prints; tests of the runs train real ones."""

from __future__ import annotations

import numpy as np
import pytest

from agents.runs.added import Wanted
from agents.runs.evaluate import Episodes
from benchmarks.evaluate import Args, evaluations, finished_runs, table_row
from envs.level_sets import LevelRange
from envs.registry import UsageError
from tests.agents.runs.tools import run_config
from tests.benchmarks.tools import make_run


def episodes(levels, returns):
    levels, returns = np.array(levels), np.array(returns, float)
    return Episodes(levels, np.zeros_like(levels), returns, np.ones_like(levels))


def test_levels_count_equally_and_the_error_is_over_them():
    # level 5: mean 2; level 6: mean 6; their mean 4, deviation sqrt(8), over sqrt(2): 2
    row = table_row("run", Wanted("heldout", 4, LevelRange(5, 2)), episodes([5, 5, 5, 6], [1, 2, 3, 6]))
    assert row == ["run", "heldout", "5+2", "sampled", "4 on 2 levels", "4.00", "2.00"]


def test_on_one_level_the_error_is_over_episodes():
    row = table_row("run", Wanted("train", 2, greedy=True), episodes([5, 5], [1, 3]))
    assert row == ["run", "train", "its own", "greedy", "2 on 1 levels", "2.00", "1.00"]
    assert table_row("run", Wanted("train", 1), episodes([5], [1]))[-2:] == ["1.00", "–"]


def test_a_run_is_played_as_it_was_where_nothing_is_said():
    config = run_config(eval_envs=7)
    assert evaluations(Args(()), config) == [Wanted(split, 7) for split in config.splits]
    twice = Args((), split=("heldout", "heldout"), levels="5+2", episodes=3, greedy=True)
    assert evaluations(twice, config) == [Wanted("heldout", 3, LevelRange(5, 2), True)]


def test_unfinished_runs_of_a_directory_are_left_out(tmp_path, capsys):
    done = make_run(tmp_path, "cnn", 0)
    stopped = make_run(tmp_path, "cnn", 1, finished=False)
    assert finished_runs((tmp_path, done)) == [done]
    assert capsys.readouterr().out == f"not finished, left out: {stopped.name}\n"
    with pytest.raises(UsageError, match="needs the folder of a finished run"):
        finished_runs(())
