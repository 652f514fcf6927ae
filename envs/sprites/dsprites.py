"""One sprite over every combination of a few factors: the data on which disentanglement is measured.

The factor grid is that of dSprites (Matthey et al. 2017): 3 shapes, 6 scales in [0.5, 1], 40 orientations over the full
turn, 32 x 32 places: 737,280 white sprites on black, painted on demand. The coloured set adds 8 hues of the sprite and
8 of the background, the same saturation throughout; a domain shift is a subset of the hues never shown before.

    data = DSprites()
    factors = data.sample_factors(64, seed=0)        (64, 5) indices
    images = data.images(factors)                    (64, 64, 64, 1) uint8

Differs from dSprites: own painter (``envs.sprites.renderer``), so pixels at a sprite's edge differ. Orientations are
kept with their symmetries: a square repeats itself every 90 degrees, an ellipse every 180 (``orientation_period``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.counter_rng import below, counter_hash
from envs.registry import UsageError
from envs.spaces import Array
from envs.sprites.renderer import SHAPES, Sprites, colour_in, hsv, stamp

SIZE = 64
RADIUS = 14.0
"""Pixels, at scale 1."""
PLACES = (15.0, 49.0)
"""Pixels: first and last centre along each axis; a sprite never leaves the frame."""
NAMES = ("shape", "scale", "orientation", "x", "y", "hue", "background")
SIZES = (3, 6, 40, 32, 32, 8, 8)
HELDOUT_HUES = (2, 5)
"""Of the sprite and of the background in the coloured set: hues that ``split="train"`` never shows."""


@dataclass(frozen=True)
class DSprites:
    """Grid of factors, which are indices (N, F) int64 in the order of ``names``.

    Raises:
        UsageError: an unknown split, or factors outside the grid.
    """

    coloured: bool = False
    """Add hue and background; images have 3 channels then, else 1."""
    split: str = "all"
    """Of the coloured set: train leaves out the held-out hues, heldout shows only them (of both), all shows all."""

    def __post_init__(self) -> None:
        if self.split not in ("all", "train", "heldout"):
            raise UsageError(f"dsprites: split='{self.split}'; give all, train or heldout")
        if self.split != "all" and not self.coloured:
            raise UsageError(f"dsprites: split='{self.split}' is of hues, which only coloured=True has")

    @property
    def names(self) -> tuple[str, ...]:
        return NAMES if self.coloured else NAMES[:5]

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Values of each factor."""
        return SIZES if self.coloured else SIZES[:5]

    def __len__(self) -> int:
        return int(np.prod(self.factor_sizes))

    @property
    def orientation_period(self) -> tuple[int, ...]:
        """For square, ellipse and heart: orientations after which the image repeats itself."""
        return (SIZES[2] // 4, SIZES[2] // 2, SIZES[2])

    def values(self, name: str) -> Array:
        """Indices of a factor that occur in the split."""
        size = self.factor_sizes[self.names.index(name)]
        if name not in ("hue", "background") or self.split == "all":
            return np.arange(size)
        heldout = np.array(HELDOUT_HUES)
        return heldout if self.split == "heldout" else np.setdiff1d(np.arange(size), heldout)

    def sample_factors(self, n: int, seed: int) -> Array:
        """Independent uniform factors (n, F); row i depends on (seed, i) alone."""
        rows = np.arange(n)
        columns = []
        for position, name in enumerate(self.names):
            values = self.values(name)
            columns.append(values[below(counter_hash(seed, rows, position), len(values))])
        return np.stack(columns, axis=1)

    def fix_factor(self, name: str, n: int, seed: int) -> Array:
        """Factors (n, F) that agree in ``name`` alone: a batch of the beta-VAE and FactorVAE scores."""
        if name not in self.names:
            raise UsageError(f"dsprites: no factor '{name}'; known: {', '.join(self.names)}")
        factors = self.sample_factors(n, seed)
        factors[:, self.names.index(name)] = factors[0, self.names.index(name)]
        return factors

    def index(self, factors: Array) -> Array:
        """Place (N,) in the grid, the last factor running fastest."""
        self._check(factors)
        return np.ravel_multi_index(tuple(np.asarray(factors).T), self.factor_sizes)

    def factors(self, index: Array) -> Array:
        """Factors (N, F) of places (N,), the inverse of ``index``."""
        return np.stack(np.unravel_index(np.asarray(index), self.factor_sizes), axis=1)

    def images(self, factors: Array) -> Array:
        """Images (N, 64, 64, C) uint8, C = 1 (0 or 255), or 3 in the coloured set (smoothed edges)."""
        factors = np.asarray(factors)
        self._check(factors)
        sprites = self._sprites(factors)
        if not self.coloured:
            mask = np.zeros((len(factors), SIZE, SIZE), np.uint8)
            stamp(mask, sprites)
            return (mask * np.uint8(255))[..., None]
        image = np.empty((len(factors), SIZE, SIZE, 3), np.uint8)
        image[:] = hsv(factors[:, 6] / SIZES[6], 0.5, 0.4)[:, None, None]
        colour_in(image, sprites)
        return image

    def _sprites(self, factors: Array) -> Sprites:
        first, last = PLACES
        shape, scale, turn, x, y = factors[:, :5].T[:, :, None]
        step = (last - first) / (SIZES[3] - 1)
        hue = factors[:, 5] if self.coloured else np.zeros(len(factors))
        return Sprites(
            present=np.ones(shape.shape, bool),
            shape=shape,
            radius=RADIUS * (0.5 + 0.1 * scale),
            orientation=2 * np.pi * turn / SIZES[2],
            x=first + step * x,
            y=first + step * y,
            rgb=hsv(hue / SIZES[5], 0.9, 1.0)[:, None],
        )

    def _check(self, factors: Array) -> None:
        factors = np.asarray(factors)
        sizes = np.array(self.factor_sizes)
        if factors.ndim != 2 or factors.shape[1] != len(sizes) or (factors < 0).any() or (factors >= sizes).any():
            raise UsageError(
                f"dsprites: factors {factors.shape} must be (N, {len(sizes)}) indices below {self.factor_sizes}"
            )


assert SHAPES[:3] == ("square", "ellipse", "heart")  # the order of orientation_period
