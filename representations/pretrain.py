"""Offline pre-training: frames of a random policy, and a loop over the phases of a representation.

The random policy holds each action for a geometric number of steps (mean 8), then draws another; frames are 8 steps
apart. Differs from the papers, which take uniform random actions: in CoinRun these hardly leave the start.
Frames come from their seed alone, so they are collected again after a restart, not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from envs.registry import UsageError
from envs.steps import Obs, Steps
from envs.streams import stream_seed
from representations.base import Phase, Representation

HOLD = 8
"""Mean number of steps an action is held."""
STRIDE = 8
"""Steps between two kept frames of one env."""
NUM_ENVS = 32
"""Envs per world; frames of many episodes come sooner than of long ones."""


class Makes(Protocol):
    """What ``collect`` needs of a world; ``envs.suites.World`` is one."""

    def make(self, num_envs: int, seed: int) -> VectorEnv: ...


def collect(
    worlds: Sequence[Makes], frames: int, seed: int, also: Callable[[VectorEnv], Mapping[str, np.ndarray]] | None = None
) -> Obs:
    """Frames of a random policy, an equal share from each world.

    Args:
        also: what else to keep of each moment, (N, ...) by key, asked of the world (its ground truth, say).

    Returns:
        key -> (frames, ...); images uint8 (frames, C, H, W), channels-last in memory. The order is that of the worlds.
    """
    if frames < len(worlds):
        raise UsageError(f"{frames} pre-training frames for {len(worlds)} worlds; ask for at least one each")
    edges = [frames * i // len(worlds) for i in range(len(worlds) + 1)]
    parts = [
        _collect(world, edges[i + 1] - edges[i], stream_seed(seed, "world", i), also) for i, world in enumerate(worlds)
    ]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return {key: _channels_first(torch.from_numpy(value)) for key, value in joined.items()}


def _collect(
    world: Makes, frames: int, seed: int, also: Callable[[VectorEnv], Mapping[str, np.ndarray]] | None
) -> dict[str, np.ndarray]:
    envs = world.make(NUM_ENVS, stream_seed(seed, "envs"))
    if not isinstance(envs.single_action_space, gym.spaces.Discrete):
        raise UsageError(f"action space {envs.single_action_space}: random actions are drawn from Discrete spaces only")
    choices = int(envs.single_action_space.n)
    rng = np.random.default_rng(stream_seed(seed, "actions"))
    actions = rng.integers(choices, size=NUM_ENVS)
    observation, _ = envs.reset(seed=stream_seed(seed, "reset") % 2**31)
    kept: dict[str, np.ndarray] = {}
    count = 0
    while True:
        for key, value in {**_keyed(observation), **(also(envs) if also else {})}.items():
            if key not in kept:
                kept[key] = np.empty((frames, *value.shape[1:]), value.dtype)
            kept[key][count : count + NUM_ENVS] = value[: frames - count]
        count += NUM_ENVS
        if count >= frames:
            break
        for _ in range(STRIDE):
            fresh = rng.integers(choices, size=NUM_ENVS)
            actions = np.where(rng.random(NUM_ENVS) < 1 / HOLD, fresh, actions)
            observation = envs.step(actions)[0]
    envs.close()
    return kept


def _keyed(observation: Any) -> Mapping[str, np.ndarray]:
    return observation if isinstance(observation, Mapping) else {"image": observation}


def _channels_first(frames: Tensor) -> Tensor:
    is_image = frames.dtype == torch.uint8 and frames.dim() == 4
    return frames.permute(0, 3, 1, 2) if is_image else frames


class Pretrainer:
    """Runs the phases of a representation over stored frames, in chunks, so that a caller can checkpoint in between.

    Args:
        representation: trained in place; in train mode until ``done``, then in eval mode.
        frames: what ``collect`` returns.
        samples: frames drawn in all (with replacement), split over the phases by their shares.
        generator: gives every draw: batches, noise, occlusions.
        batch_size: frames per optimizer step. 64 in the papers; 128 draws as many samples in fewer, faster steps.
        precision: "bfloat16" runs the networks under autocast; losses sum in float32 either way.
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
    ):
        self.representation, self.generator = representation, generator
        self.batch_size, self.precision = batch_size, precision
        # Rows are gathered from memory as it lies (channels last), then shown with channels first.
        self._rows = {key: frames[key].movedim(1, -1) if frames[key].dim() == 4 else frames[key] for key in frames}
        self.phases = representation.phases() if representation.needs_pretraining else []
        self._steps = _split(samples // batch_size, [phase.share for phase in self.phases])
        self.optimizers = [
            torch.optim.Adam(phase.parameters, phase.learning_rate, eps=1e-8, foreach=True) for phase in self.phases
        ]
        self._step = 0

    @property
    def total(self) -> int:
        """Samples that all phases draw."""
        return sum(self._steps) * self.batch_size

    @property
    def drawn(self) -> int:
        """Samples drawn so far."""
        return self._step * self.batch_size

    @property
    def done(self) -> bool:
        return self._step >= sum(self._steps)

    def _phase(self) -> int:
        ends = np.cumsum(self._steps)
        return int(np.searchsorted(ends, self._step, side="right"))

    def run(self, samples: int) -> dict[str, float]:
        """Draw about ``samples`` more; the means of their metrics, named ``pretrain/<phase>/<metric>``."""
        sums: dict[str, list[Tensor]] = {}
        self.representation.train()
        for _ in range(max(1, samples // self.batch_size)):
            if self.done:
                break
            index = self._phase()
            for name, value in self._update(self.phases[index], self.optimizers[index]).items():
                sums.setdefault(f"pretrain/{self.phases[index].name}/{name}", []).append(value)
        if self.done:
            self.representation.eval()
        return {name: torch.stack(values).float().mean().item() for name, values in sums.items()}

    def _update(self, phase: Phase, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        batch = Steps.frames(self._draw())
        device = self.generator.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss, metrics = phase.loss(batch, self.generator)
        gradients = torch.autograd.grad(loss, phase.parameters, allow_unused=True)
        for parameter, gradient in zip(phase.parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        optimizer.zero_grad()
        self.representation.after_step()
        self._step += 1
        return {"loss": loss.detach(), **metrics}

    def _draw(self) -> Obs:
        some = next(iter(self._rows.values()))
        index = torch.randint(len(some), (self.batch_size,), generator=self.generator, device=self.generator.device)
        rows = {key: value[index.to(value.device)].to(index.device) for key, value in self._rows.items()}
        return {key: row.movedim(-1, 1) if row.dim() == 4 else row for key, row in rows.items()}

    def components(self) -> dict[str, Any]:
        """Everything with state, for a checkpoint: objects with ``state_dict`` and ``load_state_dict``."""
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
        self.generator.set_state(state["generator"])


def _split(steps: int, shares: list[float]) -> list[int]:
    """``steps`` over phases by share; cumulative rounding, so that they add up."""
    edges = [round(steps * sum(shares[:i]) / sum(shares)) for i in range(len(shares) + 1)] if shares else [0]
    return [after - before for before, after in pairwise(edges)]
