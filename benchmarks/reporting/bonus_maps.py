"""Where would a bonus send its agent? The raw bonus over the cells of a MiniGrid level, at the end of training.

The agent is put on every cell of level 0 that it could ever stand on, behind closed doors too, faces every way and does
every action once. A cell shows the mean over these of what the bonus pays. Saved as pictures/bonus.png of the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.reporting.runs import Run
from envs.tasks import World

if TYPE_CHECKING:
    from intrinsic.base import IntrinsicBonus
    from representations.base import Representation

WORLDS = ("minigrid", "noisy-tv")
Array = np.ndarray


def draw(run: Run) -> None:
    """Write pictures/bonus.png of a finished run, if it has bonuses that pay by the step, on cells, and no map yet.

    A TV is shown as the goal in whose place it stands.
    """
    from agents.checkpoint import write_aside
    from agents.runs.build import load_trained_bonuses
    from benchmarks.reporting import figures

    path = run.path / "pictures" / "bonus.png"
    if run.config.get("bonus", "none") == "none" or path.exists():
        return
    representation, world, bonuses = load_trained_bonuses(run.path, run.config)
    bonuses = [bonus for bonus in bonuses if not bonus.context_dim]  # what a skill pays is no matter of the cell alone
    if world.name not in WORLDS or not bonuses:
        return
    level = world.with_options(num_levels=1, start_level=0)
    found = bonus_maps(level, bonuses, representation if run.config["mode"] == "frozen" else None)
    rows, columns = next(iter(found.values())).shape
    env: Any = level.make(1, 0).unwrapped
    whole = {"env_id": env.env_id, "view": "rgb", "full_view": True, "highlight": False, "tile": 8, "num_levels": 1}
    picture = World("minigrid", whole).make(1, 0).reset()[0][0]
    path.parent.mkdir(exist_ok=True)
    data = figures.heat(picture[: 8 * rows, : 8 * columns], found)
    write_aside(path, lambda aside: aside.write_bytes(data))


@torch.no_grad()
def bonus_maps(world: World, bonuses: list[IntrinsicBonus], frozen: Representation | None = None) -> dict[str, Array]:
    """Bonus -> mean raw bonus (H, W) over the cells of the world's one level, nan where nobody can stand.

    Args:
        frozen: encodes the frames of bonuses that look at features.
    """
    from envs.history import FEATURES
    from envs.steps import Steps

    first = world.make(1, 0)
    first.reset()
    cells, turned = standing(first.unwrapped), np.arange(4)
    actions = int(getattr(first.single_action_space, "n", 0))
    place, way, action = (grid.ravel() for grid in np.meshgrid(cells, turned, np.arange(actions), indexing="ij"))
    env: Any = world.make(len(place), 0).unwrapped
    env.reset()
    left = int(np.flatnonzero(env.action_set == 0)[0])
    env.set_state({"cell": place, "direction": (way + 1) % 4})
    now = env.step(np.full(len(place), left))[0]  # one turn back: faces ``way``, and its frame is shown
    following, _, terminated, truncated, infos = env.step(action)
    following = following.copy()
    for i in np.flatnonzero(terminated | truncated):
        following[i] = infos["final_obs"][i]
    obs, then = ({"image": torch.from_numpy(frames).permute(0, 3, 1, 2).unsqueeze(0)} for frames in (now, following))
    if frozen is not None:
        for each in (obs, then):
            state = frozen.initial_state(len(place))
            opens = torch.ones(len(place), dtype=torch.bool)
            each[FEATURES] = frozen.encode({"image": each["image"][0]}, state, opens)[0].unsqueeze(0)
    no = torch.zeros(1, len(place), dtype=torch.bool)
    steps = Steps(obs, torch.from_numpy(action)[None], no.float(), no, no, ~no, ~no, lambda: then)
    found = {}
    for bonus in bonuses:
        values = bonus.compute(steps).view(len(cells), -1).mean(1).numpy()
        grid = np.full(env.grid.shape[1], np.nan)
        grid[cells] = values
        found[bonus.name] = env_shape(env, grid)
    return found


def standing(env: Any) -> Array:
    """Cells of level 0 (indices into its padded grid) that an agent can reach, if doors open and things give way."""
    from envs.minigrid.rules import OBJECT, OBJECT_TO_IDX, PAD

    layout = env.layout(0)
    height = env.height + 2 * PAD
    solid = np.isin(OBJECT[layout.grid], [OBJECT_TO_IDX[name] for name in ("wall", "lava")])
    passable = ~solid.reshape(-1, height)
    reached = np.zeros_like(passable)
    reached.ravel()[layout.cell] = True
    while True:
        wider = reached.copy()
        wider[1:] |= reached[:-1]
        wider[:-1] |= reached[1:]
        wider[:, 1:] |= reached[:, :-1]
        wider[:, :-1] |= reached[:, 1:]
        wider &= passable
        if (wider == reached).all():
            break
        reached = wider
    # On a key, a door or the goal nobody stands before something changed: those cells are left out.
    empty = OBJECT[layout.grid] == OBJECT_TO_IDX["empty"]
    return np.flatnonzero(reached.ravel() & empty)


def env_shape(env: Any, flat: Array) -> Array:
    """A padded grid's values (cells,) as (H, W), rows of the picture first, without the padding."""
    from envs.minigrid.rules import PAD

    return flat.reshape(-1, env.height + 2 * PAD)[PAD:-PAD, PAD:-PAD].T
