"""Colorization (Zhang et al. 2016, "Colorful image colorization").

The trunk sees a frame without its colours, and a decoder of its features h must say the colour of every second pixel
in each direction, as one of 25 classes:

    a = R - G,   b = (R + G) / 2 - B,   both in -1..1;   class = 5 bin(a) + bin(b),   bins end at -1/4, -1/20, 1/20, 1/4
    loss = mean over pixels of  -w_c log softmax(decoder(h(grey(x))))_c,     in nats
    w_c = v_c / mean over pixels of v_c,   v_c = 1 / ((1 - m) p_c + m / 25),     p_c the fraction of class c's pixels

Most pixels are nearly grey; the weights w (m = 0.5) let rare colours count. p is that of the batch.

``accuracy`` is the mean over the colours in the batch of the fraction of their pixels that are named right; chance is 1
over their number, at least 1/25.

``encode`` returns h = trunk(x), the rectified dense layer, of the frame with its colours: what the method taught the
filters it taught all three channels alike, and how they tell colours apart stays as it was initialised, until RL trains
it. The decoder is dropped.

Trivial cues: a random shift, frame and colours alike, so that a display's colours are not where they always are.

Differs from the paper: colours are decoded from the trunk's last layer alone, which so must hold where things are (a
convolutional network at a quarter of the resolution there); 25 classes of opponent colours (313 of CIE Lab); p is
neither smoothed nor that of all images; each pixel has one class (the five nearest there).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.augment import crop
from representations.base import Config, Heads, Loss, Mode, Phase, Unfit
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.decoders import Decoder
from representations.nets.images import pixels, tile

EDGES = (-0.25, -0.05, 0.05, 0.25)
"""Bounds of the bins of an opponent colour: five of equal width would call most of a dark game's colours grey."""
SHOWN = (-0.4, -0.12, 0.0, 0.12, 0.4)
"""Value of each bin in pictures."""
BINS = len(SHOWN)
STRIDE = 2
"""Every second pixel of each direction is a target."""


def greyed(image: UInt8[Tensor, "B C H W"]) -> UInt8[Tensor, "B C H W"]:
    """Images whose every frame of three channels has its mean in all three, rounded."""
    B, C, H, W = image.shape
    grey = image.view(B, -1, 3, H, W).float().mean(2, keepdim=True).round().to(torch.uint8)
    return grey.expand(-1, -1, 3, -1, -1).reshape(B, C, H, W)


def colour_classes(image: UInt8[Tensor, "B 3 H W"]) -> Int[Tensor, "B H W"]:
    """Class of each pixel's colour, 0 to 24; 12 is grey."""
    red, green, blue = (image.float() / 255).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue])
    a, b = torch.bucketize(opponents, torch.tensor(EDGES, device=image.device))
    classes: Tensor = a * BINS + b
    return classes


def colours(classes: Int[Tensor, "*B"], grey: Float[Tensor, "*B"]) -> Float[Tensor, "*B 3"]:
    """RGB of mean ``grey`` whose opponent colours are those of the class in ``SHOWN``, cut off at 0 and 1."""
    values = torch.tensor(SHOWN, device=classes.device)
    a, b = values[classes // BINS], values[classes % BINS]
    blue = grey - b * 2 / 3
    both = grey + b / 3
    return torch.stack([both + a / 2, both - a / 2, blue], -1).clamp(0, 1)


def class_weights(classes: Int[Tensor, "*B"], mix: float) -> Float[Tensor, " K"]:
    """Weights by class, of mean 1 over the pixels, 0 where there are none; ``mix`` is that of the uniform fractions."""
    fraction = torch.bincount(classes.flatten(), minlength=BINS**2).float() / classes.numel()
    weights = 1 / ((1 - mix) * fraction + mix / BINS**2)
    return weights.where(fraction > 0, 0) / (fraction * weights)[fraction > 0].sum()


def balanced_accuracy(logits: Float[Tensor, "B K H W"], classes: Int[Tensor, "B H W"]) -> Float[Tensor, ""]:
    """Mean over the classes that occur of the fraction of their pixels that are named right."""
    right = logits.detach().argmax(1) == classes
    count = torch.bincount(classes.flatten(), minlength=BINS**2)
    hits = torch.bincount(classes[right], minlength=BINS**2)
    present = count > 0
    return (hits[present] / count[present]).mean()


@dataclass(frozen=True)
class ColorizationConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    pad: int = 12
    """Pixels of the random shift; 12 at 64x64 is DrAC's."""
    mix: float = 0.5
    """m, from 0 (each colour weighs alike) to 1 (each pixel); 0.5 in the paper."""
    learning_rate: float = 5e-4
    """Adam, pre-training."""
    batch: int = 64
    """Frames per optimizer step offline."""

    def __post_init__(self) -> None:
        self.at_least(pad=0, mix=0, learning_rate=0, batch=1)
        if self.mix > 1:
            raise ValueError(f"mix={self.mix}: give a fraction of at most 1")


class Colorization(Trunked):
    """See the module docstring."""

    Config = ColorizationConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        if spec.channels != 3:
            raise Unfit(
                f"colorization needs frames of 3 colours, this environment's have {spec.channels} channels; "
                "switch its grey scale off, or take inpainting"
            )
        _, H, W = spec.image_shape
        self.decoder = Decoder(self.features_dim, (BINS**2, -(-H // STRIDE), -(-W // STRIDE)))

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image = crop(flatten(steps.obs)["image"], generator, self.config.pad)
        classes = colour_classes(image[:, -3:, ::STRIDE, ::STRIDE])
        features = self.trunk(greyed(image))
        logits = self.decoder(features).float()
        weights = class_weights(classes, self.config.mix)
        loss = (weights[classes] * F.cross_entropy(logits, classes, reduction="none")).mean()
        accuracy = balanced_accuracy(logits, classes)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(features)}

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.config.batch
        return [replace(fit, name="colorization", learning_rate=rate, batch=batch)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``colours``: frames, below each its grey form, the true classes as colours, and the decoded ones."""
        image = obs["image"][:, -3:, ::STRIDE, ::STRIDE]
        grey = pixels(greyed(obs["image"]))[:, -3:, ::STRIDE, ::STRIDE]
        logits = self.decoder(self.trunk(greyed(obs["image"])))
        painted = [colours(classes, grey[:, 0]).movedim(-1, 1) for classes in (colour_classes(image), logits.argmax(1))]
        return {"colours": tile([pixels(image), grey, *painted], 3)}
