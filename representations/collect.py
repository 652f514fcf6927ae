"""Frames for pre-training, gathered from environments by a behaviour: held random actions, or one that is given.

The random behaviour holds each action for a geometric number of steps (mean 8), then draws another; frames are 8 steps
apart. Differs from the papers, which take uniform random actions: in CoinRun these hardly leave the start. A method
that compares moments gets windows of consecutive steps instead; one that learns scenes gets views of one moment.
Frames follow from their seed alone, so they are collected again after a restart, not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from envs.registry import UsageError
from envs.rng_streams import stream_seed
from envs.spaces import keyed
from envs.steps import Obs
from representations.base import Unfit

HOLD = 8
"""Mean number of steps an action is held."""
STRIDE = 8
"""Steps between two stored frames of one environment."""
NUM_ENVS = 32
"""Environments per ``World``; many give frames of many episodes sooner."""
FIRST = "first"
"""Key of the marks of which steps of a window open an episode."""


class EnvMaker(Protocol):
    """Maker of vector environments, as ``envs.tasks.World`` is one."""

    def make(self, num_envs: int, seed: int) -> VectorEnv: ...


GroundTruth = Callable[[VectorEnv], Mapping[str, NDArray[Any]]]
"""Reads more of the present moment from an environment, (N, ...) by key: its ground truth, say."""


def collect(
    worlds: Sequence[EnvMaker],
    frames: int,
    seed: int,
    also: GroundTruth | None = None,
    window: int = 1,
    views: bool = False,
) -> Obs:
    """Frames of a random policy, equally many from each of ``worlds``.

    Args:
        worlds: makers of the environments.
        frames: in all, those of windows and views included.
        seed: of environments and actions.
        also: reads what else to store of each moment.
        window: W > 1 stores frames // W windows of W consecutive steps, and ``FIRST``.
        views: the W frames of a window are views of one moment, which the environment's ``views(W)`` gives.

    Returns:
        key -> (frames, ...), or (frames // W, W, ...); images uint8 (..., C, H, W), channels-last in memory. The order
        is that of ``worlds``.

    Raises:
        UsageError: fewer frames or windows than worlds; actions that are not Discrete.
        Unfit: an environment without ``views`` where they are asked for.
    """
    count = frames // window
    if count < len(worlds):
        raise UsageError(
            f"{frames} pre-training frames for {len(worlds)} environments"
            + (f" in windows of {window}" if window > 1 else "")
            + "; ask for at least one each"
        )
    stored = [
        _collect(world, rows, stream_seed(seed, "world", i), also, window, views)
        for i, (world, rows) in enumerate(zip(worlds, _rows_by_world(count, len(worlds)), strict=True))
    ]
    joined = {key: np.concatenate([frames[key] for frames in stored]) for key in stored[0]}
    return {key: _channels_first(torch.from_numpy(value)) for key, value in joined.items()}


def collection_steps(frames: int, window: int = 1, views: bool = False, num_worlds: int = 1) -> int:
    """Environment steps that ``collect`` takes, those of all environments counted.

    Args:
        frames, window, views: as given to ``collect``.
        num_worlds: number of environment makers; each has ``NUM_ENVS`` environments.
    """
    steps = 0
    for rows in _rows_by_world(frames // window, num_worlds):
        rounds = -(-rows // NUM_ENVS)
        steps += max(rounds - 1, 0) * STRIDE + (0 if views else rounds * (window - 1))
    return steps * NUM_ENVS


def _rows_by_world(count: int, worlds: int) -> list[int]:
    """``count`` rows shared out equally among the worlds."""
    edges = [count * i // worlds for i in range(worlds + 1)]
    return [after - before for before, after in pairwise(edges)]


def _collect(
    world: EnvMaker, count: int, seed: int, also: GroundTruth | None, window: int, views: bool
) -> dict[str, NDArray[Any]]:
    """``count`` frames, or windows, of one ``World``."""
    if views:
        check_views(world)
    envs: Any = world.make(NUM_ENVS, stream_seed(seed, "envs"))
    if not isinstance(envs.single_action_space, gym.spaces.Discrete):
        raise UsageError(f"action space {envs.single_action_space}: random actions are drawn from Discrete spaces only")
    choices = int(envs.single_action_space.n)
    rng = np.random.default_rng(stream_seed(seed, "actions"))
    actions = rng.integers(choices, size=NUM_ENVS)
    observation, _ = envs.reset(seed=stream_seed(seed, "reset") % 2**31)
    ended = np.ones(NUM_ENVS, dtype=bool)
    stored: dict[str, NDArray[Any]] = {}

    def step() -> None:
        nonlocal actions, observation, ended
        new_actions = rng.integers(choices, size=NUM_ENVS)
        actions = np.where(rng.random(NUM_ENVS) < 1 / HOLD, new_actions, actions)
        observation, _, terminated, truncated, _ = envs.step(actions)
        ended = terminated | truncated

    def store(
        rows: Mapping[str, NDArray[Any]], start: int, step_index: tuple[int, ...] = (), size: tuple[int, ...] = ()
    ) -> None:
        for key, value in rows.items():
            if key not in stored:
                stored[key] = np.empty((count, *size, *value.shape[1:]), value.dtype)
            stored[key][(slice(start, start + NUM_ENVS), *step_index)] = value[: count - start]

    for start in range(0, count, NUM_ENVS):
        if start:
            for _ in range(STRIDE):
                step()
        if views:
            opens = np.zeros((NUM_ENVS, window), dtype=bool)
            store({**envs.views(window), FIRST: opens}, start)
            continue
        for t in range(window):
            if t:
                step()
            rows = {**keyed(observation, envs.single_observation_space), **(also(envs) if also else {})}
            if window == 1:
                store(rows, start)
            else:
                store({**rows, FIRST: ended}, start, (t,), (window,))
    envs.close()
    return stored


def check_views(world: EnvMaker) -> None:
    """Unfit where the environments of ``world`` cannot show one moment from several cameras."""
    envs = world.make(1, 0)
    if not hasattr(envs, "views"):
        raise Unfit(f"it learns scenes from several views of a moment, and {type(envs).__name__} has no views(count)")
    envs.close()


def channels_first(frames: Tensor) -> Tensor:
    is_image = frames.dtype == torch.uint8 and frames.dim() >= 4
    return frames.movedim(-1, -3) if is_image else frames


def channels_last(frames: Tensor) -> Tensor:
    """Image tensors (..., C, H, W) in the order of their memory (..., H, W, C); other tensors as they are."""
    return frames.movedim(-3, -1) if frames.dtype == torch.uint8 and frames.dim() >= 4 else frames
