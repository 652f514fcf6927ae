"""Time-contrastive network, single view (Sermanet et al. 2018, "Time-contrastive networks").

Frames near in time are drawn together, frames far in time and of other streams are pushed away. Every frame of the
batch is an anchor a, every frame p of its episode at most ``near`` steps from it a positive, every frame n of its
episode more than ``far`` steps from it, and every frame of another stream, a negative:

    loss = mean over pairs (a, p) of  max(0, d(a, p) - d(a, n*) + margin),     d(a, b) = |z_a - z_b|^2 in 0..4

z = g(h) / |g(h)|, h = trunk(x), g a projection of two layers. n* is the semi-hard negative: the nearest one that is
further than p, and where there is none the furthest. Frames of the window beyond an episode's end are neither.

``accuracy`` is the fraction of triplets (a, p, n), all negatives counted, in which p is nearer than n; chance is 0.5.

``encode`` returns h, the rectified dense layer; g is dropped.

Differs from the paper: the toolkit's trunk in place of Inception; negatives of other streams as well, as in the
authors' code with many sequences (``others=False``: the window's own alone); radii in steps of the game (6 and 12
video frames there); margin 0.2 (1 in their code).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps
from representations.base import Config, Heads, Loss, Mode, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std


def relations(
    first: Bool[Tensor, "T B"], near: int, far: int, others: bool
) -> tuple[Bool[Tensor, "T*B T*B"], Bool[Tensor, "T*B T*B"]]:
    """Positives and negatives of each frame of windows, in the order t * B + stream.

    ``others`` makes the frames of other streams negatives, too.
    """
    T, B = first.shape
    time = torch.arange(T, device=first.device).repeat_interleave(B)
    stream = torch.arange(B, device=first.device).repeat(T)
    episode = first.cumsum(0).flatten()  # counts episodes within a window
    distance = (time[:, None] - time).abs()
    same_stream = stream[:, None] == stream
    together = same_stream & (episode[:, None] == episode)
    positive = together & (distance > 0) & (distance <= near)
    negative = together & (distance > far)
    return positive, negative | ~same_stream if others else negative


def semi_hard(
    z: Float[Tensor, "N D"], positive: Bool[Tensor, "N N"], negative: Bool[Tensor, "N N"], margin: float
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Triplet loss of unit vectors with semi-hard negatives, and the fraction of triplets in the right order.

    An anchor without a negative counts for nothing.
    """
    with torch.autocast(z.device.type, enabled=False):
        z = z.float()
        # of unit vectors; rounding must not make a distance negative
        distance = (2 - 2 * z @ z.T).clamp(min=0)
        anchor, other = (positive & negative.any(1, keepdim=True)).nonzero(as_tuple=True)
        near = distance[anchor, other]
        rows, allowed = distance[anchor], negative[anchor]
        further = allowed & (rows.detach() > near.detach()[:, None])
        nearest = rows.masked_fill(~further, torch.inf).amin(1)
        furthest = rows.masked_fill(~allowed, -torch.inf).amax(1)
        chosen = torch.where(further.any(1), nearest, furthest)
        loss = F.relu(near - chosen + margin).sum() / max(len(anchor), 1)
        # a tie is half right, so that constant features are at chance
        right = further.sum() + 0.5 * (allowed & (rows.detach() == near.detach()[:, None])).sum()
        return loss, right / allowed.sum().clamp(min=1)


@dataclass(frozen=True)
class TimeContrastiveConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    length: int = 8
    """Steps of a window; more than ``far`` + 1, or no frame of an episode is far from another."""
    near: int = 2
    """Steps from the anchor within which a frame is a positive."""
    far: int = 4
    """Steps from the anchor beyond which a frame of its episode is a negative; twice ``near``, as in the paper."""
    others: bool = True
    """Take frames of other streams as negatives, too."""
    margin: float = 0.2
    """Margin between squared distances of unit vectors."""
    projection: int = 32
    """Size of z; the paper's."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    windows: int = 32
    """Windows per optimizer step offline; each of their frames is an anchor."""

    def __post_init__(self) -> None:
        self.at_least(length=2, near=1, far=1, margin=0, projection=2, learning_rate=0, windows=2)
        if self.far < self.near:
            raise ValueError(f"far={self.far}: give at least near={self.near}, or a frame is both")
        if self.length < self.far + 2:
            raise ValueError(f"length={self.length}: give at least far + 2 = {self.far + 2}, or no frame is far")


class TimeContrastive(Trunked):
    """See the module docstring."""

    Config = TimeContrastiveConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width = self.features_dim
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, self.config.projection)
        )

    @property
    def window(self) -> int:
        return int(self.config.length)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        config = self.config
        features = self.trunk(steps.obs["image"].flatten(0, 1))
        z = F.normalize(self.projection(features).float(), dim=1)
        positive, negative = relations(steps.first, config.near, config.far, config.others)
        loss, accuracy = semi_hard(z, positive, negative, config.margin)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(features)}

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        batch = self.frames_per_step(self.config)
        return [replace(fit, name="contrast", learning_rate=self.config.learning_rate, batch=batch)]

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(config.windows * config.length)
