"""Networks of GQN: the view encoder psi in two kinds, and the renderer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from envs.registry import UsageError
from representations.nets.recurrent import ConvLstm, kl
from representations.nets.trunks import Shape

MIDDLE, BRIGHTNESS, HUE, POSE = 0.4, 4.0, 8.0, 0.3
"""Scales under which the colours that psi reads have a variance of about one, and the poses of a tenth: seven numbers
repeated at every pixel would drown the image, as brightness would drown hue."""


def opponent(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Opponent colours of images in [0, 1]: brightness, red - green, blue - yellow; brightness alone unless C = 3."""
    if x.shape[1] != 3:
        return (x - MIDDLE) * BRIGHTNESS
    red, green, blue = x.unbind(1)
    yellow = (red + green) / 2
    planes = [((2 * yellow + blue) / 3 - MIDDLE) * BRIGHTNESS, (red - green) * HUE, (blue - yellow) * HUE]
    return torch.stack(planes, 1).contiguous(memory_format=torch.channels_last)


def with_pose(x: Float[Tensor, "B C H W"], pose: Float[Tensor, "B P"]) -> Float[Tensor, "B C+P H W"]:
    """Maps with the pose as P more channels, the same everywhere."""
    planes = (POSE * pose).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, planes], 1)


class Pyramid(nn.Module):
    """Encoder psi that gives one code for the whole view, (B, code, 1, 1)."""

    def __init__(self, shape: Shape, pose: int, code: int):
        super().__init__()
        layers: list[nn.Module] = []
        before = shape[0] + pose
        for after in (32, 64, 128):
            layers += [nn.Conv2d(before, after, 2, 2), nn.ReLU(inplace=True)]
            before = after
        grid = (shape[1] // 8, shape[2] // 8)
        self.body = nn.Sequential(*layers, nn.Conv2d(before, code, grid))

    def forward(self, x: Float[Tensor, "B C H W"], pose: Float[Tensor, "B P"]) -> Float[Tensor, "B D 1 1"]:
        code: Tensor = self.body(with_pose(x, pose))
        return code


class Tower(nn.Module):
    """Encoder psi that gives a map (B, code, H/4, W/4), or its mean over space (B, code, 1, 1)."""

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

    def forward(self, x: Float[Tensor, "B C H W"], pose: Float[Tensor, "B P"]) -> Float[Tensor, "B D g1 g2"]:
        x = F.relu(self.first(x))
        x = F.relu(self.outer(F.relu(self.inner(x)))) + F.relu(self.skip(x))
        x = with_pose(x, pose)
        x = F.relu(self.outer_posed(F.relu(self.inner_posed(x)))) + F.relu(self.skip_posed(x))
        x = F.relu(self.last(x))
        return x.mean((2, 3), keepdim=True) if self.pool else x


class Renderer(nn.Module):
    """Renderer of a view from its pose and the scene's code; see ``gqn``'s docstring.

    Args:
        shape: (C, H, W) of a view, H and W multiples of 8.
        pose: P, numbers of a pose.
        code: D, channels of a scene's code.
        channels: of the LSTMs' states.
        latents: channels of z at each step.
        steps: rendering steps L.
        shared_cores: one set of weights for all steps.
        code_map: the code is a map over space (psi "tower"), which the LSTMs read, too.
    """

    FACTOR = 8
    """Image side over the side of the LSTMs' grid."""

    def __init__(
        self,
        shape: Shape,
        pose: int,
        *,
        code: int,
        channels: int,
        latents: int,
        steps: int,
        shared_cores: bool,
        code_map: bool,
    ):
        super().__init__()
        C, H, W = shape
        if H % self.FACTOR or W % self.FACTOR:
            raise UsageError(f"gqn paints on an eighth of the image; {H}x{W} does not divide by 8: enlarge the image")
        n, self.steps, self.latents = channels, steps, latents
        self.size = (n, H // self.FACTOR, W // self.FACTOR)
        cores = 1 if shared_cores else steps
        self.lay_out = nn.Sequential(
            *(nn.Linear(code + pose, 256), nn.ReLU(inplace=True)),
            *(nn.Linear(256, math.prod(self.size)), nn.ReLU(inplace=True)),
        )
        condition = n + (code if code_map else 0)
        self.generators = nn.ModuleList(ConvLstm(latents, n, condition) for _ in range(cores))
        for core in self.generators:
            # Noise of a z that carries nothing yet would keep the scene's code from being learnt.
            nn.init.zeros_(core.gates.weight[:, :latents])  # type: ignore[union-attr, index]
        self.inferences = nn.ModuleList(ConvLstm(n, n, condition + n) for _ in range(cores))
        self.prior, self.posterior = (nn.Conv2d(n, 2 * latents, 3, padding=1) for _ in range(2))
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
        self,
        code: Float[Tensor, "B D g1 g2"],
        pose: Float[Tensor, "B P"],
        generator: torch.Generator | None,
        x: Float[Tensor, "B C H W"] | None = None,
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, " B"]]:
        """Mean of the painted view, not clipped, and the KL of each scene, nats.

        Args:
            code: of the scene, the sum over its context views.
            pose: of the view to paint.
            generator: draws z; None takes the prior's mean.
            x: the true view in [0, 1]: z is drawn from q. None: from the prior, and the KL is 0.
        """
        B = len(pose)
        scene = F.layer_norm(code.mean((2, 3)), code.shape[1:2])
        layout = self.lay_out(torch.cat([scene, pose], 1)).unflatten(1, self.size)
        canvas = self.begin(layout)
        if code.shape[2] > 1:
            layout = torch.cat([layout, F.adaptive_avg_pool2d(code, self.size[1:])], 1)
        zero = torch.zeros(B, *self.size, device=pose.device).contiguous(memory_format=torch.channels_last)
        generating, inferring = (zero, zero), (zero, zero)
        divergence = torch.zeros(B, device=pose.device)
        conditions = {core: core.condition(layout) for core in self.generators}  # type: ignore[operator]
        if x is not None:
            view = self.look(opponent(x))
            view_and_layout = torch.cat([view, layout.to(view.dtype)], 1)
            conditions |= {core: core.condition(view_and_layout) for core in self.inferences}  # type: ignore[operator]
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
            generating = generate(z.to(layout.dtype), generating, conditions[generate])
            canvas = canvas + self.paint(generating[0])
        return self.show(canvas).float(), divergence
