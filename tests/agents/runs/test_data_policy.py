"""Frames of a policy: how it acts, which run it is, what it costs, and the rows that start from it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from agents.runs import data_policy
from agents.runs import source as source_module
from agents.runs import train as train_module
from agents.runs.build import build_parts
from agents.runs.data_policy import EpsilonGreedy, data_policy_config, load_data_policy, named_run
from agents.runs.load import load_policy_of
from agents.runs.train import policy_facts
from agents.runs.validate import PartsStore
from envs.registry import UsageError
from envs.rng_streams import stream_seed
from representations.collect import ACTION, NUM_ENVS, DataCoverage, collect, collection_steps
from tests.agents.runs.tools import run_config, the_run, train_here

CNN = run_config("cnn")
SHORT = {"steps": 256, "num_envs": 4, "algo_settings": CNN.algo_settings, "repr_settings": CNN.repr_settings}


def mixed(name="vae", suite="counting", **changes):
    changes = {"pretrain_data": "mixed", "data_policy": SHORT, "level_set": "5+3", "steps": 256, **changes}
    return run_config(name, suite=suite, **changes)


def source(out):
    return json.loads((the_run(out) / "source.json").read_text())


def test_the_policy_is_trained_once_and_charged_to_every_row(tmp_path, monkeypatch):
    cache, trained = tmp_path / "fits", []
    whole = train_module.train

    def counted(parts, *args, **kwargs):
        trained.append(parts.config.repr)
        return whole(parts, *args, **kwargs)

    monkeypatch.setattr(train_module, "train", counted)
    for out, config in (("vae", mixed()), ("random", mixed("random")), ("again", mixed(mode="finetune"))):
        train_here(tmp_path / out, config, cache=cache)
    assert trained == ["cnn"]  # train_here calls the function that it imported
    (policy,) = cache.glob("policies/*/runs/*")
    cost = json.loads((policy / "source.json").read_text())
    seconds = cost["pretrain_seconds"] + cost["train_seconds"]
    # 32 frames: 16 held random, 16 by the policy; a round of 32 environments each, whose first frames cost no step
    gathered = collection_steps(32, num_sources=2)
    for out in ("vae", "random", "again"):
        facts = source(tmp_path / out)
        assert facts["env_steps"]["pretrain"] == gathered + 256
        assert facts["pretrain_seconds"] > seconds
        assert facts["data_policy"]["env_steps"] == 256
    assert source(tmp_path / "again")["pretrain_seconds"] == source(tmp_path / "vae")["pretrain_seconds"]


def test_the_short_policy_is_a_ppo_on_the_levels_of_pretraining():
    config = mixed(algo="a2c", bonus="rnd:1", pretrain_levels="3000000+40", mode="frozen", kept_policies=3, seed=4)
    short = data_policy_config(config)
    assert (short.repr, short.algo, short.bonus, short.mode, short.seed) == ("cnn", "ppo", "none", "online", 4)
    assert (short.level_set, short.train_levels, short.steps) == ("3000000+40", 40, 256)
    assert (short.pretrain_data, short.kept_policies, short.splits) == ("random", 0, ("train",))
    assert data_policy_config(replace(config, pretrain_levels="")).level_set == "5+3"


def test_actions_are_the_policys_but_for_three_in_ten(tmp_path):
    train_here(tmp_path, run_config("cnn", steps=128))
    _, policy = load_policy_of(the_run(tmp_path), run_config("cnn", steps=128))
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.copy_(torch.tensor([0.0, 0.0, 99.0, 0.0]))  # always action 2 of 4
    world = build_parts(run_config()).task.source
    envs = world.make(NUM_ENVS, 0)
    observation, _ = envs.reset(seed=0)
    behaviour = EpsilonGreedy(policy, envs, 0)
    first = np.ones(NUM_ENVS, bool)
    actions = np.concatenate([behaviour.act(observation, first) for _ in range(60)])
    # 0.7 + 0.3 / 4 = 0.775; standard error over 1920 draws 0.0095
    assert np.mean(actions == 2) == pytest.approx(0.775, abs=0.03)
    assert np.bincount(actions, minlength=4).min() > 0.05 * len(actions)
    frames = collect((world,), 64, 3, behaviours=(lambda envs, seed: EpsilonGreedy(policy, envs, seed),))["image"]
    again = collect((world,), 64, 3, behaviours=(lambda envs, seed: EpsilonGreedy(policy, envs, seed),))["image"]
    assert torch.equal(frames, again)


def test_a_policy_of_stacked_frames_sees_its_own_stack(tmp_path):
    config = run_config("cnn", suite="breakout", steps=128, window=8)
    train_here(tmp_path, config)
    task, policy = load_policy_of(the_run(tmp_path), config)
    envs = task.source.make(NUM_ENVS, 0)
    observation, _ = envs.reset(seed=0)
    behaviour = EpsilonGreedy(policy, envs, 0)
    images = [np.full_like(observation, value) for value in (1, 2, 3)]
    behaviour.act(images[0], np.ones(NUM_ENVS, bool))
    behaviour.act(images[1], np.zeros(NUM_ENVS, bool))
    opens = np.arange(NUM_ENVS) == 5
    behaviour.act(images[2], opens)
    # four frames of three channels, oldest first; a frame that opens an episode stands for those before it
    assert behaviour.stack[0, 0, 0, ::3].tolist() == [1, 1, 2, 3]
    assert behaviour.stack[5, 0, 0, ::3].tolist() == [3, 3, 3, 3]


def test_rows_that_start_from_the_policy_have_its_weights(tmp_path):
    cache = tmp_path / "fits"
    frozen = train_here(tmp_path / "frozen", mixed("policy_cnn"), cache=cache)
    (run,) = cache.glob("policies/*/runs/*")
    given = load_data_policy(run, "cpu")
    kept = frozen.policy.representation.inner.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in given.encoder.items())
    assert bool(frozen.policy.representation.centre.any())
    start = mixed("cnn", start_from_policy=True, steps=128)
    still = replace(start, algo_settings={**start.algo_settings, "learning_rate": 1e-30})
    agent = train_here(tmp_path / "start", still, cache=cache)
    now = agent.policy.state_dict()
    assert all(torch.allclose(value, now[name], atol=1e-20) for name, value in given.policy.state_dict().items())
    assert source(tmp_path / "start")["env_steps"] == {"pretrain": 256, "train": 128}


def test_a_named_run_must_be_finished_and_of_the_task(tmp_path):
    with pytest.raises(UsageError, match="no finished run there"):
        train_here(tmp_path / "a", mixed(pretrain_data="policy:/nowhere"))
    train_here(tmp_path / "breakout", run_config("cnn", suite="breakout", steps=128, window=8))
    run = the_run(tmp_path / "breakout")
    with pytest.raises(UsageError, match="that run plays breakout, and this one counting"):
        train_here(tmp_path / "b", mixed(pretrain_data=f"policy:{run}"))


def test_a_policy_of_other_code_is_trained_again(tmp_path, monkeypatch):
    cache, runs = tmp_path / "fits", []
    for out, commit, code in (("one", "aaa", "1"), ("two", "bbb", "2"), ("three", "ccc", "2")):
        monkeypatch.setattr(source_module, "commit", lambda commit=commit: commit)
        monkeypatch.setattr(train_module, "code_hash", lambda names, code=code: code)
        train_here(tmp_path / out, mixed(), cache=cache)
        runs.append(source(tmp_path / out)["data_policy"])
    assert [facts["commit"] for facts in runs] == ["aaa", "bbb", "bbb"]
    assert runs[0]["run"] != runs[1]["run"] == runs[2]["run"]
    facts = policy_facts(data_policy_config(mixed()), "cpu")
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    monkeypatch.setattr(train_module, "processor", lambda: "another")
    other = policy_facts(data_policy_config(mixed()), "cpu")
    assert {name for name in facts if facts[name] != other[name]} == {"threads", "processor"}


def test_a_named_run_is_of_the_same_seed_and_levels(tmp_path):
    finished = run_config("cnn", level_set="5+3", steps=128)
    train_here(tmp_path / "done", finished)
    run, data = the_run(tmp_path / "done"), f"policy:{tmp_path / 'done'}"
    assert named_run(mixed(pretrain_data=f"policy:{run}")) == named_run(mixed(pretrain_data=data)) == run
    # a policy of the levels of pre-training serves, too
    assert named_run(mixed(pretrain_data=data, level_set="900+3", pretrain_levels="5+3")) == run
    for changes in ({"seed": 7}, {"level_set": "900+3"}):
        with pytest.raises(
            UsageError, match=r"seed 1 and training levels 5\+3, and this one seed . and .*\+3, so seeds"
        ):
            named_run(mixed(pretrain_data=f"policy:{run}", **changes))
        with pytest.raises(UsageError, match=r"holds 0 finished runs of counting with seed"):
            named_run(mixed(pretrain_data=data, **changes))
    train_here(tmp_path / "done", replace(finished, steps=256))
    with pytest.raises(UsageError, match=r"holds 2 finished runs of counting with seed 1"):
        named_run(mixed(pretrain_data=data))


def test_weights_of_an_evaluated_run_are_marked(tmp_path):
    train_here(tmp_path / "done", run_config("cnn", level_set="5+3", steps=128))
    data = f"policy:{the_run(tmp_path / 'done')}"
    marks = {}
    for out, config in (
        ("start", mixed("cnn", start_from_policy=True, steps=128, pretrain_data=data)),
        ("encoder", mixed("policy_cnn", steps=128, pretrain_data=data)),
        ("frames", mixed("vae", steps=128, pretrain_data=data)),  # it gathers frames and gives no weights
        ("short", mixed("cnn", start_from_policy=True, steps=128)),  # of a policy that was never evaluated
    ):
        train_here(tmp_path / out, config)
        marks[out] = source(tmp_path / out).get("continued_after_evaluation", False)
    assert marks == {"start": True, "encoder": True, "frames": False, "short": False}


def test_a_policy_that_reads_its_last_step_needs_frames_with_it(tmp_path):
    train_here(tmp_path / "a", run_config("cnn", steps=128, level_set="5+3", last_step=True))
    config = mixed(pretrain_data=f"policy:{the_run(tmp_path / 'a')}")
    reads = "that run's policy reads last_action, last_reward, which this one's environment does not give: "
    with pytest.raises(UsageError, match=f"{reads}add --last-step, or name a run that sees what this one does"):
        PartsStore().validate([config])
    assert PartsStore().validate([replace(config, last_step=True)]) == {}


class AlwaysTwo:
    """Behaviour in place of a policy's."""

    def __init__(self, policy, envs, seed):
        self.num_envs = envs.num_envs

    def act(self, observation, first):
        return np.full(self.num_envs, 2)


@pytest.mark.parametrize(("data", "held"), [("random", 40), ("mixed", 20), ("policy:/a/run", 0)])
def test_half_of_mixed_frames_are_of_held_random_actions(data, held, monkeypatch):
    monkeypatch.setattr(data_policy, "EpsilonGreedy", AlwaysTwo)
    config = mixed(pretrain_data=data)
    world = build_parts(run_config()).task.source
    makers = data_policy.behaviours(config, SimpleNamespace(policy=None))
    actions = collect((world,), 40 * 9, 3, window=9, behaviours=makers)[ACTION][:, :-1]
    # 40 windows of 9 steps; the action after a window's last frame is not held
    assert bool((actions[held:] == 2).all())
    # 8 actions of each of 20 or 40 windows: each of the four comes, a quarter of the time
    assert held == 0 or torch.bincount(actions[:held].flatten(), minlength=4).min() > 0.1 * 8 * held
    assert data_policy.num_behaviours(config) == len(makers)


@pytest.mark.parametrize(
    ("suite", "env", "factor", "name", "summary"),
    [
        ("breakout", "breakout", "bricks", "bricks_left", lambda x: x.sum(1).mean()),
        ("sprites", "sprites", "agent", "cells", lambda x: len(np.unique(x, axis=0))),
        ("rooms", "rooms", "agent", "cells", lambda x: len(np.unique(np.floor(4 * x), axis=0))),
        pytest.param("coinrun", "coinrun-easy", "agent_x", "column_median", np.median, marks=pytest.mark.procgen),
    ],
)
def test_a_run_s_record_says_how_far_its_frames_reached(suite, env, factor, name, summary, tmp_path, capsys):
    config = run_config("random", suite=suite, env=env, steps=128, window=8)
    train_here(tmp_path, config)
    records = [json.loads(line) for line in (the_run(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    (reached,) = (record for record in records if f"data/{name}" in record)
    # 32 frames of 32 environments: the moment after the reset
    world, seed = build_parts(config).task.source, stream_seed(config.seed, "pretraining frames")
    moments = collect((world,), 32, seed, also=lambda envs: {factor: envs.factors()[factor]})
    wanted = summary(np.asarray(moments[factor], float).reshape(32, -1))
    assert reached[f"data/{name}"] == pytest.approx(wanted)
    assert f"{name} {wanted:.3g}" in capsys.readouterr().out


class Places:
    """Environment of two whose factors are set by hand."""

    num_envs = 2
    coverage_factors = {("x",): ("column", "position"), ("standing",): ("left", "left"), ("x", "y"): ("cells", "cells")}

    def __init__(self, x, y, standing):
        self.values = {"x": np.array(x), "y": np.array(y), "standing": np.array(standing)}

    def factors(self):
        return self.values


def test_coverage_of_the_data_is_by_hand():
    coverage = DataCoverage()
    coverage.add(Places([0.0, 4.0], [1.0, 1.0], [[True, True], [True, False]]))
    coverage.add(Places([0.2, 9.0], [1.0, 1.1], [[False, False], [True, False]]))
    # x: 0, 0.2, 4, 9: median 2.1. Standing: 2, 1, 0, 1. Quarter cells: (0, 4), (16, 4), (0, 4), (36, 4)
    assert coverage.metrics() == {
        "data/column_median": 2.1,
        "data/column_max": 9.0,
        "data/left": 1.0,
        "data/cells": 3.0,
    }
