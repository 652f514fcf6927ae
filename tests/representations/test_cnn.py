"""End-to-end baseline on images and on vectors."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.ppo import PPO, PPOConfig
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from envs.wrappers.sb3 import Sb3VecEnv
from representations.cnn import Cnn, CnnConfig
from representations.random import Random
from tests.representations.toys import image_spec, with_vector


@pytest.mark.parametrize(("trunk", "width"), [("nature", 512), ("impala", 256)])
def test_features_are_the_rectified_dense_layer(trunk, width):
    cnn = Cnn(image_spec((3, 64, 64)), CnnConfig(trunk=trunk))
    image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    features, state = cnn.encode({"image": image})
    assert features.shape == (3, cnn.features_dim) == (3, width)
    assert state == ()
    expected = torch.relu(cnn.trunk.dense(cnn.trunk.body(image.float() / 255).flatten(1)))
    torch.testing.assert_close(features, expected)
    assert (features >= 0).all()


def test_without_an_objective_there_is_no_loss():
    frames = Steps.frames({"image": torch.zeros(3, 3, 64, 64, dtype=torch.uint8)})
    with pytest.raises(UsageError, match="Cnn has no loss"):
        Cnn(image_spec((3, 64, 64))).loss(frames, lambda f, obs: (f, f), torch.Generator())


def state_spec(size: int) -> EnvSpec:
    space = gym.spaces.Dict({"state": gym.spaces.Box(-5, 5, (size,), np.float32)})
    return EnvSpec(space, gym.spaces.Discrete(2))


@pytest.mark.parametrize("cls", [Cnn, Random])
def test_a_state_without_an_image_is_read_by_two_tanh_layers(cls):
    model = cls(state_spec(4))
    assert model.keys == ("state",)
    state = torch.randn(3, 4)
    first, second = model.trunk.body[0], model.trunk.dense
    dense = second(torch.tanh(first(state)))
    expected = torch.tanh(dense) if cls is Cnn else torch.nn.functional.layer_norm(dense, (64,))
    features, _ = model.encode({"state": state})
    torch.testing.assert_close(features, expected)
    assert (first.out_features, model.features_dim) == (64, 64)


def test_an_image_is_read_even_where_there_is_a_state():
    spec = with_vector(image_spec((3, 64, 64)), "state", 4)
    assert Cnn(spec).keys == ("image",)


def test_cartpole_is_learnt_from_its_state():
    autoreset = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
    env = Sb3VecEnv(gym.make_vec("CartPole-v1", 8, vectorization_mode="sync", vector_kwargs=autoreset))
    torch.manual_seed(0)
    settings = {"n_steps": 64, "minibatches": 4, "epochs": 10, "learning_rate": 1e-3, "gamma": 0.98}
    agent = PPO(env, Cnn(EnvSpec.of(env)), PPOConfig(**settings, entropy_coef=0.0), seed=0)
    agent.learn(16_384)
    # a random policy's episodes are 22 steps long
    assert np.mean([episode["r"] for episode in agent.ep_info_buffer]) > 100
