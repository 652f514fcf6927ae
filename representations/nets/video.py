"""Networks of video prediction with a learnt prior (SVG-LP, Denton & Fergus 2018).

Codes g(x) of frames go through three LSTMs, one step for every pair of frames that follow each other:

    p(z_t | x_<t)   prior,      reads g(x_{t-1})
    q(z_t | x_<=t)  posterior,  reads g(x_{t-1}), g(x_t)
    y_t             predictor,  reads g(x_{t-1}), z_t;   two layers, gives the code that x_t is decoded from

Where actions are given, each reads the one between the frames, too. Between frames the three carry one tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from representations.nets.recurrent import kl
from representations.nets.trunks import Shape, orthogonal

FACTOR = 16
"""Image side over the side of the encoder's last map."""
LAYERS = 4
"""Layers of LSTMs: one of the prior, one of the posterior, two of the predictor."""

Gaussian = tuple[Float[Tensor, "B Z"], Float[Tensor, "B Z"]]
"""Mean and log-variance."""


class FrameEncoder(nn.Module):
    """DCGAN's four convolutions k4 s2 and a dense layer: (B, C, H, W) in [0, 1] -> code (B, width) and the maps.

    Sides that do not divide by 16 are padded. 7 M multiply-adds at 64x64 with 16 channels.
    """

    def __init__(self, shape: Shape, width: int, channels: int):
        super().__init__()
        self.size = (-(-shape[1] // FACTOR) * FACTOR, -(-shape[2] // FACTOR) * FACTOR)
        planes = (shape[0], *(channels * factor for factor in (1, 2, 4, 8)))
        self.layers = nn.ModuleList(nn.Conv2d(before, after, 4, 2, 1) for before, after in pairwise(planes))
        self.norms = nn.ModuleList(nn.GroupNorm(1, plane) for plane in planes[1:])
        self.dense = nn.Linear(planes[-1] * (self.size[0] // FACTOR) * (self.size[1] // FACTOR), width)
        orthogonal(self)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B G"], list[Tensor]]:
        maps = []
        x = F.pad(x, (0, self.size[1] - x.shape[3], 0, self.size[0] - x.shape[2]))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.leaky_relu(norm(layer(x)), 0.2)
            maps.append(x)
        return torch.tanh(self.dense(x.flatten(1)).float()), maps


class FrameDecoder(nn.Module):
    """Code and the maps of an earlier frame -> image (B, C, H, W), not clipped.

    14 M multiply-adds at 64x64 with 16 channels.
    """

    def __init__(self, shape: Shape, width: int, channels: int):
        super().__init__()
        self.height, self.width = shape[1:]
        self.grid = (8 * channels, -(-shape[1] // FACTOR), -(-shape[2] // FACTOR))
        self.dense = nn.Linear(width, self.grid[0] * self.grid[1] * self.grid[2])
        planes = (*(channels * factor for factor in (8, 4, 2, 1)), shape[0])
        layers = [nn.ConvTranspose2d(2 * before, after, 4, 2, 1) for before, after in pairwise(planes)]
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(nn.GroupNorm(1, plane) for plane in planes[:-1])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, code: Float[Tensor, "B G"], maps: list[Tensor]) -> Float[Tensor, "B C H W"]:
        x = self.dense(code).unflatten(1, self.grid)
        for layer, norm, skip in zip(self.layers, self.norms, reversed(maps), strict=True):
            x = layer(torch.cat([F.leaky_relu(norm(x), 0.2), skip.to(x.dtype)], 1))
        image: Tensor = x[:, :, : self.height, : self.width].float()
        return image


@dataclass
class Transition:
    """Outcome of one step, from a frame to the next."""

    prior: Gaussian
    """p(z | frames so far)."""
    posterior: Gaussian
    """q(z | frames so far and the next)."""
    code: Float[Tensor, "B G"]
    """Code that the next frame is decoded from."""
    memory: Float[Tensor, "B L N"]
    """Memory behind the next frame."""

    @property
    def surprise(self) -> Float[Tensor, " B"]:
        """KL(q || p), nats."""
        return kl(*self.posterior, *self.prior).sum(1)


class VideoModel(nn.Module):
    """The three LSTMs. Memory (B, 2 * LAYERS, hidden): outputs and cells of each layer; all 0 before a first frame.

    Args:
        width: G, size of a code.
        hidden: N, units of a layer.
        latents: size of z.
        actions: numbers of an action's code, where actions are given.
    """

    def __init__(self, width: int, hidden: int, latents: int, actions: int = 0):
        super().__init__()
        self.actions, self.hidden = actions, hidden
        self.prior_cell = nn.LSTMCell(width + actions, hidden)
        self.posterior_cell = nn.LSTMCell(2 * width + actions, hidden)
        self.predictor_cells = nn.ModuleList(
            nn.LSTMCell(inputs, hidden) for inputs in (width + latents + actions, hidden)
        )
        self.prior_head, self.posterior_head = (nn.Linear(hidden, 2 * latents) for _ in range(2))
        self.predictor_head = nn.Linear(hidden, width)

    def empty(self, batch: int) -> Float[Tensor, "B L N"]:
        """Memory before a first frame."""
        return self.prior_head.weight.new_zeros(batch, 2 * LAYERS, self.hidden)

    def forward(
        self,
        code: Float[Tensor, "B G"],
        next_code: Float[Tensor, "B G"],
        memory: Float[Tensor, "B L N"],
        generator: torch.Generator | None = None,
        action: Tensor | None = None,
    ) -> Transition:
        """From a frame to the next; ``generator`` draws z from q, None takes q's mean."""
        inputs = self.with_action(code, action)
        states = memory.unbind(1)
        prior_state = self.prior_cell(inputs, states[0:2])
        posterior_state = self.posterior_cell(torch.cat([inputs, next_code], 1), states[2:4])
        mean, log_variance = self.posterior_head(posterior_state[0]).chunk(2, 1)
        z = mean
        if generator is not None:
            z = mean + (0.5 * log_variance).exp() * torch.empty_like(mean).normal_(generator=generator)
        predictor_states = self.predict(inputs, z, states[4:])
        predicted = torch.tanh(self.predictor_head(predictor_states[2]))
        after = torch.stack([*prior_state, *posterior_state, *predictor_states], 1)
        return Transition(self.gaussian(prior_state[0]), (mean, log_variance), predicted, after)

    def expect(
        self,
        code: Float[Tensor, "B G"],
        memory: Float[Tensor, "B L N"],
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B G"]]:
        """The predictor's output and its code of the frame to come; z is drawn from p, or p's mean."""
        states = memory.unbind(1)
        mean, log_variance = self.gaussian(self.prior_cell(code, states[0:2])[0])
        z = mean
        if generator is not None:
            z = mean + (0.5 * log_variance).exp() * torch.empty_like(mean).normal_(generator=generator)
        output = self.predict(code, z, states[4:])[2]
        return output, torch.tanh(self.predictor_head(output))

    def with_action(self, code: Float[Tensor, "B G"], action: Tensor | None) -> Float[Tensor, "B X"]:
        """Code with the action's, where actions are given."""
        if not self.actions:
            return code
        assert action is not None, "this model reads actions"
        return torch.cat([code, action.to(code.dtype)], 1)

    def predict(
        self, inputs: Float[Tensor, "B X"], z: Float[Tensor, "B Z"], states: tuple[Tensor, ...]
    ) -> list[Tensor]:
        """Outputs and cells of the predictor's layers after one step."""
        hidden, after = torch.cat([inputs, z], 1), []
        for layer, cell in enumerate(self.predictor_cells):
            state = cell(hidden, states[2 * layer : 2 * layer + 2])
            hidden = state[0]
            after += [*state]
        return after

    def gaussian(self, output: Float[Tensor, "B N"]) -> Gaussian:
        """The prior of an output of its LSTM."""
        mean, log_variance = self.prior_head(output).chunk(2, 1)
        return mean, log_variance
