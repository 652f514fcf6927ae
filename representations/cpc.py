"""CPC (van den Oord et al. 2018, "Representation learning with contrastive predictive coding").

    z_t = trunk(x_t),   c_t = GRU((z, a_{-1})_<=t),   f_k(z, c) = exp(z^T W_k c),   one W_k for each k = 1 .. ahead

    loss = mean over t, k of  -log f_k(z_{t+k}, c_t) / (f_k(z_{t+k}, c_t) + sum over negatives z_j of f_k(z_j, c_t))

in nats; log N where nothing is predicted, N the positive and its negatives, and I(x_{t+k}; c_t) >= log N - loss.
Negatives are the other frames of the batch of windows, of any time and stream, at most ``negatives`` of them, or those
of the same window and episode alone, which share its level. The context reads each frame beside the action that led to
it as ``envs.action_codes`` writes it, one-hot where it is a choice (0 at an episode's first frame and at a window's).
It begins anew with every episode, and pairs with an episode's end between them are left out.

``encode`` returns z, the trunk's rectified dense layer (512 or 256 numbers): the network of ``cnn``. Offline it learns
from windows of a random policy's steps; online, as in the paper's RL section, with PPO or A2C, from windows of the
agent's newest steps, whatever the length of a rollout.

Not as published: the agent's memory. In the paper's RL section one LSTM is the agent's memory and the network of the
contexts. Here the contexts' GRU serves the loss alone, and the policy takes z, or z through a memory of its own
(``--memory gru``), which this loss never trains: a representation is built before the policy and does not know of it.
Differs also: windows of 64 steps with 16 ahead, so that a prediction has 28 frames of context on average; 100 and 30 in
the paper's RL section.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from envs.action_codes import ActionCodes
from envs.spaces import EnvSpec
from envs.steps import Steps, flatten
from representations.base import Config, Heads, Loss, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std


@dataclass(frozen=True)
class CpcConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    window: int = 64
    """Steps of a window; the unrolls of the paper's RL section have 100."""
    ahead: int = 16
    """Predicted steps ahead, 1 .. ahead; the paper's RL section has 30."""
    context: int = 256
    """Size of c."""
    negatives: int = 1024
    """Negatives of a pair at most."""
    same_episode: bool = False
    """Take negatives from the pair's own window and episode alone: what tells levels apart then tells nothing."""
    learning_rate: float = 1e-3
    """Adam, offline; 2e-4 in the paper, for speech and images, which left 1.65 nats after 195 steps, 1e-3 2.89."""
    batch: int = 512
    """Frames per optimizer step offline: 8 windows of 64."""

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
        self.codes = ActionCodes(spec.action_space)
        self.gru = nn.GRUCell(self.features_dim + self.codes.size, config.context)
        self.predictors = nn.ModuleList(
            nn.Linear(config.context, self.features_dim, bias=False) for _ in range(config.ahead)
        )

    @property
    def window(self) -> int:
        return int(self.config.window)

    def contexts(self, z: Float[Tensor, "T B D"], steps: Steps) -> Float[Tensor, "T B G"]:
        """Contexts c of size G = ``context`` of frames z and the actions before them."""
        inputs = torch.cat([z, self.actions_before(steps).to(z.dtype)], 2)
        c = z.new_zeros(z.shape[1], self.config.context)
        contexts = []
        for step, opens in zip(inputs, steps.first, strict=True):
            c = self.gru(step, c.masked_fill(opens.unsqueeze(1), 0))
            contexts.append(c)
        return torch.stack(contexts)

    def actions_before(self, steps: Steps) -> Float[Tensor, "T B A"]:
        """Code of the action that led to each frame; 0 where there was none, or it is not known."""
        before = torch.zeros(*steps.shape, self.codes.size, device=steps.first.device)
        if self.codes.size and steps.actions_known:
            before[1:] = self.codes.encode(steps.action[:-1])
            before.masked_fill_(steps.first.unsqueeze(2), 0)
        return before

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        T, B = steps.shape
        z = self.trunk(flatten(steps.obs)["image"])
        c = self.contexts(z.unflatten(0, (T, B)), steps)
        pool = self._pool(T * B, generator)
        episode = steps.first[1:].cumsum(0)
        episode = torch.cat([torch.zeros_like(episode[:1]), episode])
        index = torch.arange(T * B, device=z.device).view(T, B)
        owner = (episode * B + index[0]).flatten() if self.config.same_episode else None
        losses, sizes = [], []
        for k, predictor in enumerate(self.predictors, 1):
            same_episode = episode[k:] == episode[:-k]
            predicted, target = predictor(c[:-k][same_episode]), index[k:][same_episode]
            negatives = is_negative(target, pool, owner)
            losses.append(info_nce(predicted, z, target, pool, negatives))
            sizes.append((1 + negatives.sum(1)).log())
        pair_losses, log_candidates = torch.cat(losses), torch.cat(sizes)
        pairs = max(len(pair_losses), 1)
        loss = pair_losses.sum() / pairs
        metrics = {
            "info_nce": loss.detach(),
            "information": (log_candidates.sum() - pair_losses.detach().sum()) / pairs,
            "information_next": (sizes[0].sum() - losses[0].detach().sum()) / max(len(losses[0]), 1),
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


def is_negative(
    target: Int[Tensor, " Q"], pool: Int[Tensor, " n"], owner: Int[Tensor, " F"] | None = None
) -> Bool[Tensor, "Q n"]:
    """Frames of the pool that are negatives of each pair: all but the true one, of the same ``owner`` if given."""
    others = pool != target.unsqueeze(1)
    return others if owner is None else others & (owner[pool] == owner[target].unsqueeze(1))


def info_nce(
    predicted: Float[Tensor, "Q D"],
    z: Float[Tensor, "F D"],
    target: Int[Tensor, " Q"],
    pool: Int[Tensor, " n"],
    negatives: Bool[Tensor, "Q n"] | None = None,
) -> Float[Tensor, " Q"]:
    """Loss in nats of each prediction among the frames z.

    ``target`` is the index of the true frame, ``pool`` the indices of frames, ``negatives`` which of them count (all
    but the true one). The true one is always a candidate, and counts once.
    """
    logits = (predicted @ z[pool].T).float()
    positive = (predicted * z[target]).float().sum(1, keepdim=True)
    negatives = is_negative(target, pool) if negatives is None else negatives
    others = logits.masked_fill(~negatives, -torch.inf)
    return torch.cat([positive, others], 1).logsumexp(1) - positive.squeeze(1)
