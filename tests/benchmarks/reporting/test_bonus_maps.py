"""Maps of a bonus over the cells of a level: which env has one, and a mean worked out by counting."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.reporting.bonus_maps import bonus_maps, transitions_of
from envs.spaces import EnvSpec
from envs.tasks import World
from intrinsic.base import IntrinsicBonus

DOORKEY = World("minigrid", {"env_id": "MiniGrid-DoorKey-5x5-v0", "view": "symbolic"})


class KeyInView(IntrinsicBonus):
    """A bonus of 1 where the next observation shows a key (object 5)."""

    def score(self, batch):
        return (batch.next_obs[:, 0] == 5).flatten(1).any(1).float()

    def learn(self, batch, generator):
        return {}


def test_a_map_holds_the_mean_over_actions_and_headings_in_each_cell():
    transitions = transitions_of(DOORKEY)
    box = gym.spaces.Box(0, 10, (3, 7, 7), np.uint8)
    bonus = KeyInView(EnvSpec(gym.spaces.Dict({"image": box}), gym.spaces.Discrete(7)))
    values = bonus_maps(transitions, [bonus])["keyinview"]
    assert values.shape == (5, 5)
    # 3x3 inside the walls; one column is wall and door, one cell the key, one the goal: 3 + 3 - 2 can be stood on
    assert np.isfinite(values).sum() == 4
    key_shown = (transitions.next_obs[..., 0] == 5).any((1, 2))
    for cell in np.unique(transitions.cell):
        assert values.ravel()[cell] == pytest.approx(key_shown[transitions.cell == cell].mean())
    # the key is in view from some headings and not from others
    assert 0 < np.nanmax(values) < 1


def test_envs_without_cells_have_no_map():
    assert transitions_of(World("counting", {"size": 8})) is None


def test_the_noisy_tv_has_a_map():
    transitions = transitions_of(World("noisy-tv", {"view": "symbolic"}))
    assert transitions.shape == (19, 19)
