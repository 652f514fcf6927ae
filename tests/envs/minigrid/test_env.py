"""MiniGrid as arrays equals minigrid: views, rewards, ends and frames, step for step, on every rung."""

import gymnasium as gym
import numpy as np
import pytest

from envs.minigrid.env import LADDER, MiniGridVectorEnv
from envs.registry import UsageError
from envs.tasks import World

minigrid = pytest.importorskip("minigrid")
ALL = sorted(LADDER)


def theirs(env_id, levels):
    """minigrid's own envs, reset to these levels."""
    envs = [gym.make(env_id).unwrapped for _ in levels]
    for env, level in zip(envs, levels, strict=True):
        env.reset(seed=int(level))
    return envs


def tilt(rng, n):
    """Random actions that get somewhere: mostly forward, sometimes a key or a door."""
    return rng.choice(7, size=n, p=[0.15, 0.15, 0.4, 0.1, 0.05, 0.14, 0.01])


SCRIPTED = ("empty", "doorkey", "multiroom", "memory")


@pytest.mark.parametrize("name", ALL)
def test_views_rewards_and_ends_are_minigrids(name):
    env_id = f"MiniGrid-{LADDER[name]}"
    env = MiniGridVectorEnv(6, env_id, view="symbolic", seed=3, num_levels=40)
    seen, _ = env.reset()
    others = theirs(env_id, env.level)
    rng, ended = np.random.default_rng(0), 0
    for step in range(160):
        for i, other in enumerate(others):
            np.testing.assert_array_equal(seen[i], other.gen_obs()["image"], err_msg=f"step {step}, env {i}")
        actions = env.scripted() if name.startswith(SCRIPTED) and step % 2 else tilt(rng, 6)
        seen, reward, terminated, truncated, infos = env.step(actions)
        for i, other in enumerate(others):
            last, points, over, cut, _ = other.step(int(actions[i]))
            assert reward[i] == pytest.approx(points, abs=1e-6), (step, i)
            assert terminated[i] == over, (step, i)
            assert truncated[i] == (cut and not over), (step, i)
            if over or cut:
                np.testing.assert_array_equal(infos["final_obs"][i], last["image"])
                other.reset(seed=int(env.level[i]))
                ended += 1
            else:
                assert tuple(infos["agent_pos"][i]) == tuple(other.agent_pos)
                assert infos["agent_dir"][i] == other.agent_dir
                assert (infos["carrying"][i] > 0) == (other.carrying is not None)
    if name.startswith(("empty", "multiroom", "doorkey-5x5", "lava", "memory")):
        assert ended > 0


@pytest.mark.parametrize(
    "name", ["doorkey-6x6", "lavacrossing-s9n2", "keycorridor-s3r2", "obstructedmaze-full", "unlock", "memory-s7"]
)
@pytest.mark.parametrize("tile", [8, 9])
def test_pictures_are_minigrids_pixel_for_pixel(name, tile):
    env_id = f"MiniGrid-{LADDER[name]}"
    env = MiniGridVectorEnv(4, env_id, tile=tile, seed=5, num_levels=40)
    seen, _ = env.reset()
    others = theirs(env_id, env.level)
    rng = np.random.default_rng(1)
    for _ in range(40):
        for i, other in enumerate(others):
            other.highlight = True
            frame = other.get_frame(highlight=True, tile_size=tile, agent_pov=True)
            np.testing.assert_array_equal(seen[i, : 7 * tile, : 7 * tile], frame)
        actions = tilt(rng, 4)
        seen, _, terminated, truncated, _ = env.step(actions)
        for i, other in enumerate(others):
            other.step(int(actions[i]))
            if terminated[i] or truncated[i]:
                other.reset(seed=int(env.level[i]))
    assert seen.shape[1:] == (64, 64, 3)
    assert not seen[:, 7 * tile :].any()  # the padding is black


def test_full_view_shows_the_whole_level():
    env = MiniGridVectorEnv(2, "MiniGrid-FourRooms-v0", full_view=True, view="symbolic", seed=1)
    seen, _ = env.reset()
    for i, other in enumerate(theirs("MiniGrid-FourRooms-v0", env.level)):
        grid = other.grid.encode()
        x, y = other.agent_pos
        grid[x, y] = [10, 0, other.agent_dir]  # object 10 is the agent, its state where it looks
        np.testing.assert_array_equal(seen[i], grid)


def test_equal_states_have_equal_hashes_and_others_do_not():
    env = MiniGridVectorEnv(1, "MiniGrid-DoorKey-5x5-v0", seed=0, num_levels=1)
    _, infos = env.reset()
    start = infos["state_hash"][0]
    hashes = [start]
    for action in (0, 0, 0, 0):  # four turns left
        hashes.append(env.step(np.array([action]))[4]["state_hash"][0])
    assert hashes[4] == start
    assert len(set(hashes)) == 4
    assert env.reset()[1]["state_hash"][0] == start  # another episode of the same level


def test_coverage_counts_cells_stood_on():
    env = MiniGridVectorEnv(1, "MiniGrid-Empty-8x8-v0", seed=0)
    infos = env.reset()[1]
    assert infos["coverage"][0] == pytest.approx(1 / 36)  # 6 x 6 free cells
    for _ in range(2):
        infos = env.step(np.array([2]))[4]
    assert infos["coverage"][0] == pytest.approx(3 / 36)
    infos = env.step(np.array([0]))[4]
    assert infos["coverage"][0] == pytest.approx(3 / 36)  # turning covers nothing


def test_a_palette_changes_pictures_and_nothing_else():
    plain = MiniGridVectorEnv(3, "MiniGrid-DoorKey-6x6-v0", seed=2)
    other = MiniGridVectorEnv(3, "MiniGrid-DoorKey-6x6-v0", seed=2, palette="inverted")
    seen, shown = plain.reset()[0], other.reset()[0]
    np.testing.assert_array_equal(seen[:, :63, :63], 255 - shown[:, :63, :63])
    rng = np.random.default_rng(0)
    for _ in range(30):
        actions = rng.integers(7, size=3)
        for x, y in zip(plain.step(actions)[1:4], other.step(actions)[1:4], strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    "name", ["empty-8x8", "doorkey-8x8", "multiroom-n4-s5", "fourrooms", "lavacrossing-s9n2", "unlock", "memory-s11"]
)
def test_the_planner_succeeds(name):
    env = World("minigrid", {"env_id": f"MiniGrid-{LADDER[name]}"}).make(24, seed=1)
    env.reset()
    alive, total = np.ones(24, bool), np.zeros(24)
    while alive.any():
        _, reward, terminated, truncated, _ = env.step(env.scripted())
        total += reward * alive
        alive &= ~(terminated | truncated)
    assert (total > 0).mean() > 0.95


def test_fewer_actions():
    env = MiniGridVectorEnv(2, "MiniGrid-Empty-8x8-v0", actions="navigate")
    assert env.single_action_space.n == 3
    both = MiniGridVectorEnv(1, "MiniGrid-DoorKey-5x5-v0", actions=("left", "toggle"))
    assert both.single_action_space.n == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_id": "MiniGrid-DorKey-5x5-v0"}, "family"),
        ({"env_id": "MiniGrid-DoorKey-7x7-v0"}, "did you mean"),
        ({"env_id": "MiniGrid-Dynamic-Obstacles-5x5-v0"}, "make it with minigrid itself"),
        ({"actions": "walk"}, "actions='walk'"),
        ({"palette": "swaped"}, "did you mean 'swapped'"),
        ({"view": "rgbd"}, "view 'rgbd'"),
        ({"tile": 99}, "tile=99"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(UsageError, match=message):
        MiniGridVectorEnv(2, **options)
