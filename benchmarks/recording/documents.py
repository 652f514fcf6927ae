"""The JSON documents of recorded episodes and levels, and their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agents.distributions import ActionDistribution, Categorical
from benchmarks.recording import sheets
from benchmarks.recording.choice import file_word
from benchmarks.recording.store import Json, rounded
from envs.spaces import Array

if TYPE_CHECKING:
    from benchmarks.recording.episode import Episode
    from benchmarks.reporting.episodes import Returns


def episode_document(
    name: str, episode: Episode, distribution: ActionDistribution, quality: int | None
) -> tuple[Json, dict[str, bytes]]:
    """Contents of NAME.json for an episode, and its images by file name.

    Args:
        distribution: the policy's, over actions.
        quality: of the images, 0 to 100; None: lossless.
    """
    files, images = _sheets(name, episode.frames, quality)
    variants = []
    for variant, (frames, differs) in episode.variants.items():
        own_files, own_images = _sheets(f"{name}-{file_word(variant)}", frames, quality)
        images |= own_images
        variants.append({"name": variant, **_size(frames), "sheets": own_files, "differs": list(map(int, differs))})
    parameters = torch.stack(episode.parameters)
    discrete = isinstance(distribution, Categorical)
    actions = np.stack(episode.actions)
    document = {
        "level": episode.level,
        "repeat": episode.repeat,
        "greedy": episode.greedy,
        "return": round(episode.total, 4),
        "length": episode.length,
        "cut": episode.cut,
        **_size(episode.frames),
        "columns": sheets.COLUMNS,
        "sheets": files,
        "frames_per_sheet": sheets.FRAMES_PER_SHEET,
        "frames": len(episode.frames),
        "actions": rounded(actions.tolist()) if distribution.codes.is_box else actions.tolist(),
        "action_names": episode.action_names,
        "effects": episode.effects,
        "values": rounded(episode.values),
        "probabilities": rounded(parameters.exp().tolist()) if discrete else None,
        "means": rounded(distribution.mode(parameters).tolist()) if distribution.codes.is_box else None,
        "rewards": rounded(episode.rewards),
        "bonus": None if episode.bonus is None else rounded(episode.bonus),
        "variants": variants,
    }
    return document, images


def _sheets(name: str, frames: Sequence[Array], quality: int | None) -> tuple[list[str], dict[str, bytes]]:
    images = {f"{name}-{number}.webp": data for number, data in enumerate(sheets.encode(frames, quality))}
    return list(images), images


def _size(frames: Sequence[Array]) -> Json:
    return {"width": frames[0].shape[1], "height": frames[0].shape[0]}


def level_rows(
    split: str, returns: Returns, recordings: Mapping[tuple[str, int], str], with_success: bool
) -> list[dict[str, Any]]:
    """A split's levels in ascending order: mean return, successes, episodes, and the recording of one.

    Args:
        recordings: (split, level) -> name.
        with_success: give the part of episodes with a return above 0, else null.
    """
    return [
        {
            "level": level,
            "return": round(float(np.mean(values)), 4),
            "success": round(float(np.mean(np.array(values) > 0)), 4) if with_success else None,
            "episodes": len(values),
            "recording": recordings.get((split, level)),
        }
        for level, values in sorted(returns.by_level().items())
    ]
