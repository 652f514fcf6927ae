"""Figures of the page: which numbers go into which panel, with their signs."""

import numpy as np
import pytest

from benchmarks.reporting import figures, page_figures
from benchmarks.reporting.figure_styles import styles
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.tools import make_run


def drawn_curves(monkeypatch, experiment):
    """Title -> curves of the panels during training."""
    titles = {}

    def keep(series, looks, title, limits):
        titles[title] = series
        return ""

    monkeypatch.setattr(figures, "curves", keep)
    cells = summarise(load(experiment)).cells
    page_figures.curve_panels(cells, styles([cell.label for cell in cells]))
    return titles


@pytest.mark.parametrize(("old", "unseen"), [(False, "validation"), (True, "held-out")])
def test_each_periodic_curve_is_in_its_own_panel(tmp_path, monkeypatch, old, unseen):
    make_run(tmp_path, "cnn", old=old)
    titles = drawn_curves(monkeypatch, tmp_path)
    assert list(titles) == ["Return on training levels", f"Return on {unseen} levels", f"Gap (training minus {unseen})"]
    train, other, gap = (series["cnn"].mean.tolist() for series in titles.values())
    assert train == [6, 7, 8]
    assert other == pytest.approx([5.5, 6.2, 6.9])
    assert gap == pytest.approx([0.5, 0.8, 1.1])  # training minus unseen: positive where unseen levels are worse


def test_the_gap_chart_is_training_minus_target(tmp_path, monkeypatch):
    make_run(tmp_path, "cnn", 0, {"train": [9.0, 9.0], "heldout": [4.0, 4.0]})
    bars = {}
    monkeypatch.setattr(figures, "bars", lambda entries, looks, title, xlabel: bars.update(dict(entries)) or "")
    cells = summarise(load(tmp_path)).cells
    page_figures.task_panels(cells, styles(["cnn"]))
    assert bars["cnn"].estimate == 5.0


def test_the_scatter_has_training_first(tmp_path):
    make_run(tmp_path, "cnn", 0, {"train": [9.0, 9.0], "heldout": [4.0, 4.0]})
    (cell,) = summarise(load(tmp_path)).cells
    assert page_figures.run_points(cell) == [(9.0, 4.0)]


def test_levels_are_sorted_by_difficulty_over_all_methods(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, "cnn", seed, {"train": [1.0 + seed, 4.0], "heldout": [9.0, 0.0 + 2 * seed, 5.0]})
        make_run(tmp_path, "vae", seed, {"train": [3.0, 8.0], "heldout": [8.0, 3.0, 0.0]})
    cells = summarise(load(tmp_path)).cells
    rows = dict(page_figures.level_returns(cells, "heldout"))
    # means over both: level 0 8.5, level 1 (1 + 3) / 2 = 2, level 2 2.5
    assert rows["cnn"].tolist() == [1.0, 5.0, 9.0]
    assert rows["vae"].tolist() == [3.0, 0.0, 8.0]
    # training sets of the seeds' own: four levels, means 2, 6 of seed 0 and 2.5, 6 of seed 1
    assert dict(page_figures.level_returns(cells, "train"))["cnn"].tolist() == [1.0, 2.0, 4.0, 4.0]
    panels = page_figures.level_panels(cells)
    assert [panel.wide for panel in panels] == [True, True]


def test_old_runs_have_no_levels_to_draw(tmp_path):
    make_run(tmp_path, "cnn", old=True)
    assert page_figures.level_panels(summarise(load(tmp_path)).cells) == []


def test_profiles_fall_from_one_to_zero(tmp_path, monkeypatch):
    for env, value in (("maze-easy", 6.0), ("heist-easy", 9.0)):
        make_run(tmp_path, "cnn", 0, {"train": [10.0], "heldout": [value]}, env=env)
    series = {}
    monkeypatch.setattr(figures, "profiles", lambda content, looks, title: series.update(content) or "")
    summary = summarise(load(tmp_path))
    assert len(page_figures.profile_panels(summary, styles(["cnn"]))) == 1
    scores, fractions = series["cnn"]  # normalised 0.2 and 0.8
    assert fractions[np.searchsorted(scores, 0.1)] == 1.0
    assert fractions[np.searchsorted(scores, 0.5)] == 0.5
    assert fractions[np.searchsorted(scores, 0.9)] == 0.0
