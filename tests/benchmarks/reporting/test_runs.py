"""Runs read back from folders: rows of results.csv, states and refusals."""

import pytest

from benchmarks import report
from benchmarks.reporting.report import write_report
from benchmarks.reporting.runs import load, results_csv, score
from benchmarks.reporting.summary import summarise
from benchmarks.reporting.tables import headline
from envs.registry import UsageError
from tests.benchmarks.tools import make_run, write_rows

COLUMNS = [
    *("suite", "repr", "mode", "algo", "memory", "bonus", "trunk", "settings", "train_levels", "level_set"),
    *("pretrain_on", "pretrain_frames", "pretrain_data", "pretrain_levels", "preset", "precision", "threads", "seed"),
    *("steps", "split", "env", "levels", "episodes", "return_mean", "return_std", "normalised"),
    *("greedy_episodes", "greedy_mean"),
    *("best_validation", "final_validation", "pretrain_env_steps", "train_env_steps", "pretrain_seconds"),
    *("train_seconds", "frames_per_second", "commit", "continued", "run"),
]


def test_results_have_one_row_per_run_and_split_with_exact_numbers(tmp_path):
    validation = {"best_validation": {"step": 9, "return": 8.5}, "final_validation": {"step": 10, "return": 7.5}}
    values = {"train": [10.0, 10.0, 4.0], "heldout": [2.0, 6.0]}
    costs = {"env_steps": (2048, 999), "seconds": (3.5, 8.0)}
    make_run(tmp_path, "darla", 3, values, fps=123.456, source=validation, **costs)
    make_run(tmp_path, "cnn", 3, finished=False)
    rows = score(load(tmp_path))
    assert [list(row) for row in rows] == [COLUMNS, COLUMNS]
    train, held_out = rows
    assert (train["split"], train["episodes"], train["return_mean"]) == ("train", 3, 8.0)
    assert train["return_std"] == pytest.approx(12**0.5)  # deviations 2, 2, -4; 24 / (3 - 1)
    assert train["normalised"] == pytest.approx(0.6)  # (8 - 5) / (10 - 5)
    assert (held_out["split"], held_out["episodes"], held_out["return_mean"]) == ("heldout", 2, 4.0)
    assert held_out["normalised"] == pytest.approx(-0.2)
    assert (held_out["seed"], held_out["pretrain_on"], held_out["commit"]) == (3, "source", "abc1234")
    assert held_out["frames_per_second"] == 123.456
    assert (train["levels"], held_out["levels"], train["level_set"]) == (3, 2, "103000000+20")
    assert (train["pretrain_env_steps"], train["train_env_steps"]) == (2048, 999)
    assert (train["pretrain_seconds"], train["train_seconds"]) == (3.5, 8.0)
    assert (train["best_validation"], train["final_validation"]) == (8.5, 7.5)


def test_results_without_constants_leave_normalised_empty(tmp_path):
    path = make_run(tmp_path, "darla", normalise=None, returns={"train": [1.0]})
    (row,) = score(load(tmp_path))
    assert (row["normalised"], row["return_std"]) == ("", "")
    assert results_csv([row]).splitlines()[1].endswith(f",1,1,1.0,,,,,,,,,,,1000.0,abc1234,,{path.name}")


def test_unfinished_and_damaged_runs_are_named_with_their_reason(tmp_path):
    make_run(tmp_path, "cnn", 0)
    make_run(tmp_path, "cnn", 1)
    make_run(tmp_path, "darla", 0)
    stopped = make_run(tmp_path, "random", 0, finished=False)
    with open(stopped / "metrics.jsonl", "a") as handle:
        handle.write('{"global_step": 10000')  # killed while it wrote
    broken = make_run(tmp_path, "vae", 0)
    (broken / "eval.csv").write_text("split,env\ntrain,coinrun-easy\n")
    partial = make_run(tmp_path, "beta_vae", 0)
    (partial / "eval.csv").write_text("split,return\ntrain,1.0\n")
    foreign = tmp_path / "runs" / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text('{"a": 1}')
    found = {run.path.name: run for run in load(tmp_path)}
    assert found[stopped.name].state == "unfinished"
    assert found[stopped.name].reason == "stopped at 1,000,000 of 1,000,000 frames"
    assert found[broken.name].state == found[partial.name].state == found["foreign"].state == "damaged"
    text = write_report(tmp_path)
    assert f"{stopped.name}: unfinished, stopped at 1,000,000 of 1,000,000 frames" in text
    assert f"{partial.name}: damaged, eval.csv has no episodes of heldout" in text
    assert "foreign: damaged" in text
    assert "darla, coinrun-easy, 20 training levels: no run with seed 1" in text
    assert "cnn, coinrun-easy, 20 training levels: no run" not in text
    for name in ("report.md", "report.html"):
        assert partial.name in (tmp_path / name).read_text()


VISITS = ("level", "episode", "return", "length")


@pytest.mark.parametrize(
    ("file", "header", "row", "reason"),
    [
        ("eval.csv", ("split", *VISITS), ("heldout", 7, 0, "nan", 3), "a return of heldout is nan (level 7"),
        ("crossed.csv", ("seed", *VISITS), (4, 7, 0, "inf", 3), "a return of 4 is inf (level 7, repetition 0)"),
        ("validation.csv", ("step", *VISITS), (64, 7, 1, "-inf", 3), "a return of 64 is -inf (level 7, repetition 1)"),
        ("matched.csv", ("split", "half", "fraction", *VISITS), ("train", "a", 1, 7, 0, "nan", 3), "returns of train"),
    ],
)
def test_a_run_with_a_return_that_is_no_number_is_damaged(tmp_path, file, header, row, reason):
    path = make_run(tmp_path, "cnn", 0)
    rows = [row, ("train", 7, 0, 1.0, 3)] if file == "eval.csv" else [row]
    write_rows(path / file, header, rows)
    (run,) = load(tmp_path)
    assert run.state == "damaged"
    assert run.reason.startswith(f"{file}: {reason}")


def test_an_unfinished_run_says_why_it_failed(tmp_path):
    path = make_run(tmp_path, "cnn", 0, finished=False)
    (path / "failure.txt").write_text("MemoryError: none left\n")
    (run,) = load(tmp_path)
    assert run.reason == "stopped at 1,000,000 of 1,000,000 frames; failed: MemoryError: none left"


def test_rows_that_went_on_after_evaluation_are_marked(tmp_path):
    make_run(tmp_path, "cnn", 0, {"train": [1.0]}, source={"continued_after_evaluation": True})
    make_run(tmp_path, "cnn", 1, {"train": [1.0]})
    assert {row["seed"]: row["continued"] for row in score(load(tmp_path))} == {0: "after evaluation", 1: ""}


def test_a_directory_without_runs_is_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(UsageError, match="not an experiment directory"):
        load(tmp_path)
    assert report.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert report.main(["--help"]) == 0


def test_rows_of_other_settings_or_data_can_be_told_apart(tmp_path):
    for beta in (0.1, 0.001):
        make_run(tmp_path, "darla", repr_settings={"beta": beta}, source={"threads": 2})
    make_run(tmp_path, "darla", repr_settings={"beta": 0.1}, pretrain_data="mixed", algo_settings={"memory": "gru"})
    rows = [row for row in score(load(tmp_path)) if row["split"] == "train"]
    assert {(row["settings"], row["pretrain_data"], row["memory"]) for row in rows} == {
        ('{"repr_settings.beta": 0.1}', "", "none"),
        ('{"repr_settings.beta": 0.001}', "", "none"),
        ('{"repr_settings.beta": 0.1}', "mixed", "gru"),
    }
    assert {(row["precision"], row["threads"]) for row in rows} == {("float32", 2), ("float32", "")}


def test_greedy_episodes_stand_beside_sampled_ones(tmp_path):
    path = make_run(tmp_path, "cnn", returns={"train": [4.0, 6.0], "heldout": [1.0, 2.0]})
    make_run(tmp_path, "vae", returns={"train": [4.0, 6.0], "heldout": [1.0, 2.0]})
    with open(path / "eval.csv", "a") as file:
        file.write("heldout,coinrun-easy,2000000,0,greedy,7.0,30\nheldout,coinrun-easy,2000001,0,greedy,9.0,30\n")
    rows = {(row["repr"], row["split"]): row for row in score(load(tmp_path))}
    assert (rows["cnn", "heldout"]["greedy_episodes"], rows["cnn", "heldout"]["greedy_mean"]) == (2, 8.0)
    assert (rows["cnn", "heldout"]["episodes"], rows["cnn", "heldout"]["return_mean"]) == (2, 1.5)
    assert (rows["cnn", "train"]["greedy_mean"], rows["vae", "heldout"]["greedy_mean"]) == ("", "")
    header, lines = headline(summarise(load(tmp_path)))
    greedy = [line[header.index("greedy [95%]")].split(" [")[0] for line in lines]
    assert greedy == ["–", "8.00", "–", "–"]  # cnn, vae; train, heldout
