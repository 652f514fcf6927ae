"""Offline pre-training: a loop over the phases of a representation on stored frames (``representations.collect``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from envs.finite import NotFinite, lower_rate_of, require_finite_weights
from envs.registry import UsageError
from envs.rng_streams import set_state, spawn
from envs.steps import Obs, Steps
from representations.base import Phase, Representation
from representations.collect import ACTION, FIRST, channels_first, channels_last
from representations.feature_metrics import effective_rank, feature_std, warn_if_collapsed
from representations.malloc import keep_freed_memory
from representations.threads import num_threads, side_by_side, sum_gradients
from representations.wrappers import unwrapped

ANNEAL = 0.3
"""Last fraction of a phase over which its learning rate falls linearly to 0, for every method."""


class Pretrainer:
    """Loop over the phases of a representation on stored frames, in chunks, so that a caller can checkpoint in between.

    Args:
        representation: trained in place; in train mode until ``done``, then in eval mode.
        frames: stored frames, as ``collect`` returns them.
        samples: frames drawn in all (with replacement), split over the phases by their shares.
        generator: gives every draw: batches, noise, occlusions.
        batch_size: frames per optimizer step of a phase that names none; 64 in most papers.
        precision: "bfloat16" runs the networks under autocast; losses sum in float32 either way.
        threads: parts of a batch computed side by side, a core each, in phases that allow it (``Phase.splits``); None
            takes torch's number of threads. Each part has draws of its own.
    """

    def __init__(
        self,
        representation: Representation,
        frames: Obs,
        samples: int,
        *,
        generator: torch.Generator,
        batch_size: int = 64,
        precision: Literal["float32", "bfloat16"] = "float32",
        threads: int | None = None,
    ):
        if generator.device.type == "cpu":
            keep_freed_memory()
        self.representation, self.generator = representation, generator
        self.precision = precision
        self.threads = num_threads(generator.device) if threads is None else threads
        self._rows = {key: channels_last(value) for key, value in frames.items()}  # gathered in memory order
        if representation.needs_pretraining and frames:
            representation.prepare(frames)
        self.phases = representation.phases() if representation.needs_pretraining else []
        self._count = len(next(iter(frames.values()))) if frames else 0
        self._sizes = [
            self._count if phase.solve else max(1, (phase.batch or batch_size) // representation.window)
            for phase in self.phases
        ]
        self._frames = [size * representation.window for size in self._sizes]
        self._steps = _split(samples, [0.0 if phase.solve else phase.share for phase in self.phases], self._frames)
        self.optimizers = [
            torch.optim.Adam(phase.parameters, phase.learning_rate, eps=1e-8, foreach=True) for phase in self.phases
        ]
        self._step = 0

    @property
    def total(self) -> int:
        """Samples that all phases draw together."""
        return sum(steps * frames for steps, frames in zip(self._steps, self._frames, strict=True))

    @property
    def drawn(self) -> int:
        """Samples drawn so far."""
        left, drawn = self._step, 0
        for steps, frames in zip(self._steps, self._frames, strict=True):
            drawn += min(left, steps) * frames
            left -= min(left, steps)
        return drawn

    @property
    def done(self) -> bool:
        return self._step >= sum(self._steps)

    def _phase(self) -> int:
        ends = np.cumsum(self._steps)
        return int(np.searchsorted(ends, self._step, side="right"))

    def run(self, samples: int) -> dict[str, float]:
        """Train on about ``samples`` more; means of the metrics, named ``pretrain/<phase>/<metric>``."""
        values_by_name: dict[str, list[Tensor]] = {}
        self.representation.train()
        end = self.drawn + samples
        while not self.done:
            index = self._phase()
            if values_by_name and self.drawn + self._frames[index] > end:
                break
            metrics = self._update(index)
            if self.generator.device.type == "cpu" and "loss" in metrics:  # on a GPU the look would wait for each step
                self._require_finite(index, float(metrics["loss"]))
            for name, value in metrics.items():
                values_by_name.setdefault(f"pretrain/{self.phases[index].name}/{name}", []).append(value)
        if self.done:
            self.representation.eval()
        means = {name: torch.stack(values).float().mean().item() for name, values in values_by_name.items()}
        for index, phase in enumerate(self.phases):
            self._require_finite(index, means.get(f"pretrain/{phase.name}/loss", 0.0))
        require_finite_weights(self.representation, f"after {self.drawn:,} samples of pre-training")
        return means

    def _require_finite(self, index: int, loss: float) -> None:
        if math.isfinite(loss):
            return
        name, phase = self.representation.name, self.phases[index].name
        raise NotFinite(
            f"loss of phase '{phase}' of {name} is {loss} after {self.drawn:,} of {self.total:,} samples of "
            f"pre-training: it diverged; {self._slower}. The last checkpoint is still whole"
        )

    @property
    def _slower(self) -> str:
        """Cure of a phase that diverged."""
        return lower_rate_of(self.representation.name, unwrapped(self.representation).config)

    @torch.no_grad()
    def watch(self) -> dict[str, float]:
        """Spread, size and effective rank of the features of 256 stored frames; RuntimeWarning if they collapsed."""
        representation, device = unwrapped(self.representation), self.generator.device
        training = representation.training
        representation.eval()
        rows = {key: channels_first(self._rows[key][:256]).to(device) for key in representation.keys}
        obs = {key: value[:, 0] if representation.window > 1 else value for key, value in rows.items()}
        count = len(next(iter(obs.values())))
        state = tuple(carried.to(device) for carried in representation.initial_state(count))
        features = representation.encode(obs, state, torch.ones(count, dtype=torch.bool, device=device))[0].float()
        representation.train(training)
        spread, size = float(feature_std(features)), float(features.square().mean().sqrt())
        if not math.isfinite(size):
            raise NotFinite(
                f"features of {representation.name} are not finite after {self.drawn:,} samples of pre-training, "
                f"though its losses are: {self._slower}, or look for a division or a logarithm of 0 in its encode()"
            )
        warn_if_collapsed(representation.name, spread, size, f"after {self.drawn:,} samples")
        rank = float(effective_rank(features))
        return {"pretrain/feature_std": spread, "pretrain/feature_size": size, "pretrain/effective_rank": rank}

    def _update(self, index: int) -> dict[str, Tensor]:
        phase, optimizer = self.phases[index], self.optimizers[index]
        done = self._step - sum(self._steps[:index])
        self.representation.set_progress(done / self._steps[index], self._steps[index])
        if phase.solve is not None:
            rows = {key: channels_first(value) for key, value in self._rows.items()}
            with torch.no_grad():
                metrics = phase.solve(rows, self.generator)
            self._step += 1
            return metrics
        loss, gradients, metrics = self.differentiate(phase, self._draw(self._sizes[index]))
        for parameter, gradient in zip(phase.parameters, gradients, strict=True):
            parameter.grad = gradient
        steps_left = self._steps[index] - done
        optimizer.param_groups[0]["lr"] = phase.learning_rate * min(1, steps_left / (ANNEAL * self._steps[index]))
        optimizer.step()
        optimizer.zero_grad()
        self.representation.after_step()
        self._step += 1
        return {"loss": loss, **metrics}

    def differentiate(
        self, phase: Phase, drawn: Int[Tensor, " B"]
    ) -> tuple[Tensor, Sequence[Tensor | None], dict[str, Tensor]]:
        """Loss, gradient by parameter, and metrics of the stored rows ``drawn``, part by part where threads share them.

        Parts are weighed by their sizes, so that means over the batch come out.
        """
        parts = drawn.tensor_split(min(self.threads, len(drawn))) if phase.splits else (drawn,)
        device = self.generator.device.type

        def work(part: tuple[Tensor, torch.Generator]) -> tuple[Tensor, tuple[Tensor | None, ...], dict[str, Tensor]]:
            rows, generator = part
            weight = len(rows) / len(drawn)
            with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16"):
                loss, metrics = phase.loss(self._steps_of(rows), generator)
            loss = loss * weight
            gradients = torch.autograd.grad(loss, phase.parameters, allow_unused=True)
            return loss.detach(), gradients, {name: value * weight for name, value in metrics.items()}

        results = side_by_side(work, list(zip(parts, spawn(self.generator, len(parts)), strict=True)))
        loss, gradients, metrics = results[0]
        if len(results) > 1:
            losses, all_gradients, all_metrics = zip(*results, strict=True)
            loss, gradients = sum(losses), sum_gradients(all_gradients, len(phase.parameters))  # type: ignore[assignment]
            metrics = {name: sum(part[name] for part in all_metrics) for name in metrics}
        return loss, gradients, metrics

    def _draw(self, size: int) -> Int[Tensor, " B"]:
        """Indices of ``size`` stored rows, with replacement."""
        return torch.randint(self._count, (size,), generator=self.generator, device=self.generator.device)

    def _steps_of(self, index: Int[Tensor, " B"]) -> Steps:
        """The stored rows ``index`` as Steps."""
        rows = {key: value[index.to(value.device)].to(index.device) for key, value in self._rows.items()}
        return replace(as_steps(rows, self.representation.window), row=index)

    def components(self) -> dict[str, Any]:
        """Objects with state, for a checkpoint, each with ``state_dict`` and ``load_state_dict``."""
        named = {f"optimizer {phase.name}": o for phase, o in zip(self.phases, self.optimizers, strict=True)}
        return {"representation": self.representation, "pretraining": self, **named}

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "steps": self._steps, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken; UsageError where it had another budget or batch size."""
        if list(state["steps"]) != self._steps:
            raise UsageError(
                f"pre-training was started with {list(state['steps'])} steps per phase, now asked for {self._steps}; "
                "resume with the same number of samples, or start a new run"
            )
        self._step = int(state["step"])
        set_state(self.generator, state["generator"])


def as_steps(rows: Obs, window: int) -> Steps:
    """Stored rows (B, ...), or windows (B, W, ...), in the order of their memory (images channels-last) as Steps."""
    if window == 1:
        return Steps.frames({key: channels_first(row) for key, row in rows.items()})
    # Time comes first in memory, too: then time and stream can be flattened without a copy.
    timed = {key: channels_first(row.transpose(0, 1).contiguous()) for key, row in rows.items()}
    first, action = timed.pop(FIRST), timed.pop(ACTION, None)
    return Steps.windows(timed, first, action)


def _split(samples: int, shares: list[float], sizes: list[int]) -> list[int]:
    """Optimizer steps of each phase, of ``sizes`` samples each, by share; rounded so that equal phases add up.

    A budget of less than a step gives one, as does a share of 0.
    """
    total = sum(shares) or 1
    edges = [sum(shares[:i]) / total for i in range(len(shares) + 1)]
    return [
        max(1, round(samples // max(size, 1) * after) - round(samples // max(size, 1) * before))
        for (before, after), size in zip(pairwise(edges), sizes, strict=True)
    ]
