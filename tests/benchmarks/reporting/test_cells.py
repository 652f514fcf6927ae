"""Cells: what intervals are over, order of rows, labels."""

import pytest

from benchmarks.reporting.cells import summarise
from benchmarks.reporting.notes import notes
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load
from tests.benchmarks.tools import make_run, one_of_each


def test_one_seed_is_measured_over_its_episodes_and_labelled_so(tmp_path):
    one_of_each(tmp_path)
    summary = summarise(load(tmp_path))
    cnn = next(cell for cell in summary.cells if cell.label == "cnn")
    assert (cnn.returns["heldout"].estimate, cnn.returns["heldout"].over) == (5.0, "episodes")
    assert (cnn.gaps["heldout"].estimate, cnn.gaps["heldout"].n) == (5.0, 4)
    assert "train" not in cnn.gaps
    assert any(note.startswith("One seed: intervals are over the episodes") for note in notes(summary))
    assert "seeds; rows with 1" not in write_report(tmp_path)


def test_several_seeds_are_resampled_as_seeds_and_the_gap_is_paired(tmp_path):
    for seed, level in enumerate((4.0, 6.0, 9.0)):
        make_run(tmp_path, "darla", seed, {"train": [level + 1, level + 3], "heldout": [level, level]})
    (cell,) = summarise(load(tmp_path)).cells
    assert cell.seeds == (0, 1, 2)
    found = cell.returns["heldout"]
    assert (found.estimate, found.over, found.n) == (pytest.approx(19 / 3), "seeds", 3)
    assert (found.low, found.high) == (4.0, 9.0)  # three times the same seed: 1 / 27 > 2.5%
    gap = cell.gaps["heldout"]  # each seed loses exactly 2, whatever its level
    assert (gap.estimate, gap.low, gap.high) == pytest.approx((2.0, 2.0, 2.0))


def test_rows_follow_heldout_return_and_never_the_gap(tmp_path):
    one_of_each(tmp_path)
    summary = summarise(load(tmp_path))
    # random has the smallest gap, 2.5 - 2.5 = 0, and comes last
    assert [cell.label for cell in summary.cells] == ["darla", "cnn", "random"]
    assert [cell.gaps["heldout"].estimate for cell in summary.cells] == [0.0, 5.0, 0.0]
    assert any("never by the gap" in note for note in notes(summary))


def test_labels_name_the_fewest_settings_that_distinguish_cells(tmp_path):
    for beta in (1.0, 4.0):
        make_run(tmp_path, "darla", 0, repr_settings={"beta": beta, "trunk": "nature"})
    make_run(tmp_path, "cnn", 0, mode="online")
    make_run(tmp_path, "vae", 0, mode="frozen")
    make_run(tmp_path, "vae", 0, mode="finetune", repr_settings={"beta": 2.0})
    labels = {cell.label for cell in summarise(load(tmp_path)).cells}
    assert labels == {"darla (beta=1.0)", "darla (beta=4.0)", "cnn", "vae (mode=frozen)", "vae (mode=finetune)"}


def test_runs_of_the_version_before_share_a_cell_with_new_ones(tmp_path):
    make_run(tmp_path, "cnn", 0, overlap=False)  # an option that is gone
    make_run(tmp_path, "cnn", 1)
    (cell,) = summarise(load(tmp_path)).cells
    assert (cell.label, cell.seeds) == ("cnn", (0, 1))


def test_an_option_that_is_gone_keeps_its_runs_apart_where_it_was_set(tmp_path):
    make_run(tmp_path, "cnn", 0, overlap=True)
    make_run(tmp_path, "cnn", 1)
    labels = {cell.label for cell in summarise(load(tmp_path)).cells}
    assert labels == {"cnn (overlap=true)", "cnn (overlap=none)"}
