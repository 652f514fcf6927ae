"""Offline pre-training: frames of a random policy, and a loop over the phases of a representation.

The random policy holds each action for a geometric number of steps (mean 8), then draws another; frames are 8 steps
apart. Differs from the papers, which take uniform random actions: in CoinRun these hardly leave the start. A method
that compares moments gets windows of consecutive steps instead, one that learns scenes gets views of one moment.
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
from envs.rng_streams import stream_seed
from envs.steps import Obs, Steps
from representations.base import Representation, Unfit, feature_std, warn_if_collapsed
from representations.malloc import keep_freed_memory
from representations.wrappers import unwrapped

HOLD = 8
"""Mean number of steps an action is held."""
STRIDE = 8
"""Steps between two kept frames of one env."""
NUM_ENVS = 32
"""Envs per world; frames of many episodes come sooner than of long ones."""
FIRST = "first"
"""Key under which windows say which of their steps open an episode."""


class Makes(Protocol):
    """What ``collect`` needs of a world; ``envs.suites.World`` is one."""

    def make(self, num_envs: int, seed: int) -> VectorEnv: ...


Also = Callable[[VectorEnv], Mapping[str, np.ndarray]]


def collect(
    worlds: Sequence[Makes], frames: int, seed: int, also: Also | None = None, window: int = 1, views: bool = False
) -> Obs:
    """Frames of a random policy, an equal share from each world.

    Args:
        also: what else to keep of each moment, (N, ...) by key, asked of the world (its ground truth, say).
        window: W > 1 keeps frames // W windows of W consecutive steps, and ``FIRST``.
        views: the W frames of a window are views of one moment, which the world's ``views(W)`` shows.

    Returns:
        key -> (frames, ...), or (frames // W, W, ...); images uint8 (..., C, H, W), channels-last in memory. The order
        is that of the worlds.
    """
    count = frames // window
    if count < len(worlds):
        raise UsageError(
            f"{frames} pre-training frames for {len(worlds)} worlds"
            + (f" in windows of {window}" if window > 1 else "")
            + "; ask for at least one each"
        )
    edges = [count * i // len(worlds) for i in range(len(worlds) + 1)]
    parts = [
        _collect(world, edges[i + 1] - edges[i], stream_seed(seed, "world", i), also, window, views)
        for i, world in enumerate(worlds)
    ]
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return {key: _channels_first(torch.from_numpy(value)) for key, value in joined.items()}


def _collect(world: Makes, count: int, seed: int, also: Also | None, window: int, views: bool) -> dict[str, np.ndarray]:
    """``count`` moments, or windows, of one world."""
    if views:
        views_of(world)
    envs: Any = world.make(NUM_ENVS, stream_seed(seed, "envs"))
    if not isinstance(envs.single_action_space, gym.spaces.Discrete):
        raise UsageError(f"action space {envs.single_action_space}: random actions are drawn from Discrete spaces only")
    choices = int(envs.single_action_space.n)
    rng = np.random.default_rng(stream_seed(seed, "actions"))
    actions = rng.integers(choices, size=NUM_ENVS)
    observation, _ = envs.reset(seed=stream_seed(seed, "reset") % 2**31)
    ended = np.ones(NUM_ENVS, dtype=bool)
    kept: dict[str, np.ndarray] = {}

    def step() -> None:
        nonlocal actions, observation, ended
        fresh = rng.integers(choices, size=NUM_ENVS)
        actions = np.where(rng.random(NUM_ENVS) < 1 / HOLD, fresh, actions)
        observation, _, terminated, truncated, _ = envs.step(actions)
        ended = terminated | truncated

    def keep(found: Mapping[str, np.ndarray], start: int, place: tuple[Any, ...] = (), size: tuple[int, ...] = ()):
        for key, value in found.items():
            if key not in kept:
                kept[key] = np.empty((count, *size, *value.shape[1:]), value.dtype)
            kept[key][(slice(start, start + NUM_ENVS), *place)] = value[: count - start]

    for start in range(0, count, NUM_ENVS):
        if start:
            for _ in range(STRIDE):
                step()
        if views:
            seen = envs.views(window)
            opens = np.zeros((NUM_ENVS, window), dtype=bool)
            keep({**seen, FIRST: opens}, start)
            continue
        for t in range(window):
            if t:
                step()
            now = {**_keyed(observation), **(also(envs) if also else {})}
            if window == 1:
                keep(now, start)
            else:
                keep({**now, FIRST: ended}, start, (t,), (window,))
    envs.close()
    return kept


def views_of(world: Makes) -> None:
    """Unfit where ``world`` cannot show one moment from several cameras."""
    envs = world.make(1, 0)
    if not hasattr(envs, "views"):
        raise Unfit(f"it learns scenes from several views of a moment, and {type(envs).__name__} has no views(count)")
    envs.close()


def _keyed(observation: Any) -> Mapping[str, np.ndarray]:
    return observation if isinstance(observation, Mapping) else {"image": observation}


def _channels_first(frames: Tensor) -> Tensor:
    is_image = frames.dtype == torch.uint8 and frames.dim() >= 4
    return frames.movedim(-1, -3) if is_image else frames


def channels_last(frames: Tensor) -> Tensor:
    """An image tensor (..., C, H, W) as it lies in memory; anything else as it is."""
    return frames.movedim(-3, -1) if frames.dtype == torch.uint8 and frames.dim() >= 4 else frames


class Pretrainer:
    """Runs the phases of a representation over stored frames, in chunks, so that a caller can checkpoint in between.

    Args:
        representation: trained in place; in train mode until ``done``, then in eval mode.
        frames: what ``collect`` returns.
        samples: frames drawn in all (with replacement), split over the phases by their shares.
        generator: gives every draw: batches, noise, occlusions.
        batch_size: frames per optimizer step of a phase that names none; 64 in most papers.
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
        if generator.device.type == "cpu":
            keep_freed_memory()
        self.representation, self.generator = representation, generator
        self.precision = precision
        self._rows = {key: channels_last(value) for key, value in frames.items()}  # gathered from memory as it lies
        self.phases = representation.phases() if representation.needs_pretraining else []
        self._sizes = [max(1, (phase.batch or batch_size) // representation.window) for phase in self.phases]
        self._frames = [size * representation.window for size in self._sizes]
        self._steps = _split(samples, [phase.share for phase in self.phases], self._frames)
        self.optimizers = [
            torch.optim.Adam(phase.parameters, phase.learning_rate, eps=1e-8, foreach=True) for phase in self.phases
        ]
        self._step = 0

    @property
    def total(self) -> int:
        """Samples that all phases draw."""
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
        """Draw about ``samples`` more; the means of their metrics, named ``pretrain/<phase>/<metric>``."""
        sums: dict[str, list[Tensor]] = {}
        self.representation.train()
        wanted = self.drawn + samples
        while not self.done:
            index = self._phase()
            if sums and self.drawn + self._frames[index] > wanted:
                break
            for name, value in self._update(index).items():
                sums.setdefault(f"pretrain/{self.phases[index].name}/{name}", []).append(value)
        if self.done:
            self.representation.eval()
        return {name: torch.stack(values).float().mean().item() for name, values in sums.items()}

    @torch.no_grad()
    def watch(self) -> dict[str, float]:
        """Spread and size of the method's own features of 256 stored frames; a RuntimeWarning if collapsed."""
        representation, device = unwrapped(self.representation), self.generator.device
        training = representation.training
        representation.eval()
        some = {key: _channels_first(value[:256]).to(device) for key, value in self._rows.items() if key != FIRST}
        obs = {key: value[:, 0] if representation.window > 1 else value for key, value in some.items()}
        count = len(next(iter(obs.values())))
        state = tuple(part.to(device) for part in representation.initial_state(count))
        features = representation.encode(obs, state, torch.ones(count, dtype=torch.bool, device=device))[0].float()
        representation.train(training)
        spread, size = float(feature_std(features)), float(features.square().mean().sqrt())
        warn_if_collapsed(representation.name, spread, size, f"after {self.drawn:,} samples")
        return {"pretrain/feature_std": spread, "pretrain/feature_size": size}

    def _update(self, index: int) -> dict[str, Tensor]:
        phase, optimizer = self.phases[index], self.optimizers[index]
        batch = self._draw(self._sizes[index])
        device = self.generator.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss, metrics = phase.loss(batch, self.generator)
        gradients = torch.autograd.grad(loss, phase.parameters, allow_unused=True)
        for parameter, gradient in zip(phase.parameters, gradients, strict=True):
            parameter.grad = gradient
        if phase.anneal:
            left = sum(self._steps[: index + 1]) - self._step
            optimizer.param_groups[0]["lr"] = phase.learning_rate * min(1, left / (phase.anneal * self._steps[index]))
        optimizer.step()
        optimizer.zero_grad()
        self.representation.after_step()
        self._step += 1
        return {"loss": loss.detach(), **metrics}

    def _draw(self, size: int) -> Steps:
        some = next(iter(self._rows.values()))
        index = torch.randint(len(some), (size,), generator=self.generator, device=self.generator.device)
        rows = {key: value[index.to(value.device)].to(index.device) for key, value in self._rows.items()}
        if self.representation.window == 1:
            return Steps.frames({key: _channels_first(row) for key, row in rows.items()})
        # Time goes first in memory, too: then time and stream can be flattened without a copy.
        timed = {key: _channels_first(row.transpose(0, 1).contiguous()) for key, row in rows.items()}
        first = timed.pop(FIRST)
        return Steps.windows(timed, first)

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


def _split(samples: int, shares: list[float], sizes: list[int]) -> list[int]:
    """Steps of each phase, of ``sizes`` samples each; by share, rounded cumulatively so that equal ones add up."""
    if not shares:
        return []
    edges = [sum(shares[:i]) / sum(shares) for i in range(len(shares) + 1)]
    return [
        round(samples // size * after) - round(samples // size * before)
        for (before, after), size in zip(pairwise(edges), sizes, strict=True)
    ]
