"""Maps of a bonus: its raw value over the cells of a level, at the end of training.

A cell shows the mean of the bonus over every action from every heading there. Drawn for envs that have ``level_map``
(``envs.level_map``), and saved as pictures/bonus.png of the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.cli import write_file
from benchmarks.reporting.runs import Run

if TYPE_CHECKING:
    from envs.level_map import LevelTransitions
    from envs.steps import Steps
    from envs.tasks import World
    from intrinsic.base import IntrinsicBonus
    from representations.base import Representation

Array = np.ndarray


def draw(run: Run) -> None:
    """Write pictures/bonus.png of a finished run, if it has bonuses, an env with cells, and no map yet.

    Bonuses that depend on a skill are left out: their value is not one of the cell alone.
    """
    from agents.runs.load import load_trained_bonuses
    from benchmarks.reporting import png_figures

    path = run.path / "pictures" / "bonus.png"
    if run.config.get("bonus", "none") == "none" or path.exists():
        return
    representation, world, bonuses = load_trained_bonuses(run.path, run.config)
    bonuses = [bonus for bonus in bonuses if not bonus.context_dim]
    transitions = transitions_of(world)
    if transitions is None or not bonuses:
        return
    maps = bonus_maps(transitions, bonuses, representation if run.config["mode"] == "frozen" else None)
    write_file(path, png_figures.heat(transitions.picture, maps))


def transitions_of(world: World) -> LevelTransitions | None:
    """Transitions over the cells of the world's level 0; None where its env has no ``level_map``."""
    level = world.with_options(num_levels=1, start_level=0)
    level_map = getattr(level.make(1, 0).unwrapped, "level_map", None)
    return None if level_map is None else level_map(lambda num_envs: level.make(num_envs, 0))


@torch.no_grad()
def bonus_maps(
    transitions: LevelTransitions, bonuses: list[IntrinsicBonus], frozen: Representation | None = None
) -> dict[str, Array]:
    """Bonus -> mean raw bonus (H, W) over the cells of a level, nan where nobody can stand.

    Args:
        frozen: encodes the frames, for bonuses that read features.
    """
    steps = _steps(transitions, frozen)
    return {bonus.name: transitions.average(bonus.compute(steps)[0].numpy()) for bonus in bonuses}


def _steps(transitions: LevelTransitions, frozen: Representation | None) -> Steps:
    """The transitions as one step of n streams."""
    from envs.spaces import FEATURES
    from envs.steps import Steps

    count = len(transitions.action)
    frames = [torch.from_numpy(batch).permute(0, 3, 1, 2) for batch in (transitions.obs, transitions.next_obs)]
    obs, next_obs = ({"image": image.unsqueeze(0)} for image in frames)
    if frozen is not None:
        for batch, image in zip((obs, next_obs), frames, strict=True):
            first = torch.ones(count, dtype=torch.bool)
            batch[FEATURES] = frozen.encode({"image": image}, frozen.initial_state(count), first)[0].unsqueeze(0)
    no = torch.zeros(1, count, dtype=torch.bool)
    return Steps(obs, torch.from_numpy(transitions.action)[None], no.float(), no, no, ~no, ~no, lambda: next_obs)
