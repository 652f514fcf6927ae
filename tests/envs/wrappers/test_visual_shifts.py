"""Shifts by their values, and a shifted env that differs from its env in nothing but pixels."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from envs import ENVIRONMENTS
from envs.counting import CountingVectorEnv
from envs.procgen.env import ProcgenVectorEnv
from envs.registry import UsageError
from envs.wrappers.sb3 import Sb3VecEnv
from envs.wrappers.visual_shifts import SHIFTS, Shift, ShiftedEnv, ShiftedVectorEnv


def images(n=3, h=16, w=12, c=3, low=0, high=256):
    return np.random.default_rng(0).integers(low, high, (n, h, w, c), np.uint8)


def pixel(*rgb):
    return np.array(rgb, np.uint8).reshape(1, 1, 1, 3)


@pytest.mark.parametrize("name", SHIFTS)
@pytest.mark.parametrize("strength", [1, 2, 3])
def test_images_are_fresh_uint8_and_the_given_ones_stay(name, strength):
    given = images()
    before = given.copy()
    out = Shift(name, strength)(given)
    assert (out.shape, out.dtype, out.flags.c_contiguous) == (given.shape, np.uint8, True)
    assert (out != given).any()
    assert not np.shares_memory(out, given)
    np.testing.assert_array_equal(given, before)
    np.testing.assert_array_equal(out, Shift(name, strength)(given))


def test_channels_are_reordered():
    assert [Shift("channels", s)(pixel(10, 20, 30)).ravel().tolist() for s in (1, 2, 3)] == [
        [10, 30, 20],
        [20, 30, 10],
        [30, 10, 20],
    ]


def test_hue_rotates_about_the_grey_axis():
    # 120 degrees: red becomes green, green blue, blue red; 180 degrees: x -> 2 mean - x
    given = images()
    np.testing.assert_array_equal(Shift("hue", 2)(given), given[..., [2, 0, 1]])
    assert Shift("hue", 3)(pixel(100, 130, 70)).ravel().tolist() == [100, 70, 130]  # mean 100
    # 60 degrees: (1 - 1/2) / 3 = 1/6, sin / sqrt 3 = 1/2, so rows (2/3, -1/3, 2/3) and its rolls:
    # 2/3 90 - 1/3 60 + 2/3 30 = 60; 2/3 90 + 2/3 60 - 1/3 30 = 90; -1/3 90 + 2/3 60 + 2/3 30 = 30
    assert Shift("hue", 1)(pixel(90, 60, 30)).ravel().tolist() == [60, 90, 30]
    grey = np.full((1, 4, 4, 3), 77, np.uint8)
    for strength in (1, 2, 3):
        np.testing.assert_array_equal(Shift("hue", strength)(grey), grey)


def test_invert_twice_is_the_identity():
    given = images()
    for strength in (1, 2, 3):
        once = Shift("invert", strength)(given)
        np.testing.assert_array_equal(Shift("invert", strength)(once), given)
    assert [Shift("invert", s)(pixel(10, 20, 30)).ravel().tolist() for s in (1, 2, 3)] == [
        [10, 20, 225],
        [10, 235, 225],
        [245, 235, 225],
    ]
    np.testing.assert_array_equal(Shift("invert", 1)(images(c=4)), 255 - images(c=4))


def test_gamma_keeps_black_and_white_and_darkens_between():
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    for strength in (1, 2, 3):
        out = Shift("gamma", strength)(ramp).ravel()
        assert (out[0], out[255]) == (0, 255)
        assert (np.diff(out.astype(int)) >= 0).all()
    # 255 * (100 / 255)^2.2 = 255 * 0.1275 = 32.5
    assert Shift("gamma", 2)(ramp).ravel()[100] in (32, 33)


def test_noise_has_its_sigma_and_is_drawn_by_its_key():
    grey = np.full((4, 32, 32, 3), 128, np.uint8)
    for strength, sigma in ((1, 8), (2, 16), (3, 32)):
        out = Shift("noise", strength)(grey).astype(float) - 128
        # 12288 draws: the mean's standard error is sigma / 111
        assert abs(out.mean()) < 4 * sigma / 111
        assert out.std() == pytest.approx(sigma, rel=0.04)
        neighbours = np.corrcoef(out[:, :, 1:].ravel(), out[:, :, :-1].ravel())[0, 1]
        assert abs(neighbours) < 4 / 111
        assert abs(np.corrcoef(out[0].ravel(), out[1].ravel())[0, 1]) < 4 / 55  # 3072 draws
    keys = np.array([5, 6, 5, 7], np.uint64)
    out = Shift("noise", 3)(grey, keys)
    np.testing.assert_array_equal(out[0], out[2])
    assert (out[0] != out[1]).mean() > 0.9
    assert Shift("noise", 1)(images(2, 5, 7, 1)).shape == (2, 5, 7, 1)  # 35 numbers, no multiple of 8


def test_blur_spreads_a_point_by_hand_and_keeps_a_constant():
    for strength in (1, 2, 3):
        flat = np.full((2, 9, 7, 3), 201, np.uint8)
        np.testing.assert_array_equal(Shift("blur", strength)(flat), flat)
    point = np.zeros((1, 5, 5, 1), np.uint8)
    point[0, 2, 2, 0] = 160
    # [1 2 1] / 4 twice: 160 -> 40 80 40 -> (10 20 10), (20 40 20), (10 20 10)
    expected = np.zeros((5, 5), int)
    expected[1:4, 1:4] = [[10, 20, 10], [20, 40, 20], [10, 20, 10]]
    np.testing.assert_array_equal(Shift("blur", 1)(point)[0, :, :, 0], expected)
    corner = np.zeros((1, 4, 4, 1), np.uint8)
    corner[0, 0, 0, 0] = 160  # the border repeats: 160 -> (1 + 2) / 4 = 120, 40 -> 90 30, 30 10
    np.testing.assert_array_equal(Shift("blur", 1)(corner)[0, :2, :2, 0], [[90, 30], [30, 10]])


@pytest.mark.parametrize("name", ["hue", "invert", "gamma", "noise", "blur"])
def test_a_higher_strength_changes_more(name):
    given = images(4, 32, 32, 3, 100, 156)  # away from black and white, where changes are cut
    change = [np.abs(Shift(name, s)(given).astype(int) - given).mean() for s in (1, 2, 3)]
    if name == "hue":  # the mean hides it: three colours move in a circle. The length of the move is 2 r sin(angle / 2)
        moves = [np.sqrt(((Shift(name, s)(given).astype(float) - given) ** 2).sum(-1)).mean() for s in (1, 2, 3)]
        np.testing.assert_allclose(np.array(moves) / moves[2], [0.5, np.sqrt(3) / 2, 1], atol=0.02)
    else:
        assert 0 < change[0] < change[1] < change[2]


class Told(CountingVectorEnv):
    """The counting world, its image in a dict."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.single_observation_space = gym.spaces.Dict(
            {"image": self.single_observation_space, "pose": gym.spaces.Box(-1, 1, (2,), np.float32)}
        )
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, self.num_envs)

    def _observe(self, rows):
        return {"image": super()._observe(rows), "pose": np.full((len(rows), 2), 0.5, np.float32)}


def image(seen):
    return seen["image"] if isinstance(seen, dict) else seen


@pytest.mark.parametrize("cls", [CountingVectorEnv, Told])
def test_a_shifted_env_differs_in_nothing_but_pixels(cls):
    plain, shifted = cls(3, seed=2), ShiftedVectorEnv(cls(3, seed=2), "hue", 1)
    seen, _ = plain.reset()
    other, _ = shifted.reset()
    rng, ends = np.random.default_rng(0), 0
    for _ in range(40):
        np.testing.assert_array_equal(image(other), Shift("hue", 1)(image(seen)))
        assert shifted.observation_space.contains(other)
        actions = rng.integers(plain.num_actions, size=3)
        seen, *told, infos = plain.step(actions)
        other, *others, shifted_infos = shifted.step(actions)
        for x, y in zip(told, others, strict=True):
            np.testing.assert_array_equal(x, y)
        assert set(infos) == set(shifted_infos)
        for i in np.flatnonzero(told[1] | told[2]):
            last, changed = infos["final_obs"][i], shifted_infos["final_obs"][i]
            np.testing.assert_array_equal(image(changed), Shift("hue", 1)(image(last)[None])[0])
            if isinstance(last, dict):
                np.testing.assert_array_equal(changed["pose"], last["pose"])
            ends += 1
    assert ends > 3
    assert shifted.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert shifted.exact_state
    assert shifted.num_actions == plain.num_actions
    np.testing.assert_array_equal(shifted.scripted(), plain.scripted())


def test_noise_is_new_each_step_and_repeats_with_the_seed():
    few, many = (ShiftedVectorEnv(CountingVectorEnv(n, seed=3), "noise", 2) for n in (2, 5))
    first, _ = few.reset(seed=7)
    np.testing.assert_array_equal(first, many.reset(seed=7)[0][:2])
    second = few.step(np.zeros(2, int))[0]
    np.testing.assert_array_equal(second, many.step(np.zeros(5, int))[0][:2])
    quiet = CountingVectorEnv(2, seed=3)
    start = quiet.reset(seed=7)[0].astype(int)
    later = quiet.step(np.zeros(2, int))[0].astype(int)
    dark = (start == 0) & (later == 0)  # where both frames are black only noise differs
    assert ((first != second) & dark).any()
    np.testing.assert_array_equal(few.reset(seed=7)[0], first)
    assert (few.reset()[0] != first).any()
    mask = np.array([False, True])
    before = few.step(np.zeros(2, int))[0]
    np.testing.assert_array_equal(few.reset(options={"reset_mask": mask}, seed=None)[0][0], before[0])


def test_it_goes_on_from_its_state_noise_included():
    first, second = (ShiftedVectorEnv(CountingVectorEnv(3, seed=s), "noise", 3) for s in (1, 9))
    first.reset()
    rng = np.random.default_rng(0)
    for actions in rng.integers(first.num_actions, size=(17, 3)):
        first.step(actions)
    second.set_state(first.state())
    for actions in rng.integers(first.num_actions, size=(25, 3)):
        one, two = first.step(actions), second.step(actions)
        for x, y in zip(one[:4], two[:4], strict=True):
            np.testing.assert_array_equal(x, y)
        if "final_obs" in one[4]:
            for i in np.flatnonzero(one[4]["_final_obs"]):
                np.testing.assert_array_equal(one[4]["final_obs"][i], two[4]["final_obs"][i])


@pytest.mark.procgen
def test_a_final_frame_that_is_the_previous_one_keeps_its_noise():
    env = ShiftedVectorEnv(ProcgenVectorEnv(8, seed=2, num_levels=100), "noise", 3)
    before, _ = env.reset()
    rng, ends = np.random.default_rng(1), 0
    for _ in range(100):
        after, _, terminated, _, infos = env.step(rng.choice([7, 8], 8))
        for row in np.flatnonzero(terminated):
            np.testing.assert_array_equal(infos["final_obs"][row], before[row])
            ends += 1
        before = after
    assert ends > 3
    env.close()


def test_rendered_frames_are_the_observations():
    env = ShiftedVectorEnv(CountingVectorEnv(2, render_mode="rgb_array"), "noise", 1)
    seen, _ = env.reset()
    np.testing.assert_array_equal(env.render(), seen)
    assert ShiftedVectorEnv(CountingVectorEnv(2)).render() is None


def test_a_suite_can_name_it_and_the_adapter_takes_it():
    options = {"env_name": "counting", "shift": "gamma", "strength": 1, "num_levels": 7}
    env = ENVIRONMENTS.resolve("shifted")(num_envs=3, seed=4, **options)
    assert isinstance(env, ShiftedEnv)
    assert (env.env.num_levels, env.seed) == (7, 4)
    adapter = Sb3VecEnv(env)
    adapter.reset()
    for _ in range(20):
        _, _, done, rows = adapter.step(np.zeros(3, int))
        assert all("terminal_observation" in rows[i] for i in np.flatnonzero(done))
    again = Sb3VecEnv(ShiftedEnv(3, "counting", shift="gamma", strength=1, num_levels=7))
    again.reset()
    again.load_state_dict(adapter.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inverted",), "did you mean 'invert'"),
        (("hue", 0), "strength=0 is not known; give 1, 2 or 3"),
        (("hue", 4), "strength=4"),
        (("hue", True), "strength=True"),
    ],
)
def test_a_bad_shift_is_one_line(arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        ShiftedVectorEnv(CountingVectorEnv(2), *arguments)
    assert "\n" not in str(caught.value)


def test_an_env_without_fitting_images_is_refused():
    env = CountingVectorEnv(2)
    env.single_observation_space = gym.spaces.Box(0, 255, (64, 64, 1), np.uint8)
    with pytest.raises(UsageError, match="needs images of 3 channels, these have 1"):
        ShiftedVectorEnv(env, "hue")
    assert ShiftedVectorEnv(env, "invert").shift.name == "invert"
    env.single_observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    with pytest.raises(UsageError, match="changes uint8 images"):
        ShiftedVectorEnv(env, "invert")
