"""Runs that go on where another ended, and evaluations added to finished ones."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace

import pytest
import torch

from agents import checkpoint
from agents.runs import added
from agents.runs.build import build_parts
from agents.runs.config import run_id
from agents.runs.continued import parent_of
from agents.runs.load import load_agent, load_policy_of
from agents.runs.validate import PartsStore
from benchmarks.evaluate import main as evaluate
from benchmarks.reporting.runs import load, score
from envs.level_sets import HELDOUT, LevelRange
from envs.registry import UsageError
from tests.agents.runs.tools import Interrupted, Killed, run_config, train_here
from tests.agents.tools import weights

SHORT = {"steps": 256, "periodic_evals": 1, "kept_policies": 2}


def source(run):
    return json.loads((run / "source.json").read_text())


def test_a_continued_run_ends_as_one_that_was_as_long_from_the_start(tmp_path, capsys):
    first = run_config(**SHORT)
    longer = replace(first, steps=512, continued=(256,))
    assert parent_of(longer) == first
    assert run_id(longer) != run_id(replace(longer, continued=()))
    with pytest.raises(UsageError, match=r"goes on from counting-cnn-.*, which is not finished in"):
        train_here(tmp_path, longer)
    train_here(tmp_path, first)
    with pytest.raises(Killed):
        train_here(tmp_path, longer, Interrupted("train", 384))
    continued = train_here(tmp_path, longer)
    whole = train_here(tmp_path / "whole", replace(first, steps=512))
    assert continued.num_timesteps == 512
    assert torch.equal(weights(whole), weights(continued))
    run = tmp_path / "runs" / run_id(longer)
    facts, parent = source(run), tmp_path / "runs" / run_id(first)
    assert facts["parent"] == {"run": parent.name, "steps": 256, "commit": source(parent)["commit"]}
    assert facts["continued_after_evaluation"] is True
    assert facts["env_steps"] == {"pretrain": 0, "train": 512}
    assert facts["train_seconds"] > source(parent)["train_seconds"]
    assert "continued_after_evaluation" not in source(parent)
    steps = [record["global_step"] for record in load(tmp_path)[0].metrics if "loss/policy" in record]
    assert sorted(set(steps)) in ([128, 256], [128, 256, 384, 512])
    lines = [json.loads(line)["global_step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines == [128, 256, 384, 512, 512]
    # Kept at halves: that of 256 frames is the parent's second, of its halves.
    assert (run / "policies" / "1-of-2.safetensors").read_bytes() == (
        parent / "policies" / "2-of-2.safetensors"
    ).read_bytes()
    rows = {row["steps"]: row["continued"] for row in score(load(tmp_path))}
    assert rows == {256: "", 512: "after evaluation"}


@pytest.mark.parametrize("options", [{}, {"repr": "random"}], ids=["online", "frozen and standardised"])
def test_a_run_begins_with_the_weights_of_another(tmp_path, options):
    theirs = run_config(**SHORT, **options)
    first = train_here(tmp_path / "first", theirs)
    path = next((tmp_path / "first" / "runs").iterdir())
    config = replace(theirs, init_from=str(tmp_path / "first"), steps=128, seed=1)
    PartsStore().validate([config])
    agent = train_here(tmp_path / "second", config)
    assert not torch.equal(weights(first), weights(agent))
    run = tmp_path / "second" / "runs" / run_id(config)
    facts, spent = source(run)["init_from"], sum(source(path)["env_steps"].values())
    assert (facts["run"], facts["env_steps"]) == (str(path), spent)
    assert source(run)["env_steps"] == {"pretrain": spent, "train": 128}
    assert source(run)["continued_after_evaluation"] is True
    assert "standardise/frames" not in (run / "metrics.jsonl").read_text()  # nothing was fitted
    if theirs.mode == "frozen":  # the encoder and its scale stay the other run's, which had another seed's weights
        encoders = first.representation.state_dict(), agent.representation.state_dict()
        assert all(torch.equal(encoders[0][name], encoders[1][name]) for name in encoders[0])
        assert not torch.equal(
            weights(build_parts(replace(config, seed=2)).representation), weights(first.representation)
        )


def test_the_first_policy_of_such_a_run_is_the_other_ones(tmp_path):
    theirs = run_config(**SHORT)
    first = train_here(tmp_path / "first", theirs)
    config = replace(
        theirs, init_from=str(tmp_path / "first"), algo_settings={**theirs.algo_settings, "learning_rate": 1e-12}
    )
    agent = train_here(tmp_path / "second", config)
    torch.testing.assert_close(weights(first), weights(agent), rtol=0, atol=1e-7)


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    train_here(tmp_path, run_config(**SHORT))
    run = next((tmp_path / "runs").iterdir())
    other = {"repr_settings": {**run_config().repr_settings, "trunk": "impala"}, "trunk": "impala"}
    gru = {**run_config().algo_settings, "memory": "gru"}
    refusals = {
        r"another network than cnn \(online\): its cnn \(online\) differs in ": run_config(**other),
        r"its memory is none; give the --repr": run_config(algo_settings=gru),
        r"that run sees .* and this one .*; name a run of equal spaces": run_config(last_step=True),
        r"no finished run there": run_config(init_from=str(tmp_path / "nowhere")),
        r"it holds 0 finished runs of cnn with seed 9": run_config(seed=9, init_from=str(tmp_path)),
    }
    for message, config in refusals.items():
        config = config if config.init_from else replace(config, init_from=str(run))
        with pytest.raises(UsageError, match=message):
            PartsStore().validate([config])


def test_added_evaluations_stay_apart_from_the_final_one(tmp_path, capsys):
    config = run_config(**SHORT, level_set="100000000+3")
    train_here(tmp_path, config)
    run = next((tmp_path / "runs").iterdir())
    final = (run / "eval.csv").read_bytes()
    before = score(load(tmp_path))
    assert evaluate([str(tmp_path), "--episodes", "5"]) == 0
    assert evaluate([str(run), "--split", "heldout", "--levels", "5000000+3", "--episodes", "2", "--greedy"]) == 0
    assert "5000000+3" in capsys.readouterr().out
    rows = added.read(run)
    assert (run / "eval.csv").read_bytes() == final
    assert score(load(tmp_path)) == before
    theirs = {(row["split"], row["level"], row["episode"]): row for row in csv.DictReader(final.decode().splitlines())}
    again = {(row["split"], row["level"], row["episode"]): row for row in rows if not row["levels"]}
    assert theirs.keys() < again.keys()  # the same visits are the same episodes
    assert all(again[visit]["return"] == row["return"] for visit, row in theirs.items())
    assert {int(level) for split, level, _ in again if split == "heldout"} == set(HELDOUT.first(5))
    greedy = [(row["level"], row["episode"]) for row in rows if row["actions"] == "greedy"]
    assert greedy == [("5000000", "0"), ("5000001", "0")]
    facts = source(run)["added_evaluations"]
    assert [(fact["split"], fact["levels"], fact["actions"]) for fact in facts][-1] == (
        "heldout",
        "5000000+3",
        "greedy",
    )
    assert len(facts) == len(config.splits) + 1
    assert evaluate([str(run), "--episodes", "5"]) == 0  # played again, rows are replaced
    assert len(added.read(run)) == len(rows)


def test_evaluations_that_cannot_be_made_are_refused(tmp_path, capsys):
    config = run_config(**SHORT)
    train_here(tmp_path, config)
    run = next((tmp_path / "runs").iterdir())
    task, policy = load_policy_of(run, config)
    with pytest.raises(UsageError, match="has no split 'dark'; it has: train, heldout, swapped, validation"):
        added.evaluate(config, task, policy, added.Wanted("dark", 2))
    nameless = replace(task, source=replace(task.source, options={}))
    with pytest.raises(UsageError, match="names no levels; leave --levels out"):
        added.evaluate(config, nameless, policy, added.Wanted("train", 2, LevelRange(5, 2)))
    assert evaluate([str(run), "--levels", "7"]) == 2
    assert evaluate([str(run), "--episodes", "0"]) == 2
    assert evaluate([str(tmp_path / "nowhere")]) == 2
    (run / "done").unlink()
    assert evaluate([str(run)]) == 2
    assert "is not finished; bring it to its end with the command that began it" in capsys.readouterr().err


def test_runs_of_before_these_options_keep_their_names():
    config = run_config()
    assert run_id(replace(config, continued=(), init_from="")) == run_id(config)
    old = {name: value for name, value in asdict(config).items() if name not in ("continued", "init_from")}
    assert run_id(type(config)(**old)) == run_id(config)


def test_the_newest_checkpoint_of_a_run_restores_its_agent(tmp_path):
    trained = train_here(tmp_path, run_config(**SHORT))
    run = next((tmp_path / "runs").iterdir())
    assert checkpoint.read(run / "checkpoint" / "train")[0] == 256
    again = train_here(tmp_path / "other", run_config(**{**SHORT, "steps": 128}))
    again.restore(run)
    assert torch.equal(weights(trained), weights(again))
    assert again.num_timesteps == 256
    assert run_id(load_agent(run).config) == run.name
