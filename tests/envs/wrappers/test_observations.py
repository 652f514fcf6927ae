"""Observations from elsewhere: what each space becomes, value by value, and what is refused."""

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Text
from gymnasium.wrappers import FrameStackObservation
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.tasks import World
from envs.wrappers.faults import EnvFault
from envs.wrappers.observations import Conversion, stacked_frames
from envs.wrappers.sb3 import Sb3VecEnv
from tests.envs.clock import Clock

H, W = 40, 48
PIXELS = np.random.default_rng(0).integers(0, 256, (2, H, W, 3), dtype=np.uint8)
RGB = Box(0, 255, (H, W, 3), np.uint8)


def test_a_dict_of_all_kinds_becomes_an_image_and_vectors():
    space = Dict(
        {
            "camera": RGB,
            "turn": Discrete(4, start=2),
            "bits": MultiBinary(3),
            "gears": MultiDiscrete([2, 3]),
            "goal": Box(-1, 1, (2, 2), np.float64),
            "says": Text(5),
        }
    )
    conversion = Conversion(space)
    raw = {
        "camera": PIXELS,
        "turn": np.array([2, 5]),
        "bits": np.array([[1, 0, 1], [0, 0, 1]], np.int8),
        "gears": np.array([[1, 0], [0, 2]]),
        "goal": np.arange(8.0).reshape(2, 2, 2),
        "says": ("a", "b"),
    }
    shown = conversion.batch(raw)
    assert set(shown) == set(conversion.space.spaces) == {"bits", "image", "gears", "goal", "turn"}
    np.testing.assert_array_equal(shown["image"], PIXELS)
    np.testing.assert_array_equal(shown["turn"], [[1, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(shown["gears"], [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]])
    np.testing.assert_array_equal(shown["goal"], [[0, 1, 2, 3], [4, 5, 6, 7]])
    np.testing.assert_array_equal(shown["bits"], [[1, 0, 1], [0, 0, 1]])
    assert all(value.dtype == np.float32 for key, value in shown.items() if key != "image")
    last = conversion.single({key: value[1] for key, value in raw.items()} | {"turn": 5})  # a number, as envs give it
    for key, value in last.items():
        np.testing.assert_array_equal(value, shown[key][1])
        assert (value.shape, value.dtype) == (conversion.space[key].shape, conversion.space[key].dtype)
    assert "camera (as 'image'): image of 40x48, 3 channels, one frame (uint8 (40, 48, 3), channels last)" in (
        conversion.about
    )
    assert "says: text, left out" in conversion.about


@pytest.mark.parametrize(
    ("raw", "low", "high", "frames"),
    [
        (PIXELS.transpose(0, 3, 1, 2), 0, 255, 1),  # channels first
        (PIXELS.astype(np.float64) / 255, 0, 1, 1),
        (PIXELS.astype(np.float32) / 127.5 - 1, -1, 1, 1),
        (PIXELS.astype(np.int64), 0, 255, 1),
        (PIXELS.transpose(0, 3, 1, 2)[..., None], 0, 255, 3),  # three grey frames
    ],
)
def test_images_of_any_order_and_kind_become_bytes(raw, low, high, frames):
    conversion = Conversion(Box(low, high, raw.shape[1:], raw.dtype))
    assert (conversion.space, conversion.frames) == (RGB, frames)
    np.testing.assert_array_equal(conversion.batch(raw), PIXELS)
    np.testing.assert_array_equal(conversion.single(raw[1]), PIXELS[1])
    assert conversion.batch(raw).flags.c_contiguous


def test_a_stack_of_colour_frames_goes_into_the_channels_oldest_first():
    stack = np.stack([PIXELS, PIXELS // 2], axis=1)
    conversion = Conversion(Box(0, 255, stack.shape[1:], np.uint8))
    shown = conversion.batch(stack)
    assert (shown.shape, conversion.frames) == ((2, H, W, 6), 2)
    np.testing.assert_array_equal(shown[..., :3], PIXELS)
    np.testing.assert_array_equal(shown[..., 3:], PIXELS // 2)


def test_what_agents_read_already_stays_the_very_same():
    space = Dict({"image": RGB, "pose": Box(-1, 1, (3,), np.float32)})
    conversion = Conversion(space)
    raw = {"image": PIXELS, "pose": np.zeros((2, 3), np.float32)}
    assert not conversion.changes
    assert all(conversion.batch(raw)[key] is value for key, value in raw.items())
    assert conversion.space == space
    texts = Conversion(Dict({**space.spaces, "says": Text(5)}))
    assert texts.changes
    assert set(texts.batch({**raw, "says": ("a", "b")})) == set(space)


def test_vectors_without_an_image_are_joined_and_scalars_are_vectors():
    conversion = Conversion(Dict({"a": Box(0, 1, (2,)), "b": Discrete(3)}))
    shown = conversion.batch({"a": np.array([[0.5, 0.25]], np.float32), "b": np.array([1])})
    np.testing.assert_array_equal(shown["state"], [[0.5, 0.25, 0, 1, 0]])
    assert Conversion(Discrete(3)).space == Box(0, 1, (3,))
    assert Conversion(Box(-1, 1, ())).batch(np.array([0.5, -0.5])).tolist() == [[0.5], [-0.5]]


def test_the_order_and_the_frames_can_be_named():
    codes = Box(0, 10, (12, 7, 7), np.uint8)
    assert Conversion(codes).space.shape == (12, 7, 7)  # a tie: taken for channels last, and said
    named = Conversion(codes, "first", 4)
    assert (named.space.shape, named.frames) == ((7, 7, 12), 4)
    assert "3 channels, 4 frames in them" in named.about[0]
    assert Conversion(codes, "none").space.shape == (12 * 7 * 7,)


@pytest.mark.parametrize(
    ("space", "wrong"),
    [
        (Box(-np.inf, np.inf, (H, W, 3), np.float32), r"finite bounds.*--image-channels none"),
        (Dict({"image": RGB, "net": Graph(Discrete(2), None)}), "observation 'net' is Graph"),
        (Discrete(5000), "5,000 values; at most 4,096"),
        (Dict({"left": RGB, "right": RGB}), "images left, right: networks read the one called 'image'"),
        (Text(5), "holds nothing that a network reads"),
    ],
)
def test_what_no_network_reads_is_refused_with_a_cure(space, wrong):
    with pytest.raises(UsageError, match=wrong) as caught:
        Conversion(space)
    assert "\n" not in str(caught.value)


def test_floats_outside_of_their_space_are_refused_not_wrapped_around():
    conversion = Conversion(Box(0, 1, (H, W, 3), np.float32))
    for wrong in (1.5, np.nan):
        with pytest.raises(UsageError, match=r"outside of its space, \[0, 1\]"):
            conversion.batch(np.full((2, H, W, 3), wrong, np.float32))
    with pytest.raises(UsageError, match="5 frames cannot share"):
        Conversion(RGB, frames=5)


@pytest.mark.parametrize(
    ("space", "wrong"),
    [
        (Discrete(4), np.array([0, 4])),
        (Discrete(4, start=2), np.array([1, 2])),
        (MultiDiscrete([2, 3]), np.array([[0, 0], [2, 0]])),  # would be shown as the first value of the second choice
        (Box(0, 10, (H, W, 3), np.int64), np.full((2, H, W, 3), 256)),  # would be shown as 0
        (Box(0, 10, (H, W, 3), np.int64), np.full((2, H, W, 3), -1)),
    ],
)
def test_whole_numbers_outside_of_their_space_are_refused(space, wrong):
    with pytest.raises(UsageError, match="outside of its space") as caught:
        Conversion(space).batch(wrong)
    assert "\n" not in str(caught.value)


class Pixels(Clock):
    """Frames that show the step in every pixel; ``frames`` counts them, and stacks none."""

    action_space, episode_length = Discrete(3), 5

    def __init__(self, shape=(H, W, 1), render_mode=None):
        self.observation_space, self.render_mode = Box(0, 255, shape, np.uint8), render_mode
        self.frames = 7

    def seen(self):
        self.frames += 1
        return np.full(self.observation_space.shape, 10 * self.time, np.uint8)


def stacked_pixels(frames=4, **options):
    return FrameStackObservation(Pixels((H, W), **options), frames)


def test_frames_are_told_by_the_wrapper_that_stacks_them():
    env = World(f"{__name__}:stacked_vector").make(2, 0)
    assert (env.frames, env.single_observation_space.shape) == (4, (H, W, 4))
    world = World("gymnasium", {"id": f"{__name__}:stacked_pixels", "frames": 3})
    assert world.make(2, 0).frames == 3
    assert world.stacked(2).make(2, 0).frames == 6  # two of three each
    assert EnvSpec.of(VecFrameStack(DummyVecEnv([Pixels] * 2), 5)).frames == 5
    assert EnvSpec.of(VecFrameStack(Sb3VecEnv(world.make(2, 0)), 2)).frames == 6
    assert stacked_frames(Pixels()) is None


def stacked_vector(num_envs, seed):
    made = World("gymnasium", {"id": f"{__name__}:stacked_pixels"}).make(num_envs, seed)
    made.reset()
    seen, _, _, _, infos = made.step(np.zeros(num_envs, int))
    assert seen[0, 0, 0].tolist() == [0, 0, 0, 10]
    for _ in range(4):
        seen, _, _, _, infos = made.step(np.zeros(num_envs, int))
    assert infos["final_obs"][1][0, 0].tolist() == [20, 30, 40, 50]  # converted as all others
    assert seen[0, 0, 0].tolist() == [0, 0, 0, 0]
    return made


class Astray(Clock):
    """The time, whose last value its space lacks."""

    observation_space, action_space, episode_length = Discrete(3), Discrete(2), 3

    def seen(self):
        return self.time


def test_a_bad_last_observation_names_its_environment_and_step():
    env = World("gymnasium", {"id": f"{__name__}:Astray"}).make(2, 0)
    env.reset()
    for _ in range(2):
        env.step(np.zeros(2, int))
    with pytest.raises(EnvFault, match=r"test_observations:Astray', step 3: observation holds 3, outside of its space"):
        env.step(np.zeros(2, int))


def test_last_observations_of_truncated_episodes_are_converted_too():
    env = World("gymnasium", {"id": f"{__name__}:Astray", "episode_limit": 2}).make(2, 0)
    env.reset()
    env.step(np.zeros(2, int))
    seen, _, terminated, truncated, infos = env.step(np.zeros(2, int))
    assert (terminated.any(), truncated.all()) == (False, True)
    assert [last.tolist() for last in infos["final_obs"]] == [[0, 0, 1]] * 2
    assert seen.tolist() == [[1, 0, 0]] * 2


class Named(Clock):
    """Vectors, one of them under a key that is the toolkit's own."""

    observation_space = Dict({"state": Box(0, 1, (2,)), "features": Box(0, 1, (2,))})
    action_space = Discrete(2)


def test_keys_that_the_toolkit_adds_itself_are_refused():
    with pytest.raises(UsageError, match="Named': observation 'features': the toolkit itself adds an entry"):
        World("gymnasium", {"id": f"{__name__}:Named"}).make(2, 0)
