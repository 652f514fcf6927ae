"""GQN (Eslami et al. 2018, "Neural scene representation and rendering"): a code of the scene from views with poses.

    r = sum_i psi(x_i, v_i)                                              context views i, in any order; r = 0 without
    loss = E_q[-sum_pixels log N(x_q; eta(u_L), sigma^2)] + sum_l KL(q(z_l|x_q, v_q, r, z_<l) || p(z_l|v_q, r, z_<l))

in nats per scene, mean over the batch: the renderer paints an unseen view x_q from its pose v_q and r in L steps. At
every step a convolutional LSTM takes z_l, and its state adds to the canvas u; another one proposes q while training.
sigma falls linearly in the number of optimizer steps. Each batch draws how many of its views are context.

For an agent ``encode`` returns, (B, 2 D + 7): the mean of psi over the newest views of this episode, at most as many as
it was trained with, psi of the present view, and its pose. The views' codes are the state carried from frame to frame.

psi: "pyramid", "pool" (a tower, averaged over space) or "tower" (keeps its 16x16 map for the renderer; its average is
what an agent gets). ``GqnConfig()`` is a size for a CPU: 4 steps, 64 channels; published: 12 steps, 128 channels at
16x16, code 256.

Differs from the paper, whose budget is a thousand times larger: psi sees opponent colours and scaled
poses, and its channels are standardised over views (running statistics outside its own loss), for what views have in
common would drown what tells scenes apart; a small perceptron
lays r (normalised, as a sum of five codes is five times as long as one) and v out on the grid, where they are the same
everywhere in print and only the borders tell places apart; the LSTMs' grid is an eighth of the image, not a quarter, so
their windows are 3x3, not 5x5; the canvas lies there too, begins with r and v, and is brought to full size once, at the
end; what stays the same from step to step (r, v, and for q the true view) enters an LSTM's gates once, through a 1x1
convolution; z enters with weights of 0 at first, and half of a batch is painted from the prior's mean, for otherwise z
explains a view before r can; sigma 2 -> 0.2, not 2 -> 0.7.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps
from representations.base import Config, Heads, Phase, Representation, State, feature_std
from representations.nets import Shape, orthogonal, pixels, tile

MOMENTUM = 0.05
"""Of the running statistics of psi."""
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
    """Of the LSTMs' states; 128 in the paper."""
    latents: int = 3
    """Channels of z_l; the paper's as far as known, 64 in the code most used."""
    shared_cores: bool = True
    """One set of weights for all rendering steps."""
    blind: float = 0.5
    """Part of a batch's scenes that are painted with the prior's mean, without the KL; the paper's is 0."""
    first_sigma: float = 2.0
    """Standard deviation of a pixel in [0, 1] at the beginning; the paper's."""
    last_sigma: float = 0.2
    """At the end; 0.7 in the paper."""
    sigma_steps: int = 2000
    """Optimizer steps from one to the other; 200,000 in the paper."""
    learning_rate: float = 3e-4
    """Adam; 5e-4 in the paper. At 1e-3 the code loses the hues of floor and walls for good within 200 steps."""
    anneal: float = 0.3
    """Last part of pre-training over which the learning rate falls to 0."""
    batch: int = 36
    """Scenes per optimizer step; the paper's."""

    def __post_init__(self) -> None:
        self.at_least(
            code=2, views=2, steps=1, channels=1, latents=1, sigma_steps=1, learning_rate=0, anneal=0, batch=1
        )
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder='{self.encoder}': known are {', '.join(ENCODERS)}")
        if not 0 <= self.blind <= 1:
            raise ValueError(f"blind={self.blind}: give a part from 0 to 1")
        if min(self.first_sigma, self.last_sigma) <= 0:
            raise ValueError(f"first_sigma={self.first_sigma}, last_sigma={self.last_sigma}: give > 0")


MIDDLE, BRIGHTNESS, HUE, POSE = 0.4, 4.0, 8.0, 0.3
"""What psi is shown has a variance of about one, its poses of a tenth: seven numbers repeated at every pixel would
drown the image, as brightness would drown hue."""


def opponent(x: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> brightness, red - green, blue - yellow; images of other than 3 channels: brightness."""
    if x.shape[1] != 3:
        return (x - MIDDLE) * BRIGHTNESS
    red, green, blue = x.unbind(1)
    yellow = (red + green) / 2
    seen = [((2 * yellow + blue) / 3 - MIDDLE) * BRIGHTNESS, (red - green) * HUE, (blue - yellow) * HUE]
    return torch.stack(seen, 1).contiguous(memory_format=torch.channels_last)


def over(pose: Tensor, x: Tensor) -> Tensor:
    """x (B, C, H, W) with the pose (B, P) as P more channels, the same everywhere."""
    shown = (POSE * pose).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, shown], 1)


class Pyramid(nn.Module):
    """psi: (B, C, H, W), (B, P) -> (B, code, 1, 1)."""

    def __init__(self, shape: Shape, pose: int, code: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = shape[0] + pose
        for after in (32, 64, 128):
            layers += [nn.Conv2d(before, after, 2, 2), nn.ReLU(inplace=True)]
            before = after
        grid = (shape[1] // 8, shape[2] // 8)
        self.body = nn.Sequential(*layers, nn.Conv2d(before, code, grid))

    def forward(self, x: Tensor, pose: Tensor) -> Tensor:
        return self.body(over(pose, x))


class Tower(nn.Module):
    """psi: (B, C, H, W), (B, P) -> (B, code, H/4, W/4), or its mean over space (B, code, 1, 1)."""

    def __init__(self, shape: Shape, pose: int, code: int, pool: bool):
        super().__init__()
        half, self.pool = max(code // 2, 1), pool
        self.first = nn.Conv2d(shape[0], code, 2, 2)
        self.skip = nn.Conv2d(code, code, 2, 2)
        self.inner, self.outer = nn.Conv2d(code, half, 3, padding=1), nn.Conv2d(half, code, 2, 2)
        self.skip_posed = nn.Conv2d(code + pose, code, 3, padding=1)
        self.inner_posed, self.outer_posed = (
            nn.Conv2d(code + pose, half, 3, padding=1),
            nn.Conv2d(half, code, 3, padding=1),
        )
        self.last = nn.Conv2d(code, code, 1)

    def forward(self, x: Tensor, pose: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        x = F.relu(self.outer(F.relu(self.inner(x)))) + F.relu(self.skip(x))
        x = over(pose, x)
        x = F.relu(self.outer_posed(F.relu(self.inner_posed(x)))) + F.relu(self.skip_posed(x))
        x = F.relu(self.last(x))
        return x.mean((2, 3), keepdim=True) if self.pool else x


class Core(nn.Module):
    """Convolutional LSTM, 3x3; ``condition`` (B, 4 * channels, ...) is added to the gates."""

    def __init__(self, inputs: int, channels: int, condition: int):
        super().__init__()
        self.gates = nn.Conv2d(inputs + channels, 4 * channels, 3, padding=1)
        self.condition = nn.Conv2d(condition, 4 * channels, 1, bias=False)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor], condition: Tensor) -> tuple[Tensor, Tensor]:
        h, c = state
        take, forget, give, new = (self.gates(torch.cat([x, h.to(x.dtype)], 1)) + condition).float().chunk(4, 1)
        c = torch.sigmoid(forget + 1) * c + torch.sigmoid(take) * torch.tanh(new)
        return torch.sigmoid(give) * torch.tanh(c), c


class Renderer(nn.Module):
    """Paints a view from its pose and the scene's code; see the module docstring."""

    FACTOR = 8
    """Image side over the side of the LSTMs' grid."""

    def __init__(self, shape: Shape, pose: int, config: GqnConfig):
        super().__init__()
        C, H, W = shape
        if H % self.FACTOR or W % self.FACTOR:
            raise UsageError(f"gqn paints on an eighth of the image; {H}x{W} does not divide by 8: enlarge the image")
        n, self.steps, self.latents = config.channels, config.steps, config.latents
        self.size = (n, H // self.FACTOR, W // self.FACTOR)
        cores = 1 if config.shared_cores else config.steps
        self.lay_out = nn.Sequential(
            *(nn.Linear(config.code + pose, 256), nn.ReLU(inplace=True)),
            *(nn.Linear(256, math.prod(self.size)), nn.ReLU(inplace=True)),
        )
        condition = n + (config.code if config.encoder == "tower" else 0)
        self.generators = nn.ModuleList(Core(config.latents, n, condition) for _ in range(cores))
        for core in self.generators:
            # Noise of a z that says nothing yet would keep the scene's code from being learnt.
            nn.init.zeros_(core.gates.weight[:, : config.latents])  # type: ignore[union-attr, index]
        self.inferences = nn.ModuleList(Core(n, n, condition + n) for _ in range(cores))
        self.prior, self.posterior = (nn.Conv2d(n, 2 * config.latents, 3, padding=1) for _ in range(2))
        self.look = nn.Sequential(
            *(nn.Conv2d(C, n, 4, 4), nn.ReLU(inplace=True), nn.Conv2d(n, n, 4, 2, 1), nn.ReLU(inplace=True))
        )
        self.begin, self.paint = nn.Conv2d(n, n, 1), nn.Conv2d(n, n, 1)
        self.show = nn.Sequential(
            *(nn.ConvTranspose2d(n, n, 4, 2, 1), nn.ReLU(inplace=True)),
            *(nn.ConvTranspose2d(n, 32, 4, 2, 1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(32, 4 * C, 3, padding=1), nn.PixelShuffle(2)),
        )

    def forward(
        self, code: Tensor, pose: Tensor, generator: torch.Generator | None, x: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean of the painted view (B, C, H, W), not clipped, and the KL of each scene (B,), nats.

        Args:
            code: (B, D, g, g).
            pose: (B, P) of the view to paint.
            generator: draws z; None takes the prior's mean.
            x: the true view, (B, C, H, W) in [0, 1]: z is drawn from q. None: from the prior, and the KL is 0.
        """
        B = len(pose)
        scene = F.layer_norm(code.mean((2, 3)), code.shape[1:2])
        about = self.lay_out(torch.cat([scene, pose], 1)).unflatten(1, self.size)
        begun = about
        if code.shape[2] > 1:
            about = torch.cat([about, F.adaptive_avg_pool2d(code, self.size[1:])], 1)
        zero = torch.zeros(B, *self.size, device=pose.device).contiguous(memory_format=torch.channels_last)
        generating, inferring, canvas = (zero, zero), (zero, zero), self.begin(begun)
        divergence = torch.zeros(B, device=pose.device)
        conditions = {core: core.condition(about) for core in self.generators}  # type: ignore[operator]
        if x is not None:
            seen = self.look(opponent(x))
            beside = torch.cat([seen, about.to(seen.dtype)], 1)
            conditions |= {core: core.condition(beside) for core in self.inferences}  # type: ignore[operator]
        for step in range(self.steps):
            generate, infer = (cores[step % len(cores)] for cores in (self.generators, self.inferences))
            mean, log_variance = prior = self.prior(generating[0]).float().chunk(2, 1)
            if x is not None:
                inferring = infer(generating[0], inferring, conditions[infer])
                mean, log_variance = self.posterior(inferring[0]).float().chunk(2, 1)
                divergence = divergence + kl(mean, log_variance, *prior).sum((1, 2, 3))
            z = mean
            if generator is not None:
                z = mean + (0.5 * log_variance).exp() * torch.empty_like(mean).normal_(generator=generator)
            generating = generate(z.to(about.dtype), generating, conditions[generate])
            canvas = canvas + self.paint(generating[0])
        return self.show(canvas).float(), divergence


def kl(mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor) -> Tensor:
    """KL(N(mean, e^log_variance) || N(prior)) of each number, nats."""
    ratio = log_variance - prior_log_variance
    return 0.5 * (ratio.exp() + (mean - prior_mean).square() * (-prior_log_variance).exp() - 1 - ratio)


class Gqn(Representation):
    """See the module docstring. Pre-training shows it scenes: Steps (V, B), V views of one moment each."""

    Config = GqnConfig
    keys = ("image", "pose")
    modes = ("frozen", "finetune")
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
        self.renderer = Renderer(spec.image_shape, self.pose_dim, config)
        self.window = config.views  # type: ignore[misc]
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.updates: Tensor
        self.features_dim = 2 * config.code + self.pose_dim
        orthogonal(self.psi)
        orthogonal(self.renderer.look)
        orthogonal(self.renderer.lay_out)
        orthogonal(self.renderer.show)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def context(self) -> int:
        """Most views a code was summed from in training."""
        return self.config.views - 1

    # what an agent sees -----------------------------------------------------------------------------------------------

    def initial_state(self, batch: int) -> State:
        """Codes of the newest views, oldest first, and how many there are."""
        return torch.zeros(batch, self.context, self.config.code), torch.zeros(batch, 1)

    def encode(self, obs: Obs, state: State = (), first: Tensor | None = None) -> tuple[Tensor, State]:
        assert first is not None, "a state goes with the marks of where episodes begin"
        code = self.view(obs["image"], obs["pose"]).mean((2, 3))
        going_on = (~first).float().unsqueeze(1)
        codes = torch.cat([state[0][:, 1:] * going_on.unsqueeze(2), code.unsqueeze(1)], 1)
        count = (state[1] * going_on + 1).clamp(max=self.context)
        return torch.cat([codes.sum(1) / count, code, obs["pose"].float()], 1), (codes, count)

    # scenes -----------------------------------------------------------------------------------------------------------

    def codes(self, image: Tensor, pose: Tensor, learn: bool = False) -> Tensor:
        """psi of every view: (V, B, C, H, W) uint8 and (V, B, P) -> (V, B, D, g, g)."""
        return self.view(image.flatten(0, 1), pose.flatten(0, 1), learn).unflatten(0, image.shape[:2])

    def view(self, image: Tensor, pose: Tensor, learn: bool = False) -> Tensor:
        """psi of views (B, C, H, W) uint8 from (B, P): (B, D, g, g) float32.

        ``learn`` standardises by the batch and moves the running statistics; otherwise those serve, whatever the mode.
        """
        norm = self.standardise
        code = self.psi(opponent(pixels(image)), pose).float()
        return F.batch_norm(code, norm.running_mean, norm.running_var, training=learn, momentum=MOMENTUM)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of a pixel now."""
        config, gone = self.config, (self.updates / self.config.sigma_steps).clamp(max=1)
        return config.first_sigma + (config.last_sigma - config.first_sigma) * gone

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
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

    def _paint(self, code: Tensor, pose: Tensor, generator: torch.Generator, x: Tensor) -> tuple[Tensor, Tensor]:
        """The views x (B, C, H, W) and KL (B,): the first ``blind`` of the scenes without a look at x, KL 0."""
        blind = round(len(x) * self.config.blind)
        parts = []
        if blind:
            parts.append(self.renderer(code[:blind], pose[:blind], None))
        if blind < len(x):
            parts.append(self.renderer(code[blind:], pose[blind:], generator, x[blind:]))
        painted, divergence = zip(*parts, strict=True)
        return torch.cat(painted), torch.cat(divergence)

    def after_step(self) -> None:
        self.updates += 1

    def phases(self) -> list[Phase]:
        (fit,), config = super().phases(), self.config
        return [
            Phase("gqn", fit.parameters, fit.loss, config.learning_rate, 1.0, config.batch * self.window, config.anneal)
        ]

    @torch.no_grad()
    def predict(self, image: Tensor, pose: Tensor, query: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The view from ``query`` (B, P) as (B, C, H, W) in [0, 1], of scenes seen in (V, B, C, H, W) from (V, B, P).

        ``generator`` draws one sample; None paints the prior's mean.
        """
        return self.renderer(self.codes(image, pose).sum(0), query, generator)[0].clamp(0, 1)

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, np.ndarray]:
        """``views``: a few frames, above what is painted at their own poses from the code of that frame alone."""
        image, pose = obs["image"], obs["pose"]
        return {"views": tile([pixels(image).float(), self.predict(image[None], pose[None], pose)], self.spec.channels)}


def gaussian_loss(error: Tensor, count: int, sigma: Tensor) -> Tensor:
    """-log N of ``count`` pixels whose squared errors sum to ``error``, nats."""
    return error / (2 * sigma.square()) + count * (sigma.log() + 0.5 * math.log(2 * math.pi))
