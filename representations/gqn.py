"""GQN (Eslami et al. 2018, "Neural scene representation and rendering"): a code of the scene from views with poses.

    r = sum_i psi(x_i, v_i)                                              context views i, in any order; r = 0 without
    loss = E_q[-sum_pixels log N(x_q; eta(u_L), sigma^2)] + sum_l KL(q(z_l|x_q, v_q, r, z_<l) || p(z_l|v_q, r, z_<l))

in nats per scene, mean over the batch: the renderer paints an unseen view x_q from its pose v_q and r in L steps. At
every step a convolutional LSTM takes z_l, and its state adds to the canvas u; another one proposes q while training.
sigma falls linearly over the first part of pre-training. Each batch draws how many of its views are context.

For an agent ``encode`` returns, (B, 2 D + 7): the mean of psi over the newest views of this episode, at most as many as
a code was summed from in training, psi of the present view, and its pose. The views' codes are the state carried from
frame to frame.

psi: "pyramid", "pool" (a tower, averaged over space) or "tower" (keeps its 16x16 map for the renderer; an agent gets
its average). ``GqnConfig()`` is a size for a CPU: 4 steps, 64 channels; published: 12 steps, 128 channels at 16x16,
code 256.

Differs from the paper, whose budget is a thousand times larger:

* psi reads opponent colours and scaled poses. Its channels are standardised over views (by running statistics outside
  its loss): what views have in common would drown what distinguishes scenes.
* A small perceptron lays r and v out on the grid; in the paper they are the same at every place, and only the borders
  distinguish places. r is normalised, as a sum of five codes is five times as long as one.
* The LSTMs' grid is an eighth of the image, not a quarter, so their windows are 3x3, not 5x5. The canvas has that size,
  too, begins with r and v, and is brought to full size once, at the end.
* Inputs that stay the same from step to step (r, v, and for q the true view) enter an LSTM's gates once, through a 1x1
  convolution.
* z enters with weights of 0 at first, and half of a batch is painted from the prior's mean: otherwise z explains a view
  before r can. sigma 2 -> 0.2, not 2 -> 0.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.spaces import EnvSpec
from envs.steps import Obs, Steps
from representations.base import Config, Heads, Loss, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.gqn_networks import Pyramid, Renderer, Tower, opponent
from representations.nets.images import pixels, tile
from representations.nets.trunks import orthogonal

MOMENTUM = 0.05
"""Momentum of the running statistics of psi."""
ENCODERS = ("pool", "tower", "pyramid")


@dataclass(frozen=True)
class GqnConfig(Config):
    encoder: str = "pyramid"
    """psi: 'pool', 'tower' or 'pyramid'; the last is the fastest by three and learns sooner."""
    code: int = 64
    """D, channels of psi; 256 in the paper."""
    views: int = 6
    """Views of a scene in training: up to views - 1 are context, one is painted."""
    steps: int = 4
    """L, rendering steps; 12 in the paper."""
    channels: int = 64
    """Channels of the LSTMs' states; 128 in the paper."""
    latents: int = 3
    """Channels of z_l; the paper's as far as known, 64 in the code most used."""
    shared_cores: bool = True
    """One set of weights for all rendering steps."""
    blind: float = 0.5
    """Fraction of a batch's scenes that are painted with the prior's mean, without the KL; the paper's is 0."""
    first_sigma: float = 2.0
    """Standard deviation of a pixel in [0, 1] at the beginning; the paper's."""
    last_sigma: float = 0.2
    """Standard deviation of a pixel at the end; 0.7 in the paper."""
    sigma_share: float = 0.4
    """Fraction of pre-training from one to the other; a tenth in the paper."""
    learning_rate: float = 3e-4
    """Adam; 5e-4 in the paper. At 1e-3 the code loses the hues of floor and walls for good within 200 steps."""
    batch: int = 36
    """Scenes per optimizer step; the paper's."""

    def __post_init__(self) -> None:
        self.at_least(code=2, views=2, steps=1, channels=1, latents=1, learning_rate=0, batch=1)
        if not 0 < self.sigma_share <= 1:
            raise ValueError(f"sigma_share={self.sigma_share}: give a fraction above 0, at most 1")
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder='{self.encoder}': known are {', '.join(ENCODERS)}")
        if not 0 <= self.blind <= 1:
            raise ValueError(f"blind={self.blind}: give a fraction from 0 to 1")
        if min(self.first_sigma, self.last_sigma) <= 0:
            raise ValueError(f"first_sigma={self.first_sigma}, last_sigma={self.last_sigma}: give > 0")


class Gqn(Representation):
    """See the module docstring. A batch of pre-training is B scenes: Steps (V, B), V views of one moment each."""

    Config = GqnConfig
    keys: tuple[str, ...] = ("image", "pose")
    modes = ("frozen", "finetune")
    pretrain_steps = 9300  # 2 million views
    views = True

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        config = self.config
        shape = spec.space["pose"].shape
        assert shape is not None
        self.pose_dim = shape[0]
        if config.encoder == "pyramid":
            self.psi: nn.Module = Pyramid(spec.image_shape, self.pose_dim, config.code)
        else:
            self.psi = Tower(spec.image_shape, self.pose_dim, config.code, config.encoder == "pool")
        self.standardise = nn.BatchNorm2d(config.code, affine=False, momentum=MOMENTUM)
        self.renderer = Renderer(
            spec.image_shape,
            self.pose_dim,
            code=config.code,
            channels=config.channels,
            latents=config.latents,
            steps=config.steps,
            shared_cores=config.shared_cores,
            code_map=config.encoder == "tower",
        )
        self.features_dim = 2 * config.code + self.pose_dim
        orthogonal(self.psi)
        orthogonal(self.renderer.look)
        orthogonal(self.renderer.lay_out)
        orthogonal(self.renderer.show)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def window(self) -> int:
        return int(self.config.views)

    @property
    def context(self) -> int:
        """Views that a code was summed from in training, at most."""
        return self.window - 1

    # for an agent -----------------------------------------------------------------------------------------------------

    def initial_state(self, batch: int) -> State:
        """Codes of the newest views, oldest first, and their number."""
        return torch.zeros(batch, self.context, self.config.code), torch.zeros(batch, 1)

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        assert first is not None, "a stateful encoder needs the marks of where episodes begin"
        code = self.view(obs["image"], obs["pose"]).mean((2, 3))
        continues = (~first).float().unsqueeze(1)
        codes = torch.cat([state[0][:, 1:] * continues.unsqueeze(2), code.unsqueeze(1)], 1)
        count = (state[1] * continues + 1).clamp(max=self.context)
        return torch.cat([codes.sum(1) / count, code, obs["pose"].float()], 1), (codes, count)

    # scenes -----------------------------------------------------------------------------------------------------------

    def codes(
        self, image: UInt8[Tensor, "V B C H W"], pose: Float[Tensor, "V B P"], learn: bool = False
    ) -> Float[Tensor, "V B D g1 g2"]:
        """Standardised psi of every view."""
        codes: Tensor = self.view(image.flatten(0, 1), pose.flatten(0, 1), learn).unflatten(0, image.shape[:2])
        return codes

    def view(
        self, image: UInt8[Tensor, "B C H W"], pose: Float[Tensor, "B P"], learn: bool = False
    ) -> Float[Tensor, "B D g1 g2"]:
        """Standardised psi of views.

        ``learn`` standardises by the batch and moves the running statistics; otherwise those standardise, in train mode
        and in eval mode.
        """
        norm = self.standardise
        code = self.psi(opponent(pixels(image)), pose).float()
        return F.batch_norm(code, norm.running_mean, norm.running_var, training=learn, momentum=MOMENTUM)

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """Standard deviation of a pixel at this point of pre-training."""
        config: GqnConfig = self.config
        fallen = min(1.0, self.progress / config.sigma_share)
        sigma = config.first_sigma + (config.last_sigma - config.first_sigma) * fallen
        return torch.tensor(sigma, device=self.standardise.running_mean.device)  # type: ignore[union-attr]

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        image, pose = steps.obs["image"], steps.obs["pose"]
        V, device = len(image), generator.device
        order = torch.randperm(V, generator=generator, device=device)
        size = int(torch.randint(1, V, (), generator=generator, device=device))
        context, query = order[:size], order[size]
        codes = self.codes(image[context], pose[context], learn=True)
        x = pixels(image[query])
        painted, divergence = self._paint(codes.sum(0), pose[query], generator, x)
        error = (painted - x.float()).square().sum((1, 2, 3))
        likelihood = gaussian_loss(error, x[0].numel(), self.sigma)
        metrics = {
            "likelihood": likelihood.mean().detach(),
            "kl": divergence.mean().detach(),
            "mse": error.mean().detach() / x[0].numel(),
            "feature_std": feature_std(codes[0].mean((2, 3))),
        }
        return (likelihood + divergence).mean(), metrics

    def _paint(
        self,
        code: Float[Tensor, "B D g1 g2"],
        pose: Float[Tensor, "B P"],
        generator: torch.Generator,
        x: Float[Tensor, "B C H W"],
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, " B"]]:
        """Painted views and KL; the first ``blind`` of the scenes are painted from the prior, not from x, at KL 0."""
        blind = round(len(x) * self.config.blind)
        rendered = []
        if blind:
            rendered.append(self.renderer(code[:blind], pose[:blind], None))
        if blind < len(x):
            rendered.append(self.renderer(code[blind:], pose[blind:], generator, x[blind:]))
        painted, divergence = zip(*rendered, strict=True)
        return torch.cat(painted), torch.cat(divergence)

    @classmethod
    def frames_per_step(cls, config: Any) -> int:
        return int(config.batch * config.views)

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        batch = self.frames_per_step(self.config)
        return [replace(fit, name="gqn", learning_rate=self.config.learning_rate, batch=batch)]

    @torch.no_grad()
    def predict(
        self,
        image: UInt8[Tensor, "V B C H W"],
        pose: Float[Tensor, "V B P"],
        query: Float[Tensor, "B P"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B C H W"]:
        """Paint the view from pose ``query``, in [0, 1], of scenes given by V context views ``image`` from ``pose``.

        ``generator`` draws one sample; None paints the prior's mean.
        """
        painted: Tensor = self.renderer(self.codes(image, pose).sum(0), query, generator)[0]
        return painted.clamp(0, 1)

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Picture ``views``: frames, and below each the view painted at its own pose from that frame's code alone."""
        image, pose = obs["image"], obs["pose"]
        return {"views": tile([pixels(image).float(), self.predict(image[None], pose[None], pose)], self.spec.channels)}


def gaussian_loss(error: Float[Tensor, " B"], count: int, sigma: Float[Tensor, ""]) -> Float[Tensor, " B"]:
    """Negative log N of ``count`` pixels whose squared errors sum to ``error``, nats."""
    return error / (2 * sigma.square()) + count * (sigma.log() + 0.5 * math.log(2 * math.pi))
