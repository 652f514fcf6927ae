"""Linear read-outs: ridge regressions from features to the ground truth of an environment.

    R2 = 1 - sum |y - y_hat|^2 / sum |y - mean(y)|^2      (all components of a factor together)

Features are centred and scaled as a frozen policy gets them (``representations.standardise``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from envs.registry import UsageError
from envs.spaces import Array

if TYPE_CHECKING:
    from envs.tasks import World
    from representations.base import Representation

STRENGTHS = (1e-4, 1e-2, 1.0, 100.0)
"""Ridge penalties tried, in units of the number of frames / 1000; the best on a quarter of the fitted frames counts."""
FEW_LABELS = (1e-2, 1.0, 1e2, 1e4, 1e6)
"""Those for few labelled frames, which ask for stronger ones."""
FACTOR = "factor "
"""Prefix of a factor's name among the columns of frames."""
NAMES_OF_LEVELS = frozenset({"level_seed"})
"""Factors that are no quantity: a level's number says nothing that another level could be compared by."""
FEWEST = 32
"""Fitted frames that a factor must be known in: a coin that is seen twice cannot be read."""


class NoGroundTruth(UsageError):
    """An environment that cannot tell its factors."""


def read_outs(
    features: dict[str, Array], factors: dict[str, dict[str, Array]], splits: Sequence[str]
) -> list[dict[str, Any]]:
    """A row {factor, split, r2} for each factor that varies: fitted on the frames of "fit", scored on each split's."""
    rows = []
    for name, target in factors["fit"].items():
        if name in NAMES_OF_LEVELS or not varies(target):
            continue
        predict = fit(features["fit"], target)
        for split in splits:
            scored = factors[split].get(name)
            if scored is not None and scored.shape[1] == target.shape[1] and varies(scored):
                rows.append({"factor": name, "split": split, "r2": r_squared(scored, predict(features[split]))})
    return rows


def features_and_factors(
    world: World, representation: Representation, frames: int, seed: int
) -> tuple[Array, dict[str, Array]]:
    """Features (n, D) and factors {name: (n, d)} of frames of one world. NoGroundTruth where it tells none."""
    import torch

    from envs.steps import Obs
    from representations.collect import collect

    columns = collect((world,), frames, seed, also=ground_truth)
    names = [key for key in columns if key.startswith(FACTOR)]
    factors = {name.removeprefix(FACTOR): columns.pop(name).numpy() for name in names}
    features = []
    with torch.no_grad():
        for start in range(0, frames, 256):
            obs: Obs = {key: columns[key][start : start + 256] for key in representation.keys}
            count = len(next(iter(obs.values())))
            state, first = representation.initial_state(count), torch.ones(count, dtype=torch.bool)
            features.append(representation.encode(obs, state, first)[0].float().numpy())
    return np.concatenate(features), factors


def ground_truth(envs: Any) -> dict[str, Array]:
    """Factors of a vector env as float64 (N, d), under "factor NAME". NoGroundTruth where it tells none."""
    if not hasattr(envs, "factors"):
        raise NoGroundTruth(f"{type(envs).__name__} has no factors()")
    try:
        factors = envs.factors()
    except UsageError as error:
        raise NoGroundTruth(str(error)) from None
    return {
        f"{FACTOR}{name}": np.asarray(value, np.float64).reshape(envs.num_envs, -1) for name, value in factors.items()
    }


def varies(target: Array) -> bool:
    """True where at least ``FEWEST`` rows (n, d) are without nan, and they differ."""
    known = target[~np.isnan(target).any(1)]
    return len(known) >= FEWEST and bool((known.std(0) > 0).any())


def scale_of(features: Array) -> Callable[[Array], Array]:
    """Function that centres and scales features (n, D) by the moments of ``features``, as a frozen policy's are.

    The scale has the lower bound that frozen policies' features have: one that hardly varied here and does on other
    frames would be multiplied a thousandfold there.
    """
    from representations.standardise import FLOOR

    mean, std = features.mean(0), features.std(0)
    divisor = np.maximum(std, FLOOR * np.sqrt(np.square(std).mean()))
    divisor = np.where(divisor > 0, divisor, np.inf)  # all are constant: they carry nothing
    return lambda values: (values - mean) / divisor


def fit(features: Array, target: Array, strengths: Sequence[float] = STRENGTHS) -> Callable[[Array], Array]:
    """Ridge regression features (n, D) -> target (n, d), rows with nan left out; returns its prediction.

    The best of ``strengths`` on a quarter of the rows counts.
    """
    known = ~np.isnan(target).any(1)
    scaled, centre = scale_of(features[known].astype(np.float64)), target[known].mean(0)
    x, y = scaled(features[known].astype(np.float64)), target[known] - centre
    cut = len(x) * 3 // 4
    scores = [(r_squared(y[cut:], x[cut:] @ ridge(x[:cut], y[:cut], strength)), strength) for strength in strengths]
    weights = ridge(x, y, max(scores)[1])
    return lambda inputs: scaled(inputs) @ weights + centre


def ridge(x: Array, y: Array, strength: float) -> Array:
    """Weights w (D, d) = argmin |x w - y|^2 + (strength n / 1000) |w|^2."""
    penalty = strength * len(x) / 1000
    return np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)


def r_squared(target: Array, prediction: Array) -> float:
    """1 - residual / total sum of squares over all components; rows with nan left out; 0 where nothing varies."""
    known = ~np.isnan(target).any(1)
    target, prediction = target[known], prediction[known]
    total = np.square(target - target.mean(0)).sum() if len(target) else 0.0
    return float(1 - np.square(target - prediction).sum() / total) if total > 0 else 0.0
