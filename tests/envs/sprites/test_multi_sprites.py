"""Scenes of several sprites: masks, visibility and occlusion by hand, and the limits of every option."""

import numpy as np
import pytest

from envs.registry import UsageError
from envs.sprites.multi_sprites import MultiSprites
from envs.sprites.renderer import COLOURS, SHAPES, Sprites, allowed, class_rgb, colour_in, hsv, stamp


def squares(places, radius=32**0.5, rgb=((200, 100, 0), (0, 100, 200))):
    """One scene of upright squares of side 8 (radius 4 sqrt 2), slot by slot."""
    k = len(places)
    return Sprites(
        present=np.ones((1, k), bool),
        shape=np.zeros((1, k), np.int64),
        radius=np.full((1, k), radius),
        orientation=np.zeros((1, k)),
        x=np.array([[x for x, _ in places]], float),
        y=np.array([[y for _, y in places]], float),
        rgb=np.array([rgb[:k]], np.uint8),
    )


def test_later_slots_hide_earlier_ones_and_pixels_are_counted_unoccluded():
    mask = np.zeros((1, 32, 32), np.uint8)
    # squares of 8 x 8 pixels over [8, 16) x [8, 16) and [12, 20) x [10, 18): they share 4 x 6 pixels
    whole = stamp(mask, squares([(12, 12), (16, 14)]))
    assert whole.tolist() == [[64, 64]]
    assert ((mask == 1).sum(), (mask == 2).sum()) == (64 - 24, 64)
    assert mask[0, 12, 13] == 2  # row 12, column 13 lies in both
    assert mask[0, 8, 8] == 1
    assert mask[0, 9, 17] == 0


def test_edges_mix_in_quarters():
    image = np.zeros((1, 32, 32, 3), np.uint8)
    colour_in(image, squares([(12.5, 12)]))  # [8.5, 16.5) x [8, 16): columns 8 and 16 are half covered
    assert image[0, 12, 12].tolist() == [200, 100, 0]
    assert image[0, 12, 8].tolist() == [100, 50, 0]
    assert image[0, 12, 16].tolist() == [100, 50, 0]
    assert image[0, 12, 7].tolist() == [0, 0, 0]


def test_visibility_is_visible_over_unoccluded_pixels():
    data = MultiSprites(mode="coloured", counts=(4, 4), seed=2)
    scenes = data.scenes(np.arange(40))
    for i in range(40):
        for k in range(4):
            alone = np.zeros((1, 64, 64), np.uint8)
            one = Sprites(
                present=np.ones((1, 1), bool),
                shape=scenes.shape[i : i + 1, k : k + 1],
                radius=scenes.scale[i : i + 1, k : k + 1].astype(float) * 16,
                orientation=scenes.orientation[i : i + 1, k : k + 1].astype(float),
                x=scenes.x[i : i + 1, k : k + 1].astype(float),
                y=scenes.y[i : i + 1, k : k + 1].astype(float),
                rgb=scenes.rgb[i : i + 1, k : k + 1],
            )
            whole = stamp(alone, one)[0, 0]
            assert scenes.visibility[i, k] == pytest.approx((scenes.mask[i] == k + 1).sum() / whole, abs=0.02)
    assert scenes.visibility.min() >= 0.25
    assert scenes.visibility.min() < 0.9  # some are hidden in part


def test_a_scene_depends_on_nothing_but_its_number():
    data = MultiSprites(seed=5)
    many, one = data.scenes(np.array([3, 7, 11])), data.scenes(np.array([7]))
    np.testing.assert_array_equal(many.image[1], one.image[0])
    np.testing.assert_array_equal(many.mask[1], one.mask[0])
    assert not np.array_equal(many.image[0], many.image[1])


def test_counts_colours_and_ground_of_the_three_modes():
    for mode, low, high in (("binary", 2, 3), ("gray", 2, 5), ("coloured", 1, 4)):
        scenes = MultiSprites(mode=mode).scenes(np.arange(60))
        assert (scenes.n.min(), scenes.n.max()) == (low, high)
        assert (scenes.shape >= 0).sum(1).tolist() == scenes.n.tolist()
        if mode == "binary":
            assert set(np.unique(scenes.image)) == {0, 255}
            assert np.array_equal(scenes.image[..., 0] == 255, scenes.mask > 0)
        if mode == "gray":
            assert (scenes.background == 128).all()
    assert MultiSprites(counts=(6, 6), min_visible=0.1).scenes(np.arange(3)).n.tolist() == [6, 6, 6]


def test_colours_that_touch_are_apart():
    scenes = MultiSprites(counts=(3, 3), seed=1).scenes(np.arange(80))
    for i in range(80):
        for k in range(3):
            colour = scenes.rgb[i, k] / 255
            assert np.linalg.norm(colour - scenes.background[i] / 255) >= 0.25
            for j in range(k):
                gap = np.hypot(scenes.x[i, k] - scenes.x[i, j], scenes.y[i, k] - scenes.y[i, j])
                if gap <= 16 * (scenes.scale[i, k] + scenes.scale[i, j]):
                    assert np.linalg.norm(colour - scenes.rgb[i, j] / 255) >= 0.25


def test_held_out_pairs_never_appear_in_training():
    table = allowed("heldout")
    assert table.sum() == 8  # a third of 4 x 6
    assert table.any(1).all()
    assert table.any(0).all()
    for part, wanted in (("train", False), ("heldout", True)):
        scenes = MultiSprites(combinations=part, shapes=SHAPES).scenes(np.arange(120))
        there = scenes.shape >= 0
        assert (table[scenes.shape[there], scenes.colour[there]] == wanted).all()


def test_class_colours_stay_in_their_sixth_of_the_circle():
    bits = np.arange(200, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for colour, name in enumerate(COLOURS):
        rgb = class_rgb(np.full(200, colour), bits).astype(int)
        strongest = {"red": [0], "yellow": [0, 1], "green": [1], "cyan": [1, 2], "blue": [2], "magenta": [0, 2]}[name]
        assert (rgb[:, strongest].min(1) > np.delete(rgb, strongest, 1).max(1)).all()
    assert hsv(np.array([0, 1 / 3, 2 / 3]), 1.0, 1.0).tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_sprites_fly_straight_and_bounce():
    data = MultiSprites(counts=(2, 2), speed=(2.0, 2.0), seed=3)
    films = data.sequences(np.arange(6), 40)
    assert films.image.shape == (6, 40, 64, 64, 3)
    radius = 16 * films.scale[:, None]
    for place, part in ((films.x, 0), (films.y, 1)):
        assert (place >= radius - 1e-3).all()
        assert (place <= 64 - radius + 1e-3).all()
        moved, speed = np.diff(place, axis=1), films.velocity[:, :-1, :, part]
        straight = np.sign(films.velocity[:, 1:, :, part]) == np.sign(speed)
        np.testing.assert_allclose(moved[straight], speed[straight], atol=1e-3)
        assert not straight.all()  # something bounced
    np.testing.assert_allclose(np.hypot(films.velocity[..., 0], films.velocity[..., 1]), 2, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "grey"}, "did you mean 'gray'"),
        ({"counts": (3, 2)}, "counts"),
        ({"combinations": "test"}, "combinations"),
        ({"shapes": ("hart",)}, "did you mean 'heart'"),
        ({"mode": "binary", "combinations": "train"}, "no colours"),
        ({"size": 8}, "size"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(UsageError, match=message):
        MultiSprites(**options)
