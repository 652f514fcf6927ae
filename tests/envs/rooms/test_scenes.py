"""The ray caster against geometry worked out by hand, and scenes that follow from their seeds."""

import numpy as np
import pytest

from envs.registry import UsageError
from envs.rooms.raycast import SHAPES, Scenes, palettes, render
from envs.rooms.scenes import SceneConfig, draw_scenes, is_heldout, poses_of, scenes


def room(*bodies, light=(0.0, 0.0, 1.0)):
    """One scene of (shape, x, y, radius, height, yaw)."""
    k = len(bodies)
    base = draw_scenes([0], SceneConfig(least=max(k, 1), most=max(k, 1)))
    column = np.array(bodies, dtype=object).reshape(k, 6)
    numbers = column[:, 1:].astype(np.float32)
    return Scenes(
        seeds=base.seeds,
        shape=np.array([[SHAPES.index(shape) for shape in column[:, 0]]]),
        place=numbers[None, :, :2],
        radius=numbers[None, :, 2],
        height=numbers[None, :, 3],
        yaw=numbers[None, :, 4],
        hue=np.zeros((1, k), np.int64),
        colour=np.tile(np.float32([0.8, 0.2, 0.1]), (1, k, 1)),
        tones=np.full((1, 3, 2, 3), 0.5, np.float32),
        style=np.zeros((1, 2), np.int64),
        light=np.float32([light]),
    )


def view(scene, x, y, z, yaw=0.0, pitch=0.0, size=65, fov=60.0):
    """One view; size 65 has a pixel whose ray is the axis."""
    seen = render(scene, poses_of(np.array([[x]]), y, z, yaw, pitch), size=size, fov=fov)
    return seen.images[0, 0], seen.depth[0, 0], seen.masks[0, 0]


def test_depth_along_the_axis():
    sphere = room(("sphere", 1.0, 0.0, 0.5, 0.0, 0.0))
    _, depth, mask = view(sphere, -2.0, 0.0, 0.5)
    assert depth[32, 32] == pytest.approx(3.0 - 0.5, abs=1e-4)  # 3 m to the centre, less the radius
    assert mask[32, 32] == 1
    cylinder = room(("cylinder", 1.0, 0.0, 0.4, 1.0, 0.0))
    assert view(cylinder, -2.0, 0.0, 0.5)[1][32, 32] == pytest.approx(2.6, abs=1e-4)
    # a box of radius 0.5 has sides of 0.5 sqrt 2, so its face is 0.3536 before the centre; turned by 45 degrees its
    # edge points at the camera, 0.5 before the centre
    box = room(("box", 1.0, 0.0, 0.5, 1.0, 0.0))
    assert view(box, -2.0, 0.0, 0.5)[1][32, 32] == pytest.approx(3 - 0.5 / np.sqrt(2), abs=1e-4)
    turned = room(("box", 1.0, 0.0, 0.5, 1.0, np.pi / 4))
    assert view(turned, -2.0, 0.0, 0.5)[1][32, 32] == pytest.approx(2.5, abs=1e-3)


def test_depth_of_walls_floor_and_ceiling():
    empty = room(("none", 0.0, 0.0, 0.1, 0.1, 0.0))
    _, depth, mask = view(empty, -1.0, 0.5, 1.5)
    assert (mask == 0).all()
    assert depth[32, 32] == pytest.approx(4.5, abs=1e-4)  # x = -1 to the wall at 3.5
    # a pitch of -60 degrees: the floor, 1.5 / sin 60 away
    assert view(empty, -1.0, 0.5, 1.5, pitch=-np.pi / 3)[1][32, 32] == pytest.approx(1.5 / np.sin(np.pi / 3), abs=1e-4)
    # up by 75 degrees: the ceiling, 1.5 above
    up = np.radians(75)
    assert view(empty, -1.0, 0.5, 1.5, pitch=up)[1][32, 32] == pytest.approx(1.5 / np.sin(up), abs=1e-4)
    # to the y wall: yaw 90 degrees, from y = 0.5
    assert view(empty, -1.0, 0.5, 1.5, yaw=np.pi / 2)[1][32, 32] == pytest.approx(3.0, abs=1e-4)


def test_the_pinhole():
    # a thin cylinder 2 m ahead and 0.5 m to the left (y is left of +x): tan(angle) = 1/4, column 32 - 32.5 / 4 / tan 30
    scene = room(("cylinder", 2.0, 0.5, 0.05, 2.9, 0.0))
    _, _, mask = view(scene, 0.0, 0.0, 1.5)
    columns = np.flatnonzero((mask == 1).any(0))
    assert columns.mean() == pytest.approx(32 - 32.5 * 0.25 / np.tan(np.pi / 6), abs=1)


def test_twice_as_near_is_twice_as_large():
    scene = room(("cylinder", 3.0, 0.0, 0.2, 2.9, 0.0))
    far, near = ((view(scene, x, 0.0, 1.5, size=128)[2] == 1)[64].sum() for x in (-1.0, 1.0))
    assert near == pytest.approx(2 * far, abs=2)


def test_a_mirrored_scene_from_a_mirrored_pose_is_the_mirrored_picture():
    bodies = [
        ("sphere", 1.0, 0.6, 0.4, 0.0, 0.0),
        ("box", 0.5, -0.9, 0.4, 1.0, 0.3),
        ("cylinder", -0.5, 0.2, 0.3, 0.8, 0.0),
    ]
    mirrored = [(s, x, -y, r, h, -yaw) for s, x, y, r, h, yaw in bodies]
    picture, depth, mask = view(room(*bodies, light=(0.6, 0.0, 0.8)), -3.0, 0.3, 1.3, yaw=0.1, pitch=-0.2, size=64)
    other = view(room(*mirrored, light=(0.6, 0.0, 0.8)), -3.0, -0.3, 1.3, yaw=-0.1, pitch=-0.2, size=64)
    np.testing.assert_allclose(depth, other[1][:, ::-1], rtol=1e-4)
    np.testing.assert_array_equal(mask, other[2][:, ::-1])
    assert (
        np.abs(picture.astype(int) - other[0][:, ::-1]).max(-1) <= 2
    ).mean() > 0.995  # textures round at their edges


def test_what_is_nearer_hides_what_is_behind():
    scene = room(("sphere", 2.0, 0.0, 0.5, 0.0, 0.0), ("sphere", 0.0, 0.0, 0.5, 0.0, 0.0))
    record = view(scene, -2.0, 0.0, 0.5)
    assert record[2][32, 32] == 2
    assert record[1][32, 32] == pytest.approx(1.5, abs=1e-4)
    empty_depth = view(room(("none", 0.0, 0.0, 0.1, 0.1, 0.0)), -2.0, 0.0, 0.5)[1]
    assert (record[1][record[2] > 0] < empty_depth[record[2] > 0]).all()
    np.testing.assert_allclose(record[1][record[2] == 0], empty_depth[record[2] == 0], rtol=1e-5)


def test_light_from_above_brightens_tops():
    scene = room(("box", 1.0, 0.0, 0.6, 0.5, 0.0), light=(0.0, 0.0, 1.0))
    picture, _, mask = view(scene, -1.5, 0.0, 1.6, pitch=-0.5)
    inside = mask == 1
    brightest, darkest = picture[inside].max(0), picture[inside].min(0)
    # the top has n.L = 1: 0.6 + 0.4 = 1, a side n.L = 0: 0.6
    np.testing.assert_allclose(brightest / 255, [0.8, 0.2, 0.1], atol=0.02)
    np.testing.assert_allclose(darkest / 255, np.array([0.8, 0.2, 0.1]) * 0.6, atol=0.02)
    assert palettes(scene).surfaces.shape == (1, 6 * 64)


def test_a_scene_and_its_views_depend_on_nothing_but_the_seed():
    many, one = scenes([5, 9, 12], views=3), scenes([9], views=3)
    np.testing.assert_array_equal(many.images[1], one.images[0])
    np.testing.assert_array_equal(many.poses[1], one.poses[0])
    assert not np.array_equal(many.images[0], many.images[1])


@pytest.mark.parametrize("camera", ["ring", "free", "trajectory"])
def test_cameras_stand_outside_objects_and_poses_are_unit_angles(camera):
    record = scenes(range(12), views=5, camera=camera)
    poses, scene = record.poses, record.scene
    np.testing.assert_allclose(poses[..., 3] ** 2 + poses[..., 4] ** 2, 1, atol=1e-5)
    np.testing.assert_allclose(poses[..., 5] ** 2 + poses[..., 6] ** 2, 1, atol=1e-5)
    gap = np.linalg.norm(poses[:, :, None, :2] - scene.place[:, None], axis=-1) - scene.radius[:, None]
    top = np.maximum(scene.height, 2 * scene.radius)[:, None]
    assert ((gap > 0.1) | (poses[:, :, None, 2] > top) | (scene.shape[:, None] == 0)).all()
    if camera == "ring":
        distance = np.hypot(poses[..., 0], poses[..., 1])
        assert distance.min() >= 2.6 - 1e-5
        assert distance.max() <= 3.2 + 1e-5
    if camera == "trajectory":
        steps = np.linalg.norm(np.diff(poses[..., :2], axis=1), axis=-1)
        assert (np.isclose(steps, 0.3, atol=1e-4) | np.isclose(steps, 0, atol=1e-6)).all()


def test_objects_keep_apart_and_inside():
    scene = draw_scenes(range(300), SceneConfig(least=3, most=3))
    gap = np.linalg.norm(scene.place[:, :, None] - scene.place[:, None], axis=-1)
    reach = scene.radius[:, :, None] + scene.radius[:, None]
    first, second = np.triu_indices(3, 1)
    assert (gap - reach)[:, first, second].min() > 0
    assert np.abs(scene.place).max() <= 1.5


def test_held_out_pairs_are_never_in_training():
    for part, wanted in (("train", False), ("heldout", True)):
        scene = draw_scenes(range(200), SceneConfig(combinations=part))
        there = scene.shape > 0
        assert (is_heldout(scene.shape[there], scene.hue[there]) == wanted).all()
        assert len(set(scene.hue[there])) == 6
        assert len(set(scene.shape[there])) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scenes([0], camera="rings"), "did you mean 'ring'"),
        (lambda: scenes([0], views=0), "views=0"),
        (lambda: SceneConfig(combinations="test"), "combinations"),
        (lambda: SceneConfig(least=4, most=2), "least=4"),
        (lambda: SceneConfig(spread=9), "spread=9"),
        (lambda: view(room(("none", 0.0, 0.0, 0.1, 0.1, 0.0)), 4.0, 0.0, 1.0), "outside the room"),
    ],
)
def test_bad_values(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_a_camera_that_stands_still_shows_what_it_shows_among_others():
    rooms = draw_scenes(np.arange(5))
    still = np.broadcast_to(poses_of(np.array(0.3), -2.9, 2.0, 1.5, -0.6), (5, 1, 7))
    others = np.concatenate([still, np.broadcast_to(poses_of(np.array(1.0), 2.5, 1.0, 4.0, -0.2), (5, 1, 7))], axis=1)
    alone, among = render(rooms, still), render(rooms, others)
    for one, other in zip(alone, among, strict=True):
        np.testing.assert_array_equal(one[:, 0], other[:, 0])
    assert len(np.unique(alone.images.reshape(5, -1), axis=0)) == 5


def test_named_objects_have_the_hues_asked_for():
    rooms = draw_scenes(np.arange(300), SceneConfig(least=2, most=2, named=True, hues=(1, 2, 5)))
    assert np.bincount(rooms.hue[:, 0], minlength=6).tolist().count(0) == 3
    # 300 of 3 hues: 100 each, standard deviation 8.2
    assert np.bincount(rooms.hue[:, 0], minlength=6)[[1, 2, 5]].min() > 70
    assert (rooms.hue[:, 0] != rooms.hue[:, 1]).all()
    with pytest.raises(UsageError, match="most=3 must be 1 <= least <= most <= 2"):
        SceneConfig(named=True, hues=(0, 4))
    with pytest.raises(UsageError, match=r"hues=\(0, 6\)"):
        SceneConfig(most=2, named=True, hues=(0, 6))
