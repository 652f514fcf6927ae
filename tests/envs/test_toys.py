"""The toys: what each frame shows, what moves, and what its factor says."""

import numpy as np
import pytest

from envs.registry import UsageError
from envs.toys import OTHERS, PLACES, SHAPES, TOYS, ToyVectorEnv


def started(toy, envs=5):
    env = ToyVectorEnv(envs, toy=toy)
    frames, _ = env.reset(seed=3)
    return env, frames


def test_the_square_stands_where_the_factor_says():
    env, frames = started("place")
    for frame, (row, column) in zip(frames, env.factors()["place"], strict=True):
        white = np.argwhere((frame == 255).all(2))
        # places 0 to 8 of 4 pixels each, in units of the largest
        corner = round(row * 8) * 4, round(column * 8) * 4
        assert white.min(0).tolist() == list(corner)
        assert white.max(0).tolist() == [corner[0] + 7, corner[1] + 7]
        assert len(white) == 64
    assert frames[frames < 255].max() == 127  # noise of 0 to 127


def test_actions_move_by_a_step_and_stop_at_the_border():
    env, _ = started("agent", 5)
    env.place[:] = [(4, 4), (4, 4), (8, 4), (4, 0), (4, 4)]
    env.step(np.arange(5))  # still, up, down, left, right
    assert env.place.tolist() == [[4, 4], [3, 4], [8, 4], [4, 0], [4, 5]]


def test_a_shape_lasts_an_episode_and_colours_a_step():
    env, before = started("shape", 64)
    shape = env.factors()["shape"].argmax(1)
    assert np.bincount(shape, minlength=4).min() > 4  # 16 each on average
    row, column = (env.place[0] * 4).tolist()
    inside = before[0, row : row + 8, column : column + 8]
    sprite = SHAPES[shape[0]]
    # the ground is below 128, the sprite at least 128
    assert np.array_equal(inside[..., 0] >= 128, sprite)
    after, *_ = env.step(np.zeros(64, int))
    assert np.array_equal(env.factors()["shape"].argmax(1), shape)
    assert (before[:, 0, 0] != after[:, 0, 0]).any(1).mean() > 0.9


def test_squares_flicker_and_the_bar_stays():
    env, before = started("flicker")
    others = env.others.copy()
    after, *_ = env.step(np.zeros(5, int))
    assert (env.others != others).any((1, 2)).all()
    # the bar is 4 columns of 120, from pixel 4 x + 2 on
    for frame, column in zip(after, env.factors()["place"][:, 0], strict=True):
        left = round(column * 8) * 4 + 2
        assert (frame[:, left : left + 4] == 120).all()
        assert set(np.unique(np.delete(frame, np.s_[left : left + 4], 1))) <= {0, 255}
    assert before.shape == after.shape


def test_other_squares_walk_whatever_the_action():
    one, other = started("agent")[0], started("agent")[0]
    one.step(np.full(5, 1))
    other.step(np.full(5, 2))
    assert np.array_equal(one.others, other.others)
    start = started("agent")[0].others
    # two steps of four pixels one way, or none; the border cuts a walk short
    assert set(np.abs(one.others - start).sum(2).ravel().tolist()) <= {0, 1, 2}
    assert (np.abs(one.others - start).sum(2) == 2).any()
    assert not np.array_equal(one.place, other.place)
    assert one.others.shape == (5, OTHERS, 2)
    assert one.others.max() < PLACES


@pytest.mark.parametrize("toy", TOYS)
def test_factors_lie_between_0_and_1_and_are_the_vector(toy):
    env, _ = started(toy)
    (factor,) = env.factors().values()
    assert factor.min() >= 0
    assert factor.max() <= 1
    vector = env.factor_vector(np.array([3, 1]))
    assert vector.shape == (2, 4)
    assert np.allclose(vector[:, : factor.shape[1]], factor[[3, 1]])
    assert not vector[:, factor.shape[1] :].any()


def test_an_unknown_toy_is_refused():
    with pytest.raises(UsageError, match="unknown toy 'ball'; give one of place, shape, flicker, agent"):
        ToyVectorEnv(toy="ball")
