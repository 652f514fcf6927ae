"""State of one Procgen env, read and changed as bytes: options, themes, and the ground truth behind a frame.

Procgen 0.10.7 writes a level, its generators *and its visual options* into one blob; ``set_state`` takes all of it
back. So changing a few integers (``patch``) shows one state as another visual variant, and everything that moves can be
read (``factors``). Positions are in cells: x to the right, y up, a level is 64 x 64, CoinRun's view 13 x 13
with the agent in its centre. Velocities are cells a step.

Layout, little-endian, four bytes a number. Text and generators (flag, text) begin with their length in bytes::

    version, game name (text), 17 options, 2 generators, 15 fields of the episode, grid size,
    entity count, entities of 124 bytes, is the background generated, background_index, 17 fields of the view and the
    agent's motion, generator of the assets, 9 fields of the view, width, height, cell count, cells
    CoinRun: agent y, wall_theme, has_support, facing_right, on_crate, gravity, air control
    the end mark 0xCAFECAFE

Every blob is walked and checked before it is used: another build of Procgen is an error of one line, not a wrong frame.
Source: serialize() in openai/procgen 0.10.7, and inspected blobs.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.registry import UsageError, check_int, did_you_mean
from envs.spaces import Array

VERSION, END_MARK = 0, 0xCAFECAFE
OPTIONS = (
    "paint_vel_info",
    "use_generated_assets",
    "use_monochrome_assets",
    "restrict_themes",
    "use_backgrounds",
    "center_agent",
)
"""The first six of the 17 option numbers, in their order."""
FIRST_LEVEL = 13
"""Place of the first level of the range among the 17 option numbers; the end of the range follows it."""
VISUAL = tuple(name for name in OPTIONS if name != "use_generated_assets")
"""Options that change the pixels of a state and nothing else. Generated assets change the level."""
THEMES = {"wall_theme": 6, "agent_theme": 5, "background_index": 62}
"""CoinRun's themes and how many there are. Grounds: dirt, grass, planet, sand, snow, stone; agents: beige, blue, green,
pink, yellow."""
AGENT, COIN, SAW, ENEMY, CRATE = 0, 1, 2, 5, 20
"""Types in CoinRun; the coin is a cell of the grid, the others are entities."""
SPACE, WALL_TOP, LAVA = 100, 16, (17, 18)
"""Cells of CoinRun's grid: nothing, the surface of the ground, lava."""
SOLID = (15, WALL_TOP, *LAVA)
"""Cells that are ground or lava."""
ENTITY = 31
"""Numbers in an entity: x, y, vx, vy, rx, ry, type, image type, image theme, drawing order, and 21 more."""
HALF_VIEW = 6.5
"""Cells from the centre of CoinRun's view to its border."""


@dataclass(frozen=True)
class Layout:
    """Byte offsets in one blob, computed by walking it, as no two blobs are equally long."""

    game: str
    """Name of the game."""
    options: int
    """First of the option numbers."""
    level_seed: int
    """Level of the present episode."""
    entities: int
    """First entity."""
    num_entities: int
    """Number of entities."""
    background: int
    """Number of the background image."""
    grid: int
    """First of width x height cells, row y = 0 first."""
    shape: tuple[int, int]
    """Height and width of the grid."""
    tail: int
    """The game's own fields, which follow the grid."""

    def option(self, name: str) -> int:
        """Offset of option ``name``."""
        return self.options + 4 * OPTIONS.index(name)


def walk(blob: bytes, level_seed: int | None = None) -> Layout:
    """Layout of ``blob``.

    Raises:
        UsageError: procgen 0.10.7 does not write such a blob, or its level is not ``level_seed``.
    """
    try:
        layout = _walk(blob)
    except (struct.error, UnicodeDecodeError):
        raise _foreign("it breaks off") from None
    if level_seed is not None and (stored := _int(blob, layout.level_seed)) != level_seed:
        raise _foreign(f"its level is {stored}, the env's is {level_seed}")
    return layout


def _walk(blob: bytes) -> Layout:
    version, length = struct.unpack_from("<2i", blob)
    if version != VERSION:
        raise _foreign(f"its version is {version}, not {VERSION}")
    if not 0 < length < 32:
        raise _foreign(f"its game's name has {length} letters")
    options = 8 + length
    fields = _after_generator(blob, _after_generator(blob, options + 17 * 4))
    grid_size, num_entities = struct.unpack_from("<2i", blob, fields + 15 * 4)
    entities = fields + 17 * 4
    background = entities + num_entities * ENTITY * 4 + 4
    view = _after_generator(blob, background + 18 * 4)
    width, height, cells = struct.unpack_from("<3i", blob, view + 9 * 4)
    if not 0 < width * height == cells == grid_size:
        raise _foreign(f"its grid of {width} x {height} has {cells} cells")
    grid = view + 12 * 4
    tail = grid + cells * 4
    game = bytes(blob[8:options]).decode("ascii")
    if game == "coinrun" and len(blob) - tail != 32:
        raise _foreign(f"{len(blob) - tail} bytes follow its grid, not 32")
    if struct.unpack_from("<I", blob, max(tail, len(blob) - 4))[0] != END_MARK:
        raise _foreign("its end mark is missing")
    return Layout(game, options, fields + 5 * 4, entities, num_entities, background, grid, (height, width), tail)


def _foreign(reason: str) -> UsageError:
    return UsageError(f"procgen: this state is not one of procgen 0.10.7 ({reason}); install procgen 0.10.7")


def _int(blob: bytes, place: int) -> int:
    return int(struct.unpack_from("<i", blob, place)[0])


def _after_generator(blob: bytes, place: int) -> int:
    length = _int(blob, place + 4)
    if length < 0:
        raise _foreign(f"a generator has {length} bytes")
    return place + 8 + length


def check_patch(changes: Mapping[str, Any], game: str) -> dict[str, Any]:
    """Return ``changes``; UsageError where a name is unknown, a value out of range, or a theme not CoinRun's."""
    for name, value in changes.items():
        if name in VISUAL:
            if not isinstance(value, (bool, np.bool_)):
                raise UsageError(f"procgen: {name}={value!r} is not a bool; give True or False")
        elif name not in THEMES:
            known = (*VISUAL, *THEMES)
            raise UsageError(
                f"procgen: a state has no '{name}' to patch{did_you_mean(name, known)} Known: {', '.join(known)}"
            )
        elif game != "coinrun":
            raise UsageError(f"procgen: {name} is read and set in coinrun alone, not in {game}; leave it out")
        else:
            check_int("procgen", name, value, 0, THEMES[name] - 1, f"coinrun has {THEMES[name]} of them")
    return dict(changes)


def patch(blob: bytes, level_seed: int | None = None, **changes: Any) -> bytes:
    """Copy of ``blob`` with some of ``VISUAL`` and ``THEMES`` changed; the level, its generators and all motion stay.

    A game keeps each sprite as it was first drawn, so a change of ``restrict_themes`` shows only in an object that was
    built with that value.

    Raises:
        UsageError: an unknown name, a value out of range, or center_agent=True where the state was drawn without it:
            Procgen then has no record of the view's size.
    """
    layout = walk(blob, level_seed)
    check_patch(changes, layout.game)
    places = {"background_index": layout.background, "wall_theme": layout.tail + 4}
    if "agent_theme" in changes:
        places["agent_theme"] = layout.entities + 4 * (_agent(_entities(blob, layout)) * ENTITY + 8)
    if changes.get("center_agent") and not _int(blob, layout.option("center_agent")):
        raise UsageError("procgen: a state of center_agent=False cannot be shown with True; start from one with True")
    out = bytearray(blob)
    for name, value in changes.items():
        struct.pack_into("<i", out, places.get(name) or layout.option(name), int(value))
    return bytes(out)


def on_level(blob: bytes, level: int) -> bytes:
    """Copy of ``blob`` whose range of levels is ``level`` alone, so that its next episode begins there.

    Raises:
        UsageError: not a state of procgen 0.10.7, or its range of levels is not where that version writes it.
    """
    place = walk(blob).options + 4 * FIRST_LEVEL
    first, end = struct.unpack_from("<2i", blob, place)
    if not 0 <= first < end:
        raise _foreign(f"its levels go from {first} to {end}")
    out = bytearray(blob)
    struct.pack_into("<2i", out, place, level, level + 1)
    return bytes(out)


def grid(blob: bytes) -> Array:
    """Cells (64, 64) int32 of a CoinRun level, row y = 0 first."""
    layout = _coinrun(blob)
    return np.frombuffer(blob, "<i4", layout.shape[0] * layout.shape[1], layout.grid).reshape(layout.shape)


def move_coin(blob: bytes, x: int, y: int) -> bytes:
    """Copy of a CoinRun ``blob`` with its coin in cell (x, y) and nowhere else."""
    layout = _coinrun(blob)
    out = bytearray(blob)
    cells = np.frombuffer(out, "<i4", layout.shape[0] * layout.shape[1], layout.grid).reshape(layout.shape)
    cells[cells == COIN] = SPACE
    cells[y, x] = COIN
    return bytes(out)


def agent_x(blob: bytes) -> float:
    """The agent's x, in cells."""
    entities = _entities(blob, _coinrun(blob))
    return float(entities[_agent(entities), :1].view("<f4")[0])


def entities_of(blob: bytes) -> Array:
    """Numbers (K, 31) int32 of all entities of a CoinRun ``blob``, whose layout up to there is not checked."""
    fields = _after_generator(blob, _after_generator(blob, 8 + len("coinrun") + 17 * 4))
    (count,) = struct.unpack_from("<i", blob, fields + 16 * 4)
    return np.frombuffer(blob, "<i4", count * ENTITY, fields + 17 * 4).reshape(count, ENTITY)


def tail_of(blob: bytes) -> tuple[int, int, int]:
    """Has support, on a crate, facing right, 0 or 1 each, of a CoinRun ``blob``."""
    support, right, crate = struct.unpack_from("<3i", blob, len(blob) - 24)
    return support, crate, right


def entity_places(blob: bytes, *kinds: int) -> Array:
    """Centres (K, 2), x and y, of the entities of these types."""
    entities = _entities(blob, _coinrun(blob))
    places: Array = entities.view("<f4")[np.isin(entities[:, 6], kinds), :2]
    return places


def _coinrun(blob: bytes) -> Layout:
    layout = walk(blob)
    if layout.game != "coinrun":
        raise UsageError(f"procgen: the ground truth is read in coinrun alone, not in {layout.game}; use coinrun")
    return layout


def _entities(blob: bytes, layout: Layout) -> Array:
    """The entities' numbers (K, 31) as int32."""
    count = layout.num_entities * ENTITY
    return np.frombuffer(blob, "<i4", count, layout.entities).reshape(layout.num_entities, ENTITY)


def _agent(entities: Array) -> int:
    agents = np.flatnonzero(entities[:, 6] == AGENT)
    if not len(agents):
        raise _foreign("it has no agent")
    return int(agents[-1])


def factors(blobs: Sequence[bytes]) -> dict[str, Array]:
    """Ground truth of N CoinRun states, (N,) or (N, 2) each.

    agent_x, agent_y, agent_vx, agent_vy; has_support, on_crate, facing_right (bool; has_support as of the last step);
    to_coin, to_saw, to_enemy, to_crate: (x, y) from the agent to the coin and to the nearest of each kind, NaN
    where the level has none; num_saws, ... in the level and saws_in_view, ... with their centre in the 13 x 13 cells
    around the agent; wall_theme, agent_theme, background_index, level_seed. Floats are float32, counts and names int64.
    """
    rows = [_factors_of(blob) for blob in blobs]
    columns: dict[str, Array] = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {name: value.astype(np.float32) if value.dtype.kind == "f" else value for name, value in columns.items()}


def _factors_of(blob: bytes) -> dict[str, Any]:
    layout = _coinrun(blob)
    entities = _entities(blob, layout)
    motion, kinds, me = entities.view("<f4")[:, :4], entities[:, 6], _agent(entities)
    agent_position = motion[me, :2]
    _, wall_theme, support, right, crate = struct.unpack_from("<f4i", blob, layout.tail)
    names = ("agent_x", "agent_y", "agent_vx", "agent_vy")
    values: dict[str, Any] = dict(zip(names, motion[me].tolist(), strict=True))
    values |= {"has_support": bool(support), "on_crate": bool(crate), "facing_right": bool(right)}
    cells = np.frombuffer(blob, "<i4", layout.shape[0] * layout.shape[1], layout.grid)
    rows, columns = np.divmod(np.flatnonzero(cells == COIN), layout.shape[1])
    values["to_coin"], _ = _nearest(np.stack([columns, rows], 1) + 0.5 - agent_position)
    for name, plural, kind in (("saw", "saws", SAW), ("enemy", "enemies", ENEMY), ("crate", "crates", CRATE)):
        offsets = motion[kinds == kind, :2] - agent_position
        values[f"num_{plural}"] = len(offsets)
        values[f"to_{name}"], values[f"{plural}_in_view"] = _nearest(offsets)
    themes = {"wall_theme": wall_theme, "agent_theme": int(entities[me, 8])}
    return (
        values
        | themes
        | {"background_index": _int(blob, layout.background), "level_seed": _int(blob, layout.level_seed)}
    )


def _nearest(offsets: Array) -> tuple[Array, int]:
    """Shortest of (K, 2) offsets, NaN if K is 0, and the number that lie in the view."""
    if not len(offsets):
        return np.full(2, np.nan), 0
    return offsets[np.argmin((offsets**2).sum(1))], int((np.abs(offsets) <= HALF_VIEW).all(1).sum())
