"""Planned runs: which levels they train on, by suite, preset, seed and command line."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks.experiment import estimate
from benchmarks.experiment.execute import short_budgets
from benchmarks.experiment.plan import Row, plan_runs
from benchmarks.transfer import Args, plan
from envs.level_sets import LevelRange, training_levels
from envs.registry import UsageError


def plans(*reprs, **options):
    args = replace(Args(), **options)
    return plan_runs(args, [Row(name) for name in reprs or ("cnn",)])


@pytest.mark.parametrize(
    ("suite", "preset", "levels"),
    [
        ("coinrun", "quick", 20),
        ("coinrun", "standard", 50),
        ("coinrun", "paper", 200),
        ("sprites", "quick", 100_000),  # the question is about looks: no preset makes it one of 20 layouts
        ("rooms", "smoke", 100_000),
    ],
)
def test_the_number_of_levels_is_the_suites_question(suite, preset, levels):
    assert {config.train_levels for config in plans(suite=suite, preset=preset)} == {levels}


def test_the_command_line_changes_the_number_anyway():
    configs = plans(suite="sprites", preset="quick", train_levels=(20, 50))
    assert [LevelRange.parse(config.level_set).count for config in configs] == [20, 50]
    assert len({LevelRange.parse(config.level_set).start for config in configs}) == 1  # nested


def test_methods_and_algorithms_of_a_seed_share_their_levels():
    configs = plans("cnn", "random", seeds=(3, 4)) + plans("cnn", algo="a2c", seeds=(3,))
    sets = {(config.seed, config.level_set) for config in configs}
    assert sets == {(seed, str(training_levels("coinrun-easy", seed, 20))) for seed in (3, 4)}


@pytest.mark.parametrize(
    ("preset", "choice", "start"),
    [("paper", "auto", 0), ("quick", "published", 0), ("paper", "drawn", training_levels("coinrun-easy", 0, 1).start)],
)
def test_published_levels_are_for_the_published_protocol(preset, choice, start):
    (config,) = plans(preset=preset, level_sets=choice)
    assert LevelRange.parse(config.level_set).start == start


def test_runs_that_share_a_fit_are_planned_to_make_one(monkeypatch):
    configs = plan_runs(replace(Args(), seeds=(0, 1)), [Row("vae"), Row("vae", ("icm",))])
    parts = SimpleNamespace(representation=None)
    monkeypatch.setattr(estimate, "unwrapped", lambda representation: representation)
    monkeypatch.setattr(estimate, "auxiliary_seconds", lambda config, representation: (2.0, 0.0))
    monkeypatch.setattr(estimate, "run_seconds", lambda config, offline, online: 10 + offline)
    # four runs of 10 s; a fit of 2 s for each of the two seeds
    assert estimate.estimate_seconds(configs, lambda config: parts) == 44


@pytest.mark.parametrize(
    ("preset", "samples"),
    [
        # optimizer steps that each needs, times frames of a step
        ("quick", {"darla": 0.15 * 30_000 * 64, "cpc": 0.15 * 10_000 * 512, "monet": 0.15 * 31_250 * 16}),
        ("standard", {"darla": 30_000 * 128, "vae": 30_000 * 128, "cpc": 10_000 * 512, "curl": 10_000 * 512}),
        ("standard", {"simclr": 10_000 * 512, "atc": 10_000 * 512, "monet": 500_000, "random": 0}),
    ],
)
def test_presets_give_a_part_of_the_steps_that_a_method_needs(preset, samples):
    configs = plans(*samples, preset=preset, mode="frozen", seeds=(0,))
    assert {config.repr: config.pretrain_samples for config in configs} == samples


def test_the_standard_preset_gives_methods_their_size():
    darla, monet = plans("darla", "monet", preset="standard", seeds=(0,))
    (gqn,) = plans("gqn", suite="rooms", preset="standard", seeds=(0,))
    assert darla.repr_settings["batch"] == 128
    assert (monet.repr_settings["slots"], monet.repr_settings["pool"]) == (7, "attention")
    assert (gqn.repr_settings["steps"], gqn.repr_settings["encoder"]) == (8, "tower")
    assert gqn.pretrain_samples == 9300 * 36 * 6  # 2 million views
    (small,) = plans("gqn", suite="rooms", set=("gqn.steps=3",), preset="standard", seeds=(0,))
    assert small.repr_settings["steps"] == 3


def test_a_budget_below_what_a_method_needs_is_said():
    lines = short_budgets(plans("cpc", "darla", "random", seeds=(0, 1), mode="frozen"))
    assert lines == [
        "cpc: 1,500 of 10,000 optimizer steps that its pre-training needs",
        "darla: 4,500 of 30,000 optimizer steps that its pre-training needs",
    ]
    assert short_budgets(plans("darla", preset="standard", seeds=(0,))) == []


@pytest.mark.parametrize(
    ("options", "data", "levels"),
    [
        ({"pretrain_data": "mixed"}, "mixed", ""),
        ({"pretrain_levels": "more"}, "random", "3000000+10000"),
        ({"pretrain_levels": "more", "pretrain_data": "mixed", "suite": "rooms"}, "mixed", "3000000+100000"),
    ],
)
def test_other_data_brings_three_controls(options, data, levels):
    configs = plans("vae", "cnn", seeds=(0,), **options)
    rows = [(config.repr, config.mode, config.start_from_policy) for config in configs]
    assert rows == [
        ("vae", "frozen", False),
        ("cnn", "online", False),
        ("policy_cnn", "frozen", False),
        ("policy_cnn", "finetune", False),
        ("cnn", "online", True),
    ]
    vae, cnn, frozen, _, start = configs
    assert (cnn.pretrain_data, cnn.pretrain_levels, cnn.data_policy) == ("random", "", {})
    for config in (vae, frozen, start):
        assert (config.pretrain_data, config.pretrain_levels) == (data, levels)
    assert frozen.data_policy["steps"] == start.data_policy["steps"] == 250_000
    assert bool(vae.data_policy) == (data == "mixed")
    (a2c,) = plans("vae", seeds=(0,), algo="a2c", pretrain_data="mixed", baseline=False)[:1]
    if options == {"pretrain_data": "mixed"}:
        assert a2c.data_policy == vae.data_policy  # which does not depend on the row's own agent


def test_random_frames_of_the_training_levels_need_no_controls():
    configs = plans("vae", "random", seeds=(0,))
    assert [config.repr for config in configs] == ["vae", "random"]
    assert all((c.pretrain_data, c.pretrain_levels, c.data_policy) == ("random", "", {}) for c in configs)


@pytest.mark.parametrize("data", ["mixture", "policy:", "policy"])
def test_an_unknown_behaviour_is_refused(data):
    with pytest.raises(UsageError, match="give random, mixed, or policy:DIR"):
        plans("vae", pretrain_data=data)


def test_a_cnn_takes_frames_where_it_is_standardised():
    (plain,) = plans("cnn", suite="coinrun", preset="quick")[:1]
    (scaled,) = plans("cnn", suite="coinrun", preset="quick", set=("cnn.standardise=True",))[:1]
    assert (plain.pretrain_frames, plain.pretrain_on) == (0, "none")
    assert (scaled.pretrain_frames, scaled.pretrain_samples, scaled.mode) == (4096, 0, "online")


def test_both_starts_are_rows_whatever_the_user_sets():
    configs = plan(replace(Args(), repr=("vae",), both_starts=True, seeds=(3,), set=("cnn.trunk=impala",)))
    assert [(c.repr, c.repr_settings.get("standardise"), c.mode) for c in configs] == [
        ("vae", None, "frozen"),
        ("cnn", False, "online"),
        ("cnn", True, "online"),
    ]
    assert [c.repr_settings["trunk"] for c in configs[1:]] == ["impala", "impala"]
    with pytest.raises(UsageError, match="leave --no-baseline out"):
        plan(replace(Args(), both_starts=True, baseline=False))
