"""Masked autoencoder: patches and back, the loss by hand, what each network may see, and what learning teaches."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.mae import Mae, MaeConfig, normalised, patchify, positions, unpatchify
from representations.nets.images import pixels
from representations.pretext import pretext_scores
from representations.pretrain import Pretrainer
from tests.representations.toys import bars, image_spec, read_out, strongest

SPEC = image_spec((3, 40, 40))
SMALL = MaeConfig(width=32, blocks=2, batch=32, learning_rate=2e-3)


def images_of(batch: int, channels: int = 3, side: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (batch, channels, side, side), dtype=torch.uint8)


def test_patches_are_the_frame_and_give_it_back():
    image = torch.rand(2, 3, 40, 44)
    patches = patchify(image)
    assert patches.shape == (2, 5 * 6, 3 * 64)
    # patch 7 is that of rows 8..15 and columns 8..15
    assert torch.equal(patches[1, 7].view(3, 8, 8), image[1, :, 8:16, 8:16])
    assert torch.equal(patches[0, 5].view(3, 8, 8)[:, :, 4:], image[0, :, :8, 43:].expand(-1, -1, 4))  # repeated border
    assert torch.equal(unpatchify(patches, 40, 44), image)


def test_targets_by_hand():
    # numbers 0 and 1, 32 of each: mean 1/2, variance 1/4
    patches = torch.tensor([0.0, 1]).repeat(32).view(1, 1, 64)
    scale = 0.5 / (0.25 + 1e-4) ** 0.5
    assert normalised(patches)[0, 0, :2].tolist() == pytest.approx([-scale, scale])
    assert normalised(torch.full((1, 1, 64), 0.3)).abs().max() < 1e-4  # a flat patch


def test_each_place_has_a_position_of_its_own():
    place = positions(5, 6, 32)
    assert place.shape == (30, 32)
    # row 2, column 3, rate 1 first: sin 2, then cos 2 after 8 sines, then sin 3 and cos 3
    expected = [math.sin(2), math.cos(2), math.sin(3), math.cos(3)]
    assert place[2 * 6 + 3, [0, 8, 16, 24]].tolist() == pytest.approx(expected)
    assert torch.cdist(place, place).fill_diagonal_(9).min() > 0.1


def test_three_of_four_patches_are_hidden_each_as_often(generator):
    mae = Mae(image_spec((3, 64, 64)), SMALL)
    assert (mae.tokens, mae.visible) == (64, 16)
    order = mae.shuffled(2000, generator)
    assert torch.equal(order.sort(1).values, torch.arange(64).expand(2000, -1))
    counts = torch.bincount(order[:, :16].flatten(), minlength=64)
    assert counts.min() > 400  # 500 on average, deviation 19
    assert counts.max() < 600


def test_the_loss_is_the_error_on_hidden_patches(generator):
    mae = Mae(SPEC, SMALL)
    image = images_of(4)
    order = mae.shuffled(4, torch.Generator().manual_seed(0))
    loss, metrics = mae.loss(Steps.frames({"image": image}), None, generator)
    with torch.no_grad():
        decoded, _ = mae.reconstruct(patchify(pixels(image)), order)
        error = (decoded - normalised(patchify(image / 255))).square()
        by_hand = [error[b, n] for b in range(4) for n in order[b, 6:].tolist()]  # 25 patches, 6 visible
    assert float(loss.detach()) == pytest.approx(float(torch.stack(by_hand).mean()), rel=1e-4)
    # targets of noise have mean square 1 but for the 0.0001
    assert float(metrics["accuracy"]) == pytest.approx(max(0.0, 1 - float(loss.detach())), abs=0.01)


def test_no_hidden_pixel_reaches_the_networks():
    mae = Mae(SPEC, SMALL)
    order = mae.shuffled(2, torch.Generator().manual_seed(0))
    patches = patchify(pixels(images_of(2))).requires_grad_()
    decoded, seen = mae.reconstruct(patches, order)
    assert seen.shape == (2, 6, 32)
    (gradient,) = torch.autograd.grad(decoded[0].sum(), patches)
    reached = gradient[0].abs().sum(1) > 0
    assert torch.equal(reached, torch.zeros(25, dtype=torch.bool).index_fill(0, order[0, :6], True))
    assert not gradient[1].any()  # nor another frame's


def test_visible_patches_keep_their_positions():
    mae = Mae(SPEC, SMALL)
    mae.encoder.blocks = torch.nn.Sequential()  # no token reads another
    patches = patchify(pixels(images_of(2)))
    index = torch.tensor([[3, 20, 7], [24, 0, 1]])
    some = mae.encoder(patches.take_along_dim(index[:, :, None], 1), index)
    torch.testing.assert_close(some, mae.encoder(patches).take_along_dim(index[:, :, None], 1))


def test_tokens_go_back_to_their_places():
    mae = Mae(SPEC, SMALL)
    inputs = []
    mae.decoder.register_forward_pre_hook(lambda decoder, args: inputs.append(args[0]))
    order = mae.shuffled(2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        mae.mask_token.fill_(7)
        _, seen = mae.reconstruct(patchify(pixels(images_of(2))), order)
    for frame in range(2):
        for rank, patch in enumerate(order[frame].tolist()):
            expected = seen[frame, rank] if rank < 6 else torch.full((32,), 7.0)
            assert torch.equal(inputs[0][frame, patch], expected)


def test_features_are_the_mean_token_of_the_whole_frame(generator):
    mae = Mae(SPEC, SMALL)
    image = images_of(3)
    features, _ = mae.encode({"image": image})
    everything = torch.arange(25).expand(3, -1)
    torch.testing.assert_close(features, mae.encoder(patchify(pixels(image)), everything).mean(1))
    with torch.no_grad():
        for parameter in (*mae.decoder.parameters(), mae.mask_token, *mae.patches.parameters()):
            parameter.zero_()
    assert torch.equal(mae.encode({"image": image})[0], features)
    loss, metrics = mae.loss(Steps.frames({"image": image}), None, generator)
    assert float(loss.detach()) == pytest.approx(1, abs=0.01)  # the mean patch, of noise
    assert float(metrics["accuracy"]) == pytest.approx(0, abs=1e-5)


def test_learning_fills_a_bar_in_and_finds_it():
    images, column = bars(240, squares=0)
    mae = Mae(image_spec((1, 40, 40)), MaeConfig(width=64, blocks=2, batch=24, learning_rate=3e-3))
    before = mae.encode({"image": images})[0].detach()
    trainer = Pretrainer(mae, {"image": images[:180]}, 24 * 250, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(24 * 25), trainer.run(24 * 225)
    assert late["pretrain/mae/loss"] < 0.85 * early["pretrain/mae/loss"]
    after = mae.encode({"image": images})[0].detach()
    scores = pretext_scores(mae, {"image": images[180:]}, torch.Generator().manual_seed(0))
    assert scores["pretext/frames"] > 0.2
    assert scores["pretext/noise"] < 0.02
    assert read_out(strongest(after, 3), column) > read_out(strongest(before, 3), column) + 0.5
    assert set(mae.pictures({"image": images[:3]}, torch.Generator())) == {"reconstructions"}


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="width=40: give a multiple of 16"):
        MaeConfig(width=40)
    with pytest.raises(ValueError, match="hidden_fraction=1: give a fraction between 0 and 1"):
        MaeConfig(hidden_fraction=1)
