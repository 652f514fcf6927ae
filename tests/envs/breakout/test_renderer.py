"""Breakout's frames: repaired frames equal whole ones, colours, flips, backgrounds, masks, entity vectors."""

import gymnasium as gym
import numpy as np
import pytest

from envs.breakout.env import BreakoutEnv, BreakoutVectorEnv
from envs.breakout.levels import CLASSIC
from envs.breakout.renderer import LUMA, Painter
from envs.breakout.variants import VARIANTS
from envs.registry import UsageError


def played(steps=60, n=4, seed=3, **options):
    env = BreakoutVectorEnv(n, seed=seed, **options)
    seen, _ = env.reset()
    rng = np.random.default_rng(0)
    for _ in range(steps):
        actions = np.where(rng.random(n) < 0.3, rng.integers(3, size=n), env.scripted())
        seen = env.step(actions)[0]
    return env, seen


@pytest.mark.parametrize(("mode", "ball_px"), [("rgb", 1), ("rgb", 2), ("index", 1), ("gray", 2)])
def test_repaired_frames_equal_whole_ones(mode, ball_px):
    n = 2 * len(VARIANTS)
    env = BreakoutVectorEnv(n, variant=list(VARIANTS), seed=3, mode=mode, ball_px=ball_px, ball_speed=2)
    env.reset()
    rng = np.random.default_rng(0)
    for t in range(130):
        actions = np.where(rng.random(n) < 0.3, rng.integers(3, size=n), env.scripted())
        seen = env.step(actions)[0]
        if t % 3 == 0:
            np.testing.assert_array_equal(seen, env._painted(Painter(env.board, env.rules, mode, ball_px)))


def test_every_pixel_of_a_schema_frame():
    env = BreakoutVectorEnv(1, variant="middle_wall", preset="schema")
    env.set_state({"balls": np.array([[[40, 50, 1, 1]]]), "paddle": np.array([[36, 3]])})
    frame = env._observe_all()[0]
    # y up, row = 116 - y
    expected = np.zeros((117, 94, 3), np.uint8)
    expected[:3] = expected[:, :3] = expected[:, 91:] = 142
    for row in range(6):
        expected[116 - (91 + 4 * row) : 116 - (87 + 4 * row), 3:91] = CLASSIC[2 + row]
    expected[116 - 87 : 116 - 84, 23:71] = 142
    expected[116 - 6 : 116 - 2, 36:59] = (200, 72, 73)
    expected[116 - 50, 40] = (200, 72, 73)
    np.testing.assert_array_equal(frame, expected)


def test_a_broken_brick_opens_on_what_is_behind():
    env = BreakoutVectorEnv(1, preset="schema", mode="index", background="checker", bounce_noise=0.0)
    env.set_state({"balls": np.array([[[47, 87, 0, 1]]])})
    before = env._observe_all()[0, :, :, 0]
    after = env.step(np.array([0]))[0][0, :, :, 0]
    # column 5 covers x = 43..50, row 0 y = 88..91
    changed = np.zeros((117, 94), bool)
    changed[116 - 91 : 116 - 87, 43:51] = True
    changed[116 - 87, 47] = changed[116 - 86, 47] = True
    np.testing.assert_array_equal(before != after, changed)
    assert (after[116 - 91 : 116 - 87, 43:51] == 0).all()


def test_modes_agree_and_index_is_the_palette():
    worlds = [BreakoutVectorEnv(3, seed=1, mode=mode, variant="moving_obstacles") for mode in ("index", "rgb", "gray")]
    for _ in range(2):
        index, rgb, gray = (world.reset()[0] for world in worlds)
    palette = np.array([*CLASSIC, (128, 128, 128)])
    np.testing.assert_array_equal(rgb, palette[index[..., 0]])
    np.testing.assert_array_equal(gray[..., 0], (rgb @ LUMA).round())


def test_tones_and_flips_are_those_of_the_standard_frame():
    plain = played(variant="standard")[1]
    np.testing.assert_array_equal(played(variant="invert")[1], 255 - plain)
    np.testing.assert_array_equal(played(variant="flip_x")[1], plain[:, :, ::-1])
    np.testing.assert_array_equal(played(variant="flip_y")[1], plain[:, ::-1])
    np.testing.assert_array_equal(played(variant="gray")[1][..., 2], (plain @ LUMA).round())
    assert not (plain == plain[:, :, ::-1]).all()


def test_colours_follow_the_level_and_keep_the_ball_visible():
    env = BreakoutVectorEnv(150, variant="recolor", num_levels=10**6)
    frames = env.reset()[0]
    ink = env.painter.ink.astype(int)
    assert len({each[:10].tobytes() for each in ink}) > 140
    assert (np.abs(ink[:, 9] - ink[:, 0]).sum(axis=1) >= 60).all()
    assert (ink[:, 9] == ink[:, 8]).all()
    assert (ink[:, 9] != CLASSIC[9]).any(axis=1).all()
    assert {tuple(colour) for colour in ink[:, :10].reshape(-1, 3)} == set(CLASSIC)
    again = BreakoutVectorEnv(150, variant="recolor", num_levels=10**6)
    np.testing.assert_array_equal(again.reset()[0], frames)


@pytest.mark.parametrize("kind", ["gradient", "noise", "rectangles", "checker"])
def test_backgrounds_stay_clear_of_ball_and_paddle(kind):
    env = BreakoutVectorEnv(40, variant="background", background=kind, num_levels=10**6)
    env.reset()
    ground = env.painter.ground.reshape(40, -1, 3).astype(int)
    assert (np.abs(ground - np.array(CLASSIC[9])).sum(axis=2) >= 60).all()
    assert len({each.tobytes() for each in ground}) == 40
    assert (ground.std(axis=1).sum(axis=1) > 0).mean() > 0.9


def test_strong_bricks_dim_before_they_break():
    env = BreakoutVectorEnv(1, variant="strong", preset="schema", bounce_noise=0.0, accelerate="off")
    seen, rewards = [], []
    for _ in range(3):
        env.set_state({"balls": np.array([[[47, 87, 0, 1]]])})
        frame, reward, *_ = env.step(np.array([0]))
        seen.append(tuple(frame[0, 116 - 88, 47]))
        rewards.append(reward[0])
    # (66, 72, 200) times 2/3, times 1/3, gone
    assert seen == [(44, 48, 133), (22, 24, 66), (0, 0, 0)]
    assert rewards == [0, 0, 1]


def test_negative_bricks_are_yellow():
    env = BreakoutVectorEnv(2, variant="half_negative", negative_side="right", preset="schema")
    frames = env.reset()[0]
    assert (frames[:, 116 - 88, 10] == (66, 72, 200)).all()
    assert (frames[:, 116 - 88, 80] == (163, 162, 42)).all()
    free = BreakoutVectorEnv(60, variant="half_negative", colour_tied=False, preset="schema", num_levels=10**6)
    frames = free.reset()[0]
    halves = [[tuple(frame[116 - 88, x]) for x in (10, 80)] for frame in frames]
    assert len({pair[0] for pair in halves}) == 6
    assert all(left != right for left, right in halves)


def test_masks_number_every_thing():
    env = BreakoutVectorEnv(1, variant="moving_obstacles", preset="schema", num_balls=2, ball_px=2, distractors=3)
    env.reset()
    env.set_state({"balls": np.array([[[40, 50, 1, 1], [60, 60, 1, 1]]])})
    mask = env.masks()
    assert mask.shape == (1, 117, 94)
    assert mask.dtype == np.uint8
    counts = dict(zip(*np.unique(mask, return_counts=True), strict=True))
    assert counts[2] == 23 * 4
    assert [counts[3 + b] for b in range(2)] == [4, 4]
    assert [counts[11 + j] for j in range(3)] == [32] * 3
    assert [counts[20 + k] for k in range(66)] == [32] * 66
    assert [counts[200 + d] for d in range(3)] == [4] * 3
    assert mask[0, 116 - 51, 41] == 3
    assert mask[0, 116 - 88, 3] == 20
    assert mask[0, 116 - 92, 11] == 20 + 11 + 1
    target = BreakoutVectorEnv(2, variant="random_target")
    target.reset()
    counts = dict(zip(*np.unique(target.masks()[1], return_counts=True), strict=True))
    assert [counts[108 + p] for p in range(8)] == [18] * 8


def test_entities_have_one_shape_and_hold_the_state():
    shapes = {BreakoutVectorEnv(1, variant=name, mode="entities").single_observation_space.shape for name in VARIANTS}
    # 3 balls x 5, paddle 3, 3 blocks x 4, target 3, 60 bricks twice
    assert shapes == {(153,)}
    env = BreakoutVectorEnv(1, mode="entities", preset="schema")
    env.set_state({"balls": np.array([[[47, 39, 2, -1]]]), "paddle": np.array([[36, 3]])})
    seen = env._observe_all()[0]
    np.testing.assert_allclose(seen[:5], [1, 47 / 94, 39 / 117, 1, -0.5], rtol=1e-6)
    assert (seen[5:15] == 0).all()
    np.testing.assert_allclose(seen[15:18], [36 / 94, 3 / 117, 23 / 94], rtol=1e-6)


def test_without_copies_the_same_frames_are_handed_out():
    env, other = BreakoutVectorEnv(2, copy=False, mode="index"), BreakoutVectorEnv(2, mode="index")
    first = env.reset()[0]
    other.reset()
    second = env.step(np.array([1, 2]))[0]
    assert np.shares_memory(first, second)
    np.testing.assert_array_equal(second, other.step(np.array([1, 2]))[0])


def test_flip_actions_and_scripted_agree():
    plain = BreakoutVectorEnv(2, mode="index", seed=1)
    swapped = BreakoutVectorEnv(2, mode="index", seed=1, flip="x", flip_actions=True)
    plain.reset()
    swapped.reset()
    for _ in range(40):
        first, second = plain.step(plain.scripted())[0], swapped.step(swapped.scripted())[0]
        np.testing.assert_array_equal(first, second[:, :, ::-1])


def test_render_is_rgb_in_every_mode():
    for mode in ("rgb", "index", "gray", "entities"):
        env = gym.make("Breakout-Standard-v0", mode=mode, render_mode="rgb_array")
        env.reset(seed=2)
        env.step(1)
        assert env.render().shape == (64, 64, 3)
        assert env.render().max() == 200
        many = BreakoutVectorEnv(3, mode=mode, render_mode="rgb_array")
        many.reset()
        assert [frame.shape for frame in many.render()] == [(64, 64, 3)] * 3
    assert BreakoutEnv(mode="index").render() is None


def test_render_mode_is_checked():
    with pytest.raises(UsageError, match="render_mode"):
        BreakoutVectorEnv(1, render_mode="human")
