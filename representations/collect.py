"""Frames for pre-training, gathered from environments by a behaviour: held random actions, or one that is given.

The random behaviour holds each action for a geometric number of steps (mean 8), then draws another; frames are 8 steps
apart. Differs from the papers, which take uniform random actions: in CoinRun these hardly leave the start. A method
that compares moments gets windows of consecutive steps instead; one that learns scenes gets views of one moment.
Frames follow from their seed alone, so they are collected again after a restart, not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from envs.action_codes import ActionCodes
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
ACTION = "action"
"""Key of the stored action between each step of a window and the next; 0 for the last step, whose it does not hold."""


@runtime_checkable
class Behaviour(Protocol):
    """Chooser of the actions of all environments of a ``World``."""

    def act(self, observation: Any, first: NDArray[np.bool_]) -> NDArray[Any]:
        """Actions (N, ...) for an observation, as the environment takes them.

        ``first`` marks the environments (N,) whose episode it opens.
        """


BehaviourMaker = Callable[[VectorEnv[Any, Any, Any], int], Behaviour]
"""Makes the behaviour for an environment, from a seed."""


class HeldRandom:
    """Random actions, each held for ``HOLD`` steps on average."""

    def __init__(self, envs: VectorEnv[Any, Any, Any], seed: int):
        self.codes = ActionCodes(envs.single_action_space)
        self.rng = np.random.default_rng(seed)
        self.actions = self.codes.random(NUM_ENVS, self.rng)

    def act(self, observation: Any, first: NDArray[np.bool_]) -> NDArray[Any]:
        """Actions (N, ...), whatever the observation."""
        new_actions = self.codes.random(NUM_ENVS, self.rng)
        lets_go = (self.rng.random(NUM_ENVS) < 1 / HOLD).reshape(-1, *(1,) * (self.actions.ndim - 1))
        self.actions = np.where(lets_go, new_actions, self.actions)
        return self.codes.to_env(self.actions)


@runtime_checkable
class EnvMaker(Protocol):
    """Maker of vector environments, as ``envs.tasks.World`` is one."""

    def make(self, num_envs: int, seed: int) -> VectorEnv[Any, Any, Any]: ...


GroundTruth = Callable[[VectorEnv[Any, Any, Any]], Mapping[str, NDArray[Any]]]
"""Reads more of the present moment from an environment, (N, ...) by key: its ground truth, say."""


class DataCoverage:
    """Coverage of an environment by the frames of behaviours, as its ``coverage_factors`` say (``envs.vector_env``).

    The number of different places grows with the readings, so collections of single frames, windows and views are read
    equally often.
    """

    READINGS = 64
    """Moments that are read of all sources together; fewer where the collection is shorter."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], list[NDArray[Any]]] = {}

    def times(self, steps: int, num_sources: int = 1) -> frozenset[int]:
        """Moments at which one source is read, steps after its reset: its first, its last, and equally far apart.

        Args:
            steps: that each of the source's environments takes.
            num_sources: number of environment makers times behaviours.
        """
        count = min(-(-self.READINGS // num_sources), steps + 1)
        return frozenset(steps * i // max(count - 1, 1) for i in range(count))

    def add(self, envs: Any) -> None:
        """Read the factors of the present moment in all environments."""
        named = getattr(envs, "coverage_factors", {})
        factors = envs.factors() if named else {}
        for keys, place in named.items():
            columns = [np.asarray(factors[key], np.float64).reshape(envs.num_envs, -1) for key in keys]
            self.values.setdefault(place, []).append(np.concatenate(columns, axis=1))

    def metrics(self) -> dict[str, float]:
        """Metrics by name, "data/..."; none where the environment names nothing."""
        metrics: dict[str, float] = {}
        for (name, kind), values in self.values.items():
            rows = np.concatenate(values)
            if kind == "position":
                metrics |= {f"data/{name}_median": float(np.median(rows)), f"data/{name}_max": float(rows.max())}
            elif kind == "left":
                metrics[f"data/{name}"] = float(rows.sum(1).mean())
            else:
                metrics[f"data/{name}"] = float(len(np.unique(np.floor(rows * 4), axis=0)))
        return metrics


def collect(
    worlds: Sequence[EnvMaker],
    frames: int,
    seed: int,
    also: GroundTruth | None = None,
    window: int = 1,
    views: bool = False,
    behaviours: Sequence[BehaviourMaker] = (HeldRandom,),
    coverage: DataCoverage | None = None,
) -> Obs:
    """Frames of one or several behaviours, equally many from each of ``worlds`` and, there, of each behaviour.

    Args:
        worlds: makers of the environments.
        frames: in all, those of windows and views included.
        seed: of environments and actions.
        also: reads what else to store of each moment.
        window: W > 1 stores frames // W windows of W consecutive steps, ``FIRST`` and ``ACTION``.
        views: the W frames of a window are views of one moment, which the environment's ``views(W)`` gives.
        behaviours: make what acts.
        coverage: gathers how far the behaviours got.

    Returns:
        key -> (frames, ...), or (frames // W, W, ...); images uint8 (..., C, H, W), channels-last in memory. The order
        is that of ``worlds``, and of ``behaviours`` in each.

    Raises:
        UsageError: fewer frames or windows than worlds; actions of a kind that is not known, or without bounds.
        Unfit: an environment without ``views`` where they are asked for.
    """
    count = frames // window
    sources = [(world, behaviour) for world in worlds for behaviour in behaviours]
    if count < len(sources):
        raise UsageError(
            f"{frames} pre-training frames for {len(sources)} environments"
            + (f" in windows of {window}" if window > 1 else "")
            + "; ask for at least one each"
        )
    stored = [
        _collect(world, behaviour, rows, stream_seed(seed, "world", i), also, window, views, coverage, len(sources))
        for i, ((world, behaviour), rows) in enumerate(zip(sources, _rows_by_source(count, len(sources)), strict=True))
    ]
    joined = {key: np.concatenate([frames[key] for frames in stored]) for key in stored[0]}
    return {key: channels_first(torch.from_numpy(value)) for key, value in joined.items()}


def collection_steps(frames: int, window: int = 1, views: bool = False, num_sources: int = 1) -> int:
    """Environment steps that ``collect`` takes, those of all environments counted.

    Args:
        frames, window, views: as given to ``collect``.
        num_sources: number of environment makers times behaviours; each has ``NUM_ENVS`` environments.
    """
    return sum(_steps(rows, window, views) for rows in _rows_by_source(frames // window, num_sources)) * NUM_ENVS


def _steps(rows: int, window: int, views: bool) -> int:
    """Steps that each environment of one source takes for ``rows`` frames, or windows."""
    rounds = -(-rows // NUM_ENVS)
    return max(rounds - 1, 0) * STRIDE + (0 if views else rounds * (window - 1))


def _rows_by_source(count: int, sources: int) -> list[int]:
    """``count`` rows shared out equally among the sources."""
    edges = [count * i // sources for i in range(sources + 1)]
    return [after - before for before, after in pairwise(edges)]


def _collect(
    world: EnvMaker,
    make_behaviour: BehaviourMaker,
    count: int,
    seed: int,
    also: GroundTruth | None,
    window: int,
    views: bool,
    coverage: DataCoverage | None,
    num_sources: int,
) -> dict[str, NDArray[Any]]:
    """``count`` frames, or windows, of one behaviour in one ``World``."""
    if views:
        check_views(world)
    envs: Any = world.make(NUM_ENVS, stream_seed(seed, "envs"))
    codes = ActionCodes(envs.single_action_space)
    behaviour = make_behaviour(envs, stream_seed(seed, "actions"))
    observation, _ = envs.reset(seed=stream_seed(seed, "reset") % 2**31)
    ended = np.ones(NUM_ENVS, dtype=bool)
    stored: dict[str, NDArray[Any]] = {}
    taken, read_at = 0, frozenset() if coverage is None else coverage.times(_steps(count, window, views), num_sources)

    def read() -> None:
        if coverage is not None and taken in read_at:
            coverage.add(envs)

    def step() -> NDArray[Any]:
        nonlocal observation, ended, taken
        actions = behaviour.act(observation, ended)
        observation, _, terminated, truncated, _ = envs.step(actions)
        ended, taken = terminated | truncated, taken + 1
        read()
        return codes.from_env(actions)

    def store(
        rows: Mapping[str, NDArray[Any]], start: int, step_index: tuple[int, ...] = (), size: tuple[int, ...] = ()
    ) -> None:
        for key, value in rows.items():
            if key not in stored:
                stored[key] = np.zeros((count, *size, *value.shape[1:]), value.dtype)
            stored[key][(slice(start, start + NUM_ENVS), *step_index)] = value[: count - start]

    read()
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
                store({ACTION: step()}, start, (t - 1,), (window,))
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
