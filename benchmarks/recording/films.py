"""Files that show episodes, chosen by the ending of their name: animations, films and contact sheets.

.webp   animated, lossless
.gif    animated, 256 colours
.mp4    H.264, with the extra 'video'
.png    a contact sheet: every step of every episode, or evenly spaced ones where there are more than it holds
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.recording import sheets
from envs.contact_sheet import LEAST_SIDE
from envs.registry import UsageError
from envs.spaces import Array

if TYPE_CHECKING:
    from benchmarks.recording.episode import Episode

FRAMES_PER_SECOND = 15
"""Procgen's own."""
GAP, BORDER = 2, 2
"""Pixels between episodes, and of the frame around a variant."""
DIFFERS = np.array([209, 26, 42], np.uint8)
"""Red of that frame."""
PAUSE = 8
"""Times that the last frame of an episode is shown."""


def animated_webp(episodes: Sequence[Sequence[Array]], path: Path) -> bytes:
    """The episodes one after another; frames (H, W, 3) uint8 of one size."""
    return _animation(episodes, "WEBP", lossless=True, method=sheets.EFFORT)


def gif(episodes: Sequence[Sequence[Array]], path: Path) -> bytes:
    """The episodes one after another."""
    return _animation(episodes, "GIF", optimize=False)


def contact_sheet(episodes: Sequence[Sequence[Array]], path: Path) -> bytes:
    """All episodes as tiles, each from the start of a row, at most ``sheets.FRAMES_PER_SHEET`` of each."""
    blocks = []
    for frames in episodes:
        count = min(len(frames), sheets.FRAMES_PER_SHEET)
        shown = [frames[i] for i in np.linspace(0, len(frames) - 1, count).round().astype(int)]
        blocks.append(sheets.arrange(shown))
    width = max(block.shape[1] for block in blocks)
    padded = [np.pad(block, ((0, 0), (0, width - block.shape[1]), (0, 0))) for block in blocks]
    memory = io.BytesIO()
    Image.fromarray(np.concatenate(padded)).save(memory, "PNG")
    return memory.getvalue()


def mp4(episodes: Sequence[Sequence[Array]], path: Path) -> bytes:
    """The episodes one after another as H.264.

    Raises:
        UsageError: PyAV is not there.
    """
    av = _pyav(path)
    frames, memory = _sequence(episodes), io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "18"})
        height, width = frames[0].shape[:2]
        stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    return memory.getvalue()


def _pyav(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise UsageError(
            f"--out {path}: an mp4 needs PyAV; pip install -e '.[video]', or name a .webp, .gif or .html"
        ) from None
    return av


def with_variants(episode: Episode) -> list[Array]:
    """Frames of an episode, the same states in its variants right of them, framed red where the effect differs."""
    frames = [episode.frames]
    for pictures, differs in episode.variants.values():
        frames.append([framed(picture) if other else picture for picture, other in zip(pictures, differs, strict=True)])
    return side_by_side(frames)


def framed(picture: Array) -> Array:
    """The picture with a red border."""
    bordered = np.full_like(picture, DIFFERS)
    bordered[BORDER:-BORDER, BORDER:-BORDER] = picture[BORDER:-BORDER, BORDER:-BORDER]
    return bordered


def side_by_side(episodes: Sequence[Sequence[Array]]) -> list[Array]:
    """Episodes left to right with a white gap between them; one that has ended stays at its last frame.

    Lower pictures are filled up with white below.
    """
    height = max(frames[0].shape[0] for frames in episodes)
    shown = []
    for step in range(max(map(len, episodes))):
        row = [frames[min(step, len(frames) - 1)] for frames in episodes]
        row = [np.pad(frame, ((0, height - len(frame)), (0, GAP), (0, 0)), constant_values=255) for frame in row]
        shown.append(np.concatenate(row, 1)[:, :-GAP])
    return shown


WRITERS: dict[str, Callable[[Sequence[Sequence[Array]], Path], bytes]] = {
    ".webp": animated_webp,
    ".gif": gif,
    ".mp4": mp4,
    ".png": contact_sheet,
}


def check(path: Path) -> None:
    """UsageError where a file of this ending cannot be written for want of a package."""
    if path.suffix.lower() == ".mp4":
        _pyav(path)


def _animation(episodes: Sequence[Sequence[Array]], kind: str, **options: Any) -> bytes:
    first, *others = (Image.fromarray(frame) for frame in _sequence(episodes))
    memory, duration = io.BytesIO(), round(1000 / FRAMES_PER_SECOND)
    first.save(memory, kind, save_all=True, append_images=others, duration=duration, loop=0, **options)
    return memory.getvalue()


def _sequence(episodes: Sequence[Sequence[Array]]) -> list[Array]:
    """All frames, enlarged by a whole factor to at least ``LEAST_SIDE`` pixels, with a pause after each episode."""
    factor = -(-LEAST_SIDE // max(1, min(episodes[0][0].shape[:2])))
    frames = [frame for frames in episodes for frame in (*frames, *(frames[-1],) * PAUSE)]
    return [frame.repeat(factor, 0).repeat(factor, 1) for frame in frames]
