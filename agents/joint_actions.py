"""Distributions over actions of several numbers, which are independent of each other given the state.

    Gaussian          Box            outputs mean (K), free log std (K);  parameters (mean, log std)
    MultiCategorical  MultiDiscrete  outputs logits (sum n_k);            parameters log pi_k, side by side
    Bernoulli         MultiBinary    outputs logits (K);                  parameters logits

Log-probabilities and entropies are sums over the numbers. The Gaussian's log std starts at 0 and does not depend on the
state. Its log-probability is that of the number drawn, whatever the box cuts off of it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from agents.distributions import ActionDistribution, Categorical
from envs.action_codes import ActionCodes

LOG_2_PI = math.log(2 * math.pi)
SMALLEST_UNIFORM = 2.0**-54
"""Stands for a uniform number of 0, whose normal number would be infinite."""
MOST_JOINT = 4096
"""Different actions up to which a distance over whole actions is computed."""


class Gaussian(ActionDistribution):
    """Diagonal Gaussian; parameters are means (K) and log standard deviations (K)."""

    def __init__(self, codes: ActionCodes):
        super().__init__(codes)
        self.low, self.high = (torch.from_numpy(bound) for bound in codes.finite_bounds)
        self.num_outputs = self.num_free = self.noise_size = codes.size

    def parameters(self, outputs: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        return outputs

    def log_prob(self, parameters: Float[Tensor, "B M"], action: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        mean, log_std = parameters.chunk(2, 1)
        return (-((action - mean) / log_std.exp()).square() / 2 - log_std - LOG_2_PI / 2).sum(1)

    def entropy(self, parameters: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        return (0.5 + LOG_2_PI / 2 + parameters.chunk(2, 1)[1]).sum(1)

    def mode(self, parameters: Float[Tensor, "B M"]) -> Float[Tensor, "B K"]:
        return parameters.chunk(2, 1)[0]

    def draw_noise(self, count: int, generator: torch.Generator | None, like: Tensor) -> Float[Tensor, "B K"]:
        return torch.empty(count, self.noise_size, dtype=like.dtype, device=like.device).normal_(generator=generator)

    def noise_from_uniform(self, numbers: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        noise: Tensor = torch.special.ndtri(numbers.double().clamp(min=SMALLEST_UNIFORM))
        return noise.float()

    def sample(
        self, parameters: Float[Tensor, "B M"], noise: Float[Tensor, "B K"] | torch.Generator | None
    ) -> Float[Tensor, "B K"]:
        mean, log_std = parameters.chunk(2, 1)
        return mean + log_std.exp() * self._noise(noise, mean)

    def total_variation(self, parameters: Float[Tensor, "B M"], other: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Distance of two distributions of one policy, whose standard deviations are the same: erf(d / sqrt(8)).

        d is the distance of the means in standard deviations.
        """
        (mean, log_std), other_mean = parameters.chunk(2, 1), self.mode(other)
        return torch.erf(((mean - other_mean) / log_std.exp()).norm(dim=1) / math.sqrt(8))

    def same_mode(self, parameters: Float[Tensor, "B M"], other: Float[Tensor, "B M"]) -> Bool[Tensor, " B"]:
        """Rows whose likeliest actions, clipped to the box, differ by a standard deviation at most in every number."""
        std, low, high = parameters.chunk(2, 1)[1].exp(), self.low.to(parameters), self.high.to(parameters)
        difference = self.mode(parameters).clamp(low, high) - self.mode(other).clamp(low, high)
        return (difference.abs() <= std).all(1)


class MultiCategorical(ActionDistribution):
    """K choices, each among its own number of values; parameters are log pi of each, side by side (B, sum n_k)."""

    def __init__(self, codes: ActionCodes):
        super().__init__(codes)
        self.num_outputs = self.noise_size = codes.size
        self.choices = [Categorical(n) for n in codes.choices]

    def parameters(self, outputs: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        return torch.cat([choice.parameters(part) for choice, part in self._by_choice(outputs)], 1)

    def log_prob(self, parameters: Float[Tensor, "B M"], action: Int[Tensor, "B K"]) -> Float[Tensor, " B"]:
        parts = self._by_choice(parameters)
        return torch.stack([choice.log_prob(part, action[:, k]) for k, (choice, part) in enumerate(parts)]).sum(0)

    def entropy(self, parameters: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        return torch.stack([choice.entropy(part) for choice, part in self._by_choice(parameters)]).sum(0)

    def mode(self, parameters: Float[Tensor, "B M"]) -> Int[Tensor, "B K"]:
        return torch.stack([choice.mode(part) for choice, part in self._by_choice(parameters)], 1)

    def draw_noise(self, count: int, generator: torch.Generator | None, like: Tensor) -> Float[Tensor, "B M"]:
        return torch.cat([choice.draw_noise(count, generator, like) for choice in self.choices], 1)

    def noise_from_uniform(self, numbers: Float[Tensor, "B M"]) -> Float[Tensor, "B M"]:
        return self.choices[0].noise_from_uniform(numbers)

    def sample(
        self, parameters: Float[Tensor, "B M"], noise: Float[Tensor, "B M"] | torch.Generator | None
    ) -> Int[Tensor, "B K"]:
        drawn = self._by_choice(self._noise(noise, parameters))
        parts = zip(self._by_choice(parameters), drawn, strict=True)
        return torch.stack([choice.sample(part, part_noise) for (choice, part), (_, part_noise) in parts], 1)

    def total_variation(self, parameters: Float[Tensor, "B M"], other: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
        """Distance over whole actions; above ``MOST_JOINT`` of them the largest over single choices, a lower bound."""
        pairs = list(zip(self._by_choice(parameters), self._by_choice(other), strict=True))
        if self.codes.count > MOST_JOINT:
            return torch.stack([choice.total_variation(p, q) for (choice, p), (_, q) in pairs]).amax(0)
        log_p, log_q = (_joint([part for _, part in side]) for side in zip(*pairs, strict=True))
        return (log_p.exp() - log_q.exp()).abs().sum(1) / 2

    def _by_choice(self, numbers: Float[Tensor, "B M"]) -> list[tuple[Categorical, Tensor]]:
        """Each choice and its columns."""
        return list(zip(self.choices, numbers.split(self.codes.choices, 1), strict=True))


class Bernoulli(ActionDistribution):
    """K bits; parameters are their logits (B, K)."""

    def __init__(self, codes: ActionCodes):
        super().__init__(codes)
        self.num_outputs = self.noise_size = codes.size

    def parameters(self, outputs: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return outputs

    def log_prob(self, parameters: Float[Tensor, "B K"], action: Int[Tensor, "B K"]) -> Float[Tensor, " B"]:
        return -F.binary_cross_entropy_with_logits(parameters, action.to(parameters), reduction="none").sum(1)

    def entropy(self, parameters: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        return F.binary_cross_entropy_with_logits(parameters, parameters.sigmoid(), reduction="none").sum(1)

    def mode(self, parameters: Float[Tensor, "B K"]) -> Int[Tensor, "B K"]:
        return (parameters > 0).long()

    def draw_noise(self, count: int, generator: torch.Generator | None, like: Tensor) -> Float[Tensor, "B K"]:
        return torch.empty(count, self.noise_size, dtype=like.dtype, device=like.device).uniform_(generator=generator)

    def noise_from_uniform(self, numbers: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return numbers.float()

    def sample(
        self, parameters: Float[Tensor, "B K"], noise: Float[Tensor, "B K"] | torch.Generator | None
    ) -> Int[Tensor, "B K"]:
        """Bits that are 1 where the noise is below their chance: with a generator, what ``torch.bernoulli`` draws."""
        return (self._noise(noise, parameters) < parameters.sigmoid()).long()

    def total_variation(self, parameters: Float[Tensor, "B K"], other: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """Distance over whole actions; above ``MOST_JOINT`` of them the largest over single bits, a lower bound."""
        if self.codes.count > MOST_JOINT:
            return (parameters.sigmoid() - other.sigmoid()).abs().amax(1)
        log_p, log_q = (
            _joint([torch.stack([F.logsigmoid(-bit), F.logsigmoid(bit)], 1) for bit in logits.unbind(1)])
            for logits in (parameters, other)
        )
        return (log_p.exp() - log_q.exp()).abs().sum(1) / 2


def _joint(parts: list[Float[Tensor, "B _"]]) -> Float[Tensor, "B count"]:
    """Log-probabilities of all whole actions from those of their independent numbers."""
    joint = parts[0]
    for part in parts[1:]:
        joint = (joint.unsqueeze(2) + part.unsqueeze(1)).flatten(1)
    return joint
