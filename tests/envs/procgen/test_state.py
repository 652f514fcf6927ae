"""The blob: factors agree with the frame, and a patch draws what the native option draws."""

import struct

import numpy as np
import pytest

from envs.procgen.env import ProcgenVectorEnv
from envs.procgen.games import GAMES
from envs.procgen.state import END_MARK, HALF_VIEW, THEMES, factors, patch, walk
from envs.registry import UsageError

pytestmark = pytest.mark.procgen


@pytest.fixture
def make():
    made = []

    def build(num_envs=8, game="coinrun", steps=40, **options):
        env = ProcgenVectorEnv(num_envs, game, seed=1, **{"num_levels": 500, "distribution_mode": "hard", **options})
        env.reset()
        rng = np.random.default_rng(0)
        for actions in rng.choice([4, 6, 7, 8], (steps, num_envs)):
            env.step(actions)
        made.append(env)
        return env

    yield build
    for env in made:
        env.close()


def shown(env, **changes):
    """The frames of ``env`` after its own states were patched and put back."""
    return env.show([patch(blob, **changes) for blob in env.blobs()])


@pytest.mark.parametrize("game", sorted(GAMES))
def test_the_walk_reaches_the_end_mark_of_every_game(make, game):
    env = make(2, game, steps=5)
    for blob, level in zip(env.blobs(), env.levels(), strict=True):
        layout = walk(blob, int(level))
        assert layout.game == game
        assert layout.tail < len(blob)
        assert struct.unpack_from("<i", blob, layout.option("use_backgrounds"))[0] == 1
        assert struct.unpack_from("<i", blob, layout.option("restrict_themes"))[0] == 0


def test_a_patch_changes_its_bytes_and_nothing_else(make):
    blob = make(1).blobs()[0]
    other = patch(blob, wall_theme=5, agent_theme=4, background_index=61, use_backgrounds=False)
    told = factors([other])
    assert (told["wall_theme"][0], told["agent_theme"][0], told["background_index"][0]) == (5, 4, 61)
    for name, value in factors([blob]).items():
        if name not in THEMES:
            np.testing.assert_array_equal(value, told[name])
    changed = np.flatnonzero(np.frombuffer(blob, np.uint8) != np.frombuffer(other, np.uint8))
    assert len({place // 4 for place in (changed - 15)}) <= 4 * 2  # four numbers, each over at most two words
    back = factors([blob])
    undone = {name: int(back[name][0]) for name in THEMES}
    assert patch(other, use_backgrounds=True, **undone) == blob


@pytest.mark.parametrize(
    ("option", "value"),
    [("use_backgrounds", False), ("use_monochrome_assets", True), ("paint_vel_info", True), ("center_agent", False)],
)
@pytest.mark.parametrize("game", ["coinrun", "ninja"])
def test_a_patched_option_draws_what_the_native_option_draws(make, game, option, value):
    plain, native = make(4, game), make(4, game, **{option: value})
    before = plain._frames.copy()
    after = shown(plain, **{option: value})
    np.testing.assert_array_equal(after, native._frames)
    assert (after != before).any((1, 2, 3)).all()


def pixel(frames, row, x, y):
    """The pixel ``(x, y)`` cells from the agent, which stands in the middle of 13 x 13 cells."""
    return frames[row, int(32 - y * 64 / 13), int(32 + x * 64 / 13)].tolist()


def monochrome(kind, theme=0):
    """Procgen's colour: k = 29 (type + 1) + 19 theme mod 64; a channel is 64 (digit of k in base 4 + 1) - 1."""
    k = (29 * (kind + 1) + 19 * theme) % 64
    return [64 * (digit + 1) - 1 for digit in (k // 16, k // 4 % 4, k % 4)]


def test_factors_agree_with_the_frame(make):
    assert monochrome(1) == [255, 191, 191]  # the coin: k = 58, 322 in base 4: pink
    env = make(64, steps=130, use_monochrome_assets=True, use_backgrounds=False)
    told = env.factors()
    walking = [monochrome(kind, theme) for kind in (6, 7) for theme in range(9)]  # nine enemies, two images each
    saws = [monochrome(2), monochrome(3)]
    crates = [monochrome(20, theme) for theme in range(4)]
    seen = {"coin": [], "saw": [], "enemy": [], "crate": []}
    colours = {"coin": [monochrome(1)], "saw": saws, "enemy": walking, "crate": crates}
    for name in seen:
        for row, (x, y) in enumerate(told[f"to_{name}"]):
            hidden = name != "enemy" and np.abs(told["to_enemy"][row] - (x, y)).max() < 1.1  # enemies are drawn last
            if 1.5 < max(abs(x), abs(y)) < HALF_VIEW and not hidden:
                seen[name].append(pixel(env._frames, row, x, y) in colours[name])
    assert all(all(found) for found in seen.values())
    assert all(len(found) >= 3 for found in seen.values())
    np.testing.assert_array_equal(told["level_seed"], env.levels())


def test_motion_follows_the_velocity(make):
    env = make(8, steps=60)
    before = env.factors()
    _, _, terminated, _, _ = env.step(np.full(8, 7))
    after = env.factors()
    free = ~terminated & ~after["has_support"] & (after["agent_vy"] != 0)
    moved = after["agent_y"] - before["agent_y"]
    # a step moves by the velocity it ends with, unless something blocks the way, which sets that velocity to 0
    np.testing.assert_allclose(moved[free], after["agent_vy"][free], atol=0.35)
    assert free.any()
    env.step(np.full(8, 1))
    assert env.factors()["facing_right"].dtype == bool


def test_facing_follows_the_arrows(make):
    env = make(4, steps=0)
    env.step(np.full(4, 7))
    assert env.factors()["facing_right"].all()
    env.step(np.array([1, 7, 1, 4]))
    np.testing.assert_array_equal(env.factors()["facing_right"], [False, True, False, True])
    assert env.factors()["has_support"].all()
    env.step(np.full(4, 5))  # jump: the support is that of the ground left behind, in the air there is none
    env.step(np.full(4, 4))
    assert not env.factors()["has_support"].any()


def test_counts_by_hand_on_levels_without_crates(make):
    told = make(16, debug_mode=4).factors()
    assert (told["num_crates"] == 0).all()
    assert np.isnan(told["to_crate"]).all()
    assert (told["crates_in_view"] == 0).all()
    plain = make(16).factors()
    assert plain["num_crates"].sum() > 0
    assert (plain["saws_in_view"] <= plain["num_saws"]).all()
    nearest = np.abs(plain["to_saw"]).max(1)
    assert ((nearest <= HALF_VIEW) <= (plain["saws_in_view"] > 0)).all()
    assert {key: (value.shape, value.dtype.name) for key, value in plain.items()} == (
        {f"agent_{key}": ((16,), "float32") for key in ("x", "y", "vx", "vy")}
        | {key: ((16,), "bool") for key in ("has_support", "on_crate", "facing_right")}
        | {f"to_{key}": ((16, 2), "float32") for key in ("coin", "saw", "enemy", "crate")}
        | {f"num_{key}": ((16,), "int64") for key in ("saws", "enemies", "crates")}
        | {f"{key}_in_view": ((16,), "int64") for key in ("saws", "enemies", "crates")}
        | {key: ((16,), "int64") for key in (*THEMES, "level_seed")}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wall_theme": 6}, r"wall_theme=6 is not an integer in \[0, 5\]"),
        ({"wall_theme": -1}, "wall_theme=-1"),
        ({"agent_theme": 5}, r"agent_theme=5 is not an integer in \[0, 4\]"),
        ({"background_index": 62}, r"background_index=62 is not an integer in \[0, 61\]"),
        ({"background_index": True}, "background_index=True"),
        ({"use_backgrounds": 1}, "use_backgrounds=1 is not a bool"),
        ({"use_background": True}, "did you mean 'use_backgrounds'"),
        ({"use_generated_assets": True}, "no 'use_generated_assets' to patch"),
    ],
)
def test_a_bad_patch_is_one_line(make, changes, message):
    with pytest.raises(UsageError, match=message) as caught:
        patch(make(1, steps=0).blobs()[0], **changes)
    assert "\n" not in str(caught.value)


def test_themes_and_factors_of_other_games_are_refused(make):
    maze, wide = make(1, "maze", steps=0), make(1, center_agent=False, steps=0)
    with pytest.raises(UsageError, match="in coinrun alone, not in maze"):
        patch(maze.blobs()[0], wall_theme=1)
    with pytest.raises(UsageError, match="in coinrun alone, not in maze"):
        factors(maze.blobs())
    with pytest.raises(UsageError, match="in coinrun alone, not in maze"):
        maze.factors()
    with pytest.raises(UsageError, match="center_agent=False"):
        patch(wide.blobs()[0], center_agent=True)


def test_a_blob_of_another_build_is_refused(make):
    env = make(1)
    blob, level = env.blobs()[0], int(env.levels()[0])
    layout = walk(blob, level)

    def broken(place, value):
        out = bytearray(blob)
        struct.pack_into("<I", out, place, value)
        return bytes(out)

    for bad, message in [
        (broken(0, 1), "version is 1"),
        (broken(4, 4000), "4000 letters"),
        (broken(len(blob) - 4, END_MARK - 1), "end mark"),
        (broken(layout.entities - 4, 2), "procgen 0.10.7"),
        (broken(layout.entities - 4, 2**30), "breaks off"),
        (broken(layout.grid - 4, 4095), "cells"),
        (broken(layout.options + 17 * 4 + 4, 2**32 - 50), "generator"),
        (blob[:-8], "procgen 0.10.7"),
        (blob[:100], "breaks off"),
        (b"", "breaks off"),
    ]:
        with pytest.raises(UsageError, match=message):
            walk(bad)
    with pytest.raises(UsageError, match=f"its level is {level}, the env's is {level + 1}"):
        walk(blob, level + 1)
