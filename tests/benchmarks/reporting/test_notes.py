"""Sentences that say how the numbers are to be read."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.reporting.episodes import returns_of
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


@pytest.mark.parametrize("of_levels", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rate", [0.5, 0.7, 0.85])
def test_equal_evaluations_are_no_fall(tmp_path, rate, of_levels):
    """Six evaluations of 64 levels, 0 or 10 each, at one rate of success; 1,000 such runs for each case.

    ``of_levels`` of the levels give the same return each time, as they do where a level decides what is earned.
    """
    rng, run, falls = np.random.default_rng(0), read(make_run(tmp_path, "cnn", periodic_envs=64)), []
    for _ in range(1000):
        returns = 10.0 * (rng.random((6, 64)) < rate)
        fixed = round(64 * of_levels)
        returns[:, :fixed] = returns[0, :fixed]
        falls.append(fall_of(run, returns) > 0)
    assert np.mean(falls) < 0.045


def fall_of(run, evaluations):
    """The fall of a run with these evaluations (E, levels), one each hundred steps, level by level."""
    steps, means = 100 * np.arange(1, len(evaluations) + 1), evaluations.mean(1)
    best = int(means.argmax())
    facts = {
        "best_validation": {"step": int(steps[best]), "return": float(means[best])},
        "final_validation": {"step": int(steps[-1]), "return": float(means[-1])},
    }
    rows = [[{"level": level, "episode": 0, "return": value} for level, value in enumerate(row)] for row in evaluations]
    validation = {int(step): returns_of(of_step) for step, of_step in zip(steps, rows, strict=True)}
    return replace(run, source={**run.source, **facts}, validation=validation).fall


def test_noise_that_both_evaluations_share_does_not_hide_a_fall(tmp_path):
    run = read(make_run(tmp_path, "cnn", returns={"train": [10.0, 0.0]}, periodic_envs=8))
    # Of 8 levels 6 succeed, then 3 of these 6: 7.5 to 3.75. Differences: -10 three times, 0 five times; their
    # deviation is sqrt((3 x 6.25^2 + 5 x 3.75^2) / 7) = 5.18, its error 5.18 / sqrt(8) = 1.83, 2.5 of it 4.58: none.
    first, same = [10.0] * 6 + [0.0] * 2, [10.0] * 3 + [0.0] * 5
    assert fall_of(run, np.array([first, same])) == 0
    # 12 of 64 levels are lost, a drop of 1.875. Unpaired that needs 2.5 x 4.9 x sqrt(2 / 64) = 2.2; in pairs the
    # deviation is 10 sqrt(0.19 x 0.81) = 3.9, and 2.5 x 3.9 / 8 = 1.2.
    assert fall_of(run, np.array([first * 8, first * 4 + same * 4])) == pytest.approx(1.875)
    assert fall_of(run, np.array([first * 8, first * 6 + same * 2])) == 0  # 6 levels: 0.94, less than a fifth of 5


def test_runs_that_kept_means_alone_are_judged_by_training_episodes(tmp_path):
    # 0 or 10 with equal chance: standard deviation 5.27 in 10 episodes, of a difference of 32: 1.32, and 2.5 of it 3.29
    facts = {"source": validated(8.6, 5.5), "periodic_envs": 32}
    run = read(make_run(tmp_path, "cnn", 0, {"train": [10.0, 0.0] * 5, "heldout": [10.0] * 4}, **facts))
    assert run.fall == 0
    assert replace(run, source={**run.source, **validated(8.8, 5.5)}).fall == pytest.approx(3.3)
    steady = {"train": [10.0] * 10, "heldout": [10.0, 0.0] * 50}
    assert read(make_run(tmp_path, "cnn", 1, steady, **facts)).fall == pytest.approx(3.1)


def test_rows_that_went_on_after_evaluation_say_so(tmp_path):
    make_run(tmp_path, "cnn", 3, source={"continued_after_evaluation": True})
    assert sentences(tmp_path, "‡ cnn", "seed 3 was continued after held-out levels were read")
    assert "cnn ‡" in write_report(tmp_path)


def test_labels_of_continued_runs_say_so_in_every_table(tmp_path):
    make_run(tmp_path, "cnn", 0)
    make_run(tmp_path, "cnn", 1, continued=[500_000], source={"continued_after_evaluation": True})
    assert "cnn (continued from 500,000) ‡" in write_report(tmp_path)


def test_evaluations_added_later_are_told(tmp_path):
    make_run(tmp_path, "cnn", 3, source={"added_evaluations": [{"split": "heldout"}]})
    assert sentences(tmp_path, "cnn, coinrun-easy", "seed 3 was evaluated again after its end (added.csv)")


def test_mixed_cells_name_both_sides(tmp_path):
    make_run(tmp_path, "cnn", 0, source={"commit": "aaa", "threads": 1})
    make_run(tmp_path, "cnn", 1, source={"commit": "bbb", "threads": 2})
    assert sentences(tmp_path, "§ cnn", "mixed commits aaa, bbb; mixed numbers of threads 1, 2. No interval")
    assert "[mixed]" in write_report(tmp_path)
