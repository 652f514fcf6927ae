"""The page: sections, escapes, and curves over seeds."""

import re

import numpy as np

from benchmarks.reporting.page_figures import curves_over_seeds
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load
from benchmarks.reporting.summary import summarise
from tests.benchmarks.tools import make_run, one_of_each


def test_the_page_loads_nothing_and_has_all_sections(tmp_path):
    one_of_each(tmp_path)
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert not re.findall(r"url\((?!#)", page)
    assert "http://" not in page
    assert "https://" not in page
    assert """http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;;""" in page
    assert "@import" not in page
    panels = ("Return on training levels", "Gap during training", "Gap to heldout", "diagonal", "Pictures")
    for words in (*panels, "Return on validation levels", "Mean return on each level of heldout", "Primary outcome"):
        assert words in page
    assert "data:image/png;base64," in page
    # no row of drawn levels stands beside published ones
    assert "--level-sets published" in page
    assert "Prioritized Level Replay" in page
    for fact in ("abc1234", "torch 2.13.0", "python -m benchmarks.transfer --repr darla"):
        assert fact in page


def test_names_are_escaped(tmp_path):
    make_run(tmp_path, "mine:<b>Mine", env="a|b")
    write_report(tmp_path)
    assert "mine:<b>" not in (tmp_path / "report.html").read_text()
    assert "mine:&lt;b&gt;Mine" in (tmp_path / "report.html").read_text()


def test_ids_of_the_page_are_there_once(tmp_path):
    one_of_each(tmp_path)
    write_report(tmp_path)
    ids = re.findall(r'\bid="([^"]+)"', (tmp_path / "report.html").read_text())
    assert len(ids) == len(set(ids)) > 10


def test_several_numbers_of_levels_get_their_own_figures(tmp_path):
    for levels in (10, 50):
        make_run(tmp_path, "cnn", levels=levels)
    write_report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "Gap against the number of training levels" in page
    assert "<summary>coinrun-easy, 50 levels</summary>" in page


def test_curves_use_only_steps_that_every_seed_recorded(tmp_path):
    make_run(tmp_path, "cnn", 0)
    short = make_run(tmp_path, "cnn", 1)
    lines = (short / "metrics.jsonl").read_text().splitlines(keepends=True)
    (short / "metrics.jsonl").write_text("".join(lines[:-1]))
    summary = summarise(load(tmp_path))
    curve = curves_over_seeds(summary.cells, "eval/train/return")["cnn"]
    assert curve.steps.tolist() == [250_000, 500_000]
    np.testing.assert_allclose(curve.mean, [6.1, 7.1])  # 6 and 6.2, then 7 and 7.2
    np.testing.assert_allclose([curve.low, curve.high], [[6, 7], [6.2, 7.2]])
