"""Actions of every space by hand: stored, handed to an environment, as numbers for a network, and drawn."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from envs.action_codes import ActionCodes, random_actions
from envs.counter_rng import counter_hash
from envs.registry import UsageError
from tests.envs.action_envs import SPACES

every_space = pytest.mark.parametrize("name", SPACES)


def test_codes_by_hand():
    discrete = ActionCodes(SPACES["Discrete from -2"])
    assert discrete.encode(torch.tensor([4, 0])).tolist() == [[0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    multi = ActionCodes(SPACES["MultiDiscrete"])  # 3 values, 2 values, 4 values
    assert multi.encode(torch.tensor([[2, 0, 1]])).tolist() == [[0, 0, 1, 1, 0, 0, 1, 0, 0]]
    bits = ActionCodes(SPACES["MultiBinary"])
    assert bits.encode(torch.tensor([[1, 0, 1]])).tolist() == [[1, 0, 1]]
    box = ActionCodes(SPACES["Box"])  # from (-1, -1/2, 0) to (1, 2, 1/4)
    assert box.encode(torch.tensor([[-3.0, 0.5, 0.5]])).tolist() == [[-1, 0.5, 0.25]]
    assert [codes.size for codes in (discrete, multi, bits, box)] == [5, 9, 3, 3]
    assert [codes.count for codes in (discrete, multi, bits, box)] == [5, 24, 8, 0]


def test_whole_actions_are_numbered_with_the_first_choice_highest():
    multi, bits = ActionCodes(SPACES["MultiDiscrete"]), ActionCodes(SPACES["MultiBinary"])
    # 2 * (2 * 4) + 0 * 4 + 1 and 1 * 8 + 1 * 4 + 3; the bits 101 are 5
    assert multi.number(torch.tensor([[2, 0, 1], [1, 1, 3]])).tolist() == [17, 15]
    assert bits.number(torch.tensor([[[1, 0, 1]], [[0, 1, 1]]])).tolist() == [[5], [3]]
    assert ActionCodes(SPACES["Discrete"]).number(torch.tensor([3, 1])).tolist() == [3, 1]


def test_what_the_environment_gets_by_hand():
    assert ActionCodes(SPACES["Discrete from -2"]).to_env(np.array([0, 4])).tolist() == [-2, 2]
    multi = ActionCodes(SPACES["MultiDiscrete from 1"]).to_env(np.array([[0, 0], [2, 1]]))
    assert multi.tolist() == [[[1], [-1]], [[3], [0]]]
    box = ActionCodes(SPACES["Box of 2x1"]).to_env(np.array([[-5, 0.5]], np.float32))
    assert box.tolist() == [[[-2], [0.5]]]
    assert box.dtype == np.float64


@every_space
def test_random_actions_lie_in_the_space_and_come_back(name):
    space, codes = SPACES[name], ActionCodes(SPACES[name])
    stored = codes.random(40, np.random.default_rng(0))
    by_counter = codes.by_counter(counter_hash(np.arange(40), 3))
    for actions in (stored, by_counter):
        assert actions.shape == (40, *codes.shape)
        assert all(space.contains(action) for action in codes.to_env(actions))
        np.testing.assert_allclose(codes.from_env(codes.to_env(actions)), actions)
        assert torch.from_numpy(actions).dtype == codes.dtype
        assert len(np.unique(actions.reshape(40, -1), axis=0)) > 2
    assert codes.encode(torch.from_numpy(stored)).shape == (40, codes.size)
    np.testing.assert_array_equal(random_actions(space, 40, np.random.default_rng(0)), codes.to_env(stored))


@every_space
def test_random_actions_are_uniform(name):
    codes = ActionCodes(SPACES[name])
    many = 20_000
    for stored in (codes.random(many, np.random.default_rng(1)), codes.by_counter(counter_hash(np.arange(many), 5))):
        columns = stored.reshape(many, -1).astype(np.float64)
        if codes.is_box:
            low, high = codes.bounds
            np.testing.assert_allclose(columns.mean(0), (low + high) / 2, atol=0.03)
            np.testing.assert_allclose(columns.std(0), (high - low) / 12**0.5, rtol=0.03)
        for column, choices in zip(columns.T, codes.choices, strict=False):
            np.testing.assert_allclose(np.bincount(column.astype(int)) / many, 1 / choices, atol=0.02)
        if columns.shape[1] > 1:  # independent of each other
            assert abs(np.corrcoef(columns.T)[0, 1]) < 0.03


def test_where_nothing_acts_codes_are_empty():
    codes = ActionCodes(None)
    assert (codes.size, codes.count, codes.shape) == (0, 0, ())
    assert codes.encode(torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 0)


def test_a_box_without_bounds_has_no_random_actions():
    codes = ActionCodes(gym.spaces.Box(-np.inf, 1, (2,)))
    with pytest.raises(UsageError, match="its bounds must be finite") as error:
        codes.random(3, np.random.default_rng(0))
    assert "\n" not in str(error.value)
