"""Motion mask: what will move, from one frame (Pathak et al. 2017, "Learning features by watching objects move").

Two consecutive frames are cut into cells of ``cell`` x ``cell`` pixels. A cell has moved where its change stands out
from the rest of the frame:

    change = mean over a cell's pixels of |x_{t+1} - x_t| in 0..255
    moved  = change > mean + spread s,    mean and s (the standard deviation) over the cells of this frame

so that flicker or a scroll that changes all cells alike is no motion. From h_t = trunk(x_t) alone, a dense layer g
predicts each cell. Few cells move, so both answers weigh the same:

    loss = 1/2 mean over cells that moved of -log p  +  1/2 mean over the others of -log(1 - p),    p = sigmoid(g(h_t))

in nats, over the cells of all frames of the batch; log 2 where nothing tells them apart. A pair across an episode's end
is left out. Only the newest of stacked frames is compared.

``accuracy`` is the mean of the fractions of moved and of other cells that are predicted; chance is 0.5.

``encode`` returns h, the rectified dense layer; g is dropped.

Differs from the paper: masks of two frames by a threshold, where theirs are segments of whole videos by optical flow;
a game's camera should be still, or what moves against a scrolling background hardly stands out; the toolkit's trunk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.history import History
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps
from representations.base import Config, Heads, Loss, Mode, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.images import pixels, tile


def moved_cells(
    before: UInt8[Tensor, "B C H W"], after: UInt8[Tensor, "B C H W"], cell: int, spread: float
) -> Bool[Tensor, "B h w"]:
    """Cells whose change exceeds the mean over the frame by more than ``spread`` standard deviations."""
    change = (after.short() - before.short()).abs().float().mean(1)
    cells = F.avg_pool2d(change, cell, ceil_mode=True)
    std, mean = torch.std_mean(cells, (1, 2), correction=0, keepdim=True)
    # The last term is rounding: a frame whose cells all change alike has no motion.
    return cells > mean + spread * std + 1e-3


def balanced_loss(
    logits: Float[Tensor, " N"], moved: Bool[Tensor, " N"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Mean of the losses of both answers (nats), and of the fractions that are predicted; each over its own cells."""
    losses = F.binary_cross_entropy_with_logits(logits, moved.to(logits.dtype), reduction="none")
    hits = ((logits.detach() > 0) == moved).float()
    losses_by_answer = [losses[moved == answer].mean() for answer in (True, False) if (moved == answer).any()]
    hits_by_answer = [hits[moved == answer].mean() for answer in (True, False) if (moved == answer).any()]
    if not losses_by_answer:
        return logits.sum(), torch.zeros((), device=logits.device)
    return torch.stack(losses_by_answer).mean(), torch.stack(hits_by_answer).mean()


@dataclass(frozen=True)
class MotionMaskConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    cell: int = 4
    """Side of a cell, pixels: the paper's masks have a quarter of the image's side."""
    spread: float = 1.0
    """Standard deviations by which the change of a cell that moved exceeds the frame's mean."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    pairs: int = 64
    """Pairs of frames per optimizer step, offline and online."""

    def __post_init__(self) -> None:
        self.at_least(cell=1, spread=0, learning_rate=0, pairs=1)


class MotionMask(Trunked):
    """See the module docstring."""

    Config = MotionMaskConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True
    window = 2

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        _, H, W = spec.image_shape
        self.grid = (-(-H // self.config.cell), -(-W // self.config.cell))
        self.mask = nn.Linear(self.features_dim, self.grid[0] * self.grid[1])

    def target(self, image: UInt8[Tensor, "2 B C H W"]) -> Bool[Tensor, "B h w"]:
        """Cells that moved between both frames of windows."""
        before, after = image[:, :, -self.spec.channels :]
        return moved_cells(before, after, self.config.cell, self.config.spread)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image, valid = steps.obs["image"], ~steps.first[1]
        features = self.trunk(image[0])
        logits, moved = self.mask(features).float(), self.target(image).flatten(1)
        loss, accuracy = balanced_loss(logits[valid].flatten(), moved[valid].flatten())
        return loss, {
            "loss": loss.detach(),
            "accuracy": accuracy,
            "moved": moved[valid].float().mean().nan_to_num(),
            "feature_std": feature_std(features),
        }

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        """``loss`` of as many pairs as offline: they are much shorter than other methods' windows."""
        return self.loss(history.windows(self.config.pairs, self.window, generator), heads, generator)

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        batch = self.frames_per_step(self.config)
        return [replace(fit, name="mask", learning_rate=self.config.learning_rate, batch=batch)]

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(2 * config.pairs)

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``masks``: frames, and below each how likely its cells are to move, white at 1."""
        image = obs["image"]
        likely = self.mask(self.trunk(image)).float().sigmoid().view(-1, 1, *self.grid)
        H, W = image.shape[-2:]
        enlarged = likely.repeat_interleave(self.config.cell, 2).repeat_interleave(self.config.cell, 3)[..., :H, :W]
        channels = self.spec.channels
        return {"masks": tile([pixels(image)[:, -channels:], enlarged.expand(-1, channels, -1, -1)], channels)}
