"""Planned runs: which levels they train on, by suite, preset, seed and command line."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from agents.runs.config import as_json
from benchmarks.experiment import estimate
from benchmarks.experiment.execute import short_budgets
from benchmarks.experiment.plan import CONTROLS, Row, plan_runs
from benchmarks.experiment.presets import PRESETS
from benchmarks.transfer import Args, plan
from envs.level_sets import LevelRange, training_levels
from envs.registry import UsageError
from tests.representations.test_all_representations import build


def plans(*reprs, **options):
    args = replace(Args(), **options)
    return plan_runs(args, [Row(name) for name in reprs or ("cnn",)])


@pytest.mark.parametrize(
    ("suite", "preset", "levels"),
    [
        ("coinrun", "quick", 20),
        ("coinrun", "unseen", 500),
        ("coinrun", "standard", 50),
        ("coinrun", "paper", 200),
        ("sprites", "quick", 100_000),  # the question is about looks: no preset makes it one of 20 layouts
        ("rooms", "smoke", 100_000),
        ("minigrid-ladder", "quick", 10_000),
        ("minigrid-memory", "standard", 10_000),
    ],
)
def test_the_number_of_levels_is_the_suites_question(suite, preset, levels):
    assert {config.train_levels for config in plans(suite=suite, preset=preset)} == {levels}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_trains_unreal_for_twice_its_replay_or_longer(preset):
    for suite in ("coinrun", "sprites", "minigrid-ladder"):  # rooms and sprites are given half of a preset's frames
        for config in plans("unreal", suite=suite, preset=preset):
            assert 2 * config.repr_settings["replay"] <= config.steps


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


@pytest.mark.parametrize(
    ("suite", "baseline", "bonuses"),
    [
        # MiniGrid's symbols give a bonus at first visits alone, so a bonus of 1 may do as well
        ("minigrid-ladder", True, {"none", "rnd:0.5", "constant:0.5"}),
        ("minigrid-ladder", False, {"rnd:0.5"}),
        ("coinrun", True, {"none", "rnd:0.5"}),
    ],
)
def test_a_bonus_at_first_visits_has_the_constant_one_beside_it(suite, baseline, bonuses):
    planned = plan(replace(Args(), repr=("cnn",), bonus=("rnd:0.5",), suite=suite, baseline=baseline))
    assert {config.bonus for config in planned} == bonuses


def test_runs_that_share_a_fit_are_planned_to_make_one(monkeypatch):
    configs = plan_runs(replace(Args(), seeds=(0, 1)), [Row("vae"), Row("vae", ("icm",))])
    parts = SimpleNamespace(representation=None)
    monkeypatch.setattr(estimate, "unwrapped", lambda representation: representation)
    monkeypatch.setattr(estimate, "auxiliary_seconds", lambda config, representation: (2.0, 0.0))
    monkeypatch.setattr(estimate, "run_seconds", lambda config, offline, online: 10 + offline)
    # four runs of 10 s; a fit of 2 s for each of the two seeds
    assert estimate.estimate_seconds(configs, lambda config: parts) == 44


def test_a_method_that_is_solved_at_once_draws_each_stored_frame_once():
    pca, vae = plan(Args(repr=("pca", "vae"), suite="counting", preset="smoke", baseline=False))
    assert pca.pretrain_samples == pca.pretrain_frames == 512
    # 0.001 of 30,000 steps of 64 frames
    assert vae.pretrain_samples == 1920
    assert [line.split(":")[0] for line in short_budgets([pca, vae])] == ["vae"]


def test_a_continued_run_is_planned_from_where_it_goes_on(monkeypatch):
    args = Args(repr=("vae",), suite="counting", steps=1000, seeds=(0,), baseline=False, continue_to=(4000,))
    run, longer = (replace(config, eval_envs=0, periodic_evals=0, kept_policies=0) for config in plan(args))
    per_frame = estimate.run_seconds(run, 0.0, 0.0) / 1000
    assert estimate.run_seconds(longer, 0.0, 0.0) == pytest.approx(3000 * per_frame)
    assert estimate.run_seconds(longer, 1.0, 0.0) == pytest.approx(3000 * per_frame)  # its parent was pre-trained


@pytest.mark.parametrize("name", ["inverse", "cpc", "shuffle", "content_pose"])
def test_methods_that_learn_from_windows_are_timed(name):
    model = build(name)
    assert model.window > 1
    run = SimpleNamespace(precision="float32", pretrain_samples=64, pretrain_frames=64, mode="frozen")
    offline, online = estimate.auxiliary_seconds(run, model)
    assert offline > 0
    assert online == 0


def test_a_phase_that_is_solved_at_once_is_not_timed_step_by_step(monkeypatch):
    monkeypatch.setattr(estimate, "_seconds_a_frame", lambda representation, frames, loss: 5.0)
    run = SimpleNamespace(pretrain_samples=200, pretrain_frames=50, precision="float32", mode="frozen")
    solved = SimpleNamespace(solve=lambda frames, generator: {}, share=1.0, batch=None, loss=None)
    trained = SimpleNamespace(solve=None, share=1.0, batch=64, loss=None)
    for phases, wanted in (([solved], 0.05), ([solved, trained], 0.05 + 200 * 5), ([trained], 200 * 5)):
        representation = SimpleNamespace(phases=lambda phases=phases: phases, window=1)
        seconds = 200 * estimate.auxiliary_seconds(run, representation)[0]
        assert seconds == pytest.approx(wanted)  # 50 frames at a millisecond each; all of the budget at 5 s each


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


def test_a_command_gives_another_part_of_them():
    (darla,) = plans("darla", seeds=(0,), pretrain_share=0.25, set=("darla.batch=128",))
    assert darla.pretrain_samples == 30_000 * 128 / 4
    with pytest.raises(UsageError, match="--pretrain-share 0: give a part above 0"):
        plans("darla", pretrain_share=0.0)


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
    # a third of them is the denoiser's, which needs no more where it is alone
    alone = plans("darla", seeds=(0,), set=("darla.features=denoiser",))
    assert short_budgets(alone) == ["darla: 1,500 of 10,000 optimizer steps that its pre-training needs"]
    assert short_budgets(plans("darla", preset="standard", seeds=(0,), set=("darla.features=denoiser",))) == []


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


@pytest.mark.parametrize("options", [{"pretrain_data": "mixed"}, {"pretrain_levels": "more"}])
def test_rows_without_frames_need_no_controls(options):
    configs = plan(replace(Args(), repr=("unreal",), seeds=(0,), both_starts=True, **options))
    assert [(c.repr, c.start_from_policy) for c in configs] == [("unreal", False), ("cnn", False), ("cnn", False)]


def controls_of(configs):
    return [c for c in configs if c.repr == "policy_cnn" or c.start_from_policy]


@pytest.mark.parametrize(
    ("words", "trunk"),
    [(("cnn.standardise=True",), "nature"), (("cnn.trunk=impoola",), "impoola"), (("vae.trunk=impala",), "nature")],
)
def test_rows_that_take_weights_have_the_network_of_the_policy(words, trunk):
    configs = plans("vae", "cnn", seeds=(0,), pretrain_data="mixed", set=words)
    network = {"trunk": trunk, "standardise": False}
    controls = controls_of(configs)
    assert [config.repr_settings for config in controls] == [network] * 3
    assert [config.data_policy["repr_settings"] for config in controls] == [network] * 3
    assert [config.trunk for config in controls] == [trunk] * 3
    (baseline,) = [c for c in configs if c.repr == "cnn" and not c.start_from_policy]
    assert baseline.repr_settings["standardise"] == ("cnn.standardise=True" in words)


def test_the_network_of_the_policy_is_set_without_the_baseline_too():
    (alone,) = plans("policy_cnn", seeds=(0,), set=("cnn.trunk=impala",))
    assert alone.repr_settings["trunk"] == alone.data_policy["repr_settings"]["trunk"] == "impala"
    with pytest.raises(UsageError, match=r"--set policy_cnn: it has the policy's own network; .* --set cnn.trunk"):
        plans("policy_cnn", seeds=(0,), set=("policy_cnn.trunk=impala",))


def test_the_data_policy_has_the_memory_of_the_rows():
    words = ("a2c.memory_size=24", "a2c.learning_rate=0.01")
    configs = plans("vae", seeds=(0,), algo="a2c", memory="gru", pretrain_data="mixed", set=words)
    settings = configs[-1].data_policy["algo_settings"]
    assert (settings["memory"], settings["memory_size"]) == ("gru", 24)
    assert settings["learning_rate"] != 0.01
    plain = plans("vae", seeds=(0,), algo="a2c", pretrain_data="mixed", set=words)
    assert plain[-1].data_policy["algo_settings"]["memory_size"] == 256


def named_policy(folder, **changes):
    """Folder of a finished run, as far as a plan reads it."""
    (config,) = plans(changes.pop("repr", "cnn"), seeds=(0,), suite="coinrun", **changes)
    (folder / "config.json").write_text(json.dumps(as_json(config)))
    (folder / "done").write_text("")
    return config


@pytest.mark.parametrize("inside", ["", "runs/first"])
def test_a_named_policy_brings_its_network_to_the_controls(tmp_path, inside):
    (tmp_path / inside).mkdir(parents=True, exist_ok=True)
    named = named_policy(tmp_path / inside, set=("cnn.trunk=impala", "cnn.standardise=True"))
    data = f"policy:{tmp_path}"
    configs = plans("vae", "cnn", seeds=(0,), pretrain_data=data)
    controls = controls_of(configs)
    assert [(c.repr, c.mode) for c in controls] == [(r.repr, r.mode) for r in CONTROLS]
    assert [c.repr_settings for c in controls] == [named.repr_settings] * 3
    assert [(c.pretrain_data, c.data_policy) for c in controls] == [(data, {})] * 3
    assert configs[1].repr_settings == {"trunk": "nature", "standardise": False}


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"repr": "vae"}, {}),
        ({"memory": "gru"}, {}),
        ({"memory": "gru", "set": ("ppo.memory_size=24",)}, {"memory": "gru"}),
        ({"last_step": True}, {}),
    ],
    ids=["representation", "memory", "size of memory", "inputs"],
)
def test_a_named_policy_whose_weights_do_not_fit_brings_none(tmp_path, changes, options):
    named_policy(tmp_path, **changes)
    configs = plans("vae", "cnn", seeds=(0,), pretrain_data=f"policy:{tmp_path}", **options)
    assert [c.repr for c in configs] == ["vae", "cnn"]


def test_the_encoder_of_another_network_is_refused(tmp_path):
    named_policy(tmp_path, repr="vae")
    with pytest.raises(UsageError, match=r"policy_cnn takes the encoder of a cnn; policy:.* is vae"):
        plans("policy_cnn", seeds=(0,), pretrain_data=f"policy:{tmp_path}")


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
