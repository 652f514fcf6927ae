"""What the worlds of our own share: N episodes stepped as arrays, levels, time limits, last frames, exact state.

A world says how rows begin (``_begin``), what a step does (``_advance``) and what is seen (``_look``); everything a
Gymnasium ``VectorEnv`` owes its users beside that is here, once. ``SingleEnv`` is any of them as a plain ``gym.Env``.

Draws are by counter (``envs.counter_rng``). What a *level* decides (layout, look, start) is drawn from the level
alone; what
happens on the way (noise) from (seed, env, episode, step). Env i's level order depends on the seed and i alone.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.counter_rng import below, counter_hash, mix
from envs.registry import UsageError

Array = np.ndarray
Obs = Any
"""An array (N, ...), or a dict of them."""
LARGEST_LEVEL = 2**31 - 1


class BatchedEnv(VectorEnv):
    """Base of the worlds stepped as arrays; SAME_STEP, true last frames in ``final_obs``.

    Infos: ``level_seed`` where an episode opened, ``prev_level_seed`` and ``final_obs`` where one ended, and the
    world's own, each with its mask ``_key``.

    Args:
        num_envs: N, number of envs.
        observation_space: of one env; images are uint8 (H, W, C).
        num_actions: of the Discrete action space.
        seed: of a ``reset()`` that names none itself.
        num_levels: levels are drawn uniformly from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: steps after which an episode is truncated; None for no limit.
        render_mode: "rgb_array" lets ``render()`` return the frames.

    Raises:
        UsageError: a value out of range.
    """

    metadata: dict[str, Any] = {
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 15,
    }
    exact_state = True
    world: ClassVar[str]
    """Name in the registry and in errors."""
    variants: ClassVar[dict[str, dict[str, Any]]] = {}
    """Named settings, keyword arguments by name: what listings and contact sheets show."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Attributes with one row an env that make up the state, beside the counters kept here."""
    first: int = 0
    """Number of the first env among those of one seed, where several worlds hold a part each; set before a reset."""

    def __init__(
        self,
        num_envs: int,
        observation_space: gym.Space,
        num_actions: int,
        *,
        seed: int,
        num_levels: int,
        start_level: int,
        max_episode_steps: int | None,
        render_mode: str | None,
    ):
        self.num_envs = check_int(self.world, "num_envs", num_envs, 1, 2**20)
        self.num_levels = check_int(self.world, "num_levels", num_levels, 1, LARGEST_LEVEL)
        self.start_level = check_int(self.world, "start_level", start_level, 0, LARGEST_LEVEL - self.num_levels)
        if max_episode_steps is not None:
            max_episode_steps = check_int(self.world, "max_episode_steps", max_episode_steps, 1, 2**31 - 1)
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"{self.world}: render_mode='{render_mode}' is not known; give rgb_array")
        self.max_episode_steps, self.render_mode, self.seed = max_episode_steps, render_mode, int(seed)
        self.single_observation_space = observation_space
        self.single_action_space = gym.spaces.Discrete(num_actions)
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.num_actions = num_actions
        self.rows = np.arange(self.num_envs)
        self.episode = np.full(self.num_envs, -1, np.int64)
        """Episodes that each env began before this one."""
        self.time = np.zeros(self.num_envs, np.int64)
        """Steps since the episode began."""
        self.level = np.zeros(self.num_envs, np.int64)
        self._keys = np.zeros(self.num_envs, np.uint64)

    # what a world defines -----------------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, rows: Array) -> None:
        """Put ``rows`` (indices) at the start of an episode on ``self.level[rows]``."""

    @abstractmethod
    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        """One step of all envs, each (N,): rewards, whether a terminal state was reached, whether the world cut it off.

        ``self.time`` still counts the steps before this one. ``max_episode_steps`` is looked after by the caller.
        """

    @abstractmethod
    def _look(self, rows: Array) -> Obs:
        """What ``rows`` see now, in fresh arrays."""

    def _look_all(self) -> Obs:
        return self._look(self.rows)

    def _step_infos(self) -> dict[str, Array]:
        """What infos tell after every reset and step about every env, (N, ...) each, fresh."""
        return {}

    def _ended_infos(self, rows: Array) -> dict[str, Array]:
        """What infos tell about ``rows``, whose episodes just ended; asked before they begin anew. (N, ...) each."""
        return {}

    def _restored(self) -> None:
        """Rebuild what follows from the kept arrays."""

    def scripted(self) -> Array:
        """Actions (N,) of a hand-written policy that sees the state: a reference for what can be reached."""
        raise UsageError(f"{self.world} has no scripted policy; use --policy random")

    def factors(self) -> dict[str, Array]:
        """Ground truth behind the current frames, (N, ...) each: targets for probes."""
        return {}

    # draws --------------------------------------------------------------------------------------------------------

    def noise(self, rows: Array, tag: int) -> Array:
        """uint64 for ``rows`` at their present step; a world's tags lie in 0..255."""
        return mix(self._keys[rows], self.time[rows] * 256 + tag)

    def from_level(self, rows: Array, *tags: int | Array) -> Array:
        """uint64 for ``rows`` that depends on their level and the tags alone."""
        return counter_hash(self.level[rows], *tags)

    # Gymnasium ----------------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Array]]:
        """A new episode in all envs, or in those of ``options["reset_mask"]``; a seed starts at episode 0 again."""
        mask = np.asarray((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.dtype != bool or mask.shape != (self.num_envs,) or not mask.any():
            raise UsageError(f"{self.world}: reset_mask must be a bool array ({self.num_envs},) with at least one True")
        if seed is not None:
            if not isinstance(seed, (int, np.integer)):
                raise UsageError(f"{self.world}: reset(seed={seed!r}); give one integer, env i draws its own from it")
            self.seed = int(seed)
            self.episode[mask] = -1
        self._open(np.flatnonzero(mask))
        infos = {"level_seed": self.level.copy(), "_level_seed": mask}
        return self._look_all(), infos | self._told()

    def _open(self, rows: Array) -> None:
        self.episode[rows] += 1
        self.time[rows] = 0
        self._keys[rows] = counter_hash(self.seed, self.first + rows, self.episode[rows])
        self.level[rows] = self.start_level + below(self._keys[rows], self.num_levels)
        self._begin(rows)

    def _told(self) -> dict[str, Array]:
        infos = self._step_infos()
        return infos | {f"_{key}": np.ones(self.num_envs, bool) for key in infos}

    def step(self, actions: Array) -> tuple[Obs, Array, Array, Array, dict[str, Any]]:
        """One step of all envs; rewards float32."""
        actions = np.asarray(actions)
        if actions.shape != (self.num_envs,) or actions.min() < 0 or actions.max() >= self.num_actions:
            raise UsageError(
                f"{self.world}: actions must be ({self.num_envs},) integers in 0..{self.num_actions - 1}, "
                f"got {actions.shape} in [{actions.min()}, {actions.max()}]"
            )
        if self.episode.min() < 0:
            raise UsageError(f"{self.world}: step() before reset(); call reset() first")
        reward, terminated, truncated = self._advance(actions)
        self.time += 1
        if self.max_episode_steps is not None:
            truncated = (truncated | (self.time >= self.max_episode_steps)) & ~terminated
        ended = terminated | truncated
        infos = self._autoreset(ended) if ended.any() else {}
        return self._look_all(), reward.astype(np.float32), terminated, truncated, infos | self._told()

    def _autoreset(self, ended: Array) -> dict[str, Any]:
        """Last frames and infos of the episodes that ended, then new episodes in their place."""
        rows = np.flatnonzero(ended)
        last, final = self._look(rows), np.full(self.num_envs, None, object)
        for place, i in enumerate(rows):
            final[i] = _row(last, place)
        infos = {"final_obs": final, "prev_level_seed": self.level.copy(), **self._ended_infos(rows)}
        self._open(rows)
        infos["level_seed"] = self.level.copy()
        return infos | {f"_{key}": ended for key in infos}

    def render(self) -> tuple[Array, ...] | None:
        """The current frames in three channels, where ``render_mode`` is "rgb_array"."""
        return tuple(_rgb(self._look(self.rows))) if self.render_mode == "rgb_array" else None

    # state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """The exact state, arrays with the env axis first: an equal world goes on from it identically."""
        counters = {"seed": np.array(self.seed, np.int64), "episode": self.episode, "time": self.time}
        kept = {name: getattr(self, name) for name in self.kept}
        return {name: np.array(value) for name, value in {**counters, "level": self.level, **kept}.items()}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of a world with the same options; names left out keep their values.

        Raises:
            UsageError: an unknown name, or arrays of another shape.
        """
        names = ("episode", "time", "level", *self.kept)
        for name, value in state.items():
            if name != "seed" and name not in names:
                raise UsageError(f"{self.world}: the state has no '{name}'; it has: seed, {', '.join(names)}")
            if name != "seed" and np.shape(value) != (wanted := getattr(self, name).shape):
                raise UsageError(
                    f"{self.world}: state '{name}' has shape {np.shape(value)}, not {wanted}: it is of another number "
                    "of envs or of other options; make an equal world"
                )
        self.seed = int(state.get("seed", self.seed))
        for name in names:
            if name in state:
                getattr(self, name)[...] = state[name]
        self._keys[:] = counter_hash(self.seed, self.first + self.rows, self.episode)
        self._restored()


class SingleEnv(gym.Env):
    """One env of a world of ours for ``gymnasium.make``; a subclass names the world, arguments are that world's.

    Every ``reset`` draws its level from ``np_random``.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}
    vector: ClassVar[Any]
    """The world's class, a ``BatchedEnv``."""

    def __init__(self, *, render_mode: str | None = None, **options: Any):
        self._vector: BatchedEnv = self.vector(1, render_mode=render_mode, **options)
        self.render_mode = render_mode
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self._frame: Obs = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        seen, infos = self._vector.reset(seed=int(self.np_random.integers(2**31)))
        return self._show(_row(seen)), _info(infos)

    def step(self, action: int) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        seen, reward, terminated, truncated, infos = self._vector.step(np.array([action]))
        shown = infos.pop("final_obs")[0] if "final_obs" in infos else _row(seen)
        return self._show(shown), float(reward[0]), bool(terminated[0]), bool(truncated[0]), _info(infos)

    def _show(self, seen: Obs) -> Obs:
        self._frame = seen
        return seen

    def render(self) -> Array | None:
        return None if self._frame is None or self.render_mode != "rgb_array" else _rgb(self._frame)

    def close(self) -> None:
        self._vector.close()


def _row(seen: Obs, place: int = 0) -> Obs:
    if isinstance(seen, dict):
        return {key: value[place].copy() for key, value in seen.items()}
    return seen[place].copy()


def _rgb(seen: Obs) -> Array:
    """The image of an observation, fresh, grey ones in three equal channels."""
    image = seen["image"] if isinstance(seen, dict) else seen
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image.copy()


def _info(infos: dict[str, Any]) -> dict[str, Any]:
    told = {key: value[0] for key, value in infos.items() if not key.startswith("_") and f"_{key}" in infos}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in told.items()}


def register(env_id: str, single: type[SingleEnv], /, **options: Any) -> None:
    """Make ``env_id`` known to ``gymnasium.make`` and, through the world behind ``single``, to ``make_vec``."""
    if env_id not in gym.registry:
        gym.register(env_id, entry_point=_place(single), vector_entry_point=_place(single.vector), kwargs=options)


def _place(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def check_int(world: str, name: str, value: Any, low: int, high: int) -> int:
    """``value`` as an int in [low, high]; else UsageError. True and 3.0 are not integers here."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise UsageError(f"{world}: {name}={value!r} is not an integer in [{low}, {high}]; give one that is")
    return int(value)
