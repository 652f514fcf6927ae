"""One state under many looks: paired frames, and how far a policy's actions agree on them.

``Paired`` shows the present states of a Procgen world under other looks and leaves the world untouched. A look is

* a dict of changes, as ``envs.procgen_state.patch`` takes: ``{"use_backgrounds": False}``, ``{"wall_theme": 4}``; a
  theme may also be an array (N,), one for each env;
* ``envs.coinrun.Themes``: the themes that this part would show in each level being played;
* a function of frames (N, 64, 64, 3) uint8, as ``envs.shifts.Shift``.

``agreement`` plays a world with a policy and compares, on the very same states, what it would do under each look.
About 4 k paired frames/s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from envs.coinrun import Themes
from envs.draws import counter_hash, uniform
from envs.procgen import ProcgenVectorEnv
from envs.procgen_state import check_patch, patch
from envs.registry import UsageError

Array = np.ndarray
Frames = Callable[[Array], Array]
Look = Mapping[str, Any] | Themes | Frames
Policy = Callable[[Array], Array]
"""Frames (N, 64, 64, 3) uint8 -> action probabilities (N, A)."""


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


def agreement(
    policy: Policy, env: ProcgenVectorEnv, looks: Mapping[str, Look], *, steps: int = 256, every: int = 8, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Play ``env`` with actions drawn from ``policy``; every so often ask it about the same states under each look.

    ``policy`` sees one frame at a time: frames (N, 64, 64, 3) uint8 -> probabilities (N, A), A the env's actions.

    Returns:
        look -> argmax: the part of states where the likeliest action is the same; total_variation: the mean of
        1/2 sum_a |p(a) - q(a)|, from 0 (same) to 1; states: how many were compared.

    Raises:
        UsageError: probabilities of another shape, or that do not add up to 1.
    """
    paired = Paired(env, looks)
    shown, _ = env.reset(seed=seed)
    same = {name: [] for name in looks}  # type: dict[str, list[Array]]
    apart = {name: [] for name in looks}  # type: dict[str, list[Array]]
    for step in range(steps):
        probabilities = _asked(policy, shown, env)
        if step % every == 0:
            for name, frames in paired.frames(shown).items():
                other = _asked(policy, frames, env)
                same[name].append(probabilities.argmax(1) == other.argmax(1))
                apart[name].append(0.5 * np.abs(probabilities - other).sum(1))
        bits = uniform(counter_hash(seed, np.arange(env.num_envs), step))
        actions = (probabilities.cumsum(1) <= bits[:, None]).sum(1).clip(max=env.num_actions - 1)
        shown = env.step(actions)[0]
    paired.close()
    return {
        name: {
            "argmax": float(np.mean(same[name])),
            "total_variation": float(np.mean(apart[name])),
            "states": float(np.size(same[name])),
        }
        for name in looks
    }


def _asked(policy: Policy, frames: Array, env: ProcgenVectorEnv) -> Array:
    probabilities = np.asarray(policy(frames), np.float64)
    if probabilities.shape != (env.num_envs, env.num_actions) or not np.allclose(probabilities.sum(1), 1, atol=1e-4):
        raise UsageError(
            f"agreement: the policy gave {probabilities.shape} numbers; it must give probabilities "
            f"({env.num_envs}, {env.num_actions}) that add up to 1"
        )
    return probabilities
