"""Summaries: the baseline of each row, the order of rows, and runs that are in no table."""

import math

import pytest

from benchmarks.reporting.context_tables import relative_cost
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.tools import make_run, one_of_each

ROLLOUT = {"num_envs": 64, "algo_settings": {"n_steps": 256}}  # 16,384 frames


def reference_of(summary, label):
    (cell,) = (cell for cell in summary.cells if cell.label == label)
    reference = summary.reference(cell)
    return reference and (reference.cell.label, reference.budget)


def test_a_baseline_of_equal_total_steps_comes_first(tmp_path):
    # 261,888 + 1,003,520 = 1,265,408, rounded up to rollouts 1,277,952; one rollout less or more is another budget
    make_run(tmp_path, "darla", env_steps=(261_888, 1_003_520), **ROLLOUT)
    make_run(tmp_path, "cnn", env_steps=(0, 1_003_520), **ROLLOUT)
    assert reference_of(summarise(load(tmp_path)), "darla") == ("cnn", "equal RL steps")
    for steps in (1_261_568, 1_281_792):  # too few, and a whole rollout more
        make_run(tmp_path, "cnn", steps=steps, env_steps=(0, steps), **ROLLOUT)
    assert reference_of(summarise(load(tmp_path)), "darla") == ("cnn (steps=1,015,808)", "equal RL steps")
    make_run(tmp_path, "cnn", steps=1_277_952, env_steps=(0, 1_277_952), **ROLLOUT)
    summary = summarise(load(tmp_path))
    assert reference_of(summary, "darla") == ("cnn (steps=1,277,952)", "equal budget")
    assert reference_of(summary, "cnn (steps=1,277,952)") is None  # nor are baselines compared with each other


def test_other_budgets_are_not_subtracted(tmp_path):
    make_run(tmp_path, "darla", steps=2_000_000)
    make_run(tmp_path, "cnn", steps=1_000_000)
    summary = summarise(load(tmp_path))
    assert reference_of(summary, "darla") is None
    assert "Against cnn" not in write_report(tmp_path)


def test_each_algorithm_has_its_own_baseline(tmp_path):
    make_run(tmp_path, "cnn", returns={"train": [9.0, 9.0], "heldout": [9.0, 9.0]}, algo="a2c")
    make_run(tmp_path, "cnn", returns={"train": [1.0, 1.0], "heldout": [1.0, 1.0]})
    make_run(tmp_path, "darla", returns={"train": [2.0, 2.0], "heldout": [2.0, 2.0]})
    make_run(tmp_path, "darla", returns={"train": [9.0, 9.0], "heldout": [9.0, 9.0]}, algo="a2c")
    summary = summarise(load(tmp_path))
    assert summary.baselines == ["cnn (algo=a2c)", "cnn (algo=ppo)"]
    assert reference_of(summary, "darla (algo=ppo)") == ("cnn (algo=ppo)", "equal RL steps")
    assert reference_of(summary, "darla (algo=a2c)") == ("cnn (algo=a2c)", "equal RL steps")
    text = write_report(tmp_path)
    assert "+1.00" in text  # 2 - 1 under PPO
    assert "-7.00" not in text  # 2 - 9 across algorithms


def test_an_algorithm_without_a_baseline_borrows_none(tmp_path):
    make_run(tmp_path, "cnn", algo="a2c")
    make_run(tmp_path, "darla")
    summary = summarise(load(tmp_path))
    assert reference_of(summary, "darla") is None
    assert summary.cost_reference(next(cell for cell in summary.cells if cell.label == "darla")) is None


def test_agents_with_memory_or_their_last_step_borrow_no_plain_baseline(tmp_path):
    make_run(tmp_path, "cnn", 0)
    make_run(tmp_path, "darla", 0, algo_settings={"memory": "gru"})
    make_run(tmp_path, "random", 0, last_step=True)
    make_run(tmp_path, "vae", 0, algo_settings={"memory": "none"}, last_step=False)
    summary = summarise(load(tmp_path))
    compared = {cell.config["repr"]: summary.reference(cell) is not None for cell in summary.cells}
    assert compared == {"cnn": False, "darla": False, "random": False, "vae": True}


def test_the_baseline_of_most_settings_in_common_is_taken(tmp_path):
    for trunk in ("nature", "impala"):
        make_run(tmp_path, "cnn", trunk=trunk)
    make_run(tmp_path, "darla", trunk="nature")
    assert reference_of(summarise(load(tmp_path)), "darla") == ("cnn (trunk=nature)", "equal RL steps")


def test_published_and_drawn_levels_are_not_compared(tmp_path):
    make_run(tmp_path, "cnn", level_set="0+20")
    make_run(tmp_path, "darla")
    assert reference_of(summarise(load(tmp_path)), "darla") is None


def test_seconds_are_compared_with_the_baseline_of_as_many_rl_steps(tmp_path):
    make_run(tmp_path, "cnn", steps=1_000_000, seconds=(0.0, 300.0))
    make_run(tmp_path, "cnn", steps=1_277_952, seconds=(0.0, 390.0))
    make_run(tmp_path, "darla", steps=1_000_000, seconds=(93.0, 157.0))
    summary = summarise(load(tmp_path))
    assert {summary.cost_reference(cell).label for cell in summary.cells} == {"cnn (steps=1,000,000)"}


def test_rows_are_ranked_only_where_the_task_can_rank(tmp_path, monkeypatch):
    one_of_each(tmp_path)
    assert [cell.label for cell in summarise(load(tmp_path)).cells] == ["cnn", "darla", "random"]  # by label
    allow(monkeypatch, "held-out return")
    # random has the smallest gap, 2.5 - 2.5 = 0, and comes last; darla 7.5, cnn 5
    assert [cell.label for cell in summarise(load(tmp_path)).cells] == ["darla", "cnn", "random"]


def allow(monkeypatch, *outcomes):
    """Have coinrun-easy at quick declare these outcomes."""
    from benchmarks.experiment import outcomes as module

    declaration = module.Declaration(frozenset(outcomes), "for this test", 1_000_000, 20)
    monkeypatch.setitem(module.DECLARED, ("coinrun-easy", "quick"), declaration)


def test_a_seed_that_is_there_twice_is_refused_by_name(tmp_path):
    values = {"train": [1.0, 1.0], "heldout": [1.0, 1.0]}
    first = make_run(tmp_path, "cnn", 0, values)
    second = make_run(tmp_path, "cnn", 0, values | {"monochrome": [9.0, 9.0]})  # the suite got another split
    third = make_run(tmp_path, "cnn", 1, {"train": [5.0, 5.0], "heldout": [5.0, 5.0]}, normalise=[0, 10])
    summary = summarise(load(tmp_path))
    (cell,) = summary.cells
    assert [run.id for run in cell.runs] == [third.name]
    (message,) = (name for name in summary.missing if "2 times" in name)
    assert "cnn: seed 0 is there 2 times (their splits differ)" in message
    assert first.name in message
    assert second.name in message
    assert message in write_report(tmp_path)


def test_a_cell_survives_a_suite_whose_splits_and_constants_changed(tmp_path):
    make_run(tmp_path, "cnn", 0, {"train": [1.0, 3.0], "heldout": [1.0, 1.0], "old": [9.0, 9.0]})
    make_run(tmp_path, "cnn", 1, {"train": [5.0, 7.0], "new": [9.0, 9.0], "heldout": [5.0, 5.0]}, normalise=[0, 10])
    summary = summarise(load(tmp_path))
    (cell,) = summary.cells
    assert cell.splits == ("train", "heldout")
    assert cell.returns["train"].estimate == 4.0
    assert cell.normalise is None
    text = write_report(tmp_path)
    assert "cnn, coinrun-easy, 20 levels: split old only has seed 0" in text
    assert "split new only has seed 1" in text


def test_old_runs_are_read_but_never_in_a_table_with_new_ones(tmp_path):
    old = make_run(tmp_path, "cnn", 0, {"train": [1.0, 3.0], "heldout": [1.0, 1.0]}, old=True)
    make_run(tmp_path, "cnn", 1, {"train": [2.0, 2.0], "heldout": [1.0, 1.0]}, old=True)
    summary = summarise(load(tmp_path))
    assert not summary.named_levels
    assert "Old protocol" in write_report(tmp_path)
    (cell,) = summary.cells
    assert cell.returns["train"].estimate == 2.0
    assert not cell.claimable
    make_run(tmp_path, "cnn", 2, {"train": [9.0, 9.0], "heldout": [9.0, 9.0]})
    summary = summarise(load(tmp_path))
    assert [cell.seeds for cell in summary.cells] == [(2,)]
    assert f"{old.name}: old protocol" in write_report(tmp_path)


STANDARDISED = {"repr_settings": {"trunk": "nature", "standardise": True}}


def validated(value):
    return {"source": {"final_validation": {"step": 1_000_000, "return": value}}}


def baseline_is_standardised(experiment):
    summary = summarise(load(experiment))
    (cell,) = (cell for cell in summary.cells if cell.label == "darla")
    return bool(summary.reference(cell).cell.config["repr_settings"].get("standardise"))


def test_of_two_starts_the_better_on_validation_is_the_baseline(tmp_path):
    # plain 5 and 7, standardised 6.5 and 6: 6 against 6.25, whatever the test returns are
    for seed, plain, scaled in ((0, 5.0, 6.5), (1, 7.0, 6.0)):
        make_run(tmp_path, "cnn", seed, {"train": [10, 10], "heldout": [10, 10]}, **validated(plain))
        make_run(tmp_path, "cnn", seed, **STANDARDISED, **validated(scaled))
        make_run(tmp_path, "darla", seed)
    assert baseline_is_standardised(tmp_path)
    make_run(tmp_path, "cnn", 2, **validated(9.0))  # plain: 7
    assert not baseline_is_standardised(tmp_path)


def test_without_validation_returns_the_plain_start_stays_the_baseline(tmp_path):
    make_run(tmp_path, "cnn")
    make_run(tmp_path, "cnn", **STANDARDISED, **validated(9.0))
    make_run(tmp_path, "darla")
    assert not baseline_is_standardised(tmp_path)


def test_costs_are_relative_to_the_start_that_a_row_is_compared_with(tmp_path):
    make_run(tmp_path, "cnn", seconds=(0.0, 100.0), **validated(5.0))
    scaled = {"final_validation": {"step": 1_000_000, "return": 9.0}}
    make_run(tmp_path, "cnn", seconds=(10.0, 790.0), source=scaled, **STANDARDISED)
    make_run(tmp_path, "darla", seconds=(0.0, 400.0))
    summary = summarise(load(tmp_path))
    (darla,) = (cell for cell in summary.cells if cell.label == "darla")
    assert baseline_is_standardised(tmp_path)
    assert relative_cost(summary, darla) == 0.5  # 400 of 800, not of the plain start's 100


@pytest.mark.parametrize("fact", ["machine", "device", "threads", "precision", "ranks"])
def test_seconds_of_two_machines_are_not_divided(tmp_path, fact):
    make_run(tmp_path, "cnn", seconds=(0.0, 300.0), source={fact: 1})
    make_run(tmp_path, "vae", seconds=(0.0, 150.0), source={fact: 1})
    make_run(tmp_path, "darla", seconds=(0.0, 900.0), source={fact: 2})
    summary = summarise(load(tmp_path))
    ratios = {cell.label: relative_cost(summary, cell) for cell in summary.cells}
    assert (ratios["cnn"], ratios["vae"]) == (1.0, 0.5)
    assert math.isnan(ratios["darla"])
