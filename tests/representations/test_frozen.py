"""A frozen representation serves algorithms that are not ours: SB3's own DQN and PPO."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO

from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv
from representations.base import Representation
from representations.frozen import FrozenVecEnv
from representations.vae import Vae
from tests.representations.toys import image_spec


def world(num_envs=3):
    return Sb3VecEnv(CountingVectorEnv(num_envs, seed=2, episode_length=3))


def vae(venv):
    return Vae(EnvSpec.of(venv), Vae.Config(latents=5))


def test_features_and_final_features_equal_a_direct_encoding():
    plain, inner = world(), world()
    encoder = vae(plain)
    frozen = FrozenVecEnv(inner, encoder)
    assert frozen.observation_space == gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)

    def direct(images):
        with torch.no_grad():
            return encoder.encode({"image": torch.from_numpy(images)})[0].numpy()

    np.testing.assert_array_equal(frozen.reset(), direct(plain.reset()))
    ends = 0
    for t in range(12):
        actions = np.array([t % 4, 1, 2])
        observation, rewards, dones, infos = plain.step(actions)
        features, rewards_too, dones_too, infos_too = frozen.step(actions)
        np.testing.assert_array_equal(features, direct(observation))
        np.testing.assert_array_equal(rewards, rewards_too)
        np.testing.assert_array_equal(dones, dones_too)
        for i in np.flatnonzero(dones):
            ends += 1
            final = direct(infos[i]["terminal_observation"][None])[0]
            np.testing.assert_array_equal(infos_too[i]["terminal_observation"], final)
            assert not np.array_equal(final, features[i])
    assert ends > 3


def test_sb3_s_dqn_and_ppo_train_on_it_and_leave_it_unchanged():
    venv = world()
    encoder = vae(venv)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    PPO("MlpPolicy", FrozenVecEnv(venv, encoder), n_steps=16, batch_size=12, n_epochs=1).learn(96)
    agent = DQN("MlpPolicy", FrozenVecEnv(world(), encoder), buffer_size=200, learning_starts=20, batch_size=8)
    agent.learn(240)
    assert agent.replay_buffer.observations.shape[-1] == 5
    assert not encoder.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])


class Counter(Representation):
    """Its one feature counts the frames of the episode, in its state."""

    features_dim = 1

    def initial_state(self, batch):
        return (torch.zeros(batch),)

    def encode(self, obs, state=(), first=None):
        count = torch.where(first, torch.zeros_like(state[0]), state[0]) + 1
        return count.unsqueeze(1), (count,)


def test_the_state_is_reset_after_the_final_frame_of_an_episode():
    venv = world(num_envs=2)
    frozen = FrozenVecEnv(venv, Counter(EnvSpec.of(venv)))
    length = np.ones(2)
    np.testing.assert_array_equal(frozen.reset(), [[1.0], [1.0]])
    for _ in range(11):
        features, _, dones, infos = frozen.step(np.zeros(2, dtype=int))
        for i in np.flatnonzero(dones):
            assert infos[i]["terminal_observation"] == length[i] + 1
        length = np.where(dones, 1, length + 1)
        np.testing.assert_array_equal(features[:, 0], length)


def test_other_shapes_and_missing_keys_are_refused():
    with pytest.raises(UsageError, match=r"obs key 'image' is uint8 \(3, 64, 64\); the frozen encoder was built for"):
        FrozenVecEnv(world(), Vae(image_spec((3, 48, 48)), Vae.Config(latents=2)))

    class Posed(Counter):
        keys = ("pose",)

    spec = EnvSpec(gym.spaces.Dict({"pose": gym.spaces.Box(-1, 1, (3,))}))
    with pytest.raises(UsageError, match="needs obs key 'pose'; this environment gives"):
        FrozenVecEnv(world(), Posed(spec))
