"""A vector env from elsewhere, by this folder's contract: its observations converted, its faults named.

Terminal observations go through the same conversion as all others. Infos of ends get the masks that Gymnasium's own
vector envs give and others leave out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from envs.registry import UsageError
from envs.spaces import Array
from envs.wrappers.faults import TIMEOUT, Alarm, EnvFault, raised
from envs.wrappers.forwarding import Forwarding
from envs.wrappers.observations import Conversion, refuse_reserved, stacked_frames

SAME_STEP_CURE = (
    "make it with gymnasium.make_vec(ID, N, vectorization_mode='sync', "
    "vector_kwargs={'autoreset_mode': gymnasium.vector.AutoresetMode.SAME_STEP})"
)


class ForeignVectorEnv(Forwarding, VectorWrapper[Any, Any, Any]):
    """``env`` with observations that agents read; rewards, ends, actions, infos and state are its own.

    Attributes:
        understood: a line an entry of the observation: what it is taken for.
        frames: frames stacked in the channels of its images.

    Args:
        env: a SAME_STEP vector env.
        name: of the environment, in messages.
        channels: where images have their channels (``observations.CHANNELS``).
        frames: frames that the env stacks in the channels; None: what its wrappers say.
        timeout: seconds that a step may take; 0: no limit.

    Raises:
        UsageError: another autoreset mode, or an observation that no network reads.
    """

    env: Any

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        name: str = "",
        channels: str = "auto",
        frames: int | None = None,
        timeout: float = TIMEOUT,
    ):
        super().__init__(env)
        self.name = name or type(env).__name__
        check_autoreset(env, self.name)
        try:
            count = stacked_frames(env) if frames is None else frames
            self.conversion = Conversion(env.single_observation_space, channels, count)
            refuse_reserved(self.conversion.space)
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from None
        self.frames, self.understood = self.conversion.frames, self.conversion.about
        self.single_observation_space = self.conversion.space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.alarm = Alarm(timeout, self.name)
        self.steps_taken = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin episodes."""
        with self._named_faults("a reset"):
            observation, infos = self.env.reset(seed=seed, options=options)
            return self._convert(observation, "a reset"), infos

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """One step of all envs; rewards float32."""
        self.steps_taken += 1
        where = f"step {self.steps_taken:,}"
        with self._named_faults(where):
            observation, reward, terminated, truncated, infos = self.env.step(actions)
            ended = np.asarray(terminated, bool) | np.asarray(truncated, bool)
            if ended.any():
                infos = {**infos, **self._finals(infos, ended, where)}
            return self._convert(observation, where), np.asarray(reward, np.float32), terminated, truncated, infos

    @contextmanager
    def _named_faults(self, where: str) -> Iterator[None]:
        """Say what the environment did where its own code, or the conversion of what it gave, fails or hangs."""
        with self.alarm.limit(where):
            try:
                yield
            except UsageError:
                raise
            except Exception as error:
                raise raised(self.name, error, where) from error

    def _convert(self, observation: Any, where: str, single: bool = False) -> Any:
        if not self.conversion.changes:
            return observation
        try:
            return (self.conversion.single if single else self.conversion.batch)(observation)
        except UsageError as error:
            raise EnvFault(f"{self.name}, {where}: {error}") from None

    def _finals(self, infos: dict[str, Any], ended: Array, where: str) -> dict[str, Array]:
        """Last observations (N,) of ended episodes, converted, and their mask."""
        if "final_obs" not in infos:
            raise EnvFault(
                f"{self.name}, {where}: episodes ended without their last observation in infos['final_obs'], which "
                "AutoresetMode.SAME_STEP asks for; add it to the environment's infos"
            )
        final_obs = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(ended):
            final_obs[i] = self._convert(self._row(infos["final_obs"], i), where, single=True)
        return {"final_obs": final_obs, "_final_obs": ended}

    def _row(self, finals: Any, index: int) -> Any:
        """One env's last observation, out of an array of them, or of a dict of arrays."""
        return {key: value[index] for key, value in finals.items()} if isinstance(finals, dict) else finals[index]


def check_autoreset(env: VectorEnv[Any, Any, Any], name: str) -> None:
    """UsageError for a vector env whose ended episodes do not begin anew in the same step."""
    mode = env.metadata.get("autoreset_mode")
    if mode != AutoresetMode.SAME_STEP:
        raise UsageError(f"{name}: autoreset_mode is {mode}; AutoresetMode.SAME_STEP is needed: {SAME_STEP_CURE}")


def conforming(env: VectorEnv[Any, Any, Any], guarded: bool = False) -> VectorEnv[Any, Any, Any]:
    """``env`` itself where agents read its observations, else as a ``ForeignVectorEnv``.

    Args:
        guarded: wrap every environment from outside this toolkit, so that its faults are named.
    """
    if isinstance(env, ForeignVectorEnv):
        return env
    foreign = guarded and type(env).__module__.partition(".")[0] != "envs"
    return ForeignVectorEnv(env) if foreign or Conversion(env.single_observation_space).changes else env
