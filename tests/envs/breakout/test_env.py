"""Breakout's rules: traces of the original game, and a slow reference that asks every pixel what is in it."""

import numpy as np
import pytest

from envs.breakout.dynamics import paddle_response, velocities_down
from envs.breakout.env import BreakoutVectorEnv
from envs.breakout.ground_truth import evaluate_window
from envs.breakout.levels import layouts
from envs.breakout.variants import PRESETS, VARIANTS, Rules
from envs.counter_rng import counter_hash
from envs.registry import UsageError

QUIET = {"bounce_noise": 0.0, "paddle_noise": 0.0, "max_episode_steps": None, "mode": "index"}
SCHEMA = {**QUIET, "preset": "schema", "accelerate": "off"}

# Data of the original game, noise off, 2-pixel paddle steps: state (x, y, vx, vy, paddle x) after step t, and every
# brick hit up to step 1200 as (t, column, row).
TRACES = {
    "speed 1": (
        (47, 44, 1, -1),
        {
            10: (57, 34, 1, -1, 44),
            40: (87, 10, 1, 1, 68),
            100: (33, 70, -1, 1, 24),
            400: (81, 50, -1, 1, 68),
            1200: (14, 26, 0, 1, 3),
        },
        [(118, 1, 0), (278, 3, 0), (438, 5, 0), (598, 6, 0), (758, 8, 0), (922, 1, 1), (1094, 1, 2)],
    ),
    "speed 2": (
        (47, 44, 1, -2),
        {
            10: (57, 24, 1, -2, 44),
            40: (87, 52, 1, 2, 68),
            200: (73, 60, 1, 2, 59),
            800: (57, 12, 1, -2, 43),
            1200: (71, 40, -1, -2, 62),
        },
        [
            (58, 9, 0),
            (136, 0, 0),
            (214, 10, 0),
            (292, 1, 0),
            (370, 8, 0),
            (448, 3, 0),
            (526, 4, 0),
            (606, 4, 1),
            (686, 7, 0),
            (764, 2, 0),
            (844, 9, 1),
            (926, 0, 1),
            (1092, 0, 2),
            (1176, 10, 1),
        ],
    ),
}


@pytest.mark.parametrize("name", TRACES)
def test_golden_traces_of_the_original(name):
    ball, expected, expected_hits = TRACES[name]
    env = BreakoutVectorEnv(1, **SCHEMA)
    env.set_state({"balls": np.array([[ball]]), "paddle": np.array([[36, 3]])})
    assert env.speed[0] == max(abs(ball[2]), abs(ball[3]))
    seen, hits, standing = {}, [], env.get_state()["bricks"][0]
    for t in range(1, 1201):
        reward = env.step(env.scripted())[1]
        state = env.get_state()
        gone = np.flatnonzero(standing & ~state["bricks"][0])
        assert reward[0] == len(gone)
        hits += [(t, k % 11, k // 11) for k in gone]
        standing = state["bricks"][0]
        if t in expected:
            seen[t] = (*state["balls"][0, 0], state["paddle"][0, 0])
    assert seen == expected
    assert hits == expected_hits


class Reference:
    """One game with noise off, in sets of pixels and plain numbers; its state is taken from an env and compared."""

    def __init__(self, env, i):
        self.geometry, self.rule = env.geometry, env.rules[i]
        g = self.geometry
        self.walls = {(x, y) for x in range(g.width) for y in range(g.height) if not self.open(x, y)}
        place = int(env.board.place[i])
        if place:
            low, far = [
                (g.wall, g.width // 2),
                (g.width // 4, g.width - g.width // 4),
                (g.width // 2, g.width - g.wall),
            ][place - 1]
            for left in range(low, far, g.brick[0]):
                self.walls |= self.rectangle(left, g.lowest - g.wall, g.brick[0], g.wall)
        self.pw = self.rule.width_in(g)

    def open(self, x, y):
        g = self.geometry
        return g.wall <= x < g.width - g.wall and y < g.height - g.wall

    @staticmethod
    def rectangle(x, y, wide, high):
        return {(x + i, y + j) for i in range(wide) for j in range(high)}

    def take(self, env, i):
        state = {key: value[i].tolist() for key, value in env.get_state().items()}
        self.balls = [ball for ball, live in zip(state["balls"], state["live"], strict=True) if live]
        self.paddle, self.speed, self.lives, self.broken = (state[k] for k in ("paddle", "speed", "lives", "broken"))
        self.bricks = {k for k, stands in enumerate(state["bricks"]) if stands}
        self.values, self.damage = state["brick_reward"], state["damage"]
        self.blocks = [list(block) for block in state["obstacles"] if block[1] >= 0]
        self.target, self.time = state["target"], int(env.time[i])

    def brick_pixels(self, k):
        g = self.geometry
        row, column = divmod(k, g.columns)
        return self.rectangle(g.wall + column * g.brick[0], g.lowest + row * g.brick[1], *g.brick)

    def paddle_pixels(self):
        return self.rectangle(*self.paddle, self.pw, self.geometry.paddle_height)

    def target_pixels(self):
        wide, high = self.geometry.brick
        if self.rule.bricks != "target":
            return set()
        return self.rectangle(*self.target, 2 * wide, 4 * high)

    def response(self, column):
        """Table of the sheet: halves of r near-equal runs, the shorter nearest the centre; two zeros if even."""
        half, r = (self.pw - 1) // 2, self.speed
        centre = list(range(half, self.pw - half))
        if column in centre:
            return 0
        away = centre[0] - column if column < half else column - centre[-1]
        size = 1 if r == 1 or away <= half // 2 else 2
        return -size if column < half else size

    def move(self, ball, solid):
        x, y, u, v = ball
        paddle = self.paddle_pixels()
        if (x, y) in paddle:
            return [x + u, y + v, u, v], None
        aim, first = (x + u, y + v), (u, v)
        hit = next((k for k in self.bricks if aim in self.brick_pixels(k)), None)
        if aim in self.target_pixels():
            hit = "target"
        if aim in paddle:
            v = -v
            u = self.response(min(max(x - self.paddle[0], 0), self.pw - 1))
            if (abs(v) < self.speed and abs(u) <= 1) or self.rule.gravity_period:
                v = self.speed
            if (x + u, y + v) in solid:
                u = -u
        elif aim not in solid:
            pass
        elif (x + u, y) in solid:
            u = -u
        elif (x, y + v) in solid:
            v = -v
        else:
            u, v = -u, -v
        if (x + u, y + v) in solid:
            u, v = -first[0], -first[1]
        return [x + u, y + v, u, v], hit

    def step(self, action):
        """Reward, whether it ended, whether a serve or a jump was drawn (their places are the env's own)."""
        reward, drawn = 0, False
        solid = self.walls | self.paddle_pixels() | self.target_pixels()
        solid = solid.union(*(self.brick_pixels(k) for k in self.bricks))
        solid = solid.union(*(self.rectangle(b[0], b[1], *self.geometry.brick) for b in self.blocks))
        moved = [self.move(ball, solid) for ball in self.balls]
        self.balls, hits = [ball for ball, _ in moved], {hit for _, hit in moved if hit is not None}
        faster = False
        for hit in hits:
            if hit == "target":
                reward, drawn = reward + 1, True
                continue
            self.damage[hit] += 1
            faster |= hit // self.geometry.columns == self.geometry.rows - 4
            if self.damage[hit] == self.rule.brick_strength:
                self.bricks.remove(hit)
                reward += self.values[hit]
                self.broken += 1
                faster |= self.broken in (4, 8, 12)
        for block in self.blocks:
            self.move_block(block)
        way = {0: 0, 1: -2, 2: 2}[action]
        last = self.geometry.width - self.geometry.wall - self.pw
        self.paddle[0] = min(max(self.paddle[0] + way, self.geometry.wall), last)
        if faster and self.rule.accelerate == "episode" and self.speed == 1:
            self.speed = 2
            self.balls = [[x, y, 2 * u, 2 * v] for x, y, u, v in self.balls]
        self.time += 1
        if self.rule.gravity_period and self.time % self.rule.gravity_period == 0:
            for ball in self.balls:
                ball[3] = max({1: -1}.get(ball[3], ball[3] - 1), -self.speed)
        over = self.rule.bricks not in ("target", "none") and not any(self.values[k] > 0 for k in self.bricks)
        place = 0
        while place < len(self.balls):  # the list's next ball is skipped after one was taken out
            if self.balls[place][1] <= 0:
                del self.balls[place]
                reward += self.rule.lost_reward
            place += 1
        if not self.balls:
            self.lives -= 1
            over, drawn = self.lives == 0, True
        return (max(-1, min(1, reward)) if self.rule.clip_reward else reward), over, drawn

    def move_block(self, block):
        others = [b for b in self.blocks if b is not block]
        solid = self.walls | self.paddle_pixels()
        solid = solid.union(*(self.rectangle(b[0], b[1], *self.geometry.brick) for b in others))
        for way in (1, -1):
            x = block[0] + way * block[2]
            if not self.rectangle(x, block[1], *self.geometry.brick) & solid:
                block[0], block[2] = x, way * block[2]
                return


CASES = {
    **{name: {"variant": name} for name in VARIANTS if VARIANTS[name].distractors == 0},
    "left wall": {"variant": "middle_wall", "wall_location": "left", "ball_speed": 2},
    "right wall": {"variant": "middle_wall", "wall_location": "right", "ball_speed": 2},
    "three balls": {"num_balls": 3, "ball_speed": 2, "brick_strength": 2},
    "even paddle": {"paddle_width": 24, "ball_speed": 2},
    "blocks and high paddle": {"variant": "moving_obstacles", "paddle_y": 9, "obstacles": ((9, 2), (10, -1), (14, 3))},
}


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", CASES)
def test_every_variant_moves_as_the_slow_reference(name, preset):
    options = {"accelerate": "episode", **QUIET, "sticky": 0.0, **CASES[name], "preset": preset}
    env = BreakoutVectorEnv(2, seed=4, **options)
    env.reset()
    rng, games = np.random.default_rng(0), [Reference(env, i) for i in range(2)]
    for t in range(120):
        if t % 12 == 0:
            scatter(env, rng)
        env.board.lives[:] = np.maximum(env.lives, 1 + (t < 100))
        for i, game in enumerate(games):
            game.take(env, i)
        actions = np.where(rng.random(2) < 0.5, rng.integers(3, size=2), env.scripted())
        _, reward, terminated, _, _ = env.step(np.where(env.swapped, (3 - actions) % 3, actions))
        for i, game in enumerate(games):
            expected, over, drawn = game.step(int(actions[i]))
            assert (reward[i], terminated[i]) == (expected, over)
            if over:
                games[i] = Reference(env, i)
            else:
                compare(env, i, game, drawn)


def scatter(env, rng):
    """Balls anywhere that matters: about the paddle, in a corner, under the bricks, among the blocks."""
    g, state = env.geometry, env.get_state()
    for i in range(env.num_envs):
        for b in np.flatnonzero(state["live"][i]):
            x, y = rng.integers(g.wall, g.width - g.wall), rng.integers(1, g.height - g.wall)
            spot = rng.integers(4)
            if spot == 0:
                y = state["paddle"][i, 1] + rng.integers(g.paddle_height + 4)
            elif spot == 1:
                x = rng.choice([g.wall, g.wall + 1, g.width - g.wall - 2, g.width - g.wall - 1])
            elif spot == 2:
                y = g.lowest - g.wall + rng.integers(-6, 8)
            falls = velocities_down(int(state["speed"][i]))
            u, v = falls[rng.integers(len(falls))]
            state["balls"][i, b] = x, y, u, v * rng.choice([-1, 1])
    env.set_state({"balls": state["balls"], "live": state["live"], "speed": state["speed"]})


def compare(env, i, game, drawn):
    state = {key: value[i] for key, value in env.get_state().items()}
    if not (drawn and len(game.balls) == 0):
        assert state["balls"][state["live"]].tolist() == game.balls
    assert state["paddle"].tolist() == game.paddle
    assert set(np.flatnonzero(state["bricks"])) == game.bricks
    assert state["damage"].tolist() == game.damage
    assert (state["speed"], state["lives"], state["broken"]) == (game.speed, game.lives, game.broken)
    assert [block.tolist() for block in state["obstacles"]] == game.blocks
    if game.rule.bricks == "target":
        assert (state["target"].tolist() == game.target) == (not drawn or len(game.balls) == 0)


def test_paddle_response_tables():
    # the sheet: width 23, r=1: -1 (11 px), 0, +1; r=2: -2 x6, -1 x5, 0, +1 x5, +2 x6; 24 has two zeros
    assert paddle_response(23, 1).tolist() == [-1] * 11 + [0] + [1] * 11
    assert paddle_response(23, 2).tolist() == [-2] * 6 + [-1] * 5 + [0] + [1] * 5 + [2] * 6
    assert paddle_response(24, 2).tolist() == [-2] * 6 + [-1] * 5 + [0, 0] + [1] * 5 + [2] * 6
    assert paddle_response(15, 2).tolist() == [-2] * 4 + [-1] * 3 + [0] + [1] * 3 + [2] * 4


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


def test_serves_follow_the_rules():
    env = BreakoutVectorEnv(400, preset="schema", mode="entities", num_levels=100000)
    env.reset()
    x, y, u, v = env.balls[:, 0].T
    # x = 47 + {-2..2}, y = 88 // 2 - {0, 1}; falling velocities of radius 1
    assert set(x) == set(range(45, 50))
    assert set(y) == {43, 44}
    assert set(zip(u, v, strict=True)) == {(-1, -1), (0, -1), (1, -1)}
    assert env.paddle[:, 0].min() == 3
    assert env.paddle[:, 0].max() == 68
    three = BreakoutVectorEnv(400, variant="juggling", preset="schema", mode="entities", num_levels=100000)
    three.reset()
    # no bricks: 113 // 2 - {0, 1}; x = 47 + {-4..4}; 7 falling velocities of radius 2; three different pixels
    assert set(three.balls[:, :, 1].flat) == {55, 56}
    assert set(three.balls[:, :, 0].flat) == set(range(43, 52))
    assert len({tuple(pair) for pair in three.balls[:, :, 2:].reshape(-1, 2)}) == 7
    assert all(len({tuple(ball[:2]) for ball in balls}) == 3 for balls in three.balls)


def test_bounce_noise_keeps_the_signs_and_its_rate():
    n = 3000
    env = BreakoutVectorEnv(n, **{**SCHEMA, "bounce_noise": 0.5, "mode": "entities"})
    env.reset()
    # one step before the left wall: (5, 40) with (-2, 1) is sent back as (2, 1), or as one of (1,2) (2,1) (2,2)
    env.set_state({"balls": np.tile([3, 40, -2, 1], (n, 1, 1))})
    env.step(np.zeros(n, int))
    found, counts = np.unique(env.balls[:, 0, 2:], axis=0, return_counts=True)
    assert found.tolist() == [[1, 2], [2, 1], [2, 2]]
    # 1/6, 1/2 + 1/6, 1/6 of 3000; standard deviation below 26
    assert np.abs(counts - [500, 2000, 500]).max() < 100
    assert (env.balls[:, 0, :2] == [3, 40] + env.balls[:, 0, 2:]).all()


def test_paddle_noise_and_sticky_actions_have_their_rates():
    n = 4000
    env = BreakoutVectorEnv(n, mode="entities", bounce_noise=0.0, paddle_noise=0.25, sticky=0.5)
    env.reset()
    env.set_state({"paddle": np.tile([20, 2], (n, 1))})
    env.step(np.full(n, 2))
    moved = env.paddle[:, 0] - 20
    # half repeat the action before (0 at the start), of the others a quarter moves one pixel
    assert np.abs(np.bincount(moved, minlength=3) - [2000, 500, 1500]).max() < 130


def test_speed_up_doubles_the_velocity_once_an_episode():
    env = BreakoutVectorEnv(1, **{**QUIET, "preset": "schema"})
    env.reset()
    # the brick above (47, 87) is column (47 - 3) // 8 = 5 of row 0; three are broken already, so it is the fourth
    env.set_state({"balls": np.array([[[47, 87, 1, 1]]]), "broken": np.array([3])})
    reward = env.step(np.array([0]))[1]
    assert reward[0] == 1
    assert not env.bricks[0, 5]
    assert env.broken[0] == 4
    assert env.balls[0, 0].tolist() == [48, 86, 2, -2]
    assert env.speed[0] == 2
    off = BreakoutVectorEnv(1, **SCHEMA)
    off.set_state({"balls": np.array([[[47, 87, 1, 1]]]), "broken": np.array([3])})
    off.step(np.array([0]))
    assert off.balls[0, 0].tolist() == [48, 86, 1, -1]


def test_row_two_speeds_up_too():
    env = BreakoutVectorEnv(1, **{**QUIET, "preset": "schema"})
    bricks = np.ones((1, 66), bool)
    bricks[0, :22] = False  # rows 0 and 1 gone: row 2 begins at y = 96
    env.set_state({"balls": np.array([[[47, 95, 0, 1]]]), "bricks": bricks})
    env.step(np.array([0]))
    assert env.balls[0, 0].tolist() == [47, 94, 0, -2]
    assert not env.bricks[0, 2 * 11 + 5]


def test_the_last_paying_brick_wins_and_negative_ones_cost():
    env = BreakoutVectorEnv(2, variant="half_negative", negative_side="left", **SCHEMA)
    env.reset()
    # 6 columns begin left of x = 47
    assert (env.brick_reward.reshape(2, 6, 11)[:, :, :6] == -1).all()
    assert (env.brick_reward.reshape(2, 6, 11)[:, :, 6:] == 1).all()
    bricks = np.zeros((2, 66), bool)
    bricks[:, [0, 10]] = True
    env.set_state({"bricks": bricks, "balls": np.array([[[4, 87, 0, 1]], [[85, 87, 0, 1]]])})
    _, reward, terminated, _, infos = env.step(np.zeros(2, int))
    assert reward.tolist() == [-1, 1]
    assert terminated.tolist() == [False, True]
    assert infos["_final_obs"].tolist() == [False, True]


def test_three_lives_and_the_ball_skipped_by_the_list():
    env = BreakoutVectorEnv(1, variant="juggling", **SCHEMA)
    env.reset()
    low = np.array([[[20, 1, 0, -2], [30, 1, 0, -2], [40, 1, 0, -2]]])
    rewards, ended = [], []
    for _ in range(3):
        env.set_state({"balls": low, "live": np.ones((1, 3), bool)})
        for _ in range(2):
            _, reward, terminated, _, _ = env.step(np.array([0]))
            rewards.append(reward[0])
            ended.append(terminated[0])
    # first and third at once (-2, clipped), the second a step later; three lives are six steps
    assert rewards == [-1] * 6
    assert ended == [False] * 5 + [True]


def test_a_ball_in_the_paddle_goes_straight_on_and_may_leave_the_field():
    env = BreakoutVectorEnv(1, **SCHEMA)
    env.set_state({"balls": np.array([[[3, 5, -2, 1]]]), "paddle": np.array([[3, 3]])})
    places = []
    for _ in range(4):
        env.step(np.array([0]))
        places.append(env.balls[0, 0, :2].tolist())
    assert places == [[1, 6], [-1, 7], [-3, 8], [-5, 9]]


def test_a_bounce_off_the_paddle_into_the_wall_is_mirrored():
    env = BreakoutVectorEnv(1, **SCHEMA)
    # column 0 answers vx = -1, which would end in the left wall (2, 8)
    env.set_state({"balls": np.array([[[3, 7, 1, -1]]]), "paddle": np.array([[3, 3]])})
    env.step(np.array([0]))
    assert env.balls[0, 0].tolist() == [4, 8, 1, 1]


def test_a_block_turns_at_the_paddle_it_shares_rows_with():
    env = BreakoutVectorEnv(1, obstacles=((5, 2),), **SCHEMA)
    # 54..61 would meet the paddle, which begins at 60
    env.set_state({"obstacles": np.array([[[52, 5, 2]]]), "paddle": np.array([[60, 3]])})
    env.step(np.array([0]))
    assert env.obstacles[0, 0].tolist() == [50, 5, -2]


def test_a_hit_target_jumps_elsewhere_and_not_onto_the_ball():
    n = 60
    env = BreakoutVectorEnv(n, variant="random_target", target_area=(3, 5, 88, 88), **{**SCHEMA, "mode": "entities"})
    env.reset()
    # the block covers x = 3..18; the ball goes on to (20, 91), which a block at 5 (5..20) would cover: only 4 is left
    env.set_state({"target": np.tile([3, 88], (n, 1)), "balls": np.tile([19, 90, -1, 1], (n, 1, 1))})
    reward = env.step(np.zeros(n, int))[1]
    assert (reward == 1).all()
    assert (env.balls[:, 0] == [20, 91, 1, 1]).all()
    assert (env.target == [4, 88]).all()


def test_two_balls_that_hit_a_brick_together_hit_it_once():
    env = BreakoutVectorEnv(1, num_balls=2, brick_strength=2, **SCHEMA)
    rewards = []
    for _ in range(2):
        env.set_state({"balls": np.array([[[44, 87, 0, 1], [48, 87, 0, 1]]])})
        rewards.append(float(env.step(np.array([0]))[1][0]))
    assert rewards == [0, 1]
    assert env.damage.sum() == 2
    assert env.broken[0] == 1


def test_gravity_pulls_skips_zero_and_the_paddle_throws_up():
    env = BreakoutVectorEnv(1, variant="gravity", **{**QUIET, "preset": "schema", "gravity_period": 3})
    env.set_state({"balls": np.array([[[47, 30, 1, 2]]]), "paddle": np.array([[36, 3]])})
    speeds = []
    for _ in range(12):
        env.step(np.array([0]))
        speeds.append(int(env.balls[0, 0, 3]))
    # after steps 3, 6, 9: 2 -> 1 -> -1 (not 0) -> -2, and no further
    assert speeds == [2, 2, 1, 1, 1, -1, -1, -1, -2, -2, -2, -2]
    env.set_state({"balls": np.array([[[47, 7, 1, -1]]]), "speed": np.array([2]), "time": np.array([0])})
    env.step(np.array([0]))
    # column 47 - 36 = 11 is the centre: straight up, with vy = r
    assert env.balls[0, 0].tolist() == [47, 9, 0, 2]


def test_row_values_are_paid_in_full():
    env = BreakoutVectorEnv(1, variant="row_value", **SCHEMA)
    bricks = np.zeros((1, 66), bool)
    bricks[0, [55 + 5, 0]] = True  # row 5 begins at y = 108
    env.set_state({"bricks": bricks, "balls": np.array([[[47, 107, 0, 1]]])})
    assert env.step(np.array([0]))[1][0] == 7


def test_sparse_pays_for_the_two_top_rows_alone():
    env = BreakoutVectorEnv(6, variant="sparse", **SCHEMA)
    env.reset()
    # of rows 0..5 the brick in column 5 alone stands, so each game but the last two has a brick left that pays
    bricks = np.zeros((6, 66), bool)
    for row in range(6):
        bricks[row, row * 11 + 5] = True
    bricks[:4, 65] = True
    # rows begin at y = 88, 92, ..., 108, and the ball is 1 pixel below
    balls = np.array([[[47, 87 + 4 * row, 0, 1]] for row in range(6)])
    env.set_state({"bricks": bricks, "balls": balls})
    _, reward, terminated, _, _ = env.step(np.zeros(6, int))
    assert reward.tolist() == [0, 0, 0, 0, 1, 1]
    assert terminated.tolist() == [False, False, False, False, True, True]
    assert env.bricks[:4].sum(axis=1).tolist() == [1, 1, 1, 1]  # bricks of the other rows break all the same


def test_a_lost_ball_pays_what_the_rules_say():
    last = {"balls": np.array([[[20, 1, 0, -1]]]), "paddle": np.array([[60, 3]])}
    for rules, paid in ({}, -1), ({"variant": "sparse"}, 0), ({"lost_reward": -0.25}, -0.25):
        env = BreakoutVectorEnv(1, **rules, **SCHEMA)
        rewards, ended = [], []
        for _ in range(3):
            env.set_state(last)
            _, reward, terminated, _, _ = env.step(np.array([0]))
            rewards.append(reward[0])
            ended.append(bool(terminated[0]))
        assert rewards == [paid] * 3
        assert ended == [False, False, True]  # lives go all the same


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


def test_a_mixed_batch_plays_each_row_as_its_own_world():
    names = ["juggling", "middle_wall", "moving_obstacles", "random_target", "narrow_paddle", "offset_paddle"]
    mixed = BreakoutVectorEnv(6, variant=names, mode="index", seed=2)
    alone = [BreakoutVectorEnv(6, variant=name, mode="index", seed=2) for name in names]
    frames = [env.reset()[0] for env in (mixed, *alone)]
    rng = np.random.default_rng(0)
    for _ in range(150):
        actions = rng.integers(3, size=6)
        outcomes = [env.step(actions) for env in (mixed, *alone)]
        frames = [outcome[0] for outcome in outcomes]
        for i in range(6):
            np.testing.assert_array_equal(frames[0][i], frames[1 + i][i])
            assert outcomes[0][1][i] == outcomes[1 + i][1][i]


def test_state_of_a_fresh_world_and_bad_states():
    old = BreakoutVectorEnv(2, variant="juggling", **SCHEMA)
    old.reset()
    for _ in range(30):
        old.step(np.ones(2, int))
    new = BreakoutVectorEnv(2, variant="juggling", **SCHEMA)
    new.set_state(old.get_state())
    np.testing.assert_array_equal(new._observe_all(), old._observe_all())
    for bad, words in (
        ({"balls": np.full((2, 3, 4), 3)}, "speed above"),
        ({"paddle": np.array([[3, 3], [69, 3]])}, "paddle"),
        ({"speed": np.array([1, 3])}, "speed"),
        ({"balls": np.zeros((2, 1, 4))}, "shape"),
        ({"nothing": 1}, "nothing"),
    ):
        with pytest.raises(UsageError, match=words):
            new.set_state(bad)
    with pytest.raises(UsageError, match="more balls"):
        BreakoutVectorEnv(2, variant=["juggling", "standard"]).set_state({"balls": np.tile([9, 9, 1, 1], (2, 3, 1))})


def test_the_tracker_clears_bricks_and_chance_does_not():
    env = BreakoutVectorEnv(20, mode="entities", num_levels=1000)
    tracked = evaluate_window(env, lambda seen: env.scripted(), 600)
    rng = np.random.default_rng(0)
    chance = evaluate_window(env, lambda seen: rng.integers(3, size=20), 600)
    assert tracked.mean() > 5 > 0 > chance.mean()


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
