"""Bonuses of prediction error: less for what was met often."""

from __future__ import annotations

import pytest
import torch

from intrinsic import BONUSES
from tests.intrinsic.tools import build, make_steps, random_obs, spec

SMALL = {
    "rnd": {"width": 32},
    "icm": {"width": 32, "hidden": 64},
    "pixel_error": {"width": 32},
    "latent_error": {"latents": 24, "width": 32, "blocks": 1},
    "disagreement": {"latents": 24, "width": 32, "members": 3},
}
NAMES = list(SMALL)
KINDS = ["pixels", "tiny", "symbols", "features"]


@pytest.fixture
def made():
    """``made(name, kind, seed, **settings)``: the named bonus, small."""

    def make(name, kind="tiny", seed=0, **settings):
        settings = {"on": "auto", "batch": 4, **SMALL[name], **settings}
        return build(BONUSES.resolve(name), spec(kind), seed=seed, **settings)

    return make


@pytest.fixture
def rollout():
    """``rollout(kind, seed, **more)``: Steps (5, 3) of random observations and actions."""

    def make(kind="tiny", seed=0, **more):
        action = torch.randint(4, (5, 3), generator=torch.Generator().manual_seed(seed))
        return make_steps(random_obs(5, 3, kind, 2 * seed), random_obs(5, 3, kind, 2 * seed + 1), action, **more)

    return make


@pytest.mark.parametrize("kind", ["tiny", "symbols", "features"])
@pytest.mark.parametrize("name", NAMES)
def test_a_repeated_transition_earns_a_fifth_of_a_new_one(name, kind, made, rollout):
    bonus = made(name, kind, learning_rate=3e-3, batch=15)
    often, never = rollout(kind, 0), rollout(kind, 1)
    before = bonus.compute(never).mean()
    for step in range(100):
        bonus.compute(often)
        bonus.update(often, torch.Generator().manual_seed(step))
    repeated, new = bonus.compute(often).mean(), bonus.compute(never).mean()
    assert repeated < new / 5
    assert new > before / 5
