"""Explanations of recorded episodes: what the policy heeds in a frame, and what its representation makes of it.

    saliency    an 8 x 8 grid of patches, each in turn filled with the frame's mean colour: how far the value falls, and
                the log-probability of the action taken. A forward pass of all patches at once; a few frames an episode.
    slots       the masks of a representation with slots, as one colour each, mixed where masks overlap
    traversal   images decoded from a frame's code, a row for each latent, moved from -3 to 3 standard deviations

A NAME-KIND.json each, beside the recording NAME, with ``format``, ``kind``, ``of`` (NAME), ``made_from`` and

    saliency   "rows": 8, "columns": 8, "steps": [t, ...], "value": [[64 numbers, row by row], ...], "action": [...]
    slots      "slots": K, "colours": [[r, g, b], ...], "share": [[K numbers], ...], and "sheets", "width", "height",
               "columns", "frames_per_sheet", "frames" as in a recording, frame by frame beside it
    traversal  "step": t, "latents": [number, ...], "kl": [nats, ...], "values": [-3, ..., 3], "sheets": [one file],
               "width", "height", "columns": the number of values; latents by falling KL
"""

from __future__ import annotations

import colorsys
import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from agents.policy import Policy
from benchmarks.recording import sheets
from benchmarks.recording.bonus import StepInputs
from benchmarks.recording.episode import Episode
from benchmarks.recording.store import Json, rounded
from envs.contact_sheet import CODES
from envs.spaces import IMAGE, Array, keyed_space
from representations.base import Representation
from representations.nets.images import pixels, tile
from representations.vae import ACTIVE, kl_to_prior
from representations.wrappers import unwrapped

GRID = 8
SALIENCY_FRAMES = 8
VALUES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
MOST_LATENTS = 32
SLOT_BATCH = 64
QUALITY = 60
"""Of WebP, for pictures that no pixel of an environment is in."""
Explanation = tuple[Json, dict[str, bytes]]
"""A document without what all have, and its images by file name."""


@torch.no_grad()
def explanations(name: str, episode: Episode, policy: Policy) -> dict[str, Explanation]:
    """Kind -> explanation of an episode whose inputs were kept; those kinds alone that this policy has."""
    if not episode.inputs or IMAGE not in episode.inputs[0].obs:
        return {}
    made = {
        "saliency": _saliency(episode, policy),
        "slots": _slots(f"{name}-slots", episode, policy),
        "traversal": _traversal(f"{name}-traversal", episode, policy),
    }
    return {kind: explanation for kind, explanation in made.items() if explanation is not None}


# saliency -------------------------------------------------------------------------------------------------------------


def _saliency(episode: Episode, policy: Policy) -> Explanation | None:
    if policy.context_dim:  # what a skill would do elsewhere is no property of the frame
        return None
    count = min(SALIENCY_FRAMES, len(episode.inputs))
    steps = np.linspace(0, len(episode.inputs) - 1, count).round().astype(int).tolist()
    maps = [occlusion(policy, episode.inputs[step], episode.actions[step]) for step in steps]
    value, action = ([rounded(grid.flatten().tolist()) for grid in grids] for grids in zip(*maps, strict=True))
    return {"rows": GRID, "columns": GRID, "steps": steps, "value": value, "action": action}, {}


@torch.no_grad()
def occlusion(policy: Policy, inputs: StepInputs, action: Array, grid: int = GRID) -> tuple[Array, Array]:
    """Fall of the value and of log pi(action), each (grid, grid), where a patch of all stacked frames is filled.

    Pictures are filled with their mean colour, symbols with 0.
    """
    image, count, device = torch.from_numpy(inputs.obs[IMAGE]), grid * grid + 1, policy.device
    symbols = int(keyed_space(policy.observation_space)[IMAGE].high.max()) < CODES  # type: ignore[attr-defined]
    fill = torch.zeros_like(image[0, 0]) if symbols else image.float().mean((0, 1)).round().byte()
    batch = image.repeat(count, 1, 1, 1)
    down, across = (np.linspace(0, side, grid + 1).round().astype(int) for side in image.shape[:2])
    for row in range(grid):
        for column in range(grid):
            patch = batch[1 + row * grid + column, down[row] : down[row + 1], across[column] : across[column + 1]]
            patch[:] = fill
    obs = {
        key: torch.from_numpy(value).expand(count, *value.shape).to(device)
        for key, value in inputs.obs.items()
        if key != IMAGE
    }
    obs[IMAGE] = batch.movedim(-1, 1).to(device)
    state = tuple(tensor.expand(count, *tensor.shape).contiguous() for tensor in inputs.state)
    output = policy(obs, state, torch.full((count,), inputs.first, device=device))
    taken = torch.from_numpy(action).to(device).expand(count, *action.shape)
    log_prob = policy.distribution.log_prob(policy.distribution.parameters(output.action_outputs), taken)
    falls = (numbers[0] - numbers[1:] for numbers in (output.value, log_prob))
    value_fall, action_fall = (fall.float().cpu().numpy().reshape(grid, grid) for fall in falls)
    return value_fall, action_fall


# representations ------------------------------------------------------------------------------------------------------


def _slots(name: str, episode: Episode, policy: Policy) -> Explanation | None:
    """Masks of every frame, where the representation has any."""
    representation: Any = unwrapped(policy.representation)
    if not hasattr(representation, "masks"):
        return None
    images = _images(episode, representation).to(policy.device)
    batches = [representation.masks(pixels(batch)).exp().squeeze(2).cpu() for batch in images.split(SLOT_BATCH)]
    masks = torch.cat(batches, 1)
    colours = slot_colours(len(masks))
    files = {
        f"{name}-{number}.webp": data for number, data in enumerate(sheets.encode(list(mixed(masks, colours)), QUALITY))
    }
    document = {
        "slots": len(masks),
        "colours": colours.tolist(),
        "share": rounded(masks.mean((2, 3)).T.tolist()),
        "sheets": list(files),
        "width": masks.shape[3],
        "height": masks.shape[2],
        "columns": sheets.COLUMNS,
        "frames_per_sheet": sheets.FRAMES_PER_SHEET,
        "frames": masks.shape[1],
    }
    return document, files


def mixed(masks: torch.Tensor, colours: Array) -> Array:
    """Masks (K, T, H, W) that sum to 1 as pictures (T, H, W, 3) uint8, each slot in its colour (K, 3)."""
    pictures = torch.einsum("kthw,kc->thwc", masks.float(), torch.from_numpy(colours).float())
    picture_array: Array = pictures.round().clamp(0, 255).byte().numpy()
    return picture_array


def slot_colours(count: int) -> Array:
    """Colours (K, 3) uint8 of different hues, the first dark grey: MONet's first slot is mostly the background."""
    hues = [colorsys.hsv_to_rgb(k / max(count - 1, 1), 0.75, 0.95) for k in range(count - 1)]
    colours: Array = (np.array([(0.25, 0.25, 0.25), *hues]) * 255).round().astype(np.uint8)
    return colours


def _traversal(name: str, episode: Episode, policy: Policy) -> Explanation | None:
    """Latents of the episode's middle frame moved one by one, where the representation decodes them."""
    representation: Any = unwrapped(policy.representation)
    if not getattr(representation, "traversable", False):
        return None
    step = len(episode.inputs) // 2
    mean, log_variance = representation.encoder(_images(episode, representation).to(policy.device))
    divergence = kl_to_prior(mean, log_variance).float().mean(0)
    order = divergence.argsort(descending=True)[:MOST_LATENTS]
    order = order[: max(1, int((divergence[order] > ACTIVE).sum()))]
    moved = representation.traverse(mean[step], order, torch.tensor(VALUES, device=mean.device))
    picture = tile(list(moved), representation.spec.channels)
    height, width = moved.shape[-2:]
    with io.BytesIO() as memory:
        Image.fromarray(picture).save(memory, "WEBP", quality=QUALITY)
        files = {f"{name}.webp": memory.getvalue()}
    document = {
        "step": step,
        "latents": order.tolist(),
        "kl": rounded(divergence[order].tolist()),
        "values": list(VALUES),
        "sheets": list(files),
        "width": width,
        "height": height,
        "columns": len(VALUES),
    }
    return document, files


def _images(episode: Episode, representation: Representation) -> torch.Tensor:
    """Frames (T, C, H, W) uint8 as the method itself encodes them: the newest of those that a policy stacks."""
    images = torch.from_numpy(np.stack([inputs.obs[IMAGE] for inputs in episode.inputs]))
    return images.movedim(-1, 1)[:, -representation.spec.image_shape[0] :]
