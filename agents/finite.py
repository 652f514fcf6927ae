"""Checks of training for numbers that are not finite: observations, features, outputs, rewards, losses, gradients.

One sum over each array of a finished rollout, and a look at the metrics of an update, which are read anyway. What comes
first in time is named, and of one step what comes first on the way from the environment to the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.rollout import RolloutData
from envs.finite import NotFinite, all_finite, first_not_finite, lower_rate_of
from envs.spaces import FEATURES, Array
from envs.steps import Steps
from representations.base import Representation
from representations.wrappers import unwrapped

WHOLE = "The last checkpoint is still whole"


class FiniteChecks:
    """Checks of one agent's rollouts and updates.

    Args:
        algorithm: as ``--set`` names it.
        first_env: number of this rank's first environment.
        total_envs: environments of all ranks.
    """

    def __init__(self, representation: Representation, algorithm: str, first_env: int, total_envs: int):
        self.representation, self.algorithm = representation, algorithm
        self.first_env, self.total_envs = first_env, total_envs

    def check_observation(self, observation: Any, frame: int) -> None:
        """Refuse floating observations (N, ...) that are not finite, before the policy acts on them.

        Args:
            frame: frames of all environments seen before.

        Raises:
            NotFinite: with the key and the environment.
        """
        for key, value in floating(observation).items():
            values = torch.as_tensor(value)
            if not all_finite([values]) and (bad := first_not_finite(values[None])):
                shown = f" '{key}'" if key else ""
                raise NotFinite(
                    f"observation{shown} of environment {self.first_env + bad[1]} is {bad[2]} after "
                    f"{frame:,} frames: the environment gave it; mend its reset() and step(). {WHOLE}"
                )

    def check_rollout(self, steps: Steps, data: RolloutData, frame: int) -> None:
        """Refuse a rollout (T, N) whose features, outputs or rewards are not finite.

        Args:
            frame: frames of all environments seen in all, after the last step.

        Raises:
            NotFinite: with the kind of the number, the environment and the step.
        """
        features = [steps.obs[FEATURES]] if FEATURES in steps.obs else []
        if not all_finite([*features, data.values, data.log_probs, steps.reward, data.bootstrap]):
            self._raise_first(features, steps, data, frame)

    def check_bonus(self, name: str, raw: Tensor, config: Any) -> None:
        """Refuse the scores (T, N) of a bonus, before they enter its scale."""
        if not all_finite([raw]):
            place = first_not_finite(raw)
            assert place is not None
            t, i, value = place
            raise NotFinite(
                f"bonus '{name}' of environment {self.first_env + i} is {value} at step {t + 1} of {len(raw)} of a "
                f"rollout: {self._slower(name, config)}. {WHOLE}"
            )

    def check_update(self, metrics: Mapping[str, float], frame: int) -> None:
        """Refuse an update whose losses or gradients are not finite."""
        spoilt = [name for name, value in metrics.items() if _must_be_finite(name) and not math.isfinite(value)]
        if not spoilt:
            return
        name, others = spoilt[0], spoilt[1:]
        kind, _, rest = name.partition("/")
        cure = self._lower_rate()
        if "auxiliary" in rest:
            cure = f"lower the weight of its loss (--set {self.algorithm}.aux_coef=...), or {cure}"
        elif kind == "bonus":
            cure = f"lower the learning rate of bonus '{rest.partition('/')[0]}'"
        # Means over minibatches: a gradient that was first spoils the losses after it.
        more = f", and so are {', '.join(others)}" if others else ""
        raise NotFinite(f"{name} is {metrics[name]} at frame {frame:,}{more}: training diverged; {cure}. {WHOLE}")

    def _raise_first(self, features: list[Tensor], steps: Steps, data: RolloutData, frame: int) -> None:
        """Name what is first in time; of one step what is first on the way from the environment to the loss."""
        length, diverged = len(steps.reward), f"training diverged; {self._lower_rate()}"
        of_features = f"its weights or their scale are not finite; {self._slower(self.representation.name)}"
        sources = [
            *((f"feature of '{self.representation.name}'", values, of_features) for values in features),
            ("value of the policy", data.values, diverged),
            ("log-probability of the policy's action", data.log_probs, diverged),
            ("reward", steps.reward, "the environment gave it; mend its step()"),
            (
                "value of the final observation",
                data.bootstrap,
                f"mend that observation, or {diverged}",
            ),
        ]
        places = [(first_not_finite(values), name, cure) for name, values, cure in sources]
        (t, i, value), name, cure = min(
            ((place, name, cure) for place, name, cure in places if place), key=lambda entry: entry[0][0]
        )
        seen = frame - (length - 1 - t) * self.total_envs
        raise NotFinite(
            f"{name} of environment {self.first_env + i} is {value} at step {t + 1} of a rollout of {length}, frame "
            f"{seen:,}: {cure}. {WHOLE}"
        )

    def _lower_rate(self) -> str:
        return f"lower the learning rate (--set {self.algorithm}.learning_rate=...), or give --precision float32"

    def _slower(self, name: str, config: Any = None) -> str:
        return lower_rate_of(name, unwrapped(self.representation).config if config is None else config)


def _must_be_finite(metric: str) -> bool:
    kind, _, rest = metric.partition("/")
    return kind in ("loss", "gradient") or (kind == "bonus" and "loss" in rest)


def floating(observation: Any) -> dict[str, Array]:
    """Floating arrays (N, ...) of an observation by key; "" is that of one without keys."""
    by_key = observation if isinstance(observation, Mapping) else {"": observation}
    return {key: value for key, value in by_key.items() if np.asarray(value).dtype.kind == "f"}
