"""Breakout's sizes and rules as data, and one line for every mistake."""

import pytest

from envs.breakout.env import BreakoutVectorEnv
from envs.breakout.variants import PRESETS, VARIANTS, Rules
from envs.registry import UsageError


def test_sizes_of_both_presets():
    schema, mini = PRESETS["schema"], PRESETS["mini64"]
    # 94 = 2*3 + 11*8, int(1.25*94) = 117; bricks 88..111; ledge y=85, x=23..70, 3..50, from 47 into the right wall
    assert (schema.lowest, schema.ledge, schema.num_bricks) == (88, 85, 66)
    assert [schema.ledge_span(at) for at in ("left", "middle", "right")] == [(3, 51), (23, 71), (47, 94)]
    assert (mini.lowest, mini.ledge, mini.num_bricks) == (42, 40, 60)
    assert [mini.ledge_span(at) for at in ("left", "middle", "right")] == [(2, 32), (16, 52), (32, 62)]
    assert Rules(paddle_y="random").paddle_range(schema) == (3, 28)
    assert Rules(bricks="target").area_in(schema) == (3, 75, 88, 96)
    assert VARIANTS["moving_obstacles"].blocks_in(schema) == ((10, 1), (18, -2), (26, 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variant": "middlewall"}, "did you mean 'middle_wall'"),
        ({"variant": []}, "empty"),
        ({"preset": "mini"}, "mini64"),
        ({"mode": "grey"}, "did you mean 'gray'"),
        ({"bounce_nois": 0.1}, "did you mean 'bounce_noise'"),
        ({"bounce_noise": 1.5}, "probability"),
        ({"num_balls": 9}, "num_balls"),
        ({"accelerate": "on"}, "accelerate"),
        ({"paddle_width": 3}, "paddle_width"),
        ({"paddle_width": "tiny"}, "paddle_width"),
        ({"paddle_y": 30}, "paddle_y"),
        ({"paddle_y": "top"}, "paddle_y"),
        ({"obstacles": ((40, 1),)}, "obstacle"),
        ({"obstacles": "some"}, "obstacles"),
        ({"brick_rows": 9}, "brick_rows"),
        ({"row_values": (1, 2)}, "row_values"),
        ({"lost_reward": "none"}, "lost_reward"),
        ({"variant": "random_target", "target_area": (2, 60, 42, 42)}, "target"),
        ({"variant": "random_target", "target_area": (9, 9, 42, 42)}, "single place"),
        ({"clip_reward": 1}, "bool"),
        ({"ball_px": 3}, "ball_px"),
        ({"mode": "entities", "copy": False}, "copy"),
    ],
)
def test_mistakes_are_one_line(options, words):
    with pytest.raises(UsageError, match=words) as error:
        BreakoutVectorEnv(2, **options)
    assert "\n" not in str(error.value)
