"""What is put around a representation so that the policy sees more than one frame's features.

**FeatureStack**: the features of the last k frames side by side, oldest first.

    m_t = (f_{t-k+1}, ..., f_{t-1}, f_t),   frames before an episode's first are that first one

Where one frame shows no motion (a ball's direction), an end-to-end network stacks k frames in its channels. A method
that is pre-trained on single frames keeps seeing single frames:

* frozen: the world shows single frames; each is encoded once and its features are carried along as state.
* finetune: the world shows k stacked frames; all of them are encoded, so that the RL gradient reaches the encoder.

**AppendVectors**: the numbers a world tells beside its image (a pose, a goal), after the features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from envs.history import History
from envs.steps import Obs, Steps
from representations.base import Heads, Phase, Representation, State

PASSED_ON = (
    *("keys", "modes", "default_mode", "needs_pretraining", "has_loss", "hidden", "aux_coef"),
    *("window", "views", "memory", "pretrain_share"),
)


class RepresentationWrapper(Representation):
    """All of ``inner`` but its features."""

    def __init__(self, inner: Representation):
        super().__init__(inner.spec, inner.config)
        self.inner = inner
        self.features_dim = inner.features_dim
        for name in PASSED_ON:
            setattr(self, name, getattr(inner, name))

    @property
    def name(self) -> str:
        return self.inner.name

    def initial_state(self, batch: int) -> State:
        return self.inner.initial_state(batch)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        return self.inner.loss(steps, heads, generator)

    def auxiliary(
        self, history: History, streams: int, heads: Heads, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.inner.auxiliary(history, streams, heads, generator)

    def neck(self, frames: int = 1) -> nn.Module | None:
        return self.inner.neck(frames)

    def phases(self) -> list[Phase]:
        return self.inner.phases()

    def after_step(self) -> None:
        self.inner.after_step()

    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, Any]:
        return self.inner.pictures(obs, generator)


def unwrapped(representation: Representation) -> Representation:
    """The method itself, without what was put around it for a policy."""
    while isinstance(representation, RepresentationWrapper):
        representation = representation.inner
    return representation


class FeatureStack(RepresentationWrapper):
    """``inner`` over the last ``frames`` frames; features (B, frames * D).

    Args:
        inner: a representation of single frames, (C, H, W).
        frames: k.
        stacked: the world shows k frames in the channels (finetune); False: one frame, and a state is carried (frozen).
    """

    def __init__(self, inner: Representation, frames: int, stacked: bool = False):
        super().__init__(inner)
        self.frames, self.stacked = frames, stacked
        self.features_dim = frames * inner.features_dim

    def initial_state(self, batch: int) -> State:
        if self.stacked:
            return self.inner.initial_state(batch)
        past = torch.zeros(batch, (self.frames - 1) * self.inner.features_dim)
        return (past, *self.inner.initial_state(batch))

    def encode(self, obs: Obs, state: State = (), first: Tensor | None = None) -> tuple[Tensor, State]:
        if self.stacked:
            return self._encode_stack(obs), state
        assert first is not None, "a state goes with the marks of where episodes begin"
        features, inner = self.inner.encode(obs, state[1:], first)
        past = torch.where(first.unsqueeze(1), features.repeat(1, self.frames - 1), state[0].to(features.dtype))
        joined = torch.cat([past, features], dim=1)
        return joined, (joined[:, self.inner.features_dim :], *inner)

    def neck(self, frames: int = 1) -> nn.Module | None:
        return self.inner.neck(frames * self.frames)

    def _encode_stack(self, obs: Obs) -> Tensor:
        image = obs["image"]
        single = image.unflatten(1, (self.frames, self.spec.channels)).flatten(0, 1)
        others = {key: value.repeat_interleave(self.frames, 0) for key, value in obs.items() if key != "image"}
        features, _ = self.inner.encode({"image": single, **others})
        return features.unflatten(0, (image.shape[0], self.frames)).flatten(1)

    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, Any]:
        """Of the newest frame."""
        return self.inner.pictures({**obs, "image": obs["image"][:, -self.spec.channels :]}, generator)


class AppendVectors(RepresentationWrapper):
    """``inner``'s features, then the vectors of the observation keys ``vectors``: (B, D + their sizes).

    The policy gets a hidden layer where ``inner`` asks for none: a goal must be able to change what is made of an
    image, and a linear head over both could only add to it.
    """

    def __init__(self, inner: Representation, vectors: Sequence[str]):
        super().__init__(inner)
        self.vectors = tuple(vectors)
        self.keys = (*inner.keys, *self.vectors)  # type: ignore[misc]
        self.hidden = inner.hidden or (256,)  # type: ignore[misc]
        sizes = (math.prod(inner.spec.space[key].shape or ()) for key in self.vectors)
        self.features_dim = inner.features_dim + sum(sizes)

    def encode(self, obs: Obs, state: State = (), first: Tensor | None = None) -> tuple[Tensor, State]:
        features, state = self.inner.encode(obs, state, first)
        return self.joined(features, obs), state

    def joined(self, features: Tensor, obs: Obs) -> Tensor:
        """``inner``'s features (B, D) with the vectors of their observations (B, ...)."""
        return torch.cat([features, *(obs[key].to(features.dtype) for key in self.vectors)], dim=1)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        return self.inner.loss(steps, self._behind(heads), generator)

    def auxiliary(
        self, history: History, streams: int, heads: Heads, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return self.inner.auxiliary(history, streams, self._behind(heads), generator)

    def _behind(self, heads: Heads) -> Heads:
        """``heads`` for what ``inner`` makes of a frame."""
        return lambda features, obs: heads(self.joined(features, obs), obs)

    def neck(self, frames: int = 1) -> nn.Module | None:
        inner = self.inner.neck(frames)
        beside = self.features_dim - self.inner.features_dim
        return None if inner is None else PassThrough(inner, self.inner.features_dim, beside)


class PassThrough(nn.Module):
    """``inner`` over the first ``split`` columns of its input; the other ``beside`` ones go around it."""

    def __init__(self, inner: nn.Module, split: int, beside: int):
        super().__init__()
        self.inner, self.split = inner, split
        self.width = inner.width + beside  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        inside = self.inner(x[:, : self.split])
        return torch.cat([inside, x[:, self.split :].to(inside.dtype)], dim=1)
