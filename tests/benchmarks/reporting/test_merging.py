"""Runs of several directories: copies, refusals by what differs, and the files of the merged report."""

import shutil

import pytest

from benchmarks import report
from benchmarks.reporting.merging import merge
from benchmarks.reporting.summary import summarise
from envs.registry import UsageError
from tests.benchmarks.tools import make_run

RETURNS = {"train": [10.0, 8.0, 9.0], "heldout": [4.0, 6.0]}


@pytest.fixture
def pair(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for seed in (0, 1, 2):
        make_run(first, "cnn", seed, RETURNS)
        make_run(second, "darla", seed, RETURNS)
    return first, second


def test_rows_of_two_directories_are_compared(pair):
    merged = merge(pair)
    summary = summarise(merged.runs)
    assert merged.copies == ()
    assert [(cell.label, cell.seeds) for cell in summary.cells] == [("cnn", (0, 1, 2)), ("darla", (0, 1, 2))]
    assert summary.reference(summary.cells[1]).cell is summary.cells[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 2_000_000}, "frames of RL (A: 1M; B: 2M)"),
        ({"window": 2500}, "frames of an evaluation window (A: 0; B: 2,500)"),
        ({"level_set": "0+20"}, "kinds of training levels (A: drawn; B: published)"),
        ({"level_set": "777000000+20"}, "training levels of seed 1 (A: 101000000+20; B: 777000000+20)"),
        ({"source": {"commit": "fff0000"}}, "commits (A: abc1234; B: fff0000)"),
        ({"source": {"code": "2222"}}, "hashes of the code (A: 1111; B: 2222)"),
        ({"source": {"threads": 8}}, "numbers of threads (A: 2; B: 8)"),
    ],
)
def test_directories_that_share_nothing_are_refused_by_name(tmp_path, changes, words):
    first, second = tmp_path / "a", tmp_path / "b"
    same = {"code": "1111", "threads": 2}
    make_run(first, "cnn", 1, RETURNS, source=same)
    make_run(second, "darla", 1, RETURNS, **{**changes, "source": same | changes.get("source", {})})
    with pytest.raises(UsageError) as refusal:
        merge([first, second])
    message = str(refusal.value).replace(str(first), "A").replace(str(second), "B")
    assert words in message
    assert "coinrun-easy with 20 training levels" in message
    assert message.endswith("add --mixed for one report whose marks say what was not compared")
    assert len(merge([first, second], mixed=True).runs) == 2


def test_one_common_budget_or_another_task_is_no_reason_to_refuse(tmp_path):
    first, second, third = (tmp_path / name for name in "abc")
    make_run(first, "cnn", 0, RETURNS)
    make_run(first, "cnn", 0, RETURNS, steps=1_100_000)
    make_run(second, "darla", 0, RETURNS, steps=1_100_000)
    make_run(third, "darla", 0, RETURNS, steps=64, env="rooms", source={"commit": "fff0000"})
    assert len(merge([first, second, third]).runs) == 4


def test_a_copied_run_is_counted_once_and_told(pair):
    first, second = pair
    (copied,) = (first / "runs").glob("*-s1-*")
    shutil.copytree(copied, second / "runs" / copied.name)
    merged = merge(pair)
    assert [run.id for run in merged.runs].count(copied.name) == 1
    assert len(merged.runs) == 6
    assert merged.copies == (f"{copied.name}: in {first} and {second}, counted once",)


def test_of_an_unfinished_and_a_finished_copy_the_finished_one_counts(pair):
    first, second = pair
    (copied,) = (first / "runs").glob("*-s1-*")
    shutil.copytree(copied, second / "runs" / copied.name)
    (copied / "done").unlink()
    merged = merge(pair)
    (run,) = [run for run in merged.runs if run.id == copied.name]
    assert (run.state, run.path.parent.parent) == ("finished", second)
    assert merged.copies[0].endswith(f"counted once (finished, in {second})")


@pytest.mark.parametrize(
    ("file", "old", "new", "what"),
    [("eval.csv", "10.0", "9.0", "evaluation"), ("config.json", '"quick"', '"brief"', "configuration")],
)
def test_two_different_runs_of_one_name_are_refused(pair, file, old, new, what):
    first, second = pair
    (copied,) = (first / "runs").glob("*-s1-*")
    changed = shutil.copytree(copied, second / "runs" / copied.name) / file
    changed.write_text(changed.read_text().replace(old, new))
    with pytest.raises(UsageError, match=f"in {second} with another {what}: which one"):
        merge(pair)


def test_seeds_that_differ_in_no_setting_stay_refused_across_directories(pair, tmp_path):
    third = tmp_path / "c"
    make_run(third, "darla", 1, RETURNS, normalise=[0, 10])
    summary = summarise(merge([*pair, third]).runs)
    assert any("seed 1 is there 2 times (their normalise differ)" in reason for reason in summary.missing)


def test_the_merged_report_leaves_those_of_its_parts_alone(pair, capsys):
    first, second = pair
    assert report.main([str(first)]) == 0
    before = {path.name: path.read_bytes() for path in first.glob("re*")}
    assert sorted(before) == ["report.html", "report.md", "results.csv"]
    assert report.main([str(first), str(second)]) == 0
    out = first.parent / "a+b"
    assert str(out / "report.html") in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in first.glob("re*")} == before
    assert not list(second.glob("re*"))
    text = (out / "report.md").read_text()
    assert f"directories: `{first}`; `{second}`" in text
    assert len((out / "results.csv").read_text().splitlines()) == 1 + 6 * 2
    written = {path.name: path.read_bytes() for path in out.iterdir()}
    assert report.main([str(first), str(second), "--out", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == written


def test_a_merged_report_never_goes_into_a_directory_of_runs(pair, capsys):
    first, second = pair
    assert report.main([str(first), str(second), "--out", str(first)]) == 2
    assert "name another folder" in capsys.readouterr().err
    assert report.main([]) == 2
