"""Frames for a person: the newest in colour, a rendered one where it shows more, symbols as a painted level."""

import os
import sys

import gymnasium as gym
import numpy as np
import pytest

from benchmarks.recording.screen import LARGEST_SIDE, Screen, make_visible
from envs.registry import UsageError
from envs.tasks import World
from envs.wrappers.frame_stack import StackedVectorEnv


def first(world, count=3):
    """The env, its first observation, and the frames of its last two envs."""
    env = make_visible(world, count, 0)
    observation, _ = env.reset(seed=0)
    return env, observation, Screen(env).frames(observation, np.array([1, 2]))


def test_of_stacked_frames_the_newest_is_shown():
    env = StackedVectorEnv(World("counting").make(3, 0), 2)
    observation, _ = env.reset(seed=0)
    for _ in range(2):
        observation = env.step(np.zeros(3, np.int64))[0]
    shown = Screen(env).frames(observation, np.array([0, 2]))
    np.testing.assert_array_equal(shown, observation[[0, 2]][..., 3:])
    assert (observation[..., :3] != observation[..., 3:]).any()


def test_grey_frames_are_shown_in_the_colours_that_are_rendered():
    env, observation, shown = first(World("breakout", {"mode": "gray"}))
    assert observation.shape[-1] == 1
    np.testing.assert_array_equal(shown, np.stack(env.render())[1:])
    assert shown.shape[-1] == 3


def test_symbols_are_shown_as_the_painted_level():
    world = World("minigrid", {"env_id": "MiniGrid-DoorKey-8x8-v0", "view": "symbolic"})
    _, observation, shown = first(world)
    assert observation.shape[1:] == (7, 7, 3)
    whole = World("minigrid", {**world.options, "view": "rgb", "full_view": True, "tile": 20}).make(3, 0)
    np.testing.assert_array_equal(shown, whole.reset(seed=0)[0][1:])


def test_an_environment_of_vectors_is_rendered_and_scaled_down():
    world = World("gymnasium", {"id": "CartPole-v1"})
    pytest.importorskip("pygame")
    _, _, shown = first(world)
    assert shown.shape == (2, round(400 * LARGEST_SIDE / 600), LARGEST_SIDE, 3)


def test_what_shows_nothing_is_refused():
    class Blind(gym.vector.VectorEnv):
        num_envs, render_mode = 2, None
        single_observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)

    with pytest.raises(UsageError, match="neither observes nor renders"):
        Screen(Blind()).frames(np.zeros((2, 4), np.float32), np.array([0]))


@pytest.mark.skipif(sys.platform != "linux", reason="displays of X and Wayland")
@pytest.mark.parametrize(("display", "own", "driver"), [("", None, "dummy"), (":0", None, None), ("", "x11", "x11")])
def test_without_a_display_pygame_opens_none(monkeypatch, display, own, driver):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setenv("SDL_VIDEODRIVER", own or "")
    if own is None:
        monkeypatch.delenv("SDL_VIDEODRIVER")
    make_visible(World("counting"), 1, 0)
    assert os.environ.get("SDL_VIDEODRIVER") == driver
