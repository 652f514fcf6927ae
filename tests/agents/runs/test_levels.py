"""Levels of a run: which are read when, kept policies, other seeds' sets, and the whole costs."""

import csv
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from agents.runs import crossed, final, source
from agents.runs.crossed import play_other_sets
from agents.runs.evaluate import Episodes
from agents.runs.final import append_validation, evaluate_splits, periodic_evaluation, validation_summary
from agents.runs.kept_policies import load_policy, policy_file
from agents.runs.load import load_policy_of
from agents.runs.run_dir import RunDir, open_experiment, write_rows
from agents.runs.source import commit
from agents.runs.splits import evaluate_split, played_levels
from benchmarks.reporting.runs import read
from envs.counting import CountingVectorEnv
from envs.level_sets import HELDOUT, VALIDATION, LevelRange, training_levels
from envs.suites import build
from envs.tasks import World
from tests.agents.runs.tools import Interrupted, Killed, run_config, the_run, train_here

DRAWN = training_levels("counting", 1, 3)


def rows(path):
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


class Stages(Interrupted):
    """A progress display that knows the newest stage."""

    name = "begin"


def test_held_out_levels_are_read_after_training_alone(tmp_path, monkeypatch):
    progress, played = Stages(), []
    begin = CountingVectorEnv._begin

    def recording(env, levels):
        played.extend((progress.name, int(level)) for level in env.level[levels])
        begin(env, levels)

    monkeypatch.setattr(CountingVectorEnv, "_begin", recording)
    train_here(tmp_path, run_config("darla", level_set=str(DRAWN), periodic_evals=2, kept_policies=2), progress)
    before = {level for stage, level in played if stage in ("begin", "pretrain", "train")}
    after = {level for stage, level in played if stage not in ("begin", "pretrain", "train")}
    assert before & set(DRAWN.first(3))
    # the level after an env's last visit is drawn from the same range, and nothing is done on it
    assert VALIDATION.start in before
    assert all(level in VALIDATION for level in before - set(DRAWN.first(3)))
    assert {HELDOUT.start, HELDOUT.start + 1} <= after  # eval_envs is 2
    assert all(level in HELDOUT for level in after - set(DRAWN.first(3)))
    facts = json.loads((the_run(tmp_path) / "source.json").read_text())
    assert facts["held_out_read_at"] == 512
    assert "continued_after_evaluation" not in facts


def test_levels_count_equally_and_variants_share_their_starts(tmp_path):
    train_here(tmp_path, run_config(level_set=str(DRAWN), eval_envs=7, greedy=True))
    episodes = rows(the_run(tmp_path) / "eval.csv")
    sampled = [row for row in episodes if row["actions"] == "sampled"]
    visits = {
        split: [(int(row["level"]), int(row["episode"])) for row in sampled if row["split"] == split]
        for split in ("train", "heldout", "swapped")
    }
    # 3 rounds of 3 levels are the fewest that give 7 episodes
    expected = [(DRAWN.start + level, repeat) for repeat in range(3) for level in range(3)]
    assert visits["train"] == visits["swapped"] == expected
    assert visits["heldout"] == [(HELDOUT.start + level, 0) for level in range(7)]
    greedy = [(row["split"], int(row["level"])) for row in episodes if row["actions"] == "greedy"]
    assert greedy.count(("train", DRAWN.start)) == 1
    assert len(greedy) == 3 + 7 + 3


def test_a_run_trained_after_its_evaluation_says_so(tmp_path, monkeypatch):
    config = run_config(level_set=str(DRAWN))
    monkeypatch.setattr(source, "commit", lambda: "aaa")
    train_here(tmp_path, config)
    run = the_run(tmp_path)
    (run / "done").unlink()  # killed during its evaluation: nothing is trained any more
    train_here(tmp_path, config)
    assert "continued_after_evaluation" not in json.loads((run / "source.json").read_text())
    (run / "done").unlink()
    shutil.rmtree(run / "checkpoint")
    monkeypatch.setattr(source, "commit", lambda: "bbb")
    train_here(tmp_path, config)
    facts = json.loads((run / "source.json").read_text())
    assert facts["continued_after_evaluation"] is True
    assert [start["commit"] for start in facts["starts"]] == ["aaa", "aaa", "bbb"]
    assert read(run).commits == "aaa bbb"


def test_the_published_set_is_tested_on_levels_drawn_from_all():
    config = run_config(level_set="0+3")
    heldout = build("counting", 3)[0].targets["heldout"]
    drawn = played_levels(config, heldout, 50)
    assert len(set(drawn)) == 50
    assert all(0 <= level < 2**31 - 1 for level in drawn)
    assert 0.35 < np.mean(np.array(drawn) > 2**30) < 0.65  # 50 draws: 0.5 +- 2 x 0.07
    assert played_levels(config, heldout, 20) == drawn[:20]
    assert played_levels(replace(config, level_set=str(DRAWN)), heldout, 5) == HELDOUT.first(5)
    assert played_levels(config, build("counting", 3)[0].source, 5) == range(3)


def test_kept_policies_are_those_of_their_moment(tmp_path):
    agent = train_here(tmp_path, run_config(level_set=str(DRAWN), kept_policies=4, periodic_envs=3))
    run = the_run(tmp_path)
    assert sorted(path.name for path in (run / "policies").iterdir()) == [f"{i}-of-4.safetensors" for i in (1, 2, 3, 4)]
    table = rows(run / "matched.csv")
    # 3 training levels in half a, and in half b 3 of each split: (1 + 3) x 3 episodes of 4 policies
    assert len(table) == 48
    halves = {
        half: {(row["level"], row["episode"]) for row in table if row["split"] == "train" and row["half"] == half}
        for half in "ab"
    }
    assert len(halves["a"]) == len(halves["b"]) == 3
    assert not halves["a"] & halves["b"]
    assert {row["fraction"] for row in table} == {"0.25", "0.5", "0.75", "1.0"}
    # the last policy is the final one, and it is still the agent's
    task, policy = load_policy_of(run, run_config(level_set=str(DRAWN), kept_policies=4, periodic_envs=3))
    for name, value in policy.state_dict().items():
        torch.testing.assert_close(agent.policy.state_dict()[name], value, rtol=0, atol=0)
    config = run_config(level_set=str(DRAWN), periodic_envs=3)
    again = evaluate_split(config, task, policy, "train", 3)
    last = [float(row["return"]) for row in table if row["fraction"] == "1.0" and row["half"] == "a"]
    assert again.returns.tolist() == last
    first = [float(row["return"]) for row in table if row["fraction"] == "0.25" and row["half"] == "a"]
    assert first != last


def test_a_finished_agent_plays_the_other_seeds_sets(tmp_path):
    config = run_config(level_set=str(DRAWN))
    others = [replace(config, seed=seed, level_set=str(training_levels("counting", seed, 3))) for seed in (1, 4, 2)]
    train_here(tmp_path, config)
    run = the_run(tmp_path)
    assert play_other_sets(run, config, others)
    table = rows(run / "crossed.csv")
    assert [row["seed"] for row in table] == ["2"] * 66 + ["4"] * 66  # 22 rounds of 3 levels give 64
    assert all(int(row["level"]) in LevelRange.parse(row["level_set"]) for row in table)
    assert all(int(row["level"]) not in DRAWN for row in table)
    # an agent's return on its own set is that of its evaluation
    task, policy = load_policy_of(run, config)
    own = evaluate_split(config, task, policy, "train", config.eval_envs)
    measured = [float(row["return"]) for row in rows(run / "eval.csv") if row["split"] == "train"]
    assert own.returns.tolist() == measured
    assert not play_other_sets(run, config, others)  # all is there
    assert {row["commit"] for row in table} == {commit()}
    # a file that an earlier version made for fewer seeds is completed, and what it holds is kept
    kept = [{name: value for name, value in row.items() if name != "commit"} for row in table if row["seed"] == "4"]
    write_rows(run / "crossed.csv", [{**row, "length": "77"} for row in kept])
    assert play_other_sets(run, config, others)
    completed = rows(run / "crossed.csv")
    assert completed[:66] == table[:66]
    assert completed[66:] == [{**row, "length": "77", "commit": ""} for row in kept]
    assert not play_other_sets(run, config, [config])  # nobody else


def test_an_environment_without_levels_has_no_other_sets(tmp_path, monkeypatch):
    # runs planned before name drawn sets that nothing was trained on
    config, other = (run_config(seed=seed, level_set=str(training_levels("counting", seed, 3))) for seed in (1, 2))
    monkeypatch.setattr(crossed, "find_task", lambda config: SimpleNamespace(source=World("gymnasium", {})))
    assert not play_other_sets(tmp_path, config, [config, other])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("repr", "steps"), [("cnn", 0), ("vae", None)])
def test_costs_and_the_best_validation_are_recorded(repr, steps, tmp_path):
    from representations.collect import collection_steps

    train_here(tmp_path, run_config(repr, level_set=str(DRAWN), periodic_evals=4))
    facts = json.loads((the_run(tmp_path) / "source.json").read_text())
    assert facts["env_steps"] == {"pretrain": collection_steps(32) if steps is None else steps, "train": 512}
    assert facts["final_validation"]["step"] == 512
    assert facts["best_validation"]["return"] >= facts["final_validation"]["return"]


def test_validation_episodes_are_those_behind_the_recorded_means(tmp_path):
    config = run_config(level_set=str(DRAWN), periodic_evals=4, periodic_envs=5)
    train_here(tmp_path / "whole", config)
    table = rows(the_run(tmp_path / "whole") / "validation.csv")
    assert [int(row["level"]) for row in table] == list(range(VALIDATION.start, VALIDATION.start + 5)) * 4
    records = [json.loads(line) for line in (the_run(tmp_path / "whole") / "metrics.jsonl").read_text().splitlines()]
    recorded = {r["global_step"]: r["eval/validation/return"] for r in records if "eval/validation/return" in r}
    assert list(recorded) == [128, 256, 384, 512]
    for step, value in recorded.items():
        assert np.mean([float(row["return"]) for row in table if int(row["step"]) == step]) == value
    # killed after the evaluation at 384, it goes on from the checkpoint at 256
    with pytest.raises(Killed):
        train_here(tmp_path / "killed", config, Interrupted("train", 384))
    train_here(tmp_path / "killed", config)
    assert rows(the_run(tmp_path / "killed") / "validation.csv") == table


def test_an_evaluation_drops_those_of_its_step_and_later(tmp_path):
    run = RunDir(open_experiment(tmp_path), run_config())
    episodes = lambda value: Episodes(*(np.array([v]) for v in (7, 0, value, 3)))  # noqa: E731
    for step, value in ((100, 1.0), (200, 2.0), (300, 3.0), (200, 4.0)):
        append_validation(run, step, episodes(value))
    run.close()
    assert [(row["step"], row["level"], row["return"]) for row in rows(run.path / "validation.csv")] == [
        ("100", "7", "1.0"),
        ("200", "7", "4.0"),
    ]


RETURNS = {"train": [9.0, 5.0], "validation": [4.0, 2.0], "heldout": [1.0, 3.0], "swapped": [8.0, 10.0]}
"""Means 7, 3, 2, 9."""


@pytest.fixture
def context(tmp_path, monkeypatch):
    """A run's context, and episodes by hand in place of its evaluations."""

    def evaluate_split(config, task, policy, split, episodes, **options):
        numbers = np.arange(2)
        return Episodes(numbers, 0 * numbers, np.array(RETURNS[split]), numbers + 1)

    monkeypatch.setattr(final, "evaluate_split", evaluate_split)
    config, task = run_config(), build("counting", 3)[0]
    run = RunDir(open_experiment(tmp_path), config)
    clock = SimpleNamespace(measure=lambda stage: nullcontext())
    watch = lambda done, split, grace=0.0: None  # noqa: E731
    yield SimpleNamespace(config=config, task=task, run=run, clock=clock, progress=Interrupted(), watch=watch)
    run.close()


def test_gaps_are_training_return_minus_the_others(context):
    agent = SimpleNamespace(policy=None, num_timesteps=512)
    record = periodic_evaluation(context, agent, 128)
    assert record == {"eval/train/return": 7.0, "eval/validation/return": 3.0, "eval/gap": 4.0}
    assert [row["return"] for row in rows(context.run.path / "validation.csv")] == ["4.0", "2.0"]
    _, record = evaluate_splits(context, agent)
    assert (record["final/train/return"], record["final/heldout/return"], record["final/swapped/return"]) == (7, 2, 9)
    assert (record["final/gap/heldout"], record["final/gap/swapped"]) == (5.0, -2.0)


def test_the_best_validation_is_the_first_of_the_highest():
    values = [(10, 1.0), (20, 3.0), (30, 3.0), (40, 2.0)]
    records = [{"global_step": step, "eval/validation/return": value} for step, value in values]
    summary = validation_summary([{"global_step": 5}, *records])
    assert summary == {"best_validation": {"step": 20, "return": 3.0}, "final_validation": {"step": 40, "return": 2.0}}
    assert validation_summary([{"global_step": 5}]) == {}


def test_a_run_takes_the_threads_that_it_was_begun_with(tmp_path, capsys):
    config = run_config(level_set=str(DRAWN))
    threads = torch.get_num_threads()
    with pytest.raises(Killed):
        train_here(tmp_path, config, Interrupted("train", 384))
    torch.set_num_threads(threads + 1)
    try:
        train_here(tmp_path, config)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(threads)
    assert f"was begun with {threads} threads" in capsys.readouterr().out


def test_a_kept_policy_of_another_network_is_refused(tmp_path):
    config = run_config(level_set=str(DRAWN), kept_policies=1)
    agent = train_here(tmp_path, config)
    path = policy_file(the_run(tmp_path), 1, 1)
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    save_file({name: value for name, value in load_file(path).items() if name != "action_net.weight"}, path)
    with pytest.raises(RuntimeError, match=r"action_net\.weight"):
        load_policy(path, agent.policy)
    save_file({name: (value + 1).contiguous() for name, value in before.items()}, path)
    load_policy(path, agent.policy)
    assert torch.equal(agent.policy.state_dict()["value_net.bias"], before["value_net.bias"] + 1)
