"""The oracle: the factors as they are, and a refusal where there are none."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch

from envs.spaces import EnvSpec
from representations.base import Unfit
from representations.oracle import Oracle
from tests.representations.toys import image_spec, with_vector


def test_the_features_are_the_factors():
    oracle = Oracle(with_vector(image_spec((3, 8, 8)), "factors", 4))
    factors = torch.tensor([[1.0, -2, 3, 0.5], [0, 0, 7, 9]])
    assert oracle.features_dim == 4
    features, state = oracle.encode({"image": torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "factors": factors})
    assert torch.equal(features, factors)
    assert state == ()


def test_an_environment_without_factors_is_refused():
    with pytest.raises(Unfit, match="oracle needs obs key 'factors'; this environment gives \\['image'\\]"):
        Oracle(EnvSpec(image_spec((3, 8, 8)).space, gym.spaces.Discrete(2)))
