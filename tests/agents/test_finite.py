"""Numbers that are not finite stop training within one update, named by their place, before they are stored."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv

from agents.a2c import A2C
from agents.finite import FiniteChecks
from agents.parallel.distributed import Ranks
from agents.ppo import PPO
from envs.finite import NotFinite, all_finite, first_not_finite, require_finite_weights
from envs.spaces import EnvSpec
from representations.cnn import Cnn
from tests.agents.tools import Constant, Tiny, build, make_env, weights

ROLLOUT = 18  # 6 steps of 3 environments


def poisoned(change, step):
    """An environment whose ``step``-th step is changed by ``change(rewards, observation)``; both are its own arrays."""
    env, count = make_env(), 0
    inner = env.step_wait

    def step_wait():
        nonlocal count
        obs, rewards, dones, infos = inner()
        count += 1
        if count == step:
            change(rewards, obs)
        return obs, rewards, dones, infos

    env.step_wait = step_wait
    return env


@pytest.mark.parametrize("cls", [PPO, A2C])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_is_named_by_environment_step_and_frame(cls, value):
    agent = build(cls, env=poisoned(lambda rewards, obs: np.put(rewards, 2, value), step=10))
    # the 10th step is the 4th of the second rollout; all three environments have then seen 30 frames
    message = rf"^reward of environment 2 is {value} at step 4 of a rollout of 6, frame 30: .* mend its step\(\)"
    with pytest.raises(NotFinite, match=message):
        agent.learn(10 * ROLLOUT)
    assert agent.num_timesteps == 2 * ROLLOUT
    assert bool(weights(agent).isfinite().all())


def test_what_is_first_in_time_is_named():
    def spoil(rewards, obs):
        rewards[:] = math.nan

    agent = build(env=poisoned(spoil, step=3))
    agent.policy.value_net.bias.data[:] = math.nan  # known from the very first step
    with pytest.raises(NotFinite, match=r"^value of the policy of environment 0 is nan at step 1 of a rollout of 6"):
        agent.learn(ROLLOUT)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_outputs_are_told_with_the_algorithms_own_option(algorithm):
    agent = build(algorithm)
    agent.policy.action_net.weight.data[:] = math.nan
    name = algorithm.__name__.lower()
    with pytest.raises(NotFinite, match=f"log-probability .*--set {name}.learning_rate=.* --precision float32"):
        agent.learn(ROLLOUT)


def test_a_frozen_feature_is_told_as_its_representations():
    agent = build(mode="frozen")
    agent.policy.representation.net[1].bias.data[3] = math.nan
    with pytest.raises(NotFinite, match=r"^feature of 'tiny' of environment 0 is nan at step 1 .* their scale"):
        agent.learn(ROLLOUT)


def test_a_bonus_is_named_before_it_enters_its_scale():
    agent = build(bonuses=[Constant(amount=math.nan)])
    with pytest.raises(NotFinite, match=r"^bonus 'constant' of environment 0 is nan at step 1 of 6"):
        agent.learn(ROLLOUT)
    assert math.isfinite(agent.reward_pipeline.bonus_scales["constant"].std)


class Exploding(Tiny):
    """The gradient is nan where the features are 0, though all losses are finite."""

    def encode(self, obs, state=(), first=None):
        features, state = super().encode(obs)
        return features + (features * 0).sqrt() * 0, state


def test_a_gradient_stops_the_update_it_belongs_to():
    agent = build(config={"minibatches": 1, "epochs": 1})  # a second step would have a loss that is nan
    agent.representation.__class__ = Exploding
    with pytest.raises(NotFinite, match=f"gradient/rl_norm is nan at frame {ROLLOUT}: training diverged"):
        agent.learn(10 * ROLLOUT)
    assert agent.num_timesteps == ROLLOUT


def test_a_gradient_is_named_beside_the_losses_it_spoils():
    agent = build(config={"minibatches": 2, "epochs": 1})
    agent.representation.__class__ = Exploding
    with pytest.raises(NotFinite, match=f"loss/.* at frame {ROLLOUT}, and so are .*gradient/rl_norm.*: training"):
        agent.learn(10 * ROLLOUT)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    agent = build()
    agent.learn(ROLLOUT)
    agent.save(tmp_path)
    kept = sorted(path.name for path in tmp_path.iterdir())
    agent.policy.value_net.weight.data[0, 0] = math.inf
    with pytest.raises(NotFinite, match=r"weights value_net.weight are not finite after 18 frames"):
        agent.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


def test_a_floating_observation_is_named_by_key_and_environment():
    agent = build()
    obs = {"image": np.zeros((2, 4), np.uint8), "pose": np.array([[0.5, 1.0], [2.0, math.inf]], np.float32)}
    with pytest.raises(NotFinite, match=r"^observation 'pose' of environment 1 is inf after 7 frames: .* reset\(\)"):
        agent.finite.check_observation(obs, 7)
    agent.finite.check_observation(np.zeros((2, 3), np.float32), 7)


class Pose(gym.Env):
    """A vector of three numbers, which are nan after the step ``spoilt``."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)

    def __init__(self, spoilt):
        self.spoilt = spoilt

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.np_random.random(3, np.float32), {}

    def step(self, action):
        self.time += 1
        seen = self.np_random.random(3, np.float32)
        return (seen * math.nan if self.time == self.spoilt else seen), 1.0, False, False, {}


@pytest.mark.parametrize("spoilt", [3, 6, 7], ids=["within", "after the last step", "in the next rollout"])
def test_an_observation_is_told_as_the_environments_wherever_it_comes(spoilt):
    env = DummyVecEnv([lambda: Pose(0), lambda: Pose(spoilt)])
    agent = PPO(env, Cnn(EnvSpec.of(env)), PPO.Config(n_steps=6, minibatches=2, epochs=1), seed=1)
    with pytest.raises(NotFinite, match=rf"^observation of environment 1 is nan after {2 * spoilt} frames: the env"):
        agent.learn(60)


def checks_of(agent):
    """Checks of rank 2 of 4, three environments each."""
    return FiniteChecks(agent.representation, "ppo", first_env=6, total_envs=12)


def test_environments_and_frames_are_counted_over_all_ranks():
    assert build(ranks=Ranks(2, 4)).finite.first_env == 6
    agent = build()
    agent.learn(ROLLOUT)
    checks, steps = checks_of(agent), agent.collector.rollout()
    with pytest.raises(NotFinite, match="observation of environment 7 is inf"):
        checks.check_observation(np.array([[0.0], [math.inf]], np.float32), 7)
    with pytest.raises(NotFinite, match="bonus 'x' of environment 8 is nan at step 2 of 2"):
        checks.check_bonus("x", torch.tensor([[0.0, 0, 0], [0, 0, math.nan]]), None)
    # 2 of 6 steps are still to come, of 12 environments each: 100 - 24
    steps.reward[3, 1] = math.nan
    with pytest.raises(NotFinite, match=r"^reward of environment 7 is nan at step 4 of a rollout of 6, frame 76:"):
        checks.check_rollout(steps, agent.collector.data, 100)


def test_the_earliest_step_is_named_whatever_the_environment():
    agent = build()
    agent.learn(ROLLOUT)
    steps, data = agent.collector.rollout(), agent.collector.data
    data.values[4, 0] = steps.reward[2, 2] = math.nan
    with pytest.raises(NotFinite, match=r"^reward of environment 8 is nan at step 3"):
        checks_of(agent).check_rollout(steps, data, 100)


def test_the_value_of_a_final_observation_is_looked_at():
    agent = build()
    agent.learn(ROLLOUT)
    agent.collector.data.bootstrap[1, 0] = math.inf
    with pytest.raises(NotFinite, match=r"^value of the final observation of environment 6 is inf at step 2 .* mend"):
        checks_of(agent).check_rollout(agent.collector.rollout(), agent.collector.data, 100)


CURES = {
    "loss/policy": "lower the learning rate (--set ppo.learning_rate=...), or give --precision float32",
    "loss/auxiliary": "lower the weight of its loss (--set ppo.aux_coef=...), or lower the learning rate",
    "bonus/rnd/loss": "lower the learning rate of bonus 'rnd'",
}


@pytest.mark.parametrize("name", CURES)
def test_an_update_that_diverged_says_what_to_lower(name):
    checks = checks_of(build())
    checks.check_update({name: 1.0, "bonus/rnd/mean": math.nan, "train/explained_variance": math.nan}, 1000)
    with pytest.raises(NotFinite) as error:
        checks.check_update({"loss/value": 0.0, name: math.inf}, 1000)
    assert str(error.value).startswith(f"{name} is inf at frame 1,000: training diverged; {CURES[name]}")


def test_sums_that_overflow_are_looked_at_one_by_one():
    large = torch.full((3, 5), 3e38)
    assert not large.sum().isfinite()
    assert all_finite([large, torch.zeros(2, dtype=torch.uint8), torch.zeros(0)])
    large[2, 4] = -math.inf
    assert not all_finite([torch.zeros(3), large])
    assert first_not_finite(large) == (2, 4, -math.inf)
    assert first_not_finite(torch.zeros(2, 3, 4)) is None
    require_finite_weights(torch.nn.Linear(2, 3), "now")
    require_finite_weights(torch.nn.Identity(), "now")
