"""Paired frames equal, all along, those of a world with that look played in lockstep."""

import numpy as np
import pytest

from envs.coinrun_pairs import Paired
from envs.procgen.coinrun_themes import CoinRunThemesVectorEnv, Themes
from envs.procgen.env import ProcgenVectorEnv
from envs.registry import UsageError

pytestmark = pytest.mark.procgen
HARD = {"distribution_mode": "hard", "num_levels": 500, "seed": 1}
SOURCE = {"use_backgrounds": False, "restrict_themes": True}
VISUALS = {
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
    native = {name: make(**{**SOURCE, **look}) for name, look in VISUALS.items()}
    paired, ends = Paired(source, VISUALS), 0
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
    for name in VISUALS:
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
