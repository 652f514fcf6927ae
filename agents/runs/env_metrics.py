"""Metrics that an environment tells of itself: sums over the infos that its class names in ``metric_infos``.

Such an info is one value an env at every step, (N,). A sum is "distinct", the number of different values since the
start; "final", the mean over envs of the last value of the episode that each finished last; or "mean" over the steps
of a rollout. An environment without ``metric_infos`` adds no metric.

What is of finished episodes has no value before every env has finished one: those that end first are short ones, and
where reward ends an episode nearly all of them are successes, whatever the policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from envs.spaces import Array


class Distinct:
    """Number of different values (uint64) since the start."""

    def __init__(self) -> None:
        self.known = np.zeros(0, np.uint64)
        self.fresh: list[Array] = []

    def add(self, values: Array, done: Array) -> None:
        self.fresh.append(values)

    def value(self, ranks: Ranks) -> float | None:
        fresh = ranks.all_gather(self.fresh)
        self.fresh = []
        if fresh:
            self.known = np.union1d(self.known, np.concatenate(fresh))
        return float(len(self.known)) if fresh else None

    def state_dict(self) -> dict[str, Any]:
        return {"known": self.known.view(np.int64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.known = np.array(state["known"], np.int64).view(np.uint64)


class Final:
    """Mean over envs of the last value of the episode that each finished last; none before all have finished one."""

    def __init__(self) -> None:
        self.newest: Array | None = None
        self.ended: Array | None = None

    def add(self, values: Array, done: Array) -> None:
        # At the end of an episode infos are those of the next one: its last value is the step before's.
        if self.ended is None:
            self.ended = np.full(len(values), np.nan)
        if self.newest is not None:
            self.ended[done] = self.newest[done]
        self.newest = values

    def value(self, ranks: Ranks) -> float | None:
        ended = ranks.all_gather([] if self.ended is None else self.ended.tolist())
        return float(np.mean(ended)) if ended and np.isfinite(ended).all() else None

    def state_dict(self) -> dict[str, Any]:
        return {"newest": self.newest, "ended": self.ended}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.newest, self.ended = (
            None if state.get(name) is None else np.array(state[name]) for name in ("newest", "ended")
        )


class Mean:
    """Mean over the steps since the last call."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def add(self, values: Array, done: Array) -> None:
        self.steps.append(float(values.mean()))

    def value(self, ranks: Ranks) -> float | None:
        steps = ranks.all_gather(self.steps)
        self.steps = []
        return float(np.mean(steps)) if steps else None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing is kept between rollouts."""


SUMS: dict[str, type[Distinct | Final | Mean]] = {"distinct": Distinct, "final": Final, "mean": Mean}


class EnvMetrics:
    """Fed with every step's infos by ``add``; ``metrics`` sums them up once a rollout.

    Args:
        infos: info -> (name of the metric, "distinct", "final" or "mean"), as environments have in ``metric_infos``.
        ranks: the processes whose environments are counted.
    """

    def __init__(self, infos: Mapping[str, tuple[str, str]], ranks: Ranks = SINGLE_PROCESS) -> None:
        self.ranks, self.names = ranks, {info: name for info, (name, _) in infos.items()}
        self.sums = {info: SUMS[how]() for info, (_, how) in infos.items()}

    def add(self, infos: Mapping[str, Any], done: Array) -> None:
        """Infos (N,) of a step, and the envs (N,) bool whose episode it ended."""
        for info, total in self.sums.items():
            if info in infos:
                total.add(infos[info], done)

    def metrics(self) -> dict[str, float]:
        """Metrics by name; one without a value since the last call is left out."""
        values = {self.names[info]: total.value(self.ranks) for info, total in self.sums.items()}
        return {name: value for name, value in values.items() if value is not None}

    def state_dict(self) -> dict[str, Any]:
        """To be taken right after ``metrics``."""
        return {info: total.state_dict() for info, total in self.sums.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for info, total in self.sums.items():
            total.load_state_dict(state[info])


class NewestEpisodes:
    """Return and length of the episode that each env finished last.

    The last hundred episodes to finish would favour short ones: while a long one runs, an env that ends its episodes
    early is counted many times. Here each env counts once, and there are no means before all envs have finished an
    episode: those that finish first had short ones.

    Args:
        num_envs: environments of this rank.
        ranks: the processes whose environments are counted.
    """

    def __init__(self, num_envs: int, ranks: Ranks = SINGLE_PROCESS) -> None:
        self.ranks = ranks
        self.returns, self.lengths = np.full(num_envs, np.nan), np.full(num_envs, np.nan)

    def add(self, infos: Sequence[Mapping[str, Any]], done: Array) -> None:
        """Infos of a step, one an env, and the envs (N,) bool whose episode it ended."""
        for i in np.flatnonzero(done):
            if (episode := infos[i].get("episode")) is not None:
                self.returns[i], self.lengths[i] = episode["r"], episode["l"]

    def metrics(self) -> dict[str, float]:
        """Means over the envs, and the fraction with a return above 0; nothing while an env has finished none."""
        pairs = np.array(self.ranks.all_gather(list(zip(self.returns, self.lengths, strict=True))))
        if np.isnan(pairs).any():
            return {}
        returns, lengths = pairs.T
        return {
            "return": float(returns.mean()),
            "episode_length": float(lengths.mean()),
            "success": float((returns > 0).mean()),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"returns": self.returns, "lengths": self.lengths}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.returns, self.lengths = (np.array(state[name], np.float64) for name in ("returns", "lengths"))
