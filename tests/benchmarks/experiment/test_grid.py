"""Grids shared by several commands: busy, damaged and failing runs stop no other, and the exit status tells of them."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from agents.parallel.distributed import Ranks
from agents.runs import train as train_module
from agents.runs.config import run_id
from agents.runs.run_dir import RunDir, open_experiment
from agents.runs.validate import PartsStore
from benchmarks.experiment import grid
from benchmarks.experiment.execute import execute
from benchmarks.reporting.runs import read
from benchmarks.transfer import Args, main, plan
from envs.registry import UsageError

ARGV = ["--suite", "counting", "--repr", "random", "--no-baseline", "--preset", "smoke"]
SEEDS = (0, 1, 2)
ARGS = Args(repr=("random",), baseline=False, suite="counting", preset="smoke", seeds=SEEDS)


@pytest.fixture
def stub(monkeypatch):
    """Training in place of which a run's folder gets a line and is marked; by seed it may do something else."""
    special = {}

    def train(parts, run, tracker, progress, *rest):
        special.get(parts.config.seed, lambda run: None)(run)
        run.write_start(device="cpu", threads=1)
        run.log({"global_step": 1})
        run.write_done()

    monkeypatch.setattr(train_module, "train", train)
    for name in ("cross", "measure_references", "announce"):
        monkeypatch.setattr(f"benchmarks.experiment.execute.{name}", lambda *_: "")
    monkeypatch.setattr("benchmarks.reporting.runs.read", lambda path: type("Kept", (), {"state": "finished"}))
    return special


def run(out, **changes):
    """Exit status of the command on three seeds."""
    args = replace(ARGS, out=out, **changes)
    return execute(args, plan(args), ("random",), out, lambda path: f"summary of {path.name}", lambda out: "report")


def folders(out):
    """Folders of the runs by seed."""
    return [out / "runs" / run_id(config) for config in plan(ARGS)]


def test_a_run_that_fails_stops_no_other_and_its_folder_says_why(tmp_path, stub, capsys):
    def fail(run):
        raise ValueError("the maze\nfell in")

    stub[1] = fail
    assert run(tmp_path) == grid.FAILED == 1
    assert [(path / "done").exists() for path in folders(tmp_path)] == [True, False, True]
    assert (folders(tmp_path)[1] / "failure.txt").read_text() == "ValueError: the maze fell in\n"
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-2:] == [
        "2 of 3 runs are finished",
        f"  failed: {folders(tmp_path)[1].name}: ValueError: the maze fell in",
    ]
    assert "report" in captured.out
    del stub[1]
    assert run(tmp_path) == grid.FINISHED == 0
    assert not (folders(tmp_path)[1] / "failure.txt").exists()
    assert capsys.readouterr().out.count("finished before") == 2


def test_a_damaged_run_is_told_and_the_others_are_trained(tmp_path, stub, capsys):
    open_experiment(tmp_path)
    folders(tmp_path)[0].mkdir()
    (folders(tmp_path)[0] / "config.json").write_text("[")
    assert run(tmp_path) == 1
    assert [(path / "done").exists() for path in folders(tmp_path)] == [False, True, True]
    assert "is damaged: config.json cannot be read; remove that folder" in capsys.readouterr().err


def test_a_busy_run_is_left_alone_and_told(tmp_path, stub, capsys):
    held = RunDir(open_experiment(tmp_path), plan(ARGS)[0])
    assert run(tmp_path) == grid.BUSY == 3
    assert [(path / "done").exists() for path in folders(tmp_path)] == [False, True, True]
    assert capsys.readouterr().err == f"2 of 3 runs are finished\n  another process trains {held.id}\n"
    held.close()


def test_a_run_that_was_busy_is_tried_again_when_the_others_are_done(tmp_path, stub):
    held = RunDir(open_experiment(tmp_path), plan(ARGS)[0])
    stub[2] = lambda run: held.close()
    assert run(tmp_path) == 0
    assert all((path / "done").exists() for path in folders(tmp_path))


def _shell(out, ready, statuses):
    ready.wait()
    statuses.put(run(out))


def test_two_shells_share_a_grid_and_train_each_run_once(tmp_path, stub):
    for seed in SEEDS:
        stub[seed] = lambda run: time.sleep(0.05)
    fork = multiprocessing.get_context("fork")
    ready, statuses = fork.Barrier(2), fork.Queue()
    shells = [fork.Process(target=_shell, args=(tmp_path / "new", ready, statuses)) for _ in range(2)]
    for shell in shells:
        shell.start()
    outcomes = [statuses.get(timeout=60) for _ in shells]
    for shell in shells:
        shell.join()
    assert 0 in outcomes
    assert set(outcomes) <= {grid.FINISHED, grid.BUSY}
    assert [(path / "metrics.jsonl").read_text() for path in folders(tmp_path / "new")] == ['{"global_step": 1}\n'] * 3


def test_other_code_is_told_and_run_again_when_asked(tmp_path, stub, capsys):
    assert run(tmp_path) == 0
    source = folders(tmp_path)[0] / "source.json"
    source.write_text(json.dumps({"commit": "abc1234", "starts": [{"commit": "abc1234", "code": "other"}]}))
    assert run(tmp_path) == 0
    text = capsys.readouterr().out
    assert text.count("finished before, with other code: commit abc1234, now ") == 1
    assert text.count("--rerun runs it again") == 1
    (folders(tmp_path)[0] / "checkpoint").mkdir()
    assert run(tmp_path, rerun=True) == 0
    kept = tmp_path / "replaced" / folders(tmp_path)[0].name / "0"
    assert sorted(path.name for path in kept.iterdir()) == [
        "checkpoint",
        "config.json",
        "done",
        "metrics.jsonl",
        "source.json",
    ]
    assert not (folders(tmp_path)[0] / "checkpoint").exists()
    assert capsys.readouterr().out.count("finished before") == 2
    assert run(tmp_path, rerun=True) == 0  # all of this code: nothing is run again
    assert capsys.readouterr().out.count("finished before") == 3


def test_results_that_are_damaged_are_evaluated_again(tmp_path, capsys, monkeypatch):
    argv = [*ARGV, "--steps", "1500", "--out", str(tmp_path)]
    assert main(argv) == 0
    assert "2,048 frames of PPO (1,500 asked, in whole rollouts)" in capsys.readouterr().out
    (path,) = (tmp_path / "runs").iterdir()
    whole = (path / "eval.csv").read_text()
    rows = whole.splitlines()
    (path / "eval.csv").write_text("\n".join([rows[0], rows[1].replace(rows[1].split(",")[5], "nan"), *rows[2:]]))
    kept = read(path)
    assert (kept.state, kept.reason.partition(" (")[0]) == ("damaged", "eval.csv: a return of train is nan")
    train, marks = train_module.train, []

    def watched(*arguments):
        marks.append((path / "done").exists())
        train(*arguments)

    monkeypatch.setattr(train_module, "train", watched)
    assert main(argv) == 0
    assert marks == [False]  # killed now, it would not count as finished
    assert "finished before, but damaged (eval.csv: a return of train is nan" in capsys.readouterr().out
    assert (path / "eval.csv").read_text() == whole


@pytest.mark.parametrize("file", ["crossed.csv", "validation.csv"])
def test_what_an_evaluation_does_not_write_again(tmp_path, capsys, file):
    assert main([*ARGV, "--seeds", "0", "1", "--steps", "1000", "--out", str(tmp_path)]) == 0
    path = sorted((tmp_path / "runs").iterdir())[0]
    assert read(path).state == "finished"
    header, first, *rows = (path / file).read_text().splitlines()
    values = dict(zip(header.split(","), first.split(","), strict=True)) | {"return": "inf"}
    (path / file).write_text("\n".join([header, ",".join(values.values()), *rows]))
    assert read(path).reason.startswith(f"{file}: a return of ")
    status = main([*ARGV, "--seeds", "0", "1", "--steps", "1000", "--out", str(tmp_path)])
    # The other seed's levels are played again. Training wrote the others: the run says each time that it is damaged.
    assert status == (0 if file == "crossed.csv" else 1)
    assert (read(path).state == "finished") == (status == 0)
    assert ("; remove that folder" in capsys.readouterr().err) == (status == 1)


def test_a_damaged_run_without_a_checkpoint_fails(tmp_path, stub, capsys, monkeypatch):
    assert run(tmp_path) == 0
    kept = SimpleNamespace(state="damaged", reason="eval.csv is gone")
    monkeypatch.setattr("benchmarks.reporting.runs.read", lambda path: kept)
    assert run(tmp_path) == 1
    assert capsys.readouterr().err.count("is damaged (eval.csv is gone) and has no checkpoint; remove that") == 6
    assert all((path / "done").exists() for path in folders(tmp_path))


def test_a_failure_outweighs_a_run_of_another_process():
    tally = grid.Tally(finished=["a"], busy=["b"], failed={"c": "no memory"})
    assert tally.status == grid.FAILED
    assert tally.text() == "1 of 3 runs are finished\n  another process trains b\n  failed: c: no memory"


def test_an_error_in_one_of_several_ranks_ends_them_all(tmp_path, stub, monkeypatch):
    def fail(run):
        raise ValueError("the maze fell in")

    ranks, configs = Ranks(0, 2), plan(ARGS)
    monkeypatch.setattr(ranks, "on_rank_zero", lambda function: function())
    stub[0] = fail
    with pytest.raises(ValueError, match="the maze fell in"):
        grid.run_all(ARGS, open_experiment(tmp_path), configs, PartsStore(), ranks, str)
    RunDir(tmp_path, configs[0]).close()  # it holds the run no more


def test_a_full_disk_ends_the_command_in_one_line(tmp_path, stub, capsys):
    def full(run):
        raise OSError(28, "No space left on device", str(run.path / "metrics.jsonl"))

    stub[0] = full
    assert main([*ARGV, "--seeds", "0", "1", "2", "--out", str(tmp_path)]) == 2
    assert [(path / "done").exists() for path in folders(tmp_path)] == [False] * 3
    assert "error: no room left on the disk for " in capsys.readouterr().err.splitlines()[-1]


def test_a_mistake_of_the_command_is_status_2(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="is not empty"):
        run(tmp_path)
