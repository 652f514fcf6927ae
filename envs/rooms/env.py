"""Rooms: an agent turns and walks to the object of a named colour, observed by a camera whose pose is given.

Each level is a room with two or three objects of different hues (``envs.rooms.scenes``) and a goal hue. Actions: 0 turn
left, 1 turn right (30 degrees), 2 walk 0.3 m, at most 2.3 m from the middle along each axis. Reward: 1 for touching the
goal, -1 for touching another object; either ends the episode. Observation: ``image`` uint8 (64, 64, 3), ``pose``
float32 (7,) of the camera (x, y, z, cos yaw, sin yaw, cos pitch, sin pitch), ``goal`` float32 (6,) one-hot over
``HUES``.

Cameras: *fixed* stands on one side of the room, always the same. *moving* wanders along a circle around the room, up to
15 degrees a step, so that one place has another image at every moment. Both show the agent from outside, a white body
with a black nose that points ahead. *first_person* is the agent's own view, with the agent's pose.

After the reaching tasks of Eslami et al. 2018 (GQN), where scene codes helped with a moving camera; rooms, actions and
rewards are our own.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import gymnasium as gym
import numpy as np

from envs.counter_rng import below, counter_hash, uniform
from envs.registration import ROOMS_VARIANTS
from envs.registry import UsageError, did_you_mean
from envs.rooms.raycast import HALF, Palettes, Scenes, palettes, render
from envs.rooms.scenes import HUES, SceneConfig, apart, draw_scenes, poses_of
from envs.spaces import Array
from envs.vector_env import BatchedEnv, SingleEnv

SIZE, FOV = 64, 80.0
CAMERAS = ("fixed", "moving", "first_person")
HEADINGS = 12
"""Directions the agent can face, 30 degrees apart."""
STRIDE, BODY, MARGIN = 0.3, 0.25, 0.1
"""Metres: a step, the agent's radius, and the gap that counts as touching."""
FENCE = 2.3
"""Metres: the agent's |x| and |y| stay below, inside the view of every outer camera."""
RING, EYE, PITCH = 3.4, 2.8, -0.72
"""Metres from the middle, metres above the floor, radians: outer cameras."""
VIEW_EYE, VIEW_PITCH = 0.6, -0.15
SWING = np.radians(15)
OBJECTS = 3
CONFIG = SceneConfig(least=2, most=OBJECTS, radius=(0.3, 0.45), spread=1.8, gap=0.9, named=True)
"""Room enough between two objects for the agent to pass."""
_GOAL, _HEADING, _CAMERA = 1000, 1001, 1002  # tags beyond those of the scene's draws
_SWING, _VIEWS = 0, 1


class RoomsVectorEnv(BatchedEnv):
    """``num_envs`` rooms, SAME_STEP with true final frames.

    Args:
        num_envs: N.
        camera: fixed, moving or first_person.
        combinations: (shape, hue) pairs of the objects: "train", "heldout" (a third of all) or "all".
        seed: of a ``reset()`` that names none itself, and of the moving camera.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: steps after which an episode is truncated; the far corner is 25 steps and turns away.
        render_mode: "rgb_array" lets ``render()`` return the frames.

    Raises:
        UsageError: an unknown name or a value out of range.
    """

    name = "rooms"
    variants = ROOMS_VARIANTS
    state_names = ("agent", "heading", "angle")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        camera: str = "fixed",
        combinations: str = "train",
        seed: int = 0,
        num_levels: int = 200,
        start_level: int = 0,
        max_episode_steps: int | None = 60,
        render_mode: str | None = None,
    ):
        if camera not in CAMERAS:
            raise UsageError(
                f"rooms: unknown camera '{camera}'{did_you_mean(camera, CAMERAS)} Known: {', '.join(CAMERAS)}"
            )
        self.camera, self.config = camera, replace(CONFIG, combinations=combinations)
        space = gym.spaces.Dict(
            {
                "image": gym.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8),
                "pose": gym.spaces.Box(-HALF, HALF, (7,), np.float32),
                "goal": gym.spaces.Box(0, 1, (len(HUES),), np.float32),
            }
        )
        super().__init__(
            num_envs,
            space,
            3,
            seed=seed,
            num_levels=num_levels,
            start_level=start_level,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
        n = self.num_envs
        self.agent = np.zeros((n, 2))
        """x and y, metres."""
        self.heading = np.zeros(n, np.int64)
        """In steps of 30 degrees from the x axis to the y axis."""
        self.angle = np.zeros(n)
        """Angle of the outer camera around the room, radians."""
        self.goal = np.zeros(n, np.int64)
        """Slot of the goal object."""
        self.scene = _with_agent(draw_scenes(np.zeros(n, np.int64), self.config), camera != "first_person")
        self.colours = palettes(self.scene)

    # episodes -----------------------------------------------------------------------------------------------------

    def _begin(self, rows: Array) -> None:
        levels = self.level[rows]
        self._furnish(rows)
        objects = self.scene.place[rows, :OBJECTS].astype(np.float64)
        self.agent[rows] = apart(levels, 98, objects, self._reach(rows) + 2 * STRIDE, FENCE - 0.3)
        self.heading[rows] = below(self.level_bits(rows, _HEADING), HEADINGS)
        self.angle[rows] = -np.pi / 2
        if self.camera == "moving":
            self.angle[rows] = 2 * np.pi * uniform(self.level_bits(rows, _CAMERA))
        self._place_agent(rows)

    def _furnish(self, rows: Array) -> None:
        """Draw room, objects and goal, which follow from the level."""
        scene = _with_agent(draw_scenes(self.level[rows], self.config), self.camera != "first_person")
        colours = palettes(scene)
        for field in fields(Scenes):
            getattr(self.scene, field.name)[rows] = getattr(scene, field.name)
        for all_colours, new_colours in zip(self.colours, colours, strict=True):
            all_colours[rows] = new_colours
        self.goal[rows] = below(counter_hash(self.level[rows], _GOAL), (scene.shape[:, :OBJECTS] > 0).sum(axis=1))

    def _reach(self, rows: Array) -> Array:
        """Distance of centres (n, OBJECTS) below which the agent touches an object; -1 for an empty slot."""
        present = self.scene.shape[rows, :OBJECTS] > 0
        return np.where(present, self.scene.radius[rows, :OBJECTS] + BODY + MARGIN, -1.0)

    def _place_agent(self, rows: Array) -> None:
        """Move the body and the nose to the agent's place."""
        ahead = _direction(self.heading[rows])
        self.scene.place[rows, OBJECTS] = self.agent[rows]
        self.scene.place[rows, OBJECTS + 1] = self.agent[rows] + BODY * ahead
        self.scene.yaw[rows, OBJECTS + 1] = self.heading[rows] * (2 * np.pi / HEADINGS)

    # a step -------------------------------------------------------------------------------------------------------

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        self.heading[:] = (self.heading + np.array([1, -1, 0])[actions]) % HEADINGS
        walks = (actions == 2)[:, None]
        self.agent[:] = np.where(walks, self._ahead(self.heading), self.agent)
        if self.camera == "moving":
            swing = below(self.step_bits(self.rows, _SWING), 3) - 1
            self.angle[:] = (self.angle + SWING * swing) % (2 * np.pi)
        self._place_agent(self.rows)
        touched = self._gaps(self.agent) < self._reach(self.rows)
        won = touched[self.rows, self.goal]
        reward = np.where(won, 1.0, -1.0 * touched.any(axis=1))
        return reward, touched.any(axis=1), np.zeros(self.num_envs, bool)

    def _ahead(self, heading: Array) -> Array:
        """Place (N, ..., 2) after a step in ``heading`` (N, ...)."""
        start = self.agent.reshape(self.num_envs, *(1,) * (heading.ndim - 1), 2)
        return np.clip(start + STRIDE * _direction(heading), -FENCE, FENCE)

    def _gaps(self, places: Array) -> Array:
        """Metres from places (N, 2) to the centres of the objects, (N, OBJECTS)."""
        return np.linalg.norm(self.scene.place[:, :OBJECTS] - places[:, None], axis=2)

    # observations -------------------------------------------------------------------------------------------------

    def poses(self, rows: Array) -> Array:
        """Pose of the camera, (n, 7) float32."""
        if self.camera == "first_person":
            x, y = self.agent[rows].T
            return poses_of(x, y, VIEW_EYE, self.heading[rows] * (2 * np.pi / HEADINGS), VIEW_PITCH)
        angle = self.angle[rows]
        return poses_of(RING * np.cos(angle), RING * np.sin(angle), EYE, angle + np.pi, PITCH)

    def views(self, count: int) -> dict[str, Array]:
        """Views of the present moment from ``count`` cameras: the policy's own, then others on the outer circle.

        Returns:
            ``image`` uint8 (N, count, 64, 64, 3) and ``pose`` float32 (N, count, 7).
        """
        if count < 1:
            raise UsageError(f"rooms: views({count}): ask for at least one")
        angle = np.empty((self.num_envs, count - 1))
        for other in range(count - 1):
            angle[:, other] = 2 * np.pi * uniform(self.step_bits(self.rows, _VIEWS + other))
        others = poses_of(RING * np.cos(angle), RING * np.sin(angle), EYE, angle + np.pi, PITCH)
        poses = np.concatenate([self.poses(self.rows)[:, None], others], 1)
        views = render(self.scene, poses, size=SIZE, fov=FOV, depth=False, masks=False, colours=self.colours)
        return {"image": views.images, "pose": poses}

    def _observe(self, rows: Array) -> dict[str, Array]:
        poses, all_rows = self.poses(rows), len(rows) == self.num_envs
        scene = self.scene if all_rows else self.scene.take(rows)
        colours = self.colours if all_rows else Palettes(*(palette[rows] for palette in self.colours))
        image = render(scene, poses[:, None], size=SIZE, fov=FOV, depth=False, masks=False, colours=colours).images
        hues = self.scene.hue[rows, self.goal[rows]]
        return {"image": image[:, 0], "pose": poses, "goal": np.eye(len(HUES), dtype=np.float32)[hues]}

    def _rebuild_derived(self) -> None:
        self._furnish(self.rows)
        self._place_agent(self.rows)

    # ground truth -------------------------------------------------------------------------------------------------

    def masks(self) -> Array:
        """Instance masks (N, 64, 64) uint8: 0 the room, 1..3 objects, 4 the agent's body, 5 its nose."""
        views = render(
            self.scene, self.poses(self.rows)[:, None], size=SIZE, fov=FOV, depth=False, colours=self.colours
        )
        assert views.masks is not None
        masks: Array = views.masks[:, 0]
        return masks

    def factors(self) -> dict[str, Array]:
        """Ground truth of the present moment.

        agent, goal_place (N, 2), objects (N, 3, 2), metres, nan for an empty slot; facing (N, 2) cos and sin; distance
        (N,) from the agent to the goal's centre; shape and hue (N, 3), -1 for an empty slot.
        """
        present = self.scene.shape[:, :OBJECTS] > 0
        places = self.scene.place[:, :OBJECTS].astype(np.float64)
        return {
            "agent": self.agent.copy(),
            "facing": _direction(self.heading),
            "goal_place": places[self.rows, self.goal],
            "objects": np.where(present[:, :, None], places, np.nan),
            "distance": self._gaps(self.agent)[self.rows, self.goal],
            "shape": np.where(present, self.scene.shape[:, :OBJECTS], -1),
            "hue": np.where(present, self.scene.hue[:, :OBJECTS], -1),
        }

    def factor_vector(self, rows: Array) -> Array:
        """The agent's x, y / 2.3; cos and sin of its heading; 5 numbers an object, the goal first.

        Object: 1 where there is one; its centre from the agent, ahead and to the left, / 2.3; the distance at which it
        is touched; 1 for the goal.
        """
        present = self.scene.shape[rows, :OBJECTS] > 0
        away = self.scene.place[rows, :OBJECTS].astype(np.float64) - self.agent[rows][:, None]
        ahead = _direction(self.heading[rows])[:, None]
        along, left = (away * ahead).sum(axis=2), ahead[..., 0] * away[..., 1] - ahead[..., 1] * away[..., 0]
        is_goal = np.arange(OBJECTS) == self.goal[rows, None]
        numbers = np.stack([np.ones_like(along), along / FENCE, left / FENCE, self._reach(rows), is_goal], axis=2)
        numbers = np.where(present[..., None], numbers, 0)
        order = np.argsort(~is_goal, axis=1, kind="stable")
        numbers = np.take_along_axis(numbers, order[..., None], axis=1).reshape(len(rows), -1)
        return np.concatenate([self.agent[rows] / FENCE, ahead[:, 0], numbers], axis=1).astype(np.float32)

    def scripted(self) -> Array:
        """Actions that face the direction whose next step is nearest to the goal, others repelling, then walk."""
        headings = np.broadcast_to(np.arange(HEADINGS), (self.num_envs, HEADINGS))
        after = self._ahead(headings)
        gap = np.linalg.norm(after[:, :, None] - self.scene.place[:, None, :OBJECTS], axis=3)
        spare = (
            np.where(np.arange(OBJECTS) == self.goal[:, None], 9.0, 1.0)[:, None] * gap
            - self._reach(self.rows)[:, None]
        )
        push = np.exp(-spare.clip(min=-1) / 0.15).sum(axis=2)
        wanted = (gap[self.rows, :, self.goal] + 0.3 * push).argmin(axis=1)
        turn = (wanted - self.heading) % HEADINGS
        return np.where(turn == 0, 2, np.where(turn <= HEADINGS // 2, 0, 1))


def _direction(heading: Array) -> Array:
    """Unit vectors (..., 2)."""
    angle = heading * (2 * np.pi / HEADINGS)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def _with_agent(scene: Scenes, shown: bool) -> Scenes:
    """Add two slots: the agent's body, a white cylinder, and its nose, a black box; empty if not ``shown``."""
    n = len(scene)
    cylinder_and_box = np.array([2, 3]) * shown
    added: dict[str, Any] = {
        "shape": np.broadcast_to(cylinder_and_box, (n, 2)),
        "place": np.zeros((n, 2, 2), np.float32),
        "radius": np.broadcast_to(np.array([BODY, 0.17], np.float32), (n, 2)),
        "height": np.broadcast_to(np.array([0.5, 0.6], np.float32), (n, 2)),
        "yaw": np.zeros((n, 2), np.float32),
        "hue": np.zeros((n, 2), np.int64),
        "colour": np.broadcast_to(np.array([[1, 1, 1], [0.05, 0.05, 0.05]], np.float32), (n, 2, 3)),
    }
    values = {field.name: getattr(scene, field.name) for field in fields(Scenes)}
    return Scenes(**{name: np.concatenate([v, added[name]], 1) if name in added else v for name, v in values.items()})


class RoomsEnv(SingleEnv):
    """One room for ``gymnasium.make``."""

    vector_class = RoomsVectorEnv
