"""Hashes of states, and an episode's first visit to each: for bonuses that a state earns once an episode.

In environments that draw a new level for every episode a bonus alone keeps its agent where the view is rare; rewarding
each state once an episode sends it on (RIDE, Raileanu and Rocktaeschel 2020; NovelD, Zhang et al. 2021). The same
hashes are what ``prediction_gain`` counts.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from envs.spaces import IMAGE, EnvSpec
from envs.steps import Steps
from intrinsic.inputs import BonusInput
from intrinsic.models.pixel_cnn import grey_levels

COARSE = 8
"""Areas along each side of a hashed frame of pixels."""
LEVELS = 8
"""Levels of grey."""
CHUNK = 4096
"""Observations hashed at once; changes no value."""


class StateHash(nn.Module):
    """Hash of a state in 64 bits: b + sum_i a_i x_i modulo 2^64, a and b random; its high bits are universal.

    Hashed are symbols as they are; pixels as 8x8 areas of 8 grey levels; features by the signs of ``projections``
    random projections (SimHash, Tang et al. 2017).
    """

    def __init__(self, inputs: BonusInput, projections: int = 32):
        super().__init__()
        self.inputs = inputs
        size = projections
        if inputs.is_image:
            size = inputs.shape[0] * inputs.shape[1] * inputs.shape[2] if inputs.symbolic else COARSE**2
        else:
            self.register_buffer("directions", torch.randn(inputs.shape[0], projections))
        self.register_buffer("a", torch.randint(-(2**63), 2**63 - 1, (size,)))
        self.register_buffer("b", torch.randint(-(2**63), 2**63 - 1, (3,)))
        self.directions: Tensor
        self.a: Tensor
        self.b: Tensor

    def codes(self, inputs: Tensor) -> Int[Tensor, "B size"]:
        """Whole numbers that stand for a state."""
        if not self.inputs.is_image:
            return (inputs @ self.directions > 0).long()
        return inputs.flatten(1).long() if self.inputs.symbolic else grey_levels(inputs, COARSE, LEVELS).flatten(1)

    def forward(self, inputs: Tensor) -> Int[Tensor, " B"]:
        return (self.codes(inputs) * self.a).sum(1) + self.b[0]

    def tagged(
        self, key: Int[Tensor, " B"], stream: Int[Tensor, " B"], episode: Int[Tensor, " B"]
    ) -> Int[Tensor, " B"]:
        """Hash of a state's hash, its stream and its episode together."""
        # A shift between the products, for the low bits of a sum know nothing of the high ones
        mixed = (key ^ (key >> 29)) * (self.b[1] | 1)
        return (mixed ^ (mixed >> 32)) + stream * (self.b[2] | 1) + episode * (self.b[0] | 1)

    def arrivals(self, steps: Steps) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
        """Index t * N + stream and hash of every known successor, in time order."""
        index = steps.next_valid.flatten().nonzero().squeeze(1)
        next_obs = self.inputs.select(steps.next_obs)
        return index, torch.cat([self(next_obs[rows]) for rows in torch.split(index, CHUNK)] or [index])


def count_before(key: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Number of equal keys before each one."""
    order = key.argsort(stable=True)
    ordered = key[order]
    position = torch.arange(len(key), device=key.device)
    opens = torch.cat([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])
    rank = torch.empty_like(position)
    rank[order] = position - torch.where(opens, position, 0).cummax(0).values
    return rank


class FirstVisits(nn.Module):
    """Mask of the steps that arrive where their episode was not before; hashes are compared by all their 64 bits.

    A visit is an arrival: the frame that opens an episode is none. ``forward`` asks about a rollout and changes
    nothing; ``remember`` carries the visits of running episodes to the next one.
    """

    def __init__(self, spec: EnvSpec):
        super().__init__()
        self.hash = StateHash(BonusInput(spec, "image" if IMAGE in spec.space.spaces else "features"))
        # (K, 2) stream and key of every visit of the running episodes; it grows and shrinks with them
        self.register_buffer("visited", torch.zeros(0, 2, dtype=torch.int64))
        self.visited: Tensor

    @torch.no_grad()
    def forward(self, steps: Steps) -> Bool[Tensor, "T N"]:
        """First visits; False where the successor is not known. Episode 0 of a stream began before the rollout."""
        index, key = self.hash.arrivals(steps)
        stream, episode = index % steps.shape[1], steps.first.long().cumsum(0).flatten()[index]
        tag = self.hash.tagged(key, stream, episode)
        before = self.hash.tagged(self.visited[:, 1], self.visited[:, 0], torch.zeros_like(self.visited[:, 0]))
        is_first = torch.zeros(steps.done.numel(), dtype=torch.bool, device=index.device)
        is_first[index] = (count_before(tag) == 0) & ~torch.isin(tag, before)
        return is_first.view(steps.shape)

    @torch.no_grad()
    def remember(self, steps: Steps) -> None:
        """Keep the visits of the episodes that go on after this rollout."""
        index, key = self.hash.arrivals(steps)
        stream, episode = index % steps.shape[1], steps.first.long().cumsum(0)
        goes_on, from_before = ~steps.done[-1], episode[-1] == 0
        in_last_episode = (episode.flatten()[index] == episode[-1][stream]) & goes_on[stream]
        old = self.visited[(goes_on & from_before)[self.visited[:, 0]]]
        visits = torch.cat([old, torch.stack([stream, key], 1)[in_last_episode]])
        self.visited = torch.unique(visits, dim=0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # the checkpoint says how many visits there were
        self.visited = torch.zeros_like(state_dict[f"{prefix}visited"], device=self.visited.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
