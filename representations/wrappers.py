"""Wrappers that give the policy more than one frame's features.

**FeatureStack**: the features of the last k frames side by side, oldest first.

    m_t = (f_{t-k+1}, ..., f_{t-1}, f_t),   frames before an episode's first are that first one

Where one frame shows no motion (a ball's direction), an end-to-end network stacks k frames in its channels. A method
that is pre-trained on single frames keeps taking single frames:

* frozen: the environment gives single frames; each is encoded once, and its features are carried along as state.
* finetune: the environment gives k stacked frames; all are encoded, so that the RL gradient reaches the encoder.

**AppendVectors**: the vectors an environment gives with its image (a pose, a goal), after the features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.history import History
from envs.steps import Obs, Steps
from representations.base import Heads, Loss, Representation, State


class RepresentationWrapper(Representation):
    """All of ``inner`` but its features: whatever a wrapper does not define itself is the inner method's."""

    def __init__(self, inner: Representation):
        nn.Module.__init__(self)  # spec, config and features_dim are the inner method's, by __getattr__
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        """Attributes that neither this object nor its class has: torch's own first, then the inner method's."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "inner" or name.startswith("_"):
                raise
            return getattr(self.inner, name)

    def columns_of_inner(self, features: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
        """Columns of this wrapper's features that come from ``inner`` and the newest frame."""
        return features


def _forwarded(name: str) -> property:
    return property(lambda self: getattr(self.inner, name))


# A class attribute of Representation would hide the inner method's, so each becomes a property here. ``encode`` does
# not: a wrapper that does not define its features is abstract.
for _name in vars(Representation):
    if not _name.startswith("_") and _name != "encode":
        setattr(RepresentationWrapper, _name, _forwarded(_name))


def unwrapped(representation: Representation) -> Representation:
    """The method itself, without the wrappers around it."""
    while isinstance(representation, RepresentationWrapper):
        representation = representation.inner
    return representation


def own_features(representation: Representation, features: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
    """Columns of a policy's features that are the method's own of the newest frame: no vectors, no older frames.

    Args:
        representation: the outermost wrapper, which gave ``features``.
    """
    while isinstance(representation, RepresentationWrapper):
        features = representation.columns_of_inner(features)
        representation = representation.inner
    return features


class FeatureStack(RepresentationWrapper):
    """``inner`` over the last ``frames`` frames; features (B, frames * D).

    Args:
        inner: a representation of single frames, (C, H, W).
        frames: k.
        stacked: the environment gives k frames in the channels (finetune); False: one frame, and a state is carried
            (frozen).
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

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        if self.stacked:
            return self._encode_stack(obs), state
        assert first is not None, "a stateful encoder needs the marks of where episodes begin"
        features, inner_state = self.inner.encode(obs, state[1:], first)
        past = torch.where(first.unsqueeze(1), features.repeat(1, self.frames - 1), state[0].to(features.dtype))
        joined = torch.cat([past, features], dim=1)
        return joined, (joined[:, self.inner.features_dim :], *inner_state)

    def neck(self, frames: int = 1) -> nn.Module | None:
        return self.inner.neck(frames * self.frames)

    def columns_of_inner(self, features: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
        return features[:, -self.inner.features_dim :]

    def _encode_stack(self, obs: Obs) -> Tensor:
        image = obs["image"]
        single = image.unflatten(1, (self.frames, self.spec.channels)).flatten(0, 1)
        others = {key: value.repeat_interleave(self.frames, 0) for key, value in obs.items() if key != "image"}
        features, _ = self.inner.encode({"image": single, **others})
        joined: Tensor = features.unflatten(0, (image.shape[0], self.frames)).flatten(1)
        return joined

    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Pictures of the newest frame."""
        return self.inner.pictures({**obs, "image": obs["image"][:, -self.spec.channels :]}, generator)


class AppendVectors(RepresentationWrapper):
    """``inner``'s features (B, D), then the vectors of the observation keys ``vectors``: (B, D + their sizes).

        (f_t, s_1 v_1, s_2 v_2, ...),   s = sqrt(D / size of v) for marks, which lie in [0, 1];  1 / bound for others

    One mark alone is then as long as D features of unit size. A short one would be lost among the features, and a
    policy learns late that a goal decides anything. A measured vector, a pose, fits into [-1, 1]: where it hardly
    varies it must not be long, as it would silence units of the hidden layer.

    The policy gets a hidden layer where ``inner`` asks for none: a goal must be able to change what an image means, and
    a linear head over both could only add to it.
    """

    def __init__(self, inner: Representation, vectors: Sequence[str]):
        super().__init__(inner)
        self.vectors = tuple(vectors)
        boxes = {key: inner.spec.space[key] for key in self.vectors}
        self.scales = {key: _scale(box, inner.features_dim) for key, box in boxes.items()}
        self.features_dim = inner.features_dim + sum(math.prod(box.shape or ()) for box in boxes.values())

    @property
    def keys(self) -> tuple[str, ...]:
        return (*self.inner.keys, *self.vectors)

    @property
    def hidden(self) -> tuple[int, ...]:
        return self.inner.hidden or (256,)

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        features, state = self.inner.encode(obs, state, first)
        return self.joined(features, obs), state

    def columns_of_inner(self, features: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
        return features[:, : self.inner.features_dim]

    def joined(self, features: Tensor, obs: Obs) -> Tensor:
        """``inner``'s features (B, D) with the vectors of their observations (B, ...)."""
        return torch.cat([features, *(obs[key].to(features.dtype) * self.scales[key] for key in self.vectors)], dim=1)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.inner.loss(steps, self._heads_of_inner(heads), generator)

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        return self.inner.auxiliary(history, streams, self._heads_of_inner(heads), generator)

    def _heads_of_inner(self, heads: Heads) -> Heads:
        """``heads`` as a function of the inner method's features."""
        return lambda features, obs, first=None: heads(self.joined(features, obs), obs, first)

    def neck(self, frames: int = 1) -> nn.Module | None:
        inner = self.inner.neck(frames)
        extra = self.features_dim - self.inner.features_dim
        return None if inner is None else PassThrough(inner, self.inner.features_dim, extra)


def _scale(box: Any, features: int) -> float:
    """Factor of a vector with the bounds of ``box`` beside so many features."""
    bound = float(np.abs([box.low, box.high]).max())
    if box.low.min() >= 0 and bound <= 1:
        return math.sqrt(features / math.prod(box.shape))
    return 1 / bound if np.isfinite(bound) else 1.0


class PassThrough(nn.Module):
    """``inner`` over the first ``split`` columns of its input; the ``extra`` columns after them pass through."""

    def __init__(self, inner: nn.Module, split: int, extra: int):
        super().__init__()
        self.inner, self.split = inner, split
        width: int = inner.width  # type: ignore[assignment]
        self.width = width + extra

    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
        inside = self.inner(x[:, : self.split])
        return torch.cat([inside, x[:, self.split :].to(inside.dtype)], dim=1)
