"""ConvDRAW: one step against a convolutional VAE, the canvas, the terms of the bound, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from envs.steps import Steps
from representations.conv_draw import ConvDraw, ConvDrawConfig
from representations.nets.images import pixels
from representations.pretrain import Pretrainer
from tests.representations.toys import image_spec, moving_square, read_out, strongest

SMALL = {"channels": 6}
B = 3


def frames(C: int = 3, side: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (B, C, side, side), dtype=torch.uint8)


def loss_of(model: ConvDraw, image: torch.Tensor, seed: int = 1) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    return model.loss(Steps.frames({"image": image}), lambda f, obs, first=None: (f, f), _draws(seed))


def _draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gated(gates: torch.Tensor) -> torch.Tensor:
    """An LSTM's output after its first step, from gates (input, forget, output, update)."""
    i, _, o, u = gates.chunk(4, 1)
    return torch.sigmoid(o) * torch.tanh(torch.sigmoid(i) * torch.tanh(u))


def test_one_step_is_a_convolutional_vae():
    model = ConvDraw(image_spec((3, 40, 40)), ConvDrawConfig(steps=1, **SMALL))
    torch.nn.init.normal_(model.blank)
    image = frames()
    x, n = pixels(image), 6
    # encoder: two readers, one gated layer, Gaussian; decoder: one gated layer, the write layer, a bias b
    error = x - torch.sigmoid(model.blank)
    gates = model.inference.gates
    hidden = F.conv2d(model.look_error(error), gates.weight[:, :n], gates.bias, padding=1)
    mean, log_variance = model.posterior(gated(hidden + model.inference.condition(model.look(x)))).chunk(2, 1)
    z = mean + (0.5 * log_variance).exp() * torch.empty_like(mean).normal_(generator=_draws(1))
    gates = model.generation.gates
    hidden = F.conv2d(z, gates.weight[:, :2], gates.bias, padding=1)
    background = F.pixel_unshuffle(torch.sigmoid(model.blank), 8).unsqueeze(0)
    logits = model.blank + model.write(gated(hidden + model.generation.condition(background)))
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / B
    m, v = model.prior.bias.view(2, 1, 2, 1, 1)  # of the prior, which sees h_0 = 0
    divergence = 0.5 * (log_variance.exp() / v.exp() + (mean - m) ** 2 / v.exp() - 1 - log_variance + v)
    expected = reconstruction + divergence.sum() / B
    loss, metrics = loss_of(model, image)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert metrics["kl"].item() == pytest.approx(divergence.sum().item() / B, rel=1e-4)


def test_the_first_canvas_is_the_learnt_bias_cut_to_size():
    model = ConvDraw(image_spec((1, 36, 44)), ConvDrawConfig(**SMALL))
    torch.nn.init.normal_(model.blank)
    assert model.blank.shape == (1, 40, 48)
    painting = model.paint(torch.zeros(B, 1, 36, 44, dtype=torch.uint8), None)
    assert torch.equal(painting.canvases[0], model.blank[:, :36, :44].expand(B, -1, -1, -1))
    assert len(painting.canvases) == 5
    assert all(canvas.shape == (B, 1, 36, 44) for canvas in painting.canvases)


def test_a_step_adds_what_it_writes_and_divergences_add_up():
    model = ConvDraw(image_spec((3, 40, 40)), ConvDrawConfig(steps=3, **SMALL))
    torch.nn.init.normal_(model.blank)
    image = frames()
    with torch.no_grad():
        for layer in (model.prior, model.posterior):
            layer.weight.zero_()
            layer.bias.zero_()
        model.posterior.bias[:2] = 2.0  # q = N(2, 1), p = N(0, 1): 2 nats a number, 2 * 5 * 5 numbers, 3 steps
        model.write[0].weight.zero_()
        model.write[0].bias.fill_(0.5)
        painting = model.paint(image, None)
        assert painting.divergence.tolist() == pytest.approx([300.0] * B)
        assert torch.allclose(painting.canvases[3], model.blank + 1.5)
        model.blank.fill_(-1.5)  # logits 0: log 2 a number
        loss, metrics = loss_of(model, image)
    assert float(loss) == pytest.approx(4800 * math.log(2) + 300, rel=1e-5)
    assert float(metrics["reconstruction"]) == pytest.approx(4800 * math.log(2), rel=1e-5)


def test_features_are_the_means_of_all_steps():
    model = ConvDraw(image_spec((3, 64, 64)), ConvDrawConfig(**SMALL))
    image = frames(side=64)
    features = model.encode({"image": image})[0]
    means = model.paint(image, None).means
    assert features.shape == (B, 512)
    assert torch.equal(features.view(B, 4, 2, 8, 8), torch.stack(means, 1))
    with torch.no_grad():  # the frame is in every step's: its error lies in front of each
        assert all(mean.std(0).mean() > 0 for mean in means)


def test_the_prior_learns_from_the_divergence_alone_and_sees_no_frame():
    model = ConvDraw(image_spec((3, 40, 40)), ConvDrawConfig(**SMALL))
    image = frames()
    kl = model.paint(image, _draws(0)).divergence.mean()
    reconstruction = model.paint(image, _draws(0)).canvases[-1].square().mean()
    prior = list(model.prior.parameters())
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(kl, prior))
    assert torch.autograd.grad(reconstruction, prior, allow_unused=True) == (None, None)


def test_more_steps_do_not_worsen_the_bound_and_learning_helps():
    images, places = moving_square(size=40, side=10, positions=8)
    bounds = {}
    for T in (1, 2):
        torch.manual_seed(0)
        config = ConvDrawConfig(steps=T, channels=8, latents=1, learning_rate=5e-3, batch=16)
        model, untrained = (ConvDraw(image_spec((1, 40, 40)), config) for _ in range(2))
        trainer = Pretrainer(model, {"image": images}, 80 * 16, generator=_draws(0))
        trainer.run(trainer.total)
        with torch.no_grad():
            bounds[T] = float(loss_of(model, images)[0])
    with torch.no_grad():
        start = float(loss_of(untrained, images)[0])
        learnt, random = (strongest(net.encode({"image": images})[0], 4) for net in (model, untrained))
    assert bounds[2] < bounds[1] < 0.6 * start  # nats per frame
    assert read_out(learnt, places) > read_out(random, places) + 0.1


def test_pictures():
    model = ConvDraw(image_spec((1, 40, 40)), ConvDrawConfig(**SMALL))
    image = frames(1)
    pictures = model.pictures({"image": image}, _draws(0))
    assert pictures["reconstructions"].shape == (2 * 40, B * 40, 3)
    assert pictures["canvases"].shape == (5 * 40, B * 40, 3)
    assert (pictures["canvases"][:40] == 128).all()  # c_0 = 0 at first
