"""Autoencoders: loss by hand, noise that shows on black, and places that they read."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    DenoisingAutoencoder,
    DenoisingConfig,
    corrupt,
)
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, image_spec, moving_square, read_out, strongest


def test_the_loss_by_hand(generator):
    # logits log 3 everywhere (p = 0.75); frame 1 white: 1296 * -log 0.75; frame 2 black: 1296 * -log 0.25
    model = Autoencoder(image_spec((1, 36, 36)))
    model.decoder = Fixed(torch.full((2, 1, 36, 36), math.log(3)))
    image = torch.zeros(2, 1, 36, 36, dtype=torch.uint8)
    image[0] = 255
    loss, metrics = model.loss(Steps.frames({"image": image}), None, generator)
    assert float(loss.detach()) == pytest.approx(-1296 * (math.log(0.75) + math.log(0.25)) / 2)
    assert float(metrics["loss"]) == pytest.approx(float(loss.detach()))


def test_noise_replaces_a_fraction_of_whole_pixels_and_shows_on_black(generator):
    image = torch.zeros(20, 6, 40, 40, dtype=torch.uint8)
    noisy = corrupt(image, 0.3, 3, generator)
    changed = (noisy != image).unflatten(1, (2, 3))
    assert float(changed.any(2).float().mean()) == pytest.approx(0.3, abs=0.01)
    # all three channels of a pixel, but where a drawn colour happens to be 0
    assert float(changed.all(2).float().mean()) > 0.29
    assert not torch.equal(changed[:, 0], changed[:, 1])  # each stacked frame has its own
    replaced = noisy[noisy > 0].float()
    assert float(replaced.mean()) == pytest.approx(128, abs=2)
    assert bool((image == 0).all())


def test_without_noise_the_denoising_one_is_the_plain_one(generator):
    plain = Autoencoder(image_spec((3, 40, 40)))
    denoising = DenoisingAutoencoder(image_spec((3, 40, 40)), DenoisingConfig(noise=0))
    denoising.load_state_dict(plain.state_dict())
    steps = Steps.frames({"image": torch.randint(0, 256, (5, 3, 40, 40), dtype=torch.uint8)})
    losses = [model.loss(steps, None, generator)[0].detach() for model in (plain, denoising)]
    assert torch.equal(*losses)
    denoising.config = DenoisingConfig(noise=0.3)
    assert not torch.equal(denoising.loss(steps, None, generator)[0], losses[0])


def test_the_encoder_is_given_noise_and_the_target_is_clean(generator):
    model = DenoisingAutoencoder(image_spec((1, 36, 36)), DenoisingConfig(noise=1))
    model.decoder = Fixed(torch.full((2, 1, 36, 36), -20.0))
    steps = Steps.frames({"image": torch.zeros(2, 1, 36, 36, dtype=torch.uint8)})
    loss, metrics = model.loss(steps, None, generator)
    assert float(loss) < 1e-3  # black is the target
    assert float(metrics["feature_std"]) > 0  # the encoder has seen two different frames


def test_features_are_the_trunk_s_and_the_decoder_is_dropped(generator):
    model = DenoisingAutoencoder(image_spec((1, 40, 40)))
    image = torch.randint(0, 256, (3, 1, 40, 40), dtype=torch.uint8)
    features = model.encode({"image": image})[0]
    assert torch.equal(features, model.trunk(image))
    features.sum().backward()
    assert all(parameter.grad is None for parameter in model.decoder.parameters())


@pytest.mark.parametrize("cls", [Autoencoder, DenoisingAutoencoder])
def test_learning_lowers_the_loss_and_reads_places_better(cls, generator):
    images, places = moving_square(size=40, side=10)
    model = cls(image_spec((1, 40, 40)), cls.Config(learning_rate=1e-3))
    before = strongest(model.encode({"image": images})[0].detach(), 6)
    trainer = Pretrainer(model, {"image": images}, 64 * 150, generator=generator, precision="bfloat16")
    early, late = trainer.run(64 * 10), trainer.run(64 * 140)
    assert late["pretrain/autoencoder/loss"] < 0.5 * early["pretrain/autoencoder/loss"]
    after = strongest(model.encode({"image": images})[0].detach(), 6)
    assert read_out(after, places) > read_out(before, places) + 0.02


def test_pictures_show_frames_what_is_given_and_what_is_decoded(generator):
    model = DenoisingAutoencoder(image_spec((1, 40, 40)))
    images, _ = moving_square(size=40, side=10, positions=2)
    assert model.pictures({"image": images}, generator)["reconstructions"].shape == (3 * 40, 4 * 40, 3)


def test_more_noise_than_pixels_is_refused():
    with pytest.raises(ValueError, match=r"noise=1\.5: give a fraction of at most 1"):
        DenoisingConfig(noise=1.5)
    assert AutoencoderConfig().batch == 64
