"""Any world of this folder as a stable-baselines3 ``VecEnv``: one thin adapter, nothing copied.

Images (N, H, W, C) are shown as (N, C, H, W) *views* of the same memory, which is exactly torch's channels-last.
The adapter keeps the episode statistics that SB3's VecMonitor would, so SB3 counts it as monitored.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from envs.registry import UsageError

Array = np.ndarray


def is_image(space: spaces.Space) -> TypeGuard[spaces.Box]:
    """A uint8 Box (H, W, C)."""
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3


def channels_first(space: spaces.Box) -> spaces.Box:
    """The Box (H, W, C) as (C, H, W)."""
    return spaces.Box(space.low.transpose(2, 0, 1), space.high.transpose(2, 0, 1), dtype=np.uint8)


class Sb3VecEnv(VecEnv):
    """A Gymnasium vector world (SAME_STEP) behind SB3's interface.

    The observation space is a Box where the world gives one image (bare, or a Dict with the one key "image"), else a
    Dict. ``infos[i]`` of an ended env holds ``terminal_observation``, ``TimeLimit.truncated`` (truncated and not
    terminated), ``terminal_observation_is_previous`` where the world cannot show the true last frame,
    ``episode`` = {"r": return, "l": steps, "t": seconds}, and what the world itself told about that env.

    Args:
        vector_env: the world. It must hand out fresh arrays at every step: SB3 stores an observation after the step
            that follows it.

    Raises:
        UsageError: another autoreset mode, or a world that reuses its observation array.
    """

    def __init__(self, vector_env: VectorEnv):
        mode = vector_env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise UsageError(f"{vector_env}: autoreset_mode is {mode}; Sb3VecEnv takes AutoresetMode.SAME_STEP only")
        self.world: Any = vector_env
        space = vector_env.single_observation_space
        self._inner_key = "image" if isinstance(space, spaces.Dict) and list(space.spaces) == ["image"] else None
        inner = space["image"] if isinstance(space, spaces.Dict) and self._inner_key else space
        self._image_keys: frozenset[str] = frozenset()
        if isinstance(inner, spaces.Dict):
            self._image_keys = frozenset(key for key, value in inner.spaces.items() if is_image(value))
            shown: spaces.Space = spaces.Dict(
                {key: channels_first(value) if is_image(value) else value for key, value in inner.spaces.items()}
            )
        else:
            shown = channels_first(inner) if is_image(inner) else inner
        self._box_is_image = is_image(inner)
        self._returns = np.zeros(vector_env.num_envs)
        self._lengths = np.zeros(vector_env.num_envs, np.int64)
        self._start = time.monotonic()
        self.told: dict[str, Any] = {}
        """The world's infos of the newest step, all envs at once."""
        self.frames: int = getattr(vector_env, "frames", 1)
        """Frames stacked in the channels of an image."""
        self._actions: Array | None = None
        self._last: Any = None
        super().__init__(vector_env.num_envs, shown, vector_env.single_action_space)

    def _show(self, observation: Any, axes: tuple[int, ...]) -> Any:
        """The observation as SB3 sees it; ``axes`` brings the channels to the front."""
        if self._inner_key is not None:
            observation = observation[self._inner_key]
        if isinstance(observation, dict):
            return {k: v.transpose(axes) if k in self._image_keys else v for k, v in observation.items()}
        return observation.transpose(axes) if self._box_is_image else observation

    def _batch(self, observation: Any) -> Any:
        shown = self._show(observation, (0, 3, 1, 2))
        some = next(iter(shown.values())) if isinstance(shown, dict) else shown
        if self._last is not None and np.may_share_memory(some, self._last):
            raise UsageError(f"{self.world} reuses its observation array; make it with copy=True")
        self._last = some
        return shown

    def reset(self) -> Any:
        """New episodes in all envs; the seed of ``seed(s)`` is handed to the world, which derives its envs' from it."""
        observation, infos = self.world.reset(seed=self._seeds[0], options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0
        self._lengths[:] = 0
        self._last = None
        self.reset_infos = self._split(infos)
        return self._batch(observation)

    def step_async(self, actions: Array) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        observation, reward, terminated, truncated, infos = self.world.step(self._actions)
        self.told = infos
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        rows = self._split(infos)
        if done.any():
            self._end_episodes(rows, done, truncated & ~terminated)
        return self._batch(observation), np.asarray(reward, np.float32), done, rows

    def _split(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """One fresh dict an env; loops over those rows only that a mask ``_key`` names."""
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for key, values in infos.items():
            if not key.startswith("_") and f"_{key}" in infos and not isinstance(values, dict):
                for i in np.flatnonzero(infos[f"_{key}"]):
                    value = values[i]
                    rows[i][key] = value.item() if isinstance(value, np.generic) else value
        return rows

    def _end_episodes(self, rows: list[dict[str, Any]], done: Array, cut: Array) -> None:
        seconds = round(time.monotonic() - self._start, 6)
        for i in np.flatnonzero(done):
            row = rows[i]
            row["terminal_observation"] = self._show(row.pop("final_obs"), (2, 0, 1))
            row["TimeLimit.truncated"] = bool(cut[i])
            if row.pop("final_obs_is_previous", False):
                row["terminal_observation_is_previous"] = True
            row["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": seconds}
        self._returns[done] = 0
        self._lengths[done] = 0

    def state_dict(self) -> dict[str, Any]:
        """State of the world and of the running episodes' statistics; not the last observation, which the agent keeps.

        Raises:
            UsageError: the world has no exact state.
        """
        if not getattr(self.world, "exact_state", False):
            raise UsageError(f"{self.world} cannot give its exact state; a run on it cannot be continued exactly")
        return {"world": self.world.state(), "returns": self._returns.copy(), "lengths": self._lengths.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict()`` of an adapter of an equal world."""
        self.world.set_state(state["world"])
        self._returns = np.array(state["returns"], np.float64)
        self._lengths = np.array(state["lengths"], np.int64)
        self._last = None

    # -- the rest of SB3's interface: the envs of a world share their attributes -----------------------------------

    def _count(self, indices: int | Iterable[int] | None) -> int:
        return len(list(self._get_indices(indices)))

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """The world's attribute, once an env."""
        return [getattr(self.world, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set the world's attribute; it is shared, so ``indices`` must be None."""
        if indices is not None:
            raise UsageError(
                f"set_attr('{attr_name}', indices={indices!r}): a world's envs share attributes; leave indices"
            )
        setattr(self.world, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call the world's method once; its result, once an env."""
        return [getattr(self.world, method_name)(*method_args, **method_kwargs)] * self._count(indices)

    def env_is_wrapped(self, wrapper_class: type, indices: int | Iterable[int] | None = None) -> list[bool]:
        """True for SB3's monitors, whose statistics this adapter keeps."""
        return [issubclass(wrapper_class, (Monitor, VecMonitor))] * self._count(indices)

    def get_images(self) -> Sequence[Array | None]:
        """The world's rendered frames, (H, W, 3) each; None where it was made without a render mode."""
        return self.world.render() or [None] * self.num_envs

    def close(self) -> None:
        self.world.close()
