"""Fits by scikit-learn, which the optional extra ``classic`` installs, and the draws that they start from."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from envs.registry import UsageError


def estimator(module: str, name: str) -> Any:
    """Class ``name`` of ``sklearn.<module>``. UsageError where scikit-learn is missing."""
    try:
        return getattr(import_module(f"sklearn.{module}"), name)
    except ImportError:
        raise UsageError(f"{name} needs scikit-learn: pip install -e '.[classic]'") from None


def seed_from(generator: torch.Generator) -> int:
    """Seed for an estimator's ``random_state``."""
    return int(torch.randint(2**31 - 1, (1,), generator=generator, device=generator.device))


def some_rows(rows: Shaped[Tensor, "n ..."], count: int, generator: torch.Generator) -> Shaped[Tensor, "m ..."]:
    """At most ``count`` of the rows, drawn without replacement."""
    if len(rows) <= count:
        return rows
    order = torch.randperm(len(rows), generator=generator, device=generator.device)
    return rows[order[:count].to(rows.device)]


def fit(model: Any, rows: Float[Tensor, "n D"]) -> Any:
    """``model`` fitted to the rows; that a fit has not converged, metrics say, and no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(rows.cpu().numpy())
