"""SimCLR (Chen et al. 2020, "A simple framework for contrastive learning of visual representations").

Two views of each of B frames by random augmentations. Each of the 2B views must find its partner (NT-Xent):

    loss = mean over views i of  -log exp(s_ij / t) / sum_{k != i} exp(s_ik / t),   s = cosine of g(h_i) and g(h_k),

j the other view of i's frame, t the temperature, g a projection of two layers. In nats; log(2B - 1) where all views
are alike, also when the features are constant.

``encode`` returns h = trunk(x), the rectified dense layer, of the unchanged image; g is dropped.

Differs from the paper: the toolkit's trunk in place of ResNet-50; shifts by padding, not crops of another scale, which
would change what a game's distances mean; no blur; Adam at B of some hundred (LARS, 4096 frames). The other frames of
the batch are the negatives, so B is the micro-batch online.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps, flatten
from representations.augment import augment, check_names
from representations.base import Config, Heads, Loss, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std


def nt_xent(projected: Float[Tensor, "N D"], temperature: float) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Loss (nats), and the fraction of views that find their partner, of g (2B, D): rows i and B + i are one frame."""
    with torch.autocast(projected.device.type, enabled=False):  # bfloat16 cosines would be equal to their neighbours
        z = F.normalize(projected.float(), dim=1)
        logits = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
        partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
        accuracy = (logits.detach().argmax(1) == partner).float().mean()
        return F.cross_entropy(logits, partner), accuracy


@dataclass(frozen=True)
class SimClrConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    augmentations: tuple[str, ...] = ("crop", "colour")
    """Names in ``representations.augment``, in this order; the paper's two strongest. Leave out 'colour' where objects
    differ in colour alone (keys, goals)."""
    pad: int = 12
    """Pixels of 'crop'; 12 at 64x64 is DrAC's. 4 keeps small objects at the border visible."""
    temperature: float = 0.1
    """t; 0.1 in the paper at 4096 frames, 0.5 for small batches and small sets."""
    projection: int = 128
    """Size of g(h), the paper's."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    batch: int = 512
    """Frames per optimizer step offline; each is compared with the others."""

    def __post_init__(self) -> None:
        self.at_least(pad=0, temperature=1e-3, projection=1, learning_rate=0, batch=2)
        check_names(self.augmentations)


class SimClr(Trunked):
    """See the module docstring."""

    Config = SimClrConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width = self.features_dim
        self.projection = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, self.config.projection)
        )

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.contrast(flatten(steps.obs)["image"], generator)

    def contrast(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> Loss:
        """NT-Xent over two views of each image."""
        names, pad, channels = self.config.augmentations, self.config.pad, self.spec.channels
        views = torch.cat([augment(image, names, pad, channels, generator) for _ in range(2)])
        features = self.trunk(views)
        loss, accuracy = nt_xent(self.projection(features), self.config.temperature)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(features)}

    def phases(self) -> list[Phase]:
        def offline_loss(steps: Steps, generator: torch.Generator) -> Loss:
            return self.contrast(flatten(steps.obs)["image"], generator)

        parameters, config = list(self.parameters()), self.config
        return [Phase("contrast", parameters, offline_loss, config.learning_rate, batch=config.batch)]
