"""The report's files on small experiment directories: contents, width, and the same bytes twice."""

from benchmarks.reporting.report import describe_run, write_report
from benchmarks.reporting.runs import COLUMNS
from tests.benchmarks.tools import make_run, one_of_each


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    one_of_each(tmp_path)
    names = ("results.csv", "report.md", "report.html")
    text = write_report(tmp_path)
    before = [(tmp_path / name).read_bytes() for name in names]
    assert write_report(tmp_path) == text
    assert [(tmp_path / name).read_bytes() for name in names] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [*sorted([*names, "runs"])]


def test_published_rows_are_shown_only_for_the_same_game(tmp_path):
    make_run(tmp_path, "cnn", env="coinrun-hard")
    write_report(tmp_path)
    for name in ("report.md", "report.html"):
        assert "Prioritized" not in (tmp_path / name).read_text()


def test_terminal_text_fits_its_width_whatever_the_names(tmp_path):
    splits = {"train": [10.0, 0.0], "heldout": [0.0, 10.0], "monochrome+colours/heldout": [10.0, 0.0, 0.0]}
    for levels in (100, 1000):
        for name in ("cnn", "somebody.package.module:TheirRepresentation"):
            make_run(tmp_path, name, 0, splits, env="coinrun-hard", levels=levels)
            make_run(tmp_path, name, 1, splits, env="coinrun-hard", levels=levels)
    text = write_report(tmp_path)
    assert max(map(len, text.split("not in the table")[0].splitlines())) <= 120
    assert "monochrome+colours/heldout" in text
    assert "…" in text


def test_an_experiment_without_finished_runs_still_reports(tmp_path):
    make_run(tmp_path, "cnn", finished=False)
    assert write_report(tmp_path).startswith("no finished runs yet")
    assert (tmp_path / "results.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert "No finished runs yet" in (tmp_path / "report.html").read_text()


def test_a_run_in_one_line(tmp_path):
    path = make_run(tmp_path, "darla", 0, {"train": [10, 10], "heldout": [10, 0]}, fps=1234.5)
    assert describe_run(path) == f"{path.name}: train 10.00, heldout 5.00 (gap +5.00); 1,234 frames/s"
    stopped = make_run(tmp_path, "cnn", finished=False)
    assert "unfinished" in describe_run(stopped)
