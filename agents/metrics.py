"""Metrics of an update: weighted means over micro-batches and ranks, and warnings about features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from representations.base import Representation
from representations.feature_metrics import warn_if_collapsed, warn_if_few_directions


class MetricMeans:
    """Weighted means by name; tensors stay on their device and are read only once, at the end."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Tensor, float]] = {}

    def add(self, name: str, value: Tensor, weight: float = 1.0) -> None:
        """Count a scalar with a weight."""
        total, weights = self._sums.get(name, (torch.zeros((), device=value.device), 0.0))
        self._sums[name] = total + value.detach() * weight, weights + weight

    def merge(self, other: MetricMeans) -> None:
        """Count everything that ``other`` has counted."""
        for name, (total, weights) in other._sums.items():
            before = self._sums.get(name, (torch.zeros((), device=total.device), 0.0))
            self._sums[name] = before[0] + total, before[1] + weights

    def compute(self, ranks: Ranks = SINGLE_PROCESS) -> dict[str, float]:
        """Means over all ranks, of which some may lack a metric."""
        local = [(name, float(total), weights) for name, (total, weights) in self._sums.items()]
        pooled: dict[str, tuple[float, float]] = {}
        for name, total, weights in ranks.all_gather(local):
            before = pooled.get(name, (0.0, 0.0))
            pooled[name] = before[0] + total, before[1] + weights
        return {name: total / weights for name, (total, weights) in pooled.items()}


def explained_variance(returns: Float[Tensor, "T N"], values: Float[Tensor, "T N"]) -> float:
    """1 - Var(R - V) / Var(R); nan where the returns do not vary."""
    variance = returns.var()
    return float(1 - (returns - values).var() / variance) if variance > 0 else float("nan")


class FeatureWarnings:
    """Warnings, each given once, where a policy's features no longer tell frames apart, or do so in few directions."""

    def __init__(self, representation: Representation):
        self.representation = representation
        self._collapsed = self._few_directions = False

    def check(self, metrics: Mapping[str, float], frames: int, when: str) -> None:
        """Warn by the metrics of an update.

        Args:
            frames: that the effective rank was measured on, where it was.
            when: in the message, "after 1,000 frames".
        """
        name = self.representation.name
        if not self.representation.sees:
            return
        if not self._collapsed:
            spread, size = (metrics[f"representation/feature_{key}"] for key in ("std", "size"))
            self._collapsed = warn_if_collapsed(name, spread, size, when)
        rank = metrics.get("representation/effective_rank")
        if rank is not None and not self._collapsed | self._few_directions:
            self._few_directions = warn_if_few_directions(name, rank, frames, when)
