"""Distributions over actions: the one seam that knows what the outputs of a policy's action head mean.

    outputs (B, M) of the head -> parameters (B, P) -> log pi(a|s), entropy, draws

Categorical is the one for Discrete actions (A of them):

    parameters = outputs - log sum_a exp(outputs_a) = log pi,   H = -sum_a pi(a) log pi(a), in nats

Actions are stored as ``envs.action_codes`` says and handed to the environment by ``to_env``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import gymnasium as gym
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from envs.action_codes import ActionCodes
from envs.spaces import Array


class ActionDistribution(ABC):
    """A family of distributions over one action space; the numbers of each state come in as ``parameters``.

    Args:
        codes: the action space.
    """

    num_outputs: int
    """Outputs of the network's action head."""
    num_free: int = 0
    """Numbers that are learned beside the network, the same in every state; they follow its outputs, M in all."""
    noise_size: int
    """Z, numbers of noise for one action."""

    def __init__(self, codes: ActionCodes):
        self.codes = codes

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one stored action; () for a number."""
        return self.codes.shape

    @property
    def dtype(self) -> torch.dtype:
        """Type of stored actions."""
        return self.codes.dtype

    def to_env(self, action: Shaped[Tensor, "B ..."]) -> Array:
        """Stored actions as the environment takes them: clipped to a Box, from an action space's own start on."""
        return self.codes.to_env(action.cpu().numpy())

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
    def draw_noise(self, count: int, generator: torch.Generator | None, like: Tensor) -> Float[Tensor, "B Z"]:
        """Noise for ``count`` actions, a row each, in the dtype and on the device of ``like``."""

    @abstractmethod
    def noise_from_uniform(self, numbers: Float[Tensor, "B Z"]) -> Float[Tensor, "B Z"]:
        """Noise as ``draw_noise`` gives it, float32, from independent uniform numbers in [0, 1)."""

    @abstractmethod
    def sample(
        self, parameters: Float[Tensor, "B P"], noise: Float[Tensor, "B Z"] | torch.Generator | None
    ) -> Shaped[Tensor, "B ..."]:
        """One action per row, from rows of ``draw_noise`` or with noise drawn from a generator (None: torch's own)."""

    @abstractmethod
    def total_variation(self, parameters: Float[Tensor, "B P"], other: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
        """Total variation distance between two distributions per row: 0 the same, 1 nothing in common."""

    def same_mode(self, parameters: Float[Tensor, "B P"], other: Float[Tensor, "B P"]) -> Bool[Tensor, " B"]:
        """Rows of two distributions whose likeliest actions are the same."""
        return (self.mode(parameters) == self.mode(other)).flatten(1).all(1)

    def merged(self, parameters: Float[Tensor, "B P"], groups: Int[Tensor, " A"] | None) -> Float[Tensor, "B G"]:
        """Parameters of the distribution over groups of actions; ``groups`` numbers the group of each from 0.

        Actions of several numbers have no groups and stay as they are.
        """
        return parameters

    def _noise(
        self, noise: Float[Tensor, "B Z"] | torch.Generator | None, parameters: Float[Tensor, "B P"]
    ) -> Float[Tensor, "B Z"]:
        """The noise that was given, or drawn from the generator that was given."""
        return noise if isinstance(noise, Tensor) else self.draw_noise(len(parameters), noise, parameters)


class Categorical(ActionDistribution):
    """Choices among ``num_actions`` actions; parameters are log pi (B, A)."""

    def __init__(self, num_actions: int, codes: ActionCodes | None = None):
        super().__init__(codes or ActionCodes(gym.spaces.Discrete(num_actions)))
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
        return (parameters.softmax(-1) / self._noise(noise, parameters)).argmax(-1)

    def total_variation(self, parameters: Float[Tensor, "B A"], other: Float[Tensor, "B A"]) -> Float[Tensor, " B"]:
        return (parameters.exp() - other.exp()).abs().sum(1) / 2

    def same_mode(self, parameters: Float[Tensor, "B A"], other: Float[Tensor, "B A"]) -> Bool[Tensor, " B"]:
        return self.mode(parameters) == self.mode(other)

    def merged(self, parameters: Float[Tensor, "B A"], groups: Int[Tensor, " A"] | None) -> Float[Tensor, "B G"]:
        if groups is None:
            return parameters
        summed = parameters.new_zeros(len(parameters), int(groups.max()) + 1)
        return summed.index_add_(1, groups.to(parameters.device), parameters.exp()).log()
