"""Any Gymnasium environment by its id or its place, as a vector env of this folder's contract.

    World("gymnasium", {"id": "CartPole-v1"}).make(num_envs=8, seed=0)
    World("gymnasium", {"id": "my_envs:Maze", "size": 9}).make(num_envs=8, seed=0)

``step_in`` says where single envs are stepped: "sync", one after the other in this process; "async", each in a process
of its own (``envs.wrappers.workers``). "vector" takes the id's own vector env; "auto" does so where it is all there is,
else "sync". Env i is seeded with seed + i, so it does not depend on how many there are. Observations become those that
agents read (``envs.wrappers.observations``). There is no exact state: a run on one is continued from its start.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from envs.named_levels import ResetRequest
from envs.registry import UsageError, check_int, did_you_mean
from envs.wrappers.faults import TIMEOUT, Alarm, SingleEnvWatch, place_of
from envs.wrappers.foreign import SAME_STEP_CURE, ForeignVectorEnv
from envs.wrappers.observations import stacked_frames

STEP_IN = ("auto", "sync", "async", "vector")
MakeEnv = Callable[[], gym.Env[Any, Any]]


class GymnasiumVectorEnv(ForeignVectorEnv):
    """``num_envs`` envs of a Gymnasium id.

    Args:
        num_envs: number of envs.
        id: of ``gymnasium.make``, also as "module:id", which imports the module first; or "package.module:Class", a
            ``gymnasium.Env`` or a ``VectorEnv``.
        seed: of a ``reset()`` that names none itself.
        render_mode: "rgb_array" lets ``render()`` return the frames.
        image_channels: where images have their channels (``observations.CHANNELS``).
        stacked: frames that the env stacks in the channels; None: what its wrappers say.
        episode_limit: steps after which an episode is truncated, beside any limit of its own; None: none.
        step_in: one of ``STEP_IN``.
        step_timeout: seconds that an env may take for a step, or a reset; 0: no limit.
        options: keyword arguments of ``gymnasium.make``, or of the class.

    Raises:
        UsageError: an unknown id, options it does not take, or spaces that no network here reads.
    """

    exact_state = False
    names_levels = False

    def __init__(
        self,
        num_envs: int = 1,
        *,
        id: str = "CartPole-v1",
        seed: int = 0,
        render_mode: str | None = None,
        image_channels: str = "auto",
        stacked: int | None = None,
        episode_limit: int | None = None,
        step_in: str = "auto",
        step_timeout: float = TIMEOUT,
        **options: Any,
    ):
        count = check_int("gymnasium", "num_envs", num_envs, 1, 2**16)
        name = f"gymnasium '{id}'"
        if step_in not in STEP_IN:
            raise UsageError(f"{name}: step_in='{step_in}' is not one of {', '.join(STEP_IN)}")
        if episode_limit is not None:
            check_int(name, "episode_limit", episode_limit, 1, 2**31 - 1)
        if render_mode is not None:
            options = {**options, "render_mode": render_mode}
        maker = EnvMaker(id, options, episode_limit)
        if step_in == "auto":
            step_in = "vector" if maker.only_vector else "sync"
        alarm = Alarm(step_timeout, name)
        env, by_wrappers = make_vector_env(maker, count, name, step_in, alarm)
        super().__init__(env, name, image_channels, by_wrappers if stacked is None else stacked, timeout=0)
        if step_in != "async":  # workers are waited for, not interrupted
            self.alarm = alarm  # the one that its single envs restart
        self.id, self.seed = id, int(seed)
        self.num_actions = int(getattr(env.single_action_space, "n", 0))
        self.limit = episode_limit or maker.own_limit
        if self.limit is None:
            self.understood += ("episodes end by themselves alone: --episode-limit N ends them after N steps",)
        self._started = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in all envs; the first reset that names no seed takes the constructor's."""
        if "levels" in (options or {}):
            ResetRequest.of("gymnasium", self.num_envs, options, self.names_levels)
        if seed is None and not self._started:
            seed = self.seed
        self._started = True
        return super().reset(seed=seed, options=options)


def make_vector_env(
    maker: EnvMaker, count: int, name: str, step_in: str, alarm: Alarm
) -> tuple[VectorEnv[Any, Any, Any], int | None]:
    """The vector env, and the frames that wrappers of its single envs stack; None where none says.

    Raises:
        UsageError: the environment's own code refuses its options, or fails otherwise.
    """
    from envs.wrappers.workers import WorkerVectorEnv

    def watched(index: int) -> MakeEnv:
        return lambda: SingleEnvWatch(maker(), name, index, alarm)

    try:
        if step_in == "async":  # which keeps its own time
            one = maker()
            frames = stacked_frames(one)
            one.close()
            return WorkerVectorEnv(maker, count, name, alarm.seconds), frames
        with alarm.limit("its making"):
            if step_in == "vector":
                return maker.vector(count), None
            makers = [watched(index) for index in range(count)]
            env = SyncVectorEnv(makers, copy=True, autoreset_mode=AutoresetMode.SAME_STEP)
            return env, stacked_frames(env.envs[0])
    except UsageError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"{name}: no env with options {maker.options}: {reason} ({place_of(error)}); check both with gymnasium.make"
        ) from error


class EnvMaker:
    """Makes single envs of an id or a class, here or in another process.

    Args:
        id: as ``GymnasiumVectorEnv`` takes it.
        options: keyword arguments.
        limit: steps of an episode at most; None: no limit beside the env's own.
    """

    def __init__(self, id: str, options: dict[str, Any], limit: int | None = None):
        self.id, self.options, self.limit = id, options, limit
        self.place = self._place()
        self.spec = None if self.place is not None else self._spec()

    def _place(self) -> Any:
        """The class of "package.module:Class"; None for a Gymnasium id."""
        module_name, colon, attribute = self.id.partition(":")
        if not colon:
            return None
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise UsageError(
                f"env '{self.id}': no module '{error.name}'; check the spelling, or add its folder to PYTHONPATH"
            ) from None
        return getattr(module, attribute, None)

    def _spec(self) -> gym.envs.registration.EnvSpec:
        try:
            return gym.spec(self.id.rpartition(":")[2])  # of a module that is imported by now
        except (gym.error.Error, ImportError) as error:
            reason = str(error).strip().splitlines()[0] + did_you_mean(self.id, gym.registry)
            raise UsageError(f"env '{self.id}': {reason}; or name a class: package.module:Class") from None

    @property
    def only_vector(self) -> bool:
        """True where there is a vector env alone."""
        if self.spec is not None:
            return self.spec.entry_point is None and self.spec.vector_entry_point is not None
        return isinstance(self.place, type) and issubclass(self.place, VectorEnv)

    @property
    def own_limit(self) -> int | None:
        """Steps of an episode by the id's own limit."""
        given = self.options.get("max_episode_steps")
        return given or (self.spec.max_episode_steps if self.spec is not None else None)

    def __call__(self) -> gym.Env[Any, Any]:
        """One env."""
        if self.place is None:
            assert self.spec is not None
            # None is what ``gymnasium.make`` gives every env that does not say otherwise
            env = gym.make(self.spec, **{"render_mode": None, **self.options})
        else:
            env = self.place(**self.options)
            if not isinstance(env, gym.Env):
                raise UsageError(f"env '{self.id}' is a {type(env).__name__}, not a gymnasium.Env; name a class of one")
        return env if self.limit is None else gym.wrappers.TimeLimit(env, self.limit)

    def vector(self, count: int) -> VectorEnv[Any, Any, Any]:
        """The id's own vector env; SAME_STEP where it can."""
        if self.limit is not None:
            raise UsageError(
                f"env '{self.id}' is a vector env, whose episodes --episode-limit does not end; leave it out"
            )
        if self.place is not None:
            if not self.only_vector:
                raise UsageError(f"env '{self.id}' is no vector env; leave --step-in at auto")
            vector: VectorEnv[Any, Any, Any] = self.place(num_envs=count, **self.options)
            return vector
        assert self.spec is not None
        if self.spec.vector_entry_point is None:
            raise UsageError(f"env '{self.id}' has no vector env of its own; leave --step-in at auto")
        mode = gym.VectorizeMode.VECTOR_ENTRY_POINT
        env: VectorEnv[Any, Any, Any] = gym.make_vec(self.spec, count, mode, **self.options)
        if env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP:
            return env
        env.close()
        try:
            return gym.make_vec(self.spec, count, mode, **self.options, autoreset_mode=AutoresetMode.SAME_STEP)
        except TypeError:
            cure = "; --step-in sync steps its single envs" if self.spec.entry_point else f": {SAME_STEP_CURE}"
            raise UsageError(
                f"env '{self.id}': its vector env begins a new episode in the step after an end, and "
                f"AutoresetMode.SAME_STEP is needed{cure}"
            ) from None
