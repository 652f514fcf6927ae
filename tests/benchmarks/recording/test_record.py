"""Recordings of real runs: equal to their evaluation, re-used while they match, and touching nothing else."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from agents import checkpoint
from agents.runs.config import read_config
from agents.runs.evaluate import Visits
from agents.runs.load import load_agent, load_trained_bonuses
from benchmarks.recording import sheets, store
from benchmarks.recording.bonus import load_bonus
from benchmarks.recording.episode import play_episodes
from benchmarks.recording.record import Quality, read, record_run
from envs.registry import UsageError
from intrinsic.base import Transitions
from tests.agents.runs.tools import run_config, the_run, train_here
from tests.benchmarks.tools import make_run

SHORT = {"steps": 128, "periodic_evals": 0, "eval_envs": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    train_here(out, run_config(bonus="rnd", bonus_settings={}, **SHORT))
    return the_run(out)


def evaluated(run):
    with open(run / "eval.csv", newline="") as handle:
        return {(row["split"], int(row["level"]), int(row["episode"])): row for row in csv.DictReader(handle)}


def assert_as_evaluated(run):
    rows, recordings = evaluated(run), read(run).episodes
    for document in recordings.values():
        row = rows[document["split"], document["level"], document["repeat"]]
        assert document["return"] == pytest.approx(float(row["return"]), abs=1e-4)
        assert document["length"] == int(row["length"])
    return recordings


def test_recorded_episodes_are_those_of_the_evaluation(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    paths = record_run(run, Quality(playable=2))
    recordings = assert_as_evaluated(run)
    assert {path.stem for path in paths} == {*recordings, "levels"}
    medians = {name for name, recording in recordings.items() if recording["rule"].startswith("median")}
    assert {name: set(kinds) for name, kinds in read(run).explanations.items()} == {
        name: {"saliency"} for name in medians
    }
    assert {recording["split"] for recording in recordings.values()} == {"train", "heldout"}
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.parent.name != "recordings"}
    assert after == before


@pytest.mark.slow
def test_recorded_episodes_of_coinrun_are_those_of_the_evaluation(tmp_path):
    pytest.importorskip("procgen")
    splits = ("train", "heldout", "no-backgrounds")
    train_here(tmp_path, run_config(suite="coinrun", env="coinrun-easy", splits=splits, **SHORT | {"eval_envs": 2}))
    record_run(the_run(tmp_path), Quality(playable=1))
    recordings = assert_as_evaluated(the_run(tmp_path))
    (median,) = (r for r in recordings.values() if "median" in r["rule"] and r["split"] == "train")
    assert "no-backgrounds" in {variant["name"] for variant in median["variants"]}
    assert len(median["action_names"]) == len(median["effects"]) == len(median["probabilities"][0]) == 15


def test_a_recording_holds_every_step(run):
    agent = load_agent(run)
    visits = Visits(np.array([1, 0]), np.array([0, 2]))
    episodes = play_episodes(agent.policy, agent.worlds["train"], visits)
    for episode in episodes:
        count = episode.length
        assert not episode.cut
        assert episode.total == sum(episode.rewards)
        assert len(episode.frames) == len(episode.actions) == len(episode.values) == count
        with torch.no_grad():
            obs = torch.from_numpy(np.stack(episode.frames)).movedim(-1, 1)
            output = agent.policy({"image": obs}, agent.policy.initial_state(count), torch.ones(count, dtype=bool))
        np.testing.assert_allclose(episode.values, output.value.numpy(), atol=1e-5)
        log_pi = agent.policy.distribution.parameters(output.action_outputs)
        np.testing.assert_allclose(torch.stack(episode.parameters).numpy(), log_pi.numpy(), atol=1e-5)


def test_steps_beyond_those_kept_are_played_and_not_shown(run):
    agent, visits = load_agent(run), Visits(np.array([1]), np.array([0]))
    (whole,), (short,) = (
        play_episodes(agent.policy, agent.worlds["train"], visits, kept_steps=count) for count in (1000, 2)
    )
    assert whole.length > 2
    assert (short.total, short.length, short.cut, whole.cut) == (whole.total, whole.length, True, False)
    assert short.values == whole.values[:2]


def test_a_known_outcome_is_not_played_again(run):
    agent, visits = load_agent(run), Visits(np.array([1, 2]), np.array([0, 0]))
    steps, known = [], (np.array([70.0, 80.0]), np.array([12.0, 2.0]))
    long, done = play_episodes(
        agent.policy,
        agent.worlds["train"],
        visits,
        kept_steps=3,
        outcomes=known,
        watch=lambda active, ended: steps.append(active),
    )
    assert steps == [2, 2, 2]
    assert (long.total, long.length, long.cut) == (70.0, 12, True)
    assert (done.length, done.cut) == (3, False)  # it says of itself what was played


def test_the_bonus_is_that_of_the_checkpoint_scaled_as_in_training(run):
    config, agent = read_config(run), load_agent(run)
    visits = Visits(np.array([0, 2]), np.array([0, 1]))
    episode = play_episodes(agent.policy, agent.worlds["train"], visits, bonus=load_bonus(run, config))[1]
    *_, (bonus,) = load_trained_bonuses(run, asdict(config))
    scale = checkpoint.read(run / "checkpoint" / "train")[1]["bonus_scale/rnd"]["module"]["variance"].sqrt()
    following = torch.from_numpy(np.stack(episode.frames[1:])).movedim(-1, 1)
    count = len(following)
    with torch.no_grad():
        bonus.moments.update(bonus.inputs.to_float(following))
        raw = bonus.score(Transitions(following, torch.zeros(count).long(), following, torch.arange(count)))
    np.testing.assert_allclose(episode.bonus[:-1], bonus.coefficient * raw / scale, rtol=1e-4)
    assert min(episode.bonus[:-1]) > 0 == episode.bonus[-1]


def tell_apart(policy, frame):
    """Make action 0 the likeliest on ``frame``, action 1 with red and blue swapped."""
    both = torch.from_numpy(np.stack([frame, frame[..., ::-1]])).movedim(-1, 1)
    with torch.no_grad():
        plain, swapped = policy.encode({"image": both})[0]
        layer, direction = policy.action_net, plain - swapped
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[0], layer.bias[0] = direction, -direction @ (plain + swapped) / 2


def test_variants_show_the_same_states_and_where_the_effect_differs(run):
    agent = load_agent(run)
    worlds = {name: agent.worlds[name] for name in ("train", "swapped")}
    visits = Visits(np.array([0, 2]), np.array([0, 1]))
    tell_apart(agent.policy, play_episodes(agent.policy, worlds["train"], visits)[0].frames[0])
    episodes = play_episodes(agent.policy, worlds["train"], visits, variants={"swapped": worlds["swapped"]})
    for episode in episodes:
        frames, differs = episode.variants["swapped"]
        np.testing.assert_array_equal(np.stack(frames)[:, 1:, 1:], np.stack(episode.frames)[:, 1:, 1:, ::-1])
        modes = []
        for pictures in (episode.frames, frames):
            obs = torch.from_numpy(np.stack(pictures)).movedim(-1, 1)
            with torch.no_grad():
                output = agent.policy({"image": obs}, (), torch.ones(len(obs), dtype=torch.bool))
            modes.append(output.action_outputs.argmax(1))
        assert differs == (modes[0] != modes[1]).tolist()
    assert any(any(episode.variants["swapped"][1]) for episode in episodes)


def test_sheets_of_a_run_hold_the_frames(run):
    record_run(run)
    document = read(run).episodes["train-0-0"]
    agent = load_agent(run)
    (episode,) = play_episodes(agent.policy, agent.worlds["train"], Visits(np.array([0]), np.array([0])))
    data = [(run / store.FOLDER / name).read_bytes() for name in document["sheets"]]
    back = sheets.decode(data, document["frames"], (document["height"], document["width"]))
    lossless = document["made_from"]["quality"] is None
    assert np.abs(back.astype(int) - np.stack(episode.frames)).max() <= (0 if lossless else 40)
    assert document["actions"] == np.stack(episode.actions).tolist()
    assert document["values"] == [round(value, 4) for value in episode.values]


def test_the_browser_has_a_row_and_a_picture_for_each_level(run):
    record_run(run, Quality(playable=1, thumbnails=None))
    document, rows = read(run).levels, evaluated(run)
    for split in document["splits"]:
        for row in split["levels"]:
            values = [float(r["return"]) for key, r in rows.items() if key[:2] == (split["split"], row["level"])]
            assert row["return"] == pytest.approx(np.mean(values), abs=1e-4)
            assert row["success"] == np.mean(np.array(values) > 0)
            assert row["episodes"] == len(values)
        data = [(run / store.FOLDER / split["sheet"]).read_bytes()]
        frames = sheets.decode(data, len(split["levels"]), (document["height"], document["width"]))
        agent = load_agent(run)
        level = split["levels"][1]["level"]
        (episode,) = play_episodes(agent.policy, agent.worlds[split["split"]], Visits(np.array([level]), np.array([0])))
        np.testing.assert_array_equal(frames[1][1:, 1:], episode.frames[0][1:, 1:])
    playable = [row["recording"] for row in document["splits"][0]["levels"]]
    assert playable[0] == "train-0-0"
    assert {name for name in playable if name} <= set(read(run).episodes)


def test_recordings_are_used_again_until_the_run_changes(run):
    record_run(run)
    names = {path: path.stat().st_mtime_ns for path in (run / store.FOLDER).iterdir()}
    record_run(run)
    assert {path: path.stat().st_mtime_ns for path in (run / store.FOLDER).iterdir()} == names
    (run / store.FOLDER / read(run).episodes["train-0-0"]["sheets"][0]).unlink()
    assert "train-0-0" not in read(run).episodes
    record_run(run)
    assert "train-0-0" in read(run).episodes
    whole = (run / "eval.csv").read_bytes()
    (run / "eval.csv").write_bytes(whole + b"\n")
    assert read(run).episodes == {}
    assert read(run).levels is None
    (run / "eval.csv").write_bytes(whole)
    assert read(run).episodes


def test_a_damaged_recording_is_made_again(run):
    record_run(run)
    for text in ("", "[]", "{}", json.dumps({"format": 1})):
        (run / store.FOLDER / "train-0-0.json").write_text(text)
        assert "train-0-0" not in read(run).episodes
    record_run(run)
    assert "train-0-0" in read(run).episodes


def test_a_run_without_named_episodes_is_refused(tmp_path):
    unfinished = make_run(tmp_path, "cnn", 0, finished=False)
    with pytest.raises(UsageError, match="has no final evaluation"):
        record_run(unfinished)
    with pytest.raises(UsageError, match="named no levels"):
        record_run(make_run(tmp_path, "cnn", 1, old=True))
