"""CPC (van den Oord et al. 2018, "Representation learning with contrastive predictive coding").

    z_t = trunk(x_t),   c_t = GRU(z_<=t),   f_k(z, c) = exp(z^T W_k c),   one W_k for each k = 1 .. ahead

    loss = mean over t, k of  -log f_k(z_{t+k}, c_t) / (f_k(z_{t+k}, c_t) + sum over negatives z_j of f_k(z_j, c_t))

in nats; log N where nothing is predicted, N the positive and its negatives, and I(x_{t+k}; c_t) >= log N - loss.
Negatives are the other frames of the batch of windows, of any time and stream, at most ``negatives`` of them. The
context begins anew with every episode, and pairs with an episode's end between them are left out.

``encode`` returns z, the trunk's rectified dense layer (512 or 256 numbers): the network of ``cnn``. Offline it learns
from windows of a random policy's steps; online, as in the paper's RL section, with PPO or A2C, from windows of the
agent's newest steps, 30 steps ahead, whatever the length of a rollout.

Differs from the paper: the GRU serves the loss alone, and the policy takes z, with ``--memory gru`` through a GRU of
its own (there both are the agent's LSTM); windows of 32 steps, not 100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps, flatten
from representations.base import Config, Heads, Loss, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std


@dataclass(frozen=True)
class CpcConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    window: int = 32
    """Steps of a window."""
    ahead: int = 30
    """Predicted steps ahead, 1 .. ahead; the paper's RL section has 30."""
    context: int = 256
    """Size of c."""
    negatives: int = 1024
    """Negatives of a pair at most."""
    learning_rate: float = 1e-3
    """Adam, offline; 2e-4 in the paper, for speech and images, which left 1.65 nats after 195 steps, 1e-3 2.89."""
    batch: int = 512
    """Frames per optimizer step offline: 16 windows of 32."""

    def __post_init__(self) -> None:
        self.at_least(window=2, ahead=1, context=1, negatives=1, learning_rate=0, batch=1)
        if self.ahead >= self.window:
            raise ValueError(f"ahead={self.ahead}: a window of {self.window} steps holds less; give a longer window")


class Cpc(Trunked):
    """See the module docstring."""

    Config = CpcConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        self.gru = nn.GRUCell(self.features_dim, config.context)
        self.predictors = nn.ModuleList(
            nn.Linear(config.context, self.features_dim, bias=False) for _ in range(config.ahead)
        )

    @property
    def window(self) -> int:
        return int(self.config.window)

    def contexts(self, z: Float[Tensor, "T B D"], first: Bool[Tensor, "T B"]) -> Float[Tensor, "T B G"]:
        """Contexts c of size G = ``context``; ``first`` marks frames that open an episode."""
        c = z.new_zeros(z.shape[1], self.config.context)
        contexts = []
        for z_now, opens in zip(z, first, strict=True):
            c = self.gru(z_now, c.masked_fill(opens.unsqueeze(1), 0))
            contexts.append(c)
        return torch.stack(contexts)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        T, B = steps.shape
        z = self.trunk(flatten(steps.obs)["image"])
        c = self.contexts(z.unflatten(0, (T, B)), steps.first)
        pool = self._pool(T * B, generator)
        episode = steps.first[1:].cumsum(0)
        episode = torch.cat([torch.zeros_like(episode[:1]), episode])
        index = torch.arange(T * B, device=z.device).view(T, B)
        losses = []
        for k, predictor in enumerate(self.predictors, 1):
            same_episode = episode[k:] == episode[:-k]
            predicted, target = predictor(c[:-k][same_episode]), index[k:][same_episode]
            losses.append(info_nce(predicted, z, target, pool))
        pair_losses = torch.cat(losses)
        loss = pair_losses.sum() / max(len(pair_losses), 1)
        log_candidates = math.log(len(pool) + (len(pool) < T * B))
        metrics = {
            "info_nce": loss.detach(),
            "information": log_candidates - loss.detach(),
            "information_next": log_candidates - losses[0].detach().sum() / max(len(losses[0]), 1),
            "feature_std": feature_std(z),
        }
        return loss, metrics

    def _pool(self, frames: int, generator: torch.Generator) -> Int[Tensor, " n"]:
        """Indices of the frames that serve as negatives: all, or a random subset of ``negatives``."""
        if frames - 1 <= self.config.negatives:
            return torch.arange(frames, device=generator.device)
        order = torch.randperm(frames, generator=generator, device=generator.device)
        return order[: self.config.negatives]

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        batch = self.frames_per_step(self.config)
        return [replace(fit, name="cpc", learning_rate=self.config.learning_rate, batch=batch)]


def info_nce(
    predicted: Float[Tensor, "Q D"], z: Float[Tensor, "F D"], target: Int[Tensor, " Q"], pool: Int[Tensor, " n"]
) -> Float[Tensor, " Q"]:
    """Loss in nats of each prediction among the frames z.

    ``target`` is the index of the true frame, ``pool`` the indices of the negatives. A true frame among the negatives
    counts once.
    """
    logits = (predicted @ z[pool].T).float()
    positive = (predicted * z[target]).float().sum(1, keepdim=True)
    others = logits.masked_fill(pool == target.unsqueeze(1), -torch.inf)
    return torch.cat([positive, others], 1).logsumexp(1) - positive.squeeze(1)
