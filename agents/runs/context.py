"""One run on its way: its parts, where it writes, what it runs on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.parallel.distributed import SINGLE_PROCESS, Ranks
from agents.policy import Precision
from agents.runs.build import RunParts, policy_world
from agents.runs.callback import Clock, Progress, Records, StopRequest
from agents.runs.config import RunConfig
from agents.runs.evaluate import Watch
from agents.runs.run_dir import RunDir
from envs.rng_streams import stream_seed
from envs.tasks import Task, World

SECONDS_BETWEEN_NOTES = 1.0
"""Time between two notes of how far an evaluation is."""


@dataclass
class RunContext:
    """Everything that the stages of one run share."""

    parts: RunParts
    run: RunDir
    records: Records
    progress: Progress
    clock: Clock
    stop: StopRequest
    device: str
    precision: Precision
    cache: Path
    """Folder of finished fits."""
    ranks: Ranks = SINGLE_PROCESS

    @property
    def config(self) -> RunConfig:
        return self.parts.config

    @property
    def task(self) -> Task:
        return self.parts.task

    @property
    def pretrain_checkpoints(self) -> Path:
        """Folder of the pre-training stage's checkpoints."""
        return self.run.checkpoints / "pretrain"

    @property
    def train_checkpoints(self) -> Path:
        """Folder of the training stage's checkpoints."""
        return self.run.checkpoints / "train"

    def seed(self, *names: str | int) -> int:
        """Seed of a named stream of this run."""
        return stream_seed(self.config.seed, *names)

    def policy_world(self, world: World) -> World:
        """``world`` with the number of stacked frames that this run's policy takes."""
        return policy_world(self.config, self.task, world)

    def watch(self, done: int, split: str, grace: float = 0.0) -> Watch:
        """Progress of an evaluation, which is broken off where a stop was asked for.

        Args:
            done: splits evaluated before.
            split: evaluated now.
            grace: seconds that it may still take from then on.
        """
        shown = time.monotonic()

        def watch(finished: int, total: int, steps: int) -> None:
            nonlocal shown
            if self.stop.asked_for(grace):
                print(f"the evaluation of {split} was broken off; what followed the last checkpoint is repeated")
                self.stop.check()
            if time.monotonic() - shown > SECONDS_BETWEEN_NOTES:
                shown = time.monotonic()
                self.progress.update(done, f"{split}: {finished} of {total} episodes ended after {steps:,} steps")

        return watch

    def shared_components(self) -> dict[str, Any]:
        """Components of every checkpoint, beside those of its stage."""
        return {"log": self.run, "clock": self.clock}
