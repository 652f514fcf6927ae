"""Random features: normalised rows that never learn."""

from __future__ import annotations

import gymnasium as gym
import torch

from envs.action_codes import ActionCodes
from intrinsic.inputs import BonusInput
from intrinsic.models.linear import RandomFeatures
from tests.intrinsic.tools import KINDS, make_batch, random_obs, spec


def test_random_features_are_normalised_fixed_and_joined_by_the_action():
    for kind in KINDS:
        features = RandomFeatures(BonusInput(spec(kind), "auto"), 6)
        obs = random_obs(1, 3, kind)[0]
        x, y = features.regression(make_batch(obs, obs, torch.tensor([1, 0, 2])), ActionCodes(gym.spaces.Discrete(4)))
        assert torch.allclose(y.mean(1), torch.zeros(3), atol=1e-5)
        assert torch.allclose(y.var(1, unbiased=False), torch.ones(3), rtol=1e-2)
        assert torch.equal(x[:, :6], y)
        root = 6**0.5
        assert torch.allclose(x[:, 6:], torch.tensor([[0, root, 0, 0], [root, 0, 0, 0], [0, 0, root, 0]]))
        assert not any(p.requires_grad for p in features.parameters())
