"""Wrappers of stable-baselines3 around an env: all are saved and restored, or the one that cannot be is named."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import VectorWrapper
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnvWrapper, VecFrameStack, VecMonitor, VecNormalize

from agents.env_state import EnvState
from agents.ppo import PPO, PPOConfig
from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv, as_agents_take
from representations.cnn import Cnn
from tests.envs.clock import Clock

CONFIG = PPOConfig(n_steps=8, minibatches=2, epochs=1)


def counting():
    return Sb3VecEnv(CountingVectorEnv(3, episode_length=11, size=40, seed=2))


STACKS = {
    "plain": counting,
    "normalised": lambda: VecNormalize(counting(), norm_obs=False, gamma=0.9),
    "stacked": lambda: VecFrameStack(counting(), 2),
    "all": lambda: VecMonitor(VecNormalize(VecFrameStack(counting(), 2), norm_obs=False)),
}


def agent(make):
    env = make()
    torch.manual_seed(0)
    return PPO(env, Cnn(EnvSpec.of(env)), CONFIG, seed=1)


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
@pytest.mark.parametrize("name", STACKS)
def test_a_stack_of_wrappers_resumes_to_the_bit(name, tmp_path):
    make = STACKS[name]
    first = agent(make)
    assert first.exact_env
    first.learn(48)
    first.save(tmp_path)
    first.learn(48, reset_num_timesteps=False)
    second = agent(make)
    second.restore(tmp_path)
    second.learn(48, reset_num_timesteps=False)
    for one, other in zip(first.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    saved, loaded = EnvState(first.env).state_dict(), EnvState(second.env).state_dict()
    assert sorted(saved) == sorted(loaded)
    if "wrappers" in saved and "returns" in saved["wrappers"]["0"]:
        np.testing.assert_array_equal(saved["wrappers"]["0"]["returns"], loaded["wrappers"]["0"]["returns"])


class Clipped(VecEnvWrapper):
    """A wrapper of one's own, which remembers a step."""

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        return self.venv.step_wait()


class Passing(VectorWrapper):
    """A vector wrapper of one's own."""


def test_a_layer_that_cannot_save_itself_is_named(tmp_path, capsys):
    assert EnvState(Clipped(counting())).inexact == "Clipped"
    assert EnvState(VecNormalize(Clipped(counting()), norm_obs=False)).inexact == "Clipped"
    assert EnvState(Sb3VecEnv(Passing(CountingVectorEnv(2)))).inexact == "Passing"
    assert EnvState(DummyVecEnv([lambda: gym.make("CartPole-v1")])).inexact == "DummyVecEnv"
    assert EnvState(as_agents_take(DummyVecEnv([Compass]))).inexact == "DummyVecEnv"
    mine = agent(lambda: Clipped(counting()))
    assert not mine.exact_env
    mine.learn(24)
    mine.save(tmp_path)
    agent(lambda: Clipped(counting())).restore(tmp_path)
    assert "Clipped cannot save its state: new episodes begin, and what follows is not exact" in capsys.readouterr().out


def test_a_reward_scale_survives_where_the_env_itself_cannot_be_saved():
    def poles():
        return VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")] * 2))

    env, other = poles(), poles()
    env.seed(0)
    env.reset()
    for _ in range(30):
        env.step(np.array([0, 1]))
    state = EnvState(env)
    assert (state.exact, state.saves) == (False, True)
    EnvState(other).load_state_dict(state.state_dict())
    np.testing.assert_array_equal(other.obs_rms.mean, env.obs_rms.mean)
    assert (other.ret_rms.var, other.ret_rms.count) == (env.ret_rms.var, env.ret_rms.count)
    assert env.ret_rms.count > 60


@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_a_monitor_goes_on_within_an_episode():
    env, other = VecMonitor(VecFrameStack(counting(), 2)), VecMonitor(VecFrameStack(counting(), 2))
    env.reset()
    for _ in range(4):
        env.step(np.ones(3, np.int64))
    other.reset()
    EnvState(other).load_state_dict(EnvState(env).state_dict())
    assert other.episode_lengths.tolist() == [4, 4, 4]
    np.testing.assert_array_equal(other.episode_returns, env.episode_returns)


@pytest.mark.parametrize(("saved", "built"), [("plain", "normalised"), ("normalised", "plain")])
def test_a_wrapper_more_or_less_is_refused(saved, built, tmp_path):
    first = agent(STACKS[saved])
    first.learn(24)
    first.save(tmp_path)
    with pytest.raises(UsageError, match=r"env of .* does not fit this agent .wrappers with a state: . there, . here"):
        agent(STACKS[built]).restore(tmp_path)


def test_normalised_images_are_refused():
    with pytest.raises(UsageError, match="norm_obs=False"):
        agent(lambda: VecNormalize(counting()))


class Compass(Clock):
    """A picture, a direction and a goal; episodes of four steps."""

    observation_space = gym.spaces.Dict(
        {
            "image": gym.spaces.Box(0, 255, (40, 48, 3), np.uint8),
            "direction": gym.spaces.Discrete(4),
            "goal": gym.spaces.Box(-1, 1, (2,), np.float64),
        }
    )
    action_space, episode_length = gym.spaces.Discrete(5), 4

    def seen(self):
        picture = np.full((40, 48, 3), self.time, np.uint8)
        return {"image": picture, "direction": self.time % 4, "goal": np.array([0.5, self.time / 10])}


def test_terminal_observations_of_sb3s_envs_are_converted_like_all_others():
    env = DummyVecEnv([Compass] * 3)
    spec = EnvSpec.of(env)
    assert {key: box.shape for key, box in spec.space.spaces.items()} == {
        "direction": (4,),
        "goal": (2,),
        "image": (3, 40, 48),
    }
    learner = PPO(env, Cnn(spec), CONFIG, seed=1).learn(48)
    seen = learner.env.reset()
    for _ in range(4):
        seen, _, dones, infos = learner.env.step(np.zeros(3, int))
    assert dones.all()
    last = infos[2]["terminal_observation"]
    np.testing.assert_array_equal(last["direction"], [1, 0, 0, 0])  # 4 steps, modulo 4
    np.testing.assert_allclose(last["goal"], [0.5, 0.4], rtol=1e-6)
    assert (last["image"].shape, last["image"].min()) == ((3, 40, 48), 4)
    assert {key: (value.dtype, value.shape[1:]) for key, value in seen.items()} == {
        key: (value.dtype, value.shape) for key, value in last.items()
    }
