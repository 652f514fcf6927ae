"""The last action and reward as observations: by hand, around the ends of episodes, saved, on named levels."""

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from envs.counting import CountingVectorEnv
from envs.tasks import World
from envs.wrappers.last_step import LastStepVectorEnv


class Script(VectorEnv):
    """Two envs with three actions, numbered from 5; rewards, ends and stale final frames as ``next`` says."""

    num_envs = 2
    single_action_space = gym.spaces.Discrete(3, start=5)
    action_space = gym.spaces.MultiDiscrete([3, 3], start=[5, 5])
    single_observation_space = gym.spaces.Box(0, 9, (1,), np.float32)
    observation_space = gym.spaces.Box(0, 9, (2, 1), np.float32)

    def reset(self, *, seed=None, options=None):
        return np.zeros((2, 1), np.float32), {}

    def step(self, actions):
        reward, ended, previous = map(np.array, self.next)
        infos = {}
        if ended.any():
            finals = np.full(2, None, object)
            finals[np.flatnonzero(ended)] = [np.array([7.0], np.float32)] * int(ended.sum())
            infos = {"final_obs": finals, "_final_obs": ended, "final_obs_is_previous": previous}
        return np.ones((2, 1), np.float32), reward, ended, np.zeros(2, bool), infos


def seen(observation):
    return observation["last_action"].tolist(), observation["last_reward"].ravel().tolist()


def test_the_next_observation_shows_what_was_done_and_earned():
    env = LastStepVectorEnv(Script())
    observation, _ = env.reset()
    assert seen(observation) == ([[0, 0, 0]] * 2, [0, 0])
    assert observation["state"].tolist() == [[0], [0]]
    env.env.next = (0.25, -3.0), (False, False), (False, False)
    observation = env.step(np.array([5, 7]))[0]
    assert seen(observation) == ([[1, 0, 0], [0, 0, 1]], [0.25, -1])  # clipped to [-1, 1]
    assert env.observation_space.contains(observation)
    # both end; env 1 cannot show its final frame, so that shows what came with the frame before
    env.env.next = (2.0, 0.5), (True, True), (False, True)
    observation, *_, infos = env.step(np.array([6, 6]))
    assert seen(observation) == ([[0, 0, 0]] * 2, [0, 0])
    first, second = infos["final_obs"]
    assert (first["last_action"].tolist(), first["last_reward"].tolist()) == ([0, 1, 0], [1])
    assert (second["last_action"].tolist(), second["last_reward"].tolist()) == ([0, 0, 1], [-1])
    assert first["state"].tolist() == [7]


def test_a_reset_of_some_envs_leaves_the_others_and_a_state_goes_on():
    def make():
        return World("counting", {"size": 8, "episode_length": 5, "num_levels": 9}).with_last_step().make(3, 1)

    env, other = make(), make()
    assert isinstance(env.env, CountingVectorEnv)
    for one in (env, other):
        one.reset()
    shown = env.step(np.array([0, 1, 2]))[0]
    assert shown["last_action"].argmax(1).tolist() == [0, 1, 2]
    other.set_state(env.state())
    mine, theirs = (one.step(np.array([1, 1, 1]))[0] for one in (env, other))
    assert mine.keys() == theirs.keys() == {"image", "last_action", "last_reward"}
    for key, value in mine.items():
        np.testing.assert_array_equal(value, theirs[key])
    mask = np.array([True, False, False])
    shown = env.reset(options={"levels": np.array([4, 0, 0]), "repeats": np.zeros(3, int), "reset_mask": mask})[0]
    assert shown["last_action"].sum(1).tolist() == [0, 1, 1]
    shown = env.reset()[0]
    assert not shown["last_action"].any()


def test_real_numbers_are_shown_as_the_environment_gets_them():
    class Steered(Script):
        single_action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    env = LastStepVectorEnv(Steered())
    env.env.next = [1, 0], [False, True], [False, False]
    observation = env.step(np.float32([[0.5, -3], [1, 1]]))[0]
    # clipped to the box; 0 where an episode begins
    assert observation["last_action"].tolist() == [[0.5, -1], [0, 0]]
    assert env.single_observation_space["last_action"] == gym.spaces.Box(-1, 1, (2,), np.float32)
