"""Coverage of the report's intervals in simulated experiments, and the command that tabulates it."""

import csv

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.coverage import QUANTITIES, SCENARIOS, Scenario, Simulator, main, measure, success


@pytest.mark.parametrize("name", QUANTITIES)
def test_coverage_of_the_hardest_cells_is_at_least_92_percent(name):
    # 600 experiments at 95%: standard error 0.9%; 0.92 minus two of its own (1.1%) is what a fair cell stays above
    for scenario, seeds, levels in ((SCENARIOS[0], 3, 20), (SCENARIOS[1], 5, 64)):
        assert measure(name, scenario, seeds, levels, 600)["coverage"] > 0.92 - 0.022


def test_a_component_of_zero_widens_no_interval_without_bound():
    for scenario in SCENARIOS[4:6]:
        assert 0.92 - 0.022 < measure("gap", scenario, 3, 20, 600)["coverage"] < 1


def test_seeds_alone_do_not_cover_new_levels(monkeypatch):
    # What the two-way model is for: t over 3 seeds on 20 shared levels leaves out the draw of the levels.
    monkeypatch.setitem(QUANTITIES, "held-out mean", (QUANTITIES["held-out mean"][0], "seeds"))
    assert measure("held-out mean", SCENARIOS[0], 3, 20, 400)["coverage"] < 0.9


def test_simulated_returns_have_the_mean_and_the_shares_of_their_scenario():
    simulator = Simulator(np.random.default_rng(0), Scenario("levels alone", 0.0, 1.0, 0.0, 0.0), (200, 3, 50), 2)
    values = simulator.returns(0.613, simulator.normal(3), simulator.normal(50))
    assert success(0.613) == pytest.approx(7.3, abs=0.01)
    assert values.mean() == pytest.approx(7.3, abs=0.15)  # sd 4.44 / sqrt(200 x 50 levels) = 0.044
    np.testing.assert_array_equal(values[:, 0], values[:, 2])  # no seed, no noise
    noise = Simulator(np.random.default_rng(0), Scenario("noise alone", 0.0, 0.0, 0.0, 1.0), (200, 3, 50), 4)
    values = noise.returns(0.613, noise.normal(3), noise.normal(50))
    assert values.var() == pytest.approx(100 * 0.73 * 0.27 / 4, rel=0.05)  # four repetitions, all independent


def test_effects_that_share_a_part_have_unit_variance_and_correlation():
    simulator = Simulator(np.random.default_rng(1), SCENARIOS[0], (4000, 3, 20), 1)
    shared = simulator.normal(3)
    mixed = simulator.mixed(shared, 0.7)
    # the square of the shared part's weight is 0.7, so correlation with it is sqrt(0.7) = 0.837
    assert mixed.var() == pytest.approx(1, abs=0.05)  # standard error sqrt(2 / 12,000) = 0.013
    assert np.corrcoef(mixed.ravel(), shared.ravel())[0, 1] == pytest.approx(0.837, abs=0.02)


def test_cells_depend_on_their_own_names_alone():
    alone = measure("gap", SCENARIOS[0], 3, 20, 50)
    measure("training mean", SCENARIOS[0], 3, 20, 50)
    assert measure("gap", SCENARIOS[0], 3, 20, 50) == alone


def test_command_writes_a_row_for_each_cell_and_names_what_is_out(tmp_path, capsys):
    out = tmp_path / "coverage.csv"
    words = ["--out", str(out), "--seeds", "3", "--levels", "20", "--replications", "20", "--quantities", "gap"]
    assert main(words) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["scenario"] for row in rows] == [scenario.name for scenario in SCENARIOS]
    assert tuple(rows[0]) == coverage.COLUMNS
    assert {row["repetitions"] for row in rows} == {"12"}  # 256 // 20
    printed = capsys.readouterr().out
    assert "outside of 0.92 to 0.995:" in printed
    bad = [row for row in rows if not 0.92 <= float(row["coverage"]) <= 0.995]
    assert printed.count("3 seeds x 20 levels") == len(bad)


@pytest.mark.parametrize("words", [["--seeds", "2"], ["--levels", "1"], ["--quantities", "gaps"]])
def test_cells_without_an_interval_are_refused_in_one_line(words, capsys):
    assert main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
