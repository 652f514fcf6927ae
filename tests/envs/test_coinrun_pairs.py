"""Paired frames equal those of a world with that look; agreement equals what is worked out by hand."""

import numpy as np
import pytest

from envs.coinrun import CoinRunThemesVectorEnv, Themes
from envs.coinrun_pairs import Paired, agreement
from envs.procgen import ProcgenVectorEnv
from envs.registry import UsageError

pytestmark = pytest.mark.procgen
HARD = {"distribution_mode": "hard", "num_levels": 500, "seed": 1}
SOURCE = {"use_backgrounds": False, "restrict_themes": True}
LOOKS = {
    "same": {},
    "backgrounds": {"use_backgrounds": True},
    "themes": {"restrict_themes": False},
    "backgrounds+themes": {"use_backgrounds": True, "restrict_themes": False},
    "monochrome": {"use_monochrome_assets": True},
    "monochrome+colours": {"use_monochrome_assets": True, "use_backgrounds": True, "restrict_themes": False},
    "velocity": {"paint_vel_info": True},
    "wide": {"center_agent": False},
}


@pytest.fixture
def make():
    made = []

    def build(num_envs=8, cls=ProcgenVectorEnv, **options):
        made.append(cls(num_envs, **{**HARD, **options}))
        made[-1].reset()
        return made[-1]

    yield build
    for env in made:
        env.close()


def actions_of(steps, num_envs=8, seed=0):
    return np.random.default_rng(seed).choice([4, 6, 7, 8], (steps, num_envs))


def test_every_look_is_pixel_for_pixel_the_native_one_all_along_and_the_source_is_untouched(make):
    source, alone = make(**SOURCE), make(**SOURCE)
    native = {name: make(**{**SOURCE, **look}) for name, look in LOOKS.items()}
    paired, ends = Paired(source, LOOKS), 0
    for step, actions in enumerate(actions_of(120)):
        shown, *told, _ = source.step(actions)
        expected, *others, _ = alone.step(actions)
        np.testing.assert_array_equal(shown, expected)
        natural = {}
        for name, env in native.items():
            natural[name], *theirs, _ = env.step(actions)
            for x, y, z in zip(told, theirs, others, strict=True):
                np.testing.assert_array_equal(x, y)
                np.testing.assert_array_equal(x, z)
        ends += told[1].sum()
        if step % 10 == 0:
            for name, frames in paired.frames().items():
                np.testing.assert_array_equal(frames, natural[name], err_msg=name)
    assert ends > 5
    frames = paired.frames()
    for name in LOOKS:
        assert (frames[name] != frames["same"]).any() == (name != "same")
    paired.close()


def test_a_patched_state_plays_on_like_the_state_it_came_from(make):
    # the two objects share rewards, ends and levels for 200 steps, over the ends of episodes
    source, other = make(), make()
    paired = Paired(source, {"heldout": Themes("heldout", "heldout", "heldout")})
    shown = paired.frames()["heldout"]
    assert (shown != source._frames).any((1, 2, 3)).all()
    viewer = paired._viewers[False]
    for actions in actions_of(200, seed=3):
        source_step, viewer_step, other_step = source.step(actions), viewer.step(actions), other.step(actions)
        for x, y, z in zip(source_step[1:4], viewer_step[1:4], other_step[1:4], strict=True):
            np.testing.assert_array_equal(x, z)
            np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(source.levels(), viewer.levels())
    paired.close()


def test_themes_of_a_split_are_those_the_split_world_shows(make):
    source, heldout = make(cls=CoinRunThemesVectorEnv), make(cls=CoinRunThemesVectorEnv, themes="heldout")
    paired = Paired(source, {"heldout": Themes("heldout", "heldout", "heldout"), "train": Themes()})
    for actions in actions_of(30):
        shown, expected = source.step(actions)[0], heldout.step(actions)[0]
    frames = paired.frames()
    np.testing.assert_array_equal(frames["heldout"], expected)
    np.testing.assert_array_equal(frames["train"], shown)
    plain = make(restrict_themes=True)  # a restricted source shows them too
    paired.close()
    again = Paired(plain, {"heldout": Themes("heldout", "heldout", "heldout")})
    for actions in actions_of(30):
        plain.step(actions)
    np.testing.assert_array_equal(again.frames()["heldout"], expected)
    again.close()


def test_a_theme_for_each_env_and_other_games(make):
    source = make(2)
    paired = Paired(
        source, {"each": {"wall_theme": np.array([4, 0])}, "fourth": {"wall_theme": 4}, "first": {"wall_theme": 0}}
    )
    frames = paired.frames()
    np.testing.assert_array_equal(frames["each"][0], frames["fourth"][0])
    np.testing.assert_array_equal(frames["each"][1], frames["first"][1])
    assert (frames["fourth"] != frames["first"]).any((1, 2, 3)).all()
    paired.close()
    maze, native = make(2, game="climber"), make(2, game="climber", use_backgrounds=False)
    np.testing.assert_array_equal(Paired(maze, {"x": {"use_backgrounds": False}}).frames()["x"], native._frames)


@pytest.mark.parametrize(
    ("options", "look", "message"),
    [
        ({}, {"wall_theme": 6}, "wall_theme=6"),
        ({}, {"wall_theme": np.array([0, 9])}, "wall_theme=9"),
        ({}, {"wall_theme": np.array([0, 1, 2])}, r"shape \(3,\)"),
        ({}, {"use_background": True}, "did you mean"),
        ({"restrict_themes": True}, {"wall_theme": 3}, "hides wall_theme; give restrict_themes=False"),
        ({"game": "maze"}, Themes(), "in coinrun alone"),
    ],
)
def test_a_bad_look_is_said_before_any_step(make, options, look, message):
    with pytest.raises(UsageError, match=message) as caught:
        Paired(make(2, **options), {"bad": look})
    assert "\n" not in str(caught.value)


def brightness(frames):
    """P(action 7) = mean brightness, the rest on action 0."""
    bright = frames.mean((1, 2, 3)) / 255
    out = np.zeros((len(frames), 15))
    out[:, 7], out[:, 0] = bright, 1 - bright
    return out


def test_agreement_by_hand_on_frames_whose_brightness_is_known(make):
    def dark(frames):  # brightness 0.2: action 0
        return np.full_like(frames, 51)

    def bright(frames):  # brightness 0.8: action 7
        return np.full_like(frames, 204)

    asked = []

    def policy(frames):  # on the source: 0.4 (action 0); so TV to dark 0.2, to bright 0.4
        asked.append(len(frames))
        return brightness(np.where(np.ptp(frames, (1, 2, 3))[:, None, None, None] > 0, 102, frames))

    def half(frames):  # the first two envs bright, the other two dark: agreement 1/2, TV (0.4 + 0.2) / 2
        return np.concatenate([bright(frames[:2]), dark(frames[2:])])

    told = agreement(policy, make(4), {"dark": dark, "bright": bright, "half": half}, steps=7, every=3)
    assert told["dark"] == pytest.approx({"argmax": 1.0, "total_variation": 0.2, "states": 12})
    assert told["bright"] == pytest.approx({"argmax": 0.0, "total_variation": 0.4, "states": 12})
    assert told["half"] == pytest.approx({"argmax": 0.5, "total_variation": 0.3, "states": 12})
    assert len(asked) == 7 + 3 * 3  # every step, and at steps 0, 3 and 6 each look


def test_a_policy_that_ignores_the_image_agrees_with_itself_and_a_policy_that_sees_the_sky_does_not(make):
    blind = np.full(15, 1 / 15)
    told = agreement(lambda frames: np.tile(blind, (len(frames), 1)), make(3, **SOURCE), LOOKS, steps=5, every=2)
    assert set(told) == set(LOOKS)
    assert all(row == {"argmax": 1.0, "total_variation": 0.0, "states": 9.0} for row in told.values())
    source = make(3, **SOURCE)
    told = agreement(brightness, source, {"same": {}, "sky": {"use_backgrounds": True}}, steps=1)
    shown = source.reset(seed=0)[0].mean((1, 2, 3))
    sky = make(3, restrict_themes=True).reset(seed=0)[0].mean((1, 2, 3))
    expected = np.abs(sky - shown) / 255
    assert told["same"]["total_variation"] == 0
    assert told["sky"]["total_variation"] == pytest.approx(expected.mean())
    assert expected.mean() > 0.05


def test_it_plays_what_the_policy_draws_and_repeats_itself(make):
    env, played = make(2, actions="arrows"), []
    step = env.step
    env.step = lambda actions: played.append(actions.copy()) or step(actions)

    def policy(frames):  # action 3 with 1/4, action 8 with 3/4
        return np.tile(np.eye(9)[3] / 4 + np.eye(9)[8] * 3 / 4, (len(frames), 1))

    first = agreement(policy, env, {"same": {}}, steps=400, every=400, seed=5)
    assert set(np.unique(played)) == {3, 8}
    assert (np.array(played) == 8).mean() == pytest.approx(0.75, abs=3 * np.sqrt(0.75 * 0.25 / 800))
    before = played.copy()
    played.clear()
    assert agreement(policy, env, {"same": {}}, steps=400, every=400, seed=5) == first
    np.testing.assert_array_equal(before, played)


def test_probabilities_of_another_shape_are_refused(make):
    env = make(2)
    for bad in (np.full((2, 9), 1 / 9), np.full((2, 15), 0.1)):
        with pytest.raises(UsageError, match=r"probabilities \(2, 15\)"):
            agreement(lambda frames, bad=bad: bad, env, {"same": {}})
