"""Results in pandas: types, values, and files that are no results."""

import shutil

import pytest

from benchmarks import report
from benchmarks.reporting.frame import load_results
from benchmarks.reporting.runs import COLUMNS
from envs.registry import UsageError
from tests.benchmarks.tools import make_run

pytest.importorskip("pandas")
RETURNS = {"train": [10.0, 8.0, 9.0], "heldout": [4.0, 7.0]}


@pytest.fixture
def experiment(tmp_path):
    folder = tmp_path / "a"
    make_run(folder, "cnn", 0, RETURNS, source={"commit": "1234567", "threads": 2}, env_steps=(0, 4096))
    make_run(folder, "darla", 1, RETURNS, source={"commit": "12e4567"}, normalise=None)
    report.main([str(folder)])
    return folder


def test_a_row_for_each_run_and_split_with_types(experiment):
    rows = load_results(experiment)
    assert list(rows.columns) == list(COLUMNS)
    assert rows[["repr", "split", "episodes", "return_mean"]].values.tolist() == [
        ["cnn", "train", 3, 9.0],
        ["cnn", "heldout", 2, 5.5],
        ["darla", "train", 3, 9.0],
        ["darla", "heldout", 2, 5.5],
    ]
    assert rows.commit.tolist() == ["1234567", "1234567", "12e4567", "12e4567"]
    kinds = [str(rows[name].dtype) for name in ("seed", "threads", "return_mean", "normalised", "repr", "level_set")]
    assert kinds == ["Int64", "Int64", "float64", "float64", "string", "string"]
    assert rows.threads.isna().tolist() == [False, False, True, True]
    assert rows.normalised.isna().tolist() == [False, False, True, True]
    assert rows.train_env_steps.tolist()[0] == 4096


def test_several_files_follow_each_other_and_copies_count_once(experiment, tmp_path):
    other = tmp_path / "b"
    make_run(other, "vae", 0, RETURNS)
    for run in (experiment / "runs").glob("*-cnn-*"):
        shutil.copytree(run, other / "runs" / run.name)
    report.main([str(other)])
    rows = load_results(experiment, other / "results.csv")
    assert rows.repr.tolist() == ["cnn", "cnn", "darla", "darla", "vae", "vae"]
    file = other / "results.csv"
    file.write_text(file.read_text().replace(",9.0,", ",9.5,"))
    with pytest.raises(UsageError, match=r"run coinrun-easy-cnn-\S+ has other numbers in two of"):
        load_results(experiment, other)


def test_what_is_no_results_csv_is_refused_with_a_cure(experiment, tmp_path):
    with pytest.raises(UsageError, match=r"is not there; write it with python -m benchmarks.report "):
        load_results(tmp_path / "nowhere")
    file = experiment / "results.csv"
    file.write_text(file.read_text().replace(",run\n", "\n"))
    with pytest.raises(UsageError, match="has no column run; write it anew"):
        load_results(file)
    with pytest.raises(UsageError, match="needs an experiment directory"):
        load_results()
