"""Wall time and disk space of planned runs: real networks are timed for a moment, the environment's speed is known."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agents.checkpoint import KEEP
from agents.runs.build import resolve_precision
from envs.steps import Steps
from representations.nets.trunks import TRUNKS, make_trunk
from representations.wrappers import unwrapped

if TYPE_CHECKING:
    from agents.runs.build import RunParts
    from agents.runs.config import RunConfig
    from representations.base import Representation

ENV_SECONDS = 1 / 30_000  # CoinRun on two cores, frames/s measured by `python -m benchmarks.speed`'s bare loop
EPISODE_FRAMES = 400  # mean length of an evaluation episode, weak agents included
BATCH = 64  # frames of a timed step where a phase names no batch
ENV_BYTES = 80_000  # state of an environment in a checkpoint, Procgen's; its newest observation and episode
OTHER_BYTES = 2_000_000  # records, tables and pictures of a run
SOLVE_SECONDS = 1 / 1000  # a stored 64x64 frame in a phase that is solved at once: PCA and k-means on two cores


@cache
def trunk_seconds(name: str, precision: str) -> tuple[float, float]:
    """Seconds per 64x64 frame (of symbols 7x7) of (a forward pass for 64 frames, a training step on 256)."""
    shape = {"symbols": (3, 7, 7), "mlp": (16,)}.get(name, (3, 64, 64))
    with torch.random.fork_rng(devices=[]):
        net = make_trunk(name, shape)
    frames = torch.zeros(256, *shape, dtype=torch.uint8)
    if frames.dim() == 4:
        frames = frames.contiguous(memory_format=torch.channels_last)
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


def auxiliary_seconds(run: RunConfig, representation: Representation) -> tuple[float, float]:
    """Seconds per frame of a step on the method's own loss: offline, all phases by share; online, frame by frame.

    0 where there is no such loss. ``representation`` is used up: its gradients and running statistics change.
    """
    offline = online = 0.0
    with torch.autocast("cpu", torch.bfloat16, enabled=resolve_precision(run.precision) == "bfloat16"):
        if run.pretrain_samples:
            phases = representation.phases()
            trained = [phase for phase in phases if phase.solve is None]
            solved = SOLVE_SECONDS * (len(phases) - len(trained)) * run.pretrain_frames
            offline = solved / run.pretrain_samples
            shares = sum(phase.share for phase in trained)
            for phase in trained:
                frames = max(representation.window, phase.batch or BATCH)
                offline += phase.share / shares * _seconds_a_frame(representation, frames, phase.loss)
        elif run.mode == "online" and representation.has_loss and representation.window == 1:

            def heads(features: torch.Tensor, obs: Any, first: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
                return features, features.sum(1)

            def with_heads(steps: Steps, generator: torch.Generator) -> Any:
                return representation.loss(steps, heads, generator)

            online = _seconds_a_frame(representation, 256, with_heads)
    return offline, online


def _seconds_a_frame(representation: Representation, frames: int, loss: Callable[..., Any]) -> float:
    window = representation.window
    shapes = {key: box for key, box in representation.spec.space.spaces.items() if key in representation.keys}
    size = (frames,) if window == 1 else (window, frames // window)
    obs = {key: torch.zeros(*size, *(box.shape or ()), dtype=_dtype(box)) for key, box in shapes.items()}
    no = torch.zeros(size, dtype=torch.bool)
    steps = Steps.frames(obs) if window == 1 else Steps.windows(obs, no, no.long())
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        loss(steps, torch.Generator())[0].backward()
        best = min(best, time.perf_counter() - start)
    return best / frames


def _dtype(box: Any) -> torch.dtype:
    return torch.uint8 if box.dtype == np.uint8 else torch.float32


def estimate_seconds(configs: Iterable[RunConfig], parts_like: Callable[[RunConfig], RunParts]) -> float:
    """Expected wall time of all runs from their start, within a factor of about 1.5; runs that share a fit make one.

    Args:
        parts_like: gives the parts of a run of the same kind; a copy of its representation is timed, once a kind.
    """
    timed: dict[tuple[str, str], tuple[float, float]] = {}
    total, fitted = 0.0, set()
    for config in configs:
        representation = unwrapped(parts_like(config).representation)
        kind = f"{id(representation)} {config.pretrain_samples > 0}", config.precision
        if kind not in timed:
            timed[kind] = auxiliary_seconds(config, copy.deepcopy(representation))
        offline, online = timed[kind]
        total += run_seconds(config, 0.0 if fit_of(config) in fitted else offline, online)
        fitted.add(fit_of(config))
    return total


def fit_of(config: RunConfig) -> str:
    """Values of a run that decide its fit; runs in which they are equal share one."""
    task = config.suite, config.env, config.train_levels, config.level_set, config.algo_settings.get("gamma")
    frames = config.pretrain_on, config.pretrain_frames, config.pretrain_samples
    data = (*frames, config.pretrain_data, config.pretrain_levels)
    return repr((config.repr, config.repr_settings, task, data, config.seed, config.precision))


def run_seconds(config: RunConfig, offline: float, online: float) -> float:
    """Expected wall time of one run, given ``auxiliary_seconds``."""
    trunk = config.trunk if config.trunk in TRUNKS else "nature"
    act, learn = trunk_seconds(trunk, resolve_precision(config.precision))
    epochs = config.algo_settings.get("epochs", 1)
    per_frame = ENV_SECONDS + act + epochs * ((0.1 if config.mode == "frozen" else 1.0) * learn + online)
    splits = len(config.splits)
    episodes = config.eval_envs * splits * (1 + config.greedy) + config.periodic_evals * config.periodic_envs * 2
    episodes += config.kept_policies * config.periodic_envs * (1 + splits)
    continued = max(config.continued, default=0)
    return (
        (config.steps - continued) * per_frame
        + config.pretrain_samples * offline * (not continued)
        + episodes * (config.window or EPISODE_FRAMES) * (ENV_SECONDS + act)
    )


def estimate_bytes(configs: Iterable[RunConfig], parts_like: Callable[[RunConfig], RunParts]) -> int:
    """Expected size of all runs on disk, within a factor of about 2; without fits, which runs share."""
    return sum(run_bytes(config, unwrapped(parts_like(config).representation)) for config in configs)


def run_bytes(config: RunConfig, representation: Representation) -> int:
    """Expected size of one run on disk: its newest checkpoints, with Adam's two moments, and the policies kept."""
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in representation.state_dict().values())
    trained = weights * (1 if config.mode == "frozen" else 3)
    boxes = representation.spec.space.spaces.values()
    frame = sum(int(np.prod(box.shape or ())) * np.dtype(box.dtype).itemsize for box in boxes)
    states = config.num_envs * (ENV_BYTES + frame) + representation.replay_frames * frame
    size: int = KEEP * (trained + states) + config.kept_policies * weights + OTHER_BYTES
    return size
