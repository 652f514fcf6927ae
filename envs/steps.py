"""Steps, the one batch that every loss and every bonus reads: time first, stream second, always."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

Obs = dict[str, Tensor]
"""Observations by key. Images are uint8, shape (..., C, H, W), channels-last in memory."""


@dataclass
class Steps:
    """T steps of B streams: a rollout (B = environments), a minibatch (T = 1) or a batch of windows.

    A step is (obs_t, action_t) -> (reward_t, terminated_t, truncated_t, next_obs_t).
    """

    obs: Obs
    """(T, B, ...) observations that the policy acted on."""
    action: Shaped[Tensor, "T B ..."]
    """As ``envs.action_codes`` stores them: int64, of a Box float32."""
    reward: Float[Tensor, "T B"]
    """The environment's own reward: no bonus, no normalisation."""
    terminated: Bool[Tensor, "T B"]
    """The episode ended in a terminal state."""
    truncated: Bool[Tensor, "T B"]
    """The episode was cut off (a time limit)."""
    next_valid: Bool[Tensor, "T B"]
    """False where the env cannot show what truly followed; losses skip those pairs, a bonus is 0."""
    first: Bool[Tensor, "T B"]
    """obs_t opens an episode."""
    make_next_obs: Callable[[], Obs] = field(repr=False)
    """Builds ``next_obs``; called once, only if a loss or a bonus asks."""
    shaped_reward: Float[Tensor, "T B"] | None = None
    """Reward the agent is trained on: normalised, with bonuses and bootstraps; known after its rollout."""
    actions_known: bool = True
    """False where ``action`` was not recorded (single stored frames) and is 0. Rewards of stored frames are 0, too."""
    context: Float[Tensor, "T B K"] | None = None
    """Vector that a bonus gave the policy beside the observation (an option, a skill)."""
    row: Int[Tensor, " B"] | None = None
    """Number of the stored frame or window behind each stream; offline alone."""

    @cached_property
    def next_obs(self) -> Obs:
        """(T, B, ...) observations that truly followed; never the first frame of the next episode."""
        return self.make_next_obs()

    @property
    def done(self) -> Bool[Tensor, "T B"]:
        """True where the episode ended for either reason."""
        return self.terminated | self.truncated

    @property
    def shape(self) -> tuple[int, int]:
        """(T, B)."""
        return self.action.shape[0], self.action.shape[1]

    @classmethod
    def frames(cls, obs: Mapping[str, Tensor]) -> Steps:
        """Single frames (B, ...) as Steps of T = 1 with nothing known about what follows: offline pre-training."""
        any_value = next(iter(obs.values()))
        batch = any_value.shape[0]
        false = torch.zeros(1, batch, dtype=torch.bool, device=any_value.device)
        zero = torch.zeros(1, batch, device=any_value.device)
        batched = {key: value.unsqueeze(0) for key, value in obs.items()}
        return cls(batched, zero.long(), zero, false, false, false, false, lambda: batched, actions_known=False)

    @classmethod
    def windows(
        cls, obs: Mapping[str, Tensor], first: Bool[Tensor, "T B"], action: Shaped[Tensor, "T B ..."] | None = None
    ) -> Steps:
        """Windows (T, B, ...) of observations whose rewards are not known, and of the actions where they are given.

        The last step's action is not known in any case.
        """
        done = torch.cat([first[1:], torch.zeros_like(first[:1])])
        known = ~done
        known[-1] = False
        zeros = torch.zeros(first.shape, device=first.device)
        present = dict(obs)

        def following() -> Obs:
            shifted = {key: torch.cat([value[1:], value[-1:]]) for key, value in present.items()}
            shape = {key: (*known.shape, *(1,) * (value.dim() - 2)) for key, value in present.items()}
            return {key: torch.where(known.view(shape[key]), shifted[key], value) for key, value in present.items()}

        cut = torch.zeros_like(done)
        known_actions = action is not None
        action = zeros.long() if action is None else action
        return cls(present, action, zeros, done, cut, known, first, following, actions_known=known_actions)


def flatten(obs: Mapping[str, Tensor]) -> Obs:
    """(T, B, ...) -> (T*B, ...), without a copy where the memory allows it."""
    return {key: value.flatten(0, 1) for key, value in obs.items()}
