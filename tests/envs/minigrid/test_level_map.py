"""Transitions over the cells of a level: complete, in place, and averaged by cell."""

import numpy as np

from envs.level_map import LevelTransitions
from envs.minigrid.env import MiniGridVectorEnv


def make(num_envs):
    return MiniGridVectorEnv(num_envs, "MiniGrid-DoorKey-5x5-v0", view="symbolic", num_levels=1)


def test_every_action_from_every_direction_on_every_cell_once():
    transitions = make(1).level_map(make)
    cells = np.unique(transitions.cell)
    assert transitions.shape == (5, 5)
    assert transitions.picture.shape == (40, 40, 3)
    assert len(transitions.action) == len(cells) * 4 * 7
    for cell in cells:
        chosen = transitions.cell == cell
        assert np.bincount(transitions.action[chosen]).tolist() == [4] * 7
        # turning right from a direction shows what turning left from the opposite one shows
        right = {o.tobytes() for o in transitions.next_obs[chosen & (transitions.action == 1)]}
        left = {o.tobytes() for o in transitions.next_obs[chosen & (transitions.action == 0)]}
        assert right == left == {o.tobytes() for o in transitions.obs[chosen]}


def test_the_start_cell_of_the_level_is_among_the_cells():
    env = make(1)
    _, infos = env.reset()
    x, y = infos["agent_pos"][0]
    assert y * 5 + x in env.level_map(make).cell


def test_averages_by_cell_leave_out_cells_without_a_transition():
    empty = np.zeros(3)
    transitions = LevelTransitions(empty, (1, 3), np.array([0, 2, 2]), empty, empty, empty)
    np.testing.assert_array_equal(transitions.average(np.array([5.0, 1.0, 2.0])), [[5.0, np.nan, 1.5]])
