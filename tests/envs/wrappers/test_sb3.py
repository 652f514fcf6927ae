"""The adapter keeps SB3's contract exactly: terminal observations, truncation, statistics, memory, state."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor, VecTransposeImage

from envs.counting import CountingVectorEnv
from envs.procgen.env import ProcgenVectorEnv
from envs.registry import UsageError
from envs.wrappers.sb3 import Sb3VecEnv


class DictWorld(CountingVectorEnv):
    """The counting world under keys: an image and a vector that repeats the counters."""

    def __init__(self, num_envs, keys=("image", "pose"), **options):
        super().__init__(num_envs, **options)
        every = {"image": self.single_observation_space, "pose": spaces.Box(0, 255, (3,), np.float32)}
        self.single_observation_space = spaces.Dict({key: every[key] for key in keys})
        self.keys = keys

    def _keyed(self, frames):
        every = {"image": frames, "pose": frames[..., 0, 0, :].astype(np.float32)}
        return {key: every[key] for key in self.keys}

    def reset(self, **keywords):
        frames, infos = super().reset(**keywords)
        return self._keyed(frames), infos

    def step(self, actions):
        frames, *rest, infos = super().step(actions)
        if infos:
            for i in np.flatnonzero(infos["_final_obs"]):
                infos["final_obs"][i] = self._keyed(infos["final_obs"][i])
        return self._keyed(frames), *rest, infos


def test_spaces_and_memory_are_channels_first_views_of_hwc():
    env = Sb3VecEnv(CountingVectorEnv(5, size=40))
    assert env.observation_space == spaces.Box(0, 255, (3, 40, 40), np.uint8)
    assert env.action_space == spaces.Discrete(4)
    for obs in (env.reset(), env.step(np.zeros(5, int))[0]):
        assert obs.shape == (5, 3, 40, 40)
        assert obs.strides == (40 * 40 * 3, 1, 40 * 3, 3)  # bytes: NHWC memory
        np.testing.assert_array_equal(obs[:, 0, 0, 0], np.arange(5))  # red of pixel (0, 0) is the env's index


def test_observations_are_never_aliased():
    env = Sb3VecEnv(CountingVectorEnv(2, size=8))
    seen = [env.reset()]
    copies = [seen[0].copy()]
    for _ in range(30):
        seen.append(env.step(np.zeros(2, int))[0])
        copies.append(seen[-1].copy())
    for obs, copy in zip(seen, copies, strict=True):
        np.testing.assert_array_equal(obs, copy)


def test_an_env_that_reuses_its_array_is_refused():
    class Reusing(CountingVectorEnv):
        buffer = np.zeros((2, 8, 8, 3), np.uint8)

        def _observe_all(self):
            self.buffer[:] = super()._observe_all()
            return self.buffer

    env = Sb3VecEnv(Reusing(2, size=8))
    env.reset()
    with pytest.raises(UsageError, match="reuses its observation array"):
        env.step(np.zeros(2, int))


def test_ends_carry_the_terminal_observation_truncation_and_statistics():
    env = Sb3VecEnv(CountingVectorEnv(3, episode_length=4, size=8))
    env.reset()
    total, length, ends = np.zeros(3), np.zeros(3, int), []
    episode = np.zeros(3, int)
    for step in range(40):
        obs, reward, done, infos = env.step(np.array([step % 4, 1, 2]))
        assert reward.dtype == np.float32
        assert done.dtype == bool
        assert len({id(info) for info in infos}) == 3
        total += reward
        length += 1
        for i in range(3):
            if not done[i]:
                assert infos[i] == {}
                continue
            info = infos[i]
            # the true last frame: channels first, its time one above the last acted-on frame
            assert info["terminal_observation"].shape == (3, 8, 8)
            np.testing.assert_array_equal(info["terminal_observation"][:, 0, 0], [i, episode[i], length[i]])
            np.testing.assert_array_equal(obs[i, :, 0, 0], [i, episode[i] + 1, 0])
            assert info["TimeLimit.truncated"] is bool((i + episode[i]) % 2 == 1)
            assert "terminal_observation_is_previous" not in info
            assert info["episode"]["r"] == total[i]
            assert info["episode"]["l"] == length[i] == 4 + (i + episode[i]) % 4
            assert info["episode"]["t"] >= 0
            assert "final_obs" not in info
            assert type(info["prev_level_seed"]) is int
            ends.append(info["TimeLimit.truncated"])
            total[i], length[i] = 0, 0
            episode[i] += 1
    assert set(ends) == {True, False}


def test_termination_beats_truncation():
    class Both(CountingVectorEnv):
        def step(self, actions):
            obs, reward, terminated, truncated, infos = super().step(actions)
            ended = terminated | truncated
            return obs, reward, ended, ended, infos

    env = Sb3VecEnv(Both(1, episode_length=1, size=8))
    env.reset()
    assert env.step(np.array([0]))[3][0]["TimeLimit.truncated"] is False


def test_a_lost_last_frame_is_announced():
    env = Sb3VecEnv(ProcgenVectorEnv(4, "starpilot", num_levels=5))
    before, done = env.reset(), np.zeros(4, bool)
    while not done.any():
        obs, _, done, infos = env.step(np.full(4, 4))
        if done.any():
            i = int(np.flatnonzero(done)[0])
            assert infos[i]["terminal_observation_is_previous"] is True
            np.testing.assert_array_equal(infos[i]["terminal_observation"], before[i])
        before = obs
    env.close()


def test_dict_spaces_keep_their_keys_and_transpose_images_only():
    env = Sb3VecEnv(DictWorld(2, episode_length=1, size=8))
    assert env.observation_space == spaces.Dict(
        {"image": spaces.Box(0, 255, (3, 8, 8), np.uint8), "pose": spaces.Box(0, 255, (3,), np.float32)}
    )
    obs = env.reset()
    assert (obs["image"].shape, obs["pose"].shape) == ((2, 3, 8, 8), (2, 3))
    _, _, done, infos = env.step(np.zeros(2, int))
    np.testing.assert_array_equal(done, [True, False])
    final = infos[0]["terminal_observation"]
    np.testing.assert_array_equal(final["image"][:, 0, 0], [0, 0, 1])
    np.testing.assert_array_equal(final["pose"], [0, 0, 1])


def test_a_dict_of_one_image_is_a_box():
    env = Sb3VecEnv(DictWorld(2, keys=("image",), episode_length=1, size=8))
    assert env.observation_space == spaces.Box(0, 255, (3, 8, 8), np.uint8)
    assert env.reset().shape == (2, 3, 8, 8)
    *_, infos = env.step(np.zeros(2, int))
    np.testing.assert_array_equal(infos[0]["terminal_observation"][:, 0, 0], [0, 0, 1])


def test_state_dict_restores_env_and_running_statistics():
    first, second = (Sb3VecEnv(CountingVectorEnv(2, seed=seed, size=8)) for seed in (1, 2))
    first.reset()
    second.reset()
    for _ in range(7):
        first.step(np.ones(2, int))
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        a, b = first.step(np.ones(2, int)), second.step(np.ones(2, int))
        for x, y in zip(a[:3], b[:3], strict=True):
            np.testing.assert_array_equal(x, y)
        for x, y in zip(a[3], b[3], strict=True):
            assert x.get("episode", {}).get("r") == y.get("episode", {}).get("r")
            assert x.get("episode", {}).get("l") == y.get("episode", {}).get("l")


def test_an_env_without_exact_state_is_refused():
    env = Sb3VecEnv(ProcgenVectorEnv(1, use_generated_assets=True))
    env.reset()
    with pytest.raises(UsageError, match="cannot give its exact state"):
        env.state_dict()
    env.close()


def test_seed_options_and_attributes():
    env = Sb3VecEnv(CountingVectorEnv(3, num_levels=10**6, render_mode="rgb_array", size=8))
    env.seed(7)
    a = env.reset()
    levels = [info["level_seed"] for info in env.reset_infos]
    b = env.reset()  # the seed was used up
    assert not np.array_equal(a, b)
    env.seed(7)
    env.reset()
    assert [info["level_seed"] for info in env.reset_infos] == levels
    env.set_options({"reset_mask": np.array([True, False, False])})
    np.testing.assert_array_equal(env.reset()[:, 1, 0, 0], [1, 0, 0])  # green of pixel (0, 0): the episode
    np.testing.assert_array_equal(env.reset()[:, 1, 0, 0], [2, 1, 1])  # the options were used up
    assert env.get_attr("episode_length", indices=[0, 2]) == [10, 10]
    assert env.has_attr("num_levels")
    assert not env.has_attr("nothing_of_the_kind")
    env.set_attr("episode_length", 3)
    assert env.vector_env.episode_length == 3
    with pytest.raises(UsageError, match="share attributes"):
        env.set_attr("episode_length", 3, indices=0)
    assert [len(state) for state in env.env_method("state")] == [5, 5, 5]
    assert env.env_is_wrapped(Monitor) == [True] * 3
    assert env.env_is_wrapped(VecMonitor, indices=1) == [True]
    assert env.env_is_wrapped(gym.wrappers.TimeLimit) == [False] * 3
    assert [image.shape for image in env.get_images()] == [(8, 8, 3)] * 3
    env.close()


def test_other_autoreset_modes_are_refused():
    class NextStep(VectorEnv):
        metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        num_envs = 1

    with pytest.raises(UsageError, match="SAME_STEP is needed: make it with"):
        Sb3VecEnv(NextStep())


def test_sb3s_own_ppo_trains_and_evaluates_on_it():
    env = Sb3VecEnv(CountingVectorEnv(4, size=36))
    model = PPO("CnnPolicy", env, n_steps=8, batch_size=16, n_epochs=1, seed=0)
    assert not isinstance(model.env, VecTransposeImage)  # already channels first
    model.learn(64)
    assert model.num_timesteps == 64
    assert len(model.ep_info_buffer) > 0
    returns, lengths = evaluate_policy(
        model, Sb3VecEnv(CountingVectorEnv(2, size=36)), 4, return_episode_rewards=True, warn=True
    )
    # two episodes of each env: env 0 lasts 10 and 11, env 1 lasts 11 and 12
    assert sorted(lengths) == [10, 11, 11, 12]
    assert all(0 <= value <= length for value, length in zip(returns, lengths, strict=True))


def test_sb3s_own_ppo_steps_on_procgen():
    env = Sb3VecEnv(ProcgenVectorEnv(4, num_levels=3))
    agent = PPO("CnnPolicy", env, n_steps=8, batch_size=32, n_epochs=1, seed=0)
    before = agent.policy.action_net.weight.detach().clone()
    agent.learn(32)
    env.close()
    assert agent.num_timesteps == 32
    assert not torch.equal(agent.policy.action_net.weight, before)


class Bare(VectorEnv):
    """Grey frames of three moments, channels first; infos without masks, as ale_py's vector env gives them."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
    num_envs, single_action_space = 2, spaces.Discrete(2)
    single_observation_space = spaces.Box(0, 255, (3, 40, 48), np.uint8)
    time = 0

    def _seen(self, time):
        return np.tile(np.arange(time, time + 3, dtype=np.uint8)[:, None, None], (2, 1, 40, 48))

    def reset(self, *, seed=None, options=None):
        return self._seen(0), {}

    def step(self, actions):
        self.time += 1
        ended = np.array([False, self.time == 4])
        infos = {"final_obs": self._seen(self.time)} if ended.any() else {}
        return self._seen(self.time), np.ones(2), ended, ended & False, {**infos, "lives": np.array([3, 5])}


def test_a_vector_env_without_masks_and_with_channels_first_is_taken():
    env = Sb3VecEnv(Bare())
    assert env.observation_space == spaces.Box(0, 255, (3, 40, 48), np.uint8)
    env.reset()
    for _ in range(4):
        seen, _, done, infos = env.step(np.zeros(2, int))
        assert [info["lives"] for info in infos] == [3, 5]
    assert (done.tolist(), seen[0, :, 0, 0].tolist()) == ([False, True], [4, 5, 6])
    assert infos[1]["terminal_observation"][:, 7, 7].tolist() == [4, 5, 6]
