"""MONet (Burgess et al. 2019, "MONet: unsupervised scene decomposition and representation").

An attention network splits the image into K masks, one after the other; one VAE models each. With scope s_0 = 1,

    m_k = s_{k-1} alpha_k,   s_k = s_{k-1} (1 - alpha_k),   m_K = s_{K-1}              (they sum to 1 at every pixel)

    loss = - sum_pixels log sum_k m_k N(x; mu_k, sigma_k^2)            sigma_1 background, sigma_2 others
           + beta sum_k KL(q(z_k | x, m_k) || N(0, I))
           + gamma sum_pixels KL(m || p),   p = softmax over k of the decoders' mask logits

in nats per image, mean over the batch. ``encode`` returns the slots' means side by side, (B, K * latents), with
``centroids`` three numbers a slot more and the slots in order; ``pool`` "attention" lets the policy weigh them by a
small attention that it trains itself.

Sizes follow the code published with GENESIS (Engelcke et al. 2020): a U-Net of 3x3 convolutions with instance norm, a
component VAE of strided convolutions and a spatial-broadcast decoder (Watters et al. 2019).

Differs from the paper: Adam 1e-3 on batches of 16, where many small steps beat RMSProp 1e-4 on 64 within minutes; the
decoder works at half resolution by default (a pixel shuffle doubles it), a third faster; U-Net half as wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps, flatten
from representations.base import Config, Heads, Loss, Phase, Representation, State
from representations.feature_metrics import feature_std
from representations.nets.images import pixels, tile
from representations.nets.trunks import Shape
from representations.vae import draw, kl_to_prior

FAINTEST = -12.0
"""Least log-mask that a network reads; e^-12 of a pixel is negligible."""


@dataclass(frozen=True)
class MonetConfig(Config):
    slots: int = 5
    """K, masks an image is split into, background included. 5 on multi-dSprites in the published code."""
    latents: int = 16
    """Size of each slot's z; the published code's."""
    channels: tuple[int, ...] = (16, 16, 32, 32)
    """Channels of the attention network's blocks; each but the first halves the resolution. Published: 32, 32, 64, 64,
    64."""
    decoder_channels: int = 32
    """Channels of the component decoder; 16 separated worse."""
    full_resolution: bool = False
    """Decode every pixel instead of every other one."""
    background_std: float = 0.09
    """sigma_1, pixels in [0, 1]; published."""
    foreground_std: float = 0.11
    """sigma_2; published."""
    beta: float = 0.5
    """Weight of the slots' KL; published."""
    gamma: float = 0.5
    """Weight of the masks' KL; published."""
    pool: str = "flat"
    """Way the policy reads the slots: 'flat', side by side, or 'attention'."""
    centroids: bool = False
    """Add where each slot's mask lies and how large it is to its features, and put the slots in order by that: the
    largest first, which is the background, the others from left to right. Else objects change slots at will."""
    learning_rate: float = 1e-3
    """Adam."""
    batch: int = 16
    """Images per optimizer step offline."""

    def __post_init__(self) -> None:
        self.at_least(slots=1, latents=1, decoder_channels=1, beta=0, gamma=0, learning_rate=0, batch=1)
        if self.pool not in ("flat", "attention"):
            raise ValueError(f"pool='{self.pool}': known are flat, attention")
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise ValueError(f"channels={self.channels}: give at least two sizes, each at least 1")
        if min(self.background_std, self.foreground_std) <= 0:
            raise ValueError(
                f"background_std={self.background_std}, foreground_std={self.foreground_std}: give both > 0"
            )


class Block(nn.Module):
    """Convolution 3x3, instance norm, relu."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.scale, self.shift = nn.Parameter(torch.ones(after)), nn.Parameter(torch.zeros(after))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        x = self.convolution(x)
        # By hand: twice as fast here as instance_norm, which leaves channels-last memory.
        variance, mean = torch.var_mean(x, (2, 3), correction=0, keepdim=True)
        gain = torch.rsqrt(variance + 1e-5) * self.scale.view(-1, 1, 1)
        return F.relu_(torch.addcmul(self.shift.view(-1, 1, 1) - mean * gain, x, gain).to(x.dtype))


class Attention(nn.Module):
    """U-Net from the image and the log-scope (B, C + 1, H, W) to the logit of alpha (B, 1, H, W)."""

    def __init__(self, shape: Shape, channels: tuple[int, ...]):
        super().__init__()
        halvings = 2 ** (len(channels) - 1)
        if shape[1] % halvings or shape[2] % halvings:
            raise UsageError(
                f"monet's {len(channels)} blocks halve the image {len(channels) - 1} times, {shape[1]}x{shape[2]} "
                f"does not allow; give fewer monet.channels or sides that divide by {halvings}"
            )
        before = (shape[0] + 1, *channels[:-1])
        self.down = nn.ModuleList(Block(b, c) for b, c in zip(before, channels, strict=True))
        self.grid = (channels[-1], shape[1] // halvings, shape[2] // halvings)
        flat = math.prod(self.grid)
        self.middle = nn.Sequential(
            *(nn.Linear(flat, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, flat), nn.ReLU())
        )
        after = (*channels[-2::-1], channels[0])
        self.up = nn.ModuleList(Block(2 * c, a) for c, a in zip(channels[::-1], after, strict=True))
        self.logit = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x: Float[Tensor, "B C1 H W"]) -> Float[Tensor, "B 1 H W"]:
        skips = []
        for level, block in enumerate(self.down):
            x = block(x[:, :, ::2, ::2] if level else x)
            skips.append(x)
        x = self.middle(x.flatten(1)).unflatten(1, self.grid)
        for level, block in enumerate(self.up):
            if level:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], 1))
        logit: Tensor = self.logit(x)
        return logit


class Components(nn.Module):
    """Encoder of a masked image and spatial-broadcast decoder, shared by all slots."""

    def __init__(self, shape: Shape, config: MonetConfig):
        super().__init__()
        C, H, W = shape
        layers: list[nn.Module] = []
        before = C + 1
        for after in (32, 32, 64, 64):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.ReLU(inplace=True)]
            before = after
        flat = 64 * -(-H // 16) * -(-W // 16)
        self.encoder = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, 256), nn.ReLU(inplace=True))
        self.mean, self.log_variance = nn.Linear(256, config.latents), nn.Linear(256, config.latents)
        self.channels, self.factor = C, 1 if config.full_resolution else 2
        h, w, width = -(-H // self.factor), -(-W // self.factor), config.decoder_channels
        # Broadcast over the grid, z is the same everywhere: its term of the first convolution is a dense layer.
        self.broadcast = nn.Linear(config.latents, width)
        self.place = nn.Conv2d(2, width, 3, bias=False)
        self.body = nn.Sequential(
            nn.ReLU(inplace=True),
            *(layer for _ in range(3) for layer in (nn.Conv2d(width, width, 3), nn.ReLU(inplace=True))),
            nn.Conv2d(width, (C + 1) * self.factor**2, 1),
            nn.PixelShuffle(self.factor),
        )
        ys, xs = torch.linspace(-1, 1, h + 8), torch.linspace(-1, 1, w + 8)
        self.register_buffer("grid", torch.stack(torch.meshgrid(ys, xs, indexing="ij")).unsqueeze(0), persistent=False)
        self.grid: Tensor
        self.size = (H, W)

    def encode(self, x: Float[Tensor, "n C1 H W"]) -> tuple[Float[Tensor, "n Z"], Float[Tensor, "n Z"]]:
        """Mean and log-variance of q(z|x, m), float32, from images with their log-mask as channel C + 1."""
        hidden = self.encoder(x)
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.to(self.mean.weight.dtype)
            return self.mean(hidden), self.log_variance(hidden)

    def decode(self, z: Float[Tensor, "n Z"]) -> tuple[Float[Tensor, "n C H W"], Float[Tensor, "n 1 H W"]]:
        """Pixels in [0, 1] and mask logits of each component, float32."""
        first = self.broadcast(z)[:, :, None, None] + self.place(self.grid)
        H, W = self.size
        out = self.body(first.contiguous(memory_format=torch.channels_last))[:, :, :H, :W].float()
        return torch.sigmoid(out[:, : self.channels]), out[:, self.channels :]


class SlotPool(nn.Module):
    """Attention of four learned queries over n slots (B, n * latents); their readings side by side (B, 4 * 64)."""

    QUERIES, WIDTH = 4, 64

    def __init__(self, count: int, latents: int):
        super().__init__()
        self.latents, self.width = latents, self.QUERIES * self.WIDTH
        self.keys, self.values = nn.Linear(latents, self.WIDTH), nn.Linear(latents, self.WIDTH)
        self.place = nn.Parameter(torch.randn(count, latents) * 0.1)  # distinguishes slots and frames
        self.queries = nn.Parameter(torch.randn(self.QUERIES, self.WIDTH) / math.sqrt(self.WIDTH))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load ``queries`` also from checkpoints that called them ``questions``."""
        if f"{prefix}questions" in state_dict:
            state_dict[f"{prefix}queries"] = state_dict.pop(f"{prefix}questions")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Float[Tensor, "B nZ"]) -> Float[Tensor, "B W"]:
        slots = x.unflatten(1, (-1, self.latents)) + self.place
        scores = torch.einsum("qd,bnd->bqn", self.queries, self.keys(slots))
        return torch.einsum("bqn,bnd->bqd", scores.softmax(-1), self.values(slots)).flatten(1)


class Monet(Representation):
    """See the module docstring."""

    Config = MonetConfig
    pretrain_steps = 31_250  # 500,000 images

    def __init__(self, spec: EnvSpec, config: Any = None):
        super().__init__(spec, config)
        self.attention = Attention(spec.image_shape, tuple(self.config.channels))
        self.components = Components(spec.image_shape, self.config)
        self.slot_dim = self.config.latents + 3 * self.config.centroids
        self.features_dim = self.config.slots * self.slot_dim
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def masks(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "K B 1 H W"]:
        """Log-masks log m_k, float32, of images in [0, 1]; the masks sum to 1 over K."""
        log_scope = torch.zeros_like(x[:, :1], dtype=torch.float32)
        log_masks = []
        for _ in range(self.config.slots - 1):
            logit = self.attention(with_mask(x, log_scope)).float()
            log_masks.append(log_scope + F.logsigmoid(logit))
            log_scope = log_scope + F.logsigmoid(-logit)
        return torch.stack([*log_masks, log_scope])

    def slots(
        self, x: Float[Tensor, "B C H W"], log_masks: Float[Tensor, "K B 1 H W"]
    ) -> tuple[Float[Tensor, "KB Z"], Float[Tensor, "KB Z"]]:
        """Mean and log-variance of every slot's z, slot by slot."""
        K = len(log_masks)
        return self.components.encode(with_mask(x.repeat(K, 1, 1, 1), log_masks.flatten(0, 1)))

    def encode(
        self, obs: Obs, state: State = (), first: Bool[Tensor, " B"] | None = None
    ) -> tuple[Float[Tensor, "B D"], State]:
        x = pixels(obs["image"])
        log_masks = self.masks(x)
        mean, _ = self.slots(x, log_masks)
        slots = mean.unflatten(0, (self.config.slots, -1)).transpose(0, 1)
        if self.config.centroids:
            slots = in_order(torch.cat([slots, places(log_masks.exp())], 2))
        return slots.flatten(1), state

    def neck(self, frames: int = 1) -> nn.Module | None:
        if self.config.pool == "flat":
            return None
        return SlotPool(frames * self.config.slots, self.slot_dim)

    def loss(self, steps: Steps, heads: Heads, generator: torch.Generator) -> Loss:
        x = pixels(flatten(steps.obs)["image"])
        log_masks = self.masks(x)
        K, B = log_masks.shape[:2]
        mean, log_variance = self.slots(x, log_masks)
        decoded, logits = self.components.decode(draw(mean, log_variance, generator))
        decoded, logits = decoded.unflatten(0, (K, B)), logits.unflatten(0, (K, B))
        std = torch.full((K, 1, 1, 1, 1), self.config.foreground_std, device=x.device)
        std[0] = self.config.background_std
        reconstruction = mixture_loss(x.float(), decoded, log_masks, std)
        divergence = kl_to_prior(mean, log_variance).sum() / B
        mask_divergence = (log_masks.exp() * (log_masks - logits.log_softmax(0))).sum() / B
        metrics = {
            "reconstruction": reconstruction.detach(),
            "kl": divergence.detach(),
            "mask_kl": mask_divergence.detach(),
            "largest_slot": log_masks.detach().exp().mean((2, 3, 4)).amax(0).mean(),
            "feature_std": feature_std(mean.unflatten(0, (K, B)).transpose(0, 1).flatten(1)),
        }
        return reconstruction + self.config.beta * divergence + self.config.gamma * mask_divergence, metrics

    def phases(self) -> list[Phase]:
        (fit,) = super().phases()
        config = self.config
        return [replace(fit, name="monet", learning_rate=config.learning_rate, batch=config.batch, splits=True)]

    @torch.no_grad()
    def pictures(self, obs: Obs, generator: torch.Generator) -> dict[str, NDArray[np.uint8]]:
        """Pictures ``masks`` and ``slots``.

        Masks: a column per frame with the frame, its reconstruction, the K masks and the K masked components. Slots of
        the first frame: a row per slot, its latent with the largest KL moved from -3 to 3.
        """
        x = pixels(obs["image"])
        log_masks = self.masks(x)
        K = len(log_masks)
        mean, log_variance = self.slots(x, log_masks)
        decoded, _ = self.components.decode(mean)
        decoded, masks = decoded.unflatten(0, (K, -1)), log_masks.exp()
        rows = [x.float(), (masks * decoded).sum(0), *(mask.expand_as(x) for mask in masks), *(masks * decoded)]
        divergence = kl_to_prior(mean, log_variance).unflatten(0, (K, -1))[:, 0]
        first = mean.unflatten(0, (K, -1))[:, 0]
        sweeps = [self._sweep(first, slot, int(divergence[slot].argmax())) for slot in range(K)]
        return {"masks": tile(rows, self.spec.channels), "slots": tile(sweeps, self.spec.channels)}

    def _sweep(self, slots: Float[Tensor, "K Z"], slot: int, latent: int) -> Float[Tensor, "7 C H W"]:
        """Seven images decoded from ``slots`` with one latent of one slot at -3, -2, ... 3."""
        moved = slots.repeat(7, 1, 1)
        moved[:, slot, latent] = torch.arange(-3.0, 4.0, device=slots.device)
        decoded, logits = self.components.decode(moved.flatten(0, 1))
        decoded, logits = decoded.unflatten(0, (7, -1)), logits.unflatten(0, (7, -1))
        swept: Tensor = (logits.softmax(1) * decoded).sum(1)
        return swept


def places(masks: Float[Tensor, "K B 1 H W"]) -> Float[Tensor, "B K 3"]:
    """Centre y, x of each mask, from -1 to 1, and the root of its fraction of the image."""
    _, _, _, H, W = masks.shape
    m = masks.squeeze(2).transpose(0, 1)
    ys, xs = torch.linspace(-1, 1, H, device=m.device), torch.linspace(-1, 1, W, device=m.device)
    mass = m.sum((2, 3)) + 1e-6  # an empty mask lies in the middle
    centres = [(m.sum(3) * ys).sum(2) / mass, (m.sum(2) * xs).sum(2) / mass]
    return torch.stack([*centres, (mass / (H * W)).sqrt()], 2)


def in_order(slots: Float[Tensor, "B K Z3"]) -> Float[Tensor, "B K Z3"]:
    """Slots whose last numbers are ``places``: the largest first, the others from left to right."""
    size, x = slots[:, :, -1], slots[:, :, -2]
    key = torch.where(size == size.amax(1, keepdim=True), -2.0, x)  # x is never below -1
    return slots.gather(1, key.argsort(dim=1, stable=True).unsqueeze(2).expand_as(slots))


def with_mask(x: Float[Tensor, "n C H W"], log_mask: Float[Tensor, "n 1 H W"]) -> Float[Tensor, "n C+1 H W"]:
    """Images with a log-mask as one more channel."""
    joined = torch.cat([x, log_mask.clamp(min=FAINTEST).to(x.dtype)], 1)
    return joined.contiguous(memory_format=torch.channels_last)


def mixture_loss(
    x: Float[Tensor, "B C H W"],
    decoded: Float[Tensor, "K B C H W"],
    log_masks: Float[Tensor, "K B 1 H W"],
    std: Float[Tensor, "K 1 1 1 1"],
) -> Float[Tensor, ""]:
    """Minus the sum over pixels of log sum_k m_k N(x; mu_k, sigma_k^2), nats per image.

    The Gaussian of a pixel is over all its channels.
    """
    log_normal = -0.5 * ((x - decoded) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
    return -(log_masks.squeeze(2) + log_normal.sum(2)).logsumexp(0).sum() / x.shape[0]
