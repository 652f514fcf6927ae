"""Sentences that say how the numbers are to be read."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.reporting.notes import notes
from benchmarks.reporting.report import describe_run, write_report
from benchmarks.reporting.runs import load, read
from benchmarks.reporting.summary import summarise
from tests.benchmarks.reporting.test_summary import ROLLOUT, allow
from tests.benchmarks.tools import make_run, one_of_each


def sentences(experiment, *words):
    return [note for note in notes(summarise(load(experiment))) if all(word in note for word in words)]


def test_notes_say_what_a_representation_was_pretrained_on(tmp_path):
    make_run(tmp_path, "cnn")
    make_run(tmp_path, "darla", pretrain_on="all", pretrain_frames=32_768)
    make_run(tmp_path, "beta_vae")
    make_run(tmp_path, "vae")
    make_run(tmp_path, "random", pretrain_frames=4096, pretrain_samples=0)  # for the scale of its features alone
    assert sorted(sentences(tmp_path, "pre-trained on")) == [
        "beta_vae and vae: pre-trained on 512 frames, without reward, from the source variant.",
        "darla: pre-trained on 32,768 frames, without reward, from every visual variant.",
    ]


def test_one_seed_speaks_of_these_agents_and_few_seeds_are_labelled(tmp_path):
    one_of_each(tmp_path)
    assert sentences(tmp_path, "One seed", "these agents on these levels", "no difference")
    assert not sentences(tmp_path, "fewer than 10 seeds")
    make_run(tmp_path, "cnn", 1)
    assert sentences(tmp_path, "fewer than 10 seeds")
    text = write_report(tmp_path)
    assert "2 (few)" in text
    assert "1 (one)" in text


def test_notes_say_what_a_task_can_decide(tmp_path, monkeypatch):
    make_run(tmp_path, "cnn")
    make_run(tmp_path, "darla", env="mine")
    assert sentences(tmp_path, "coinrun-easy, 20 levels: decides the gap only (at commit 3587fa4", "of label")
    assert sentences(tmp_path, "mine, 20 levels: declares no outcome (no control")
    allow(monkeypatch, "gap", "held-out return", "looks")
    assert not sentences(tmp_path, "coinrun-easy", "decides")


def test_a_missing_baseline_of_equal_budget_is_said(tmp_path):
    make_run(tmp_path, "darla", env_steps=(261_888, 1_003_520), **ROLLOUT)
    make_run(tmp_path, "cnn", env_steps=(0, 1_003_520), **ROLLOUT)
    assert sentences(tmp_path, "darla: compared with the baseline of as many RL steps", "--equal-budget")
    make_run(tmp_path, "cnn", steps=1_265_408, env_steps=(0, 1_277_952), **ROLLOUT)
    assert not sentences(tmp_path, "--equal-budget")


def validated(best, last, step=800_000):
    final = {"step": 1_000_000, "return": last}
    return {"best_validation": {"step": step, "return": best}, "final_validation": final}


def test_a_run_that_fell_is_named_in_every_table(tmp_path):
    make_run(tmp_path, "cnn", 0, source=validated(8.6, 8.5), seconds=(0.0, 10.0))
    make_run(tmp_path, "vae", 0, source=validated(9.0, 8.9))
    fell = make_run(tmp_path, "vae", 1, source=validated(8.6, 5.0), seconds=(1.0, 10.0))
    assert sentences(tmp_path, "† vae", "seed 1 by 3.60 (best 8.60 at 800,000 frames, last 5.00)")
    assert not sentences(tmp_path, "cnn,")
    text = write_report(tmp_path)
    assert text.count("\nvae †") == 5  # returns, both outcomes against cnn, validation, costs
    assert "validation best 8.60 at 800,000, last 5.00, fell by 3.60" in describe_run(fell)


@pytest.mark.parametrize(
    ("normalise", "last", "fall"),
    # coinrun's range is 5: more than 1.0; a range of 1: more than 0.2; no constants: more than 1.0
    [([5, 10], 8.01, 0), ([5, 10], 7.9, 1.1), ([0, 1], 8.75, 0.25), (None, 8.05, 0), (None, 7.5, 1.5)],
)
def test_a_fall_is_measured_by_the_tasks_range(tmp_path, normalise, last, fall):
    make_run(tmp_path, "cnn", source=validated(9.0, last), normalise=normalise)
    assert load(tmp_path)[0].fall == pytest.approx(fall)


def test_equal_evaluations_are_no_fall(tmp_path):
    """Six evaluations of 64 episodes of 0 or 10, at one rate of success; 2,000 such runs for each rate."""
    rng = np.random.default_rng(0)
    for rate in (0.5, 0.7, 0.85):
        returns = {"train": [10.0, 0.0], "heldout": (10.0 * (np.arange(256) < 256 * rate)).tolist()}
        path = make_run(tmp_path, "cnn", returns=returns, periodic_envs=64, rate=rate)
        run = read(path)
        means = rng.binomial(64, rate, (2000, 6)) * 10 / 64
        falls = [
            replace(run, source={**run.source, **validated(max(evaluations), evaluations[-1])}).fall > 0
            for evaluations in means.tolist()
        ]
        assert 0.005 < np.mean(falls) < 0.035
        assert replace(run, source={**run.source, **validated(8.6, 5.0)}).fall == pytest.approx(3.6)


def test_rows_that_went_on_after_evaluation_say_so(tmp_path):
    make_run(tmp_path, "cnn", 3, source={"continued_after_evaluation": True})
    assert sentences(tmp_path, "‡ cnn", "seed 3 was continued after held-out levels were read")
    assert "cnn ‡" in write_report(tmp_path)


def test_mixed_cells_name_both_sides(tmp_path):
    make_run(tmp_path, "cnn", 0, source={"commit": "aaa", "threads": 1})
    make_run(tmp_path, "cnn", 1, source={"commit": "bbb", "threads": 2})
    assert sentences(tmp_path, "§ cnn", "mixed commits aaa, bbb; mixed numbers of threads 1, 2. No interval")
    assert "[mixed]" in write_report(tmp_path)
