"""How long a run will take here: a moment of the real networks' work, and the environment's known pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agents.runs.build import resolve_precision
from envs.steps import Steps
from representations.nets import TRUNKS, make_trunk

if TYPE_CHECKING:
    from agents.runs.build import RunConfig
    from representations.base import Representation

ENV_SECONDS = 1 / 30_000  # CoinRun on two cores, frames/s measured by `python -m benchmarks.speed`'s bare loop
EPISODE_FRAMES = 400  # the mean slot an evaluation environment stays busy, weak agents included
BATCH = 64  # frames of a timed step of a loss that names no batch of its own


@cache
def trunk_seconds(name: str, precision: str) -> tuple[float, float]:
    """Seconds per 64x64 frame (of symbols 7x7) of (a forward pass for 64 frames, a training step on 256)."""
    side = 7 if name == "symbols" else 64
    with torch.random.fork_rng(devices=[]):
        net = make_trunk(name, (3, side, side))
    frames = torch.zeros(256, side, side, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    times = []
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        for batch, learn in ((64, False), (256, True)):
            best = float("inf")
            for _ in range(4):
                start = time.perf_counter()
                with torch.set_grad_enabled(learn):
                    out = net(frames[:batch])
                    if learn:
                        out.float().square().mean().backward()
                best = min(best, time.perf_counter() - start)
            times.append(best / batch)
    return times[0], times[1]


@cache
def own_seconds(config: Hashable) -> tuple[float, float]:
    """Seconds per frame of a step on the method's own loss: (offline, all phases by share; online, frame by frame).

    ``config`` is a RunConfig in a ``Timed``; 0 where there is no such loss.
    """
    from agents.runs.build import build_representation, find_task
    from representations.wrappers import unwrapped

    run = config.run  # type: ignore[attr-defined]
    representation = unwrapped(build_representation(run, find_task(run)))
    offline = online = 0.0
    with torch.autocast("cpu", torch.bfloat16, enabled=resolve_precision(run.precision) == "bfloat16"):
        if run.pretrain_samples:
            shares = sum(phase.share for phase in representation.phases())
            for phase in representation.phases():
                frames = max(representation.window, phase.batch or BATCH)
                offline += phase.share / shares * _seconds_a_frame(representation, frames, phase.loss)
        elif run.mode == "online" and representation.has_loss and representation.window == 1:

            def with_heads(steps: Steps, generator: torch.Generator) -> Any:
                return representation.loss(steps, lambda features, obs: (features, features.sum(1)), generator)

            online = _seconds_a_frame(representation, 256, with_heads)
    return offline, online


def _seconds_a_frame(representation: Representation, frames: int, loss: Callable[..., Any]) -> float:
    window = representation.window
    shapes = {key: box for key, box in representation.spec.space.spaces.items() if key in representation.keys}
    size = (frames,) if window == 1 else (window, frames // window)
    obs = {key: torch.zeros(*size, *(box.shape or ()), dtype=_dtype(box)) for key, box in shapes.items()}
    no = torch.zeros(size, dtype=torch.bool)
    steps = Steps.frames(obs) if window == 1 else Steps.windows(obs, no)
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        loss(steps, torch.Generator())[0].backward()
        best = min(best, time.perf_counter() - start)
    return best / frames


def _dtype(box: Any) -> torch.dtype:
    return torch.uint8 if box.dtype == np.uint8 else torch.float32


@dataclass(frozen=True)
class Timed:
    """A run whose cost stands for that of all runs with the same ``key``."""

    key: tuple[str, ...]
    run: RunConfig = field(compare=False)


def estimate_seconds(config: RunConfig) -> float:
    """Expected wall time of one run from its start, within a factor of about 1.5."""
    key = (config.env, config.repr, config.mode, str(sorted(config.repr_settings.items())), config.precision)
    offline, online = own_seconds(Timed(key, config))
    act, learn = trunk_seconds(
        config.trunk if config.trunk in TRUNKS else "nature", resolve_precision(config.precision)
    )
    epochs = config.algo_settings.get("epochs", 1)
    per_frame = ENV_SECONDS + act + epochs * ((0.1 if config.mode == "frozen" else 1.0) * learn + online)
    episodes = config.eval_envs * len(config.splits) + config.periodic_evals * config.periodic_envs * 2
    return (
        config.steps * per_frame
        + config.pretrain_samples * offline
        + episodes * (config.window or EPISODE_FRAMES) * (ENV_SECONDS + act)
    )
