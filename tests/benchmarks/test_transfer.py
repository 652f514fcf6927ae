"""The transfer command: its plan, its refusals, its table; on the counting world, which needs no wheel."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import shadowed_packages
from benchmarks.experiment.execute import runnable
from benchmarks.reporting.runs import COLUMNS
from benchmarks.transfer import Args, main, plan
from envs.registry import UsageError
from envs.suites import build

ROOT = Path(__file__).resolve().parents[2]


def refused(capsys, *argv):
    """The one line a refused command prints."""
    assert main(list(argv)) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--repr", "dalra"], ["'dalra'", "did you mean 'darla'", "cnn"]),
        (["--repr", "no.such:Thing"], ["no.such:Thing", "PYTHONPATH"]),
        (["--repr", "representations.vae:Nothing"], ["has no 'Nothing'"]),
        (["--suite", "coinrum"], ["'coinrum'", "coinrun"]),
        (["--overlap"], ["--overlap", "leave --overlap out"]),
        (["--repr", "random", "--mode", "online"], ["'random' has no mode 'online'", "frozen"]),
        (["--steps", "0"], ["--steps 0"]),
        (["--num-envs", "-3"], ["--num-envs -3"]),
        (["--seeds", "0", "-1"], ["--seeds -1"]),
        (["--train-levels", "0"], ["0", "levels"]),
        (["--train-levels", "2000000"], ["2000000"]),
        (["--set", "darla.betta=4"], ["darla.betta", "did you mean 'beta'"]),
        (["--set", "darla.beta=high"], ["'high'", "float"]),
        (["--set", "vae.beta=1"], ["'vae' is not part of this command"]),
        (["--set", "darla.trunk=resnet"], ["resnet"]),
        (["--set", "darla.latents=0"], ["latents=0", "at least 1"]),
        (["--set", "darla.denoiser_share=1"], ["denoiser_share=1"]),
        (["--set", "ppo.epochs=0"], ["epochs"]),
        (["--set", "ppo.minibatches=7"], ["256 steps x 64 environments", "7 minibatches"]),
        (["--set", "ppo.gamma=1.5"], ["gamma=1.5"]),
        (["--repr", "unreal", "--mode", "frozen"], ["'unreal' has no mode 'frozen'", "online"]),
        (["--repr", "gqn", "--suite", "counting"], ["gqn needs obs key 'pose'", "['image']", "rooms-moving"]),
        (
            ["--repr", "cpc", "--suite", "counting", "--steps", "1024"],
            ["windows of 64 steps", "1,024 frames in 64 environments are 16 steps each", "--steps"],
        ),
        (["--repr", "cpc", "--set", "cpc.ahead=70"], ["ahead=70", "a window of 64 steps"]),
        (["--repr", "monet", "--set", "monet.pool=mean"], ["pool='mean'", "flat, attention"]),
        (["--out", "/proc/nowhere"], ["/proc/nowhere", "cannot write"]),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = refused(capsys, *argv)
    for word in words:
        assert word in text
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_not_ours_is_refused(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    text = refused(capsys, "--suite", "counting", "--repr", "cnn", "--preset", "smoke", "--out", str(tmp_path))
    assert "not an experiment" in text
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_plan_adds_the_baseline_and_spans_names_levels_and_seeds():
    args = Args(repr=("random", "vae"), suite="counting", seeds=(0, 5), train_levels=(3, 9), preset="smoke")
    configs = plan(args)
    assert [(c.train_levels, c.repr, c.seed) for c in configs] == [
        (levels, name, seed) for levels in (3, 9) for name in ("random", "vae", "cnn") for seed in (0, 5)
    ]
    modes = {c.repr: (c.mode, c.pretrain_samples > 0) for c in configs}
    assert modes == {"random": ("frozen", False), "vae": ("frozen", True), "cnn": ("online", False)}
    assert len(plan(Args(repr=("cnn",), suite="counting"))) == 1  # the baseline is not added twice


def test_a_method_that_lacks_its_observation_is_left_out_by_name(capsys, monkeypatch):
    monkeypatch.setattr(
        "benchmarks.experiment.estimate.estimate_seconds", lambda configs, parts: 60.0
    )  # it would time real networks
    argv = ["--suite", "breakout", "--repr", "gqn", "vae", "--preset", "smoke", "--dry-run"]
    assert main(argv) == 0
    output = capsys.readouterr().out.splitlines()
    assert output[0] == (
        "left out: gqn (gqn needs obs key 'pose'; this environment gives ['image']; suites that give it: rooms, "
        "rooms-moving)"
    )
    assert output[1].startswith("2 runs, suite breakout")
    assert [line.split()[0] for line in output[2:4]] == ["vae", "cnn"]
    assert not any("gqn" in line for line in output[1:])


def test_where_no_named_method_fits_it_is_an_error(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["--suite", "breakout", "--repr", "gqn", "--preset", "smoke"]
    for more in ([], ["--no-baseline"]):
        text = refused(capsys, *argv, *more)
        assert text.startswith("error: gqn needs obs key 'pose'")
        assert "rooms-moving" in text
    assert list(tmp_path.iterdir()) == []


def test_leaving_out_keeps_the_order_of_what_stays(capsys):
    configs = plan(Args(repr=("random", "vae", "darla"), suite="counting", seeds=(4, 2)))
    left = runnable(configs, {"vae": "no pose"})
    assert [(c.repr, c.seed) for c in left] == [(n, s) for n in ("random", "darla", "cnn") for s in (4, 2)]
    assert capsys.readouterr().out == "left out: vae (no pose)\n"
    assert runnable(configs, {}) == configs
    assert capsys.readouterr().out == ""
    only = plan(Args(repr=("vae",), suite="counting"))
    with pytest.raises(UsageError, match="no pose"):
        runnable(only, {"vae": "no pose"})
    assert {c.repr for c in runnable(only, {"vae": "no pose"}, ("vae", "cnn"))} == {"cnn"}  # asked for by name


def test_tasks_are_chosen_by_name(capsys):
    everything = [task.env for task in build("minigrid")]
    assert len(everything) > 2
    chosen = (everything[2], everything[0])
    configs = plan(Args(repr=("random",), suite="minigrid", tasks=chosen, preset="smoke"))
    # in the order of the suite, each with the named method and the baseline
    assert [(c.env, c.repr) for c in configs] == [(everything[i], n) for i in (0, 2) for n in ("random", "cnn")]
    assert {c.env for c in plan(Args(repr=("random",), suite="minigrid", preset="smoke"))} == set(everything)
    text = refused(capsys, "--suite", "minigrid", "--repr", "random", "--tasks", everything[0], "doorkee")
    assert "--tasks doorkee: suite 'minigrid' has no such task" in text
    assert all(name in text for name in everything)


def test_the_mode_binds_named_methods_and_not_the_added_baseline():
    configs = plan(Args(repr=("vae",), suite="counting", mode="finetune"))
    assert {c.repr: c.mode for c in configs} == {"vae": "finetune", "cnn": "online"}
    with pytest.raises(UsageError, match="'cnn' has no mode 'frozen'"):
        plan(Args(repr=("vae", "cnn"), suite="counting", mode="frozen"))


def test_pretrain_on_is_part_of_a_run_only_where_something_is_pretrained():
    configs = plan(Args(repr=("vae",), suite="counting", pretrain_on="all"))
    assert {c.repr: c.pretrain_on for c in configs} == {"vae": "all", "cnn": "none"}


def test_two_rows_from_plan_to_table_and_the_second_time_at_once(capsys, tmp_path):
    argv = ["--suite", "counting", "--repr", "vae", "--preset", "smoke", "--steps", "2048", "--out", str(tmp_path)]
    assert main(argv) == 0
    output = capsys.readouterr().out
    assert output.index("2 runs, suite counting") < output.index("vae")
    with open(tmp_path / "results.csv") as handle:
        rows = list(csv.DictReader(handle))
    assert tuple(rows[0]) == COLUMNS  # which test_runs spells out
    splits = {row["split"] for row in rows}
    assert {"train", "heldout"} <= splits
    assert {(row["repr"], row["split"]) for row in rows} == {(n, s) for n in ("vae", "cnn") for s in splits}
    assert all(row["steps"] == "2048" and row["episodes"] == "8" for row in rows)
    html = (tmp_path / "report.html").read_text()
    assert "://" not in html.replace("http://www.w3.org", "")  # self-contained
    before = (tmp_path / "results.csv").read_bytes()
    start = time.monotonic()
    assert main(argv) == 0
    assert time.monotonic() - start < 20
    assert "finished before" in capsys.readouterr().out
    assert (tmp_path / "results.csv").read_bytes() == before


def test_help_answers_at_once_and_imports_no_torch():
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "benchmarks.transfer", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    after = os.times()
    assert done.returncode == 0
    assert "python -m benchmarks.transfer --repr darla" in done.stdout
    assert " torch\n" not in done.stderr
    # processor seconds, which other work on the machine does not change; torch alone would take 1.8
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1.0


def test_help_for_one_method_shows_its_settings(capsys):
    assert main(["--repr", "darla", "--help"]) == 0
    assert "--set darla.beta=" in capsys.readouterr().out


def test_another_package_of_the_same_name_is_named(tmp_path, monkeypatch):
    assert shadowed_packages(ROOT) == []
    alien = tmp_path / "agents"
    alien.mkdir()
    (alien / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import benchmarks"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"agents ({alien})" in done.stderr


def test_a_gpu_that_is_not_there_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "--device cuda: torch sees no GPU" in refused(capsys, "--suite", "counting", "--device", "cuda")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_where_nothing_can_be_saved_leaves_no_traceback(capsys, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("agents.runs.train.final_evaluation", interrupted)
    argv = ["--suite", "counting", "--repr", "random", "--no-baseline", "--preset", "smoke", "--steps", "1024"]
    assert main([*argv, "--out", str(tmp_path)]) == 130
    assert "the same command continues" in capsys.readouterr().err
    monkeypatch.undo()
    assert main([*argv, "--out", str(tmp_path)]) == 0  # only the evaluation is left to do
    assert "finished before" not in capsys.readouterr().out
