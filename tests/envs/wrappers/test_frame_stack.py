"""Stacked frames: the place of every frame, above all around the ends of episodes."""

import numpy as np
import pytest

from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from envs.tasks import World
from envs.wrappers.frame_stack import StackedVectorEnv
from envs.wrappers.sb3 import Sb3VecEnv


def make(num_envs=3, frames=4, **options):
    return StackedVectorEnv(
        CountingVectorEnv(num_envs, **{"size": 8, "episode_length": 3, "seed": 1, **options}), frames
    )


def steps(stack):
    """Pixel (0, 0) counts (env, episode, step): the step that each of the k frames shows, oldest first."""
    return stack[..., 0, 0, :].reshape(*stack.shape[:-3], -1, 3)[..., 2].tolist()


def episodes(stack):
    return stack[..., 0, 0, :].reshape(*stack.shape[:-3], -1, 3)[..., 1].tolist()


def test_oldest_first_and_an_episode_opens_with_copies_of_its_first_frame():
    env = make()
    seen, _ = env.reset()
    assert seen.shape == (3, 8, 8, 12)
    assert env.observation_space.contains(seen)
    assert steps(seen) == [[0, 0, 0, 0]] * 3
    seen = env.step(np.zeros(3, int))[0]
    assert steps(seen) == [[0, 0, 0, 1]] * 3
    seen = env.step(np.zeros(3, int))[0]
    assert steps(seen) == [[0, 0, 1, 2]] * 3
    # episode e of env i lasts 3 + (i + e) % 4 steps: env 0 ends now, env 1 after its fourth step, env 2 after its fifth
    seen, _, terminated, truncated, infos = env.step(np.zeros(3, int))
    assert (terminated | truncated).tolist() == [True, False, False]
    assert steps(seen) == [[0, 0, 0, 0], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert episodes(seen) == [[1] * 4, [0] * 4, [0] * 4]
    assert steps(infos["final_obs"][0]) == [0, 1, 2, 3]
    assert episodes(infos["final_obs"][0]) == [0] * 4
    assert infos["final_obs"][1] is None
    seen, _, _, truncated, infos = env.step(np.zeros(3, int))
    assert truncated.tolist() == [False, True, False]
    assert steps(seen) == [[0, 0, 0, 1], [0, 0, 0, 0], [1, 2, 3, 4]]
    assert steps(infos["final_obs"][1]) == [1, 2, 3, 4]


def test_every_stacked_frame_is_the_env_s_own():
    stacked, plain = make(frames=2, seed=6), CountingVectorEnv(3, size=8, episode_length=3, seed=6)
    before = plain.reset()[0]
    stacked.reset()
    for _ in range(12):
        seen = stacked.step(np.ones(3, int))[0]
        now, _, terminated, truncated, _ = plain.step(np.ones(3, int))
        np.testing.assert_array_equal(seen[..., 3:], now)
        ended = terminated | truncated
        np.testing.assert_array_equal(seen[~ended][..., :3], before[~ended])
        np.testing.assert_array_equal(seen[ended][..., :3], now[ended])
        before = now


def test_arrays_are_fresh_and_the_adapter_takes_them():
    env = Sb3VecEnv(make())
    first = env.reset().copy()
    kept = env.reset()
    env.step(np.zeros(3, int))
    assert first.shape == (3, 12, 8, 8)
    np.testing.assert_array_equal(kept[:, 2, 0, 0], [0, 0, 0])  # still the step the oldest frame showed then


def test_state_goes_on_in_another_stack():
    one, two = make(seed=3), make(seed=4)
    one.reset()
    two.reset()
    for _ in range(5):
        one.step(np.ones(3, int))
    two.set_state(one.state())
    for _ in range(9):
        for x, y in zip(one.step(np.ones(3, int))[:4], two.step(np.ones(3, int))[:4], strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_reset_mask_opens_those_rows_only():
    env = make()
    env.reset()
    env.step(np.zeros(3, int))
    seen, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert steps(seen) == [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_a_world_with_frames_makes_a_stack():
    world = World("counting", {"size": 40}).stacked(3)
    assert world.make(2, 0).single_observation_space.shape == (40, 40, 9)
    assert world.with_options(size=36).make(2, 0).single_observation_space.shape == (36, 36, 9)
    with pytest.raises(UsageError, match="frames=1"):
        StackedVectorEnv(CountingVectorEnv(2), 1)
