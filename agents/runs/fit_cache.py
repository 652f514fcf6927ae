"""Finished fits of representations, shared by all runs that differ in nothing that decides one.

A fit is named by the hash of its ``facts`` (``agents.runs.pretraining.fit_facts``). It holds weights, the scale of the
features, the records of its run and its seconds: a run that takes it goes on bit for bit as if it had made it, and is
charged as much.

DIR/<key>/000000000000.{safetensors,json}   see agents/checkpoint.py: committed by one rename, verified by hash
DIR/<key>.lock                              held by the process that fits; another one waits and takes its result
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from agents import checkpoint
from agents.runs.locks import try_lock
from envs.registry import UsageError
from representations.base import Representation
from representations.standardise import find_standardised
from representations.wrappers import unwrapped

POLL = 0.2
"""Seconds between two attempts at a lock that another process holds."""


@dataclass
class Outcome:
    """Facts of a fit, its run's records and its seconds, as a component of a checkpoint."""

    facts: Mapping[str, Any]
    records: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"facts": json.dumps(self.facts, sort_keys=True), "records": self.records, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.records, self.seconds = list(state["records"]), float(state["seconds"])


class FittedFeatures:
    """A method's weights, its mode (train or eval) and the scale of its features, as a component of a checkpoint.

    Args:
        representation: outermost wrapper. Of the wrappers the scale alone is fitted, so runs whose policies wrap a
            method differently (frozen, finetune) share a fit.
    """

    def __init__(self, representation: Representation):
        self.representation = representation

    def state_dict(self) -> dict[str, Any]:
        scale = find_standardised(self.representation)
        return {
            "method": checkpoint.state_of(unwrapped(self.representation)),
            "scale": {} if scale is None else {"centre": scale.centre, "divisor": scale.divisor},
            "training": self.representation.training,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        checkpoint.restore(unwrapped(self.representation), state["method"])
        scale = find_standardised(self.representation)
        if scale is not None:
            scale.centre.copy_(state["scale"]["centre"])
            scale.divisor.copy_(state["scale"]["divisor"])
        self.representation.train(state["training"])


class FitCache:
    """Fits by their facts, in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    @contextmanager
    def locked(self, facts: Mapping[str, Any], waiting: Callable[[], None]) -> Iterator[None]:
        """Be the only process that fits by these facts; ``waiting`` is called while another one does.

        Raises:
            UsageError: the folder cannot be written to.
        """
        path, announced = self.folder / f"{fit_key(facts)}.lock", False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            while (lock := try_lock(path)) is None:
                if not announced:
                    print(f"another process fits the same representation: waiting for {path}", flush=True)
                announced = True
                waiting()
                time.sleep(POLL)
        except OSError as error:
            raise UsageError(
                f"cannot keep fits in {self.folder} ({error.strerror}); name a directory you may write to by --cache"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def restore(self, facts: Mapping[str, Any], representation: Representation) -> Outcome | None:
        """Give ``representation`` the fit by these facts; None where there is none, or a damaged one, which goes."""
        folder = self.folder / fit_key(facts)
        documents = sorted(folder.glob("*.json"))
        if not documents:
            return None
        outcome = Outcome(facts)
        try:
            _, state = checkpoint.read_document(documents[-1])
            outcome.load_state_dict(state["outcome"])
            checkpoint.restore(FittedFeatures(representation), state["features"])
        except (OSError, ValueError, KeyError, SafetensorError, UsageError) as error:
            print(f"cached fit {folder} is damaged ({error}): fitting again")
            shutil.rmtree(folder)
            return None
        return outcome

    def keep(self, outcome: Outcome, representation: Representation) -> None:
        """Store a finished fit, whole or not at all."""
        components = {"outcome": outcome, "features": FittedFeatures(representation)}
        checkpoint.save(self.folder / fit_key(outcome.facts), 0, components)


def fit_key(facts: Mapping[str, Any]) -> str:
    """Name of a fit: the method, then a hash of everything that decides the outcome."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return f"{str(facts['repr']).rpartition(':')[2].lower()}-{digest}"
