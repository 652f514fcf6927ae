"""Metrics of an update: weighted means over micro-batches and ranks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from agents.parallel.distributed import SINGLE_PROCESS, Ranks


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
