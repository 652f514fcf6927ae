"""Procgen's C++ object of N envs of one game, and the beginnings of episodes that it does not offer itself.

Procgen begins the next level of an env's own order when an episode ended. Here single envs also begin their next level
at any time, and envs begin levels by name: a state of a fresh object gets the range [L, L + 1) and a forced reset. Such
an env stays on L, episode after episode, until the object is built anew.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from envs.procgen.games import Options
from envs.procgen.single_levels import SingleLevels
from envs.procgen.state import on_level
from envs.registry import UsageError
from envs.rng_streams import stream_seed
from envs.spaces import Array

FORCE_RESET = -1
"""Procgen's action that ends the episode of an env; it steps once with a default action first."""
STATE_BYTES = 2**20
"""Procgen's own bound on the state of one env; about 40 kB are used."""


def load_procgen() -> Any:
    """The class ``ProcgenGym3Env``. Raises UsageError with the cure where procgen cannot be imported."""
    try:
        with warnings.catch_warnings():  # of the old gym, and of a file that procgen leaves open
            for category in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", category)
            from procgen import ProcgenGym3Env
    except (ImportError, AttributeError) as error:
        if int(np.__version__.split(".")[0]) >= 2 and "numpy" in str(error).lower():
            cure = f"its dependencies broke on numpy {np.__version__}; pip install 'numpy<2'"
        elif isinstance(error, ModuleNotFoundError):
            cure = (
                f"this is {sys.platform} with Python {sys.version_info[0]}.{sys.version_info[1]}; there are wheels for "
                "x86-64: `pip install procgen` on 3.10, `pip install procgen-mirror==0.10.7` on Linux with 3.11 or 3.12"
            )
        else:
            cure = "it is installed but broken; reinstall procgen, gym3 and gym"
        raise UsageError(f"procgen cannot be imported ({error}): {cure}. {without_procgen()}") from None
    return ProcgenGym3Env


def without_procgen() -> str:
    """Suites that need no Procgen, in a sentence."""
    from envs.suites import SUITES

    names = [name for name, place in SUITES.places.items() if not place.startswith("envs.suites.procgen:")]
    return f"Suites that need no Procgen: {', '.join(name for name in names if name != 'counting')}"


class Engine:
    """N envs of one game; nothing is built before ``build``.

    Args:
        options: of the game.
        num_envs: N.
        num_threads: worker threads of the C++.

    Frames (N, 64, 64, 3) uint8 that are handed out are fresh.
    """

    def __init__(self, options: Options, num_envs: int, num_threads: int):
        self.options, self.num_envs, self.num_threads = options, num_envs, num_threads
        self.has_state = not options.use_generated_assets
        """False where the C++ would end the process on a request for its state."""
        self.named = False
        """True once an env was put on a level by name, until the next ``build``."""
        self._class = load_procgen()
        self._games: Any = None
        self._spawner: Any = None
        self._template = b""
        self._buffer: bytearray | None = None

    @property
    def built(self) -> bool:
        return self._games is not None

    def build(self, seed: int) -> None:
        """Build the object anew (8 ms for 64 envs): the C++ cannot be seeded again. All envs begin levels."""
        if self._games is not None:
            self._games.close()
        self._games = self._object(self.num_envs, stream_seed(seed, "procgen") >> 32, self.num_threads)
        self.named = False

    def _object(self, num: int, rand_seed: int, num_threads: int, **changes: Any) -> Any:
        options = {**self.options.gym3(), **changes}
        try:
            return self._class(num=num, rand_seed=rand_seed, num_threads=num_threads, **options)
        except OSError as error:
            raise UsageError(f"procgen's library cannot be loaded ({error}); reinstall procgen") from None

    def close(self) -> None:
        """Free the C++ objects."""
        for games in (self._games, self._spawner):
            if games is not None:
                games.close()
        self._games = self._spawner = None

    # steps --------------------------------------------------------------------------------------------------------

    def step(self, actions: Array) -> tuple[Array, Array, Array]:
        """Rewards (N,), frames, and firsts (N,) bool, which mark envs whose next episode began."""
        self._games.act(actions.astype(np.int32))
        reward, observation, first = self._games.observe()
        return reward, observation["rgb"], first

    def frames(self) -> Array:
        """The current frames."""
        frames: Array = self._games.observe()[1]["rgb"]
        return frames

    def levels(self) -> dict[str, Array]:
        """``level_seed``, ``prev_level_seed`` and ``prev_level_complete`` of each env, (N,)."""
        # a list of dicts, 18 us for 64 envs: read only when an episode begins or ends
        rows = self._games.get_info()
        levels = {key: np.array([row[key] for row in rows]) for key in ("level_seed", "prev_level_seed")}
        return {**levels, "prev_level_complete": np.array([row["prev_level_complete"] for row in rows], bool)}

    # beginnings -----------------------------------------------------------------------------------------------------

    def begin_all(self) -> Array:
        """Begin the next level of their own order in all envs; all frames."""
        self._games.act(np.full(self.num_envs, FORCE_RESET, np.int32))
        return self.frames()

    def begin_next(self, rows: Array) -> Array:
        """Begin the next level of *their own* order in ``rows``, leave the others as they are; all frames.

        Procgen steps all envs or none, so the reset happens in an object of one env that borrows the row's state.
        """
        if not self.has_state:
            raise UsageError("procgen: reset_mask is not for use_generated_assets; reset all envs instead")
        for row in rows.tolist():
            self._begin_from(self.state(row), row)
        return self.frames()

    def begin_on(self, rows: Array, levels: Sequence[int]) -> Array:
        """Begin ``levels`` in ``rows``; all frames."""
        if self.has_state:
            self._one_env()  # which makes the template
            for row, level in zip(rows.tolist(), levels, strict=True):
                self._begin_from(on_level(self._template, level), row)
        else:
            self._begin_objects(rows, levels)
        self.named = True
        return self.frames()

    def _begin_from(self, blob: bytes, row: int) -> None:
        """Force a reset of ``blob`` in the object of one env, and put what it leads to into ``row``."""
        spawner = self._one_env()
        _put(spawner, 0, blob)
        spawner.act(np.array([FORCE_RESET], np.int32))
        spawner.observe()
        self.set_state(row, self._get(spawner, 0))

    def _begin_objects(self, rows: Array, levels: Sequence[int]) -> None:
        """Begin ``levels`` in ``rows`` where no state can be written: one object a level."""
        if not isinstance(self._games, SingleLevels):
            if len(rows) < self.num_envs:
                raise UsageError(
                    "procgen: with use_generated_assets the first reset with levels begins all envs; leave reset_mask"
                )
            self._games.close()
            self._games = SingleLevels(
                self.num_envs, lambda level: self._object(1, 0, 0, start_level=level, num_levels=1)
            )
        self._games.begin(rows.tolist(), levels)

    def _one_env(self) -> Any:
        """The object of one env in which others' episodes begin; its first state is kept for named levels."""
        if self._spawner is None:
            self._spawner = self._object(1, 0, 0)
            self._spawner.observe()
            self._template = self._get(self._spawner, 0)
        return self._spawner

    # states -----------------------------------------------------------------------------------------------------------

    def state(self, row: int) -> bytes:
        """Procgen's own state of one env, for ``envs.procgen.state``."""
        return self._get(self._games, row)

    def set_state(self, row: int, blob: bytes) -> None:
        """Put a state into one env; ``frames`` then shows it."""
        _put(self._games, row, blob)

    def states(self) -> list[bytes]:
        """Procgen's own state of every env. UsageError where it cannot be read."""
        if not self.has_state:
            raise UsageError("procgen cannot read its state with use_generated_assets=True; such a run cannot continue")
        if self._games is None:
            raise UsageError("procgen: no state before the first reset(); call reset()")
        blobs: list[bytes] = self._games.callmethod("get_state")
        return blobs

    def set_states(self, blobs: Sequence[bytes]) -> None:
        """Put a state into each env."""
        self._games.callmethod("set_state", list(blobs))

    def _get(self, games: Any, row: int) -> bytes:
        if self._buffer is None:
            from cffi import FFI

            self._buffer = bytearray(STATE_BYTES)
            self._pointer = FFI().from_buffer(self._buffer)
        return bytes(self._buffer[: games.call_c_func("get_state", row, self._pointer, STATE_BYTES)])


def _put(games: Any, row: int, blob: bytes) -> None:
    games.call_c_func("set_state", row, blob, len(blob))
