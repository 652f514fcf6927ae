"""Procgen as a Gymnasium vector environment (SAME_STEP), batched in C++ through gym3: no Python loop over envs.

Gaps of Procgen, and how they are closed here:

* it merges its time limit into ``done``: the steps of every env are counted, an end exactly at the limit without a
  completed level is ``truncated``, any other end is ``terminated``;
* the final frame of an episode is lost, the next level's first frame comes in its place: ``final_obs`` holds the frame
  before, marked by ``final_obs_is_previous``. Under a shorter ``max_episode_steps`` the final frame is the true one;
* it cannot be seeded again: ``reset(seed=...)`` builds a new object (``engine``).

The levels of env i depend on the seed and i, not on the number of envs or threads. A reset may name them
(``envs.named_levels``). Such an env stays on its level, episode after episode, and goes on the same whatever the
repetition, until a reset of all envs without names.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.named_levels import ResetRequest
from envs.procgen.engine import Engine
from envs.procgen.factor_vector import SIZE, CoinRunFactors
from envs.procgen.games import GAMES, Options
from envs.procgen.state import factors
from envs.registration import register_ids
from envs.registry import UsageError, check_int, did_you_mean
from envs.spaces import Array

ACTIONS = {"all": 15, "arrows": 9}
"""9 arrow combinations {left, none, right} x {down, none, up} (4 = none, 7 = right), then D A W S Q E."""
ACTION_NAMES = (
    *(f"{across}{down}".strip() or "none" for across in ("left ", "", "right ") for down in ("down", "", "up")),
    *"DAWSQE",
)
COINRUN_EFFECTS = (0, 0, 1, 2, 2, 3, 4, 4, 5, 2, 2, 2, 2, 2, 2)
"""Number of the effect of each action in CoinRun: down does nothing there, and the letters are no key (by test)."""
RIGHT_AND_JUMP = 8


class ProcgenVectorEnv(VectorEnv):
    """``num_envs`` envs of one Procgen game. Observations (N, 64, 64, 3) uint8, actions (N,) in 0..14, or 0..8.

    Args:
        num_envs: number of envs.
        game: one of the 16 games.
        seed: fixes the level order of a ``reset()`` that names no seed itself.
        num_threads: worker threads of the C++; None takes 0 (the caller's, safe under fork) up to 16 envs, else 2.
        max_episode_steps: truncate episodes earlier than the game does; the true final frame is then known.
        render_mode: "rgb_array" lets ``render()`` return the frames.
        actions: "all" 15, or "arrows": the first 9, which suffice in CoinRun and other games without letter keys.
        options: fields of ``envs.procgen.games.Options``: distribution_mode, num_levels, start_level, ...

    Rewards are float32. Infos: ``level_seed`` where an episode began; ``prev_level_seed``, ``prev_level_complete``,
    ``final_obs`` and ``final_obs_is_previous`` where one ended; each with its mask ``_key``. Frames handed out are
    fresh at each step and must not be written to: they become ``final_obs`` a step later.

    Raises:
        UsageError: an unknown name or a bad value, before the C++ (which would end the process) sees it.
    """

    metadata: dict[str, Any] = {
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 15,
    }
    variants: ClassVar[dict[str, dict[str, Any]]] = {game: {"game": game} for game in GAMES}
    names_levels: bool = True

    def __init__(
        self,
        num_envs: int = 1,
        game: str = "coinrun",
        *,
        seed: int = 0,
        num_threads: int | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        actions: str = "all",
        **options: Any,
    ):
        self.options = Options.check({"game": game, **options})
        self.num_envs = check_int("procgen", "num_envs", num_envs, 1, 2**16, "give the number of envs")
        self.seed = int(seed)
        self.exact_state = not self.options.use_generated_assets
        self.names_levels = self.options.distribution_mode != "exploration"
        default_threads = 0 if self.num_envs <= 16 else 2
        self.num_threads = check_int(
            "procgen", "num_threads", default_threads if num_threads is None else num_threads, 0, 256, "0 is no threads"
        )
        self.max_episode_steps = self._check_limit(max_episode_steps)
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"procgen: render_mode='{render_mode}' is not known; give rgb_array")
        self.render_mode = render_mode
        self.single_observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
        if actions not in ACTIONS:
            raise UsageError(
                f"procgen: actions={actions!r} is not known{did_you_mean(actions, ACTIONS)} Known: all, arrows"
            )
        self.num_actions = ACTIONS[actions]
        self.single_action_space = gym.spaces.Discrete(self.num_actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.engine = Engine(self.options, self.num_envs, self.num_threads)
        self._factors: CoinRunFactors | None = None
        self.keep_final_factors = False
        """Add ``final_factors`` to the infos of episodes whose final state is known."""
        self._frames: Array = np.zeros((self.num_envs, 64, 64, 3), np.uint8)
        self._steps: Array = np.zeros(self.num_envs, np.int64)

    def _check_limit(self, limit: int | None) -> int | None:
        if limit is None:
            return None
        limit = check_int(
            "procgen", "max_episode_steps", limit, 1, 2**31 - 1, "give steps, or None for the game's own limit"
        )
        if limit >= self.options.time_limit:
            return None
        if not self.exact_state or self.options.use_sequential_levels:
            raise UsageError(
                f"procgen: max_episode_steps={limit} needs the state of a single level, which use_generated_assets and "
                "use_sequential_levels exclude; leave max_episode_steps or that option out"
            )
        return limit

    # Gymnasium ----------------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Begin new levels in all envs, or in those of ``options["reset_mask"]``, a bool array (N,).

        With a seed the level order starts anew; without, it goes on where it was, but starts anew after named levels.
        ``options["levels"]`` names the level that each env begins on; ``["repeats"]`` changes nothing here.
        """
        request = ResetRequest.of("procgen", self.num_envs, options, self.names_levels)
        rows, partial = request.rows, not request.mask.all()
        if partial and (seed is not None or not self.engine.built):
            raise UsageError(
                "procgen: reset_mask goes without a seed and after a first reset(); reset all envs instead"
            )
        fresh = seed is not None or not self.engine.built
        if fresh or (self.engine.named and request.levels is None and not partial):
            self._rebuild(self.seed if seed is None else seed)
            fresh = True
        if request.levels is not None:
            frames = self.engine.begin_on(rows, request.levels[rows].tolist())
        elif partial:
            frames = self.engine.begin_next(rows)
        else:
            frames = self.engine.frames() if fresh else self.engine.begin_all()
        self._forget(rows)
        self._frames = self._opened(rows, frames)
        self._steps[rows] = 0
        return self._frames, {"level_seed": self.levels(), "_level_seed": request.mask}

    def _rebuild(self, seed: int) -> None:
        if not isinstance(seed, (int, np.integer)):
            raise UsageError(f"procgen: reset(seed={seed!r}); give one integer, env i takes its own levels from it")
        self.seed = int(seed)
        self.engine.build(self.seed)

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One step of all envs; see the class docstring for infos."""
        actions = np.asarray(actions)
        if actions.min() < 0 or actions.max() >= self.num_actions:
            raise UsageError(
                f"procgen: actions span [{actions.min()}, {actions.max()}]; they lie in 0..{self.num_actions - 1}"
            )
        reward, frames, first = self.engine.step(actions)
        self._steps += 1
        if self.max_episode_steps is None:
            cut = np.zeros_like(first)
        else:
            cut = ~first & (self._steps == self.max_episode_steps)
        truncated: Array = cut
        infos: dict[str, Any] = {}
        if first.any() or cut.any():
            frames, truncated, infos = self._end_episodes(frames, first, cut)
        elif self.options.use_sequential_levels:  # a new level in the same episode starts the game's clock anew
            begun = self.engine.levels()["prev_level_complete"]
            self._steps[begun] = 0
            self._forget(np.flatnonzero(begun))
        self._frames = frames
        return frames, reward, first & ~truncated, truncated, infos

    def _end_episodes(self, frames: Array, first: Array, cut: Array) -> tuple[Array, Array, dict[str, Any]]:
        """Frames, truncated and infos of a step at which the game (``first``) or our limit (``cut``) ended episodes."""
        ended, levels = first | cut, self.engine.levels()
        complete = levels["prev_level_complete"]
        truncated = cut | (first & (self._steps == self.options.time_limit) & ~complete)
        final = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            final[i] = (self._frames if first[i] else frames)[i].copy()
        own = self._final_infos(first & complete) | self._final_factors(cut)
        if cut.any():
            frames = self.engine.begin_next(np.flatnonzero(cut))
            levels = {**self.engine.levels(), "prev_level_complete": complete}
        infos = {"final_obs": final, "final_obs_is_previous": first, **levels}
        infos |= own
        infos |= {f"_{key}": ended for key in infos}
        self._steps[ended | complete] = 0  # complete without an end: the next of sequential levels
        self._forget(np.flatnonzero(ended | complete))
        return self._opened(np.flatnonzero(ended), frames), truncated, infos

    def _final_infos(self, complete: Array) -> dict[str, Array]:
        """Infos (N,) of a subclass about the episodes that just ended; ``complete`` (N,) marks solved levels."""
        return {}

    def _opened(self, rows: Array, frames: Array) -> Array:
        """All frames, after changes by a subclass to the levels that ``rows`` just began."""
        return frames

    @property
    def action_names(self) -> tuple[str, ...]:
        """Keys of each action."""
        return ACTION_NAMES[: self.num_actions]

    @property
    def action_effects(self) -> tuple[int, ...] | None:
        """Number of the effect of each action, where actions with one effect are known: CoinRun alone."""
        return COINRUN_EFFECTS[: self.num_actions] if self.options.game == "coinrun" else None

    def scripted(self) -> Array:
        """Actions that run right and jump all the time, which solve many levels of CoinRun.

        Raises:
            UsageError: any other game.
        """
        if self.options.game != "coinrun":
            raise UsageError(f"{self.options.game} has no scripted policy; use --policy random")
        return np.full(self.num_envs, RIGHT_AND_JUMP)

    def render(self) -> tuple[Array, ...] | None:
        """The newest frames, where ``render_mode`` is "rgb_array"."""
        return tuple(self._frames.copy()) if self.render_mode == "rgb_array" else None

    def close_extras(self, **kwargs: Any) -> None:
        self.engine.close()

    # state --------------------------------------------------------------------------------------------------------

    def blobs(self) -> list[bytes]:
        """Procgen's own state of every env, for ``envs.procgen.state``. UsageError where it cannot be read."""
        return self.engine.states()

    def levels(self) -> Array:
        """Level (N,) of each env's present episode."""
        level_seeds: Array = self.engine.levels()["level_seed"]
        return level_seeds

    def show(self, blobs: list[bytes]) -> Array:
        """Take over ``blobs`` of an env of the same game, one for each env; all frames."""
        self._forget(np.arange(self.num_envs))
        self.engine.set_states(blobs)
        return self.engine.frames()

    def factors(self) -> dict[str, Array]:
        """Ground truth behind the current frames, see ``envs.procgen.state.factors``; CoinRun only."""
        if self.options.game != "coinrun":
            raise UsageError(f"procgen: factors are read in coinrun alone, not in {self.options.game}; use coinrun")
        return factors(self.blobs())

    @property
    def coverage_factors(self) -> dict[tuple[str, ...], tuple[str, str]]:
        """Factors that show how far a policy gets, see ``envs.vector_env.BatchedEnv``; none outside CoinRun."""
        readable = self.options.game == "coinrun" and self.exact_state
        return {("agent_x",): ("column", "position")} if readable else {}

    @property
    def factor_size(self) -> int:
        """Numbers of ``factor_vector``."""
        self._check_factors()
        return SIZE

    def factor_vector(self, rows: Array) -> Array:
        """Factors that decide the task, (n, D) float32 of ``rows``; CoinRun only.

        ``envs.procgen.factor_vector`` lists them. 0.2 ms an env, because Procgen has to write its state.
        """
        self._check_factors()
        if self._factors is None:
            self._factors = CoinRunFactors(self.num_envs)
        return self._factors.read(rows, [self.engine.state(row) for row in rows.tolist()])

    def _check_factors(self) -> None:
        if self.options.game != "coinrun" or not self.exact_state:
            raise UsageError("procgen: factors are read in coinrun alone, and not with use_generated_assets")

    def _forget(self, rows: Array) -> None:
        """Note that other levels are shown in ``rows``."""
        if self._factors is not None:
            self._factors.forget(rows)

    def _final_factors(self, cut: Array) -> dict[str, Array]:
        """Factors of the final states of ``cut`` rows, (N, D), where they are wanted."""
        if not (self.keep_final_factors and cut.any()):
            return {}
        vectors, rows = np.zeros((self.num_envs, SIZE), np.float32), np.flatnonzero(cut)
        vectors[rows] = self.factor_vector(rows)
        return {"final_factors": vectors}

    def _settings(self) -> dict[str, Any]:
        """Options that two objects must share for the state of one to be a state of the other."""
        return {**asdict(self.options), "num_envs": self.num_envs, "max_episode_steps": self.max_episode_steps}

    def _identity(self) -> Array:
        return np.frombuffer(bytearray(json.dumps(self._settings(), default=int).encode()), np.uint8)

    def state(self) -> dict[str, Array]:
        """The exact state, about 50 kB an env: another object with the same options goes on identically.

        Raises:
            UsageError: before the first reset, or with use_generated_assets, where Procgen would end the process.
        """
        blobs = self.blobs()
        return {
            "blob": np.frombuffer(bytearray().join(blobs), np.uint8),
            "lengths": np.array([len(blob) for blob in blobs], np.int64),
            "steps": self._steps.copy(),
            "frames": self._frames.copy(),
            "seed": np.array(self.seed, np.int64),
            "named": np.array(self.engine.named),
            "options": self._identity(),
        }

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an object with the same options; its seed and its threads may differ."""
        if not self.exact_state:
            raise UsageError("procgen cannot set a state with use_generated_assets=True; start with reset()")
        mine, theirs = (json.loads(np.asarray(o).tobytes()) for o in (self._identity(), state["options"]))
        if mine != theirs:
            differing = ", ".join(
                f"{key}: {theirs.get(key)} -> {mine[key]}" for key in mine if mine[key] != theirs.get(key)
            )
            raise UsageError(f"procgen: this state belongs to an env with other options ({differing}); use those")
        if not self.engine.built:
            self._rebuild(int(state["seed"]))
        ends = np.cumsum(state["lengths"])
        data = np.ascontiguousarray(state["blob"]).tobytes()
        self.engine.set_states([data[e - n : e] for e, n in zip(ends, state["lengths"], strict=True)])
        self._forget(np.arange(self.num_envs))
        self.seed, self.engine.named = int(state["seed"]), bool(state.get("named", False))
        self._steps = np.array(state["steps"], np.int64)
        self._frames = np.array(state["frames"], np.uint8)


class ProcgenEnv(gym.Env):
    """One Procgen env for ``gymnasium.make("Procgen/CoinRun-v0", num_levels=200)``; arguments as ProcgenVectorEnv's.

    Every ``reset`` draws its level from ``np_random``. The observation of an episode's last step is the frame before
    (info ``final_obs_is_previous``), because Procgen does not show the final one.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(self, game: str = "coinrun", *, render_mode: str | None = None, **options: Any):
        self._hold(ProcgenVectorEnv(1, game, render_mode=render_mode, **options))

    def _hold(self, vector: ProcgenVectorEnv) -> None:
        self._vector = vector
        self.render_mode = vector.render_mode
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self._frame: Array = np.zeros((64, 64, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        frames, infos = self._vector.reset(seed=int(self.np_random.integers(2**31)))
        self._frame = frames[0]
        return self._frame.copy(), {"level_seed": int(infos["level_seed"][0])}

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        frames, reward, terminated, truncated, infos = self._vector.step(np.array([action]))
        info: dict[str, Any] = {}
        self._frame = frames[0]
        if infos:
            self._frame = infos["final_obs"][0]
            info = {key: infos[key][0].item() for key in ("prev_level_seed", "prev_level_complete")}
            info["final_obs_is_previous"] = bool(infos["final_obs_is_previous"][0])
        return self._frame.copy(), float(reward[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Array | None:
        return self._frame.copy() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        self._vector.close()


register_ids()
