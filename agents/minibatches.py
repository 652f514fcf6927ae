"""Samples of a rollout by their places t * envs + i, and the minibatches that an update makes of them.

A minibatch is made of sequences: single samples, or with memory ``Config.sequence_steps`` steps of one environment
each.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor

from agents.config import Config
from envs.rng_streams import Streams

WATCHED = 512
"""Samples of a rollout that dead units and effective rank are measured on."""


def minibatches(
    config: Config, envs: int, streams: Streams, device: torch.device
) -> Iterator[tuple[Int[Tensor, " B"], Int[Tensor, " A"]]]:
    """Minibatches of one pass over a rollout: first samples of its sequences, and samples of the auxiliary loss.

    Without memory they are the same. With it the latter are drawn by themselves: what compares samples with each other
    would find a sequence's neighbours, which hardly differ.
    """
    starts = sequence_starts(config.n_steps, envs, config.sequence_steps, device)
    order = starts[torch.randperm(len(starts), generator=streams["minibatches"], device=device)]
    samples, count = order, config.n_steps * envs
    if config.sequence_steps > 1:
        samples = torch.randperm(count, generator=streams["auxiliary samples"], device=device)
    return zip(order.split(len(order) // config.minibatches), samples.split(count // config.minibatches), strict=True)


def sequences(first: Int[Tensor, " B"], steps: int, envs: int) -> Int[Tensor, "T B"]:
    """Places t * envs + i of the steps that follow the samples ``first``, ``steps`` each."""
    return first + torch.arange(steps, device=first.device).unsqueeze(1) * envs


def sequence_starts(n_steps: int, envs: int, steps: int, device: torch.device) -> Int[Tensor, " S"]:
    """First samples t * envs + i of all sequences of so many steps in a rollout of ``n_steps``."""
    return torch.arange(n_steps * envs, device=device).view(-1, steps, envs)[:, 0].flatten()


def spread_indices(steps: int, envs: int, count: int = WATCHED) -> Int[Tensor, " B"]:
    """At most ``count`` different samples t * envs + i of a rollout: steps evenly spaced, environments in turn."""
    count = min(count, steps * envs)
    k = torch.arange(count)
    # Where several samples fall on one step they are consecutive, so their environments differ.
    return k * steps // count * envs + k % envs
