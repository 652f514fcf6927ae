"""Atari 2600 Breakout with its own game modes, through the Arcade Learning Environment (extra ``atari``).

A cartridge of 1978 holds variants of one game, its modes, which we identified by playing them. Rusu et al. 2022 (arXiv
2210.12448) use them as a factorial benchmark of transfer::

                                     plain   steerable   catch   invisible bricks
    Breakout: bricks turn the ball       0           4       8                 12
    Timed                               16          20      24                 28
    Breakthru: the ball goes through    32          36      40                 44

Difficulty 0 has a paddle of 16 pixels, 12 once the ball reached the top; difficulty 1 has 12, then 8. The timed modes
are refused: in them ALE's reward is the clock, whatever the player does. In catch modes a player who holds FIRE stops
the ball for ever, so their episodes are truncated sooner.

A step is ``frameskip`` frames of one action, each of them replaced by the action before with probability ``sticky``
(Machado et al. 2018). Rewards are the game's points (1, 1, 4, 4, 7, 7 from the lowest row). Frames: the playing field,
160x160 pixels, averaged down to 64x64. A level is up to 30 random moves of the paddle before the first serve: the game
itself leaves nothing to chance. One emulator steps all envs in turn, by their states: 14 kB and 0.2 ms each.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from envs.counter_rng import below, mix, uniform
from envs.registration import ATARI_VARIANTS
from envs.registry import UsageError, check_int
from envs.spaces import Array
from envs.vector_env import BatchedEnv, SingleEnv

try:
    from ale_py import ALEInterface, ALEState, LoggerMode, roms
except ImportError:
    raise UsageError("atari-breakout needs ale-py, which is not installed; pip install -e '.[atari]'") from None

MODES = (0, 4, 8, 12, 32, 36, 40, 44)
TIMED = (16, 20, 24, 28)
CATCH = (8, 40)
SIZE, FIELD = 64, slice(34, 194)
BUTTONS = (0, 1, 3, 4)
"""ALE's numbers of our actions: 0 nothing, 1 fire, 2 right, 3 left."""
NOOP, FIRE, RIGHT, LEFT = range(4)
WARM_UP, SETTLE = 30, 16
"""Most steps before the serve, and the frames after them in which the paddle comes to rest."""
LIMIT, CATCH_LIMIT = 6750, 1500
"""Steps: 27,000 frames (ALE's usual half hour at 15 frames a second), and the limit where the ball can be held."""
RAM = {"ball_x": 99, "ball_y": 101, "paddle_x": 72, "bricks_hit": 77}
"""Addresses, as annotated by Anand et al. 2019 (AtariARI)."""


def _halved(pixels: Array) -> Array:
    """Two sums for five pixels in a row, (2a + 2b + c) and (c + 2d + 2e): five times averages of 2.5 pixels each."""
    a, b, c, d, e = (pixels[i::5].astype(np.uint16) for i in range(5))
    return np.stack([2 * (a + b) + c, c + 2 * (d + e)], axis=1).reshape(-1, *pixels.shape[1:])


def shrink(field: Array) -> Array:
    """The field (160, 160, ...) as (64, 64, ...) uint8: averages of squares of 2.5 pixels, rounded."""
    down = _halved(_halved(field).swapaxes(0, 1)).swapaxes(0, 1)
    return ((down + 12) // 25).astype(np.uint8)


class AtariBreakoutVectorEnv(BatchedEnv):
    """``num_envs`` games of one mode, SAME_STEP with true final frames. Observations (N, 64, 64, 1 or 3) uint8.

    Args:
        num_envs: N.
        mode: of the cartridge, one of ``MODES``.
        difficulty: 0 or 1.
        view: "gray" or "rgb".
        frameskip: frames a step.
        sticky: probability that a frame repeats the action before.
        auto_fire: serve the ball by itself, at the start and after each lost life.
        seed: of a ``reset()`` that names none itself.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: steps after which an episode is truncated; "mode" takes 6750, in catch modes 1500.
        render_mode: "rgb_array" lets ``render()`` return the frames.

    Raises:
        UsageError: a timed or unknown mode, or a value out of range.
    """

    name = "atari-breakout"
    variants = ATARI_VARIANTS
    state_names = ("last_action", "lives", "machine")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        mode: int = 0,
        difficulty: int = 0,
        view: str = "gray",
        frameskip: int = 4,
        sticky: float = 0.25,
        auto_fire: bool = True,
        seed: int = 0,
        num_levels: int = 200,
        start_level: int = 0,
        max_episode_steps: int | str | None = "mode",
        render_mode: str | None = None,
    ):
        _check_mode(mode)
        if view not in ("gray", "rgb"):
            raise UsageError(f"atari-breakout: view='{view}' is not known; give gray or rgb")
        if not 0 <= sticky <= 1:
            raise UsageError(f"atari-breakout: sticky={sticky} is not a probability; give a number in [0, 1]")
        self.mode, self.difficulty = mode, check_int(self.name, "difficulty", difficulty, 0, 1)
        self.view, self.sticky, self.auto_fire = view, float(sticky), bool(auto_fire)
        self.frameskip = check_int(self.name, "frameskip", frameskip, 1, 60)
        limit = (CATCH_LIMIT if mode in CATCH else LIMIT) if max_episode_steps == "mode" else max_episode_steps
        super().__init__(
            num_envs,
            gym.spaces.Box(0, 255, (SIZE, SIZE, 3 if view == "rgb" else 1), np.uint8),
            4,
            seed=seed,
            num_levels=num_levels,
            start_level=start_level,
            max_episode_steps=limit,  # type: ignore[arg-type]
            render_mode=render_mode,
        )
        self._emulator = _emulator(mode, self.difficulty)
        self._opening = self._emulator.cloneSystemState()
        self._states = [self._opening] * self.num_envs
        self._frames = np.zeros((self.num_envs, SIZE, SIZE, self.single_observation_space.shape[-1]), np.uint8)  # type: ignore[index]
        self.ram = np.zeros((self.num_envs, 128), np.uint8)
        self.last_action = np.zeros(self.num_envs, np.int64)
        self.lives = np.zeros(self.num_envs, np.int64)

    @property
    def machine(self) -> Array:
        """(N, B) uint8, the emulator's whole state of each env: its length in 4 bytes, then it, then zeros."""
        states = [state.serialize() for state in self._states]
        padded = np.zeros((self.num_envs, 4 + max(map(len, states))), np.uint8)
        for row, state in zip(padded, states, strict=True):
            row[: 4 + len(state)] = np.frombuffer(len(state).to_bytes(4, "little") + state, np.uint8)
        return padded

    def _begin(self, rows: Array) -> None:
        count = below(self.level_bits(rows, 0), WARM_UP + 1)
        moves = below(self.level_bits(rows[:, None], 1, np.arange(WARM_UP)), 2) + RIGHT
        for i, steps, drawn in zip(rows.tolist(), count.tolist(), moves.tolist(), strict=True):
            self._emulator.restoreSystemState(self._opening)
            for move in drawn[:steps]:
                for _ in range(self.frameskip):
                    self._emulator.act(BUTTONS[move])
            for _ in range(SETTLE):
                self._emulator.act(NOOP)
            if self.auto_fire:
                self._serve()
            self.last_action[i], self.lives[i] = NOOP, self._emulator.lives()
            self._store(i)

    def _serve(self) -> None:
        """Two frames of FIRE: one may be lost while the game sets itself up."""
        for _ in range(2):
            self._emulator.act(FIRE)

    def _store(self, i: int) -> None:
        self._states[i] = self._emulator.cloneSystemState()
        self._read_screen(i)

    def _read_screen(self, i: int) -> None:
        """Copy the emulator's screen and RAM into row ``i``."""
        self.ram[i] = self._emulator.getRAM()
        if self.view == "gray":
            self._frames[i, :, :, 0] = shrink(self._emulator.getScreenGrayscale()[FIELD])
        else:
            self._frames[i] = shrink(self._emulator.getScreenRGB()[FIELD])

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        reward, over = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        draws = self.step_bits(self.rows, 0)[:, None]
        stuck = uniform(mix(draws, np.arange(self.frameskip))) < self.sticky
        for i, action in enumerate(actions.tolist()):
            reward[i], over[i] = self._step_one(i, action, stuck[i])
        return reward, over, np.zeros(self.num_envs, bool)

    def _step_one(self, i: int, action: int, stuck: Array) -> tuple[float, bool]:
        """One step of env ``i``: points, and whether the game is over."""
        emulator, points, done = self._emulator, 0.0, False
        emulator.restoreSystemState(self._states[i])
        for repeats in stuck.tolist():
            if not repeats:
                self.last_action[i] = action
            points += emulator.act(BUTTONS[self.last_action[i]])
            if done := emulator.game_over():
                break
        if emulator.lives() < self.lives[i] and not done and self.auto_fire:
            self._serve()
        self.lives[i] = emulator.lives()
        self._store(i)
        return points, done

    def _observe(self, rows: Array) -> Array:
        return self._frames[rows]

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an environment with the same options; names left out keep their values."""
        others = dict(state)
        machine = others.pop("machine", None)
        super().set_state(others)
        if machine is not None:
            rows = [np.ascontiguousarray(row).tobytes() for row in np.asarray(machine, np.uint8)]
            self._states = [ALEState(row[4 : 4 + int.from_bytes(row[:4], "little")]) for row in rows]
            for i, emulator_state in enumerate(self._states):
                self._emulator.restoreSystemState(emulator_state)
                self._read_screen(i)

    def factors(self) -> dict[str, Array]:
        """ball_x, ball_y, paddle_x, bricks_hit, lives (N,), from the console's memory, in its own units."""
        return {name: self.ram[:, at].astype(np.int64) for name, at in RAM.items()} | {"lives": self.lives.copy()}

    def factor_vector(self, rows: Array) -> Array:
        """The console's ball_x, ball_y, paddle_x, bricks_hit / 256, and lives / 5."""
        numbers = self.ram[rows][:, list(RAM.values())] / 256
        return np.column_stack([numbers, self.lives[rows] / 5]).astype(np.float32)

    def scripted(self) -> Array:
        """Keep the paddle under the ball."""
        away = self.ram[:, RAM["ball_x"]].astype(int) - self.ram[:, RAM["paddle_x"]] - 8
        return np.where(
            self.ram[:, RAM["ball_y"]] == 0, FIRE, np.where(np.abs(away) < 4, NOOP, np.where(away > 0, RIGHT, LEFT))
        )


def _check_mode(mode: Any) -> None:
    known = f"Known: {', '.join(map(str, MODES))}"
    if mode in TIMED:
        raise UsageError(
            f"atari-breakout: mode={mode} is timed: its reward is the clock, whatever the player does. {known}"
        )
    if isinstance(mode, bool) or mode not in MODES:
        raise UsageError(f"atari-breakout: the cartridge has no mode={mode!r}. {known}")


def _emulator(mode: int, difficulty: int) -> Any:
    """The game at its first frame."""
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    emulator.setInt("random_seed", 0)
    emulator.setFloat("repeat_action_probability", 0.0)  # drawn here, by counter
    cartridge = roms.get_rom_path("breakout")
    if cartridge is None:
        raise UsageError("atari-breakout: this ale-py has no ROM of breakout; pip install --force-reinstall ale-py")
    emulator.loadROM(cartridge)
    emulator.setMode(mode)
    emulator.setDifficulty(difficulty)
    emulator.reset_game()
    return emulator


class AtariBreakoutEnv(SingleEnv):
    """One game of Atari Breakout."""

    vector_class = AtariBreakoutVectorEnv
