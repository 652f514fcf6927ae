"""Layouts that a level of Breakout decides."""

import numpy as np

from envs.breakout.levels import layouts
from envs.counter_rng import counter_hash


def test_layouts_of_a_level():
    def bits(rows, *tags):
        return counter_hash(rows, *tags)

    rows = np.arange(300)
    drawn = layouts(bits, rows, "level", (6, 11), 0.6)
    assert drawn.any(axis=(1, 2)).all()
    assert len({each.tobytes() for each in drawn}) > 60
    np.testing.assert_array_equal(drawn[7:9], layouts(bits, rows[7:9], "level", (6, 11), 0.6))
    assert (layouts(bits, rows, "checker", (6, 11), 0.6).sum(axis=(1, 2)) == 33).all()
    assert (layouts(bits, rows, "tunnel", (6, 11), 0.6).sum(axis=(1, 2)) == 54).all()
    # 11 + 9 + 7 + 5 + 3 + 1
    assert (layouts(bits, rows, "pyramid", (6, 11), 0.6).sum(axis=(1, 2)) == 36).all()
    assert abs(layouts(bits, rows, "random", (6, 11), 0.6).mean() - 0.6) < 0.02
    assert (layouts(bits, rows, "random", (6, 11), 0.0).sum(axis=(1, 2)) == 1).all()
