"""Planned runs are checked before anything is written, and each run's parts are built once."""

from dataclasses import asdict, replace

import pytest
import torch

from agents.runs.build import build_parts, find_task, pretraining_worlds
from agents.runs.validate import PartsStore
from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from envs.tasks import World
from intrinsic.rnd import Rnd
from representations.cnn import Cnn
from representations.unreal import UnrealConfig
from tests.agents.runs.tools import Interrupted, run_config


@pytest.fixture
def built(monkeypatch):
    """Constructions so far of networks, bonuses, and environments (by their number of envs)."""
    counts = []
    for cls in (Cnn, Rnd, CountingVectorEnv):
        construct = cls.__init__

        def counted(self, *args, cls=cls, construct=construct, **options):
            number = (args[:1] or (options.get("num_envs"),))[0] if cls is CountingVectorEnv else ""
            counts.append(f"{cls.__name__}{number}")
            construct(self, *args, **options)

        monkeypatch.setattr(cls, "__init__", counted)
    return counts


def test_parts_are_built_once_for_each_run(built):
    settings = {"bonus": "rnd:1", "bonus_settings": {"rnd": {}}}
    configs = [run_config("cnn", seed=seed, **settings) for seed in range(3)]
    store = PartsStore()
    assert store.validate(configs) == {}
    # seeds are alike: the first is checked; source and targets differ in their looks, so each is opened once
    assert sorted(built) == ["Cnn", "CountingVectorEnv1", "CountingVectorEnv1", "Rnd"]
    representation = store.representative(configs[2]).representation
    parts = [store.take(config) for config in configs]
    assert parts[0].representation is representation
    assert sorted(built) == ["Cnn"] * 3 + ["CountingVectorEnv1"] * 2 + ["Rnd"] * 3
    assert store.take(configs[0]).representation is not representation  # it was handed out


def test_parts_are_those_of_the_seed_however_they_are_built():
    configs = [run_config("vae", seed=seed) for seed in (3, 4)]
    store = PartsStore()
    store.validate(configs)
    torch.manual_seed(5)
    for config in configs:
        weights = store.take(config).representation.state_dict()
        expected = build_parts(config).representation.state_dict()
        assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_dropped_run_is_built_anew(built):
    config, store = run_config(), PartsStore()
    store.validate([config])
    store.drop(config)
    store.take(config)
    assert built.count("Cnn") == 2


def test_a_method_that_lacks_its_observation_is_refused_by_name():
    refused = PartsStore().validate([run_config("gqn", pretrain_samples=64), run_config("cnn")])
    assert list(refused) == ["gqn"]
    assert "needs obs key 'pose'" in refused["gqn"]


def test_windows_longer_than_a_run_are_refused_though_others_fit():
    fits, short = run_config("cpc", steps=4 * 64), run_config("cpc", steps=4 * 16)
    store = PartsStore()
    assert store.validate([fits]) == {}
    with pytest.raises(UsageError, match="are 16 steps each: give more --steps"):
        store.validate([fits, short])


@pytest.mark.parametrize("settings", [{"pixel_control": False}, {}])
def test_a_replay_that_never_fills_is_refused(settings):
    # 1,024 frames of 4 environments are 256 steps each; 1,025 need one more
    def config(replay, **changes):
        return run_config(
            "unreal", steps=1024, repr_settings=asdict(UnrealConfig(replay=replay, **settings)), **changes
        )

    assert PartsStore().validate([config(1024)]) == {}
    wanted = "replay of 1,025 frames once it is full, 257 steps each; 1,024 frames in 4 environments are 256 steps each"
    with pytest.raises(UsageError, match=f"{wanted}: give more --steps, or --set unreal.replay=256"):
        PartsStore().validate([config(1025)])
    off = {**run_config("unreal").algo_settings, "aux_coef": 0.0}
    assert PartsStore().validate([config(1025, algo_settings=off)]) == {}


def test_a_command_builds_each_run_once(built, tmp_path, monkeypatch, capsys):
    from benchmarks.transfer import main

    monkeypatch.setattr("agents.runs.progress.Bar", lambda title: Interrupted())
    argv = ["--suite", "counting", "--repr", "cnn", "--preset", "smoke", "--steps", "512", "--num-envs", "4"]
    argv += ["--set", "ppo.n_steps=64", "--seeds", "0", "1", "--out", str(tmp_path)]
    assert main(argv) == 0
    assert built.count("Cnn") == 2 + 2 + 1  # for training, to play the other seed's levels, to record the first seed
    before = list(built)
    assert main(argv) == 0
    assert "finished before" in capsys.readouterr().out
    assert [name for name in built[len(before) :] if name != "CountingVectorEnv1"] == ["Cnn"]  # the check of the plan


def test_an_oracle_is_left_out_where_factors_cannot_be_told(monkeypatch):
    def refuse(self, rows):
        raise UsageError("counting: no factors; leave factors out")

    monkeypatch.setattr(CountingVectorEnv, "factor_vector", refuse)
    refused = PartsStore().validate([run_config("oracle"), run_config("cnn")])
    assert refused == {"oracle": "counting: no factors; leave factors out"}


def test_data_that_cannot_be_had_is_refused_before_anything_runs():
    with pytest.raises(UsageError, match="--pretrain-data policy:/nowhere: no finished run there"):
        PartsStore().validate([run_config("vae", pretrain_data="policy:/nowhere")])


def test_other_levels_replace_the_source_and_every_visual_variant():
    config = run_config("vae", pretrain_on="all", pretrain_levels="3000000+9")
    task = find_task(config)
    worlds = pretraining_worlds(config, task)
    assert len(worlds) == len(task.visual_variants) > 1
    assert all(world.options["start_level"] == 3_000_000 and world.options["num_levels"] == 9 for world in worlds)
    assert task.source.options["start_level"] == 0
    nameless = replace(task, visual_variants=(World("counting", {}),))
    with pytest.raises(UsageError, match="counting names no levels to pre-train on; leave --pretrain-levels at same"):
        pretraining_worlds(config, nameless)
