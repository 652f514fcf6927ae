"""Keys, images and their memory order, by value."""

import gymnasium as gym
import numpy as np
import pytest

from envs.spaces import (
    channels_first,
    default_key,
    image_of,
    is_image,
    keyed,
    keyed_space,
    to_channels_first,
    with_image,
)

IMAGE = gym.spaces.Box(0, 255, (2, 4, 3), np.uint8)
VECTOR = gym.spaces.Box(-1, 1, (4,), np.float32)


@pytest.mark.parametrize(
    ("space", "image"),
    [
        (IMAGE, True),
        (VECTOR, False),
        (gym.spaces.Box(0, 1, (2, 4, 3), np.float32), False),
        (gym.spaces.Box(0, 255, (2, 4), np.uint8), False),
        (gym.spaces.Discrete(3), False),
        (None, False),
    ],
)
def test_images_are_uint8_of_three_axes(space, image):
    assert is_image(space) is image


def test_a_bare_image_is_image_and_a_bare_vector_is_state():
    assert (default_key(IMAGE), default_key(VECTOR)) == ("image", "state")
    assert keyed_space(VECTOR) == gym.spaces.Dict({"state": VECTOR})
    both = gym.spaces.Dict({"image": IMAGE, "pose": VECTOR})
    assert keyed_space(both) is both
    assert keyed(7, VECTOR) == {"state": 7}
    assert keyed({"image": 1, "pose": 2}, both) == {"image": 1, "pose": 2}


def test_channels_move_to_the_front_without_a_copy():
    frames = np.arange(2 * 2 * 4 * 3, dtype=np.uint8).reshape(2, 2, 4, 3)
    shown = to_channels_first(frames)
    assert shown.shape == (2, 3, 2, 4)
    assert shown[1, 2, 0, 3] == frames[1, 0, 3, 2] == 24 + 3 * 3 + 2
    assert np.shares_memory(shown, frames)
    assert to_channels_first(frames[0]).shape == (3, 2, 4)
    assert channels_first(IMAGE) == gym.spaces.Box(0, 255, (3, 2, 4), np.uint8)


def test_an_image_is_replaced_beside_other_keys():
    assert with_image("old", "new") == "new"
    observation = {"image": "old", "pose": 1}
    assert with_image(observation, "new") == {"image": "new", "pose": 1}
    assert observation["image"] == "old"
    assert image_of(observation) == image_of("old") == "old"
