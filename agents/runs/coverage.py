"""How much of a world an agent has seen, where the world tells: distinct states so far, cells reached an episode.

A world tells by infos of every step, ``state_hash`` (N,), ``coverage`` (N,) in 0..1 (``envs.minigrid.env``), ``tv_seen``
(N,) bool (``envs.minigrid.noisy_tv``); where there are none, nothing is counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from agents.parallel.distributed import SINGLE_PROCESS, Ranks


class Coverage:
    """Fed with every step's infos by ``see``; ``metrics`` sums up and begins anew what is counted by rollout.

    ``ranks``: whose environments are counted.
    """

    def __init__(self, ranks: Ranks = SINGLE_PROCESS) -> None:
        self.ranks = ranks
        self._states = np.zeros(0, np.uint64)
        self._fresh: list[np.ndarray] = []
        self._before: np.ndarray | None = None
        self._ended: list[float] = []
        self._watched: list[float] = []

    def see(self, told: dict[str, Any], done: np.ndarray) -> None:
        """Infos (N, ...) of a step, and which episodes it ended: their last known coverage is the step before's."""
        if "state_hash" in told:
            self._fresh.append(told["state_hash"])
        if "coverage" in told:
            if self._before is not None:
                self._ended += self._before[done].tolist()
            self._before = told["coverage"]
        if "tv_seen" in told:
            self._watched.append(float(told["tv_seen"].mean()))

    def metrics(self) -> dict[str, float]:
        """Distinct states since the start; coverage of the episodes that ended, and part of the steps with the TV in
        inputs, since the last call."""
        found: dict[str, float] = {}
        self._fresh, self._ended = self.ranks.all_gather(self._fresh), self.ranks.all_gather(self._ended)
        self._watched = self.ranks.all_gather(self._watched)
        if self._fresh:
            self._states = np.union1d(self._states, np.concatenate(self._fresh))
            self._fresh = []
            found["explore/states"] = float(len(self._states))
        if self._ended:
            found["explore/coverage"] = float(np.mean(self._ended))
            self._ended = []
        if self._watched:
            found["explore/tv_seen"] = float(np.mean(self._watched))
            self._watched = []
        return found

    def state_dict(self) -> dict[str, Any]:
        """Taken right after ``metrics``."""
        return {"states": self._states.view(np.int64), "before": self._before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._states = np.array(state["states"], np.int64).view(np.uint64)
        self._before = None if state["before"] is None else np.array(state["before"])
