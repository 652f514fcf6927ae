"""States as hashes, and an episode's first visit to each: what "pay a state once an episode" needs.

On worlds drawn anew for every episode a bonus alone keeps its agent where the view is rare; paying each state once an
episode sends it on (RIDE, Raileanu and Rocktaeschel 2020; NovelD, Zhang et al. 2021). The same hashes are what
``prediction_gain`` counts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from envs.spaces import IMAGE, EnvSpec
from envs.steps import Steps
from intrinsic.inputs import BonusInput
from intrinsic.models.pixel_cnn import grey_levels

COARSE = 8
"""Areas of a side of a hashed frame of pixels."""
LEVELS = 8
"""Of grey."""
CHUNK = 4096


class StateHash(nn.Module):
    """What is seen (B, ...) -> (B,) int64: b + sum_i a_i x_i modulo 2^64, a and b random; its high bits are universal.

    Hashed are symbols as they are; pixels as 8x8 areas of 8 grey levels; features by the signs of ``projections``
    random projections (SimHash, Tang et al. 2017). ``tagged`` mixes more whole numbers in.
    """

    def __init__(self, inputs: BonusInput, projections: int = 32):
        super().__init__()
        self.inputs = inputs
        size = projections
        if inputs.pictured:
            size = inputs.shape[0] * inputs.shape[1] * inputs.shape[2] if inputs.symbolic else COARSE**2
        else:
            self.register_buffer("directions", torch.randn(inputs.shape[0], projections))
        self.register_buffer("a", torch.randint(-(2**63), 2**63 - 1, (size,)))
        self.register_buffer("b", torch.randint(-(2**63), 2**63 - 1, (3,)))
        self.directions: Tensor
        self.a: Tensor
        self.b: Tensor

    def codes(self, seen: Tensor) -> Tensor:
        """(B, size) int64."""
        if not self.inputs.pictured:
            return (seen @ self.directions > 0).long()
        return seen.flatten(1).long() if self.inputs.symbolic else grey_levels(seen, COARSE, LEVELS).flatten(1)

    def forward(self, seen: Tensor) -> Tensor:
        return (self.codes(seen) * self.a).sum(1) + self.b[0]

    def tagged(self, key: Tensor, stream: Tensor, episode: Tensor) -> Tensor:
        # A shift between the products, for the low bits of a sum know nothing of the high ones
        mixed = (key ^ (key >> 29)) * (self.b[1] | 1)
        return (mixed ^ (mixed >> 32)) + stream * (self.b[2] | 1) + episode * (self.b[0] | 1)

    def arrivals(self, steps: Steps) -> tuple[Tensor, Tensor]:
        """Place t * N + stream and hash of every successor that is known, in time order."""
        place = steps.next_valid.flatten().nonzero().squeeze(1)
        following = self.inputs.select(steps.next_obs)
        return place, torch.cat([self(following[part]) for part in place.split(CHUNK)] or [place])


def count_before(key: Tensor) -> Tensor:
    """(B,) how many before each are equal to it."""
    order = key.argsort(stable=True)
    ordered = key[order]
    position = torch.arange(len(key), device=key.device)
    opens = torch.cat([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])
    rank = torch.empty_like(position)
    rank[order] = position - torch.where(opens, position, 0).cummax(0).values
    return rank


class FirstVisits(nn.Module):
    """Tells the steps that arrive where their episode was not before; hashes are compared by all their 64 bits.

    A visit is an arrival: the frame that opens an episode is none. Asked about a rollout by ``forward``, told that it
    is over by ``remember``.
    """

    def __init__(self, spec: EnvSpec):
        super().__init__()
        self.hash = StateHash(BonusInput(spec, "image" if IMAGE in spec.space.spaces else "features"))
        # (K, 2) stream and key of every visit of the episodes under way; it grows and shrinks with them
        self.register_buffer("visited", torch.zeros(0, 2, dtype=torch.int64))
        self.visited: Tensor
        self.register_load_state_dict_pre_hook(_resize_visited)

    @torch.no_grad()
    def forward(self, steps: Steps) -> Tensor:
        """(T, N) bool; False where it is not known what followed. Episode 0 of a stream came into the rollout."""
        place, key = self.hash.arrivals(steps)
        stream, episode = place % steps.shape[1], steps.first.long().cumsum(0).flatten()[place]
        tag = self.hash.tagged(key, stream, episode)
        before = self.hash.tagged(self.visited[:, 1], self.visited[:, 0], torch.zeros_like(self.visited[:, 0]))
        found = torch.zeros(steps.action.numel(), dtype=torch.bool, device=place.device)
        found[place] = (count_before(tag) == 0) & ~torch.isin(tag, before)
        return found.view(steps.shape)

    @torch.no_grad()
    def remember(self, steps: Steps) -> None:
        """Keep the visits of the episodes that go on after this rollout."""
        place, key = self.hash.arrivals(steps)
        stream, episode = place % steps.shape[1], steps.first.long().cumsum(0)
        goes_on, came_in = ~steps.done[-1], episode[-1] == 0
        here = (episode.flatten()[place] == episode[-1][stream]) & goes_on[stream]
        old = self.visited[(goes_on & came_in)[self.visited[:, 0]]]
        self.visited = torch.cat([old, torch.stack([stream, key], 1)[here]]).unique(dim=0)


def _resize_visited(module: FirstVisits, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    module.visited = torch.zeros_like(state[f"{prefix}visited"], device=module.visited.device)
