"""Work between two rollouts: records, progress, evaluation and checkpoints when due, a stop when asked."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from stable_baselines3.common.callbacks import BaseCallback

from agents.on_policy import OnPolicyAlgorithm
from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.runs.env_metrics import EnvMetrics, NewestEpisodes
from agents.runs.run_dir import RunDir
from agents.runs.trackers import Tracker


class Preempted(Exception):
    """The process was asked to stop; everything is in the checkpoint."""


class Progress(Protocol):
    """Display of a stage's progress."""

    def stage(self, name: str, total: int, done: int) -> None: ...
    def update(self, done: int, note: str = "") -> None: ...
    def close(self) -> None: ...


class Clock:
    """Seconds spent in each stage of a run, over all its starts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"pretrain": 0.0, "train": 0.0, "eval": 0.0}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] += time.perf_counter() - start

    def state_dict(self) -> dict[str, float]:
        return dict(self.seconds)

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.seconds.update(state)


class StopRequest:
    """SIGTERM, SIGINT or SIGUSR1 asks for a stop at the next safe place; a second one stops at once."""

    SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
    """SIGUSR1 is what a scheduler sends some time before its limit; Windows has none."""

    def __init__(self) -> None:
        self.asked = False
        self.asked_at = 0.0

    def asked_for(self, seconds: float) -> bool:
        """True from so many seconds after a stop was asked for."""
        return self.asked and time.monotonic() - self.asked_at >= seconds

    def check(self) -> None:
        """Raise Preempted if a stop was asked for; to be called where everything is in the checkpoint."""
        if self.asked:
            raise Preempted

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Turn the first signal into a request; outside the main thread signals stay as they are."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {name: signal.getsignal(name) for name in self.SIGNALS}

        def ask(number: int, frame: Any) -> None:
            self.asked, self.asked_at = True, time.monotonic()
            for name in self.SIGNALS:
                signal.signal(name, before[name])

        for name in self.SIGNALS:
            signal.signal(name, ask)
        try:
            yield
        finally:
            for name in self.SIGNALS:
                signal.signal(name, before[name])


@dataclass
class Records:
    """metrics.jsonl is the truth; the tracker is fed the same record."""

    run: RunDir
    tracker: Tracker
    begun: bool = False

    def begin(self) -> None:
        """Tell the tracker, once, what the run goes on from: the log, cut back to the checkpoint."""
        if not self.begun and self.run.writes:
            self.tracker.begin(self.run.records())
        self.begun = True

    def log(self, record: dict[str, float]) -> None:
        self.begin()
        self.run.log(record)
        self.tracker.log(record)


class TrainingCallback(BaseCallback):
    """Between two rollouts: write metrics, evaluate and checkpoint when due, stop when asked."""

    def __init__(
        self,
        clock: Clock,
        records: Records,
        progress: Progress,
        stop: StopRequest,
        save: Callable[[int], None],
        save_every: int,
        evaluate: Callable[[OnPolicyAlgorithm, int], dict[str, float]],
        evaluate_every: float,
        keep: Callable[[OnPolicyAlgorithm, int], None],
        keep_every: float,
        env_metrics: EnvMetrics,
        newest_episodes: NewestEpisodes,
        ranks: Ranks = SINGLE_PROCESS,
    ):
        """Args named ``..._every`` count frames; of ``ranks`` the first evaluates, keeps policies and writes."""
        super().__init__()
        self.env_metrics, self.newest_episodes, self.ranks = env_metrics, newest_episodes, ranks
        self.keep, self.keep_every = keep, keep_every
        self.clock, self.records, self.progress, self.stop = clock, records, progress, stop
        self.save, self.save_every, self.evaluate, self.evaluate_every = save, save_every, evaluate, evaluate_every

    def _on_training_start(self) -> None:
        self.agent: OnPolicyAlgorithm = self.model  # type: ignore[assignment]
        self.step_before = self.agent.num_timesteps
        self.resumed_at = time.perf_counter()

    def _on_step(self) -> bool:
        self.env_metrics.add(getattr(self.agent.env, "newest_infos", {}), self.locals["dones"])
        self.newest_episodes.add(self.locals["infos"], self.locals["dones"])
        return True

    def _on_rollout_start(self) -> None:
        if self.agent.num_timesteps > self.step_before:
            self._between_rollouts(last=False)

    def _on_training_end(self) -> None:
        self._between_rollouts(last=True)

    def _between_rollouts(self, last: bool) -> None:
        self.clock.seconds["train"] += time.perf_counter() - self.resumed_at
        agent, step = self.agent, self.agent.num_timesteps
        record: dict[str, float] = {"global_step": step}
        record.update({name: value for name, value in agent.metrics.items() if math.isfinite(value)})
        record["time/frames_per_second"] = step / max(self.clock.seconds["train"], 1e-9)
        record |= {f"train/{name}": value for name, value in self.newest_episodes.metrics().items()}
        if agent.first_reward:
            record["train/first_reward"] = agent.first_reward
        record.update({f"explore/{name}": value for name, value in self.env_metrics.metrics().items()})
        self.ranks.on_rank_zero(lambda: self._report(record, step, last))
        self.stop.asked = self.ranks.any(self.stop.asked)
        if last or self.stop.asked or self._due(step, self.save_every):
            self.save(step)
        self.stop.check()
        self.step_before = step
        self.resumed_at = time.perf_counter()

    def _report(self, record: dict[str, float], step: int, last: bool) -> None:
        if last or self._due(step, self.evaluate_every):
            with self.clock.measure("eval"):
                record.update(self.evaluate(self.agent, step))
        if last or self._due(step, self.keep_every):
            self.keep(self.agent, step)
        self.records.log(record)
        shown = f"return {record['train/return']:.2f}" if "train/return" in record else "first episodes still run"
        self.progress.update(step, shown)

    def _due(self, step: int, every: float) -> bool:
        return int(step / every) > int(self.step_before / every)
