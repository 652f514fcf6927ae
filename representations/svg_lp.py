"""SVG-LP (Denton & Fergus 2018, "Stochastic video generation with a learned prior").

    loss = mean over steps of  |x_t - y_t|^2 / numbers + beta KL(q(z_t | x_<=t) || p(z_t | x_<t)),    KL in nats

y_t is decoded from the predictor's output, which reads the code of the true frame before and z_t drawn from
q, and from the encoder's maps of the last of ``context`` frames: what stands still is carried over, what moved later
must go through the code. p is learnt, so that it is narrow where the next frame follows, and wide where it does not
(``nets.video`` holds the networks). No step leads across an episode's end, and nothing is carried across it.

``encode`` returns g(x_t) and the output of the predictor on its way to x_{t+1}, told p's mean (B, 2 * 128): what is
there and where it goes. The LSTMs' memory of the episode and the last code are carried from frame to frame, moved on
by q's mean, as in training.

Differs from the paper: windows of 8 frames (15 to 30 there), 16 channels where DCGAN has 64, each
map normalised by itself, not by the batch; LSTMs
of 128 (256 there); q reads the frame before, too. 7 M multiply-adds to encode a frame at 64x64, 23 M to train on one.
Of stacked frames only the newest is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps
from representations.base import Config, Heads, Loss, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.nets.images import pixels, tile
from representations.nets.video import FrameDecoder, FrameEncoder, Transition, VideoModel


def skip_sources(first: Bool[Tensor, "T B"], context: int) -> Int[Tensor, "T_minus_1 B"]:
    """Time of the frame whose maps help to decode each frame but the first.

    The last of the ``context`` frames, or the frame before where that is earlier; the episode's first frame where the
    episode began later.
    """
    time = torch.arange(len(first), device=first.device).unsqueeze(1)
    opened = torch.where(first, time, 0).cummax(0).values
    return torch.maximum(opened, time.clamp(max=context - 1))[:-1]


@dataclass(frozen=True)
class SvgLpConfig(Config):
    window: int = 8
    """Frames of a window."""
    context: int = 2
    """Frames whose maps the decoder may see."""
    width: int = 128
    """Size of g(x); the paper's."""
    hidden: int = 128
    """Units of each LSTM layer."""
    latents: int = 10
    """Size of z_t; the paper's on moving digits, 64 on robots."""
    channels: int = 16
    """Channels of the encoder's first map; 64 in the paper."""
    beta: float = 1e-4
    """Weight of the KL beside the mean squared error; the paper's."""
    learning_rate: float = 1e-3
    """Adam; 2e-3 in the paper."""
    windows: int = 16
    """Windows per optimizer step offline; 100 in the paper."""

    def __post_init__(self) -> None:
        self.at_least(window=2, context=1, width=1, hidden=1, latents=1, channels=1, beta=0, learning_rate=0, windows=1)


class SvgLp(Representation):
    """Video prediction; see the module docstring."""

    Config = SvgLpConfig
    modes = ("frozen", "online")

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        shape = (spec.channels, *spec.image_shape[1:])
        self.encoder = FrameEncoder(shape, config.width, config.channels)
        self.decoder = FrameDecoder(shape, config.width, config.channels)
        self.model = VideoModel(config.width, config.hidden, config.latents)
        self.features_dim = config.width + config.hidden

    @property
    def window(self) -> int:
        return int(self.config.window)

    # for an agent -----------------------------------------------------------------------------------------------------

    def initial_state(self, batch: int) -> State:
        """Memory of the LSTMs, and the last frame's code."""
        memory = self.model.empty(batch)
        return memory, memory.new_zeros(batch, self.config.width)

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        assert first is not None, "a stateful encoder needs the marks of where episodes begin"
        code = self.encoder(self.newest(obs["image"]))[0]
        with torch.autocast(code.device.type, enabled=False):
            memory, last_code = state
            continues = (~first).to(code.dtype).view(-1, 1, 1)
            memory = self.model(last_code, code, memory).memory * continues
            expected, _ = self.model.expect(code, memory)
        return torch.cat([code, expected], 1), (memory, code)

    def newest(self, image: UInt8[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H W"]:
        """The newest of stacked frames, in [0, 1]."""
        return pixels(image[:, -self.spec.channels :])

    # windows ----------------------------------------------------------------------------------------------------------

    def roll(
        self, codes: Float[Tensor, "T B G"], first: Bool[Tensor, "T B"], generator: torch.Generator | None
    ) -> list[Transition]:
        """Steps from each frame to the next, with an empty memory where an episode opens."""
        transitions: list[Transition] = []
        memory = self.model.empty(codes.shape[1])
        with torch.autocast(codes.device.type, enabled=False):
            for t in range(len(codes) - 1):
                memory = memory.masked_fill(first[t].view(-1, 1, 1), 0)
                transitions.append(self.model(codes[t], codes[t + 1], memory, generator))
                memory = transitions[-1].memory
        return transitions

    def decode(
        self, codes: Float[Tensor, "S B G"], maps: list[Tensor], sources: Int[Tensor, "S B"]
    ) -> Float[Tensor, "S B C H W"]:
        """Frames, not clipped, from predicted codes and the maps (T*B, ...) of the frames at times ``sources``."""
        S, B = sources.shape
        rows = (sources * B + torch.arange(B, device=sources.device)).flatten()
        frames: Tensor = self.decoder(codes.flatten(0, 1), [values[rows] for values in maps])
        by_step: Tensor = frames.unflatten(0, (S, B))
        return by_step

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        x = self.newest(steps.obs["image"].flatten(0, 1))
        codes, maps = self.encoder(x)
        codes, x = (values.unflatten(0, steps.first.shape) for values in (codes, x))
        transitions = self.roll(codes, steps.first, generator)
        predicted = torch.stack([transition.code for transition in transitions])
        frames = self.decode(predicted, maps, skip_sources(steps.first, self.config.context))
        valid = (~steps.first[1:]).float()
        count = valid.sum().clamp(min=1)
        error = ((frames - x[1:].float()).square().mean((2, 3, 4)) * valid).sum() / count
        surprise = torch.stack([transition.surprise for transition in transitions])
        divergence = (surprise * valid).sum() / count
        spread = torch.stack([(0.5 * transition.prior[1]).exp().mean(1) for transition in transitions])
        metrics = {
            "mse": error.detach(),
            "kl": divergence.detach(),
            "prior_std": (spread * valid).sum().detach() / count,
            "feature_std": feature_std(codes.flatten(0, 1)),
        }
        return error + self.config.beta * divergence, metrics

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(config.windows * config.window)

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        rate, batch = self.config.learning_rate, self.frames_per_step(self.config)
        return [replace(fit, name="svg", learning_rate=rate, batch=batch)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``predictions``: frames, and below each, three frames that the model draws after it, one by one."""
        x = self.newest(obs["image"])
        memory = self.model.empty(len(x))
        code, maps = self.encoder(x)
        rows = [x]
        for _ in range(3):
            _, expected = self.model.expect(code, memory, generator)
            frame = self.decoder(expected, maps).clamp(0, 1)
            after = self.encoder(frame)[0]
            memory, code = self.model(code, after, memory).memory, after
            rows.append(frame)
        return {"predictions": tile(rows, self.spec.channels)}
