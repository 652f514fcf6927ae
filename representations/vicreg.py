"""VICReg (Bardes et al. 2022, "VICReg: variance-invariance-covariance regularization for self-supervised learning").

Two views of each of B frames by random augmentations, z and z' (B, D) their embeddings g(h):

    loss = 25 s(z, z') + 25 (v(z) + v(z')) + (c(z) + c(z'))
    s = mean over frames and dimensions of (z - z')^2                                  (invariance)
    v = mean over dimensions of max(0, 1 - sqrt(Var(z_d) + 0.0001))                    (variance)
    c = 1 / D  sum over d != e of Cov(z_d, z_e)^2                                      (covariance)

Variances and covariances are those over the batch, divided by B - 1; h are the features and g, the expander, has three
layers. v keeps the embeddings apart and c their dimensions, so it needs neither negatives nor a slow copy: the modern
control of contrastive methods. Where all is constant the loss is 25 * 2 * (1 - 0.01) = 49.5.

``accuracy`` is the fraction of views to whose embedding that of the same frame's other view is the nearest of all;
chance 1 / (2B - 1).

``encode`` returns h = trunk(x), the rectified dense layer, of the unchanged image; g is dropped.

Differs from the paper: s is that of its algorithm and code, a mean over dimensions (a sum in its formula), v + v' that
of formula and algorithm (half of it in the code); the toolkit's trunk; an expander without BatchNorm, 512 wide (8,192);
shifts by padding, not crops of another scale, which would change what a game's distances mean; Adam, B of some hundred.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps, flatten
from representations.augment import augment, check_names
from representations.base import Config, Heads, Loss, Mode, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std

EPSILON = 1e-4
"""Added to a variance below its root, whose slope would be infinite at 0."""


def variance_loss(z: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """v(z): mean over dimensions of how far the standard deviation is below 1."""
    return F.relu(1 - (z.var(0) + EPSILON).sqrt()).mean()


def covariance_loss(z: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """c(z): sum of the squared covariances of different dimensions, over D."""
    centred = z - z.mean(0)
    covariance = centred.T @ centred / (len(z) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]


@torch.no_grad()
def nearest_is_partner(one: Float[Tensor, "B D"], other: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Fraction of the 2B rows whose nearest row is that of the same number on the other side."""
    z = torch.cat([one, other])
    nearest = torch.cdist(z, z).fill_diagonal_(torch.inf).argmin(1)
    return (nearest == torch.arange(len(z), device=z.device).roll(len(one))).float().mean()


@dataclass(frozen=True)
class VicRegConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    augmentations: tuple[str, ...] = ("crop", "colour")
    """Names in ``representations.augment``, in this order. Leave out 'colour' where objects differ in colour alone."""
    pad: int = 12
    """Pixels of 'crop'; 12 at 64x64 is DrAC's."""
    invariance: float = 25.0
    """Weight of s, the paper's."""
    variance: float = 25.0
    """Weight of v, the paper's."""
    covariance: float = 1.0
    """Weight of c, the paper's."""
    expander: int = 512
    """D, and the size of g's two hidden layers."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    batch: int = 256
    """B, frames per optimizer step offline; 2,048 in the paper, which finds 256 nearly as good."""

    def __post_init__(self) -> None:
        self.at_least(pad=0, invariance=0, variance=0, covariance=0, expander=1, learning_rate=0, batch=2)
        check_names(self.augmentations)


class VicReg(Trunked):
    """See the module docstring."""

    Config = VicRegConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        size = self.config.expander
        self.expander = nn.Sequential(
            nn.Linear(self.features_dim, size),
            nn.ReLU(inplace=True),
            nn.Linear(size, size),
            nn.ReLU(inplace=True),
            nn.Linear(size, size),
        )

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image, config = flatten(steps.obs)["image"], self.config
        views = [augment(image, config.augmentations, config.pad, self.spec.channels, generator) for _ in range(2)]
        features = self.trunk(torch.cat(views))
        loss, metrics = self.terms(*self.expander(features).chunk(2))
        return loss, {**metrics, "feature_std": feature_std(features)}

    def terms(self, one: Float[Tensor, "B D"], other: Float[Tensor, "B D"]) -> Loss:
        """Loss of the embeddings of both views, and its terms before they are weighed."""
        config = self.config
        with torch.autocast(one.device.type, enabled=False):  # covariances of bfloat16 numbers would be noise
            one, other = one.float(), other.float()
            s = F.mse_loss(one, other)
            v = variance_loss(one) + variance_loss(other)
            c = covariance_loss(one) + covariance_loss(other)
            accuracy = nearest_is_partner(one, other)
        loss = config.invariance * s + config.variance * v + config.covariance * c
        metrics = {"loss": loss, "invariance": s, "variance": v, "covariance": c, "accuracy": accuracy}
        return loss, {name: value.detach() for name, value in metrics.items()}

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.config.batch
        return [replace(fit, name="vicreg", learning_rate=rate, batch=batch)]
