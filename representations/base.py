"""The contract of every representation.

A representation lives inside the policy. ``encode`` turns observations into features; ``loss`` is its own objective,
used offline (pre-training) and, in mode *online*, beside the RL loss. Three modes, the same for all methods:

* **frozen**: pre-trained, then eval mode and no gradient; each frame is encoded once, when acting.
* **finetune**: pre-trained, then trained by the RL loss.
* **online**: trained by the RL loss and, where the method has one, its own loss together (an auxiliary task).

Everything that must survive a restart is a parameter or a buffer.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from envs.history import History
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps

Mode = Literal["frozen", "finetune", "online"]
MODES: tuple[Mode, ...] = ("frozen", "finetune", "online")
State = tuple[Tensor, ...]
"""What an encoder carries from frame to frame, each (B, ...); empty for most."""
Heads = Callable[[Tensor, Obs], tuple[Tensor, Tensor]]
"""Features (B, D) of observations (B, ...) -> policy logits (B, A) and value (B,), for losses that look at the policy
(DrAC, value replay). The observations tell what stands beside the features, such as a goal."""


@dataclass(frozen=True)
class Config:
    """Settings of a representation; subclass it, with a docstring under each field.

    ``__post_init__`` may refuse impossible numbers with a ValueError that names the field.
    """

    def at_least(self, **lows: float) -> None:
        """ValueError where a field is below its bound: ``self.at_least(latents=1)``."""
        for name, low in lows.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}={getattr(self, name)}: give a number of at least {low}")


@dataclass
class Phase:
    """One stage of pre-training: minimise ``loss(frames)`` over ``parameters`` with Adam."""

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Steps, torch.Generator], tuple[Tensor, dict[str, Tensor]]]
    learning_rate: float
    share: float = 1.0
    """Part of the pre-training budget (samples) this phase takes, relative to the other phases."""
    batch: int | None = None
    """Frames per optimizer step, a whole number of the method's windows; None takes the caller's."""
    anneal: float = 0.0
    """Last part of the phase over which the learning rate falls linearly to 0; 0: it stays."""


class Unfit(UsageError):
    """A representation and a world that cannot go together; others may."""


WORLDS_WITH = {"pose": "rooms, rooms-moving"}
"""Suites whose worlds give a key that few do."""


class Representation(nn.Module, ABC):
    """Base class; see the module docstring for the modes.

    Args:
        spec: facts about the environment: its observations, among them the ``keys`` this method needs, its actions, the
            agent's discount, and how many frames are stacked in an image's channels.
        config: an instance of the class's ``Config``; None takes its defaults.

    Raises:
        Unfit: the observation lacks one of ``keys``.
    """

    Config: ClassVar[type[Config]] = Config
    keys: ClassVar[tuple[str, ...]] = ("image",)
    modes: ClassVar[tuple[Mode, ...]] = MODES
    default_mode: ClassVar[Mode] = "frozen"
    needs_pretraining: ClassVar[bool] = True
    """False for methods with nothing to fit offline (cnn, random)."""
    has_loss: ClassVar[bool] = True
    """False for methods that have no objective of their own (cnn, random)."""
    hidden: ClassVar[tuple[int, ...]] = (256, 256)
    """Policy layers on top of the features; () where the features are already the last hidden layer. In mode frozen,
    where nothing else could fit them to the task, () stands for this default."""
    aux_coef: ClassVar[float] = 0.1
    """Default weight of ``loss`` beside the RL loss in mode online. Both gradients are first clipped to one norm, so 1
    would give the own loss half of every step: at 1 every auxiliary task here slowed the agent down."""
    window: ClassVar[int] = 1
    """Length of the stretches ``loss`` wants: 1 takes single frames (online the RL minibatch's own), more draws windows
    of consecutive steps (online from History)."""
    views: ClassVar[bool] = False
    """Offline, a window is ``window`` views of one moment by cameras around it, not consecutive steps."""
    memory: ClassVar[int] = 0
    """Frames of all environments together that ``auxiliary`` wants to draw from, beyond what ``window`` needs."""
    pretrain_share: ClassVar[float] = 1.0
    """Part of a preset's pre-training samples this method draws; below 1 for one that is costly per frame."""

    features_dim: int

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__()
        given = spec.space.spaces
        missing = [key for key in self.keys if key not in given]
        if missing:
            known = WORLDS_WITH.get(missing[0])
            cure = f"; suites that give it: {known}" if known else ""
            raise Unfit(f"{self.name} needs obs key '{missing[0]}'; this environment gives {sorted(given)}{cure}")
        self.spec = spec
        self.config: Any = self.Config() if config is None else config

    @abstractmethod
    def encode(self, obs: Obs, state: State = (), first: Tensor | None = None) -> tuple[Tensor, State]:
        """Features (B, features_dim) float32 of observations (B, ...), and the state for the next frame.

        ``first`` (B,) bool marks rows that open an episode: a stateful encoder resets those before encoding.

        Rows may be encoded in several threads at once, so nothing is written to the module here and no random number is
        drawn; torch's own BatchNorm and Dropout are known, and then parts of a minibatch come one after the other.
        """

    @property
    def name(self) -> str:
        """For messages."""
        return type(self).__name__.lower()

    def initial_state(self, batch: int) -> State:
        """The state before any frame was seen."""
        return ()

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Own objective on Steps: a scalar with gradient, and detached metrics. ``generator`` gives all its draws.

        Parts of a minibatch may be at it in several threads at once, as in ``encode``; write in ``after_step``.
        """
        raise UsageError(f"{type(self).__name__} has no loss of its own; use it without an auxiliary coefficient")

    def auxiliary(
        self, history: History, streams: int, heads: Heads, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Own loss online where ``window`` > 1: by default ``loss`` of ``streams`` windows drawn from ``history``.

        For a method whose draws are not plain windows to override (UNREAL's replay).
        """
        return self.loss(history.windows(streams, self.window, generator), heads, generator)

    def neck(self, frames: int = 1) -> nn.Module | None:
        """Layers behind the features that the policy owns, and so trains even where this module is frozen.

        Takes (B, frames * features_dim); has an attribute ``width``, the size of what it returns. None: none.
        """
        return None

    def phases(self) -> list[Phase]:
        """Stages of pre-training; by default one, ``loss`` over all parameters, Adam 1e-4."""

        def own_loss(steps: Steps, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
            return self.loss(steps, _no_heads, generator)

        return [Phase("fit", list(self.parameters()), own_loss, 1e-4)]

    def after_step(self) -> None:
        """Called after every optimizer step that moved this module (momentum targets)."""

    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, np.ndarray]:
        """Pictures that show what was learnt, by name: uint8 (H, W, 3). ``obs`` holds a few frames (B, ...)."""
        return {}


def _no_heads(features: Tensor, obs: Obs) -> tuple[Tensor, Tensor]:
    raise UsageError("this loss looks at the policy's heads, which do not exist during offline pre-training")


def check_mode(name: str, cls: type[Representation], mode: str) -> Mode:
    """Resolve 'auto' and refuse a mode the method lacks."""
    if mode == "auto":
        return cls.default_mode
    if mode not in cls.modes:
        raise UsageError(f"repr '{name}' has no mode '{mode}'; it has: {', '.join(cls.modes)} (--mode auto picks one)")
    return mode  # type: ignore[return-value]


def feature_std(features: Tensor) -> Tensor:
    """Standard deviation of (B, D) features over the batch, mean over D: near 0, the encoder has collapsed."""
    return features.detach().float().std(0, correction=0).mean()


COLLAPSED = 1e-4
"""Standard deviation over frames, relative to the features' root mean square, below which they say nothing."""


def warn_if_collapsed(name: str, spread: float, size: float, when: str) -> bool:
    """A RuntimeWarning with the figures where features hardly differ from frame to frame; True if it was given.

    Args:
        spread: their ``feature_std`` over a batch of frames.
        size: their root mean square.
    """
    if spread > COLLAPSED * size:
        return False
    warnings.warn(
        f"{name}: features have collapsed {when}: their standard deviation over frames is {spread:.2g}, their size "
        f"{size:.2g}; the policy sees the same whatever the frame (lower the learning rate or the weight of the KL)",
        RuntimeWarning,
        stacklevel=2,
    )
    return True
