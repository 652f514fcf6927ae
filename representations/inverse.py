"""Inverse model: the action that lay between two frames (Agrawal et al. 2015, "Learning to see by moving").

Ego-motion as a label, and the inverse model of ICM (Pathak et al. 2017) as a representation of its own:

    loss = mean over pairs of  -log softmax(g(h_t, h_{t+1}))[a_t],    h = trunk(x)

in nats; log A where nothing tells the A actions apart. g has one hidden layer. Features keep what the agent moves, and
need not keep what moves by itself. A pair across an episode's end is left out: no action led from one to the other.

``accuracy`` is the fraction of pairs whose action is the most likely one. Chance is the share of the most frequent
action: 1/A where frames come from random actions.

Actions of several numbers have a term for each, and count as told where all are. Of a Box the loss is half the squared
error, and told is on which side of the middle each number lies (``nets.actions``).

``encode`` returns h, the rectified dense layer; g is dropped.

Differs from the paper: the toolkit's trunk (Agrawal: AlexNet's first layers, and bins of the camera's motion for
actions; Pathak: four convolutions of 32 with elu, and a forward model that has no part in the features); Adam.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn

from envs.action_codes import ActionCodes
from envs.history import History
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from representations.base import Config, Heads, Loss, Mode, Phase, Unfit
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.actions import action_hits, action_loss


@dataclass(frozen=True)
class InverseConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    hidden: int = 256
    """Units of g's hidden layer; Pathak's."""
    learning_rate: float = 1e-3
    """Adam, pre-training; Pathak's."""
    pairs: int = 128
    """Pairs of frames per optimizer step, offline and online."""

    def __post_init__(self) -> None:
        self.at_least(hidden=1, learning_rate=0, pairs=1)


class Inverse(Trunked):
    """See the module docstring."""

    Config = InverseConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True
    window = 2

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        if spec.action_space is None:
            raise Unfit(f"{self.name} tells actions apart, and nothing acts here")
        self.codes = ActionCodes(spec.action_space)
        hidden = self.config.hidden
        self.actions = nn.Sequential(
            nn.Linear(2 * self.features_dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, self.codes.size)
        )

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        if not steps.actions_known:
            raise UsageError(f"{self.name} needs the actions between stored frames, and they were not recorded")
        features = self.trunk(steps.obs["image"].flatten(0, 1)).unflatten(0, steps.shape)
        logits = self.actions(torch.cat([features[:-1], features[1:]], 2)).float().flatten(0, 1)
        action, valid = steps.action[:-1].flatten(0, 1), ~steps.first[1:].flatten()
        count = valid.sum().clamp(min=1)
        losses = action_loss(self.codes, logits, action).masked_fill(~valid, 0)
        loss = losses.sum() / count
        hits = action_hits(self.codes, logits.detach(), action) & valid
        std = feature_std(features.flatten(0, 1))
        return loss, {"loss": loss.detach(), "accuracy": hits.sum() / count, "feature_std": std}

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        """``loss`` of as many pairs as offline: they are much shorter than other methods' windows."""
        return self.loss(history.windows(self.config.pairs, self.window, generator), heads, generator)

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        batch = self.frames_per_step(self.config)
        return [replace(fit, name="inverse", learning_rate=self.config.learning_rate, batch=batch)]

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(2 * config.pairs)
