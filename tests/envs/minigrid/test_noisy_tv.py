"""The noisy TV: nothing but its picture differs from minigrid, and no reward is ever given."""

import numpy as np
import pytest

from envs.minigrid.env import MiniGridVectorEnv
from envs.minigrid.noisy_tv import NoisyTVVectorEnv
from envs.minigrid.rules import DONE, EMPTY, PAD
from envs.registry import UsageError
from envs.tasks import World

pytest.importorskip("minigrid")
N = 24


def worlds(**options):
    return {tv: NoisyTVVectorEnv(N, tv=tv, seed=3, **options) for tv in ("noise", "still", "remote")}


def actions_for(rng):
    """Mostly turns and steps, sometimes the remote."""
    return rng.choice(7, size=N, p=[0.2, 0.15, 0.5, 0.02, 0.02, 0.03, 0.08])


def tv_places(env):
    """Column and line in the view of each env's TV, by turning the way to it so that the agent looks up."""
    x, y = env._place // env._span - PAD, env._place % env._span - PAD
    way = np.stack([x, y], axis=1) - env._step_infos()["agent_pos"]
    places = []
    for (east, south), direction in zip(way, env.direction, strict=True):
        # (ahead, to the right) of an agent that looks right, down, left, up
        ahead, right = [(east, south), (south, -east), (-east, -south), (-south, east)][direction]
        places.append((3 + right, 6 - ahead))
    return np.array(places)


def face_the_tv(env):
    """Put every agent on a free cell beside its TV, looking at it."""
    for i in env.rows:
        sides = env._place[i] - env._ahead
        env.direction[i] = np.flatnonzero(env.grid[i, sides] == EMPTY)[0]
        env.cell[i] = sides[env.direction[i]]


@pytest.mark.parametrize("view", ["symbolic", "rgb"])
def test_all_but_the_tvs_cell_is_the_same_under_every_picture(view):
    envs = worlds(view=view)
    rng, met = np.random.default_rng(0), 0
    told = {tv: (env.reset()[0], {}) for tv, env in envs.items()}
    for _ in range(150):
        places, side = tv_places(envs["still"]), 1 if view == "symbolic" else 9
        seen = envs["still"]._step_infos()["tv_seen"]
        still = told["still"][0].copy()
        for tv in ("noise", "remote"):
            other = told[tv][0].copy()
            for i in np.flatnonzero(seen):
                column, line = places[i] * side
                # symbols stand as [x, y], pixels as [y, x]
                at = (column, line) if view == "symbolic" else (line, column)
                for picture in (still, other):
                    picture[i, at[0] : at[0] + side, at[1] : at[1] + side] = 0
            np.testing.assert_array_equal(still, other)
        met += seen.sum()
        actions = actions_for(rng)
        steps = {tv: env.step(actions) for tv, env in envs.items()}
        for tv in ("noise", "remote"):
            for one, two in zip(steps["still"][1:4], steps[tv][1:4], strict=True):
                np.testing.assert_array_equal(one, two)
            for key in ("agent_pos", "coverage", "state_hash", "tv_seen", "rooms_seen"):
                np.testing.assert_array_equal(steps["still"][4][key], steps[tv][4][key])
        told = steps
    assert met > 100  # of 24 * 150 steps


def test_rooms_moves_and_views_are_minigrids_but_for_the_goal():
    env = NoisyTVVectorEnv(N, tv="still", seed=3, view="symbolic")
    plain = MiniGridVectorEnv(N, "MiniGrid-FourRooms-v0", seed=3, view="symbolic")
    seen, shown = env.reset()[0], plain.reset()[0]
    np.testing.assert_array_equal(env.level, plain.level)
    np.testing.assert_array_equal(env.cell, plain.cell)
    goal = shown[..., 0] == 8
    np.testing.assert_array_equal(goal.any(axis=(1, 2)), env._step_infos()["tv_seen"])
    assert goal.any()
    np.testing.assert_array_equal(seen[~goal], shown[~goal])
    assert (seen[goal] == [6, 3, 0]).all()  # the still picture: a purple ball
    # the agent may stand everywhere else: one free cell fewer, but in the rare level that the TV cuts in two
    assert np.median(plain._free - env._free) == 1
    assert (plain._free > env._free).all()


@pytest.mark.parametrize("view", ["symbolic", "rgb"])
def test_noise_is_new_at_every_step_and_comes_again_from_the_same_state(view):
    env, again = (NoisyTVVectorEnv(N, seed=seed, view=view) for seed in (3, 8))
    env.reset()
    face_the_tv(env)
    assert (tv_places(env) == (3, 5)).all()
    state = env.state()
    pictures = [env.step(np.full(N, 3))[0] for _ in range(20)]  # pickup: nobody moves
    if view == "symbolic":
        codes = np.array([p[:, 3, 5] for p in pictures])  # (20, N, 3)
        assert codes[..., 0].min() >= 1
        assert (codes.max(axis=(0, 1)) <= (10, 5, 2)).all()
        # 19 * 24 = 456 pairs, each equal by chance in 1 of 180: 2.5 expected
        assert (codes[1:] == codes[:-1]).all(axis=2).sum() < 9
        assert len({tuple(code) for code in codes.reshape(-1, 3)}) > 40
    else:
        patches = np.array([p[:, 45:54, 27:36] for p in pictures])  # column 3, line 5, tiles of 9 pixels
        # uniform bytes: mean 127.5, standard deviation 73.9, next ones independent
        assert patches.mean() == pytest.approx(127.5, abs=2)
        assert patches.std() == pytest.approx(73.9, abs=1)
        flat = patches.reshape(20, -1).astype(float)
        assert abs(np.corrcoef(flat[:-1].ravel(), flat[1:].ravel())[0, 1]) < 0.03
    again.set_state(state)
    for picture in pictures:
        np.testing.assert_array_equal(again.step(np.full(N, 3))[0], picture)


def test_noise_does_not_follow_from_actions_and_differs_between_envs():
    one, two = (NoisyTVVectorEnv(N, seed=3, num_levels=1, view="symbolic") for _ in range(2))
    one.reset()
    two.reset()
    for env in (one, two):
        face_the_tv(env)
    left, right = one.step(np.full(N, 3))[0], two.step(np.full(N, DONE))[0]
    np.testing.assert_array_equal(left, right)
    assert len({tuple(code) for code in left[:, 3, 5]}) > N // 2  # they all play the same level


def test_the_remote_changes_the_picture_on_done_and_never_else():
    env = NoisyTVVectorEnv(N, tv="remote", seed=3, view="symbolic", max_steps=1000)
    env.reset()
    face_the_tv(env)
    seen, changed = env.step(np.full(N, 3))[0], 0
    for step in range(60):
        press = step % 3 == 2
        after = env.step(np.full(N, DONE if press else 3 + step % 3))[0]
        if press:
            changed += (seen != after).any(axis=(1, 2, 3)).sum()
        else:
            np.testing.assert_array_equal(seen, after)
        seen = after
    assert changed / (20 * N) > 0.96  # 1 new picture in 180 is the old one
    assert (env.pressed == 20).all()


def test_no_reward_no_early_end_and_no_way_through_the_tv():
    env = NoisyTVVectorEnv(N, seed=1, max_steps=40)
    env.reset()
    rng = np.random.default_rng(0)
    for step in range(1, 161):
        _, reward, terminated, truncated, infos = env.step(actions_for(rng))
        assert not reward.any()
        assert not terminated.any()
        assert truncated.all() == truncated.any() == (step % 40 == 0)
        assert (env.cell != env._place).all()
        assert infos["_tv_seen"].all()
        assert infos["tv_seen"].dtype == bool
        assert (infos["coverage"] <= 1).all()


def test_walking_into_the_tv_or_using_it_changes_nothing():
    env = NoisyTVVectorEnv(1, tv="still", seed=0, view="symbolic")
    env.reset()
    face_the_tv(env)
    before, state = env._step_infos()["state_hash"], env.state()
    for action in (2, 3, 4, 5):
        seen, *_, infos = env.step(np.array([action]))
        assert tuple(seen[0, 3, 5]) == (6, 3, 0)
        assert infos["state_hash"] == before
        assert infos["tv_seen"].all()
    np.testing.assert_array_equal(env.grid, state["grid"])


def test_the_env_by_name_and_its_mistakes():
    assert World("noisy-tv", {"tv": "remote"}).make(2, 0).tv == "remote"
    for options, message in [
        ({"tv": "noisy"}, "tv='noisy'; did you mean 'noise'"),
        ({"full_view": True}, "full_view cannot be chosen"),
        ({"env_id": "MiniGrid-Empty-8x8-v0"}, "env_id cannot be chosen"),
        ({"tv": "remote", "actions": "navigate"}, "needs the action 'done'"),
    ]:
        with pytest.raises(UsageError, match=message):
            NoisyTVVectorEnv(2, **options)
    with pytest.raises(UsageError, match="has no reward"):
        NoisyTVVectorEnv(2).scripted()
