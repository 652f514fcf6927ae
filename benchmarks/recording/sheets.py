"""Contact sheets: frames of an episode as tiles of a few WebP images, in rows of ``COLUMNS``."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from envs.registry import UsageError
from envs.spaces import Array

COLUMNS = 16
FRAMES_PER_SHEET = 256
EFFORT = 4
"""Of the encoder, 0 to 6; 6 saves a few percent of the bytes and takes several times as long."""
LARGEST_IMAGE = 16_383
"""Pixels of a side, a limit of WebP."""


def encode(frames: Sequence[Array], quality: int | None = None) -> list[bytes]:
    """WebP images of frames (H, W, 3) uint8, ``FRAMES_PER_SHEET`` in each.

    Args:
        quality: 0 to 100, taken where it is smaller than lossless; None: lossless.
    """
    return [
        _encode_one(frames[start : start + FRAMES_PER_SHEET], quality)
        for start in range(0, len(frames), FRAMES_PER_SHEET)
    ]


def _encode_one(frames: Sequence[Array], quality: int | None) -> bytes:
    sheet = arrange(frames)
    if max(sheet.shape[:2]) > LARGEST_IMAGE:
        height, width = frames[0].shape[:2]
        raise UsageError(f"frames of {width} x {height} pixels are too large for a sheet; shrink them")
    image, versions = Image.fromarray(sheet), []
    for options in ({"lossless": True}, *(({"quality": quality},) if quality is not None else ())):
        with io.BytesIO() as memory:
            image.save(memory, "WEBP", method=EFFORT, **options)
            versions.append(memory.getvalue())
    return min(versions, key=len)


def arrange(frames: Sequence[Array], columns: int = COLUMNS) -> Array:
    """One image with the frames as tiles, row by row; what is left of the last row is black."""
    height, width = frames[0].shape[:2]
    across, down = min(columns, len(frames)), -(-len(frames) // columns)
    tiles = np.zeros((down * across, height, width, 3), np.uint8)
    tiles[: len(frames)] = np.stack(frames)
    rows = tiles.reshape(down, across, height, width, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(rows).reshape(down * height, across * width, 3)


def address(image: bytes) -> str:
    """A WebP image as an address that holds all of it, for a page without other files."""
    return "data:image/webp;base64," + base64.b64encode(image).decode()


def decode(sheets: Sequence[bytes], count: int, size: tuple[int, int], columns: int = COLUMNS) -> Array:
    """Frames (count, H, W, 3) of contact sheets.

    Args:
        size: (H, W) of a frame.
    """
    height, width = size
    frames: list[Array] = []
    for data in sheets:
        sheet = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        down, across = sheet.shape[0] // height, sheet.shape[1] // width
        tiles = sheet.reshape(down, height, across, width, 3).transpose(0, 2, 1, 3, 4)
        frames += list(tiles.reshape(-1, height, width, 3))[: min(FRAMES_PER_SHEET, count - len(frames))]
    return np.stack(frames)
