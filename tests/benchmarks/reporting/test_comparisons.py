"""Marks: what a row needs before it may be said to differ from its baseline."""

import math

import numpy as np
import pytest

from benchmarks.experiment.outcomes import OWN, UNDECLARED, Conditions, declared
from benchmarks.reporting.comparisons import main_comparisons
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from benchmarks.reporting.tables import against_baseline, headline, looks_against_baseline
from tests.benchmarks.reporting.test_summary import allow
from tests.benchmarks.tools import make_run

STEPS = (0, 1_000_000)


def pair(experiment, seeds=3, shift=2.0, baseline=None, both=None, **changes):
    """cnn and a darla that gets ``shift`` more on unseen levels, in every seed but for a little noise."""
    rng = np.random.default_rng(0)
    for seed in range(seeds):
        values = {"train": [8.0] * 6, "heldout": (4 + 0.2 * rng.random(6)).tolist()}
        make_run(experiment, "cnn", seed, values, **({"env_steps": STEPS} | (both or {}) | (baseline or {})))
        better = values | {"heldout": (4 + shift + 0.2 * rng.random(6)).tolist()}
        make_run(experiment, "darla", seed, better, **({"env_steps": STEPS} | (both or {}) | changes))


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
        values = {"train": [8.0] * 6, "heldout": [6.0] * 6}
        make_run(tmp_path / name, "darla", 3, values, source=source, env_steps=STEPS)
        make_run(tmp_path / name, "cnn", 3, values | {"heldout": [4.1] * 6}, env_steps=STEPS)
        assert marks(tmp_path / name)["gap"] is False


def gap_row(experiment):
    (row,) = (row for row in main_comparisons(summarise(load(experiment))) if row.outcome == "gap")
    return row


def test_a_baseline_that_fell_or_is_of_several_commits_takes_the_mark(tmp_path):
    pair(tmp_path / "good")
    assert gap_row(tmp_path / "good").marked
    fell = {"best_validation": {"step": 1, "return": 9.0}, "final_validation": {"step": 2, "return": 7.0}}
    pair(tmp_path / "fell", baseline={"source": fell})
    row = gap_row(tmp_path / "fell")
    assert (row.cell.claimable, row.reference.cell.claimable, row.marked) == (True, False, False)
    assert row.difference.high < 0  # the interval itself is not taken away


def test_two_cells_of_one_commit_each_are_no_two_methods(tmp_path):
    pair(tmp_path, baseline={"source": {"commit": "aaaaaaa"}}, source={"commit": "bbbbbbb"})
    row = gap_row(tmp_path)
    assert (row.cell.claimable, row.reference.cell.claimable) == (True, True)
    assert row.difference.estimate == pytest.approx(-2, abs=0.2)
    assert math.isnan(row.difference.low)
    assert not row.marked
    assert row.cell.name == "darla"
    assert row.mixed == {"commit": ["aaaaaaa", "bbbbbbb"]}
    text = write_report(tmp_path)
    assert "[mixed] §" in text
    where, text = "§ darla, coinrun-easy, 20 levels, and cnn that it is compared with", " ".join(text.split())
    assert f"{where}: mixed commits aaaaaaa, bbbbbbb. No interval" in text


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        ({"threads": 1}, {"threads": 2}, "mixed numbers of threads 1, 2"),
        ({"device": "cpu"}, {"device": "cuda"}, "mixed devices cpu, cuda"),
        ({"precision": "float32"}, {"precision": "bfloat16"}, "mixed precisions bfloat16, float32"),
        ({"ranks": 1}, {"ranks": 2}, "mixed numbers of processes 1, 2"),
        (
            {"versions": {"torch": "2.13.0", "numpy": "1.26.4"}},
            {"versions": {"torch": "2.14.0", "numpy": "1.26.4"}},
            "mixed versions of packages torch 2.13.0 and 2.14.0.",
        ),
    ],
)
def test_two_machines_mark_the_comparison_and_keep_its_interval(tmp_path, one, two, words):
    pair(tmp_path, baseline={"source": one}, source=two)
    row = gap_row(tmp_path)
    assert row.marked
    assert row.difference.high < 0
    text = " ".join(write_report(tmp_path).split())
    assert f"§ darla, coinrun-easy, 20 levels, and cnn that it is compared with: {words}" in text
    assert "* §" in text


def test_only_a_baseline_of_equal_budget_tests_anything(tmp_path):
    # darla took 261,888 steps more than the cnn, which is as long in RL alone
    pair(tmp_path, env_steps=(261_888, 1_000_000))
    row = gap_row(tmp_path)
    assert row.reference.budget == "equal RL steps"
    assert row.difference.high < 0
    assert math.isnan(row.corrected_p)
    assert not row.marked
    header, rows = against_baseline(summarise(load(tmp_path)))
    p = {row[header.index("outcome")]: row[header.index("p (Holm)")] for row in rows}
    assert p == {"held-out return": "not declared", "gap": "other budget"}


def test_a_table_says_levels_only_where_levels_were_paired(tmp_path):
    values = {"train": [9.0, 8.0], "heldout": [7.0, 6.0], "monochrome": [5.0, 4.0]}
    for seed in range(3):
        for name, own in (("cnn", seed), ("vae", seed + 3)):
            path = make_run(tmp_path, name, own, values)
            lines = [line.split(",") for line in (path / "eval.csv").read_text().splitlines()]
            for line in lines:
                if line[0] == "monochrome":  # shows each seed's own training levels
                    line[2] = str(10**8 + own * 10**6 + int(line[2]) - 2 * 10**6)
            (path / "eval.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    summary = summarise(load(tmp_path))
    for table, expected in (
        (against_baseline, {"held-out return": "levels", "gap": "levels"}),
        (looks_against_baseline, {"looks": "nothing"}),
    ):
        header, rows = table(summary)
        assert {row[header.index("outcome")]: row[header.index("paired by")] for row in rows} == expected


def test_an_interval_around_zero_is_not_marked(tmp_path):
    pair(tmp_path, shift=0.0)
    row = gap_row(tmp_path)
    assert row.difference.low < 0 < row.difference.high
    assert not row.marked


def test_p_values_are_corrected_for_the_declared_rows_alone(tmp_path, monkeypatch):
    allow(monkeypatch, "gap", "held-out return")
    pair(tmp_path, shift=1.0)
    rng = np.random.default_rng(1)
    for seed in range(3):
        values = {"train": rng.normal(8, 1, 6).tolist(), "heldout": rng.normal(5, 1, 6).tolist()}
        make_run(tmp_path, "vae", seed, values, env_steps=STEPS)
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
    kind = Conditions()
    assert declared("coinrun-easy", "quick", 1_000_000, 20, kind).outcomes == {"gap"}
    assert declared("coinrun-easy", "quick", 999_999, 20, kind) is UNDECLARED
    assert declared("coinrun-easy", "quick", 1_000_000, 500, kind) is UNDECLARED
    assert declared("coinrun-easy", "smoke", 1_000_000, 20, kind) is UNDECLARED
    assert declared("mine", "quick", 1_000_000, 20, kind).outcomes == frozenset()


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(algo="a2c"),
        Conditions(memory="gru"),
        Conditions(last_step=True),
        Conditions(trunk="impala"),
        Conditions(level_set="published"),
        Conditions(changed=("ppo.gamma",)),
    ],
)
def test_a_declaration_holds_for_the_kind_of_its_controls_alone(conditions):
    other = declared("coinrun-easy", "quick", 1_000_000, 20, conditions)
    assert other.outcomes == frozenset()
    assert "its controls were of ppo, memory none, trunk nature, drawn levels; these rows are of" in other.reason
    assert declared("coinrun-easy", "quick", 1_000_000, 20, Conditions(trunk=OWN)).outcomes == {"gap"}


@pytest.mark.parametrize(
    "kind",
    [
        {"algo": "a2c"},
        {"algo_settings": {"memory": "gru"}},
        {"last_step": True},
        {"trunk": "impala"},
        {"level_set": "0+20"},
        {"algo_settings": {"learning_rate": 1e-9}},
        {"num_envs": 16},
        {"suite": "of_another_project:SUITE"},
    ],
)
def test_rows_of_another_kind_are_not_marked_by_a_declaration(tmp_path, kind):
    pair(tmp_path, both=kind)
    row = gap_row(tmp_path)
    assert row.reference.budget == "equal budget"
    assert (row.declared, row.marked) == (False, False)


def other_data(experiment, controls, darla=6.0):
    """cnn, a darla on mixed data, and controls by their returns on unseen levels."""
    rng = np.random.default_rng(0)
    rows = {
        "policy_cnn frozen": {},
        "policy_cnn finetune": {},
        "cnn online": {"start_from_policy": True, "steps": 1_200_000, "env_steps": (250_000, 1_200_000)},
    }
    for seed in range(3):
        values = {"train": [8.0] * 6, "heldout": (4 + 0.2 * rng.random(6)).tolist()}
        make_run(experiment, "cnn", seed, values, env_steps=(0, 1_450_000))
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
