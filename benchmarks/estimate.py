"""How long a run will take here: a moment of the real network's work, and the environment's known pace."""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

import torch

from agents.train import resolve_precision
from representations.nets import TRUNKS, make_trunk

if TYPE_CHECKING:
    from agents.train import RunConfig

ENV_SECONDS = 1 / 30_000  # CoinRun on two cores, frames/s measured by `python -m benchmarks.speed`'s bare loop
EPISODE_FRAMES = 400  # the mean slot an evaluation environment stays busy, weak agents included
PRETRAIN_FACTOR = 3.0  # encoder, decoder and denoiser together cost about this many trunks


@cache
def trunk_seconds(name: str, precision: str) -> tuple[float, float]:
    """Seconds per 64x64 frame of (a forward pass for 64 frames, a training step on 256)."""
    with torch.random.fork_rng(devices=[]):
        net = make_trunk(name, (3, 64, 64))
    frames = torch.zeros(256, 64, 64, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
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


def estimate_seconds(config: RunConfig) -> float:
    """Expected wall time of one run from its start, within a factor of about 1.5."""
    act, learn = trunk_seconds(
        config.trunk if config.trunk in TRUNKS else "nature", resolve_precision(config.precision)
    )
    epochs = config.algo_settings.get("epochs", 1)
    per_frame = ENV_SECONDS + act + (0.1 if config.mode == "frozen" else 1.0) * epochs * learn
    episodes = config.eval_envs * len(config.splits) + config.periodic_evals * config.periodic_envs * 2
    return (
        config.steps * per_frame
        + config.pretrain_samples * PRETRAIN_FACTOR * learn
        + episodes * (config.window or EPISODE_FRAMES) * (ENV_SECONDS + act)
    )
