"""NAT, noise as targets (Bojanowski and Joulin 2017, "Unsupervised learning by predicting noise").

Each stored frame has one of as many targets c, drawn once and for all on the unit sphere. In every batch the frames'
targets are handed out anew so that the loss is least (Hungarian method, O(B^3)), and each frame keeps what it got until
its next visit:

    loss = mean over frames of  1/2 |z - c_P|^2 = 1 - z . c_P,     z = g(h) / |g(h)|,     h = trunk(crop(x))

P is a permutation, g a dense layer. The loss is 0 where each frame meets its target, about 1 where nothing is matched.
Frames that are not stored are matched to new targets.

``encode`` returns trunk(x), the rectified dense layer, of the unchanged image; g is dropped. Without an accuracy, it is
no pretext task.

Differs from the paper: the toolkit's trunk, colours as they are (gradients of the image there), shifts in place of
crops of another scale, Adam; 64 numbers in z; the permutation is renewed at every visit (every third epoch there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.augment import crop
from representations.base import Heads, Loss, Phase
from representations.deep_cluster import Tabled, TabledConfig
from representations.feature_metrics import feature_std


def on_sphere(count: int, size: int, generator: torch.Generator) -> Float[Tensor, "count size"]:
    """Uniform draws of unit vectors."""
    return F.normalize(torch.randn(count, size, generator=generator, device=generator.device), dim=1)


def assign(z: Float[Tensor, "B d"], targets: Float[Tensor, "B d"]) -> Int[Tensor, " B"]:
    """Target of each row under which the sum of z . c is largest; each is given once. UsageError without scipy."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise UsageError("nat needs scipy: pip install -e '.[classic]'") from None
    gain = (z.detach().float() @ targets.T).cpu().numpy()
    return torch.from_numpy(linear_sum_assignment(gain, maximize=True)[1]).to(z.device)


@dataclass(frozen=True)
class NatConfig(TabledConfig):
    size: int = 64
    """d, numbers in z and in a target."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(size=2)


class Nat(Tabled):
    """Prediction of noise; ``table`` holds the target of each stored frame."""

    Config = NatConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.projection = nn.Linear(self.features_dim, self.config.size)
        self.register_buffer("targets", torch.zeros(0, self.config.size), persistent=False)
        self.targets: Tensor
        self.matched: tuple[Tensor, Tensor] | None = None
        """Stored rows of the last batch of pre-training, and their new targets."""

    def prepare(self, frames: Obs) -> None:
        count, device = len(frames["image"]), self.table.device
        draws = torch.Generator().manual_seed(0)
        self.targets = on_sphere(count, self.config.size, draws).to(device)
        self.table = torch.randperm(count, generator=draws).to(device)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        return self.match(flatten(steps.obs)["image"], steps.row, generator)[0]

    def match(
        self, image: UInt8[Tensor, "B C H W"], row: Int[Tensor, " B"] | None, generator: torch.Generator
    ) -> tuple[Loss, tuple[Int[Tensor, " b"], Int[Tensor, " b"]] | None]:
        """Loss of frames under the best permutation of their targets, and their rows with the new targets.

        A stored frame that is drawn twice counts once, as it has one target.
        """
        if row is not None:
            order = row.argsort(stable=True)
            ordered = row[order]
            order = order[torch.cat([ordered.new_ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])]
            image, row = image[order], row[order]
        features = self.trunk(crop(image, generator, self.config.pad))
        z = F.normalize(self.projection(features).float(), dim=1)
        if row is None:
            targets, own = on_sphere(len(z), z.shape[1], generator), torch.arange(len(z), device=z.device)
        else:
            targets, own = self.targets, self.table[row]
        given = own[assign(z, targets[own])]
        loss = (z - targets[given]).square().sum(1).mean() / 2
        changed = (given != own).float().mean()
        metrics = {"loss": loss.detach(), "changed": changed, "feature_std": feature_std(features)}
        return (loss, metrics), None if row is None else (row, given)

    def phases(self) -> list[Phase]:
        def offline_loss(steps: Steps, generator: torch.Generator) -> Loss:
            result, self.matched = self.match(flatten(steps.obs)["image"], steps.row, generator)
            return result

        parameters, config = list(self.parameters()), self.config
        return [Phase("noise", parameters, offline_loss, config.learning_rate, batch=config.batch)]

    def after_step(self) -> None:
        if self.matched is not None:
            rows, targets = self.matched
            self.table[rows] = targets
            self.matched = None
