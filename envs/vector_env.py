"""Common parts of the environments of our own: N episodes stepped as arrays, levels, limits, final frames, exact state.

An environment says how an episode begins (``_begin``), what a step does (``_advance``) and what it shows
(``_observe``). ``BatchedEnv`` adds everything else that a Gymnasium ``VectorEnv`` owes its users. ``SingleEnv`` is any
of them as a plain ``gym.Env``.

Draws are by counter (``envs.counter_rng``). What a *level* decides (layout, colours, start) is drawn from the level
alone. What happens on the way (noise) is drawn from (seed, env, episode, step). Env i's level order depends on the seed
and i alone. A reset may name the levels (``envs.named_levels``); a hash of level and repetition then stands for both
seed and env.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.counter_rng import below, counter_hash, mix
from envs.named_levels import UNNAMED, ResetRequest
from envs.registration import register_ids
from envs.registry import UsageError, check_int
from envs.spaces import Array, Space, image_of

Obs = Any
"""An array (N, ...), or a dict of them."""
LARGEST_LEVEL = 2**31 - 1
_COUNTERS = ("episode", "time", "level", "stream")


class BatchedEnv(VectorEnv[Any, Any, Any]):
    """Base of the environments stepped as arrays: SAME_STEP autoreset, true final frames in ``final_obs``.

    Infos: ``level_seed`` where an episode began, ``prev_level_seed`` and ``final_obs`` where one ended, and the
    environment's own, each with its mask ``_key``.

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
    names_levels: bool = True
    """Whether ``reset`` takes the options ``levels`` and ``repeats`` (``envs.named_levels``)."""
    name: ClassVar[str]
    """Name in the registry and in errors."""
    variants: ClassVar[dict[str, dict[str, Any]]] = {}
    """Named options, keyword arguments by name, for listings and contact sheets."""
    state_names: ClassVar[tuple[str, ...]] = ()
    """Attributes with one row an env that make up the state, beside the counters of this class."""
    coverage_factors: ClassVar[dict[tuple[str, ...], tuple[str, str]]] = {}
    """Factors that show how far a policy gets -> (name, summary over frames): "position", median and largest number;
    "left", the mean number of true entries; "cells", the number of different places, to a quarter of a unit."""
    metric_infos: ClassVar[dict[str, tuple[str, str]]] = {}
    """Per-step infos worth a chart -> (name of the metric, summary over a rollout): "distinct", the number of
    different values since the start; "final", the mean over finished episodes of an episode's last value; "mean" over
    all steps."""
    keep_final_factors: bool = False
    """Add ``final_factors`` (N, D), those of the final states, to the infos of steps that end an episode."""
    first_env: int = 0
    """Number of the first env among those of one seed, where several processes hold some each; set before a reset."""

    def __init__(
        self,
        num_envs: int,
        observation_space: Space,
        num_actions: int,
        *,
        seed: int,
        num_levels: int,
        start_level: int,
        max_episode_steps: int | None,
        render_mode: str | None,
    ):
        self.num_envs = check_int(self.name, "num_envs", num_envs, 1, 2**20)
        self.num_levels = check_int(self.name, "num_levels", num_levels, 1, LARGEST_LEVEL)
        self.start_level = check_int(self.name, "start_level", start_level, 0, LARGEST_LEVEL - self.num_levels)
        if max_episode_steps is not None:
            max_episode_steps = check_int(self.name, "max_episode_steps", max_episode_steps, 1, 2**31 - 1)
        if render_mode not in (None, "rgb_array"):
            raise UsageError(f"{self.name}: render_mode='{render_mode}' is not known; give rgb_array")
        self.max_episode_steps, self.render_mode, self.seed = max_episode_steps, render_mode, int(seed)
        self.single_observation_space = observation_space
        self.single_action_space = gym.spaces.Discrete(num_actions)
        self.observation_space = batch_space(observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.num_actions = num_actions
        self.rows: Array = np.arange(self.num_envs)
        self.episode: Array = np.full(self.num_envs, -1, np.int64)
        """Episodes that each env began before this one."""
        self.time: Array = np.zeros(self.num_envs, np.int64)
        """Steps since the episode began."""
        self.level: Array = np.zeros(self.num_envs, np.int64)
        self.stream: Array = np.full(self.num_envs, UNNAMED, np.int64)
        """Stream of draws of each env whose level was named, else ``UNNAMED``."""
        self.episode_bits: Array = np.zeros(self.num_envs, np.uint64)
        """uint64 (N,) drawn from (seed, env, episode), or from (stream, episode)."""

    # defined by an environment ------------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, rows: Array) -> None:
        """Put ``rows`` (indices) at the start of an episode on ``self.level[rows]``."""

    @abstractmethod
    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        """One step of all envs: rewards, terminated, and truncated by the environment's own rules, (N,) each.

        ``self.time`` still counts the steps before this one. The caller takes care of ``max_episode_steps``.
        """

    @abstractmethod
    def _observe(self, rows: Array) -> Obs:
        """Observations of ``rows``, in fresh arrays."""

    def _observe_all(self) -> Obs:
        """Observations of all envs, in fresh arrays."""
        return self._observe(self.rows)

    def _step_infos(self) -> dict[str, Array]:
        """Infos about every env after every reset and step, (N, ...) each, fresh."""
        return {}

    def _final_infos(self, rows: Array) -> dict[str, Array]:
        """Infos about ``rows``, whose episodes just ended, asked for before they begin anew; (N, ...) each."""
        return {}

    def _rebuild_derived(self) -> None:
        """Rebuild everything that follows from the state's arrays, after they were set."""

    def scripted(self) -> Array:
        """Actions (N,) of a hand-written policy that reads the state: a reference for what can be reached."""
        raise UsageError(f"{self.name} has no scripted policy; use --policy random")

    def factors(self) -> dict[str, Array]:
        """Ground truth behind the current frames, (N, ...) each: targets for probes."""
        return {}

    def factor_vector(self, rows: Array) -> Array:
        """Factors that decide the task, (n, D) float32 of ``rows``: no NaN, about unit range.

        ``envs.wrappers.factors`` makes them an observation. D is the same for all variants.
        """
        raise UsageError(f"{self.name} cannot tell its true factors as a vector; leave factors out")

    @property
    def factor_size(self) -> int:
        """D of ``factor_vector``."""
        return int(self.factor_vector(self.rows[:1]).shape[1])

    # draws --------------------------------------------------------------------------------------------------------

    def step_bits(self, rows: Array, tag: int) -> Array:
        """uint64 for ``rows`` at their present step; an environment's tags lie in 0..255."""
        return mix(self.episode_bits[rows], self.time[rows] * 256 + tag)

    def level_bits(self, rows: Array, *tags: int | Array) -> Array:
        """uint64 for ``rows`` that depends on their level and the tags alone."""
        return counter_hash(self.level[rows], *tags)

    # Gymnasium ----------------------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Array]]:
        """Begin an episode in all envs, or in those of ``options["reset_mask"]``; a seed starts at episode 0 again.

        ``options["levels"]`` and ``["repeats"]`` name the levels to begin on. Episodes that follow by themselves are
        drawn from the env's own range, by the named level and its repetition.
        """
        request = ResetRequest.of(self.name, self.num_envs, options, self.names_levels)
        mask, rows = request.mask, request.rows
        if seed is not None:
            if not isinstance(seed, (int, np.integer)):
                raise UsageError(f"{self.name}: reset(seed={seed!r}); give one integer, env i draws its own from it")
            self.seed = int(seed)
        if seed is not None or request.levels is not None:
            self.episode[mask] = -1
        self.stream[mask] = request.streams()[mask]
        self._begin_episodes(rows, None if request.levels is None else request.levels[rows])
        infos = {"level_seed": self.level.copy(), "_level_seed": mask}
        return self._observe_all(), infos | self._masked_infos()

    def _begin_episodes(self, rows: Array, levels: Array | None = None) -> None:
        """Begin the next episode of ``rows``, on ``levels`` or on levels drawn."""
        self.episode[rows] += 1
        self.time[rows] = 0
        self.episode_bits[rows] = self._draw_episode_bits(rows)
        drawn = self.start_level + below(self.episode_bits[rows], self.num_levels)
        self.level[rows] = drawn if levels is None else levels
        self._begin(rows)

    def streams(self, rows: Array) -> Array:
        """Streams of draws (n,) int64 of ``rows``: the env's number, or the stream of its named level."""
        return np.where(self.stream[rows] == UNNAMED, self.first_env + rows, self.stream[rows])

    def _draw_episode_bits(self, rows: Array) -> Array:
        seed = np.where(self.stream[rows] == UNNAMED, self.seed, 0)
        return counter_hash(seed, self.streams(rows), self.episode[rows])

    def _masked_infos(self) -> dict[str, Array]:
        infos = self._step_infos()
        return infos | {f"_{key}": np.ones(self.num_envs, bool) for key in infos}

    def step(self, actions: Array) -> tuple[Obs, Array, Array, Array, dict[str, Any]]:
        """One step of all envs; rewards float32."""
        actions = self._checked(actions)
        if self.episode.min() < 0:
            raise UsageError(f"{self.name}: step() before reset(); call reset() first")
        reward, terminated, truncated = self._advance(actions)
        self.time += 1
        if self.max_episode_steps is not None:
            truncated = (truncated | (self.time >= self.max_episode_steps)) & ~terminated
        ended = terminated | truncated
        infos = self._autoreset(ended) if ended.any() else {}
        return self._observe_all(), reward.astype(np.float32), terminated, truncated, infos | self._masked_infos()

    def _checked(self, actions: Any) -> Array:
        """Actions (N, ...) as ``_advance`` takes them; UsageError where they are not of the action space."""
        array = np.asarray(actions)
        if array.shape != (self.num_envs,) or array.min() < 0 or array.max() >= self.num_actions:
            raise UsageError(
                f"{self.name}: actions must be ({self.num_envs},) integers in 0..{self.num_actions - 1}, "
                f"got {array.shape} in [{array.min()}, {array.max()}]"
            )
        return array

    def _autoreset(self, ended: Array) -> dict[str, Any]:
        """Final frames and infos of the episodes that ended; new episodes begin in their place."""
        rows = np.flatnonzero(ended)
        final_batch, final_obs = self._observe(rows), np.full(self.num_envs, None, object)
        for position, i in enumerate(rows):
            final_obs[i] = _row(final_batch, position)
        infos = {"final_obs": final_obs, "prev_level_seed": self.level.copy(), **self._final_infos(rows)}
        if self.keep_final_factors:
            vectors = self.factor_vector(rows)
            infos["final_factors"] = np.zeros((self.num_envs, vectors.shape[1]), np.float32)
            infos["final_factors"][rows] = vectors
        self._begin_episodes(rows)
        infos["level_seed"] = self.level.copy()
        return infos | {f"_{key}": ended for key in infos}

    def render(self) -> tuple[Array, ...] | None:
        """The current frames in three channels, where ``render_mode`` is "rgb_array"."""
        return tuple(_rgb(self._observe(self.rows))) if self.render_mode == "rgb_array" else None

    # state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """The exact state, arrays with the env axis first: an equal environment goes on from it identically."""
        own = {name: getattr(self, name) for name in (*_COUNTERS, *self.state_names)}
        return {"seed": np.array(self.seed, np.int64)} | {name: np.array(value) for name, value in own.items()}

    def set_state(self, state: dict[str, Array]) -> None:
        """Go on from ``state()`` of an environment with the same options; names left out keep their values.

        Raises:
            UsageError: an unknown name, or arrays of another shape.
        """
        names = (*_COUNTERS, *self.state_names)
        for name, value in state.items():
            if name != "seed" and name not in names:
                raise UsageError(f"{self.name}: the state has no '{name}'; it has: seed, {', '.join(names)}")
            if name != "seed" and np.shape(value) != (wanted := getattr(self, name).shape):
                raise UsageError(
                    f"{self.name}: state '{name}' has shape {np.shape(value)}, not {wanted}: it is of another number "
                    "of envs or of other options; make an equal environment"
                )
        self.seed = int(state.get("seed", self.seed))
        for name in names:
            if name in state:
                getattr(self, name)[...] = state[name]
        self.episode_bits[:] = self._draw_episode_bits(self.rows)
        self._rebuild_derived()


class SingleEnv(gym.Env[Any, Any]):
    """One env of a ``BatchedEnv`` for ``gymnasium.make``; arguments are those of ``vector_class``.

    Every ``reset`` draws its level from ``np_random``.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 15}
    vector_class: ClassVar[Any]
    """A subclass of ``BatchedEnv``."""

    def __init__(self, *, render_mode: str | None = None, **options: Any):
        self._vector: BatchedEnv = self.vector_class(1, render_mode=render_mode, **options)
        self.render_mode = render_mode
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self._newest: Obs = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        super().reset(seed=seed)
        observations, infos = self._vector.reset(seed=int(self.np_random.integers(2**31)))
        self._newest = _row(observations)
        return self._newest, _single_info(infos)

    def step(self, action: int) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        observations, reward, terminated, truncated, infos = self._vector.step(np.array([action]))
        self._newest = infos.pop("final_obs")[0] if "final_obs" in infos else _row(observations)
        return self._newest, float(reward[0]), bool(terminated[0]), bool(truncated[0]), _single_info(infos)

    def render(self) -> Array | None:
        return None if self._newest is None or self.render_mode != "rgb_array" else _rgb(self._newest)

    def close(self) -> None:
        self._vector.close()


def _row(observations: Obs, index: int = 0) -> Obs:
    """A copy of one env's observation."""
    if isinstance(observations, dict):
        return {key: value[index].copy() for key, value in observations.items()}
    return observations[index].copy()


def _rgb(observations: Obs) -> Array:
    """Fresh images of observations, grey ones in three equal channels."""
    image = image_of(observations)
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image.copy()


def _single_info(infos: dict[str, Any]) -> dict[str, Any]:
    """Infos of env 0, without masks, numbers as Python's own."""
    values = {key: value[0] for key, value in infos.items() if not key.startswith("_") and f"_{key}" in infos}
    return {key: value.item() if isinstance(value, np.generic) else value for key, value in values.items()}


register_ids()
