"""Breakout's sizes, rules and named variants as data, checked before an array is made.

The game is the one of Schema Networks (Kansky et al. 2017, arXiv 1706.04317; rules as in vicariousinc/schema-games).
Coordinates are whole pixels, x to the right, y **up**, origin at the bottom left. Every variant is a value of
``Rules``. Colours, layouts and sides that a level decides are allowed here and drawn elsewhere. No import of numpy.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from envs.registry import UsageError, did_you_mean

MAX_SPEED = 2
"""Largest ball speed: every solid must be at least that thick, as a move checks its end pixel only."""
MAX_BALLS = 8


@dataclass(frozen=True)
class Geometry:
    """Sizes in pixels. The properties follow from the fields by the original's own formulas."""

    width: int
    """Width of the frame."""
    height: int
    """Height of the frame."""
    wall: int
    """Thickness of the left, right and top wall."""
    columns: int
    """Number of columns of bricks; they fill the width between the walls."""
    brick: tuple[int, int]
    """Width and height of a brick; a moving obstacle is as large."""
    paddle_height: int
    """Rows of the paddle."""
    paddle_widths: dict[str, int]
    """Widths by name."""
    obstacles: tuple[tuple[int, int], ...]
    """(lowest y, speed) of each moving obstacle."""
    rows: int = 6
    """Number of rows of bricks, row 0 lowest."""

    @property
    def lowest(self) -> int:
        """Height of the lowest brick pixel: two empty rows are left between the bricks and the top wall."""
        return self.height - 2 - self.wall - self.rows * self.brick[1]

    @property
    def num_bricks(self) -> int:
        """Number of bricks; brick k = row * columns + column."""
        return self.rows * self.columns

    @property
    def ledge(self) -> int:
        """Lowest y of the middle wall, which lies right under the bricks, as thick as a wall."""
        return self.lowest - self.wall

    def ledge_span(self, location: str) -> tuple[int, int]:
        """First and one past the last x of the middle wall, built of blocks as wide as a brick."""
        half, quarter = self.width // 2, self.width // 4
        first, past = {
            "left": (self.wall, half),
            "middle": (quarter, self.width - quarter),
            "right": (half, self.width - self.wall),
        }[location]
        blocks = -(-(past - first) // self.brick[0])
        return first, min(first + blocks * self.brick[0], self.width)


PRESETS: dict[str, Geometry] = {
    "schema": Geometry(
        width=94,
        height=117,
        wall=3,
        columns=11,
        brick=(8, 4),
        paddle_height=4,
        paddle_widths={"standard": 23, "narrow": 11, "wide": 31, "widest": 47},
        obstacles=((10, 1), (18, -2), (26, 2)),
    ),
    "mini64": Geometry(
        width=64,
        height=64,
        wall=2,
        columns=10,
        brick=(6, 3),
        paddle_height=2,
        paddle_widths={"standard": 15, "narrow": 7, "wide": 21, "widest": 31},
        obstacles=((6, 1), (10, -2), (14, 2)),
    ),
}

CHOICES: dict[str, tuple[str, ...]] = {
    "accelerate": ("off", "episode"),
    "bricks": ("full", "checker", "tunnel", "pyramid", "random", "level", "target", "none"),
    "wall_location": ("none", "left", "middle", "right", "random"),
    "negative_side": ("none", "left", "right", "random"),
    "palette": ("standard", "recolor"),
    "background": ("none", "gradient", "noise", "rectangles", "checker", "level"),
    "tone": ("none", "invert", "gray"),
    "flip": ("none", "x", "y"),
}
_PROBABILITIES = ("bounce_noise", "paddle_noise", "sticky", "brick_density")
_RANGES = {
    "num_balls": (1, MAX_BALLS),
    "num_lives": (1, 10**6),
    "ball_speed": (1, MAX_SPEED),
    "brick_strength": (1, 3),
    "gravity_period": (0, 10**6),
    "distractors": (0, 16),
}
_MOST_BLOCKS = 8


def _number(value: Any, kinds: Any = int) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


@dataclass(frozen=True)
class Rules:
    """Rules and colours of one env. Defaults are the original Standard game. [level] = drawn from the level."""

    bounce_noise: float = 0.25
    """Probability that a bounce off a wall, brick or obstacle draws a new velocity of the same two signs."""
    paddle_noise: float = 0.1
    """Probability that the paddle moves 1 pixel instead of 2."""
    sticky: float = 0.0
    """Probability that the action before is repeated."""
    accelerate: str = "episode"
    """episode: at 4, 8, 12 broken bricks or a hit in row (rows - 4) the ball goes to speed 2, velocity times two."""
    ball_speed: int = 1
    """Speed r at the start of an episode, 1 or 2: the larger of |vx| and |vy|."""
    num_balls: int = 1
    """1..8; a life is lost when all are lost."""
    num_lives: int = 3
    """Lives of an episode."""
    gravity_period: int = 0
    """Every that many steps vy falls by 1, never to 0 nor below -r, and the paddle gives vy = r. 0: no gravity."""
    paddle_width: int | str = "standard"
    """Pixels, or a name: standard, narrow, wide, widest (23, 11, 31, 47 in schema; 15, 7, 21, 31 in mini64)."""
    paddle_y: int | str | tuple[int, int] = "bottom"
    """Lowest row: bottom, a number, (lowest, highest) [level], or random: from bottom to a quarter of the height."""
    bricks: str = "full"
    """full, checker, tunnel (two columns missing), pyramid, random, level (one of those four) [level]; target: one
    block that jumps when hit; none."""
    brick_density: float = 0.6
    """Probability of a brick in layout random."""
    brick_rows: int | None = None
    """2..8 rows, hanging from the top; None takes the preset's 6. The same for all envs."""
    brick_strength: int = 1
    """Hits that break a brick, 1..3; the reward comes with the last."""
    row_values: tuple[int, ...] | None = None
    """Reward of a brick by row, lowest first; None for 1. The episode ends when no brick above 0 is left."""
    lost_reward: float = -1.0
    """Reward of a lost ball."""
    clip_reward: bool = True
    """Clip the reward of a step to [-1, 1], as the original does."""
    wall_location: str = "none"
    """Unbreakable bar under the bricks: none, left, middle, right, random [level]."""
    negative_side: str = "none"
    """Half whose bricks cost 1: none, left, right, random [level]."""
    colour_tied: bool = True
    """Negative bricks are always yellow, positive ones blue; False draws two colours, as the original [level]."""
    target_shape: tuple[int, int] = (2, 4)
    """Columns and rows of bricks in the block of ``bricks="target"``."""
    target_area: tuple[int, int, int, int] | None = None
    """First and last x, first and last y of the block's lower left pixel, y in steps of a brick; None: wherever bricks
    may be."""
    obstacles: str | tuple[tuple[int, int], ...] = ()
    """(lowest y, speed) of moving blocks, or preset; the speed is multiplied by ``ball_speed``."""
    palette: str = "standard"
    """recolor: another colour for everything [level]."""
    background: str = "none"
    """gradient, noise, rectangles, checker, or level: one of them [level]."""
    tone: str = "none"
    """invert or gray: of the whole frame."""
    flip: str = "none"
    """x or y: mirrors the frame alone; LEFT still goes to smaller x, which a frame flipped in x shows as right."""
    flip_actions: bool = False
    """True: LEFT and RIGHT change places."""
    distractors: int = 0
    """Number of coloured 2x2 dots that wander over the empty middle and touch nothing [level]."""

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise UsageError(f"breakout: {name}={value!r}{did_you_mean(value, known)} Known: {', '.join(known)}")
        for name in _PROBABILITIES:
            if not _number(value := getattr(self, name), (int, float)) or not 0 <= value <= 1:
                raise UsageError(f"breakout: {name}={value!r} is not a probability; give a number in [0, 1]")
        for name, (low, high) in _RANGES.items():
            if not _number(value := getattr(self, name)) or not low <= value <= high:
                raise UsageError(f"breakout: {name}={value!r} is not an integer in [{low}, {high}]; give one that is")
        for field in fields(self):
            if field.type == "bool" and not isinstance(value := getattr(self, field.name), bool):
                raise UsageError(f"breakout: {field.name}={value!r} is not a bool; give True or False")
        if not _number(value := self.lost_reward, (int, float)) or not -1000 <= value <= 1000:
            raise UsageError(f"breakout: lost_reward={value!r} is not a number in [-1000, 1000]; give one that is")
        if self.brick_rows is not None and (not _number(self.brick_rows) or not 2 <= self.brick_rows <= 8):
            raise UsageError(f"breakout: brick_rows={self.brick_rows!r} must be an integer in [2, 8], or None")

    # values in a given geometry -----------------------------------------------------------------------------------

    def width_in(self, geometry: Geometry) -> int:
        """Paddle width in pixels. UsageError where it does not fit."""
        known, value = geometry.paddle_widths, self.paddle_width
        if isinstance(value, str) and value not in known:
            names = ", ".join(known)
            raise UsageError(f"breakout: paddle_width='{value}'{did_you_mean(value, known)} Known: {names}, or pixels")
        pixels = known[value] if isinstance(value, str) else value
        most = geometry.width - 2 * geometry.wall
        if not _number(pixels) or not 2 * MAX_SPEED + 1 <= pixels <= most:
            raise UsageError(f"breakout: paddle_width={value!r} must lie in {2 * MAX_SPEED + 1}..{most} pixels")
        return pixels

    def paddle_range(self, geometry: Geometry) -> tuple[int, int]:
        """Lowest and highest y of the paddle's lowest row. UsageError where that leaves the free area."""
        named = {"bottom": (geometry.wall, geometry.wall), "random": (geometry.wall, geometry.height // 4 - 1)}
        if isinstance(self.paddle_y, str):
            if self.paddle_y not in named:
                raise UsageError(f"breakout: paddle_y='{self.paddle_y}'; give bottom, random, a row or two")
            return named[self.paddle_y]
        span = (self.paddle_y, self.paddle_y) if isinstance(self.paddle_y, int) else self.paddle_y
        # the serve's rows lie around half the height of the lowest brick and must stay free
        top = geometry.lowest // 2 - 2 - geometry.paddle_height
        if len(span) != 2 or not all(map(_number, span)) or not 1 <= span[0] <= span[1] <= top:
            raise UsageError(f"breakout: paddle_y={self.paddle_y!r} must lie in 1..{top}, below the serve")
        return span

    def blocks_in(self, geometry: Geometry) -> tuple[tuple[int, int], ...]:
        """(lowest y, speed at start) of the moving blocks. UsageError where one would stand in the way of a serve."""
        if isinstance(self.obstacles, str) and self.obstacles != "preset":
            raise UsageError(f"breakout: obstacles='{self.obstacles}'; give preset, or ((y, speed), ...)")
        blocks = geometry.obstacles if isinstance(self.obstacles, str) else self.obstacles
        if len(blocks) > _MOST_BLOCKS:
            raise UsageError(f"breakout: {len(blocks)} obstacles; give at most {_MOST_BLOCKS}")
        top = geometry.lowest // 2 - 2 - geometry.brick[1]
        for block in blocks:
            if len(block) != 2 or not all(map(_number, block)) or not 1 <= block[0] <= top or abs(block[1]) > 8:
                raise UsageError(f"breakout: obstacle {block!r}: give (y in 1..{top}, speed in -8..8)")
        return tuple((y, speed * self.ball_speed) for y, speed in blocks)

    def area_in(self, geometry: Geometry) -> tuple[int, int, int, int]:
        """First and last x, first and last y of the target block. UsageError where the block would not fit."""
        (columns, rows), (wide, high) = self.target_shape, geometry.brick
        last_x = geometry.width - geometry.wall - columns * wide
        last_y = geometry.lowest + (geometry.rows - rows) * high
        x0, x1, y0, y1 = self.target_area or (geometry.wall, last_x, geometry.lowest, last_y)
        if not (geometry.wall <= x0 <= x1 <= last_x and geometry.lowest <= y0 <= y1 <= last_y and columns > 0 < rows):
            raise UsageError(
                f"breakout: a target of {self.target_shape} bricks in area {self.target_area} does not fit; x may go "
                f"from {geometry.wall} to {last_x}, y from {geometry.lowest} to {last_y}"
            )
        if (x0, y0) == (x1, y1):
            raise UsageError(f"breakout: target_area={self.target_area} has a single place; a hit block must jump")
        return x0, x1, y0, y1

    def values_in(self, geometry: Geometry) -> tuple[int, ...]:
        """Reward of a brick by row."""
        if self.row_values is None:
            return (1,) * geometry.rows
        if len(self.row_values) != geometry.rows:
            raise UsageError(f"breakout: row_values={self.row_values} must have {geometry.rows} values, one a row")
        return tuple(self.row_values)


VARIANTS: dict[str, Rules] = {
    "standard": Rules(),
    # the paper's, and the repository's seventh
    "middle_wall": Rules(wall_location="middle"),
    "half_negative": Rules(negative_side="random"),
    "offset_paddle": Rules(paddle_y="random"),
    "random_target": Rules(bricks="target", ball_speed=2),
    "juggling": Rules(bricks="none", num_balls=3, ball_speed=2),
    "moving_obstacles": Rules(obstacles="preset"),
    # visual variants
    "recolor": Rules(palette="recolor"),
    "background": Rules(background="level"),
    "invert": Rules(tone="invert"),
    "gray": Rules(tone="gray"),
    "flip_x": Rules(flip="x"),
    "flip_y": Rules(flip="y"),
    "distractor": Rules(distractors=6),
    # physics
    "fast_ball": Rules(ball_speed=2),
    "narrow_paddle": Rules(paddle_width="narrow"),
    "wide_paddle": Rules(paddle_width="wide"),
    "widest_paddle": Rules(paddle_width="widest"),
    "gravity": Rules(gravity_period=40, ball_speed=2),
    "noise": Rules(bounce_noise=0.5, paddle_noise=0.5),
    "sticky": Rules(sticky=0.25),
    # layouts and rewards
    "bricks": Rules(bricks="level"),
    "strong": Rules(brick_strength=3),
    "row_value": Rules(row_values=(1, 1, 4, 4, 7, 7), clip_reward=False),
    # reward in the two rows behind all others alone: a random policy broke one of their bricks in 1 of 2118 episodes,
    # the scripted one in 6 of 7
    "sparse": Rules(row_values=(0, 0, 0, 0, 1, 1), lost_reward=0.0),
}


def rules_for(variant: str | Iterable[str], num_envs: int, overrides: dict[str, Any]) -> list[Rules]:
    """One ``Rules`` an env: the named variants in turn, with some fields changed. UsageError for an unknown name."""
    names = [variant] if isinstance(variant, str) else list(variant)
    known = [field.name for field in fields(Rules)]
    for name in overrides:
        if name not in known:
            raise UsageError(f"breakout: unknown option '{name}'{did_you_mean(name, known)} Known: {', '.join(known)}")
    if not names:
        raise UsageError("breakout: variant is empty; give a name or a list of names")
    for name in names:
        if name not in VARIANTS:
            raise UsageError(
                f"breakout: unknown variant '{name}'{did_you_mean(name, VARIANTS)} Known: {', '.join(VARIANTS)}"
            )
    chosen = [replace(VARIANTS[name], **overrides) for name in names]
    if len({rules.brick_rows for rules in chosen}) > 1:
        raise UsageError("breakout: brick_rows must be the same for all envs of a batch")
    return [chosen[i % len(chosen)] for i in range(num_envs)]


def geometry_for(preset: str, rules: Rules) -> Geometry:
    """The preset's sizes, with the rules' number of brick rows."""
    if preset not in PRESETS:
        raise UsageError(
            f"breakout: unknown preset '{preset}'{did_you_mean(preset, PRESETS)} Known: {', '.join(PRESETS)}"
        )
    geometry = PRESETS[preset]
    return geometry if rules.brick_rows is None else replace(geometry, rows=rules.brick_rows)
