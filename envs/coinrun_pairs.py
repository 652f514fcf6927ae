"""One state under many looks: paired frames, for alignment losses and probes.

``Paired`` shows the present states of a Procgen world under other looks and leaves the world untouched. A look is

* a dict of changes, as ``envs.procgen.state.patch`` takes: ``{"use_backgrounds": False}``, ``{"wall_theme": 4}``; a
  theme may also be an array (N,), one for each env;
* ``envs.procgen.coinrun_themes.Themes``: the themes that this part would show in each level being played;
* a function of frames (N, 64, 64, 3) uint8, as ``envs.wrappers.visual_shifts.Shift``.

About 4 k paired frames/s. ``agents.runs.evaluate.agreement`` compares a policy's actions on such pairs, for every
world, by
playing the looks in lockstep; that the two ways show the same frames is a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from envs.procgen.coinrun_themes import Themes
from envs.procgen.env import ProcgenVectorEnv
from envs.procgen.state import check_patch, patch
from envs.registry import UsageError

Array = np.ndarray
Frames = Callable[[Array], Array]
Look = Mapping[str, Any] | Themes | Frames


class Paired:
    """The states of ``env`` under other ``looks``.

    Procgen keeps each sprite as it first drew it, with or without ``restrict_themes``; so there is one object to draw
    in for each value, and every state gets that value before it comes in.

    Args:
        env: any game whose state can be read; themes can be changed in CoinRun alone.
        looks: name -> look.

    Raises:
        UsageError: a change that is unknown, out of range, or hidden by ``restrict_themes=True``.
    """

    def __init__(self, env: ProcgenVectorEnv, looks: Mapping[str, Look]):
        self._env, self._looks = env, dict(looks)
        self._viewers: dict[bool, ProcgenVectorEnv] = {}
        for look in self._looks.values():
            if not callable(look):
                self._check(_themed(look, np.zeros(env.num_envs, np.int64)))

    def _check(self, changes: Mapping[str, Any]) -> None:
        for row in range(self._env.num_envs):
            check_patch(_of_row(changes, row, self._env.num_envs), self._env.options.game)
        themes = [name for name in ("wall_theme", "agent_theme") if name in changes]
        if themes and changes.get("restrict_themes", self._env.options.restrict_themes):
            raise UsageError(f"procgen: restrict_themes=True hides {themes[0]}; give restrict_themes=False beside it")

    def frames(self, shown: Array | None = None) -> dict[str, Array]:
        """Name -> (N, 64, 64, 3) uint8, of the states that ``env`` is in now.

        ``shown`` are the frames ``env`` gave last, which looks that are functions change; None draws them anew.
        """
        blobs, levels = self._env.blobs(), self._env.levels()
        found = {}
        for name, look in self._looks.items():
            if callable(look):
                shown = self._draw(blobs, levels, {}) if shown is None else shown
                found[name] = look(shown)
            else:
                found[name] = self._draw(blobs, levels, _themed(look, levels))
        return found

    def _draw(self, blobs: list[bytes], levels: Array, changes: Mapping[str, Any]) -> Array:
        restrict = bool(changes.get("restrict_themes", self._env.options.restrict_themes))
        changes = {**changes, "restrict_themes": restrict}
        return self._viewer(restrict).show(
            [patch(blob, int(levels[row]), **_of_row(changes, row, len(blobs))) for row, blob in enumerate(blobs)]
        )

    def _viewer(self, restrict: bool) -> ProcgenVectorEnv:
        if restrict not in self._viewers:
            options = {**asdict(self._env.options), "restrict_themes": restrict}
            viewer = ProcgenVectorEnv(self._env.num_envs, num_threads=self._env.num_threads, **options)
            viewer.reset()
            self._viewers[restrict] = viewer
        return self._viewers[restrict]

    def close(self) -> None:
        """Give back the objects drawn in; ``env`` stays open."""
        for viewer in self._viewers.values():
            viewer.close()
        self._viewers.clear()


def _themed(look: Any, levels: Array) -> Mapping[str, Any]:
    """The changes behind a look; the themes of a split are seen without restriction."""
    return {"restrict_themes": False, **look.draw(levels)} if isinstance(look, Themes) else look


def _of_row(changes: Mapping[str, Any], row: int, num_envs: int) -> dict[str, Any]:
    for name, value in changes.items():
        if np.ndim(value) and np.shape(value) != (num_envs,):
            raise UsageError(
                f"procgen: {name} has shape {np.shape(value)}; give one value, or one an env ({num_envs},)"
            )
    return {name: value[row] if np.ndim(value) else value for name, value in changes.items()}
