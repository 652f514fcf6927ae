"""Order of frames in time as a label: shuffle and learn, and the arrow of time.

**Shuffle** (Misra et al. 2016, "Shuffle and learn"): of five consecutive frames a, b, c, d, e, three are shown, in
order or with a wrong one in the middle:

    in order (b, c, d);    not in order (b, a, d) and (b, e, d)

so that the middle frame alone tells. **Arrow** (Wei et al. 2018, "Learning and using the arrow of time"): all frames of
a window are shown, from first to last or from last to first. The loss of both, in nats, with a the answer of each of
the n tuples and h = trunk(x):

    loss = mean over tuples of  -log softmax(g(h_1, ..., h_k))[a]

Windows of much motion are drawn more often: of the B windows of a batch a fraction ``kept`` is taken, without
replacement and with odds of their motion, the mean absolute change of a pixel from frame to frame. A window across an
episode's end is left out, as is one in which nothing changes: it has no order.

``accuracy`` is the mean of the recalls of both answers, as one is given twice as often by shuffle; chance is 0.5.
Motion that is as likely in reverse (a random walk) has no arrow: then 0.5 is the best there is.

``encode`` returns h, the rectified dense layer; g (one hidden layer) is dropped.

Differs from the paper: the toolkit's trunk; motion from pixels, not optical flow. Shuffle: both wrong tuples of each
window (a third of all are in order, a quarter there). Arrow: frames, not stacks of flow, and no class activation map,
as g may look at where things are.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from envs.history import History
from envs.spaces import EnvSpec
from envs.steps import Steps
from representations.base import Config, Heads, Loss, Mode, Phase
from representations.cnn import Trunked
from representations.feature_metrics import feature_std


def motion(image: UInt8[Tensor, "T B C H W"]) -> Float[Tensor, " B"]:
    """Mean absolute change of a pixel from frame to frame of each window, in 0..1."""
    changes = [(after.short() - before.short()).abs().float() for before, after in pairwise(image)]
    return torch.stack([change.flatten(1).mean(1) for change in changes]).mean(0) / 255


def drawn_by_odds(odds: Float[Tensor, " B"], count: int, generator: torch.Generator) -> Int[Tensor, " n"]:
    """At most ``count`` places without replacement, with these odds; none whose odds are 0."""
    # The largest of log odds + Gumbel noise are such a draw (Vieira 2014).
    uniform = torch.rand(len(odds), generator=generator, device=odds.device).clamp(min=1e-20)
    scores = odds.log() - (-uniform.log()).log()
    place = scores.topk(min(count, len(odds))).indices
    return place[odds[place] > 0]


def balanced_accuracy(hits: Bool[Tensor, " n"], answers: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean over the answers that occur of the fraction of theirs that is right; 0 where there is none."""
    recalls = [hits[answers == answer].float().mean() for answer in answers.unique()]
    return torch.stack(recalls).mean() if recalls else torch.zeros((), device=hits.device)


@dataclass(frozen=True)
class OrderConfig(Config):
    trunk: str = "nature"
    """'nature', 'impala' or 'impoola'."""
    kept: float = 0.5
    """Fraction of the windows of a batch that is taken, those of much motion more often; 1 takes all."""
    hidden: int = 256
    """Units of g's hidden layer."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    windows: int = 64
    """Windows per optimizer step, offline and online, those that are not taken included."""

    def __post_init__(self) -> None:
        self.at_least(kept=0, hidden=1, learning_rate=0, windows=1)
        if not 0 < self.kept <= 1:
            raise ValueError(f"kept={self.kept}: give a fraction above 0, at most 1")


class Order(Trunked):
    """Tuples of frames of a window, each with an answer."""

    Config = OrderConfig
    default_mode: ClassVar[Mode] = "frozen"
    pretext = True
    tuples: ClassVar[int]
    """Frames of a tuple."""

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        hidden = self.config.hidden
        self.answer = nn.Sequential(
            nn.Linear(self.tuples * self.features_dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 2)
        )

    @abstractmethod
    def tuples_of(self, window: Tensor) -> tuple[Tensor, Int[Tensor, " M"]]:
        """Tuples (k, M, ...) of windows (T, B, ...) and their answers (M,): 1 where they are in order."""

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image = steps.obs["image"]
        whole = ~steps.first[1:].any(0)
        odds = motion(image[:, :, -self.spec.channels :]).masked_fill(~whole, 0)
        chosen = drawn_by_odds(odds, math.ceil(self.config.kept * len(odds)), generator)
        taken = image[:, chosen]
        features = self.trunk(taken.flatten(0, 1)).unflatten(0, (len(image), len(chosen)))
        shown, answers = self.tuples_of(features)
        logits = self.answer(shown.transpose(0, 1).flatten(1)).float()
        loss = F.cross_entropy(logits, answers, reduction="sum") / max(len(answers), 1)
        accuracy = balanced_accuracy(logits.detach().argmax(1) == answers, answers)
        spread = feature_std(features.flatten(0, 1)) if len(chosen) else torch.zeros((), device=image.device)
        return loss, {"loss": loss.detach(), "accuracy": accuracy, "feature_std": spread}

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        """``loss`` of as many windows as offline: a part of them is taken alone."""
        return self.loss(history.windows(self.config.windows, self.window, generator), heads, generator)

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        batch = self.frames_per_step(self.config)
        return [replace(fit, name="order", learning_rate=self.config.learning_rate, batch=batch)]


class Shuffle(Order):
    """Three frames, in order or not."""

    window = 5
    tuples = 3

    def tuples_of(self, window: Tensor) -> tuple[Tensor, Int[Tensor, " M"]]:
        a, b, c, d, e = window
        shown = torch.stack([torch.cat([b, b, b]), torch.cat([c, a, e]), torch.cat([d, d, d])])
        answers = torch.tensor([1, 0, 0], device=window.device).repeat_interleave(len(b))
        return shown, answers

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(5 * config.windows)


class Arrow(Order):
    """Four frames, forwards or backwards."""

    window = 4
    tuples = 4

    def tuples_of(self, window: Tensor) -> tuple[Tensor, Int[Tensor, " M"]]:
        shown = torch.cat([window, window.flip(0)], 1)
        answers = torch.tensor([1, 0], device=window.device).repeat_interleave(window.shape[1])
        return shown, answers

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(4 * config.windows)
