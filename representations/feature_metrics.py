"""Metrics of features over a batch: do they tell frames apart, and in how many directions.

    spread          mean over D of the standard deviation over the batch
    dead units      fraction of the D units that are 0 in almost every row: a ReLU that never opens
    effective rank  exp(H(p)),  p_i = s_i / sum s,  s the singular values of the centred batch (Roy and Vetterli 2007)

An effective rank near 1 says that all frames lie on one line in feature space, D that they fill it evenly. It falls,
and dead units rise, where a network loses its ability to learn (Kumar et al. 2021, Lyle et al. 2023).
"""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

COLLAPSED = 1e-4
"""Standard deviation over frames, relative to the features' root mean square, below which they carry nothing."""
SILENT = 1e-6
"""Size, relative to the features' root mean square, below which a unit counts as 0."""
RARE = 0.01
"""Fraction of the rows in which a dead unit may still be active."""
FEWEST_FRAMES = 64
"""Frames below which an effective rank says little: it cannot exceed their number."""
FEW_DIRECTIONS = 5.0
"""Effective rank below which a policy is warned. A CNN on CoinRun has 160 to 240 of 512, frozen DARLA 30 to 37 of 64,
the true factors of a room of sprites 5."""


def feature_std(features: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Standard deviation of features over the batch, mean over D: near 0, the encoder has collapsed."""
    return features.detach().float().std(0, correction=0).mean()


def dead_units(features: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Fraction of the D units that are 0 (``SILENT``) in all but ``RARE`` of the B rows."""
    sizes = features.detach().float().abs()
    active = (sizes > SILENT * sizes.square().mean().sqrt()).float().mean(0)
    return (active <= RARE).float().mean()


def effective_rank(features: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Exp of the entropy of the normalised singular values of the centred batch; 0 where the rows are all the same.

    Features that are not finite have none: nan.
    """
    x = features.detach().float()
    x = x - x.mean(0)
    if not x.sum().isfinite():
        return torch.full((), torch.nan, device=x.device)
    # The smaller Gram matrix has the same squared singular values; in float64, as squaring halves the digits.
    gram = (x @ x.T if len(x) < x.shape[1] else x.T @ x).double()
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    # Rounding leaves values where there should be none, and the entropy would count them.
    singular = torch.where(singular > 1e-4 * singular.max(), singular, 0.0)
    total = singular.sum()
    if not total > 0:
        return torch.zeros((), device=x.device)
    p = singular / total
    rank: Tensor = torch.special.entr(p).sum().exp().float()
    return rank


def warn_if_collapsed(name: str, spread: float, size: float, when: str) -> bool:
    """RuntimeWarning with the figures where features hardly differ from frame to frame; True if it was given.

    Args:
        name: of the representation.
        spread: the features' ``feature_std`` over a batch of frames.
        size: their root mean square.
        when: in the message, "after 1,000 samples".
    """
    if spread > COLLAPSED * size:
        return False
    warnings.warn(
        f"{name}: features have collapsed {when}: their standard deviation over frames is {spread:.2g}, their size "
        f"{size:.2g}; the policy sees the same whatever the frame (lower the learning rate or the weight of the KL)",
        RuntimeWarning,
        stacklevel=2,
    )
    return True


def warn_if_few_directions(name: str, rank: float, frames: int, when: str) -> bool:
    """RuntimeWarning where features differ from frame to frame in fewer than ``FEW_DIRECTIONS``; True if it was given.

    Args:
        name: of the representation.
        rank: the features' ``effective_rank`` over frames of many moments.
        frames: their number; below ``FEWEST_FRAMES`` nothing is said.
        when: in the message, "after 1,000 frames".
    """
    if rank >= FEW_DIRECTIONS or frames < FEWEST_FRAMES:
        return False
    warnings.warn(
        f"{name}: features have an effective rank of {rank:.1f} {when}: frames differ in so few directions only, which "
        "is little unless the task has as few factors",
        RuntimeWarning,
        stacklevel=2,
    )
    return True
