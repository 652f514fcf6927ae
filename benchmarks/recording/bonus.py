"""The bonuses of a finished run, step by step over a recorded episode."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from envs.spaces import FEATURES, Array
from envs.steps import Obs, Steps
from intrinsic.base import IntrinsicBonus

if TYPE_CHECKING:
    from agents.runs.config import RunConfig


class StepInputs(NamedTuple):
    """One step as the policy and bonuses read it."""

    obs: Mapping[str, Array]
    """Observations by key, images (H, W, C)."""
    features: torch.Tensor
    """(D,) of the representation."""
    state: tuple[torch.Tensor, ...]
    """Carried by the policy into the step, each (...)."""
    first: bool
    """It opens an episode."""
    ended: bool
    """The episode ended with it."""


@dataclass(frozen=True)
class EpisodeBonus:
    """Sum of a run's bonuses, as it was added to the reward at the end of training.

    Whether a state was there before in the episode does not count here (``bonus_once``).
    """

    bonuses: Sequence[IntrinsicBonus]
    factors: Mapping[str, float]
    """Bonus -> coefficient over the scale of its discounted sum."""

    @property
    def observed_keys(self) -> tuple[str, ...]:
        """Observations that the bonuses read, without features."""
        keys = {key for bonus in self.bonuses for key in bonus.keys}
        return tuple(sorted(keys - {FEATURES}))

    @torch.no_grad()
    def score(self, inputs: Sequence[StepInputs], actions: Array) -> list[float]:
        """Scaled bonus of T steps with actions (T, ...); 0 where nothing is known to follow."""
        steps = self._steps(inputs, actions)
        total = torch.zeros(len(inputs))
        for bonus in self.bonuses:
            # Of a copy: some bonuses take what they score into their running moments.
            total += self.factors[bonus.name] * copy.deepcopy(bonus).compute(steps)[:, 0]
        values: list[float] = total.tolist()
        return values

    def _steps(self, inputs: Sequence[StepInputs], actions: Array) -> Steps:
        """The steps as a rollout (T, 1)."""
        obs: Obs = {FEATURES: torch.stack([step.features for step in inputs])[:, None]}
        for key in self.observed_keys:
            stacked = torch.from_numpy(np.stack([step.obs[key] for step in inputs]))[:, None]
            obs[key] = stacked.movedim(-1, 2) if stacked.dim() == 5 else stacked
        done = torch.tensor([step.ended for step in inputs])[:, None]
        known, first = ~done, torch.cat([torch.ones(1, 1, dtype=torch.bool), done[:-1]])
        known[-1] = False

        def following() -> Any:
            return {key: torch.cat([value[1:], value[-1:]]) for key, value in obs.items()}

        action, no = torch.from_numpy(actions)[:, None], torch.zeros_like(done)
        return Steps(obs, action, torch.zeros(done.shape), done, no, known, first, following)


def load_bonus(run: Path, config: RunConfig) -> EpisodeBonus | None:
    """The bonuses in a run's newest checkpoint; None where it has none. Those that depend on a skill are left out."""
    from agents.runs.load import load_bonuses

    if config.bonus == "none":
        return None
    loaded = [(bonus, factor) for bonus, factor in load_bonuses(run, asdict(config)) if not bonus.context_dim]
    if not loaded:
        return None
    return EpisodeBonus([bonus for bonus, _ in loaded], {bonus.name: factor for bonus, factor in loaded})
