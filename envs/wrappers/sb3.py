"""Any vector env of this folder as a stable-baselines3 ``VecEnv``: one thin adapter, nothing copied.

Images (N, H, W, C) are shown as (N, C, H, W) *views* of the same memory, which is exactly torch's channels-last.
The adapter keeps the episode statistics that SB3's VecMonitor would, so SB3 counts it as monitored.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecMonitor, VecNormalize, VecTransposeImage

from envs.registry import UsageError
from envs.spaces import IMAGE, Array, Space, channels_first, is_image, keyed_space, to_channels_first
from envs.wrappers.foreign import check_autoreset, conforming
from envs.wrappers.observations import Conversion, stacked_frames


class Sb3VecEnv(VecEnv):
    """A Gymnasium vector env (SAME_STEP) behind SB3's interface.

    The observation space is a Box where the env gives a bare observation, or a Dict with the one key "image"; else a
    Dict. ``infos[i]`` of an ended env holds ``terminal_observation``, ``TimeLimit.truncated`` (truncated and not
    terminated), ``terminal_observation_is_previous`` where the env cannot show the true final frame, ``episode`` =
    {"r": return, "l": steps, "t": seconds}, and the vector env's own infos about it.

    Args:
        vector_env: hands out fresh arrays at every step: SB3 stores an observation after the step that follows it.

    Raises:
        UsageError: another autoreset mode, or a vector env that reuses its observation array.
    """

    def __init__(self, vector_env: VectorEnv[Any, Any, Any]):
        check_autoreset(vector_env, str(vector_env))
        given, vector_env = vector_env, conforming(vector_env)
        self.understood: tuple[str, ...] = getattr(vector_env, "understood", ())
        """A line an entry of the observation, where it had to be understood."""
        if vector_env is not given:
            say_once(f"{given}: {'; '.join(self.understood)}")
        self.vector_env: Any = vector_env
        space = vector_env.single_observation_space
        self._is_wrapped_image = isinstance(space, spaces.Dict) and list(space.spaces) == [IMAGE]
        inner = space[IMAGE] if isinstance(space, spaces.Dict) and self._is_wrapped_image else space
        self._image_keys: frozenset[str] = frozenset()
        if isinstance(inner, spaces.Dict):
            self._image_keys = frozenset(key for key, value in inner.spaces.items() if is_image(value))
            shown: Space = spaces.Dict(
                {key: channels_first(value) if is_image(value) else value for key, value in inner.spaces.items()}
            )
        else:
            shown = channels_first(inner) if is_image(inner) else inner
        self._box_is_image = is_image(inner)
        self._returns = np.zeros(vector_env.num_envs)
        self._lengths: Array = np.zeros(vector_env.num_envs, np.int64)
        self._start = time.monotonic()
        self.newest_infos: dict[str, Any] = {}
        """Infos of the newest step, all envs at once."""
        self.frames = stacked_frames(vector_env) or 1
        """Frames stacked in the channels of an image."""
        self.metric_infos: dict[str, tuple[str, str]] = getattr(vector_env, "metric_infos", {})
        """Infos worth a chart, as in ``BatchedEnv.metric_infos``."""
        self._actions: Array | None = None
        self._last: Any = None
        super().__init__(vector_env.num_envs, shown, vector_env.single_action_space)
        self.metadata = dict(vector_env.metadata)

    @property
    def exact_state(self) -> bool:
        """True where ``state_dict`` gives all that decides what follows."""
        return bool(getattr(self.vector_env, "exact_state", False))

    @property
    def names_levels(self) -> bool:
        """True where the options of a reset may name each env's level (``envs.named_levels``)."""
        return bool(getattr(self.vector_env, "names_levels", False))

    def _show(self, observation: Any) -> Any:
        """One env's or all envs' observation as SB3 sees it."""
        if self._is_wrapped_image:
            observation = observation[IMAGE]
        if isinstance(observation, dict):
            return {k: to_channels_first(v) if k in self._image_keys else v for k, v in observation.items()}
        return to_channels_first(observation) if self._box_is_image else observation

    def _batch(self, observation: Any) -> Any:
        shown = self._show(observation)
        any_array = next(iter(shown.values())) if isinstance(shown, dict) else shown
        if self._last is not None and np.may_share_memory(any_array, self._last):
            raise UsageError(f"{self.vector_env} reuses its observation array; make it with copy=True")
        self._last = any_array
        return shown

    def reset(self) -> Any:
        """Begin an episode in all envs, or as ``set_options`` says.

        The seed of ``seed(s)`` goes to the vector env, which derives its envs' own.
        """
        options = self._options[0]
        observation, infos = self.vector_env.reset(seed=self._seeds[0], options=options or None)
        self._reset_seeds()
        self._reset_options()
        begun = options.get("reset_mask", slice(None))
        self._returns[begun] = 0
        self._lengths[begun] = 0
        self._last = None
        self.reset_infos = self._split(infos)
        return self._batch(observation)

    def step_async(self, actions: Array) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        observation, reward, terminated, truncated, infos = self.vector_env.step(self._actions)
        self.newest_infos = infos
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        rows = self._split(infos)
        if done.any():
            self._end_episodes(rows, done, truncated & ~terminated)
        return self._batch(observation), np.asarray(reward, np.float32), done, rows

    def _split(self, infos: dict[str, Any]) -> list[dict[str, Any]]:
        """One fresh dict an env; loops over those rows only that a mask ``_key`` names.

        An array without a mask, as some vector envs give, is about all rows.
        """
        rows: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        everyone = np.ones(self.num_envs, bool)
        for key, values in infos.items():
            whole = isinstance(values, np.ndarray) and len(np.shape(values)) > 0 and len(values) == self.num_envs
            mask = infos.get(f"_{key}", everyone if whole else None)
            if not key.startswith("_") and mask is not None and not isinstance(values, dict):
                for i in np.flatnonzero(mask):
                    value = values[i]
                    rows[i][key] = value.item() if isinstance(value, np.generic) else value
        return rows

    def _end_episodes(self, rows: list[dict[str, Any]], done: Array, cut: Array) -> None:
        seconds = round(time.monotonic() - self._start, 6)
        for i in np.flatnonzero(done):
            row = rows[i]
            if "final_obs" not in row:
                raise UsageError(f"{self.vector_env} ends an episode without infos['final_obs'], its last observation")
            row["terminal_observation"] = self._show(row.pop("final_obs"))
            row["TimeLimit.truncated"] = bool(cut[i])
            if row.pop("final_obs_is_previous", False):
                row["terminal_observation_is_previous"] = True
            row["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": seconds}
        self._returns[done] = 0
        self._lengths[done] = 0

    def state_dict(self) -> dict[str, Any]:
        """State of the env and of the running episodes' statistics; not the last observation, which the agent keeps.

        Raises:
            UsageError: the env has no exact state.
        """
        if not self.exact_state:
            raise UsageError(f"{self.vector_env} cannot give its exact state; a run on it cannot be continued exactly")
        # "world": the key in checkpoints that are already written
        return {"world": self.vector_env.state(), "returns": self._returns.copy(), "lengths": self._lengths.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict()`` of an adapter of an equal env."""
        self.vector_env.set_state(state["world"])
        self._returns = np.array(state["returns"], np.float64)
        self._lengths = np.array(state["lengths"], np.int64)
        self._last = None

    # attributes and methods, which all envs of a vector env share -------------------------------------------------

    def _count(self, indices: int | Iterable[int] | None) -> int:
        return len(list(self._get_indices(indices)))

    def get_attr(self, attr_name: str, indices: int | Iterable[int] | None = None) -> list[Any]:
        """The vector env's attribute, once an env."""
        return [getattr(self.vector_env, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: int | Iterable[int] | None = None) -> None:
        """Set the vector env's attribute; it is shared, so ``indices`` must be None."""
        if indices is not None:
            raise UsageError(
                f"set_attr('{attr_name}', indices={indices!r}): envs of a vector env share attributes; leave indices"
            )
        setattr(self.vector_env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: int | Iterable[int] | None = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call the vector env's method once; its result, once an env."""
        return [getattr(self.vector_env, method_name)(*method_args, **method_kwargs)] * self._count(indices)

    def env_is_wrapped(self, wrapper_class: type, indices: int | Iterable[int] | None = None) -> list[bool]:
        """True for SB3's monitors, whose statistics this adapter keeps."""
        return [issubclass(wrapper_class, (Monitor, VecMonitor))] * self._count(indices)

    def get_images(self) -> Sequence[Array | None]:
        """Rendered frames, (H, W, 3) each; None where the env was made without a render mode."""
        return self.vector_env.render() or [None] * self.num_envs

    def close(self) -> None:
        self.vector_env.close()


class ConvertedVecEnv(VecEnvWrapper):
    """Any ``VecEnv`` of stable-baselines3 with observations that agents read, terminal ones among them.

    Args:
        venv: gives observations that ``envs.wrappers.observations`` converts.

    Raises:
        UsageError: an observation that no network here reads.
    """

    def __init__(self, venv: VecEnv):
        self.conversion = Conversion(venv.observation_space, frames=stacked_frames(venv))
        self.frames = self.conversion.frames
        super().__init__(venv, _shown(self.conversion.space))
        say_once(f"{venv}: {'; '.join(self.conversion.about)}")

    def reset(self) -> Any:
        """Begin episodes."""
        return _shown_values(self.conversion.batch(self.venv.reset()))

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        """Results of a step."""
        observation, reward, done, infos = self.venv.step_wait()
        for i in np.flatnonzero(done):
            if "terminal_observation" in infos[i]:
                final = self.conversion.single(infos[i]["terminal_observation"])
                infos[i] = {**infos[i], "terminal_observation": _shown_values(final)}
        return _shown_values(self.conversion.batch(observation)), reward, done, infos


def _shown(space: Any) -> Space:
    """A converted space, images (C, H, W)."""
    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _shown(box) for key, box in space.spaces.items()})
    return channels_first(space) if is_image(space) else space


def _shown_values(observation: Any) -> Any:
    """Converted observations, images (..., C, H, W): of all arrays, images alone are bytes."""
    if isinstance(observation, dict):
        return {key: _shown_values(value) for key, value in observation.items()}
    return to_channels_first(observation) if observation.dtype == np.uint8 else observation


def as_agents_take(env: VecEnv) -> VecEnv:
    """``env``, wrapped where agents cannot read its observations as they are.

    Raises:
        UsageError: an observation that no network here reads, or normalised images.
    """
    inner: Any = env
    while isinstance(inner, VecEnvWrapper):
        if isinstance(inner, VecNormalize) and any(map(is_image, keyed_space(inner.venv.observation_space).values())):
            _check_normalised(inner)
        inner = inner.venv
    boxes = list(keyed_space(env.observation_space).spaces.values())
    if isinstance(inner, Sb3VecEnv) or all(_is_readable(box) for box in boxes):
        return env
    turned = [box for box in boxes if is_image(box) and not is_image_space_channels_first(box)]
    if all(_is_readable(box) or box in turned for box in boxes) and len(turned) == sum(map(is_image, boxes)):
        return VecTransposeImage(env)
    return ConvertedVecEnv(env)


def _is_readable(box: Space) -> bool:
    """True for images (C, H, W) and for vectors of float32."""
    if is_image(box):
        return is_image_space_channels_first(box)
    return isinstance(box, spaces.Box) and box.dtype == np.float32 and len(box.shape) == 1


def _check_normalised(env: VecNormalize) -> None:
    """UsageError where images are normalised to floats."""
    images = [key for key, box in keyed_space(env.venv.observation_space).spaces.items() if is_image(box)]
    if env.norm_obs and (env.norm_obs_keys is None or set(images) & set(env.norm_obs_keys)):
        raise UsageError(
            "VecNormalize turns images into floats, and networks here scale bytes themselves: give it norm_obs=False, "
            "or norm_obs_keys without the image"
        )


_SAID: set[str] = set()


def say_once(line: str) -> None:
    """Print a line the first time it is said in this process."""
    if line not in _SAID:
        _SAID.add(line)
        print(line)
