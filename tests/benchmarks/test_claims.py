"""Verdicts by hand, and claims measured on runs whose returns are written by hand."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents.runs.validate import PartsStore
from benchmarks import claims
from benchmarks.claims import Result, doubts, find, find_control, holm, main, measured, power, seeds_needed, verdict
from benchmarks.experiment import claims as registered
from benchmarks.experiment.claim_commands import chosen_beta, command_lines, planned
from benchmarks.experiment.claims import Claim
from benchmarks.reporting.runs import load
from benchmarks.reporting.stats import Interval
from benchmarks.reporting.summary import summarise
from envs.registry import UsageError
from tests.benchmarks.tools import make_run, write_rows

CLAIMS = registered.claims()
CLAIM = Claim(
    *("better", "Darla is better", "A paper 2020", "pictures", "coinrun-easy", {"repr": "darla"}, "equal budget"),
    *("return", 0.5, 0.5, 3),
)


def interval(estimate, low, high, seeds=4):
    return Interval(estimate, low, high, "seeds", seeds, seeds)


@pytest.mark.parametrize(
    ("estimate", "low", "high", "expected"),
    [
        (0.6, 0.1, 1.1, "reproduced"),
        (0.5, 0.1, 0.9, "reproduced"),
        (0.4, 0.1, 0.7, "not decidable"),  # above 0, yet smaller than what is of interest
        (0.6, -0.1, 1.3, "not decidable"),
        (0.2, -0.1, 0.49, "contradicted"),
        (0.2, 0.1, 0.3, "contradicted"),  # surely above 0, and surely less than the effect
        (-3.0, -4.0, -2.0, "contradicted"),
        (0.2, -0.1, 0.5, "not decidable"),
        (0.6, math.nan, math.nan, "not decidable"),
    ],
)
def test_the_verdict_follows_from_interval_and_effect(estimate, low, high, expected):
    assert verdict(interval(estimate, low, high), effect=0.5) == expected


def test_seeds_that_would_decide():
    # Four seeds, half width 1.591 = t(3) = 3.182 x spread 1 / 2. For half a width of 1: t(5) = 2.571 / sqrt(6) = 1.05
    # is too wide, t(6) = 2.447 / sqrt(7) = 0.925 is not.
    assert seeds_needed(interval(0.3, 0.3 - 1.5912, 0.3 + 1.5912), effect=1.0) == 7
    assert seeds_needed(interval(0.3, 0.3, 0.3), effect=1.0) == 0
    assert seeds_needed(interval(0.3, -1.0, 1.0, seeds=1), effect=1.0) == 0


def test_power_is_that_of_the_t_interval():
    assert power(0.0, 1.0, 5) == pytest.approx(0.025, abs=0.004)  # half of 5% lies above 0
    # t with 4 degrees and noncentrality 2 sqrt(5) = 4.47 above 2.776: 0.910 by numerical integration
    assert power(0.1, 0.1, 5) == pytest.approx(0.91, abs=0.01)
    assert power(0.1, 0.1, 3) < power(0.1, 0.1, 4) < power(0.1, 0.1, 5)


def test_p_counts_all_claims_whether_run_or_not():
    def result(p, reason=""):
        return Result(CLAIM, replace(interval(0.6, 0.1, 1.1), p=p), reason)

    # Four of five count: 0.01 x 5, then 0.02 x 4; the doubtful one and the one not run have a p of 1.
    results = [result(0.02), Result(CLAIM), result(0.01), result(0.001, "3 of 5 seeds"), result(math.nan)]
    assert holm(results) == pytest.approx([0.08, 1.0, 0.05, 1.0, 1.0])


def betas_run(folder, returns):
    for beta, value in zip(registered.BETAS, returns, strict=False):
        # unseen levels say the opposite of validation levels
        unseen = {"train": [10.0, 10.0], "heldout": [1 - value, 1 - value]}
        source = {} if value is None else {"final_validation": {"step": 1, "return": value}}
        make_run(folder / "darla-beta", "darla", 5, unseen, levels=2, repr_settings={"beta": beta}, source=source)


def test_beta_is_that_of_the_highest_validation_return(tmp_path):
    assert chosen_beta(tmp_path)[0] == 0.1
    betas_run(tmp_path, (0.5, 0.7, 0.7, 0.6))
    beta, words = chosen_beta(tmp_path)
    assert beta == 1.0
    assert words.endswith("(seed 5; the smallest of equals): 1, of returns 0.5, 0.7, 0.7, 0.6")
    lines = command_lines(tmp_path)["darla"]
    assert [line.count("darla.beta=1 ") for line in lines] == [1, 0, 0, 0]
    rows = [claim.row["repr_settings.beta"] for claim in registered.claims(beta) if claim.experiment == "darla"]
    assert rows == [1.0] * 6


def test_no_beta_is_chosen_before_all_are_there(tmp_path):
    betas_run(tmp_path, (0.5, 0.7, 0.9))
    beta, words = chosen_beta(tmp_path)
    assert beta == 0.1
    assert words.endswith("not chosen yet, 0.1 until then")


def runs_of(experiment, more=0.0, **changes):
    """Three seeds of darla, ``more`` above a CNN of equal steps; both have a spread over seeds."""
    for seed in range(3):
        for name, shift in (("cnn", 0.0), ("darla", more + 0.02 * seed)):
            level = seed % 2 + shift
            returns = {"train": [8 + level, 9 + level], "heldout": [6 + level, 7 + level]}
            extra = changes if name == "darla" else {}
            make_run(experiment, name, seed, returns, levels=2, env_steps=(0, 1_000_000), **extra)
    return summarise(load(experiment))


def measure(summary, claim):
    cell = find(summary, claim, claim.row)
    return measured(claim, cell, find_control(summary, claim, cell))


def test_return_and_gap_are_of_the_row_minus_the_control(tmp_path):
    summary = runs_of(tmp_path, more=1.0)
    # held-out returns of darla are 1, 1.02, 1.04 above; training returns as much, so the gap is the same
    assert measure(summary, CLAIM).estimate == pytest.approx(1.02)
    assert measure(summary, replace(CLAIM, measure="smaller gap")).estimate == pytest.approx(0.0)
    reversed_claim = replace(CLAIM, row={"repr": "cnn"}, control={"repr": "darla"})
    assert measure(summary, reversed_claim).estimate == pytest.approx(-1.02)


def test_a_smaller_gap_counts_as_more(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "cnn", seed, {"train": [9, 9], "heldout": [5, 5 + 0.1 * seed]}, levels=2)
        make_run(tmp_path, "darla", seed, {"train": [9, 9], "heldout": [7, 7 + 0.1 * seed]}, levels=2)
    claim = replace(CLAIM, measure="smaller gap", control={"repr": "cnn"})
    assert measure(summarise(load(tmp_path)), claim).estimate == pytest.approx(2.0)


def test_returns_kept_at_equal_source_return(tmp_path):
    header = ("split", "half", "fraction", "level", "episode", "actions", "return", "length")
    for seed in range(3):
        for name, kept in (("cnn", 4.0), ("darla", 5.0 + 0.1 * seed)):
            path = make_run(tmp_path, name, seed, {"train": [9, 9], "heldout": [5, 5]}, levels=2, normalise=[0, 10])
            rows = [
                (split, half, fraction, level, 0, "sampled", fraction * (10 if split == "train" else kept), 30)
                for split in ("train", "heldout")
                for half in "ab"
                for fraction in (0.2, 0.8)
                for level in (0, 1)
            ]
            write_rows(path / "matched.csv", header, rows)
    claim = replace(CLAIM, measure="return kept at equal source return", source_return=0.5, control={"repr": "cnn"})
    summary = summarise(load(tmp_path))
    # source return 5 is reached at fraction 0.5: there 2.5, 2.55 and 2.6 are kept, the CNN's 2
    assert measure(summary, claim).estimate == pytest.approx(0.55)
    assert measure(summary, replace(claim, source_return=0.9)) is None  # 9 is not reached


def test_areas_are_over_training(tmp_path):
    summary = runs_of(tmp_path)
    path = next(run.path for run in summary.runs if run.config["repr"] == "darla" and run.config["seed"] == 1)
    text = (path / "metrics.jsonl").read_text().replace('"train/return": 7.2', '"train/return": 10.2')
    (path / "metrics.jsonl").write_text(text)
    claim = replace(CLAIM, measure="area under the curve")
    # 3 more at 500,000 of 1,000,000 frames: a triangle from 250,000 to 1,000,000, in one of three seeds
    assert measure(summarise(load(tmp_path)), claim).estimate == pytest.approx(3 * 0.75 / 2 / 3)


def test_rows_that_decide_nothing_say_why(tmp_path):
    summary = runs_of(tmp_path / "a", 1.0)
    cell, control = (find(summary, CLAIM, {"repr": name}) for name in ("darla", "cnn"))
    difference = measured(CLAIM, cell, control)
    assert doubts(CLAIM, cell, control, difference) == ""
    assert doubts(replace(CLAIM, seeds=5), cell, control, difference) == "3 of 5 seeds"
    assert doubts(CLAIM, cell, control, None) == "no such figure in every run"
    at_equal_return = replace(CLAIM, source_return=0.5)
    assert doubts(at_equal_return, cell, control, None) == "source return not reached by every run"
    fell = {"best_validation": {"step": 1, "return": 9.0}, "final_validation": {"step": 2, "return": 5.0}}
    fallen = find(runs_of(tmp_path / "b", 1.0, source=fell), CLAIM, {"repr": "darla"})
    assert doubts(CLAIM, fallen, control, difference) == "3 of 3 runs of darla fell"
    other = find(runs_of(tmp_path / "c", 1.0, source={"commit": "fff"}), CLAIM, {"repr": "darla"})
    assert doubts(CLAIM, other, control, difference) == "runs of several commits (abc1234, fff)"
    assert Result(CLAIM, difference, "3 of 5 seeds").verdict == "not decidable: 3 of 5 seeds"
    assert Result(CLAIM, difference, "").verdict == "reproduced"
    assert Result(CLAIM).verdict == "not run"


def test_a_control_of_equal_budget_is_no_shorter_one(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "darla", seed, levels=2, env_steps=(500_000, 1_000_000))
        make_run(tmp_path, "cnn", seed, levels=2, env_steps=(0, 1_000_000))
    summary = summarise(load(tmp_path))
    cell = find(summary, CLAIM, CLAIM.row)
    assert find_control(summary, CLAIM, cell) is None
    assert find_control(summary, replace(CLAIM, control="equal RL steps"), cell).config["repr"] == "cnn"


def test_a_control_of_equal_steps_is_the_better_start(tmp_path):
    for seed in range(3):
        make_run(tmp_path, "darla", seed, levels=2)
        for scaled, value in ((False, 5.0), (True, 6.0)):
            source = {"final_validation": {"step": 1, "return": value}}
            make_run(tmp_path, "cnn", seed, levels=2, repr_settings={"standardise": scaled}, source=source)
    summary = summarise(load(tmp_path))
    control = find_control(summary, replace(CLAIM, control="equal RL steps"), find(summary, CLAIM, CLAIM.row))
    assert control.config["repr_settings"] == {"standardise": True}


def test_an_ambiguous_row_is_refused(tmp_path):
    for beta in (1, 4):
        make_run(tmp_path, "darla", levels=2, repr_settings={"beta": beta})
    summary = summarise(load(tmp_path))
    with pytest.raises(UsageError, match="several rows of pictures are meant by"):
        find(summary, CLAIM, {"repr": "darla"})
    assert find(summary, CLAIM, {"repr": "darla", "repr_settings.beta": 4}).config["repr_settings"] == {"beta": 4}
    assert find(summary, CLAIM, {"repr": "darla", "repr_settings.beta": 2}) is None


@pytest.fixture(scope="module")
def plans():
    """Experiment -> its planned runs."""
    experiments = {}
    for name, lines in command_lines(Path("x")).items():
        runs = {}
        for line in lines:
            runs |= {repr(config): config for config in planned(line, PartsStore())}
        experiments[name] = list(runs.values())
    return experiments


def test_every_claim_names_rows_that_its_commands_train(plans):
    """Found among the planned runs, once each, so that no claim stays without figures for a word in its row."""
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    assert plans.keys() == registered.experiments().keys() == {c.experiment for c in CLAIMS} | {"darla-beta"}
    for claim in CLAIMS:
        rows = [claim.row, *([claim.control] if isinstance(claim.control, dict) else [])]
        for row in rows:
            seeds = [
                config.seed
                for config in plans[claim.experiment]
                if config.env == claim.task and claims.has_settings(vars(config), row)
            ]
            assert len(set(seeds)) == len(seeds) == claim.seeds, (claim.name, row)
            assert claim.split in next(c.splits for c in plans[claim.experiment] if c.env == claim.task)


def test_the_budgets_of_the_claims(plans):
    def of(experiment, name):
        return [config for config in plans[experiment] if config.repr == name]

    darla = [*plans["darla-beta"], *of("darla", "darla")]
    whole = [config for config in darla if config.repr_settings["features"] == "vae"]
    alone = [config for config in darla if config.repr_settings["features"] == "denoiser"]
    # a quarter of 30,000 steps of 128 frames, of which the denoiser has a third
    assert {(c.pretrain_samples, c.repr_settings["batch"], c.pretrain_on) for c in whole} == {(960_000, 128, "all")}
    assert {(c.pretrain_samples, c.repr_settings["batch"], c.pretrain_on) for c in alone} == {(320_000, 128, "all")}
    assert sorted({c.repr_settings["beta"] for c in plans["darla-beta"]}) == [0.1, 1.0, 4.0, 16.0]
    assert not {c.seed for c in plans["darla-beta"]} & {c.seed for c in plans["darla"]}
    # half of 9,300 steps of 36 scenes of 6 views; a fifth of 31,250 steps of 16 images
    assert {c.pretrain_samples for c in of("scenes", "gqn")} == {4_650 * 36 * 6}
    (monet,) = {
        (c.pretrain_samples, c.repr_settings["pool"], c.repr_settings["centroids"]) for c in of("scenes", "monet")
    }
    assert monet == (100_000, "attention", True)
    assert {c.repr_settings["rl_on_crops"] for c in of("contrastive", "curl")} == {True}
    for experiment, task in (("darla", "sprites"), ("contrastive", "coinrun-easy"), ("scenes", "rooms-moving")):
        starts = [c.repr_settings["standardise"] for c in of(experiment, "cnn") if c.env == task]
        assert set(starts) == {False, True}
    agents = {(c.repr, c.algo, c.last_step, c.algo_settings["memory"]) for c in plans["unreal"]}
    either = ((False, "none"), (True, "gru"))
    assert agents == {
        (*pair, *seen)
        for pair in (("unreal", "ppo"), ("cnn", "ppo"), ("cpc", "a2c"), ("cnn", "a2c"))
        for seen in either
    }


def test_the_page_holds_every_claim_and_command(tmp_path, capsys):
    out = tmp_path / "claims.md"
    make_run(tmp_path / "darla", "random")
    assert main([str(tmp_path), "--out", str(out)]) == 0
    text = out.read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert text.count("| not run |") == len(CLAIMS)
    assert text.count("\npython -m benchmarks.") == sum(map(len, registered.experiments().values()))
    assert np.all([claim.statement in text for claim in CLAIMS])


def test_a_directory_without_any_experiment_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "--out", str(tmp_path / "claims.md")]) == 2
    assert "holds none of darla-beta, darla, contrastive" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
