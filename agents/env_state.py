"""Exact state of a stack of wrappers: the one place that asks whether an environment can be continued exactly.

A ``VecEnv`` of stable-baselines3 forwards what it lacks to the one it wraps, so each layer is asked for what its own
class has. Known are the wrappers of stable-baselines3 and of this folder. Another one can be continued where its class
has ``state_dict`` and ``load_state_dict``, which then stand for all that it wraps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)

from envs.wrappers.sb3 import ConvertedVecEnv

STATELESS = (VecTransposeImage, VecCheckNan, VecExtractDictObs, VecVideoRecorder, ConvertedVecEnv)
"""Wrappers that carry nothing from step to step which decides what follows."""
MOMENTS = ("mean", "var", "count")
State = dict[str, Any]


class EnvState:
    """State of an environment and of all wrappers around it, as a component of a checkpoint.

    Attributes:
        inexact: the layer that cannot save its state, in words; "" where all can.
        saves: False where there is nothing to save.

    Args:
        env: the outermost layer.
    """

    def __init__(self, env: VecEnv):
        self.wrappers, self.base = layers(env)
        unknown = [wrapper for wrapper in self.wrappers if not isinstance(wrapper, (*STATELESS, *STATEFUL))]
        if unknown:
            self.inexact = type(unknown[0]).__name__
        else:
            inner = getattr(self.base, "vector_env", self.base)
            self.inexact = "" if _saves_itself(self.base) else getattr(inner, "name", "") or type(inner).__name__
        self.stateful = [wrapper for wrapper in self.wrappers if isinstance(wrapper, tuple(STATEFUL))]
        self.saves = not self.inexact or bool(self.stateful)

    @property
    def exact(self) -> bool:
        """True where what follows ``load_state_dict`` is what would have followed."""
        return not self.inexact

    def state_dict(self) -> State:
        """State of the base, where all is exact, and of the wrappers, by their place from outside."""
        state: State = {} if self.inexact else self.base.state_dict()  # type: ignore[attr-defined]
        if self.stateful:
            state = {**state, "wrappers": {str(i): _save(wrapper) for i, wrapper in enumerate(self.stateful)}}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict()`` of an equal stack.

        Raises:
            ValueError: the other stack had another number of wrappers with a state.
        """
        inner = dict(state)
        stored = inner.pop("wrappers", {})
        if len(stored) != len(self.stateful):
            raise ValueError(f"wrappers with a state: {len(stored)} there, {len(self.stateful)} here")
        for i, wrapper in enumerate(self.stateful):
            _load(wrapper, stored[str(i)])
        if not self.inexact:
            self.base.load_state_dict(inner)  # type: ignore[attr-defined]


def layers(env: VecEnv) -> tuple[list[VecEnvWrapper], VecEnv]:
    """Wrappers from the outermost in, and the first env that saves all below it, or wraps none."""
    wrappers = []
    while isinstance(env, VecEnvWrapper) and not _has_state_dict(env):
        wrappers.append(env)
        env = env.venv
    return wrappers, env


def _has_state_dict(env: Any) -> bool:
    return hasattr(type(env), "state_dict") and hasattr(type(env), "load_state_dict")


def _saves_itself(base: Any) -> bool:
    return _has_state_dict(base) and bool(getattr(base, "exact_state", True))


def _save(wrapper: VecEnvWrapper) -> State:
    for kind, (save, _) in STATEFUL.items():
        if isinstance(wrapper, kind):
            state: State = save(wrapper)
            return state
    raise TypeError(type(wrapper))


def _load(wrapper: VecEnvWrapper, state: Mapping[str, Any]) -> None:
    for kind, (_, load) in STATEFUL.items():
        if isinstance(wrapper, kind):
            load(wrapper, state)


def _moments(running: RunningMeanStd) -> State:
    return {name: np.array(getattr(running, name), np.float64) for name in MOMENTS}


def _set_moments(running: RunningMeanStd, state: Mapping[str, Any]) -> None:
    for name in MOMENTS:
        before = getattr(running, name)
        setattr(running, name, np.array(state[name], np.float64) if np.ndim(before) else np.float64(state[name]))


def _observation_moments(env: VecNormalize) -> dict[str, RunningMeanStd]:
    if not env.norm_obs:
        return {}
    return dict(env.obs_rms) if isinstance(env.obs_rms, dict) else {"": env.obs_rms}


def _save_normalize(env: Any) -> State:
    moments = {key: _moments(running) for key, running in _observation_moments(env).items()}
    return {"returns": env.returns.copy(), "reward": _moments(env.ret_rms), "observation": moments}


def _load_normalize(env: Any, state: Mapping[str, Any]) -> None:
    env.returns = np.array(state["returns"], np.float64)
    _set_moments(env.ret_rms, state["reward"])
    for key, running in _observation_moments(env).items():
        _set_moments(running, state["observation"][key])


def _stacks(env: Any) -> dict[str, Any]:
    inner = env.stacked_obs
    return getattr(inner, "sub_stacked_observations", None) or {"": inner}


def _save_frames(env: Any) -> State:
    return {key: stack.stacked_obs.copy() for key, stack in _stacks(env).items()}


def _load_frames(env: Any, state: Mapping[str, Any]) -> None:
    for key, stack in _stacks(env).items():
        stack.stacked_obs[...] = state[key]


def _save_monitor(env: Any) -> State:
    return {
        "returns": env.episode_returns.copy(),
        "lengths": env.episode_lengths.copy(),
        "count": env.episode_count,
    }


def _load_monitor(env: Any, state: Mapping[str, Any]) -> None:
    env.episode_returns = np.array(state["returns"], np.float32)
    env.episode_lengths = np.array(state["lengths"], np.int32)
    env.episode_count = int(state["count"])


STATEFUL: dict[type[VecEnvWrapper], tuple[Any, Any]] = {
    VecNormalize: (_save_normalize, _load_normalize),
    VecFrameStack: (_save_frames, _load_frames),
    VecMonitor: (_save_monitor, _load_monitor),
}
"""Wrappers that carry something, and how it is saved and loaded."""
