"""ATC, augmented temporal contrast (Stooke et al. 2021, "Decoupling representation learning from RL").

An anchor frame at t must find the positive k = ``delta`` steps later among the positives of all B windows:

    z = convolutions(shift(x)),  c = g(z),  p_t = c_t + h(c_t),      and of slow copies: c'_{t+k} = g'(z'_{t+k})

    loss = mean over i of  -log exp(p_i^T W c'_i) / sum_j exp(p_i^T W c'_j),   in nats; log B where all are alike
    copies <- m copies + (1 - m) weights,                                      after every optimizer step

g is a dense layer, h an MLP (the residual predictor), W is learnt, no gradient reaches the copies. A pair with an
episode's end in between is no anchor; its frame k steps later stays a negative.

``encode`` returns z (B, F), the rectified output of the last convolution, flattened (1,600 or 2,048 numbers at 64x64),
as the policy gets it in the paper, which puts a layer of 512 on it. The RL gradient stops there: online, ATC alone
trains the encoder, which is the paper's claim. So there is no mode finetune.

Differs from the paper: the toolkit's trunks; the learning rate falls at the end alone, as for all methods here (a
cosine after a warm-up there), no clipping offline; 128 pairs a step (512 there), as budgets are smaller; online inside
PPO and A2C the windows are of the newest steps (a replay for SAC there).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from envs.history import History
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps
from representations.augment import crop
from representations.base import Config, Heads, Loss, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.nets.trunks import make_trunk


def contrast(
    predicted: Float[Tensor, "B D"], target: Float[Tensor, "B D"], valid: Bool[Tensor, " B"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Loss (nats) and accuracy over the valid rows, each of which must find the target of its own row among all B."""
    with torch.autocast(predicted.device.type, enabled=False):
        logits = predicted.float() @ target.float().T
        own = torch.arange(len(logits), device=logits.device)
        losses, hits = F.cross_entropy(logits, own, reduction="none"), logits.detach().argmax(1) == own
        count = valid.sum().clamp(min=1)
        return losses.masked_fill(~valid, 0).sum() / count, (hits & valid).sum() / count


@dataclass(frozen=True)
class AtcConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    delta: int = 3
    """k, steps from the anchor to the positive; the paper's."""
    pad: int = 4
    """Pixels of the random shift; the paper's."""
    shift_probability: float = 0.1
    """Fraction of frames that are shifted; the paper's on Atari and DeepMind Lab, 1 on DeepMind Control."""
    momentum: float = 0.99
    """m of the copies; the paper's."""
    latents: int = 256
    """Size of c; the paper's."""
    predictor: int = 512
    """Hidden units of h; the paper's."""
    learning_rate: float = 1e-3
    """Adam, pre-training; the paper's."""
    pairs: int = 128
    """B, windows per optimizer step, offline and online; 512 in the paper."""

    def __post_init__(self) -> None:
        self.at_least(delta=1, pad=0, shift_probability=0, momentum=0, latents=1, predictor=1)
        self.at_least(learning_rate=0, pairs=1)
        for name in ("momentum", "shift_probability"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a number of at most 1")


class Atc(Representation):
    """See the module docstring."""

    Config = AtcConfig
    modes = ("frozen", "online")
    hidden: tuple[int, ...] = (512,)

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        self.trunk = make_trunk(config.trunk, spec.image_shape, config.latents)  # its dense layer is g
        self.features_dim = self.trunk.flat_dim
        self.predictor = nn.Sequential(
            nn.Linear(config.latents, config.predictor), nn.ReLU(), nn.Linear(config.predictor, config.latents)
        )
        self.bilinear = nn.Linear(config.latents, config.latents, bias=False)
        self.target_trunk = copy.deepcopy(self.trunk).requires_grad_(False)

    @property
    def window(self) -> int:
        return int(self.config.delta) + 1

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        return self.trunk.flat(obs["image"]).to(self.trunk.dense.weight.dtype).detach(), state

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        """Anchors are the windows' first frames, positives their frames ``delta`` steps later."""
        image, delta = steps.obs["image"], self.config.delta
        z = self.trunk.flat(self.shifted(image[0], generator))
        c = self.trunk.dense(z)
        with torch.no_grad():
            target = self.target_trunk.dense(self.target_trunk.flat(self.shifted(image[delta], generator)))
        valid = ~steps.first[1 : delta + 1].any(0)
        loss, accuracy = contrast(self.bilinear(c + self.predictor(c)), target, valid)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(z)}

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        """``loss`` of as many windows as offline: a contrast needs more negatives than other losses windows."""
        return self.loss(history.windows(self.config.pairs, self.window, generator), heads, generator)

    def shifted(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
        """Images of which a random ``shift_probability`` are shifted."""
        changed = crop(image, generator, self.config.pad)
        draws = torch.rand(len(image), generator=generator, device=image.device)
        chosen = (draws < self.config.shift_probability).view(-1, 1, 1, 1)
        return torch.where(chosen, changed, image)

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        parameters = [parameter for parameter in fit.parameters if parameter.requires_grad]
        batch, rate = self.frames_per_step(self.config), self.config.learning_rate
        return [replace(fit, name="contrast", parameters=parameters, learning_rate=rate, batch=batch)]

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(config.pairs * (config.delta + 1))

    @torch.no_grad()
    def after_step(self) -> None:
        m = self.momentum(self.config.momentum)
        for target, own in zip(self.target_trunk.parameters(), self.trunk.parameters(), strict=True):
            target.mul_(m).add_(own, alpha=1 - m)
