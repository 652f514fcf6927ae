"""A run killed at any moment and started again ends with the same weights, to the bit, as one never stopped."""

import csv
import json
import os
import random
import signal
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from agents import checkpoint
from agents.runs.build import find_task
from agents.runs.callback import Preempted
from agents.runs.trackers import Tracker
from envs.registry import UsageError
from representations.unreal import UnrealConfig
from tests.agents.runs.tools import (
    Interrupted,
    Killed,
    pretraining,
    result,
    run_config,
    start_and_kill,
    the_run,
    train_here,
    trained,
)

UNREAL = run_config("unreal", algo="a2c", repr_settings=asdict(UnrealConfig(length=10, replay=256)))


def records(out):
    """Records of an experiment's one run, in order."""
    return [json.loads(line) for line in (the_run(out) / "metrics.jsonl").read_text().splitlines()]


def levels(out):
    """Split -> levels of the final evaluation, in order."""
    seeds = {}
    with open(the_run(out) / "eval.csv", newline="") as handle:
        for row in csv.DictReader(handle):
            seeds.setdefault(row["split"], []).append(int(row["level"]))
    return seeds


@pytest.mark.procgen
def test_a_run_killed_twice_by_a_signal_ends_the_same_on_procgen(tmp_path):
    config = run_config("darla", suite="coinrun", env="coinrun-easy", window=24, pretrain_samples=512)
    train_here(tmp_path / "whole", config)
    for reached in (pretraining, trained(384)):
        start_and_kill(tmp_path / "killed", config, reached)
    train_here(tmp_path / "killed", config)
    assert result(tmp_path / "killed") == result(tmp_path / "whole")
    seeds = levels(tmp_path / "whole")
    assert all(0 <= level < 3 for level in seeds["train"])
    assert all(level >= 10**6 for level in seeds["heldout"])
    # a visual variant is compared on the very levels of the source
    assert seeds["train"] == seeds["no-backgrounds"] == seeds["monochrome"]


@pytest.mark.parametrize(
    ("config", "kills"),
    [
        (run_config("cnn"), [("train", 128), ("train", 384), ("evaluate", 1)]),
        (run_config("vae", suite="breakout", window=16), [("pretrain", 40), ("train", 384)]),
        (UNREAL, [("train", 384)]),
        (run_config("random"), [("train", 128), ("train", 384)]),
    ],
    ids=["cnn on counting", "vae on breakout", "unreal on counting", "random on counting"],
)
def test_a_run_killed_between_checkpoints_ends_the_same(config, kills, tmp_path):
    train_here(tmp_path / "whole", config)
    for stage, done in kills:
        with pytest.raises(Killed):
            train_here(tmp_path / "killed", config, Interrupted(stage, done))
    train_here(tmp_path / "killed", config)
    assert result(tmp_path / "killed") == result(tmp_path / "whole")
    auxiliary = [record for record in records(tmp_path / "whole") if any("auxiliary/" in name for name in record)]
    # a rollout of 128 frames each; the replay holds 256 from the second on
    assert [record["global_step"] for record in auxiliary] == [256, 384, 512] * (config is UNREAL)


def test_a_run_asked_to_stop_saves_first(tmp_path):
    # after the third rollout of 128 frames; the schedule would save after the second and the fourth
    stop = Interrupted("train", 384, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted):
        train_here(tmp_path, run_config(), stop)
    step, _ = checkpoint.read(the_run(tmp_path) / "checkpoint" / "train")
    last = json.loads((the_run(tmp_path) / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["global_step"] == step == 384
    source = json.loads((the_run(tmp_path) / "source.json").read_text())
    assert (source["device"], source["precision"], source["threads"]) == ("cpu", "float32", torch.get_num_threads())


class NoisySink:
    """Draws from every global generator, and fails at the second record if ``fails``."""

    def __init__(self, fails):
        self.fails, self.records = fails, 0

    def log(self, record):
        self.records += 1
        random.random(), np.random.rand(), torch.rand(1)
        if self.fails and self.records == 2:
            raise RuntimeError("no network")

    def begin(self, kept):
        torch.rand(1)

    def picture(self, name, path):
        torch.rand(1)

    def table(self, name, rows):
        torch.rand(1)

    def finish(self):
        pass


def test_a_tracker_and_its_failure_change_nothing(tmp_path, capsys):
    config = run_config(steps=384)
    train_here(tmp_path / "none", config)
    for name in ("works", "fails"):
        train_here(tmp_path / name, config, tracker=Tracker("noisy", lambda name=name: NoisySink(name == "fails")))
        assert result(tmp_path / name) == result(tmp_path / "none")
        assert ("tracker 'noisy' is off" in capsys.readouterr().err) == (name == "fails")


def test_a_run_of_a_gpu_goes_on_on_a_cpu_when_asked(tmp_path, capsys):
    config = run_config("vae")
    with pytest.raises(Killed):
        train_here(tmp_path, config, Interrupted("train", 384))
    run = the_run(tmp_path)
    source = json.loads((run / "source.json").read_text())
    (run / "source.json").write_text(json.dumps({**source, "device": "cuda"}))
    for folder in (run / "checkpoint").iterdir():  # a generator of a GPU has a state of 16 bytes
        step, state = checkpoint.read(folder)
        states = state["streams"]["states"]
        state["streams"]["states"] = {name: value[:16] for name, value in states.items()}
        checkpoint.save(folder, step, {name: SimpleNamespace(state_dict=lambda v=v: v) for name, v in state.items()})
    with pytest.raises(UsageError, match="torch sees no GPU here; use --device cpu"):
        train_here(tmp_path, config, device="auto")
    train_here(tmp_path, config, device="cpu")
    assert "was begun on cuda and goes on on cpu, as asked" in capsys.readouterr().out
    source = json.loads((run / "source.json").read_text())
    assert source["device"] == "cpu"
    assert [start.get("device") for start in source["starts"]] == ["cpu", "cpu"]
    assert records(tmp_path)[-1]["global_step"] == 512


def test_pretraining_that_diverges_stops_before_it_is_saved(tmp_path):
    config = run_config("vae", pretrain_samples=4096, pretrain_frames=64)
    config = replace(config, repr_settings={**config.repr_settings, "learning_rate": 1e30})
    with pytest.raises(
        UsageError, match=r"of pre-training: it diverged; .*--set vae.learning_rate=|weights .* are not"
    ):
        train_here(tmp_path, config)
    folder = the_run(tmp_path) / "checkpoint" / "pretrain"
    for document in folder.glob("*.json"):
        _, state = checkpoint.read_document(document)
        assert all(bool(value.isfinite().all()) for value in state["representation"]["module"].values())
    assert "NaN" not in (the_run(tmp_path) / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("mode", "name", "features"), [("frozen", "vae", 64), ("finetune", "vae", 64), ("online", "cnn", 512)]
)
def test_goal_and_pose_reach_the_policy_in_every_mode(mode, name, features, tmp_path):
    agent = train_here(tmp_path, run_config(name, suite="rooms", mode=mode, steps=128))
    # 7 numbers of the pose and 6 of the goal, after the 64 latents or the trunk's 512
    assert agent.policy.state_dict()["hidden.0.weight"].shape == (256, features + 7 + 6)


@pytest.mark.parametrize("mode", ["frozen", "finetune"])
def test_an_encoder_sees_single_frames_and_the_policy_four(mode, tmp_path):
    agent = train_here(tmp_path, run_config("vae", suite="breakout", mode=mode, steps=128, window=8))
    weights = agent.policy.state_dict()
    assert weights["hidden.0.weight"].shape == (256, 4 * 64)  # four frames of 64 latents
    first = next(value for key, value in weights.items() if key.endswith("trunk.body.0.weight"))
    assert first.shape[1] == 3


@pytest.mark.parametrize(
    ("name", "mode", "scaled"),
    [("vae", "frozen", True), ("vae", "finetune", True), ("random", "frozen", True), ("blind", "frozen", False)],
)
def test_frozen_and_fine_tuned_features_are_standardised_and_saved(name, mode, scaled, tmp_path):
    agent = train_here(tmp_path, run_config(name, mode=mode, steps=256))
    kept = {key: value for key, value in agent.policy.state_dict().items() if key.endswith(("centre", "divisor"))}
    assert len(kept) == (2 if scaled else 0)
    logged = [json.loads(line) for line in (the_run(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    frames = [record["standardise/frames"] for record in logged if "standardise/frames" in record]
    assert frames == [32] * scaled
    if scaled:
        centre, divisor = kept["representation.centre"], kept["representation.divisor"]
        assert float(divisor.min()) >= 0.09 * float(divisor.square().mean().sqrt())
        assert bool(centre.any())
        _, state = checkpoint.read(the_run(tmp_path) / "checkpoint" / "train")
        assert torch.equal(state["policy"]["module"]["representation.divisor"], divisor)


def test_online_features_are_as_they_are(tmp_path):
    agent = train_here(tmp_path, run_config("cnn", steps=128))
    assert not any(key.endswith("divisor") for key in agent.policy.state_dict())


def test_an_oracle_gets_the_factors_in_training_and_evaluation(tmp_path):
    agent = train_here(tmp_path, run_config("oracle", suite="rooms", steps=128))
    world = find_task(run_config("oracle", suite="rooms")).source
    assert world.factors
    numbers = world.make(1, 0).single_observation_space["factors"].shape[0]
    # the factors, 7 numbers of the pose and 6 of the goal
    assert agent.policy.state_dict()["hidden.0.weight"].shape == (256, numbers + 7 + 6)
    with open(the_run(tmp_path) / "eval.csv", newline="") as handle:
        assert {row["split"] for row in csv.DictReader(handle)} >= {"train", "heldout", "moving"}


def test_only_what_reads_factors_gets_them():
    assert not find_task(run_config("random", suite="rooms")).source.factors
    assert all(world.factors for world in find_task(run_config("oracle", suite="sprites")).splits().values())
