"""Motion for a representation of single frames: the features of the last k frames side by side, oldest first.

    m_t = (f_{t-k+1}, ..., f_{t-1}, f_t),   frames before an episode's first are that first one

Where one frame shows no motion (a ball's direction), an end-to-end network stacks k frames in its channels. A method
that is pre-trained on single frames keeps seeing single frames:

* frozen: the world shows single frames; each is encoded once and its features are carried along as state.
* finetune: the world shows k stacked frames; all of them are encoded, so that the RL gradient reaches the encoder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.registry import UsageError
from envs.steps import Obs, Steps
from representations.base import Heads, Phase, Representation, State


class Motion(Representation):
    """``inner`` over the last ``frames`` frames; features (B, frames * D).

    Args:
        inner: a representation of single frames, (C, H, W).
        frames: k.
    """

    def __init__(self, inner: Representation, frames: int):
        super().__init__(inner.space, inner.config)
        self.inner, self.frames = inner, frames
        self.features_dim = frames * inner.features_dim
        for name in ("keys", "modes", "default_mode", "needs_pretraining", "has_loss", "hidden", "aux_coef", "window"):
            setattr(self, name, getattr(inner, name))

    def initial_state(self, batch: int) -> State:
        past = torch.zeros(batch, (self.frames - 1) * self.inner.features_dim)
        return (past, *self.inner.initial_state(batch))

    def encode(self, obs: Obs, state: State = (), first: Tensor | None = None) -> tuple[Tensor, State]:
        image, channels = obs["image"], self.image_shape[0]
        if image.shape[1] == self.frames * channels:
            return self._encode_stack(obs, image), state
        if not state or first is None:
            raise UsageError("motion over single frames needs the state of the frame before; give stacked frames")
        features, inner = self.inner.encode(obs, state[1:], first)
        past = torch.where(first.unsqueeze(1), features.repeat(1, self.frames - 1), state[0].to(features.dtype))
        joined = torch.cat([past, features], dim=1)
        return joined, (joined[:, self.inner.features_dim :], *inner)

    def _encode_stack(self, obs: Obs, image: Tensor) -> Tensor:
        single = image.unflatten(1, (self.frames, self.image_shape[0])).flatten(0, 1)
        others = {key: value.repeat_interleave(self.frames, 0) for key, value in obs.items() if key != "image"}
        features, _ = self.inner.encode({"image": single, **others})
        return features.unflatten(0, (image.shape[0], self.frames)).flatten(1)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        return self.inner.loss(steps, heads, generator)

    def phases(self) -> list[Phase]:
        return self.inner.phases()

    def after_step(self) -> None:
        self.inner.after_step()

    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, Any]:
        shown: dict[str, np.ndarray] = self.inner.pictures(obs, generator)
        return shown
