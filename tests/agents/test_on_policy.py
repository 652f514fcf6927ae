"""The algorithm: streams, checkpoints, callbacks, refusals, and stable-baselines3's own tools."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy

from agents.a2c import A2C
from agents.ppo import PPO
from envs.registry import UsageError
from envs.rng_streams import Streams
from tests.agents.tools import Constant, N, Novelty, Skilled, build, make_env, weights

GRU = {"memory": "gru", "memory_size": 5, "memory_steps": 3}


def test_the_compiler_gets_the_batches_of_rollout_and_update(compiled):
    agents = build(kind="plain"), build(kind="plain", compiled=True)
    for agent in agents:
        agent.learn(2 * 6 * N)
    # Rows: acting N = 3, a minibatch 6 * 3 / 3 = 6 in micro-batches of 4 and 2, of which 4 is compiled. Acting is
    # without gradients, the update with them.
    assert sorted(compiled) == [3, 4]
    assert torch.equal(*map(weights, agents))


@pytest.mark.parametrize("mode", ["online", "finetune", "frozen"])
def test_every_trainable_parameter_has_exactly_one_optimizer(mode):
    agent = build(kind="autoencoder", mode=mode, bonuses=(Constant(),))
    optimizers = [agent.policy.optimizer, agent.bonuses["constant"].optimizer]
    owned = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    trainable = [id(p) for m in (agent.policy, *agent.bonuses.values()) for p in m.parameters() if p.requires_grad]
    assert sorted(owned) == sorted(trainable)
    assert len(set(owned)) == len(owned)
    assert any(id(p) in owned for p in agent.representation.parameters()) == (mode != "frozen")


def test_named_streams_do_not_disturb_each_other():
    plain, watched = build(), build()
    plain.learn(3 * 6 * N)
    watched.predict(watched.env.reset())
    Streams(0)["policy"].seed()
    watched.streams["auxiliary"].seed()
    watched.env.reset()
    torch.manual_seed(99)
    watched.env = make_env()
    watched.learn(3 * 6 * N)
    assert torch.equal(weights(plain), weights(watched))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cls": A2C},
        {"kind": "autoencoder", "bonuses": True},
        {"kind": "averaging", "mode": "frozen"},
        {"mode": "frozen", "bonuses": True},
        {"kind": "autoencoder", "window": 8},
        {"kind": "averaging", "mode": "frozen", "bonuses": True, "config": {"bonus_head": True, "bonus_once": True}},
        {"kind": "autoencoder", "config": GRU},
        {"kind": "averaging", "mode": "frozen", "bonuses": True, "config": GRU},
        {"cls": A2C, "kind": "averaging", "mode": "online", "config": GRU},
    ],
    ids=[
        *("ppo", "a2c", "auxiliary and bonus", "frozen with state", "frozen with bonus", "windows", "bonus head"),
        *("memory", "frozen with memory", "a2c with memory"),
    ],
)
def test_a_restored_agent_goes_on_bit_for_bit(tmp_path, monkeypatch, options):
    options = dict(options)
    monkeypatch.setattr("tests.agents.tools.Autoencoder.window", options.pop("window", 1))
    bonus = options.pop("bonuses", False)

    def make():
        return build(bonuses=(Constant(), Novelty(), Skilled()) if bonus else (), **options)

    whole, first, second = make(), make(), make()
    whole.learn(5 * 6 * N)
    first.learn(2 * 6 * N)
    first.save(tmp_path)
    second.learn(3 * 6 * N)  # what is not restored would show
    second.restore(tmp_path)
    assert second.policy.generator is second.streams["evaluation"]
    second.learn(3 * 6 * N, reset_num_timesteps=False)
    assert second.num_timesteps == whole.num_timesteps == 5 * 6 * N
    assert torch.equal(weights(whole), weights(second))
    assert [e["r"] for e in whole.ep_info_buffer] == [e["r"] for e in second.ep_info_buffer]
    assert whole.metrics == pytest.approx(second.metrics, nan_ok=True, rel=0)
    assert whole.reward_pipeline.first_reward == second.reward_pipeline.first_reward > 0


def test_an_environment_without_state_is_reset_after_restoring(tmp_path):
    agents = [build(), build()]
    for agent in agents:
        agent.env.vector_env.exact_state = False
    agents[0].learn(6 * N)
    assert "env" not in agents[0].components()
    agents[0].save(tmp_path)
    agents[1].restore(tmp_path)
    agents[1].learn(6 * N, reset_num_timesteps=False)
    assert agents[1].history.rollout().first[0].all()


def test_stable_baselines3s_own_tools_work():
    agent = build()
    evaluation = EvalCallback(make_env(2, seed=5), eval_freq=6, n_eval_episodes=4, verbose=0, deterministic=False)
    agent.learn(12 * N, callback=evaluation)
    assert evaluation.evaluations_timesteps == [] or evaluation.last_mean_reward >= 0
    assert evaluation.n_calls == 12
    mean, std = evaluate_policy(agent, make_env(2), n_eval_episodes=5)
    assert 0 <= mean <= 6
    assert std >= 0
    sizes = []
    agent.learn(6 * N, callback=lambda scope, _: sizes.append((scope["dones"].shape, len(scope["infos"]))) or True)
    assert sizes == [((N,), N)] * 6


def test_learning_anew_forgets_the_streams_that_a_reset_broke_off():
    agent = build(kind="averaging", mode="frozen")
    agent.learn(2 * 6 * N)
    agent.learn(6 * N)  # resets the environment
    steps = agent.history.rollout()
    assert steps.first[0].all()
    net, image = agent.representation.net, torch.from_numpy(frames_after_a_second_reset())
    torch.testing.assert_close(steps.obs["features"][0], net(image.float() / 255).detach())


def frames_after_a_second_reset():
    """First frames of a reset 12 steps after the first."""
    env = make_env()
    env.reset()
    for _ in range(12):
        env.step(np.zeros(N, dtype=np.int64))
    return env.reset()


def test_a_callback_stops_within_a_rollout_and_learning_goes_on():
    whole, agent = build(), build()
    whole.learn(3 * 6 * N)
    agent.learn(6 * N, callback=lambda scope, _: False)
    assert agent.num_timesteps == N
    agent.learn(3 * 6 * N - N, reset_num_timesteps=False)
    assert agent.num_timesteps == 3 * 6 * N
    assert torch.equal(weights(whole), weights(agent))


def test_an_exception_within_a_step_begins_new_episodes():
    agent = build()
    agent.learn(6 * N)
    step, agent.env.vector_env.step = agent.env.vector_env.step, lambda actions: 1 / 0
    with pytest.raises(ZeroDivisionError):
        agent.learn(6 * N, reset_num_timesteps=False)
    agent.env.vector_env.step = step
    assert agent.components()["position"].state_dict()["last_obs"] is None
    agent.learn(6 * N, reset_num_timesteps=False)
    assert agent.num_timesteps == 2 * 6 * N
    assert agent.history.rollout().first[0].all()


def test_an_exception_between_steps_and_targets_begins_new_episodes():
    agent = build()
    agent.learn(6 * N)
    earlier = agent.targets
    compute, agent.reward_pipeline.compute = agent.reward_pipeline.compute, lambda *arguments: 1 / 0
    with pytest.raises(ZeroDivisionError):
        agent.learn(6 * N, reset_num_timesteps=False)
    agent.reward_pipeline.compute = compute
    agent.learn(6 * N, reset_num_timesteps=False)  # with targets of its own, not those of the first rollout
    assert agent.num_timesteps == 3 * 6 * N
    assert agent.history.rollout().first[0].all()
    assert agent.targets is not earlier


def test_mistakes_are_named():
    with pytest.raises(UsageError, match="do not divide into 4 minibatches"):
        build(config={"minibatches": 4})
    with pytest.raises(UsageError, match="two bonuses of one class"):
        build(bonuses=(Constant(), Constant()))
    with pytest.raises(UsageError, match="has no mode 'thawed'"):
        build(mode="thawed")
    with pytest.raises(UsageError, match="restore"):
        PPO.load("x")
    with pytest.raises(UsageError, match="each give the policy a skill; give one"):
        build(bonuses=(Skilled(), type("Other", (Skilled,), {})()))
    with pytest.raises(UsageError, match="extrinsic=-1"):
        build(config={"extrinsic": -1.0})
    with pytest.raises(UsageError, match="bonus_gamma=2"):
        build(config={"bonus_gamma": 2.0})
    env = make_env()
    env.action_space = gym.spaces.Box(-np.inf, np.inf, (2,))
    with pytest.raises(UsageError, match="its bounds must be finite"):
        build(env=env)


def test_collapsed_features_warn_once():
    agent = build(mode="frozen", kind="autoencoder")
    with torch.no_grad():
        agent.representation.net[1].weight.zero_()
        agent.representation.net[1].bias.fill_(0.5)
    # tanh(0.5) = 0.4621 in every feature of every frame
    with pytest.warns(RuntimeWarning) as warned:
        agent.learn(3 * 6 * N)
    (warning,) = warned
    assert str(warning.message).startswith(
        "autoencoder: features have collapsed after 18 frames: their standard deviation over frames is 0, their size "
        "0.46;"
    )


def test_features_that_differ_do_not_warn():
    agent = build()
    agent.learn(2 * 6 * N)  # any warning is an error
    assert agent.metrics["representation/feature_std"] > 1e-3 * agent.metrics["representation/feature_size"]


def test_a_later_collapse_warns_with_its_frame_count():
    agent = build(mode="frozen", kind="autoencoder")
    agent.learn(6 * N)
    with torch.no_grad():
        agent.representation.net[1].weight.zero_()
    # The next rollout begins with features encoded before: they still differ. The one after, at 54, is all alike.
    with pytest.warns(RuntimeWarning, match="after 54 frames"):
        agent.learn(2 * 6 * N, reset_num_timesteps=False)
