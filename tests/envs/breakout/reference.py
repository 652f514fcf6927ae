"""A slow reference of Breakout that asks every pixel for its content, and the options that silence noise."""

import numpy as np

from envs.breakout.dynamics import velocities_down

QUIET = {"bounce_noise": 0.0, "paddle_noise": 0.0, "max_episode_steps": None, "mode": "index"}


SCHEMA = {**QUIET, "preset": "schema", "accelerate": "off"}


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
