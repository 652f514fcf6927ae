"""Rollout and the shared update: numbers worked out by hand, and off means bit-identical."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy

from agents import checkpoint
from agents.a2c import A2C
from agents.on_policy import Means
from agents.parallel.distributed import Ranks
from agents.ppo import PPO
from envs.registry import UsageError
from envs.rng_streams import Streams
from tests.agents.bonuses import Constant, Novelty, Skilled
from tests.agents.conftest import PLAIN, SMALL, N, rl_gradient, weights


def test_the_compiler_gets_the_batches_of_rollout_and_update(build, compiled):
    agents = build(kind="plain"), build(kind="plain", compiled=True)
    for agent in agents:
        agent.learn(2 * 6 * N)
    # Rows: acting N = 3, a minibatch 6 * 3 / 3 = 6 in micro-batches of 4 and 2, of which 4 is compiled. Acting is
    # without gradients, the update with them.
    assert sorted(compiled) == [3, 4]
    assert torch.equal(*map(weights, agents))


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_micro_batches_add_up_to_the_minibatch(build, size):
    agent = build(config={"micro_batch": size, **PLAIN})
    agent.train = lambda: None
    agent.learn(6 * N)
    indices = torch.randperm(6 * N, generator=torch.Generator().manual_seed(0))[:11]
    gradients = {}
    for micro in (size, 11):
        agent.micro_batch = micro
        gradients[micro] = torch.cat([gradient.flatten() for gradient in rl_gradient(agent, indices)])
    assert gradients[11].abs().max() > 1e-3
    torch.testing.assert_close(gradients[size], gradients[11], rtol=1e-4, atol=1e-6)


def test_the_two_gradients_are_clipped_apart(build):
    agent = build(kind="autoencoder", config={"max_grad_norm": 0.01, "epochs": 1, "minibatches": 1, "aux_coef": 0.5})
    seen = []
    step = agent.policy.optimizer.step
    agent.policy.optimizer.step = lambda: (seen.append([p.grad.clone() for p in agent.policy.trainable()]), step())
    agent.learn(6 * N)
    by_name = dict(zip([n for n, p in agent.policy.named_parameters() if p.requires_grad], seen[0], strict=True))
    norm = lambda names: float(torch.cat([by_name[n].flatten() for n in names]).norm())  # noqa: E731
    decoder = [n for n in by_name if "decoder" in n]
    heads = [n for n in by_name if "_net" in n]
    # The decoder has the auxiliary gradient alone: at most 0.5 * 0.01. The heads have the RL gradient alone: under one
    # joint clip, the auxiliary one being thousands of times larger, they would keep next to nothing.
    assert agent.metrics["gradient/auxiliary_norm"] > 10 > agent.metrics["gradient/rl_norm"] > 0.01
    assert 0.001 < norm(decoder) <= 0.005001
    assert 0.001 < norm(heads) <= 0.010001
    assert norm(by_name) <= 0.015001


def test_the_step_is_the_sum_of_the_two_clipped_gradients(build):
    config = {"max_grad_norm": 0.01, "epochs": 1, "minibatches": 1, "micro_batch": 100, **PLAIN}
    agent = build(kind="autoencoder", config={**config, "aux_coef": 0.5})
    agent.train = lambda: None
    agent.learn(6 * N)
    parameters, indices, parts = agent.policy.trainable(), torch.arange(6 * N), []
    agent.streams["auxiliary"].manual_seed(0)
    for found in agent._gradients((agent._rl_losses(indices), agent._own_losses(indices)), Means()):
        gradient = torch.cat(
            [(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(parameters, found, strict=True)]
        )
        parts.append(gradient * 0.01 / gradient.norm())  # both are longer than 0.01
    agent.streams["auxiliary"].manual_seed(0)
    agent.policy.optimizer.step = lambda: None
    agent._update(indices, Means())
    stepped = torch.cat([p.grad.flatten() for p in parameters])
    torch.testing.assert_close(stepped, parts[0] + 0.5 * parts[1], rtol=1e-3, atol=1e-7)


def test_gradients_of_sums_can_be_clipped_in_place(build):
    """Of a plain sum, autograd gives one number that looks like many."""
    agent = build()
    (gradient,) = agent._gradients(([lambda _: agent.policy.action_net.weight.sum()] * 3,), Means())
    found = [each for each in gradient if each is not None]
    assert len(found) == 1
    assert torch.equal(found[0].mul_(2), torch.full_like(agent.policy.action_net.weight, 6.0))


def test_ranks_share_the_windows_of_the_own_loss(build):
    agent, asked = build(kind="autoencoder", config={"window_streams": 5}), []
    agent.representation.window = 8
    agent.representation.auxiliary = lambda history, streams, *_: (asked.append(streams), (torch.tensor(6.0), {}))[1]
    for count in (1, 2):
        agent.ranks = Ranks(count=count)
        (loss,) = agent._own_losses(torch.arange(6 * N))
        asked.append(float(loss(Means())))
    assert asked == [5, 6.0, 3, 3.0]


def test_the_own_loss_acts_in_mode_online_only(build):
    moved = {}
    for mode in ("online", "finetune", "frozen"):
        agent = build(kind="autoencoder", mode=mode)
        before = {n: p.detach().clone() for n, p in agent.representation.named_parameters()}
        agent.learn(2 * 6 * N)
        moved[mode] = {n for n, p in agent.representation.named_parameters() if not torch.equal(p, before[n])}
        assert ("loss/auxiliary" in agent.metrics) == (mode == "online")
        assert agent.representation.steps == (0 if mode == "frozen" else 2 * 3 * 3)
    encoder = {"net.1.weight", "net.1.bias"}
    assert moved == {"online": encoder | {"decoder.weight", "decoder.bias"}, "finetune": encoder, "frozen": set()}


def test_an_auxiliary_coefficient_of_zero_is_bit_identical_to_finetuning(build):
    zero, tuned = build(kind="autoencoder", config={"aux_coef": 0.0}), build(kind="autoencoder", mode="finetune")
    for agent in (zero, tuned):
        agent.learn(2 * 6 * N)
    assert torch.equal(weights(zero), weights(tuned))


def test_windows_come_from_history_once_it_is_long_enough(build):
    agent = build(kind="autoencoder", config={"window_streams": 5})
    agent.representation.window = 8
    agent._setup_model()
    shapes, loss = [], agent.representation.loss
    agent.representation.loss = lambda steps, *rest: (shapes.append(steps.shape), loss(steps, *rest))[1]
    agent.learn(6 * N)
    assert shapes == []  # 6 steps are fewer than 8
    agent.learn(6 * N, reset_num_timesteps=False)
    assert shapes == [(8, 5)] * 9  # one batch for each of 3 epochs x 3 minibatches


@pytest.mark.parametrize("mode", ["online", "finetune", "frozen"])
def test_every_trainable_parameter_has_exactly_one_optimizer(build, mode):
    agent = build(kind="autoencoder", mode=mode, bonuses=(Constant(),))
    optimizers = [agent.policy.optimizer, agent.bonuses["constant"].optimizer]
    owned = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    trainable = [id(p) for m in (agent.policy, *agent.bonuses.values()) for p in m.parameters() if p.requires_grad]
    assert sorted(owned) == sorted(trainable)
    assert len(set(owned)) == len(owned)
    assert any(id(p) in owned for p in agent.representation.parameters()) == (mode != "frozen")


def test_a_frozen_representation_sees_each_frame_once(build):
    agent = build(kind="tiny", mode="frozen")
    agent.learn(4 * 6 * N)
    # 4 rollouts of 6 steps and the one frame after the last; no truncation is bootstrapped.
    assert agent.representation.encoded == (4 * 6 + 1) * N
    assert set(agent.history._raw) == {"features"}


def test_a_frozen_state_runs_on_through_rollouts_and_is_reset_by_first(build):
    agent = build(kind="averaging", mode="frozen", config={**PLAIN}, bonuses=(Novelty(),))
    agent.train = lambda: None
    agent.learn(2 * 6 * N)
    steps = agent.history.rollout()
    x = agent.representation.net(steps.obs["image"].flatten(0, 1).float() / 255).detach().view(6, N, 6)
    for t in range(1, 6):
        carried = torch.where(steps.first[t].unsqueeze(1), 0.0, steps.obs["features"][t - 1])
        torch.testing.assert_close(steps.obs["features"][t], carried / 2 + x[t])


def test_named_streams_do_not_disturb_each_other(build):
    plain, watched = build(), build()
    plain.learn(3 * 6 * N)
    watched.predict(watched.env.reset())
    Streams(0)["policy"].seed()
    watched.streams["auxiliary"].seed()
    watched.env.reset()
    torch.manual_seed(99)
    watched.env = plain_env(watched)
    watched.learn(3 * 6 * N)
    assert torch.equal(weights(plain), weights(watched))


def plain_env(agent):
    return type(agent.env)(type(agent.env.vector_env)(N, size=8, episode_length=3, seed=1))


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
    ],
    ids=["ppo", "a2c", "auxiliary and bonus", "frozen with state", "frozen with bonus", "windows", "bonus head"],
)
def test_a_restored_agent_goes_on_bit_for_bit(build, tmp_path, options):
    options = dict(options)
    window = options.pop("window", 1)
    bonus = options.pop("bonuses", False)

    def make():
        agent = build(bonuses=(Constant(), Novelty(), Skilled()) if bonus else (), **options)
        if window > 1:
            agent.representation.window = window
            agent._setup_model()
        return agent

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
    states = [checkpoint.state_of(part) for agent in (whole, second) for part in agent.components().values()]
    assert len(states) == 2 * len(whole.components())


def test_an_environment_without_state_is_reset_after_restoring(build, tmp_path):
    agents = [build(), build()]
    for agent in agents:
        agent.env.vector_env.exact_state = False
    agents[0].learn(6 * N)
    assert "env" not in agents[0].components()
    agents[0].save(tmp_path)
    agents[1].restore(tmp_path)
    agents[1].learn(6 * N, reset_num_timesteps=False)
    assert agents[1].history.rollout().first[0].all()


def test_stable_baselines3s_own_tools_work(build, world):
    agent = build()
    evaluation = EvalCallback(world(2, seed=5), eval_freq=6, n_eval_episodes=4, verbose=0, deterministic=False)
    agent.learn(12 * N, callback=evaluation)
    assert evaluation.evaluations_timesteps == [] or evaluation.last_mean_reward >= 0
    assert evaluation.n_calls == 12
    mean, std = evaluate_policy(agent, world(2), n_eval_episodes=5)
    assert 0 <= mean <= 6
    assert std >= 0
    seen = []
    agent.learn(6 * N, callback=lambda scope, _: seen.append((scope["dones"].shape, len(scope["infos"]))) or True)
    assert seen == [((N,), N)] * 6


def test_learning_anew_forgets_the_streams_that_a_reset_broke_off(build):
    agent = build(kind="averaging", mode="frozen")
    agent.learn(2 * 6 * N)
    agent.learn(6 * N)  # resets the environment
    steps = agent.history.rollout()
    assert steps.first[0].all()
    net, image = agent.representation.net, torch.from_numpy(plain_env_after_resets(agent))
    torch.testing.assert_close(steps.obs["features"][0], net(image.float() / 255).detach())


def plain_env_after_resets(agent):
    """First frames that the second reset showed, 12 steps after the first."""
    env = plain_env(agent)
    env.reset()
    for _ in range(12):
        env.step(np.zeros(N, dtype=np.int64))
    return env.reset()


def test_a_callback_stops_within_a_rollout_and_learning_goes_on(build):
    agent = build()
    agent.learn(6 * N, callback=lambda scope, _: False)
    assert agent.num_timesteps == N
    agent.learn(6 * N)
    assert agent.history.length == 6


def test_mistakes_are_named(build, world, representation):
    with pytest.raises(UsageError, match="do not divide into 4 minibatches"):
        build(config={"minibatches": 4})
    with pytest.raises(UsageError, match="two bonuses of one class"):
        build(bonuses=(Constant(), Constant()))
    with pytest.raises(UsageError, match="has no mode 'thawed'"):
        build(mode="thawed")
    with pytest.raises(UsageError, match="restore"):
        PPO.load("x")
    with pytest.raises(UsageError, match="each show the policy a skill; give one"):
        build(bonuses=(Skilled(), type("Other", (Skilled,), {})()))
    with pytest.raises(UsageError, match="extrinsic=-1"):
        build(config={"extrinsic": -1.0})
    with pytest.raises(UsageError, match="bonus_gamma=2"):
        build(config={"bonus_gamma": 2.0})
    env = world(N)
    env.action_space = gym.spaces.MultiDiscrete([2, 2])
    with pytest.raises(UsageError, match="Discrete"):
        PPO(env, representation(env), PPO.Config(**SMALL))


def test_features_that_have_collapsed_are_told_once(build):
    agent = build(mode="frozen", kind="autoencoder")
    with torch.no_grad():
        agent.representation.net[1].weight.zero_()
        agent.representation.net[1].bias.fill_(0.5)
    # tanh(0.5) = 0.4621 in every feature of every frame
    with pytest.warns(RuntimeWarning) as told:
        agent.learn(3 * 6 * N)
    (warning,) = told
    assert str(warning.message).startswith(
        "autoencoder: features have collapsed after 18 frames: their standard deviation over frames is 0, their size "
        "0.46;"
    )


def test_features_that_differ_are_not_told(build):
    agent = build()
    agent.learn(2 * 6 * N)  # any warning is an error
    assert agent.metrics["representation/feature_std"] > 1e-3 * agent.metrics["representation/feature_size"]
    assert not agent._collapsed


def test_a_later_collapse_is_told_with_its_frame_count(build):
    agent = build(mode="frozen", kind="autoencoder")
    agent.learn(6 * N)
    with torch.no_grad():
        agent.representation.net[1].weight.zero_()
    # The next rollout begins with features seen before: they still differ. The one after that, at 54, is all alike.
    with pytest.warns(RuntimeWarning, match="after 54 frames"):
        agent.learn(2 * 6 * N, reset_num_timesteps=False)


def test_an_update_encodes_from_the_state_that_each_step_was_acted_from(build):
    # One minibatch of the whole rollout, no step taken yet: the policy of the update is the one that acted, so its KL
    # to that is 0. Features add up over an episode; from an empty state they would be others.
    agent = build(kind="averaging", mode="online", config={**PLAIN, "epochs": 1, "minibatches": 1})
    agent.learn(2 * 6 * N)
    assert agent.states[0].shape == (6, N, 6)
    assert agent.states[0].abs().sum() > 0
    assert agent.metrics["train/approx_kl"] == pytest.approx(0, abs=1e-9)
