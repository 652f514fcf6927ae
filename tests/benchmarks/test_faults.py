"""The fault matrix: its account and its table; each row in its short form."""

from __future__ import annotations

import csv

import pytest

from benchmarks import faults
from benchmarks.fault_injection import ROWS
from benchmarks.fault_injection.trials import Row, Trial, account, attempt

QUICK = (3, 8)
"""Rows whose short form takes seconds; the others run with ``-m slow``."""
TRIALS = (
    Trial("a"),
    Trial("b", failure="lost"),
    Trial("c", failure="lost"),
    Trial("d", untried="no GPU"),
    Trial("e", failure="late\nby 2 s"),
)


def row(*trials, size=5, number=1):
    return Row(number, "something", "nothing", lambda folder, short: iter(trials), size=size, short_size=size)


def test_an_account_counts_what_passed_failed_and_was_not_tried(tmp_path):
    outcome = account(row(*TRIALS), tmp_path, True)
    assert (outcome.passed, outcome.tried) == (1, 4)
    assert outcome.reason == "2 x (b) lost; 1 x (e) late by 2 s; 1 not tried: no GPU"


def test_trials_that_never_came_and_that_broke_count_as_failed(tmp_path):
    def breaks(folder, short):
        yield Trial("a")
        raise RuntimeError("no room")

    broken = Row(1, "something", "nothing", breaks, size=4, short_size=4)
    outcome = account(broken, tmp_path, True)
    assert (outcome.passed, outcome.tried) == (1, 4)
    assert outcome.reason == "1 x (row) the row broke off: RuntimeError: no room; 2 x (missing) the trial never ran"
    failed = attempt("x", lambda: str(1 / 0))
    assert failed.failure == "the trial itself failed: ZeroDivisionError: division by zero"


@pytest.fixture
def two_rows(monkeypatch):
    """Rows 1 and 2 of a matrix, and how often each ran."""
    ran = []

    def trials(number):
        def run(folder, short):
            ran.append((number, short))
            yield Trial("a", failure="lost" * (number == 2))

        return run

    rows = {n: Row(n, f"fault {n}", "nothing", trials(n), size=1, short_size=1) for n in (1, 2)}
    monkeypatch.setattr(faults, "ROWS", rows)
    return ran


def test_a_row_that_falls_short_stands_in_the_table(two_rows, tmp_path, capsys):
    out = tmp_path / "faults.csv"
    assert faults.main(["--out", str(out), "--short"]) == 1
    with open(out) as handle:
        lines = list(csv.DictReader(handle))
    columns = ("row", "inject", "form", "passed", "tried", "reason")
    assert [tuple(line[name] for name in columns) for line in lines] == [
        ("1", "fault 1", "short", "1", "1", ""),
        ("2", "fault 2", "short", "0", "1", "1 x (a) lost"),
    ]
    assert all(line["commit"] and line["seconds"] == "0" for line in lines)
    printed = capsys.readouterr().out
    assert " 1  1/1  fault 1" in printed
    assert " 2  0/1  fault 2 (0 s)\n      1 x (a) lost" in printed


def test_rows_of_the_table_are_not_run_again(two_rows, tmp_path):
    out = str(tmp_path / "faults.csv")
    assert faults.main(["--out", out, "--short", "--rows", "1"]) == 0
    assert faults.main(["--out", out, "--short"]) == 1
    assert faults.main(["--out", out, "--short", "--rows", "2"]) == 1
    assert two_rows == [(1, True), (2, True)]
    assert faults.main(["--out", out, "--rows", "1"]) == 0  # the full form is another line
    assert two_rows[2:] == [(1, False)]
    with open(out) as handle:
        assert [(line["row"], line["form"]) for line in csv.DictReader(handle)] == [
            ("1", "full"),
            ("1", "short"),
            ("2", "short"),
        ]


def test_unknown_rows_and_other_files_are_refused(two_rows, tmp_path, capsys):
    assert faults.main(["--rows", "3"]) == 2
    assert "--rows 3: no such row; give some of 1 to 2" in capsys.readouterr().err
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert faults.main(["--out", str(tmp_path / "other.csv")]) == 2
    assert "is another file; name one that this command wrote" in capsys.readouterr().err


def test_the_matrix_has_its_fourteen_rows():
    sizes = {number: row.size for number, row in ROWS.items()}
    assert list(sizes) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert (sizes[1], sizes[2], sizes[3], sizes[4], sizes[6], sizes[7]) == (50, 60, 272, 4, 10, 30)
    assert sizes[5] == 33  # three signals in ten phases, and each twice
    assert sizes[8] >= 15
    assert (sizes[9], sizes[10], sizes[13]) == (6, 20, 7)


@pytest.mark.parametrize("number", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in ROWS if n not in QUICK)])
def test_short_form_of_row(number, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    outcome = account(ROWS[number], tmp_path, True)
    assert outcome.passed == outcome.tried, outcome.reason
