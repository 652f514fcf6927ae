"""Numbers that must be finite, named by the place where one is not.

A nan or an infinity that enters training spreads to all weights within an update. So it is looked for where it enters,
and training stops there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from envs.registry import UsageError


class NotFinite(UsageError):
    """A number is nan or infinite; the message names it, its place, and what to change."""


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """True where no number of the floating tensors is nan or infinite.

    A sum is one pass without a copy, and is not finite where a number is not; all sums are read at once. Only a sum
    that is not finite, as one that overflows, has its numbers looked at one by one.
    """
    floating = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    if not floating:
        return True
    sums = torch.stack([tensor.detach().sum().float() for tensor in floating])
    return bool(sums.isfinite().all()) or all(bool(tensor.isfinite().all()) for tensor in floating)


def first_not_finite(values: Tensor) -> tuple[int, int, float] | None:
    """Row, column and value of the first number (T, N, ...) that is not finite, by row; None where all are."""
    flat = values.reshape(*values.shape[:2], -1)
    where = (~flat.isfinite()).nonzero()
    if not len(where):
        return None
    row, column, place = where[0].tolist()
    return row, column, float(flat[row, column, place])


def require_finite_weights(module: nn.Module, when: str) -> None:
    """Refuse to go on with, or to store, weights that are not finite.

    Raises:
        NotFinite: with the name of the first such parameter.
    """
    if all_finite(module.parameters()):
        return
    name = next(name for name, parameter in module.named_parameters() if not all_finite([parameter]))
    raise NotFinite(
        f"weights {name} are not finite {when}: training diverged; lower the learning rate. "
        "The last checkpoint is still whole"
    )


def lower_rate_of(name: str, config: Any) -> str:
    """The cure for a module that diverged: its learning rate, by the option where its settings have one."""
    fields = {field.name for field in dataclasses.fields(config)} if dataclasses.is_dataclass(config) else set()
    option = f" (--set {name}.learning_rate=...)" if "learning_rate" in fields else ""
    return f"lower its learning rate{option}"
