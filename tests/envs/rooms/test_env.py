"""Rooms: walking, touching, cameras, and observations that agree with the ground truth."""

import numpy as np
import pytest

from envs.registry import UsageError
from envs.rooms.env import FOV, RoomsVectorEnv
from envs.rooms.raycast import render


def still(camera="fixed", n=2):
    """``n`` rooms with two objects put by hand: the goal at (1, 0), another at (-1, 0), radius 0.4 each."""
    env = RoomsVectorEnv(n, seed=1, camera=camera)
    env.reset()
    env.scene.shape[:, :3] = [1, 1, 0]
    env.scene.radius[:, :3] = 0.4
    env.scene.place[:, :3] = [(1, 0), (-1, 0), (1.8, 1.8)]
    env.goal[:] = 0
    env.agent[:] = 0
    env.heading[:] = 0
    return env


def test_moves_are_as_the_camera_sees_them():
    env = still(n=4)
    env.agent[:] = (0, 1)
    env.step(np.arange(4))  # left, right, away, near; the fixed camera looks along +y
    np.testing.assert_allclose(env.agent, [(-0.45, 1), (0.45, 1), (0, 1.45), (0, 0.55)], atol=1e-12)
    np.testing.assert_allclose(env.heading, [np.pi, 0, np.pi / 2, 3 * np.pi / 2])
    # a camera at 60 degrees, as it stood before the step: away is -(cos 60, sin 60), left of it (sin 60, -cos 60)
    env = still("moving", 4)
    env.agent[:], env.angle[:] = (0, 1), np.pi / 3
    env.step(np.arange(4))
    x, y = 0.45 * np.cos(np.pi / 3), 0.45 * np.sin(np.pi / 3)
    np.testing.assert_allclose(env.agent, [(y, 1 - x), (-y, 1 + x), (-x, 1 - y), (x, 1 + y)])
    # the agent's own view: facing +y, a step to the left is to -x, and the view turns along
    env = still("first_person", 4)
    env.agent[:], env.heading[:] = (0, 1.4), np.pi / 2
    env.step(np.zeros(4, int))
    np.testing.assert_allclose(env.agent, [(-0.45, 1.4)] * 4)
    env.step(np.zeros(4, int))
    np.testing.assert_allclose(env.agent, [(-0.45, 0.95)] * 4)


def test_the_fence_stops_the_agent():
    env = still()
    env.agent[:] = (1.8, 1.2)
    env.step(np.array([1, 2]))
    np.testing.assert_allclose(env.agent, [(1.9, 1.2), (1.8, 1.65)])


def test_touching_the_goal_gives_1_and_a_distractor_minus_three_quarters():
    env = still()
    # touching is nearer than 0.4 + 0.28 + 0.1 = 0.78: one step leaves 1 - 0.45 = 0.55; env 1 walks to (-1, 0)
    _, reward, terminated, truncated, infos = env.step(np.array([1, 0]))
    assert reward.tolist() == [1, -0.75]
    assert terminated.all()
    assert not truncated.any()
    assert infos["_final_obs"].all()
    env = still()
    env.agent[:] = (0, 1.3)
    env.step(np.array([3, 3]))  # sqrt(0.85^2 + 1) away: passing by is not touching
    assert env.step(np.array([2, 2]))[1].tolist() == [0, 0]


def test_who_walks_to_the_nearest_object_gets_less_than_a_fifth():
    env = RoomsVectorEnv(1000, seed=1, num_levels=10**6)
    env.reset()
    nearest = np.where(env.scene.shape[:, :3] > 0, env._gaps(env.agent), 9).argmin(1)
    # half of the nearest are the goal: 0.5 - 0.75 / 2 = 0.125, standard error of 1,000: 0.875 / sqrt(1000) = 0.028
    assert abs(np.where(nearest == env.goal, 1, -0.75).mean() - 0.125) < 0.075


@pytest.mark.parametrize("distractors", [1, 2])
def test_rooms_have_as_many_objects_as_asked_of_four_hues(distractors):
    env = RoomsVectorEnv(60, seed=1, distractors=distractors, num_levels=10**6)
    env.reset()
    factors = env.factors()
    objects = factors["shape"] > 0
    assert (objects == (np.arange(3) <= distractors)).all()
    hues = factors["hue"]
    assert set(hues[objects]) == {0, 1, 2, 4}
    assert all(len(set(row[row >= 0])) == 1 + distractors for row in hues)
    assert set(env.goal) == set(range(1 + distractors))
    assert env.factor_vector(env.rows).shape == (60, 19)


def test_an_empty_slot_is_never_touched():
    env = still()
    env.agent[:] = (1.7, 1.8)  # beside the empty third slot
    _, reward, terminated, _, _ = env.step(np.array([0, 1]))
    assert reward.tolist() == [0, 0]
    assert not terminated.any()


def test_pose_goal_and_image():
    env = RoomsVectorEnv(40, seed=2, num_levels=1000)
    seen, _ = env.reset()
    assert seen["pose"].dtype == np.float32
    # the fixed camera: x = 0, y = -2.9, z = 2.9, looking along +y, pitch -0.86
    np.testing.assert_allclose(seen["pose"][0], [0, -2.9, 2.9, 0, 1, np.cos(0.86), -np.sin(0.86)], atol=1e-6)
    assert (seen["pose"] == seen["pose"][0]).all()
    told = env.factors()
    np.testing.assert_array_equal(seen["goal"].argmax(1), told["hue"][np.arange(40), env.goal])
    assert (seen["goal"].sum(1) == 1).all()
    assert len(set(env.goal)) > 1
    # where the goal is seen its colour is the named one: red has more red than green and blue, ...
    mask = env.masks()
    strongest = {0: [0], 1: [0, 1], 2: [1], 3: [1, 2], 4: [2], 5: [0, 2]}
    checked = 0
    for i in range(40):
        inside = mask[i] == env.goal[i] + 1
        if inside.sum() > 10:
            rgb = seen["image"][i][inside].astype(float).mean(0)
            high = strongest[int(seen["goal"][i].argmax())]
            assert rgb[high].min() > 1.5 * np.delete(rgb, high).max()
            checked += 1
    assert checked > 30


def test_the_moving_camera_wanders_and_first_person_faces_ahead():
    env = RoomsVectorEnv(50, seed=3, camera="moving", num_levels=1000)
    seen, _ = env.reset()
    angle = np.arctan2(seen["pose"][:, 1], seen["pose"][:, 0])
    assert np.ptp(angle) > 3
    after = env.step(np.zeros(50, int))[0]["pose"]
    turned = (np.arctan2(after[:, 1], after[:, 0]) - angle + np.pi) % (2 * np.pi) - np.pi
    assert set(np.round(turned / np.radians(15), 3)) == {-1, 0, 1}
    np.testing.assert_allclose(np.hypot(after[:, 0], after[:, 1]), 2.9, atol=1e-5)
    eye = still("first_person")
    eye.agent[:], eye.heading[:] = (0.5, -0.3), np.pi / 2
    pose = eye._observe(eye.rows)["pose"]
    np.testing.assert_allclose(pose[0, :5], [0.5, -0.3, 0.6, 0, 1], atol=1e-6)
    assert (eye.masks() < 4).all()  # the agent does not see itself


def test_the_outer_cameras_show_the_agent_in_its_place():
    for camera in ("fixed", "moving"):
        env = RoomsVectorEnv(100, seed=4, camera=camera, num_levels=1000)
        env.reset()
        visible = ((env.masks() == 4) | (env.masks() == 5)).sum((1, 2)) > 4
        assert visible.mean() > 0.95
    env = RoomsVectorEnv(60, seed=5, num_levels=1000)
    env.reset()
    mask, x = env.masks(), env.agent[:, 0]
    columns = np.array([np.flatnonzero((m >= 4).any(0)).mean() if (m >= 4).any() else np.nan for m in mask])
    known = ~np.isnan(columns)
    assert np.corrcoef(columns[known], x[known])[0, 1] > 0.9  # the camera looks along +y: x runs to the right


def test_nothing_is_touched_at_the_start_and_the_script_gets_there():
    env = RoomsVectorEnv(150, seed=6, num_levels=10**6)
    env.reset()
    there = env.scene.shape[:, :3] > 0
    assert (env._gaps(env.agent) - env._reach(env.rows))[there].min() > 0
    total, alive = np.zeros(150), np.ones(150, bool)
    env._observe_all = lambda: {"image": None}  # the script looks at the state
    env._look = lambda rows: {}
    for _ in range(60):
        _, reward, terminated, truncated, _ = env.step(env.scripted())
        total += reward * alive
        alive &= ~(terminated | truncated)
    assert total.mean() > 0.97


@pytest.mark.parametrize("camera", ["fixed", "moving", "first_person"])
def test_views_begin_with_the_policy_s_own_and_go_around_the_room(camera):
    env = RoomsVectorEnv(3, seed=7, camera=camera)
    env.reset()
    seen = env.step(np.array([0, 2, 1]))[0]
    found = env.views(4)
    assert found["image"].shape == (3, 4, 64, 64, 3)
    assert (found["image"].dtype, found["pose"].dtype) == (np.uint8, np.float32)
    np.testing.assert_array_equal(found["image"][:, 0], seen["image"])
    np.testing.assert_array_equal(found["pose"][:, 0], seen["pose"])
    x, y, z, cos_yaw, sin_yaw, cos_pitch, sin_pitch = np.moveaxis(found["pose"][:, 1:], -1, 0)
    np.testing.assert_allclose(np.hypot(x, y), 2.9, atol=1e-5)
    np.testing.assert_allclose(z, 2.9, atol=1e-6)
    # looking at the middle: 2.9 m along the yaw from (x, y) is (0, 0)
    np.testing.assert_allclose(x + 2.9 * cos_yaw, 0, atol=1e-5)
    np.testing.assert_allclose(y + 2.9 * sin_yaw, 0, atol=1e-5)
    np.testing.assert_allclose(np.arctan2(sin_pitch, cos_pitch), -0.86, atol=1e-6)
    angles = np.arctan2(y, x).ravel()
    assert np.diff(np.sort(angles)).min() > 1e-3  # 9 places, no two alike
    pictures = found["image"].reshape(12, -1)
    assert len(np.unique(pictures, axis=0)) == 12
    alone = env.views(1)
    np.testing.assert_array_equal(alone["image"][:, 0], seen["image"])


@pytest.mark.parametrize("camera", ["fixed", "moving"])
def test_views_around_the_room_show_the_agent_and_the_goal(camera):
    env = RoomsVectorEnv(16, camera=camera, seed=0)
    env.reset(seed=0)
    for action in range(4):
        env.step(np.full(16, action))
    poses = env.views(5)["pose"].astype(np.float64)
    masks = render(env.scene, poses, size=64, fov=FOV, depth=False, colours=env.colours).masks
    agent, goal = (masks == 4) | (masks == 5), masks == env.goal[:, None, None, None] + 1
    assert (agent.sum((2, 3)) > 10).mean() > 0.95
    assert (goal.sum((2, 3)) > 10).mean() > 0.95


def test_views_come_from_anywhere_on_the_circle_and_change_with_time():
    env = RoomsVectorEnv(40, seed=8)
    env.reset()
    render, env_views = env.views, []
    for _ in range(2):
        env_views.append(render(3)["pose"][:, 1:, :2])
        env.step(np.zeros(40, int))
    assert not np.isclose(*env_views).all(-1).any()
    quarter = (np.arctan2(env_views[0][..., 1], env_views[0][..., 0]) // (np.pi / 2)).astype(int)
    # 80 angles over 4 quarters: 20 each, standard deviation 3.9
    assert np.bincount((quarter + 2).ravel(), minlength=4).min() > 8


def test_views_are_the_same_whatever_the_number_of_envs():
    found = []
    for n in (2, 5):
        env = RoomsVectorEnv(n, seed=9, camera="moving")
        env.reset()
        env.step(np.zeros(n, int))
        found.append(env.views(3))
    for key in ("image", "pose"):
        np.testing.assert_array_equal(found[0][key], found[1][key][:2])


def test_views_leave_the_state_unchanged():
    looked_at, left = (RoomsVectorEnv(3, seed=10, camera="moving", max_episode_steps=4) for _ in range(2))
    looked_at.reset()
    left.reset()
    for step in range(9):  # through two time limits
        looked_at.views(3)
        actions = np.array([step, step + 1, step + 2]) % 3
        one, other = looked_at.step(actions), left.step(actions)
        for key in ("image", "pose", "goal"):
            np.testing.assert_array_equal(one[0][key], other[0][key])
        np.testing.assert_array_equal(one[1], other[1])


def test_views_of_nothing_are_refused():
    env = RoomsVectorEnv(2)
    env.reset()
    with pytest.raises(UsageError, match=r"views\(0\): ask for at least one"):
        env.views(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"camera": "fix"}, "did you mean 'fixed'"),
        ({"combinations": "x"}, "combinations"),
        ({"distractors": 3}, "distractors=3"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(UsageError, match=message):
        RoomsVectorEnv(2, **options)
