"""Convolutional LSTM and the divergence of its latents, for models that draw an image step by step."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ConvLstm(nn.Module):
    """Convolutional LSTM, 3x3; ``condition`` is added to the gates."""

    def __init__(self, inputs: int, channels: int, condition: int):
        super().__init__()
        self.gates = nn.Conv2d(inputs + channels, 4 * channels, 3, padding=1)
        self.condition = nn.Conv2d(condition, 4 * channels, 1, bias=False)

    def forward(
        self,
        x: Float[Tensor, "B X h w"],
        state: tuple[Float[Tensor, "B N h w"], Float[Tensor, "B N h w"]],
        condition: Float[Tensor, "B 4*N h w"],
    ) -> tuple[Float[Tensor, "B N h w"], Float[Tensor, "B N h w"]]:
        h, c = state
        gates = (self.gates(torch.cat([x, h.to(x.dtype)], 1)) + condition).float()
        input_gate, forget_gate, output_gate, update = gates.chunk(4, 1)
        c = torch.sigmoid(forget_gate + 1) * c + torch.sigmoid(input_gate) * torch.tanh(update)
        return torch.sigmoid(output_gate) * torch.tanh(c), c


def kl(
    mean: Float[Tensor, "*B"],
    log_variance: Float[Tensor, "*B"],
    prior_mean: Float[Tensor, "*B"],
    prior_log_variance: Float[Tensor, "*B"],
) -> Float[Tensor, "*B"]:
    """KL(N(mean, e^log_variance) || N(prior_mean, e^prior_log_variance)) of each number, nats."""
    ratio = log_variance - prior_log_variance
    return 0.5 * (ratio.exp() + (mean - prior_mean).square() * (-prior_log_variance).exp() - 1 - ratio)
