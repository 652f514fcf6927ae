"""Rollout, bonuses, advantages and the shared update: numbers worked out by hand, and off means bit-identical."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnvWrapper
from torch import nn

from agents import checkpoint
from agents.a2c import A2C
from agents.on_policy import Means
from agents.paying import gae
from agents.ppo import PPO
from envs.registry import UsageError
from envs.streams import Streams
from intrinsic.base import IntrinsicBonus

N = 3
PLAIN = {"normalise_reward": False, "timeout_is_terminal": False}
SMALL = {"n_steps": 6, "minibatches": 3, "micro_batch": 4}


SPACE = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (3, 8, 8), np.uint8)})


class Constant(IntrinsicBonus):
    """Pays ``amount`` everywhere; learns a number by its own Adam."""

    def __init__(self, amount: float = 1.0, coefficient: float = 1.0):
        super().__init__(SPACE, 4)
        self.amount, self.coefficient = amount, coefficient
        self.weight = nn.Parameter(torch.zeros(()))
        self.optimizer = torch.optim.Adam([self.weight], 0.1)

    def score(self, batch):
        return torch.full(batch.action.shape, self.amount)

    def learn(self, batch, generator):
        error = (self.weight - torch.rand((), generator=generator) - batch.now.float().mean() / 255) ** 2
        self.optimizer.zero_grad()
        error.backward()
        self.optimizer.step()
        return {"error": error.detach()}


class Novelty(IntrinsicBonus):
    """Mean red of the next frame where it is known."""

    coefficient = 1.0

    def __init__(self):
        super().__init__(SPACE, 4)

    def score(self, batch):
        return batch.next[:, 0].float().mean((-1, -2)) / 255

    def learn(self, batch, generator):
        return {}


class Skilled(Constant):
    """Shows the policy one of three skills, one-hot, kept for an episode; pays the number of the skill."""

    @property
    def context_dim(self):
        return 3

    def draw_context(self, count, generator):
        return torch.eye(3)[torch.randint(3, (count,), generator=generator)]

    def score(self, batch):
        return batch.context.argmax(1).float()


class Unit:
    """A scale that does not scale."""

    std = 1.0

    def update(self, reward, done=None):
        pass


def weights(agent) -> torch.Tensor:
    return torch.cat([p.detach().flatten().double() for p in agent.policy.parameters()])


@pytest.fixture
def build(world, representation):
    def make(cls=PPO, kind="tiny", env=None, **options):
        config = {**(SMALL if cls is PPO else {"n_steps": 6}), **options.pop("config", {})}
        env = env or world(N)
        mode = options.pop("mode", "online")
        return cls(env, representation(env, kind), cls.Config(**config), mode=mode, seed=0, **options)

    return make


def test_gae_on_a_trajectory_by_hand():
    # gamma 0.5, lambda 0.5; r = 1 2 3 4, V = 1 1 2 2 and 8 after; the episode ends at t=1.
    # delta3 = 4 + 4 - 2 = 6, A3 = 6;  delta2 = 3 + 1 - 2 = 2, A2 = 2 + 0.25 * 6 = 3.5
    # delta1 = 2 + 0 - 1 = 1, A1 = 1 (cut);  delta0 = 1 + 0.5 - 1 = 0.5, A0 = 0.5 + 0.25 * 1 = 0.75
    column = lambda *values: torch.tensor(values).unsqueeze(1)  # noqa: E731
    advantage, returns = gae(
        column(1.0, 2.0, 3.0, 4.0), column(1.0, 1.0, 2.0, 2.0, 8.0), column(False, True, False, False), 0.5, 0.5
    )
    assert advantage.squeeze().tolist() == [0.75, 1.0, 3.5, 6.0]
    assert returns.squeeze().tolist() == [1.75, 2.0, 5.5, 8.0]


def test_terminal_reward_of_ten_reaches_advantage_and_return():
    advantage, returns = gae(torch.tensor([[10.0]]), torch.tensor([[3.0], [99.0]]), torch.tensor([[True]]), 0.9, 0.9)
    assert advantage.item() == 7.0
    assert returns.item() == 10.0


def test_a_constant_bonus_changes_the_returns_by_the_exact_amount(build):
    plain, paid = (build(config={**PLAIN, "gamma": 0.5, "gae_lambda": 1.0}, bonuses=b) for b in ((), (Constant(2.0),)))
    paid.bonus_scales = {"constant": Unit()}
    for agent in (plain, paid):
        agent.train = lambda: None
        agent.learn(6 * N)
    done = plain.history.rollout().done
    # Lengths 3 + (i + e) % 4: env 0 ends at steps 2; env 1 at 3; env 2 at 4 (counting from 0).
    assert done.int().argmax(0).tolist() == [2, 3, 4]
    expected = torch.zeros(6, N)
    for i in range(N):
        later = 0.0
        for t in range(5, -1, -1):
            # Each step's 2, and half of what follows within the episode; the last step has its own 2 too.
            later = 2.0 + 0.5 * later * (not done[t, i])
            expected[t, i] = later
    assert expected[5].tolist() == [2.0] * N
    torch.testing.assert_close(paid.returns - plain.returns, expected)
    torch.testing.assert_close(paid.advantages - plain.advantages, expected)
    # What is logged is the world's own reward.
    assert [e["r"] for e in paid.ep_info_buffer] == [e["r"] for e in plain.ep_info_buffer]


def test_a_bonus_is_divided_by_the_running_std_of_its_discounted_sum(build):
    agent = build(config=PLAIN, bonuses=(Constant(2.0, coefficient=3.0),))
    agent.train = lambda: None
    agent.learn(6 * N)
    # R_t = 2 (1 + 0.99 + ... + 0.99^t), never reset, the same in every stream.
    sums = np.cumsum(2 * 0.99 ** np.arange(6))
    extra = agent.paid - agent.history.rollout().reward - agent.bootstrap
    torch.testing.assert_close(extra, torch.full((6, N), float(3 * 2 / np.std(sums))), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cls", [PPO, A2C])
def test_a_coefficient_of_zero_is_bit_identical_to_no_bonus(build, cls):
    plain = build(cls)
    zero = build(cls, bonuses=(Constant(coefficient=0.0), Novelty()))
    zero.bonuses["novelty"].coefficient = 0.0
    for agent in (plain, zero):
        agent.learn(3 * 6 * N)
    assert torch.equal(weights(plain), weights(zero))
    assert float(zero.bonuses["constant"].weight.detach()) != 0


def test_a_bonus_changes_the_weights(build):
    plain, paid = build(), build(bonuses=(Novelty(),))
    for agent in (plain, paid):
        agent.learn(2 * 6 * N)
    assert not torch.equal(weights(plain), weights(paid))


@pytest.mark.parametrize("factor", [2.0**-20, 1024.0])
def test_the_unit_of_a_bonus_cancels(build, factor):
    plain, scaled = build(bonuses=(Novelty(),)), build(bonuses=(Novelty(),))
    score = scaled.bonuses["novelty"].score
    scaled.bonuses["novelty"].score = lambda batch: score(batch) * factor  # a power of two: no rounding
    for agent in (plain, scaled):
        agent.learn(3 * 6 * N)
    assert torch.equal(weights(plain), weights(scaled))


def test_a_second_bonus_does_not_shift_the_draws_of_the_first(build):
    alone, accompanied = build(bonuses=(Constant(coefficient=0.0),)), build(bonuses=(Skilled(0, 0.0), Constant(1, 0.0)))
    for agent in (alone, accompanied):
        agent.train = lambda agent=agent: agent.bonuses["constant"].update(
            agent._rollout, agent.streams["bonus/constant"]
        )
        agent.learn(6 * N)
    assert len({float(agent.bonuses["constant"].weight.detach()) for agent in (alone, accompanied)}) == 1


def test_without_the_worlds_reward_the_bonus_is_all_that_is_paid(build):
    agent = build(config={**PLAIN, "extrinsic": 0.0, "timeout_is_terminal": True}, bonuses=(Novelty(),))
    agent.bonus_scales = {"novelty": Unit()}
    agent.train = lambda: None
    agent.learn(6 * N)
    steps = agent.history.rollout()
    assert steps.reward.abs().sum() > 0
    red = steps.next_obs["image"][:, :, 0].float().mean((-1, -2)) / 255
    torch.testing.assert_close(agent.paid, red)


@pytest.mark.parametrize("episodic", [False, True])
def test_bonuses_under_their_own_head(build, episodic):
    config = {**PLAIN, "gamma": 0.5, "gae_lambda": 1.0}
    own = {"bonus_head": True, "bonus_gamma": 0.25, "bonus_episodic": episodic}
    plain, paid = build(config=config), build(config={**config, **own}, bonuses=(Constant(2.0),))
    paid.bonus_scales = {"constant": Unit()}
    for agent in (plain, paid):
        agent.train = lambda: None
        agent.learn(6 * N)
    # The world's stream is as without the bonus; the head draws its weights after the others.
    assert torch.equal(paid.values, plain.values)
    assert torch.equal(paid.returns, plain.returns)
    done, values = paid.history.rollout().done, paid.bonus_values
    assert values.abs().min() > 0
    assert values.shape == (7, N)
    expected = torch.zeros(6, N)
    for i in range(N):
        later = float(values[6, i])
        for t in range(5, -1, -1):
            # 2 now and a quarter of what follows, which the end of an episode cuts off in the episodic case alone
            later = 2.0 + 0.25 * later * (not (episodic and done[t, i]))
            expected[t, i] = later
    torch.testing.assert_close(paid.bonus_returns, expected)
    torch.testing.assert_close(paid.advantages, plain.advantages + expected - values[:-1])


def test_the_head_of_the_bonuses_learns_their_returns(build):
    agent = build(config={"bonus_head": True, "learning_rate": 0.01, "extrinsic": 0.0}, bonuses=(Novelty(),))
    errors = []
    for _ in range(12):
        agent.learn(6 * N, reset_num_timesteps=False)
        errors.append(agent.metrics["loss/bonus_value"])
    assert sum(errors[-3:]) < 0.3 * sum(errors[:3])


def test_the_error_of_the_bonuses_own_values_is_part_of_the_loss(build):
    """Weight 1/2 of the mean of (V - R)^2 / 2: the head's bias gets the mean of V - R, halved."""
    agent = build(config={"bonus_head": True, "value_clip": None, "value_coef": 0.5}, bonuses=(Novelty(),))
    agent.train = lambda: None
    agent.learn(6 * N)
    agent.policy.optimizer.zero_grad()
    agent._rl_backward(torch.arange(6 * N), Means())
    error = (agent.bonus_values[:-1] - agent.bonus_returns).mean()
    assert abs(error) > 0.1
    torch.testing.assert_close(agent.policy.bonus_net.bias.grad, 0.5 * error.view(1))


def test_a_head_without_bonuses_is_bit_identical_to_none(build):
    plain, headed = build(), build(config={"bonus_head": True})
    for agent in (plain, headed):
        agent.learn(2 * 6 * N)
    assert torch.equal(weights(plain), weights(headed))


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_a_skill_lasts_an_episode_and_is_seen_by_the_policy(build, mode):
    agent = build(config={**PLAIN, "extrinsic": 0.0}, mode=mode, bonuses=(Skilled(),))
    agent.bonus_scales = {"skilled": Unit()}
    agent.train = lambda: None
    found = []
    for _ in range(8):
        agent.learn(6 * N, reset_num_timesteps=False)
        found.append((agent._rollout.first.clone(), agent.contexts.clone(), agent.paid - agent.bootstrap))
    first, contexts, paid = (torch.cat(parts) for parts in zip(*found, strict=True))
    assert set(map(tuple, contexts.view(-1, 3).tolist())) == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    same = (contexts[1:] == contexts[:-1]).all(2)
    assert same[~first[1:]].all()
    assert 0.1 < float(same[first[1:]].float().mean()) < 0.7  # a third by chance
    torch.testing.assert_close(paid, contexts.argmax(2).float())
    features = torch.ones(1, 6).expand(3, -1)
    assert torch.unique(agent.policy.heads(features, torch.eye(3))[1]).numel() == 3
    # What was done is what the kept skill made likely: the stored log-probability is the update's own at the start.
    agent.config = type(agent.config)(**{**SMALL, "epochs": 1, "minibatches": 1, "value_clip": None})
    ratios = Means()
    agent.policy.optimizer.zero_grad()
    agent._rl_backward(torch.arange(6 * N), ratios)
    assert abs(ratios.values()["train/approx_kl"]) < 1e-6


def test_a_skill_goes_with_a_carried_state_in_the_update_too(build):
    """At the start of an update the policy is the one that acted: no step's probability has changed."""
    agent = build(kind="averaging", config=PLAIN, bonuses=(Skilled(),))
    agent.train = lambda: None
    agent.learn(6 * N)
    ratios = Means()
    agent._rl_backward(torch.arange(6 * N), ratios)
    assert agent.states[0][1:].abs().max() > 0.1
    assert abs(ratios.values()["train/approx_kl"]) < 1e-6


def test_the_compiler_gets_the_batches_of_rollout_and_update(build, compiled):
    agents = build(kind="plain"), build(kind="plain", compiled=True)
    for agent in agents:
        agent.learn(2 * 6 * N)
    # Rows: acting N = 3, a minibatch 6 * 3 / 3 = 6 in micro-batches of 4 and 2, of which 4 is compiled. Acting is
    # without gradients, the update with them.
    assert sorted(compiled) == [3, 4]
    assert torch.equal(*map(weights, agents))


def test_a_skill_lasts_an_episode_where_the_policy_is_played(build, world):
    agent = build(bonuses=(Skilled(),))
    state, start, seen = None, np.ones(2, dtype=bool), []
    obs = world(2).reset()
    for t in range(6):
        if t == 4:
            start = np.array([True, False])
        _, state = agent.predict(obs, state, start)
        seen.append(state[-1].argmax(1))
        start = np.zeros(2, dtype=bool)
    seen = np.array(seen)
    assert (seen[:4] == seen[0]).all()
    assert (seen[4:, 1] == seen[0, 1]).all()
    assert len({tuple(agent.predict(obs)[1][-1].argmax(1)) for _ in range(30)}) > 4  # of 9 pairs


def test_a_state_pays_once_an_episode_where_that_is_wanted(build):
    agent = build(config={**PLAIN, "bonus_once": True}, bonuses=(Constant(2.0), Skilled(1.0)))
    agent.bonus_scales = {"constant": Unit(), "skilled": Unit()}
    expected = lambda fresh: 2.0 * fresh + agent.contexts.argmax(2)  # noqa: E731  a skill's reward is left alone
    agent.visits.forward = lambda steps: torch.arange(6 * N).view(6, N) % 3 == 1
    agent.train = lambda: None
    agent.learn(6 * N)
    extra = agent.paid - agent._rollout.reward - agent.bootstrap
    torch.testing.assert_close(extra, expected(torch.arange(6 * N).view(6, N) % 3 == 1))


def test_visits_of_one_rollout_are_known_in_the_next(build):
    agent = build(config={"bonus_once": True}, bonuses=(Constant(),))
    seen = []
    agent.visits.forward = lambda steps: (seen.append(("asked", steps.reward.clone())), torch.ones(6, N))[1]
    agent.visits.remember = lambda steps: seen.append(("told", steps.reward.clone()))
    agent.learn(2 * 6 * N)
    assert [kind for kind, _ in seen] == ["asked", "told"] * 2
    assert torch.equal(seen[0][1], seen[1][1])
    assert torch.equal(seen[2][1], seen[3][1])
    assert not torch.equal(seen[0][1], seen[2][1])


def test_the_first_reward_is_dated(build):
    agent = build()
    agent.train = lambda: None
    agent.learn(6 * N)
    rewards = [agent._rollout.reward]
    agent.learn(6 * N, reset_num_timesteps=False)
    paying = (torch.cat([*rewards, agent._rollout.reward]) > 0).any(1)
    assert paying.any()
    assert agent.first_reward == (int(paying.int().argmax()) + 1) * N


def test_truncation_bootstraps_from_the_true_last_frame(build):
    agent = build(config={**PLAIN, "gamma": 0.5})
    agent.train = lambda: None
    agent.learn(6 * N)
    steps = agent.history.rollout()
    values = agent.policy.heads(agent.policy.encode({"image": steps.next_obs["image"].flatten(0, 1)})[0])[1]
    expected = 0.5 * values.detach().view(6, N) * steps.truncated
    torch.testing.assert_close(agent.bootstrap, expected)
    assert int(steps.truncated.sum()) == 1  # i + e odd: env 1 alone within 6 steps
    assert agent.bootstrap.abs().max() > 1e-4
    off = build(config={**PLAIN, "gamma": 0.5, "timeout_is_terminal": True})
    off.train = lambda: None
    off.learn(6 * N)
    assert not off.bootstrap.any()
    torch.testing.assert_close((agent.paid - off.paid), agent.bootstrap)


def test_a_last_frame_that_is_the_previous_one_is_not_valid(build, world):
    class Forgetful(VecEnvWrapper):
        def reset(self):
            self.shown = self.venv.reset()
            return self.shown

        def step_wait(self):
            obs, rewards, dones, infos = self.venv.step_wait()
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = self.shown[i]
                infos[i]["terminal_observation_is_previous"] = True
            self.shown = obs
            return obs, rewards, dones, infos

    agent = build(env=Forgetful(world(N)))
    agent.learn(6 * N)
    steps = agent.history.rollout()
    assert torch.equal(steps.next_valid, ~steps.done)
    assert torch.equal(steps.next_obs["image"][2, 0], steps.obs["image"][2, 0])


def test_rewards_are_normalised_step_by_step(build, world):
    agent = build(env=world(N, num_actions=2), config={"normalise_reward": True, "n_steps": 24})
    agent.train = lambda: None
    agent.learn(24 * N)
    steps = agent.history.rollout()
    running, mean, variance, count = np.zeros(N), 0.0, 1.0, 1e-4
    for t in range(24):
        running = 0.99 * running + steps.reward[t].numpy()
        delta, total = running.mean() - mean, count + N
        variance = (variance * count + running.var() * N + delta**2 * count * N / total) / total
        mean, count = mean + delta * N / total, total
        expected = np.clip(steps.reward[t].numpy() / np.sqrt(variance + 1e-8), -10, 10)
        np.testing.assert_allclose(agent.paid[t].numpy(), expected, rtol=1e-5)
        running[steps.done[t].numpy()] = 0


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_micro_batches_add_up_to_the_minibatch(build, size):
    agent = build(config={"micro_batch": size, **PLAIN})
    agent.train = lambda: None
    agent.learn(6 * N)
    indices = torch.randperm(6 * N, generator=torch.Generator().manual_seed(0))[:11]
    gradients = {}
    for micro in (size, 11):
        agent.micro_batch = micro
        agent.policy.optimizer.zero_grad()
        agent._rl_backward(indices, Means())
        gradients[micro] = torch.cat([p.grad.flatten() for p in agent.policy.trainable()])
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
    for backward in (agent._rl_backward, agent._auxiliary_backward):
        agent.policy.optimizer.zero_grad()
        agent.streams["auxiliary"].manual_seed(0)
        backward(indices, Means())
        gradient = torch.cat(
            [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters]
        )
        parts.append(gradient * 0.01 / gradient.norm())  # both are longer than 0.01
    agent.streams["auxiliary"].manual_seed(0)
    agent.policy.optimizer.step = lambda: None
    agent._update(indices, Means())
    stepped = torch.cat([p.grad.flatten() for p in parameters])
    torch.testing.assert_close(stepped, parts[0] + 0.5 * parts[1], rtol=1e-3, atol=1e-7)


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
    return type(agent.env)(type(agent.env.world)(N, size=8, episode_length=3, seed=1))


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
        agent.env.world.exact_state = False
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
