"""The true factors as an observation: their values by hand, true final ones, and no NaN anywhere."""

import numpy as np
import pytest

from envs.minigrid.rules import EMPTY, code
from envs.registry import UsageError
from envs.tasks import World
from envs.wrappers.factors import FactorsVectorEnv
from envs.wrappers.sb3 import Sb3VecEnv
from tests.envs.test_all_envs import CASES, equal

RUN = [7, 8]
"""To the right, and jump."""
COINRUN = World("procgen", {"game": "coinrun", "num_levels": 50})


def play(env, steps, seed=0, chosen=None):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        yield env.step(rng.choice(np.arange(env.num_actions) if chosen is None else chosen, env.num_envs))


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_every_env_adds_them_and_leaves_the_rest(cls, options):
    plain, env = cls(3, seed=2, max_episode_steps=6, **options), cls(3, seed=2, max_episode_steps=6, **options)
    free = FactorsVectorEnv(cls(3, seed=2, max_episode_steps=None, **options))
    env = FactorsVectorEnv(env)
    seen, other = env.reset()[0], plain.reset()[0]
    free.reset()
    actions = np.random.default_rng(0).integers(env.num_actions, size=(6, 3))
    for action in actions:
        vector = seen.pop("factors")
        assert vector.dtype == np.float32
        assert np.isfinite(vector).all()
        assert np.abs(vector).max() < 8
        assert env.single_observation_space["factors"].shape == vector.shape[1:]
        equal(seen, other)
        (seen, reward, terminated, truncated, infos), (other, *outcome) = env.step(action), plain.step(action)
        wanted = free.step(action)[0]
        np.testing.assert_array_equal([reward, terminated, truncated], outcome[:3])
        assert not np.may_share_memory(vector, seen["factors"])
    # the limit cut all: the true final factors are those of the env without it
    for i in np.flatnonzero(truncated):
        np.testing.assert_array_equal(infos["final_obs"][i]["factors"], wanted["factors"][i])
    assert "final_factors" not in infos


def test_the_size_is_the_same_in_all_variants_of_an_env():
    sizes = {}
    for case in CASES:
        cls, options = case.values
        sizes.setdefault(cls.name, set()).add(cls(1, **options).factor_size)
    assert all(len(values) == 1 for values in sizes.values()), sizes


def test_sprites_by_hand():
    env = World("sprites", {"distractors": 2}).with_factors().make(1, 0)
    env.reset()
    env.env.place[0] = [[40, 20], [10, 50], [30, 30]]
    env.env.agent[0] = [28, 32]
    # reach: 0.75 (7 / 2 + 6.5) = 7.5; the nearest distractor is the second, 2 right and 2 up
    wanted = [28 / 32 - 1, 0, 0.75, 12 / 32, -12 / 32, 1, 2 / 32, -2 / 32, 1, -18 / 32, 18 / 32] + [0] * 9
    np.testing.assert_allclose(env.env.factor_vector(np.array([0]))[0], wanted, rtol=1e-6)


def test_rooms_by_hand():
    env = World("rooms").with_factors().make(1, 0)
    env.reset()
    room = env.env
    room.agent[0] = [0.95, -0.38]  # the fixed camera looks up the y axis, wherever the agent faces
    goal = room.scene.place[0, room.goal[0]]
    vector = room.factor_vector(np.array([0]))[0]
    np.testing.assert_allclose(vector[:4], [0.5, -0.2, 0, 1], atol=1e-6)
    # ahead is +y, the left is -x; a touch at radius + 0.28 + 0.1
    radius = room.scene.radius[0, room.goal[0]]
    wanted = [1, (goal[1] + 0.38) / 1.9, -(goal[0] - 0.95) / 1.9, radius + 0.38, 1]
    np.testing.assert_allclose(vector[4:9], wanted, rtol=1e-5)
    assert vector[13] == 0  # the second is no goal
    count = int((room.scene.shape[0, :3] > 0).sum())
    assert vector[[4, 9, 14]].sum() == count


def test_minigrid_by_hand():
    env = World("minigrid", {"env_id": "MiniGrid-DoorKey-6x6-v0"}).with_factors().make(1, 0)
    env.reset()
    maze = env.env
    span = maze.height + 12
    inner = maze.grid[0].reshape(-1, span)[6:-6, 6:-6]
    inner[1:-1, 1:-1] = EMPTY  # an empty room of 4 x 4
    inner[4, 4] = code("goal", 1)
    inner[2, 1] = code("key", 4)
    maze.cell[0], maze.direction[0] = (1 + 6) * span + 2 + 6, 0  # at (1, 2), facing right
    vector = maze.factor_vector(np.array([0]))[0]
    around, sought, carried = vector[:1352].reshape(13, 13, 8), vector[1352:1367].reshape(5, 3), vector[1367:]
    # facing right, the view's up is +x and its right is +y (down): the goal lies 3 ahead and 2 to the right
    assert np.argwhere(around[..., 6]).tolist() == [[6 - 3, 6 + 2]]
    # the key 1 ahead and 1 to the left
    assert np.argwhere(around[..., 4]).tolist() == [[6 - 1, 6 - 1]]
    assert around[7, 6, 0] == 1  # the wall behind
    assert around[6, 6].sum() == 0
    np.testing.assert_allclose(sought[0], [1, 3 / 8, 2 / 8])
    np.testing.assert_allclose(sought[1], [1, 1 / 8, -1 / 8])
    np.testing.assert_array_equal(sought[2:], 0)
    assert carried.tolist() == [0, 0]
    maze.carrying[0] = code("key", 4)
    assert maze.factor_vector(np.array([0]))[0][1367:].tolist() == [1, 0]


def test_breakout_gives_its_entities():
    env = World("breakout").with_factors().make(2, 3)
    seen, _ = env.reset()
    width, height = env.env.geometry.width, env.env.geometry.height
    ball = env.env.balls[:, 0]
    np.testing.assert_allclose(seen["factors"][:, 1:3], ball[:, :2] / [width, height], rtol=1e-6)
    assert seen["image"].shape == (2, height, width, 3)


@pytest.mark.procgen
@pytest.mark.parametrize("options", [{}, {"distribution_mode": "hard"}])
def test_coinrun_agrees_with_the_state_read_one_by_one(options):
    env = COINRUN.with_options(**options).with_factors().make(6, 0)
    seen, _ = env.reset()
    envs = env.env
    enemies = begun = 0
    for step, (seen, _, terminated, *_) in enumerate(play(env, 90, 0, RUN)):
        begun += terminated.sum()
        if step % 5:
            continue
        vector, truth = seen["factors"], envs.factors()
        np.testing.assert_allclose(vector[:, 2], truth["agent_vx"] / 0.5, atol=1e-6)
        np.testing.assert_allclose(vector[:, 3], truth["agent_vy"] / 1.5, atol=1e-6)
        np.testing.assert_allclose(vector[:, 0], truth["agent_x"] % 1 - 0.5, atol=1e-6)
        flags = [truth[name] for name in ("has_support", "on_crate", "facing_right")]
        np.testing.assert_array_equal(vector[:, 4:7], np.stack(flags, 1))
        np.testing.assert_allclose(vector[:, 7:9], truth["to_coin"] / 16, atol=1e-5)
        # the ground below the agent, or a cell beside it: at its feet where it has support and stands on no crate
        stands = truth["has_support"] & ~truth["on_crate"] & (vector[:, 3] == 0)
        np.testing.assert_allclose(np.abs(vector[stands, 12:15]).min(axis=1, initial=2), 0, atol=0.03)
        for name, at in (("saw", 41), ("enemy", 50), ("crate", 62)):
            there = ~np.isnan(truth[f"to_{name}"][:, 0])
            np.testing.assert_array_equal(vector[:, at], there)
            np.testing.assert_allclose(vector[there, at + 1 : at + 3], truth[f"to_{name}"][there] / 8, atol=1e-5)
            enemies += int(there.sum()) if name == "enemy" else 0
        assert np.isfinite(vector).all()
    assert begun  # so that other grids were read
    assert enemies or not options
    env.close()


@pytest.mark.procgen
def test_coinrun_gives_the_final_factors_or_those_before():
    limited = COINRUN.with_options(max_episode_steps=60).with_factors().make(6, 0)
    free = COINRUN.with_factors().make(6, 0)
    before, _ = limited.reset()
    free.reset()
    ended, first, cut = 0, np.ones(6, bool), 0
    both = zip(play(limited, 180, 0, RUN), play(free, 180, 0, RUN), strict=True)
    for (seen, _, terminated, truncated, infos), other in both:
        for i in np.flatnonzero(terminated | truncated):
            assert infos["final_obs_is_previous"][i] == terminated[i]
            # the game shows no final state; our own limit leaves the one that the free env goes on from
            wanted = before if terminated[i] else other[0]
            if terminated[i] or first[i]:
                np.testing.assert_array_equal(infos["final_obs"][i]["factors"], wanted["factors"][i])
                np.testing.assert_array_equal(infos["final_obs"][i]["image"], wanted["image"][i])
            ended += terminated[i]
            cut += truncated[i] & first[i]
        first &= ~(terminated | truncated)
        before = seen
    assert ended
    assert cut
    limited.close()
    free.close()


@pytest.mark.procgen
def test_state_and_stacks_and_the_adapter_take_them():
    first, second = (COINRUN.with_factors().stacked(2).make(3, seed) for seed in (1, 2))
    first.reset()
    second.reset()
    for _ in play(first, 12):
        pass
    second.set_state(first.state())
    for one, two in zip(play(first, 20), play(second, 20), strict=True):
        equal(one[0], two[0])
    adapter = Sb3VecEnv(first)
    seen = adapter.reset()
    assert {key: value.shape for key, value in seen.items()} == {"factors": (3, 71), "image": (3, 6, 64, 64)}
    assert adapter.names_levels
    first.close()
    second.close()


def test_who_cannot_tell_is_refused():
    with pytest.raises(UsageError, match="coinrun alone"):
        World("procgen", {"game": "maze"}).with_factors().make(1, 0)
    with pytest.raises(UsageError, match="leave factors out"):
        World("gymnasium").with_factors().make(1, 0)
