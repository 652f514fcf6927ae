"""What the tests of bonuses look at: small spaces, and Steps whose every observation is given."""

from __future__ import annotations

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.checkpoint import restore, state_of
from envs.steps import Steps

SPACES = {
    "pixels": {"image": gym.spaces.Box(0, 255, (3, 36, 40), np.uint8)},
    "symbols": {"image": gym.spaces.Box(0, 10, (3, 7, 7), np.uint8)},
    "tiny": {"image": gym.spaces.Box(0, 255, (3, 4, 5), np.uint8)},
    "features": {"features": gym.spaces.Box(-np.inf, np.inf, (6,), np.float32)},
}


@pytest.fixture
def space():
    """``space(kind)``: what Steps hold, "pixels", "symbols", "tiny" or "features"."""
    return lambda kind="tiny": gym.spaces.Dict(SPACES[kind])


@pytest.fixture
def build():
    """``build(cls, space, actions, seed, **settings)``: a bonus whose weights come from the seed."""

    def make(cls, space, actions=4, seed=0, **settings):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(space, actions, cls.Config(**settings))

    return make


@pytest.fixture
def steps_of():
    """``steps_of(now, following, action, ...)``: Steps (T, N) of one key, nothing ended unless ``done`` says so.

    now, following: (T, N, ...); ``done`` and ``valid`` (T, N) bool, ``context`` (T, N, K).
    """

    def make(now, following, action=None, done=None, valid=None, context=None, reward=None):
        T, N = now.shape[:2]
        key = "features" if now.is_floating_point() else "image"
        no = torch.zeros(T, N, dtype=torch.bool)
        done = no if done is None else done
        first = torch.cat([torch.ones(1, N, dtype=torch.bool), done[:-1]])
        return Steps(
            obs={key: now},
            action=torch.zeros(T, N, dtype=torch.int64) if action is None else action,
            reward=torch.zeros(T, N) if reward is None else reward,
            terminated=done,
            truncated=no,
            next_valid=~no if valid is None else valid,
            first=first,
            make_next_obs=lambda: {key: following},
            context=context,
        )

    return make


@pytest.fixture
def frames():
    """``frames(T, N, kind, seed)``: random observations (T, N, ...) of a kind of space."""

    def make(T, N, kind="tiny", seed=0):
        box = next(iter(SPACES[kind].values()))
        generator = torch.Generator().manual_seed(seed)
        if box.dtype == np.uint8:
            top = int(box.high.max()) + 1
            return torch.randint(top, (T, N, *box.shape), generator=generator).to(torch.uint8)
        return torch.randn(T, N, *box.shape, generator=generator)

    return make


def assert_go_on_alike(one, other, steps) -> None:
    """``other``, drawn from another seed, takes the state of ``one`` and from then on pays and learns as it does."""
    one.update(steps, torch.Generator().manual_seed(0))
    assert not torch.equal(one.compute(steps), other.compute(steps))
    restore(other, copy.deepcopy(state_of(one)))
    assert torch.equal(one.compute(steps), other.compute(steps))
    assert one.update(steps, torch.Generator().manual_seed(3)) == other.update(steps, torch.Generator().manual_seed(3))
    assert torch.equal(one.compute(steps), other.compute(steps))
