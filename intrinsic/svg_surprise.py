"""Surprise of a video model with a learnt prior (after Denton & Fergus 2018, SVG-LP).

    b_t = KL(q(z | x_<=t, x_{t+1}, a_<=t) || p(z | x_<=t, a_<=t)),   nats: how much of what followed was not foreseen

The model is that of ``representations.nets.video``, with networks of its own. It learns the mean squared error of the
predicted frame (in [0, 1]; codes one-hot; features as they are) + beta b_t. What moves by chance is coded in z at every
visit, so it is rewarded for ever, as in any prediction error; what follows from the frames and actions so far is not.

The LSTMs run through the rollout from its first step, with an empty memory there and where an episode opens.

Differs from the paper, which has no agent: prior, posterior and predictor read the action. The gradient goes back
through one step alone, from the memory that the steps before left (the whole window there). 8 channels where the
representation ``svg_lp`` has 16. Every frame is encoded about three times to score it, 2 M multiply-adds each at 64x64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps
from intrinsic import base
from intrinsic.base import CHUNK, IntrinsicBonus, Transitions, above, at_least, gradient_step
from intrinsic.inputs import FlattenInput
from representations.nets.video import LAYERS, FrameDecoder, FrameEncoder, Transition, VideoModel

SMALLEST = 16
"""Least side of a frame for the convolutions, in pixels."""


@dataclass(frozen=True)
class SvgSurpriseConfig(base.Config):
    width: int = 64
    """Size of a frame's code."""
    hidden: int = 64
    """Units of each LSTM layer."""
    latents: int = 10
    """Size of z."""
    channels: int = 8
    """Channels of the encoder's first map."""
    beta: float = 1e-4
    """Weight of the KL beside the mean squared error; the paper's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, width=self.width, hidden=self.hidden, latents=self.latents, channels=self.channels)
        above(0, beta=self.beta)


class VectorEncoder(nn.Module):
    """Two dense layers in place of the convolutions, for features, codes and tiny frames; there are no maps."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh())

    def forward(self, x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, "B G"], list[Tensor]]:
        code: Tensor = self.layers(x)
        return code, []


class VectorDecoder(nn.Module):
    """Two dense layers from a code to numbers."""

    def __init__(self, outputs: int, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))

    def forward(self, code: Float[Tensor, "B G"], maps: list[Tensor]) -> Float[Tensor, "B D"]:
        predicted: Tensor = self.layers(code)
        return predicted


class SvgSurprise(IntrinsicBonus):
    """Divergence of the posterior from the learnt prior of a video model, nats."""

    Config = SvgSurpriseConfig
    config: SvgSurpriseConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        c, shape = self.config, self.inputs.float_shape
        self.convolutional = self.inputs.is_pixels and min(shape[1:]) >= SMALLEST
        self.encoder: nn.Module
        self.decoder: nn.Module
        if self.convolutional:
            self.encoder = FrameEncoder(shape, c.width, c.channels)
            self.decoder = FrameDecoder(shape, c.width, c.channels)
        else:
            self.encoder = VectorEncoder(math.prod(shape), c.width)
            self.decoder = VectorDecoder(math.prod(shape), c.width)
        self.flatten = FlattenInput(self.inputs)
        self.model = VideoModel(c.width, c.hidden, c.latents, self.codes.size)
        self.optimizer = torch.optim.Adam(self.parameters(), c.learning_rate)

    def numbers(self, inputs: Tensor) -> Tensor:
        """Frames in [0, 1], or rows of numbers: what is encoded and predicted."""
        return self.inputs.to_float(inputs) if self.convolutional else self.flatten(inputs)

    @torch.no_grad()
    def memories(self, steps: Steps) -> Float[Tensor, "T N K"]:
        """Memory before each transition."""
        chunks = self.inputs.select(steps.obs).split(CHUNK)
        codes = torch.cat([self.encoder(self.numbers(chunk))[0] for chunk in chunks]).unflatten(0, steps.shape)
        actions = self.codes.encode(steps.action)
        memory, collected = self.model.empty(steps.shape[1]), []
        for t, first in enumerate(steps.first):
            memory = memory.masked_fill(first.view(-1, 1, 1), 0)
            collected.append(memory.flatten(1))
            if t + 1 < len(codes):
                memory = self.model(codes[t], codes[t + 1], memory, action=actions[t]).memory
        return torch.stack(collected)

    def transitions(self, steps: Steps, size: int, generator: torch.Generator | None = None) -> Iterator[Transitions]:
        """Transitions as of any bonus, with the memory before each as ``context``."""
        memories = self.memories(steps).flatten(0, 1)
        for batch in super().transitions(steps, size, generator):
            yield replace(batch, context=memories[batch.index])

    def step(self, batch: Transitions, generator: torch.Generator | None = None) -> tuple[Transition, list[Tensor]]:
        """Step of the model from the memory in ``context``, and the maps of the frames before."""
        assert batch.context is not None, "transitions bring the memory before them"
        code, maps = self.encoder(self.numbers(batch.obs))
        next_code = self.encoder(self.numbers(batch.next_obs))[0]
        memory = batch.context.view(len(code), 2 * LAYERS, -1)
        transition: Transition = self.model(code, next_code, memory, generator, self.codes.encode(batch.action))
        return transition, maps

    def score(self, batch: Transitions) -> Float[Tensor, " B"]:
        surprise: Tensor = self.step(batch)[0].surprise
        return surprise

    def learn(self, batch: Transitions, generator: torch.Generator) -> dict[str, Tensor]:
        transition, maps = self.step(batch, generator)
        error = (self.decoder(transition.code, maps) - self.numbers(batch.next_obs)).square().mean()
        surprise = transition.surprise.mean()
        gradient_step(self.optimizer, error + self.config.beta * surprise)
        return {"error": error.detach(), "surprise": surprise.detach()}
