"""DeepCluster (Caron et al. 2018, "Deep clustering for unsupervised learning of visual features").

Before the fit and after every epoch, the features of all stored frames are reduced to their ``components`` strongest
directions, whitened, scaled to length 1 and clustered by k-means. A classifier g, new for every clustering, then learns
the label y of each frame from a random crop of it:

    loss = sum w_y (-log softmax(g(h))[y]) / sum w_y,     w_y = 1 / size of cluster y,     h = trunk(crop(x))

in nats: the weights have the effect of drawing each cluster equally often. An empty cluster takes half of another one.
A frame that is not stored has the label of the nearest centroid.

``accuracy`` is the fraction of frames that g puts into their cluster; chance is the fraction of the largest cluster,
which on noise may be all.

``encode`` returns trunk(x), the rectified dense layer, of the unchanged image; g is dropped.

Differs from the paper: the toolkit's trunk, colours as they are (Sobel filters there), shifts in place of crops of
another scale, Adam; 64 clusters of 64 components (10,000 and 256 for ImageNet).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.augment import crop
from representations.base import Config, Heads, Loss, Mode, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.stored_rows import StoredRows

ROUNDS = 20
"""Iterations of k-means, those of the authors' code."""
CHUNK = 512
"""Stored frames that are encoded at a time."""


@dataclass(frozen=True)
class TabledConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    pad: int = 4
    """Pixels of the random shift; at 64x64, 4 keeps small objects at the border visible."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    batch: int = 128
    """Frames per optimizer step."""

    def __post_init__(self) -> None:
        self.at_least(pad=0, learning_rate=0, batch=2)


class Tabled(StoredRows, Trunked):
    """Trunk with a table that holds a whole number for each stored frame."""

    Config = TabledConfig
    modes = ("frozen", "finetune")
    default_mode: ClassVar[Mode] = "frozen"

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.register_buffer("table", torch.zeros(0, dtype=torch.int64))


def whitening(features: Float[Tensor, "n D"], count: int) -> tuple[Float[Tensor, " D"], Float[Tensor, "D count"]]:
    """Mean and matrix that take features to their strongest directions, each with variance 1.

    A direction in which nothing varies gives 0.
    """
    mean = features.mean(0)
    centred = (features - mean).double()
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(features))
    values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
    alive = values > 1e-6 * values[0].clamp(min=1e-12)
    return mean, (vectors * torch.where(alive, values.clamp(min=1e-30).rsqrt(), 0)).float()


def nearest(points: Float[Tensor, "n d"], centroids: Float[Tensor, "k d"]) -> Int[Tensor, " n"]:
    """Index of the centroid nearest to each point."""
    return (centroids.square().sum(1) - 2 * points @ centroids.T).argmin(1)


def k_means(
    points: Float[Tensor, "n d"], clusters: int, generator: torch.Generator, rounds: int = ROUNDS
) -> tuple[Float[Tensor, "k d"], Int[Tensor, " n"]]:
    """Centroids and the label of each point, from random points on; an empty cluster takes half of another one."""
    start = torch.randperm(len(points), generator=generator, device=points.device)
    centroids = points[start[torch.arange(clusters, device=points.device) % len(points)]]
    label = nearest(points, centroids)
    for _ in range(rounds):
        sizes = label.bincount(minlength=clusters)
        sums = torch.zeros_like(centroids).index_add_(0, label, points)
        centroids = torch.where(sizes[:, None] > 0, sums / sizes.clamp(min=1)[:, None], centroids)
        for empty in (sizes == 0).nonzero().flatten():
            donor = torch.multinomial(sizes.float(), 1, generator=generator)[0]
            # Apart by little along a random line, both centroids cut the donor's points in two.
            step = torch.empty_like(centroids[donor]).normal_(generator=generator) * 1e-3
            centroids[empty], centroids[donor] = centroids[donor] + step, centroids[donor] - step
        label = nearest(points, centroids)
    return centroids, label


@dataclass(frozen=True)
class DeepClusterConfig(TabledConfig):
    clusters: int = 64
    """k; some times the number of things to tell apart."""
    components: int = 64
    """Whitened directions that are clustered."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(clusters=2, components=1)


class DeepCluster(Tabled):
    """Classifier of the clusters of its own features; ``table`` holds the cluster of each stored frame."""

    Config = DeepClusterConfig
    pretext = True

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        width, k = self.features_dim, self.config.clusters
        count = min(self.config.components, width)
        self.classifier = nn.Linear(width, k)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("directions", torch.eye(width, count))
        self.register_buffer("centroids", torch.eye(k, count))
        self.register_buffer("sizes", torch.ones(k))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.mean: Tensor
        self.directions: Tensor
        self.centroids: Tensor
        self.sizes: Tensor
        self.updates: Tensor
        self.stored: UInt8[Tensor, "n C H W"] | None = None
        """Frames that the fit runs on; let go of at its end."""

    def prepare(self, frames: Obs) -> None:
        self.stored = frames["image"]
        self.cluster()

    @torch.no_grad()
    def cluster(self) -> None:
        """Cluster the stored frames by their present features, and begin a new classifier."""
        assert self.stored is not None
        device = self.mean.device
        draws = torch.Generator(device).manual_seed(int(self.updates))
        features = torch.cat([self.trunk(rows.to(device)).float() for rows in self.stored.split(CHUNK)])
        self.mean, self.directions = whitening(features, self.directions.shape[1])
        self.centroids, self.table = k_means(self.points(features), self.config.clusters, draws)
        self.sizes = self.table.bincount(minlength=self.config.clusters).float()
        nn.init.normal_(self.classifier.weight, 0, 0.01, generator=draws)
        nn.init.zeros_(self.classifier.bias)

    def points(self, features: Float[Tensor, "n D"]) -> Float[Tensor, "n d"]:
        """Whitened features of length 1."""
        with torch.autocast(features.device.type, enabled=False):
            return F.normalize((features.float() - self.mean) @ self.directions, dim=1)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image = flatten(steps.obs)["image"]
        if steps.row is None:
            with torch.no_grad():
                label = nearest(self.points(self.trunk(image)), self.centroids)
        else:
            label = self.table[steps.row]
        features = self.trunk(crop(image, generator, self.config.pad))
        logits = self.classifier(features).float()
        loss = F.cross_entropy(logits, label, 1 / self.sizes.clamp(min=1))
        accuracy = (logits.detach().argmax(1) == label).float().mean()
        return loss, {
            "loss": loss.detach(),
            "accuracy": accuracy,
            "largest": self.sizes.max() / self.sizes.sum(),
            "feature_std": feature_std(features),
        }

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        return [replace(fit, name="cluster", learning_rate=self.config.learning_rate, batch=self.config.batch)]

    def after_step(self) -> None:
        if self.stored is None:
            return
        self.updates += 1
        epoch = math.ceil(len(self.stored) / self.config.batch)
        steps = self.phase_steps
        left = epoch if steps is None else steps - 1 - round(self.progress * steps)
        if left < 1:
            self.stored = None
        elif int(self.updates) % epoch == 0 and left >= epoch:  # a new classifier needs an epoch to learn
            self.cluster()
