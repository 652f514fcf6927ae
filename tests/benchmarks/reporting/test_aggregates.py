"""The table over several tasks: what a row needs there before it may be marked."""

import numpy as np
import pytest

from benchmarks.experiment import outcomes
from benchmarks.reporting import tables
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.tools import make_run

TASKS = {"heist-easy": 6.0, "maze-easy": 8.0}
FELL = {"best_validation": {"step": 1, "return": 10.0}, "final_validation": {"step": 2, "return": 1.0}}


@pytest.fixture(autouse=True)
def declare(monkeypatch):
    """Have both tasks decide the return on unseen levels."""
    declaration = outcomes.Declaration(frozenset({"held-out return"}), "for this test", 1_000_000, 20)
    for env in TASKS:
        monkeypatch.setitem(outcomes.DECLARED, (env, "quick"), declaration)


def make_suite(experiment, sources=None, shifts=(("vae", 1.0),), steps=(0, 1_000_000)):
    """Three seeds of cnn and of rows that get ``shifts`` more on both tasks; ``sources``: (row, task) -> facts."""
    rng = np.random.default_rng(0)
    for env, base in TASKS.items():
        for seed in range(3):
            for name, shift in (("cnn", 0.0), *shifts):
                facts = (sources or {}).get((name, env), {})
                facts = {fact: value[seed] if isinstance(value, list) else value for fact, value in facts.items()}
                held_out = (base + shift + 0.1 * rng.random(6)).tolist()
                own = (0, 1_000_000) if name == "cnn" else steps
                values = {"train": [9.0] * 6, "heldout": held_out}
                make_run(experiment, name, seed, values, env=env, source=facts, env_steps=own)


def shown(experiment, name="vae"):
    """Method, difference and further intervals of the row of ``name``."""
    header, rows = tables.aggregates(summarise(load(experiment)))
    (row,) = (row for row in rows if row[0].startswith(name))
    by_name = dict(zip(header, row, strict=True))
    return by_name["method"], by_name["IQM minus cnn"], by_name["IQM held-out"], by_name["P(> cnn)"]


def test_a_row_that_fulfils_everything_is_marked(tmp_path):
    make_suite(tmp_path)
    method, difference, *_ = shown(tmp_path)
    assert method == "vae"
    assert difference.startswith("+0.2")  # one more, of a range of 5
    assert difference.endswith("] *")


COMMITS = {"commit": ["aaa", "bbb", "ccc"]}


@pytest.mark.parametrize(
    "sources",
    [
        {("cnn", "maze-easy"): FELL},
        {("vae", "maze-easy"): FELL},
        {("cnn", "heist-easy"): FELL},
    ],
    ids=["baseline on the second task", "row on the second task", "baseline on the first task"],
)
def test_a_fall_on_any_task_takes_the_mark(tmp_path, sources):
    make_suite(tmp_path, sources)
    method, difference, *_ = shown(tmp_path)
    assert method == ("vae †" if ("vae", "maze-easy") in sources else "vae")
    assert difference.endswith("]")


@pytest.mark.parametrize(
    "sources",
    [
        {("cnn", "maze-easy"): COMMITS},
        {("vae", "maze-easy"): COMMITS},
        {("vae", env): {"commit": "another"} for env in TASKS},
        {(name, "maze-easy"): {"commit": "another"} for name in ("cnn", "vae")},
    ],
    ids=["in the baseline", "in the row", "between the two", "between tasks"],
)
def test_several_commits_leave_no_interval(tmp_path, sources):
    make_suite(tmp_path, sources)
    method, difference, held_out, better = shown(tmp_path)
    assert difference.endswith("[mixed] §")
    assert better == "1.00 [mixed]"
    own_are_mixed = ("vae", "maze-easy") in sources and ("vae", "heist-easy") not in sources
    assert held_out.endswith("[mixed]") == own_are_mixed
    assert method == ("vae §" if own_are_mixed else "vae")


def test_marks_of_a_method_are_those_of_all_tasks(tmp_path):
    make_suite(tmp_path, {("vae", "maze-easy"): FELL | {"continued_after_evaluation": True, "threads": [1, 2, 2]}})
    method, difference, *_ = shown(tmp_path)
    assert method == "vae †‡§"
    assert difference.endswith("] §")


def test_a_shorter_baseline_takes_the_mark(tmp_path):
    make_suite(tmp_path, steps=(261_888, 1_000_000))
    assert shown(tmp_path)[1].endswith("]")


def test_rows_of_the_table_are_corrected_together(tmp_path, monkeypatch):
    make_suite(tmp_path, shifts=(("vae", 1.0), ("darla", 0.9)))
    monkeypatch.setattr(tables, "aggregate_difference", _with_p(tables.aggregate_difference, 0.03))
    # each alone stands at 0.03; Holm doubles the smaller one
    assert [shown(tmp_path, name)[1].endswith("*") for name in ("vae", "darla")] == [False, False]
    monkeypatch.setattr(tables, "aggregate_difference", _with_p(tables.aggregate_difference, 0.02))
    assert [shown(tmp_path, name)[1].endswith("*") for name in ("vae", "darla")] == [True, True]


def _with_p(measure, p):
    from dataclasses import replace

    return lambda *scores, **options: replace(measure(*scores, **options), p=p)
