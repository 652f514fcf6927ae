"""Loss that a step of the optimizer would take off a sample; the step is tried and never kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

Loss = Callable[..., Tensor]
"""Takes a callable that stands for the network, then the samples (B, ...); returns (B,)."""
ROWS = 64
"""Samples whose own gradients are held at once; changes no value."""


def rms_adam(net: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam without momentum (RMSProp, bias corrected): where the gradient is 0 the step is 0, and so is any gain."""
    return torch.optim.Adam(net.parameters(), learning_rate, betas=(0.0, 0.999))


def batch_gain(net: nn.Module, optimizer: torch.optim.Adam, loss: Loss, *samples: Tensor) -> Float[Tensor, " B"]:
    """Loss of each sample before minus after the step that ``optimizer`` of ``rms_adam`` makes on their mean."""
    (group,) = optimizer.param_groups
    decay = group["betas"][1]
    names, weights = zip(*net.named_parameters(), strict=True)
    with torch.enable_grad():
        before = loss(net, *samples)
        gradients = torch.autograd.grad(before.mean(), weights)
    after = {}
    for name, weight, gradient in zip(names, weights, gradients, strict=True):
        square, count = _adam_state(optimizer, weight)
        unbiased = (decay * square + (1 - decay) * gradient**2) / (1 - decay ** (count + 1))
        after[name] = weight.detach() - group["lr"] * gradient / (unbiased.sqrt() + group["eps"])
    with torch.no_grad():
        return before.detach() - loss(lambda *inputs: functional_call(net, after, inputs), *samples)


def per_sample_gain(net: nn.Module, optimizer: torch.optim.Adam, loss: Loss, *samples: Tensor) -> Float[Tensor, " B"]:
    """Loss that a step on a sample alone takes off it, to first order: the sum over weights of rate * gradient^2.

    The rates are the optimizer's of now, lr / (root mean square of past gradients); lr where there is no past.
    """
    (group,) = optimizer.param_groups
    weights = {name: weight.detach() for name, weight in net.named_parameters()}
    rates = {}
    for name, weight in net.named_parameters():
        square, count = _adam_state(optimizer, weight)
        unbiased = square / (1 - group["betas"][1] ** count) if count else torch.ones_like(square)
        rates[name] = group["lr"] / (unbiased.sqrt() + group["eps"])

    def gain(*sample: Tensor) -> Tensor:
        rows = [value.unsqueeze(0) for value in sample]
        gradient = grad(lambda at: loss(lambda *inputs: functional_call(net, at, inputs), *rows).squeeze(0))(weights)
        return torch.stack([(rates[name] * gradient[name] ** 2).sum() for name in gradient]).sum()

    return map_samples(gain, *samples)


def map_samples(function: Callable[..., Tensor], *samples: Tensor) -> Float[Tensor, " B"]:
    """A scalar function of one sample, for each of them; of no samples an empty result."""
    if not len(samples[0]):
        return torch.zeros(0, device=samples[0].device)
    values: Tensor = vmap(function, chunk_size=ROWS)(*samples)
    return values


def _adam_state(optimizer: torch.optim.Adam, weight: Tensor) -> tuple[Tensor, float]:
    """Running mean square of the weight's gradients, biased to 0, and steps made."""
    state = optimizer.state.get(weight, {})
    return state.get("exp_avg_sq", torch.zeros_like(weight)), float(state.get("step", 0))
