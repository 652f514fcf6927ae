"""Bonuses whose payment can be worked out by hand."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from envs.spaces import EnvSpec
from intrinsic.base import IntrinsicBonus

IMAGES = gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (3, 8, 8), np.uint8)})
SPEC = EnvSpec(IMAGES, gym.spaces.Discrete(4))


class Constant(IntrinsicBonus):
    """Pays ``amount`` everywhere; learns a number by its own Adam."""

    def __init__(self, amount: float = 1.0, coefficient: float = 1.0):
        super().__init__(SPEC)
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
        super().__init__(SPEC)

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
