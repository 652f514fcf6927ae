"""Tasks about where pieces of a frame belong: context prediction and jigsaw puzzles.

``Context`` (Doersch et al. 2015, "Unsupervised visual representation learning by context prediction"). A 3x3 grid of
patches lies at a random place of the frame, with gaps between them, each moved by a random jitter. Shown are the centre
c and one neighbour n, number k of 8; two layers g on the features h of both must say which:

    loss = mean over frames of  -log softmax(g(h(view(c)), h(view(n))))_k,          in nats; log 8 at chance

``Jigsaw`` (Noroozi and Favaro 2016, "Unsupervised learning of visual representations by solving jigsaw puzzles"). Of
each cell of a 3x3 grid over the frame a smaller tile is cut at a random place, and the nine are put back in the order
of one of 72 permutations p, any two of which agree in at most one place:

    loss = mean over frames of  -log softmax(g(h(puzzle_p(x))))_p,                  in nats; log 72 at chance

``accuracy`` is the fraction of frames whose neighbour, or permutation, is named right; chance 1/8 and 1/72.

``encode`` returns h = trunk(x), the rectified dense layer, of the whole frame as it is; g is dropped.

So the trunk, whose dense layer knows one size of image, must read pieces of frames as whole frames, at their own scale:
a patch stands alone at a random place of a frame that repeats its border pixels; a puzzle is a frame.

Trivial cues: the grid's random place, and the puzzle's, hide where the frame's own border and display are; gaps and
jitter hide lines that run on from piece to piece; in a part of the frames colours are dropped.

Differs from the papers: the toolkit's trunk and Adam. Doersch et al. enlarge nothing either, but have a network of the
patch's size, and drop two colours of all patches against a camera's chromatic aberration, which a game has not.
Noroozi and Favaro run a network over each tile and join the nine late, and normalise each tile; here the trunk sees the
nine at once, as in Carlucci et al. 2019 ("Domain generalization by solving jigsaw puzzles"), who do so for the same
reason, at a ninth of the cost. Their permutations, 1,000 or 64, are found by a greedy search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.augment import recolour
from representations.base import Config, Heads, Loss, Mode, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std
from representations.nets.images import pixels, tile
from representations.rotation import classification, classifier

NEIGHBOURS = 8
"""Classes of ``Context``, row by row around the centre."""


def affine_permutations() -> Int[Tensor, "72 9"]:
    """Permutations z -> a z + b, a != 0, of the nine numbers u + vi modulo 3, number 3u + v; the identity is first.

    These numbers are a field (i^2 = -1), so two of the maps agree in at most one z. No set of permutations of nine that
    differ so much is larger: 9! / 7! = 72.
    """
    numbers = [divmod(n, 3) for n in range(9)]
    factors = [(1, 0), *(number for number in numbers[1:] if number != (1, 0))]
    maps = [
        [3 * ((a * u - b * v + c) % 3) + (a * v + b * u + d) % 3 for u, v in numbers]
        for a, b in factors
        for c, d in numbers
    ]
    return torch.tensor(maps)


def pick(
    image: UInt8[Tensor, "B C H W"], row: Int[Tensor, "B h w"], column: Int[Tensor, "B h w"]
) -> UInt8[Tensor, "B C h w"]:
    """Images whose pixel (y, x) is the input's (row[y, x], column[y, x])."""
    B, C, H, W = image.shape
    start = torch.arange(B, device=image.device).view(-1, 1, 1) * (H * W)
    source = (start + row * W + column).flatten()
    picked = image.permute(0, 2, 3, 1).reshape(-1, C).index_select(0, source)
    return picked.view(B, *row.shape[1:], C).permute(0, 3, 1, 2)


def drop_colours(
    image: UInt8[Tensor, "B C H W"], dropped: Bool[Tensor, " B"], channels: int
) -> UInt8[Tensor, "B C H W"]:
    """Images of which the ``dropped`` ones are grey in all channels; ``channels`` of one frame."""
    same = torch.ones(len(image), device=image.device)
    return recolour(image, same, same, (~dropped).float(), same[:, None].expand(-1, channels))


def below(count: int, size: tuple[int, ...], generator: torch.Generator) -> Int[Tensor, ...]:
    """Uniform whole numbers in 0 .. count - 1, on the generator's device."""
    return torch.randint(0, count, size, generator=generator, device=generator.device)


@dataclass(frozen=True)
class PiecesConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    grey: float = 0.3
    """Fraction of frames whose colours are dropped; 0.3 in the jigsaw paper."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    batch: int = 64
    """Frames per optimizer step offline."""

    def __post_init__(self) -> None:
        self.at_least(grey=0, learning_rate=0, batch=1)
        if self.grey > 1:
            raise ValueError(f"grey={self.grey}: give a fraction of at most 1")


class Pieces(Trunked):
    """Base of tasks about pieces of frames: colours are dropped first."""

    Config: ClassVar[type[Config]] = PiecesConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True

    def some_grey(self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator) -> UInt8[Tensor, "B C H W"]:
        """Images of which a random ``grey`` have lost their colours."""
        draws = torch.rand(len(image), generator=generator, device=image.device)
        return drop_colours(image, draws < self.config.grey, self.spec.channels)

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.config.batch
        return [replace(fit, name=self.name, learning_rate=rate, batch=batch, splits=True)]


@dataclass(frozen=True)
class ContextConfig(PiecesConfig):
    patch: float = 1 / 4
    """Side of a patch in sides of the frame: 16 pixels of 64."""
    gap: float = 1 / 16
    """Gap between patches, in sides of the frame: 4 pixels of 64. Half a patch in the paper."""
    jitter: float = 1 / 32
    """Each patch is moved by up to so much each way, in sides of the frame: 2 pixels of 64."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(patch=1 / 16, gap=0, jitter=0)
        extent = 3 * self.patch + 2 * self.gap + 2 * self.jitter
        if extent > 1:
            raise ValueError(f"patch, gap and jitter: three patches take {extent:.2f} of the frame's side, give less")


class Context(Pieces):
    """Which neighbour of the centre a patch is; see the module docstring."""

    Config = ContextConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.head = classifier(2 * self.features_dim, NEIGHBOURS)

    def corners(self, side: int, cell: Int[Tensor, "B 2"], generator: torch.Generator) -> Int[Tensor, "B 2"]:
        """First pixels, along one axis of ``side`` pixels, of two patches in cells 0..2 of a grid at a random place."""
        patch, gap, jitter = (
            int(fraction * side) for fraction in (self.config.patch, self.config.gap, self.config.jitter)
        )
        spare = side - 3 * patch - 2 * gap - 2 * jitter
        origin = below(spare + 1, (len(cell), 1), generator)
        return origin + cell * (patch + gap) + below(2 * jitter + 1, (len(cell), 2), generator)

    def shown(self, side: int, corner: Int[Tensor, " B"], generator: torch.Generator) -> Int[Tensor, "B side"]:
        """Pixels, along one axis, that a patch alone at a random place of a frame shows, its border repeated."""
        patch = int(self.config.patch * side)
        place = below(side - patch + 1, (len(corner), 1), generator)
        within = (torch.arange(side, device=corner.device) - place).clamp(0, patch - 1)
        return corner[:, None] + within

    def pairs(
        self, image: UInt8[Tensor, "B C H W"], generator: torch.Generator
    ) -> tuple[UInt8[Tensor, "2*B C H W"], Int[Tensor, " B"]]:
        """Centres, then neighbours, each alone in a frame, and the neighbours' numbers."""
        B, _, H, W = image.shape
        label = below(NEIGHBOURS, (B,), generator)
        cell = label + (label >= 4)  # 4 is the centre
        centre = torch.ones_like(cell)
        top = self.corners(H, torch.stack([centre, cell // 3], 1), generator).T.flatten()
        left = self.corners(W, torch.stack([centre, cell % 3], 1), generator).T.flatten()
        row = self.shown(H, top, generator)[:, :, None].expand(-1, -1, W)
        column = self.shown(W, left, generator)[:, None].expand(-1, H, -1)
        return pick(torch.cat([image, image]), row, column), label

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        views, label = self.pairs(self.some_grey(flatten(steps.obs)["image"], generator), generator)
        features = self.trunk(views)
        loss, accuracy = classification(self.head(torch.cat(features.chunk(2), 1)), label)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(features)}

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``patches``: frames, below each its centre, and below that the neighbour, as the trunk sees them."""
        views, _ = self.pairs(obs["image"], generator)
        rows = [pixels(obs["image"]), *pixels(views).chunk(2)]
        return {"patches": tile(rows, self.spec.channels)}


@dataclass(frozen=True)
class JigsawConfig(PiecesConfig):
    gap: float = 1 / 20
    """Part of a cell, in sides of the frame, that a tile leaves out: 3 pixels of 64."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(gap=0)
        if self.gap > 1 / 4:
            raise ValueError(f"gap={self.gap}: a cell is a third of the frame's side, give at most 0.25")


class Jigsaw(Pieces):
    """Which permutation the tiles of a frame are in; see the module docstring."""

    Config = JigsawConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.orders: Tensor
        self.register_buffer("orders", affine_permutations(), persistent=False)
        self.head = classifier(self.features_dim, len(self.orders))

    def axis(
        self, side: int, batch: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "B side"], Int[Tensor, "B side"], Int[Tensor, "B 9"]]:
        """Geometry of the puzzle along one axis.

        Returns:
            Of each pixel of the puzzle its place, 0 to 2, and its pixel in that tile. Of each of the frame's nine
            tiles its first pixel in its cell.
        """
        cell, gap = side // 3, int(self.config.gap * side)
        size = cell - gap
        start = below(side - 3 * size + 1, (batch, 1), generator)
        within = (torch.arange(side, device=generator.device) - start).clamp(0, 3 * size - 1)
        return within // size, within % size, below(gap + 1, (batch, 9), generator)

    def puzzles(
        self, image: UInt8[Tensor, "B C H W"], label: Int[Tensor, " B"], generator: torch.Generator
    ) -> UInt8[Tensor, "B C H W"]:
        """Frames whose place p shows a part of the image's cell ``orders[label, p]``."""
        B, _, H, W = image.shape
        (place_y, y, jitter_y), (place_x, x, jitter_x) = self.axis(H, B, generator), self.axis(W, B, generator)
        place = (3 * place_y[:, :, None] + place_x[:, None]).flatten(1)
        source = self.orders[label].gather(1, place)
        row = (source // 3) * (H // 3) + jitter_y.gather(1, source) + y.repeat_interleave(W, 1)
        column = (source % 3) * (W // 3) + jitter_x.gather(1, source) + x.repeat(1, H)
        return pick(image, row.view(B, H, W), column.view(B, H, W))

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image = self.some_grey(flatten(steps.obs)["image"], generator)
        label = below(len(self.orders), (len(image),), generator)
        features = self.trunk(self.puzzles(image, label, generator))
        loss, accuracy = classification(self.head(features), label)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": feature_std(features)}

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``puzzles``: frames, and below each its tiles in a random permutation."""
        image = obs["image"]
        label = below(len(self.orders), (len(image),), generator)
        rows = [pixels(image), pixels(self.puzzles(image, label, generator))]
        return {"puzzles": tile(rows, self.spec.channels)}
