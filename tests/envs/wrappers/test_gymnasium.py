"""Gymnasium envs by id: the numbers of the env itself, true final observations, and the adapter and History on top."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from envs.history import History
from envs.registry import UsageError
from envs.spaces import keyed, keyed_space
from envs.tasks import World
from envs.wrappers.gymnasium import GymnasiumVectorEnv
from envs.wrappers.sb3 import Sb3VecEnv

CARTPOLE = World("gymnasium", {"id": "CartPole-v1"})


def test_each_env_is_gymnasiums_own_seeded_by_its_number():
    many = CARTPOLE.make(3, seed=5)
    assert many.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    observations, _ = many.reset()
    singles = [gym.make("CartPole-v1") for _ in range(3)]
    np.testing.assert_array_equal(observations, [env.reset(seed=5 + i)[0] for i, env in enumerate(singles)])
    rng, ends = np.random.default_rng(0), 0
    for _ in range(60):
        actions = rng.integers(2, size=3)
        observations, reward, terminated, truncated, infos = many.step(actions)
        assert (observations.dtype, reward.dtype) == (np.float32, np.float32)
        for i, env in enumerate(singles):
            expected, gain, over, cut, _ = env.step(int(actions[i]))
            assert (reward[i], terminated[i], truncated[i]) == (gain, over, cut)
            if over or cut:
                np.testing.assert_array_equal(infos["final_obs"][i], expected)
                expected, _ = env.reset()
                ends += 1
            np.testing.assert_array_equal(observations[i], expected)
    assert ends > 3


def test_a_later_reset_goes_on_and_a_seed_starts_anew():
    env = CARTPOLE.make(2, seed=5)
    first, second = env.reset()[0], env.reset()[0]
    assert (first != second).all()
    np.testing.assert_array_equal(env.reset(seed=5)[0], first)


def test_options_reach_the_env_and_float64_becomes_float32():
    env = GymnasiumVectorEnv(2, id="Pendulum-v1", g=9.0)
    assert env.unwrapped.envs[0].unwrapped.g == 9.0
    assert (env.num_actions, env.exact_state) == (0, False)

    class Doubles(gym.Env):
        observation_space = gym.spaces.Dict({"state": gym.spaces.Box(-1, 1, (2,), np.float64)})
        action_space = gym.spaces.Discrete(2)

        def __init__(self, render_mode=None):
            self.render_mode = render_mode

        def reset(self, *, seed=None, options=None):
            return {"state": np.full(2, 0.25)}, {}

        def step(self, action):
            return {"state": np.full(2, 0.5)}, 1.0, True, False, {}

    gym.register("Doubles-v0", entry_point=Doubles)
    env = GymnasiumVectorEnv(2, id="Doubles-v0", disable_env_checker=True)
    assert env.single_observation_space["state"].dtype == np.float32
    assert env.reset()[0]["state"].dtype == np.float32
    infos = env.step(np.zeros(2, int))[4]
    assert (infos["final_obs"][1]["state"].dtype, infos["final_obs"][1]["state"].tolist()) == (np.float32, [0.5, 0.5])
    del gym.registry["Doubles-v0"]


def test_the_adapter_and_the_history_hold_a_vector_as_state():
    n, steps = 3, 40
    env = Sb3VecEnv(CARTPOLE.make(n, seed=1))
    assert env.observation_space == gym.make("CartPole-v1").observation_space
    space = keyed_space(env.observation_space)
    assert list(space.spaces) == ["state"]
    history = History(space, steps, n)
    history.begin()
    observation, first = env.reset(), np.ones(n, bool)
    shown, followed, rng = [], [], np.random.default_rng(2)
    for _ in range(steps):
        tensors = {key: torch.from_numpy(value) for key, value in keyed(observation, env.observation_space).items()}
        history.add_obs(tensors, torch.from_numpy(first))
        shown.append(observation)
        actions = rng.integers(2, size=n)
        observation, reward, done, infos = env.step(actions)
        finals = {i: {"state": torch.from_numpy(infos[i]["terminal_observation"])} for i in np.flatnonzero(done)}
        followed.append([infos[i]["terminal_observation"] if done[i] else observation[i] for i in range(n)])
        ended = torch.from_numpy(done)
        history.add_step(torch.from_numpy(actions), torch.from_numpy(reward), ended, ended & False, finals)
        first = done
    history.add_obs({"state": torch.from_numpy(observation)}, torch.from_numpy(first))
    rollout = history.rollout()
    np.testing.assert_array_equal(rollout.obs["state"].numpy(), np.stack(shown))
    np.testing.assert_array_equal(rollout.next_obs["state"].numpy(), np.array(followed))
    assert rollout.terminated.any()
    batch = history.minibatch(torch.tensor([0, 4 * n + 2]))
    np.testing.assert_array_equal(batch.obs["state"][0].numpy(), [shown[0][0], shown[4][2]])


def test_mistakes_are_one_line_that_names_the_id():
    for options in ({"id": "CartPoole-v1"}, {"id": "no_such_module:X-v0"}, {"id": "CartPole-v1", "gravitty": 3}):
        with pytest.raises(UsageError, match=options["id"]) as caught:
            GymnasiumVectorEnv(2, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="num_envs=0"):
        GymnasiumVectorEnv(0)
