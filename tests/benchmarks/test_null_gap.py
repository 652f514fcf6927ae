"""Policies that never learn: what they do, the runs written of them, and the report's intervals of their gaps."""

import csv
import json

import numpy as np
import pytest

from benchmarks import null_gap
from benchmarks.null_gap import Args, actions, find_task, main, play
from benchmarks.reporting.stats import Interval
from envs.counter_rng import counter_hash
from envs.level_sets import HELDOUT, LevelRange

SPRITES = ["--suite", "sprites", "--task", "sprites", "--train-levels", "4", "--heldout-levels", "6"]


class SixActions:
    """An env of six actions, whose script says 5."""

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.single_action_space = type("Space", (), {"n": 6})()

    def scripted(self):
        return np.full(self.num_envs, 5)


def chosen(method, env, steps=16):
    bits = counter_hash(3, np.arange(env.num_envs))
    return np.stack([actions(env, method, bits, np.full(env.num_envs, t)) for t in range(steps)])


def test_noisy_policy_holds_the_script_or_a_random_action_for_eight_steps():
    env = SixActions(4000)
    assert (chosen("fixed", env) == 5).all()
    taken = chosen("noisy", env)
    np.testing.assert_array_equal(taken[:8], np.tile(taken[0], (8, 1)))
    np.testing.assert_array_equal(taken[8:], np.tile(taken[8], (8, 1)))
    # 0.7 + 0.3 / 6 = 0.75 of the blocks say 5; standard error sqrt(0.75 * 0.25 / 8000) = 0.005
    assert (taken == 5).mean() == pytest.approx(0.75, abs=0.02)
    assert (taken[0] != taken[8]).mean() > 0.3


def test_without_a_script_random_actions_are_held():
    env = SixActions(4000)
    env.__class__ = type("Unscripted", (), {})
    taken = chosen("fixed", env)
    np.testing.assert_array_equal(taken[:8], np.tile(taken[0], (8, 1)))
    np.testing.assert_allclose(np.bincount(taken[0]) / 4000, 1 / 6, atol=0.03)


def test_episodes_depend_on_level_repetition_and_seed_alone():
    task = find_task(Args(suite="sprites", task="sprites", train_levels=4, heldout_levels=6))
    one = play(task.source, LevelRange(50, 5), 80, "noisy", 1)  # more visits than envs side by side
    assert [*one.levels[:6]] == [50, 51, 52, 53, 54, 50]
    assert list(one.repeats) == np.repeat(np.arange(16), 5).tolist()
    few = play(task.source, LevelRange(52, 1), 16, "noisy", 1)  # all at once: above, repetition 13 on begin later
    for level, repeat, value, length in few.columns:
        (place,) = np.flatnonzero((one.levels == level) & (one.repeats == repeat))
        assert (one.returns[place], one.lengths[place]) == (value, length)
    other = play(task.source, LevelRange(50, 5), 80, "noisy", 2)
    assert (other.lengths != one.lengths).any()


def test_command_reports_runs_of_both_policies_and_tabulates_their_gaps(tmp_path, capsys):
    out, kept = tmp_path / "null.csv", tmp_path / "kept"
    words = [*SPRITES, "--pairs", "2", "--out", str(out), "--keep", str(kept)]
    assert main(words) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    quantities = ["gap of fixed", "gap of noisy, net", "gap of noisy", "crossed gap of noisy"]
    assert [row["quantity"] for row in rows] == 2 * quantities
    assert [row["heldout"] for row in rows] == 4 * [f"{HELDOUT.start}+6"] + 4 * [f"{HELDOUT.start + 6}+6"]
    for row in rows:
        assert int(row["covers_zero"]) == (float(row["low"]) <= 0 <= float(row["high"]))
    configs = [json.loads(path.read_text()) for path in kept.glob("*/runs/*/config.json")]
    assert len({config["level_set"] for config in configs}) == 6  # 3 seeds in each of 2 pairs, for both policies
    assert len(configs) == 12
    assert len(list(kept.glob("*/report.html"))) == 2
    printed = capsys.readouterr().out
    assert "of 2" in printed
    before = out.read_text()
    assert main(words) == 0  # nothing is played again
    assert out.read_text() == before


def test_a_gap_of_the_runs_is_that_of_their_episodes(tmp_path):
    args = Args(suite="sprites", task="sprites", train_levels=4, heldout_levels=6, seeds=2)
    null_gap.write_pair(tmp_path, find_task(args), args, 0)
    rows = {}
    for path in tmp_path.glob("runs/*noisy*/eval.csv"):
        for row in csv.DictReader(path.read_text().splitlines()):
            rows.setdefault((path.parent.name, row["split"]), []).append(float(row["return"]))
    gaps = [
        np.mean(values) - np.mean(rows[name, "heldout"]) for (name, split), values in rows.items() if split == "train"
    ]
    intervals = dict(null_gap.reported(tmp_path))
    assert intervals["gap of noisy"].estimate == pytest.approx(np.mean(gaps))
    assert "crossed gap of noisy" not in intervals  # two seeds


def test_an_interval_beside_zero_is_counted_as_such(tmp_path, monkeypatch, capsys):
    ends = iter([(1.0, 3.0), (-1.0, 1.0), (-3.0, -1.0)])

    def intervals(experiment):
        low, high = next(ends)
        yield "gap", Interval((low + high) / 2, low, high, "levels", 4)

    monkeypatch.setattr(null_gap, "reported", intervals)
    monkeypatch.setattr(null_gap, "write_pair", lambda *arguments: None)
    out = tmp_path / "null.csv"
    assert main([*SPRITES, "--pairs", "3", "--out", str(out)]) == 0
    assert [row["covers_zero"] for row in csv.DictReader(out.read_text().splitlines())] == ["0", "1", "0"]
    printed = capsys.readouterr().out.splitlines()[-1].split()
    assert printed == ["gap", "1", "of", "3", "+0.00", "2.00"]  # mean of 2, 0, -2; mean width


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "coinrun"], "is not of suite coinrun; its tasks: coinrun-easy"),
        (["--pairs", "0"], "give 1 pair"),
        (["--pairs", "2000"], "more than 100,000"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
