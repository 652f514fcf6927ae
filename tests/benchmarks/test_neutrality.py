"""Hashes of a run directory made by hand: what changes them, and what does not; the comparison of two tables."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import neutrality
from benchmarks.neutrality import (
    COLUMNS,
    Case,
    behaviour,
    cases,
    compare,
    hash_episodes,
    hash_records,
    hash_runs,
    hash_weights,
)

TENSORS = {
    "policy.module.net.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
    "policy.module.net.bias": torch.zeros(2),
    "bonus/rnd.module.target": torch.ones(3),
    "policy.optimizer.step": torch.tensor(7.0),
}
RECORDS = [
    {"global_step": 0, "train/loss": 0.5, "time/fps": 100.0},
    {"global_step": 64, "train/loss": 0.25, "train/return": 1.0, "time/fps": 90.0},
]
EPISODES = [("train", 3, 10.0, 30), ("heldout", 1000000, 0.0, 12)]


def make(folder, tensors=TENSORS, records=RECORDS, episodes=EPISODES):
    """A run directory with one checkpoint, its records and its evaluation episodes."""
    (folder / "checkpoint" / "train").mkdir(parents=True)
    save_file(tensors, folder / "checkpoint" / "train" / "00000064.safetensors")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    with open(folder / "eval.csv", "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["split", "level", "return", "length"])
        writer.writerows(episodes)
    return folder


def hashes(run):
    return hash_weights(run), hash_records(run), hash_episodes(run)


def test_a_changed_weight_changes_the_hash_of_weights_alone(tmp_path):
    before = hashes(make(tmp_path / "a"))
    other = {**TENSORS, "policy.module.net.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0000005]])}
    after = hashes(make(tmp_path / "b", tensors=other))
    assert after[0] != before[0]
    assert after[1:] == before[1:]


@pytest.mark.parametrize("key", ["bonus/rnd.module.target", "policy.module.net.bias"])
def test_shape_and_type_of_a_tensor_count(key, tmp_path):
    before = hash_weights(make(tmp_path / "a"))
    reshaped = hash_weights(make(tmp_path / "b", {**TENSORS, key: TENSORS[key].unsqueeze(0)}))
    halved = hash_weights(make(tmp_path / "c", {**TENSORS, key: TENSORS[key].half()}))
    assert len({before, reshaped, halved}) == 3


def test_names_of_modules_and_state_of_the_optimizer_do_not_count(tmp_path):
    before = hash_weights(make(tmp_path / "a"))
    renamed = {key.replace("net", "trunk.body"): tensor for key, tensor in TENSORS.items()}
    assert hash_weights(make(tmp_path / "b", renamed)) == before
    assert hash_weights(make(tmp_path / "c", {**TENSORS, "policy.optimizer.step": torch.tensor(8.0)})) == before


def test_the_newest_checkpoint_counts(tmp_path):
    run = make(tmp_path / "a")
    before = hash_weights(run)
    save_file({"policy.module.x": torch.ones(1)}, run / "checkpoint" / "train" / "00000128.safetensors")
    assert hash_weights(run) != before


@pytest.mark.parametrize(("key", "value"), [("train/loss", 0.25000001), ("global_step", 65)])
def test_a_changed_value_changes_the_hash_of_records_alone(key, value, tmp_path):
    before = hashes(make(tmp_path / "a"))
    after = hashes(make(tmp_path / "b", records=[RECORDS[0], {**RECORDS[1], key: value}]))
    assert after[1] != before[1]
    assert (after[0], after[2]) == (before[0], before[2])


def test_names_of_metrics_their_order_and_times_do_not_count(tmp_path):
    before = hash_records(make(tmp_path / "a"))
    renamed = [
        {"time/fps": 1.0, "loss/policy": 0.5, "global_step": 0},
        {"train/reward": 1.0, "global_step": 64, "loss/policy": 0.25, "time/update": 2.0},
    ]
    assert hash_records(make(tmp_path / "b", records=renamed)) == before
    assert hash_records(make(tmp_path / "c", records=RECORDS[::-1])) != before


@pytest.mark.parametrize("episode", [("train", 4, 10.0, 30), ("train", 3, 9.0, 30), ("train", 3, 10.0, 31)])
def test_a_changed_episode_changes_the_hash_of_episodes_alone(episode, tmp_path):
    before = hashes(make(tmp_path / "a"))
    after = hashes(make(tmp_path / "b", episodes=[episode, EPISODES[1]]))
    assert after[2] != before[2]
    assert after[:2] == before[:2]


def test_a_case_for_an_auxiliary_loss_must_show_one(tmp_path):
    case, run = Case("unreal", "", auxiliary=True), make(tmp_path / "a")
    with pytest.raises(RuntimeError, match="unreal: no record of an auxiliary loss"):
        hash_runs(case, [run])
    helped = make(tmp_path / "b", records=[*RECORDS, {"global_step": 128, "auxiliary/pixel_control": 0.5}])
    assert hash_runs(case, [helped])["weights"] == hash_weights(run)
    assert all(case.auxiliary for case in cases() if case.name.startswith(("unreal/", "drac/", "killed/unreal")))


def test_a_case_of_several_runs_has_one_hash_in_any_order(tmp_path):
    one, other = make(tmp_path / "a"), make(tmp_path / "b", records=RECORDS[:1])
    both = hash_runs(Case("mixed", "", runs=2), [one, other])
    assert both == hash_runs(Case("mixed", "", runs=2), [other, one])
    alone = hash_runs(Case("mixed", ""), [one])
    assert alone == dict(zip(neutrality.HASHES, hashes(one), strict=True))
    assert both["records"] not in (hash_records(one), hash_records(other))
    with pytest.raises(RuntimeError, match="mixed: 1 runs where 2 were expected"):
        hash_runs(Case("mixed", "", runs=2), [one])


def row(case, weights="w", records="r", episodes="e"):
    return {"case": case, "weights": weights, "records": records, "episodes": episodes, "arguments": ""}


def test_differences_are_named_and_cases_of_one_side_left_out():
    before = [row("a"), row("b"), row("gone")]
    now = [row("a", records="x", episodes="y"), row("b"), row("new", weights="z")]
    assert compare(now, before) == ["a: records r -> x", "a: episodes e -> y"]
    assert compare([row("b")], before) == []


def test_a_behaviour_is_one_hash_of_all_three():
    assert behaviour(row("a")) == behaviour(row("other name"))
    assert len({behaviour(row("a", **{name: "x"})) for name in neutrality.HASHES} | {behaviour(row("a"))}) == 4


def test_every_case_has_a_name_of_its_own():
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names)
    assert {"darla/ppo", "bonus/icm", "suite/breakout", "killed/icm"} <= set(names)


@pytest.fixture
def fake_runs(monkeypatch):
    """Cases a, b and ab that are not run: each hash is the case's name."""
    monkeypatch.setattr(neutrality, "cases", lambda: iter([Case(name, "") for name in ("a", "b", "ab")]))
    monkeypatch.setattr(neutrality, "run_case", lambda case, folder: row(case.name, weights=case.name))


def test_the_command_writes_chosen_cases_and_compares_them(tmp_path, capsys, fake_runs):
    out = tmp_path / "hashes.csv"
    assert neutrality.main(["--only", "a", "--out", str(out), "--jobs", "1"]) == 0
    lines = out.read_text().splitlines()
    assert lines == [",".join(COLUMNS), "a,a,r,e,", "ab,ab,r,e,"]
    assert neutrality.main(["--against", str(out)]) == 0
    text = capsys.readouterr().out
    assert "3 cases, no difference" in text
    assert f"not in {out}, so not compared: b\n" in text
    out.write_text(out.read_text().replace("a,a,", "a,changed,", 1))
    assert neutrality.main(["--against", str(out), "--only", "a", "b"]) == 1
    assert "a: weights changed -> a" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "zzz"], "--only zzz: no such case; known: a, b, ab"),
        (["--jobs", "0"], "--jobs 0"),
        (["--against", "nowhere.csv"], "--against nowhere.csv: no such file"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys, fake_runs):
    assert neutrality.main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
