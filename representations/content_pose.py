"""DrNet, content that stays and pose that moves (Denton and Birodkar 2017).

"Unsupervised learning of disentangled representations from video". Two encoders read each frame. Of two frames i, j of
one episode, the content c of i and the pose p of j must give back frame j; contents are alike; and from two poses a
scene discriminator C must not tell whether they share an episode:

    reconstruction = mean over pixels of (D(c_i, p_j) - x_j)^2,    x in 0..1
    similarity     = mean over numbers of (c_i - c_j)^2,           |c| = 1
    adversarial    = -1/2 log C(p_i, p_j) - 1/2 log(1 - C(p_i, p_j)),              nats; least, log 2, where C = 1/2
    loss           = reconstruction + alpha similarity + beta adversarial
                     + [ -1/2 log C(p_i, p_j) - 1/2 log(1 - C(p_i, p'_j)) ]        by C alone, p' of another stream

all means over the batch. C learns from the last term, which sends the poses no gradient, and the adversarial term sends
C none. i and j are random steps of a window; windows whose steps lie on both sides of an episode's end are left out.

``encode`` returns c, then p (B, content + pose): looks and layout first, what moves last.

Differs from the paper: no skip connections from the content encoder to the decoder, as they would carry what features
should; one Adam step for all where the paper takes turns; the toolkit's trunks and decoder. No network that predicts
poses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from envs.history import History
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps
from representations.base import Config, Heads, Loss, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.nets.decoders import Decoder
from representations.nets.images import pixels, tile
from representations.nets.trunks import make_trunk


def two_steps(
    first: Bool[Tensor, "T B"], generator: torch.Generator
) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"], Bool[Tensor, " B"]]:
    """Two different random steps of each window, and whether one episode holds both."""
    T, B = first.shape
    i = torch.randint(T, (B,), generator=generator, device=first.device)
    j = (i + torch.randint(1, T, (B,), generator=generator, device=first.device)) % T
    episode, stream = first.cumsum(0), torch.arange(B, device=first.device)
    return i, j, episode[i, stream] == episode[j, stream]


def mean_of(values: Float[Tensor, " B"], valid: Bool[Tensor, " B"]) -> Float[Tensor, ""]:
    """Mean of the valid values; 0 where there is none."""
    return values.masked_fill(~valid, 0).sum() / valid.sum().clamp(min=1)


@dataclass(frozen=True)
class ContentPoseConfig(Config):
    trunk: str = "nature"
    """Convolutions of both encoders, 'nature', 'impala' or 'impoola'."""
    content: int = 128
    """Numbers of c; the paper's."""
    pose: int = 16
    """Numbers of p, each in -1..1; 5 to 24 in the paper. Few, or it holds the whole frame."""
    alpha: float = 1.0
    """Weight of similarity; the paper's."""
    beta: float = 0.001
    """Weight of the adversarial term; its scale is that of the mean squared error of a pixel."""
    hidden: int = 100
    """Units of the scene discriminator's two hidden layers; the paper's."""
    length: int = 8
    """Steps of a window; its two frames lie up to so many steps, less one, apart."""
    learning_rate: float = 1e-3
    """Adam, pre-training."""
    windows: int = 64
    """Windows per optimizer step, offline and online; two frames of each are encoded."""

    def __post_init__(self) -> None:
        self.at_least(content=2, pose=1, alpha=0, beta=0, hidden=1, length=2, learning_rate=0, windows=2)


class ContentPose(Representation):
    """See the module docstring."""

    Config = ContentPoseConfig

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        shape, hidden = spec.image_shape, config.hidden
        self.content = nn.Sequential(make_trunk(config.trunk, shape, 256), nn.Linear(256, config.content))
        self.pose = nn.Sequential(make_trunk(config.trunk, shape, 256), nn.Linear(256, config.pose))
        self.features_dim = config.content + config.pose
        self.decoder = Decoder(self.features_dim, shape)
        self.scene = nn.Sequential(
            *(nn.Linear(2 * config.pose, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()), nn.Linear(hidden, 1)
        )

    @property
    def window(self) -> int:
        return int(self.config.length)

    def content_of(self, image: Tensor) -> Float[Tensor, "B content"]:
        """c, of length 1."""
        return F.normalize(self.content(image).float(), dim=1)

    def pose_of(self, image: Tensor) -> Float[Tensor, "B pose"]:
        return torch.tanh(self.pose(image).float())

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        return torch.cat([self.content_of(obs["image"]), self.pose_of(obs["image"])], 1), state

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image = steps.obs["image"]
        i, j, valid = two_steps(steps.first, generator)
        stream = torch.arange(len(i), device=i.device)
        frames = torch.cat([image[i, stream], image[j, stream]])
        content, pose = self.content_of(frames), self.pose_of(frames)
        (c_i, c_j), (p_i, p_j) = content.chunk(2), pose.chunk(2)
        x_j = pixels(image[j, stream])
        decoded = torch.sigmoid(self.decoder(torch.cat([c_i, p_j], 1)).float())
        reconstruction = mean_of((decoded - x_j.float()).square().flatten(1).mean(1), valid)
        similarity = mean_of((c_i - c_j).square().mean(1), valid)
        adversarial, discriminator, scene_accuracy = self.scene_losses(p_i, p_j, valid)
        config = self.config
        loss = reconstruction + config.alpha * similarity + config.beta * adversarial + discriminator
        return loss, {
            "loss": loss.detach(),
            "reconstruction": reconstruction.detach(),
            "similarity": similarity.detach(),
            "adversarial": adversarial.detach(),
            "discriminator": discriminator.detach(),
            "scene_accuracy": scene_accuracy,
            "feature_std": feature_std(torch.cat([content, pose], 1)),
        }

    def scene_losses(
        self, p_i: Float[Tensor, "B pose"], p_j: Float[Tensor, "B pose"], valid: Bool[Tensor, " B"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
        """Adversarial term, the discriminator's loss, and the fraction of pairs that it gets right."""
        with torch.autocast(p_i.device.type, enabled=False):
            same = torch.cat([p_i, p_j], 1)
            other = torch.cat([p_i, p_j.roll(1, 0)], 1).detach()
            fixed = {name: parameter.detach() for name, parameter in self.scene.named_parameters()}
            fooled = functional_call(self.scene, fixed, (same,)).squeeze(1)
            yes, no = self.scene(same.detach()).squeeze(1), self.scene(other).squeeze(1)
            adversarial = mean_of((F.softplus(-fooled) + F.softplus(fooled)) / 2, valid)
            discriminator = mean_of((F.softplus(-yes) + F.softplus(no)) / 2, valid)
            accuracy = mean_of(((yes.detach() > 0).float() + (no.detach() <= 0).float()) / 2, valid)
            return adversarial, discriminator, accuracy

    def auxiliary(self, history: History, streams: int, heads: Heads, generator: torch.Generator) -> Loss:
        """``loss`` of as many windows as offline, as it reads two frames of each."""
        return self.loss(history.windows(self.config.windows, self.window, generator), heads, generator)

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        batch = self.frames_per_step(self.config)
        return [replace(fit, name="content_pose", learning_rate=self.config.learning_rate, batch=batch)]

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(config.windows * config.length)

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``swaps``: frames and what their codes decode to, with exchanged parts.

        Rows: frames; their own codes; the first frame's content and the others' poses; its pose and their contents.
        """
        content, pose = self.content_of(obs["image"]), self.pose_of(obs["image"])
        codes = [(content, pose), (content[:1].expand_as(content), pose), (content, pose[:1].expand_as(pose))]
        rows = [torch.sigmoid(self.decoder(torch.cat(code, 1)).float()) for code in codes]
        return {"swaps": tile([pixels(obs["image"]), *rows], self.spec.channels)}
