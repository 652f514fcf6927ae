"""DeepMind Control (Tassa et al. 2018) from pixels, its colours and backgrounds changed (extra ``dmc``).

Tasks whose camera stands still, so that nothing is lost when another background is put behind the bodies. The actions
are real numbers in [-1, 1]; a step repeats an action ``frameskip`` times and adds the rewards up. An episode is 1,000
steps of the physics and never terminates. A level is a start, drawn as dm_control draws it; with ``colours="level"`` or
``background="level"`` it also draws what is shown, and never what happens.

One simulator steps all envs in turn, by their states. MuJoCo renders by EGL, with a GPU or without; set MUJOCO_GL to
osmesa where there is no EGL. Shadows and multisampling are off: without a GPU they take nine tenths of the time.
"""

from __future__ import annotations

import os
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from envs.action_codes import ActionCodes
from envs.counter_rng import counter_hash, mix, uniform
from envs.registry import UsageError, check_int
from envs.spaces import Array
from envs.vector_env import BatchedEnv, SingleEnv

os.environ.setdefault("MUJOCO_GL", "egl")
try:
    import mujoco
    from dm_control import suite
    from dm_control.mujoco import engine
except (ImportError, AttributeError, RuntimeError) as error:
    reason = str(error).splitlines()[0]
    raise UsageError(
        f"dmc needs dm-control and a way to render without a screen ({reason}); pip install -e '.[dmc]', and "
        "where there is no EGL install OSMesa and set MUJOCO_GL=osmesa"
    ) from None

SIZE, EPISODE = 64, 1000
TASKS = {"cartpole-swingup": 8, "cartpole-balance": 8, "ball_in_cup-catch": 4, "pendulum-swingup": 4}
"""Tasks and their action repeats: PlaNet's (Hafner et al. 2019); for the pendulum ours."""
DRAWN_BY = ("plain", "level")
SKY, GROUND = np.array([70.0, 110, 160]), np.array([30.0, 45, 75])
"""Colours of the plain background at the top and at the bottom, much as dm_control's."""
STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""All that decides how a simulation goes on, the solver's warm start included."""


class DmcVectorEnv(BatchedEnv):
    """``num_envs`` copies of one task, SAME_STEP with true final frames. Observations (N, 64, 64, 3) uint8.

    Args:
        num_envs: N.
        task: one of ``TASKS``.
        colours: "plain", or "level": the bodies' colours follow from the level.
        background: "plain", or "level": two colours of the level, from top to bottom.
        frameskip: steps of the physics for one action; None takes the task's.
        seed: of a ``reset()`` that names none itself.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        render_mode: "rgb_array" lets ``render()`` return the frames.

    Raises:
        UsageError: an unknown task or choice, or a value out of range.
    """

    name = "dmc"
    variants = {"colours": {"colours": "level"}, "backgrounds": {"background": "level"}}
    state_names = ("machine",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        task: str = "cartpole-swingup",
        colours: str = "plain",
        background: str = "plain",
        frameskip: int | None = None,
        seed: int = 0,
        num_levels: int = 200,
        start_level: int = 0,
        render_mode: str | None = None,
    ):
        if task not in TASKS:
            raise UsageError(f"dmc: task='{task}' is not known; give {', '.join(TASKS)}")
        for option, value in (("colours", colours), ("background", background)):
            if value not in DRAWN_BY:
                raise UsageError(f"dmc: {option}='{value}' is not known; give plain or level")
        self.frameskip = check_int("dmc", "frameskip", TASKS[task] if frameskip is None else frameskip, 1, EPISODE)
        super().__init__(
            num_envs,
            gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8),
            1,
            seed=seed,
            num_levels=num_levels,
            start_level=start_level,
            max_episode_steps=-(-EPISODE // self.frameskip),
            render_mode=render_mode,
        )
        self.colours, self.background = colours, background
        self._env = suite.load(*task.split("-"))
        spec = self._env.action_spec()
        self.single_action_space = gym.spaces.Box(  # type: ignore[assignment]
            spec.minimum.astype(np.float32), spec.maximum.astype(np.float32)
        )
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._codes, self.num_actions = ActionCodes(self.single_action_space), 0
        physics = self._env.physics
        self._substeps = round(self._env.control_timestep() / physics.timestep())
        model = physics.model
        model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
        # Without sky and floor the bodies stand before black, and any background can be put there.
        self._own_colours = model.mat_rgba.copy()
        self._own_colours[[i for i in range(model.nmat) if model.id2name(i, "material") == "grid"], 3] = 0
        self._camera = engine.Camera(physics, SIZE, SIZE, camera_id=0)
        for flag in ("SKYBOX", "SHADOW", "REFLECTION", "HAZE", "FOG"):
            self._camera.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self.machine = np.zeros((self.num_envs, mujoco.mj_stateSize(model.ptr, STATE)))

    def _checked(self, actions: Any) -> Array:
        wanted = (self.num_envs, *self._codes.shape)
        if np.shape(actions) != wanted or not np.isfinite(actions).all():
            raise UsageError(f"dmc: actions must be {wanted} finite numbers, got {np.shape(actions)}")
        return self._codes.to_env(self._codes.from_env(actions))

    def _begin(self, rows: Array) -> None:
        for i in rows:
            self._env.task.random.seed(int(self.level_bits(np.array([i]), 0)[0] % 2**32))
            self._env.reset()
            self._keep(i)

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        reward, never = np.zeros(self.num_envs), np.zeros(self.num_envs, bool)
        physics, task = self._env.physics, self._env.task
        for i, action in enumerate(actions):
            self._restore(i)
            for _ in range(min(self.frameskip, EPISODE - int(self.time[i]) * self.frameskip)):
                task.before_step(action.astype(np.float64), physics)
                physics.step(self._substeps)
                task.after_step(physics)
                reward[i] += task.get_reward(physics)
            self._keep(i)
        return reward, never, never

    def _keep(self, i: int) -> None:
        physics = self._env.physics
        mujoco.mj_getState(physics.model.ptr, physics.data.ptr, self.machine[i], STATE)

    def _restore(self, i: int) -> None:
        physics = self._env.physics
        mujoco.mj_setState(physics.model.ptr, physics.data.ptr, self.machine[i], STATE)
        physics.forward()
        mujoco.mj_setState(physics.model.ptr, physics.data.ptr, self.machine[i], STATE)  # forward moves the warm start

    def _observe(self, rows: Array) -> Array:
        frames = np.zeros((len(rows), SIZE, SIZE, 3), np.uint8)
        model = self._env.physics.model
        for position, i in enumerate(rows):
            self._restore(i)
            model.mat_rgba[:] = self._own_colours
            if self.colours == "level":
                model.mat_rgba[:, :3] = 0.2 + 0.8 * self._draws(np.array([i]), 1, model.nmat * 3).reshape(-1, 3)
            frames[position] = self._camera.render()
        model.mat_rgba[:] = self._own_colours
        return np.where(frames.any(-1, keepdims=True), frames, self._backgrounds(rows))

    def _backgrounds(self, rows: Array) -> Array:
        """Pictures behind the bodies of ``rows``, (n, 64, 1, 3) uint8."""
        top, bottom = np.broadcast_to(SKY, (len(rows), 3)), np.broadcast_to(GROUND, (len(rows), 3))
        if self.background == "level":
            top, bottom = 220 * self._draws(rows, 2, 6).reshape(-1, 2, 3).swapaxes(0, 1)
        share = np.linspace(0, 1, SIZE)[:, None]
        return (top[:, None] * (1 - share) + bottom[:, None] * share).astype(np.uint8)[:, :, None]

    def _draws(self, rows: Array, tag: int, count: int) -> Array:
        """Uniform numbers (n, count) of each row's level."""
        return uniform(mix(counter_hash(self.level[rows], tag)[:, None], np.arange(count)))

    def close(self, **kwargs: Any) -> None:
        self._env.close()


class DmcEnv(SingleEnv):
    """One env of ``DmcVectorEnv``; same options."""

    vector_class = DmcVectorEnv
