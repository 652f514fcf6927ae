"""Sprites: touching, the pairs of distractors, and starts without touch."""

import numpy as np
import pytest

from envs.registry import UsageError
from envs.sprites.env import TARGET, SpritesVectorEnv
from envs.sprites.renderer import COLOURS, SHAPES


def test_touching_the_target_gives_1_and_a_distractor_minus_1():
    env = SpritesVectorEnv(3, seed=1, distractors=2)
    env.reset()
    # reach = 0.75 (3.5 + 6.5) = 7.5; from 9 pixels left a step of 3 leads to 6 < 7.5
    env.place[:, 0], env.place[:, 1], env.place[:, 2] = (30, 30), (30, 50), (50, 10)
    env.agent[:] = [(21, 30), (21, 50), (10, 10)]
    _, reward, terminated, truncated, infos = env.step(np.array([2, 2, 2]))
    assert reward.tolist() == [1, -1, 0]
    assert terminated.tolist() == [True, True, False]
    assert not truncated.any()
    assert infos["_final_obs"].tolist() == [True, True, False]


def test_just_out_of_reach_nothing_happens():
    env = SpritesVectorEnv(1, seed=1)
    env.reset()
    env.place[:, 0], env.place[:, 1] = (30, 30), (60, 60)
    env.agent[:] = (19, 30)  # 11 away; a step leads to 8 > 7.5, the next to 5
    assert env.step(np.array([2]))[1:3] == (np.float32(0), np.array([False]))
    assert env.step(np.array([2]))[1].tolist() == [1]


def test_moves_and_walls():
    env = SpritesVectorEnv(5, seed=2)
    env.reset()
    env.place[:] = 100  # nothing to touch
    env.agent[:] = 32
    env.step(np.arange(5))
    assert env.agent.tolist() == [[32, 32], [29, 32], [35, 32], [32, 29], [32, 35]]
    for _ in range(20):
        env.step(np.array([0, 1, 2, 3, 4]))
    assert env.agent.tolist() == [[32, 32], [3, 32], [60, 32], [32, 3], [32, 60]]  # 3 = half of 7 pixels


@pytest.mark.parametrize("distractors", [1, 3, 5])
def test_nothing_touches_at_the_start(distractors):
    env = SpritesVectorEnv(400, seed=3, distractors=distractors, num_levels=10**6)
    env.reset()
    gap = np.linalg.norm(env.place - env.agent[:, None], axis=2)
    assert gap.min() >= env.reach
    first, second = np.triu_indices(1 + distractors, 1)
    between = np.linalg.norm(env.place[:, first] - env.place[:, second], axis=2)
    assert (between >= 2 * env.radius).mean() > 0.99  # five may find no better place


def test_each_distractor_shares_exactly_one_thing_with_the_target():
    seen = {}
    for part in ("train", "heldout"):
        env = SpritesVectorEnv(300, seed=4, distractors=3, combinations=part, num_levels=10**6)
        env.reset()
        assert (env.kind[:, 0] == TARGET).all()
        pairs = env.kind[:, 1:].reshape(-1, 2)
        assert ((pairs == TARGET).sum(1) == 1).all()
        seen[part] = {(SHAPES[s], COLOURS[c]) for s, c in pairs.tolist()}
    # held out: (shape + colour) % 3 == 1, shapes square 0, ellipse 1, heart 2, triangle 3, red 0 ... magenta 5
    assert seen["heldout"] == {("ellipse", "red"), ("heart", "green"), ("heart", "magenta")}
    assert seen["train"] == {
        *(("heart", colour) for colour in ("yellow", "cyan", "blue")),
        *((shape, "red") for shape in ("square", "triangle")),
    }


def test_a_level_is_the_same_for_every_seed_and_the_mask_is_exact():
    one, two = SpritesVectorEnv(2, seed=1, num_levels=1), SpritesVectorEnv(2, seed=9, num_levels=1)
    np.testing.assert_array_equal(one.reset()[0], two.reset()[0])
    mask = one.masks()
    assert set(np.unique(mask)) == {0, 1, 2, 3}
    assert (mask == 3).sum() == 2 * 49  # the agent, 7 x 7, in two envs
    frames = one.reset()[0]
    mask = one.masks()
    assert (frames[mask == 3] == 255).all()
    red, green, blue = frames[mask == 1].astype(int).mean(0)
    assert red > 2 * green
    assert red > 2 * blue


def test_factors_say_where_things_are():
    env = SpritesVectorEnv(4, seed=5, distractors=2)
    env.reset()
    told, mask = env.factors(), env.masks()
    rows, columns = np.mgrid[:64, :64]
    for i in range(4):
        for value, (x, y) in ((1, told["target"][i]), (4, told["agent"][i])):
            inside = mask[i] == value
            np.testing.assert_allclose([columns[inside].mean(), rows[inside].mean()], [x, y], atol=1.5)


def test_the_script_succeeds_and_a_random_policy_does_not():
    env = SpritesVectorEnv(300, seed=6, distractors=3, num_levels=10**6)
    env.reset()
    total, alive = np.zeros(300), np.ones(300, bool)
    for _ in range(50):
        _, reward, terminated, truncated, _ = env.step(env.scripted())
        total += reward * alive
        alive &= ~(terminated | truncated)
    assert total.mean() > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distractors": 6}, "distractors=6"),
        ({"radius": 20}, "radius=20"),
        ({"background": "nois"}, "did you mean 'noise'"),
        ({"combinations": "held"}, "did you mean 'heldout'"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(UsageError, match=message):
        SpritesVectorEnv(2, **options)
