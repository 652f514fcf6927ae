"""Rooms: an agent walks to the object of a named colour, observed by a camera whose pose is given.

Each level is a room with a red, yellow, green or blue goal and one or two distractors of the other hues
(``envs.rooms.scenes``). Actions: a step of 0.45 m as the camera sees it, 0 left, 1 right, 2 away, 3 near; the agent
faces where it walked, and stays within 1.9 m of the middle along each axis. Reward: 1 for touching the goal, -0.75 for
touching another object; either ends the episode. So whoever walks to any one of two objects gets 0.125. Observation:
``image`` uint8 (64, 64, 3), ``pose`` float32 (7,) of the camera (x, y, z, cos yaw, sin yaw, cos pitch, sin pitch),
``goal`` float32 (6,) one-hot over ``HUES``.

Cameras: *fixed* stands on one side of the room, always the same. *moving* wanders along a circle around the room, up to
15 degrees a step, so that one place has another image at every moment. Both show the agent from outside, a white body
with a black nose that points ahead. *first_person* is the agent's own view, with the agent's pose: it turns with each
step but the one ahead.

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
from envs.registry import UsageError, check_int, did_you_mean
from envs.rooms.raycast import HALF, Palettes, Scenes, palettes, render
from envs.rooms.scenes import HUES, SceneConfig, apart, draw_scenes, poses_of
from envs.spaces import Array
from envs.vector_env import BatchedEnv, SingleEnv

SIZE, FOV = 64, 66.0
CAMERAS = ("fixed", "moving", "first_person")
MOVES = np.array([np.pi / 2, -np.pi / 2, 0, np.pi])
"""Radians from where the camera looks: left, right, away, near."""
STRIDE, BODY, MARGIN = 0.45, 0.28, 0.1
"""Metres: a step, the agent's radius, and the gap that counts as touching."""
WRONG = -0.75
"""Reward of touching another object than the goal."""
CLEAR = 0.5
"""Metres: the agent begins at least this far from touching an object."""
FENCE = 1.9
"""Metres: the agent's |x| and |y| stay below, inside the view of every outer camera."""
RING, EYE, PITCH = 2.9, 2.9, -0.86
"""Metres from the middle, metres above the floor, radians: outer cameras."""
VIEW_EYE, VIEW_PITCH = 0.6, -0.15
SWING = np.radians(15)
OBJECTS = 3
"""Slots: the most objects of a room."""
CONFIG = SceneConfig(radius=(0.35, 0.48), spread=1.5, gap=0.9, named=True, hues=(0, 1, 2, 4))
"""Room enough between two objects for the agent to pass."""
_GOAL, _HEADING, _CAMERA = 1000, 1001, 1002  # tags beyond those of the scene's draws
_SWING, _VIEWS = 0, 1


class RoomsVectorEnv(BatchedEnv):
    """``num_envs`` rooms, SAME_STEP with true final frames.

    Args:
        num_envs: N.
        camera: fixed, moving or first_person.
        distractors: objects beside the goal, 1 or 2.
        combinations: (shape, hue) pairs of the objects: "train", "heldout" (a third of all) or "all".
        seed: of a ``reset()`` that names none itself, and of the moving camera.
        num_levels: levels are drawn from [start_level, start_level + num_levels).
        start_level: first level.
        max_episode_steps: steps after which an episode is truncated; the far corner is 17 steps away.
        render_mode: "rgb_array" lets ``render()`` return the frames.

    Raises:
        UsageError: an unknown name or a value out of range.
    """

    name = "rooms"
    variants = ROOMS_VARIANTS
    coverage_factors = {("agent",): ("cells", "cells")}
    state_names = ("agent", "heading", "angle")

    def __init__(
        self,
        num_envs: int = 1,
        *,
        camera: str = "fixed",
        distractors: int = 1,
        combinations: str = "train",
        seed: int = 0,
        num_levels: int = 200,
        start_level: int = 0,
        max_episode_steps: int | None = 30,
        render_mode: str | None = None,
    ):
        if camera not in CAMERAS:
            raise UsageError(
                f"rooms: unknown camera '{camera}'{did_you_mean(camera, CAMERAS)} Known: {', '.join(CAMERAS)}"
            )
        objects = 1 + check_int(self.name, "distractors", distractors, 1, OBJECTS - 1)
        self.camera = camera
        self.config = replace(CONFIG, least=objects, most=objects, combinations=combinations)
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
            len(MOVES),
            seed=seed,
            num_levels=num_levels,
            start_level=start_level,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
        n = self.num_envs
        self.agent = np.zeros((n, 2))
        """x and y, metres."""
        self.heading = np.zeros(n)
        """Radians from the x axis to the y axis."""
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
        self.agent[rows] = apart(levels, 98, objects, self._reach(rows) + CLEAR, FENCE - 0.3)
        self.heading[rows] = 2 * np.pi * uniform(self.level_bits(rows, _HEADING))
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
        self.scene.yaw[rows, OBJECTS + 1] = self.heading[rows]

    # a step -------------------------------------------------------------------------------------------------------

    def _advance(self, actions: Array) -> tuple[Array, Array, Array]:
        self.heading[:] = (self._gaze(self.rows) + MOVES[actions]) % (2 * np.pi)
        self.agent[:] = self._ahead(self.heading)
        if self.camera == "moving":
            swing = below(self.step_bits(self.rows, _SWING), 3) - 1
            self.angle[:] = (self.angle + SWING * swing) % (2 * np.pi)
        self._place_agent(self.rows)
        touched = self._gaps(self.agent) < self._reach(self.rows)
        won = touched[self.rows, self.goal]
        reward = np.where(won, 1.0, WRONG * touched.any(axis=1))
        return reward, touched.any(axis=1), np.zeros(self.num_envs, bool)

    def _gaze(self, rows: Array) -> Array:
        """Radians (n,) from the x axis to where the camera looks."""
        return self.heading[rows] if self.camera == "first_person" else self.angle[rows] + np.pi

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
            return poses_of(x, y, VIEW_EYE, self.heading[rows], VIEW_PITCH)
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
        """The agent's x, y / 1.9; cos and sin of the camera's yaw; 5 numbers an object, the goal first.

        Object: 1 where there is one; its centre from the agent, away from the camera and to its left, / 1.9; the
        distance at which it is touched; 1 for the goal.
        """
        present = self.scene.shape[rows, :OBJECTS] > 0
        away = self.scene.place[rows, :OBJECTS].astype(np.float64) - self.agent[rows][:, None]
        ahead = _direction(self._gaze(rows))[:, None]
        along, left = (away * ahead).sum(axis=2), ahead[..., 0] * away[..., 1] - ahead[..., 1] * away[..., 0]
        is_goal = np.arange(OBJECTS) == self.goal[rows, None]
        numbers = np.stack([np.ones_like(along), along / FENCE, left / FENCE, self._reach(rows), is_goal], axis=2)
        numbers = np.where(present[..., None], numbers, 0)
        order = np.argsort(~is_goal, axis=1, kind="stable")
        numbers = np.take_along_axis(numbers, order[..., None], axis=1).reshape(len(rows), -1)
        return np.concatenate([self.agent[rows] / FENCE, ahead[:, 0], numbers], axis=1).astype(np.float32)

    def scripted(self) -> Array:
        """The move that ends nearest to the goal, others repelling."""
        after = self._ahead(self._gaze(self.rows)[:, None] + MOVES)
        gap = np.linalg.norm(after[:, :, None] - self.scene.place[:, None, :OBJECTS], axis=3)
        spare = (
            np.where(np.arange(OBJECTS) == self.goal[:, None], 9.0, 1.0)[:, None] * gap
            - self._reach(self.rows)[:, None]
        )
        push = np.exp(-spare.clip(min=-1) / 0.15).sum(axis=2)
        best: Array = (gap[self.rows, :, self.goal] + 0.3 * push).argmin(axis=1)
        return best


def _direction(heading: Array) -> Array:
    """Unit vectors (..., 2)."""
    return np.stack([np.cos(heading), np.sin(heading)], axis=-1)


def _with_agent(scene: Scenes, shown: bool) -> Scenes:
    """Fill up to ``OBJECTS`` slots; add the agent's body, a white cylinder, and its nose, a black box, if shown."""
    n, empty = len(scene), OBJECTS - scene.shape.shape[1]
    cylinder_and_box = np.array([2, 3]) * shown
    added: dict[str, Any] = {
        "shape": np.broadcast_to(np.append(np.zeros(empty, np.int64), cylinder_and_box), (n, empty + 2)),
        "place": np.zeros((n, empty + 2, 2), np.float32),
        "radius": np.broadcast_to(np.array([1] * empty + [BODY, 0.17], np.float32), (n, empty + 2)),
        "height": np.broadcast_to(np.array([1] * empty + [0.5, 0.6], np.float32), (n, empty + 2)),
        "yaw": np.zeros((n, empty + 2), np.float32),
        "hue": np.zeros((n, empty + 2), np.int64),
        "colour": np.broadcast_to(
            np.array([[1, 1, 1]] * (empty + 1) + [[0.05, 0.05, 0.05]], np.float32), (n, empty + 2, 3)
        ),
    }
    values = {field.name: getattr(scene, field.name) for field in fields(Scenes)}
    return Scenes(**{name: np.concatenate([v, added[name]], 1) if name in added else v for name, v in values.items()})


class RoomsEnv(SingleEnv):
    """One room for ``gymnasium.make``."""

    vector_class = RoomsVectorEnv
