"""The table [search]: ranges, choices, what they hold, and mistakes."""

import pytest

from benchmarks.sweeping.ranges import Choices, Range, read_ranges
from envs.registry import UsageError

RATE = {"low": 1e-5, "high": 1e-3, "log": True}


def test_ranges_and_choices_are_read_quoted_or_nested(tmp_path):
    table = {"trials": 7, "ppo.learning_rate": RATE, "darla": {"beta": [1, 4], "latents": {"low": 4, "high": 32}}}
    trials, ranges = read_ranges(tmp_path, table)
    assert trials == 7
    assert ranges == {
        "ppo.learning_rate": Range(1e-5, 1e-3, True),
        "darla.beta": Choices((1, 4)),
        "darla.latents": Range(4, 32),
    }
    assert read_ranges(tmp_path, {"ppo.gamma": {"low": 0.9, "high": 1}})[0] == 20


def test_what_a_range_holds():
    whole, real, choices = Range(4, 32), Range(0.5, 2), Choices(("nature", "impala"))
    assert [whole.holds(value) for value in (4, 32, 33, 4.0, True)] == [True, True, False, False, False]
    assert [real.holds(value) for value in (0.5, 1, 2.5, "1", None)] == [True, True, False, False, False]
    assert [choices.holds(value) for value in ("nature", "own")] == [True, False]


def test_distributions_are_those_of_optuna():
    pytest.importorskip("optuna")
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    assert Range(1e-5, 1e-3, True).distribution() == FloatDistribution(1e-5, 1e-3, log=True)
    assert Range(4, 32).distribution() == IntDistribution(4, 32)
    assert Choices((1, "a")).distribution() == CategoricalDistribution((1, "a"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "has no range; write"),
        ({"trials": 0, "ppo.gamma": RATE}, "trials = 0: give a whole number of at least 1"),
        ({"ppo.gamma": 0.9}, "write { low = A, high = B }"),
        ({"ppo.gamma": [0.9]}, "write { low = A, high = B }"),
        ({"ppo.gamma": [[1], [2]]}, "give numbers, words or truth values"),
        ({"ppo.gamma": {"low": 1}}, "write { low = A, high = B }"),
        ({"ppo.gamma": {"low": 1, "high": 2, "step": 1}}, "write { low = A, high = B }"),
        ({"ppo.gamma": {"low": 2, "high": 1}}, "give numbers low < high"),
        ({"ppo.gamma": {"low": True, "high": 2}}, "give numbers low < high"),
        ({"ppo.gamma": {"low": 0, "high": 2, "log": True}}, "a logarithm needs low above 0"),
    ],
)
def test_a_bad_range_is_named(tmp_path, table, words):
    with pytest.raises(UsageError) as refusal:
        read_ranges(tmp_path / "GRID.toml", table)
    assert f"{tmp_path / 'GRID.toml'}: [search]" in str(refusal.value)
    assert words in str(refusal.value)
