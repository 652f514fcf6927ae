"""Trained agents read back for use: from runs, kept policies and checkpoints, in any number of environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from agents.a2c import A2C
from agents.description import describe_space, read_space
from agents.policy import Policy
from agents.ppo import PPO
from agents.runs.final import episode_rows
from agents.runs.load import load_agent
from agents.runs.splits import evaluate_split
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.suites import build as build_suite
from envs.wrappers.sb3 import Sb3VecEnv
from representations.cnn import Cnn
from tests.agents.runs.tools import run_config, train_here
from tests.agents.test_saving import SaveAt
from tests.agents.tools import build, make_env, weights

SHORT = {"steps": 128, "periodic_evals": 0, "kept_policies": 2}
GRU = {"memory": "gru", "memory_size": 5, "memory_steps": 8, "n_steps": 32}
RUNS = {
    "cnn": {},
    "memory": {"algo": "a2c", "algo_settings": GRU},
    "frozen": {"repr": "random"},
    "skills": {"bonus": "diayn", "bonus_settings": {"diayn": {"skills": 3}}},
}


@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_an_agent_of_a_run_acts_in_any_number_of_envs(tmp_path, options):
    config = run_config(**SHORT, **options)
    trained = train_here(tmp_path, config)
    agent = load_agent(tmp_path)
    assert torch.equal(weights(trained), weights(agent))
    assert set(agent.worlds) == {*config.splits, "validation"}
    assert agent.make_env(1, "heldout").num_envs == 1
    mean, _ = evaluate_policy(agent, agent.make_env(5, "heldout"), 5, deterministic=False)
    assert mean >= 0
    # The same episodes as the run's own final evaluation.
    again = evaluate_split(config, build_task(config), agent.policy, "train", config.eval_envs)
    rows = (agent.path / "eval.csv").read_text().splitlines()[1:]
    expected = [",".join(map(str, row.values())) for row in episode_rows("train", config.env, again)]
    assert rows[: len(expected)] == expected


def build_task(config):
    from agents.runs.build import find_task

    return find_task(config)


def test_a_kept_policy_is_the_policy_of_its_time(tmp_path):
    train_here(tmp_path, run_config(**{**SHORT, "steps": 256}))
    final = load_agent(tmp_path)
    first, last = (load_agent(final.path / "policies" / f"{k}-of-2.safetensors") for k in (1, 2))
    assert torch.equal(weights(final), weights(last))
    assert not torch.equal(weights(final), weights(first))
    with pytest.raises(UsageError, match=r"kept policy .*3-of-2.safetensors cannot be read"):
        load_agent(final.path / "policies" / "3-of-2.safetensors")


def test_folders_with_several_runs_or_none_are_told(tmp_path):
    for seed in (1, 2):
        train_here(tmp_path, run_config(**SHORT, seed=seed))
    with pytest.raises(UsageError, match=r"holds 2 runs; name one, as .*/runs/<id>: counting-cnn"):
        load_agent(tmp_path)
    with pytest.raises(UsageError, match="no checkpoint in"):
        load_agent(tmp_path / "nowhere")
    first, second = sorted((tmp_path / "runs").iterdir())
    (second / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config.json cannot be read .*; name the folder of a whole run"):
        load_agent(second)
    agent = load_agent(first)
    with pytest.raises(UsageError, match="has no split 'dark'; it has: train, heldout, swapped, validation"):
        agent.make_env(1, "dark")


@pytest.mark.parametrize("cls", [PPO, A2C])
def test_what_save_wrote_is_loaded_by_its_path_alone(tmp_path, cls):
    (task,) = build_suite("counting", 3)
    env = Sb3VecEnv(task.source.stacked(2).make(4, 0))
    settings = {"n_steps": 6, "memory": "gru", "memory_size": 5, "memory_steps": 3}
    saved = cls(
        env, Cnn(EnvSpec.of(env, frames=2)), cls.Config(**settings, **({"minibatches": 2} if cls is PPO else {}))
    )
    saved.learn(24, callback=SaveAt(tmp_path, 16))  # in the middle of its only rollout
    start = load_agent(tmp_path)
    saved.save(tmp_path)
    agent = load_agent(tmp_path)
    assert not torch.equal(weights(start), weights(agent))
    assert torch.equal(weights(saved), weights(agent))
    single = agent.make_env(1)
    assert single.observation_space == env.observation_space
    obs = env.reset()
    one, state = agent.predict(obs[2], deterministic=True)
    assert one == saved.predict(obs, deterministic=True)[0][2]
    assert state[0].shape == (1, 5)
    evaluate_policy(agent, single, 2)


def test_saved_agents_that_need_their_parts_say_so(tmp_path):
    agent = build()
    agent.save(tmp_path)
    with pytest.raises(UsageError, match=r"give its representation: load_agent\(path, representation=\.\.\.\)"):
        load_agent(tmp_path)  # Tiny takes no Config
    fresh = build()
    loaded = load_agent(tmp_path, representation=fresh.representation)
    assert torch.equal(weights(agent), weights(loaded))
    evaluate_policy(loaded, make_env(1), 2)
    with pytest.raises(UsageError, match="an environment of your own; make it yourself"):
        loaded.make_env()
    for refused in (lambda: agent.policy.save("x"), lambda: Policy.load("x"), lambda: PPO.load("x")):
        with pytest.raises(UsageError, match="load_agent"):
            refused()


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Box(0, 255, (3, 40, 48), np.uint8),
        gym.spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([1.0, 2.0], np.float32)),
        gym.spaces.Discrete(5, start=-2),
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.MultiBinary(4),
        gym.spaces.MultiBinary((2, 3)),
        gym.spaces.Dict({"image": gym.spaces.Box(0, 1, (2, 2), np.float32), "goal": gym.spaces.Discrete(3)}),
    ],
    ids=str,
)
def test_spaces_come_back_from_plain_data(space):
    assert read_space(describe_space(space)) == space
