"""CURL (Laskin et al. 2020, "CURL: contrastive unsupervised representations for reinforcement learning").

Two random crops of each of B frames (or stacks of frames). The query network encodes one, the key network, a slow copy
of it, the other; a query must find the key of its own frame among the B:

    loss = mean over i of  -log exp(q_i^T W k_i) / sum_j exp(q_i^T W k_j),   in nats; log B where all keys are alike
    key weights <- m key weights + (1 - m) query weights,                    after every optimizer step

q and k are LayerNorm(linear(h)), W is learnt, no gradient reaches the keys. ``encode`` returns h = trunk(x), the
rectified dense layer of the query network, of the unchanged image.

``rl_on_crops`` lets RL learn on crops, too, as the authors' agents do: where the policy is updated, each frame is
cropped by numbers drawn by counter from its pixels and the optimizer step; acting reads the whole frame.

Differs from the paper: inside PPO or A2C, where it was SAC and Rainbow; crops by padding (100 -> 84 there); the policy
takes the trunk's own 512 or 256 features, not 50; W begins as I / sqrt(D), not uniform in 0..1, under which the logits
of D = 128 normalised numbers would begin with a spread of 37 and carry nothing. The paper gives m = 0.99, its code 0.95
(``encoder_tau`` 0.05). The keys of one micro-batch are the negatives.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.augment import crop, shift
from representations.base import Config, Heads, Loss, Phase, State
from representations.cnn import Trunked
from representations.feature_metrics import feature_std


def info_nce(
    query: Float[Tensor, "B D"], key: Float[Tensor, "B D"], weight: Float[Tensor, "D D"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Loss (nats), and the fraction of queries whose own key scores highest."""
    with torch.autocast(query.device.type, enabled=False):
        # cross_entropy subtracts each row's maximum, so that no exponential overflows
        logits = query.float() @ weight.float() @ key.float().T
        own = torch.arange(len(logits), device=logits.device)
        accuracy = (logits.detach().argmax(1) == own).float().mean()
        return F.cross_entropy(logits, own), accuracy


@dataclass(frozen=True)
class CurlConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    pad: int = 12
    """Pixels that the crop pads; 12 at 64x64 is DrAC's. 4 keeps small objects at the border visible."""
    momentum: float = 0.99
    """m of the key network; 1 never moves it. Lower in a short pre-training (``Representation.momentum``)."""
    projection: int = 128
    """D, the size of q and k; the code's ``curl_latent_dim``."""
    rl_on_crops: bool = False
    """Update the policy, too, on crops by ``pad`` (modes finetune and online)."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    batch: int = 512
    """Frames per optimizer step offline; each is compared with the others."""

    def __post_init__(self) -> None:
        self.at_least(pad=0, momentum=0, projection=2, learning_rate=0, batch=2)
        if self.momentum > 1:
            raise ValueError(f"momentum={self.momentum}: give a number of at most 1")


class Curl(Trunked):
    """See the module docstring."""

    Config = CurlConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        size = self.config.projection
        self.projection = nn.Sequential(nn.Linear(self.features_dim, size), nn.LayerNorm(size))
        self.bilinear = nn.Parameter(torch.eye(size) / math.sqrt(size))
        self.key_trunk = copy.deepcopy(self.trunk).requires_grad_(False)
        self.key_projection = copy.deepcopy(self.projection).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.updates: Tensor

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        if self.config.rl_on_crops and self.training:
            obs = {**obs, "image": crop_by_counter(obs["image"], self.config.pad, self.updates)}
        return super().encode(obs, state, first)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.contrast(flatten(steps.obs)["image"], generator)

    def contrast(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> Loss:
        """InfoNCE between two crops of each image."""
        pad = self.config.pad
        features = self.trunk(crop(image, generator, pad))
        with torch.no_grad():
            key = self.key_projection(self.key_trunk(crop(image, generator, pad)))
        loss, accuracy = info_nce(self.projection(features), key, self.bilinear)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(features)}

    def phases(self) -> list[Phase]:
        def offline_loss(steps: Steps, generator: torch.Generator) -> Loss:
            return self.contrast(flatten(steps.obs)["image"], generator)

        parameters = [*self.trunk.parameters(), *self.projection.parameters(), self.bilinear]
        return [Phase("contrast", parameters, offline_loss, self.config.learning_rate, batch=self.config.batch)]

    @torch.no_grad()
    def after_step(self) -> None:
        self.updates += 1
        m = self.momentum(self.config.momentum)
        for keys, queries in ((self.key_trunk, self.trunk), (self.key_projection, self.projection)):
            for key, query in zip(keys.parameters(), queries.parameters(), strict=True):
                key.mul_(m).add_(query, alpha=1 - m)


def crop_by_counter(image: UInt8[Tensor, "B C H W"], pad: int, step: Int[Tensor, ""]) -> UInt8[Tensor, "B C H W"]:
    """``crop`` whose offsets follow from each frame's pixels and ``step``: an encoder draws no random number.

    Frames may be encoded in several threads and in any micro-batch, and a frame's crop must not depend on that.
    """
    key = image.flatten(1).sum(1, dtype=torch.int64) * 1_000_003 + step * 7_919
    # the finalizer of a 32-bit hash (Appleby, MurmurHash3)
    key = (key ^ (key >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    key = (key ^ (key >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    key = key ^ (key >> 16)
    side = 2 * pad + 1
    return shift(image, key % side - pad, key // side % side - pad)
