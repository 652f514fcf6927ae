"""RotNet (Gidaris et al. 2018, "Unsupervised representation learning by predicting image rotations").

Each of B frames is shown in its four quarter turns. Two layers g on the features h must say which turn it is:

    loss = mean over frames and k = 0..3 of  -log softmax(g(h(turn_k(crop(x)))))_k,   in nats; log 4 at chance

``accuracy`` is the fraction of turned frames whose turn is named right; chance 1/4. A display or a black border at a
fixed place gives the turn away, so each frame is first shifted at random, all four turns alike. A seen-from-above maze
has no up and down, and there the task is impossible.

``encode`` returns h = trunk(x), the rectified dense layer, of the unturned, unshifted image; g is dropped.

Differs from the paper: the toolkit's trunk and Adam; the random shift; a hidden layer in g, which is to keep the
task's own answer out of h (there the last layers are dropped for the same reason).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Steps, flatten
from representations.augment import crop
from representations.base import Config, Heads, Loss, Mode, Phase, Unfit
from representations.cnn import Trunked
from representations.feature_metrics import feature_std

TURNS = 4
"""Classes: counter-clockwise quarter turns 0 to 3."""


def turns(image: UInt8[Tensor, "B C H H"]) -> tuple[UInt8[Tensor, "4*B C H H"], Int[Tensor, " 4*B"]]:
    """All quarter turns of all images, turn by turn, and the number of quarters of each."""
    turned = torch.cat([torch.rot90(image, k, (2, 3)) for k in range(TURNS)])
    return turned, torch.arange(TURNS, device=image.device).repeat_interleave(len(image))


def classification(
    logits: Float[Tensor, "B K"], labels: Int[Tensor, " B"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy (nats) and accuracy, means over the batch."""
    accuracy = (logits.detach().argmax(1) == labels).float().mean()
    return F.cross_entropy(logits.float(), labels), accuracy


def classifier(inputs: int, classes: int) -> nn.Sequential:
    """Hidden layer of 256, relu, logits."""
    return nn.Sequential(nn.Linear(inputs, 256), nn.ReLU(inplace=True), nn.Linear(256, classes))


@dataclass(frozen=True)
class RotationConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    pad: int = 12
    """Pixels of the random shift; 12 at 64x64 is DrAC's."""
    learning_rate: float = 5e-4
    """Adam, pre-training."""
    batch: int = 64
    """Frames per optimizer step offline; each is seen four times, as in the paper."""

    def __post_init__(self) -> None:
        self.at_least(pad=0, learning_rate=0, batch=1)


class Rotation(Trunked):
    """See the module docstring."""

    Config = RotationConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        _, H, W = spec.image_shape
        if H != W:
            raise Unfit(f"rotation turns square images, this environment's are {H}x{W}; crop them square")
        self.head = classifier(self.features_dim, TURNS)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image = flatten(steps.obs)["image"]
        turned, labels = turns(crop(image, generator, self.config.pad))
        features = self.trunk(turned)
        loss, accuracy = classification(self.head(features), labels)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(features)}

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.config.batch
        return [replace(fit, name="rotation", learning_rate=rate, batch=batch, splits=True)]
