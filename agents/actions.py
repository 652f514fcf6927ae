"""Distributions over actions: the one place that knows what the outputs of a policy's action head mean.

    outputs (B, M) of the head -> parameters (B, P) -> log pi(a|s), entropy, draws

``make_distribution`` chooses by the action space. The only kind so far is Categorical (Discrete actions, A of them):

    parameters = outputs - log sum_a exp(outputs_a) = log pi,   H = -sum_a pi(a) log pi(a), in nats

Another kind is a subclass and a line in ``make_distribution``; storage, acting, losses and evaluation follow it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import gymnasium as gym
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from envs.registry import UsageError


class ActionDistribution(ABC):
    """A family of distributions over one action space; the numbers of each state come in as ``parameters``."""

    num_outputs: int
    """M, outputs of the action head."""
    shape: tuple[int, ...]
    """Shape of one stored action; () for a number."""
    dtype: torch.dtype
    """Type of stored actions."""
    noise_size: int
    """P, numbers of noise for one action."""

    @abstractmethod
    def parameters(self, outputs: Float[Tensor, "B M"]) -> Float[Tensor, "B P"]:
        """Parameters from outputs of the action head; computed once, then given to the methods below."""

    @abstractmethod
    def log_prob(self, parameters: Float[Tensor, "B P"], action: Shaped[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        """Log-probabilities or log-densities of actions."""

    @abstractmethod
    def entropy(self, parameters: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        """Entropies, in nats."""

    @abstractmethod
    def mode(self, parameters: Float[Tensor, "B P"]) -> Shaped[Tensor, "B ..."]:
        """Likeliest actions."""

    @abstractmethod
    def draw_noise(self, count: int, generator: torch.Generator | None, like: Tensor) -> Float[Tensor, "B P"]:
        """Noise for ``count`` actions, a row each, in the dtype and on the device of ``like``."""

    @abstractmethod
    def noise_from_uniform(self, numbers: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        """Noise as ``draw_noise`` gives it, float32, from independent uniform numbers in [0, 1)."""

    @abstractmethod
    def sample(
        self, parameters: Float[Tensor, "B P"], noise: Float[Tensor, "B P"] | torch.Generator | None
    ) -> Shaped[Tensor, "B ..."]:
        """One action per row, from rows of ``draw_noise`` or with noise drawn from a generator (None: torch's own)."""

    @abstractmethod
    def total_variation(self, parameters: Float[Tensor, "B P"], other: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        """Total variation distance between two distributions per row: 0 the same, 1 nothing in common."""

    @abstractmethod
    def merged(self, parameters: Float[Tensor, "B P"], groups: Int[Tensor, " P"]) -> Float[Tensor, "B G"]:
        """Parameters of the distribution over groups of actions; ``groups`` numbers the group of each from 0."""


class Categorical(ActionDistribution):
    """Choices among ``num_actions`` actions; parameters are log pi (B, A)."""

    shape = ()
    dtype = torch.int64

    def __init__(self, num_actions: int):
        self.num_outputs = self.noise_size = num_actions

    def parameters(self, outputs: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        return outputs - outputs.logsumexp(-1, keepdim=True)

    def log_prob(self, parameters: Float[Tensor, "B A"], action: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        return parameters.gather(1, action.unsqueeze(1)).squeeze(1)

    def entropy(self, parameters: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        return -(parameters.exp() * parameters).sum(-1)

    def mode(self, parameters: Float[Tensor, "B A"]) -> Int[Tensor, " B"]:
        return parameters.argmax(-1)

    def draw_noise(self, count: int, generator: torch.Generator | None, like: Tensor) -> Float[Tensor, "B A"]:
        empty = torch.empty(count, self.num_outputs, dtype=like.dtype, device=like.device)
        return empty.exponential_(generator=generator)

    def noise_from_uniform(self, numbers: Float[Tensor, "B A"]) -> Float[Tensor, "B A"]:
        return (-torch.log1p(-numbers.double())).float()  # the inverse of 1 - exp(-x)

    def sample(
        self, parameters: Float[Tensor, "B A"], noise: Float[Tensor, "B A"] | torch.Generator | None
    ) -> Int[Tensor, " B"]:
        """One action per row; with a generator, what ``torch.multinomial`` draws from the same state of it."""
        # The largest of p / q, q exponential, is a draw from p: torch.multinomial's own way, by rows here.
        drawn = noise if isinstance(noise, Tensor) else self.draw_noise(len(parameters), noise, parameters)
        return (parameters.softmax(-1) / drawn).argmax(-1)

    def total_variation(self, parameters: Float[Tensor, "B A"], other: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        return (parameters.exp() - other.exp()).abs().sum(1) / 2

    def merged(self, parameters: Float[Tensor, "B A"], groups: Int[Tensor, " A"]) -> Float[Tensor, "B G"]:
        summed = parameters.new_zeros(len(parameters), int(groups.max()) + 1)
        return summed.index_add_(1, groups.to(parameters.device), parameters.exp()).log()


def make_distribution(action_space: gym.Space) -> ActionDistribution:
    """The distribution for an action space.

    Raises:
        UsageError: no distribution is written for it.
    """
    if isinstance(action_space, gym.spaces.Discrete):
        return Categorical(int(action_space.n))
    raise UsageError(
        f"action space {action_space}: policies here choose among Discrete actions only; wrap the environment so that "
        "its actions are Discrete, or add a distribution to agents/actions.py"
    )
