"""The contract of every representation.

A representation lives inside the policy. ``encode`` turns observations into features. ``loss`` is the method's own
objective: it pre-trains the module offline, and is the auxiliary loss beside the RL loss in mode *online*. The modes
are the same for all methods:

* **frozen**: pre-trained, then eval mode and no gradient; each frame is encoded once, when acting.
* **finetune**: pre-trained, then trained by the RL loss.
* **online**: trained by the RL loss and, where the method has one, the auxiliary loss.

Everything that must survive a restart is a parameter or a buffer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.history import History
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps

Mode = Literal["frozen", "finetune", "online"]
MODES: tuple[Mode, ...] = ("frozen", "finetune", "online")
State = tuple[Tensor, ...]
"""What an encoder carries from frame to frame, each (B, ...); empty for most."""


@runtime_checkable
class Heads(Protocol):
    """The policy's heads, for losses that read the policy (DrAC, value replay)."""

    def __call__(
        self, features: Tensor, obs: Obs, first: Bool[Tensor, "T B"] | None = None, /
    ) -> tuple[Tensor, Tensor]:
        """Logits (T*B, A) and values (T*B,) of features (T*B, D).

        Args:
            obs: their observations (T*B, ...), which give what the policy reads besides the features, such as a goal.
            first: where the features are those of windows, time first: the frames that open an episode. A policy with
                memory runs through windows from an empty one. None: single samples, or a window of one step.
        """


Loss = tuple[Tensor, dict[str, Tensor]]
"""A scalar with gradient, and detached metrics by name."""


MEMORY = 0.01
"""Fraction of a phase of pre-training that a slow copy remembers at most."""


@dataclass(frozen=True)
class Config:
    """Settings of a representation; subclass it, with a docstring under each field.

    ``__post_init__`` may refuse impossible numbers with a ValueError that names the field.
    """

    def at_least(self, **bounds: float) -> None:
        """ValueError where a field is below its bound: ``self.at_least(latents=1)``."""
        for name, bound in bounds.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name}={getattr(self, name)}: give a number of at least {bound}")


@dataclass
class Phase:
    """One stage of pre-training: minimise ``loss(frames)`` over ``parameters`` with Adam, or solve for them at once."""

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Steps, torch.Generator], Loss]
    learning_rate: float
    share: float = 1.0
    """Fraction of the budget (samples, and of the optimizer steps that it needs) relative to the other phases."""
    batch: int | None = None
    """Frames per optimizer step, a whole number of the method's windows; None takes the caller's."""
    splits: bool = False
    """True where parts of a batch may be computed side by side in threads: the loss is a mean over samples (those that
    compare samples do so by ``threads.gather``), draws nothing for the batch as a whole, and writes nothing to the
    module (or in ``threads.is_first`` alone)."""
    solve: Callable[[Obs, torch.Generator], dict[str, Tensor]] | None = None
    """Sets ``parameters`` from all stored frames in one go, as ``collect`` gives them, and returns metrics. Stands in
    place of ``loss``; neither learning rate, share nor batch count then."""


def solving(
    name: str, parameters: list[nn.Parameter], solve: Callable[[Obs, torch.Generator], dict[str, Tensor]]
) -> Phase:
    """Phase that solves for its parameters in one go."""

    def no_loss(steps: Steps, generator: torch.Generator) -> Loss:
        raise UsageError(f"phase {name} has no loss: it is solved at once")

    return Phase(name, parameters, no_loss, learning_rate=1.0, solve=solve)


class Unfit(UsageError):
    """A representation and an environment that cannot go together; others may."""


SUITES_WITH_KEY = {"pose": "rooms, rooms-moving"}
"""Suites whose environments give an observation key that few do."""


class Representation(nn.Module, ABC):
    """Base class; see the module docstring for the modes.

    A wrapper forwards every public attribute declared here to the method it wraps (see ``wrappers``).

    Args:
        spec: facts about the environment: its observations, among them the ``keys`` this method needs, its actions, the
            agent's discount, and the number of frames stacked in an image's channels.
        config: an instance of the class's ``Config``; None takes its defaults.

    Raises:
        Unfit: the observation lacks one of ``keys``.
    """

    # Read on the class, before anything is built.
    Config: ClassVar[type[Config]] = Config
    modes: ClassVar[tuple[Mode, ...]] = MODES
    default_mode: ClassVar[Mode] = "frozen"
    needs_pretraining: ClassVar[bool] = True
    """False for methods with nothing to fit offline (cnn, random). Their features are standardised all the same."""
    sees: ClassVar[bool] = True
    """False where features are the same whatever the observation, on purpose (blind): they have no scale to fit, and
    have not collapsed."""
    starts_from_policy: ClassVar[bool] = False
    """True where the weights are those of the data policy's encoder (policy_cnn); it reads frames stacked as that."""
    closed_form: ClassVar[bool] = False
    """True where every phase is solved at once: pre-training then takes each stored frame once."""
    pretext: ClassVar[bool] = False
    """True where the metrics of ``loss`` hold an ``accuracy`` at a task made up from frames. Pre-training ends with
    its value on whole frames, without trivial cues, and on noise (``representations.pretext``)."""
    pretrain_steps: ClassVar[int] = 10_000
    """Optimizer steps that pre-training needs, all phases together; presets give a part of them."""
    progress: float = 0.0
    """Fraction of the phase of pre-training that is done, or of RL in mode online: what schedules follow."""
    phase_steps: int | None = None
    """Optimizer steps of the phase; None in RL."""

    # Read on an instance: a property where they depend on the config or the environment.
    keys: tuple[str, ...] = ("image",)
    """Observation keys that ``encode`` reads."""
    has_loss: bool = True
    """False for methods without an objective of their own (cnn, random)."""
    hidden: tuple[int, ...] = (256, 256)
    """Sizes of the policy's layers on top of the features; () where the features are already its last hidden layer. In
    mode frozen, where nothing else could fit the features to the task, () takes this default."""
    aux_coef: float = 0.1
    """Default weight of the auxiliary loss beside the RL loss. Both gradients are first clipped to the same norm, so 1
    would give the auxiliary loss half of every step: at 1 every auxiliary task here slowed the agent down."""
    window: int = 1
    """Consecutive steps in a window that ``loss`` takes. 1 takes single frames (online the RL minibatch's own); more
    draws windows (online from History)."""
    views: bool = False
    """Offline, a window is ``window`` views of one moment by cameras around it, not consecutive steps."""
    replay_frames: int = 0
    """Frames of all environments together that ``auxiliary`` draws from, where that is more than ``window`` needs. It
    is not called before they are there."""

    features_dim: int
    """D, the number of features of one observation."""

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__()
        self.spec = spec
        self.config: Any = self.Config() if config is None else config
        given = spec.space.spaces
        missing = [key for key in self.keys if key not in given]
        if missing:
            suites = SUITES_WITH_KEY.get(missing[0])
            cure = f"; suites that give it: {suites}" if suites else ""
            raise Unfit(f"{self.name} needs obs key '{missing[0]}'; this environment gives {sorted(given)}{cure}")

    @abstractmethod
    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        """Features (B, features_dim) of observations (B, ...), and the state for the next frame.

        ``first`` marks rows that open an episode: a stateful encoder resets those before encoding.

        Rows may be encoded in several threads at once. So ``encode`` writes nothing to the module and draws no random
        number. torch's own BatchNorm and Dropout are recognised, and the micro-batches then run one after the other.
        """

    @property
    def name(self) -> str:
        """Name in messages, by which ``--set`` knows it."""
        from representations import REPRESENTATIONS

        return REPRESENTATIONS.name_of(type(self))

    def initial_state(self, batch: int) -> State:
        """State before the first frame."""
        return ()

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        """Objective of the method on Steps: a scalar with gradient, and detached metrics.

        ``generator`` gives all draws. Micro-batches may run in several threads at once, as in ``encode``; write to the
        module in ``after_step``.
        """
        raise UsageError(f"{type(self).__name__} has no loss of its own; use it without an auxiliary coefficient")

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        """Auxiliary loss where ``window`` > 1: by default ``loss`` of ``streams`` windows drawn from ``history``.

        A method whose draws are not plain windows overrides it (UNREAL's replay).
        """
        return self.loss(history.windows(streams, self.window, generator), heads, generator)

    def neck(self, frames: int = 1) -> nn.Module | None:
        """Layers behind the features that the policy owns and trains, even where this module is frozen.

        The module takes (B, frames * features_dim) and has an attribute ``width``, the size of its output. None: none.
        """
        return None

    def prepare(self, frames: Obs) -> None:
        """Take the stored frames before the phases are asked for, again after every restart: to size a table of them.

        Args:
            frames: as ``collect`` gives them; the number of rows is that which ``Steps.row`` counts.
        """

    def phases(self) -> list[Phase]:
        """Stages of pre-training; by default one, ``loss`` over all parameters with Adam 1e-4."""

        def offline_loss(steps: Steps, generator: torch.Generator) -> Loss:
            return self.loss(steps, _no_heads, generator)

        return [Phase("fit", list(self.parameters()), offline_loss, 1e-4)]

    @classmethod
    def scaled_online(cls, config: Any) -> bool:
        """True where ``config`` asks for a scale of features in mode online, too, fitted before the first step."""
        return False

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        """Frames of an optimizer step offline under ``config``: its ``batch``, or 64."""
        return int(getattr(config, "batch", 64))

    @classmethod
    def needed_samples(cls, config: Any) -> int:
        """Frames that pre-training draws in all where its budget is full."""
        return cls.pretrain_steps * cls.frames_per_step(config)

    def set_progress(self, fraction: float, steps: int | None = None) -> None:
        """Take the position in training, before every optimizer step of pre-training and of RL in mode online."""
        self.progress, self.phase_steps = fraction, steps

    def momentum(self, momentum: float) -> float:
        """Momentum of a slow copy, lowered in a short phase: it then remembers ``MEMORY`` of the phase's steps.

        Momentum m remembers 1 / (1 - m) steps; 0.99 is kept from 10,000 steps on, and in RL, and 1 (a fixed copy) ever.
        """
        if self.phase_steps is None or momentum == 1:
            return momentum
        return min(momentum, max(0.0, 1 - 1 / (MEMORY * self.phase_steps)))

    def after_step(self) -> None:
        """Hook after every optimizer step that moved this module (momentum targets, schedules)."""

    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Pictures of what was learnt, by name: uint8 (H, W, 3). ``obs`` holds a few frames (B, ...)."""
        return {}


def _no_heads(features: Tensor, obs: Obs, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
    raise UsageError("this loss reads the policy's heads, which do not exist during offline pre-training")


def check_mode(name: str, method: Representation | type[Representation], mode: str) -> Mode:
    """Resolve 'auto' and refuse a mode the method lacks.

    A wrapper's class does not know the modes, so what is built is given itself.
    """
    if mode == "auto":
        return method.default_mode
    for known in method.modes:
        if known == mode:
            return known
    raise UsageError(f"repr '{name}' has no mode '{mode}'; it has: {', '.join(method.modes)} (--mode auto picks one)")
