"""Accuracy of pretext tasks: on whole frames, without their trivial cues, and on noise.

A task that is made up from frames alone may be solved by what is of no use: a display or a black border that lies at
the same place in every frame, or the reset between two frames. So after pre-training the task is set on frames that the
fit has not seen, in three ways:

    frames     as they are
    interior   the middle three quarters of each side, enlarged to the whole; windows without a reset alone
    noise      uniform random pixels, which hold nothing to find: chance, or what the answer alone gives away

What a method calls accuracy, its own docstring says.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from envs.registry import UsageError
from envs.steps import Obs
from representations.base import Representation
from representations.collect import FIRST, channels_last
from representations.pretrain import as_steps
from representations.wrappers import unwrapped

FRAMES = 512
"""Frames, those of windows included, that the task is set on."""
BORDER = 1 / 8
"""Fraction of each side that ``interior`` takes away at either end: a display and the black border lie there."""


def interior(image: UInt8[Tensor, "*B C H W"]) -> UInt8[Tensor, "*B C H W"]:
    """Middle of each image, enlarged to its size by repeating pixels: nothing is new, and no border shows."""
    H, W = image.shape[-2:]
    top, left = round(BORDER * H), round(BORDER * W)
    middle = image[..., top : H - top, left : W - left].reshape(-1, *image.shape[-3:-2], H - 2 * top, W - 2 * left)
    enlarged = F.interpolate(middle.float(), size=(H, W), mode="nearest").to(torch.uint8)
    return enlarged.view(image.shape)


def conditions(frames: Obs, generator: torch.Generator) -> dict[str, Obs]:
    """The stored frames by condition; ``interior`` holds fewer windows where a reset lies in some."""
    image = frames["image"]
    whole = ~frames[FIRST][:, 1:].any(1) if FIRST in frames else torch.ones(len(image), dtype=torch.bool)
    noise = torch.randint(0, 256, image.shape, generator=generator, dtype=torch.uint8)
    unbroken = {key: value[whole] for key, value in frames.items()}
    return {
        "frames": frames,
        "interior": {**unbroken, "image": interior(unbroken["image"])},
        "noise": {**frames, "image": noise},
    }


@torch.no_grad()
def pretext_scores(representation: Representation, frames: Obs, generator: torch.Generator) -> dict[str, float]:
    """Accuracy of a fitted method's task by condition, "pretext/frames" and so on; {} for a method without one.

    Args:
        frames: stored frames or windows that it was not fitted on, as ``collect`` gives them.
        generator: on the CPU; gives the noise, and the draws of the task.
    """
    method = unwrapped(representation)
    if not method.pretext:
        return {}
    training, device = method.training, next(method.parameters()).device
    method.eval()
    scores = {}
    for name, rows in conditions(frames, generator).items():
        ordered = {key: channels_last(value).to(device) for key, value in rows.items()}
        if len(ordered["image"]):
            draws = torch.Generator(device).manual_seed(0)
            accuracy = method.loss(as_steps(ordered, method.window), _no_heads, draws)[1]["accuracy"]
            scores[f"pretext/{name}"] = float(accuracy)
    method.train(training)
    return scores


def _no_heads(features: Tensor, obs: Obs, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
    raise UsageError("a pretext task reads no policy")
