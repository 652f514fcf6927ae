"""DARLA: occlusion, the two stages, what each one's gradient reaches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from envs.steps import Steps
from representations.darla import Darla, DarlaConfig, occlude
from representations.nets.images import pixels
from representations.pretrain import Pretrainer
from representations.vae import bernoulli_loss
from tests.representations.toys import image_spec, moving_square, read_out

SMALL = DarlaConfig(latents=6, bottleneck=16, learning_rate=1e-3)


def noise(channels: int = 3, batch: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 64, 64, channels), dtype=torch.uint8).permute(0, 3, 1, 2)


@pytest.mark.parametrize("shade", [0, 9, 255])
def test_occlusion_is_one_rectangle_of_one_colour_in_every_frame(generator, shade):
    image = torch.full((200, 3, 40, 50), shade, dtype=torch.uint8)
    occluded = occlude(image, generator)
    mask = (occluded != image).any(1)  # all three channels have the frame's own shade once in 16 million
    colours = occluded.permute(0, 2, 3, 1)
    for frame, hidden in zip(colours, mask, strict=True):
        assert len(frame[hidden].unique(dim=0)) <= 1
    boxes = [frame[hidden][0].tolist() for frame, hidden in zip(colours, mask, strict=True) if hidden.any()]
    assert len(boxes) > 180  # corners on one line hide nothing: 1 / 41 + 1 / 51 of 200 frames, 9
    assert np.mean(boxes) == pytest.approx(127.5, abs=12)  # uniform: 74 / sqrt(580) is 3
    rows, columns = mask.any(2), mask.any(1)
    assert torch.equal(mask, rows[:, :, None] & columns[:, None, :])  # the product of its rows and columns
    for line in (rows, columns):  # and both are one stretch: at most one step up and one down
        assert int(line.long().diff(dim=1).abs().sum(1).max()) <= 2
    # two uniform corners lie a third of the side apart on average
    assert float(rows.float().mean()) == pytest.approx(1 / 3, abs=0.06)
    assert float(columns.float().mean()) == pytest.approx(1 / 3, abs=0.06)
    assert len({int(m.sum()) for m in mask}) > 50  # another one in each frame
    assert int((image == shade).sum()) == image.numel()
    assert torch.equal(
        occlude(image, torch.Generator().manual_seed(3)), occlude(image, torch.Generator().manual_seed(3))
    )


def test_the_denoiser_sees_occluded_frames_and_shall_paint_whole_ones(generator):
    darla, image = Darla(image_spec((3, 64, 64)), SMALL), noise(batch=5)
    seen = []
    darla.denoiser.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    loss, _ = darla.denoising_loss(image, generator)
    assert torch.equal(seen[0], occlude(image, torch.Generator().manual_seed(0)))
    features = darla.denoiser(seen[0], learn=True)
    expected = bernoulli_loss(darla.denoiser.decoder(features), pixels(image))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_the_denoiser_alone_is_a_control(generator):
    darla = Darla(image_spec((3, 64, 64)), DarlaConfig(latents=6, bottleneck=16, features="denoiser"))
    image = noise(batch=5)
    features = darla.eval().encode({"image": image})[0]
    assert torch.equal(features, darla.denoiser(image))
    assert features.shape[1] == darla.features_dim == 16
    (stage,) = darla.phases()
    assert stage.name == "denoiser"
    darla.loss(Steps.frames({"image": image}), None, generator)[0].backward()
    assert all(gradients(darla.denoiser))
    assert not any(gradients(darla.encoder))
    assert set(darla.pictures({"image": image}, generator)) == {"reconstructions"}
    with pytest.raises(ValueError, match="features='j': known are vae, denoiser"):
        DarlaConfig(features="j")


@pytest.mark.parametrize(("share", "steps"), [(1 / 3, 10_000), (0.2, 6_000)])
def test_the_denoiser_alone_is_trained_as_long_as_before_stage_2(generator, share, steps):
    both = DarlaConfig(latents=6, bottleneck=16, batch=4, denoiser_share=share)
    alone = replace(both, features="denoiser")
    assert Darla.needed_samples(both) == 30_000 * 4
    assert Darla.needed_samples(alone) == steps * 4
    frames = {"image": noise(batch=5)}
    # a thousandth of what each needs: 30 steps of which 10 or 6 are the denoiser's, and as many alone
    counts = []
    for config in (both, alone):
        pretrainer = Pretrainer(
            Darla(image_spec((3, 64, 64)), config), frames, Darla.needed_samples(config) // 1000, generator=generator
        )
        counts.append(pretrainer.state_dict()["steps"])
    assert counts == [[steps // 1000, 30 - steps // 1000], [steps // 1000]]


class Sums(nn.Module):
    """J with features (scale * sum of the frame, 1)."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, image):
        x = image.float() / 255 if image.dtype == torch.uint8 else image
        return torch.stack([self.scale * x.flatten(1).sum(1), torch.ones(len(x))], 1)


def test_the_feature_loss_by_hand_and_its_gradient_through_j():
    # 36x36 grey. Logits 0: x_hat = 0.5 everywhere, J = 2 * 648 = 1296. Frames: black (J 0), white (J 2592): both are
    # 1296^2 away. d/d logit of the mean over B=2: 2 (1296 - J(x)) * 2 * sigmoid'(0) / 2 = -+ 1296 * 0.5
    darla = Darla(image_spec((1, 36, 36)), SMALL)
    darla.denoiser = Sums()
    image = torch.stack([torch.zeros(1, 36, 36), torch.full((1, 36, 36), 255)]).to(torch.uint8)
    logits = torch.zeros(2, 1, 36, 36, requires_grad=True)
    distance = darla.distance(logits, image)
    assert float(distance.detach()) == pytest.approx(1296.0**2)
    distance.backward()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[:, 0, 0, 0], torch.tensor([648.0, -648.0]))
    assert darla.denoiser.scale.grad is None


def test_the_loss_is_0_when_the_decoder_returns_the_frame():
    darla = Darla(image_spec((3, 64, 64)), SMALL)
    image = noise() // 255 * 255  # black and white only: logits of -+50 give them to the last bit of float32
    logits = image.float() / 255 * 100 - 50
    assert float(darla.distance(logits, image)) == pytest.approx(0, abs=1e-6)
    assert float(darla.distance(-logits, image)) > 0


def test_beta_weighs_the_kl():
    assert float(Darla(image_spec((3, 64, 64)), DarlaConfig(beta=3.0)).penalty(torch.tensor(2.0))) == 6.0


def gradients(module: nn.Module) -> list[bool]:
    return [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in module.parameters()]


def test_each_stage_moves_its_own_parameters_and_no_others(generator):
    darla = Darla(image_spec((3, 64, 64)), SMALL)
    steps = Steps.frames({"image": noise()})
    denoise, vae = darla.phases()
    assert [phase.name for phase in (denoise, vae)] == ["denoiser", "vae"]
    assert denoise.share + vae.share == pytest.approx(1)
    vae.loss(steps, generator)[0].backward()
    assert not any(gradients(darla.denoiser))
    assert all(gradients(darla.encoder) + gradients(darla.decoder))
    darla.zero_grad()
    denoise.loss(steps, generator)[0].backward()
    assert all(gradients(darla.denoiser))  # but the dense bias, which standardising cancels, is checked below
    assert not any(gradients(darla.encoder) + gradients(darla.decoder))
    named = {id(p) for phase in (denoise, vae) for p in phase.parameters}
    assert named == {id(p) for p in darla.parameters()}
    assert len(denoise.parameters) + len(vae.parameters) == len(named)


def test_stage_two_leaves_j_unchanged_even_in_train_mode(generator):
    darla = Darla(image_spec((3, 64, 64)), replace(SMALL, batch=5, denoiser_share=0.4)).train()
    trainer = Pretrainer(darla, {"image": noise(batch=20)}, 10 * 5, generator=generator)
    start = darla.denoiser.standardise.running_var.clone()
    trainer.run(4 * 5)  # a share of 0.4: 4 steps of stage 1
    assert not torch.equal(darla.denoiser.standardise.running_var, start)
    before = {key: value.clone() for key, value in darla.denoiser.state_dict().items()}
    encoder = darla.encoder.mean.weight.clone()
    metrics = trainer.run(6 * 5)
    assert set(metrics) == {
        f"pretrain/vae/{m}" for m in ("loss", "reconstruction", "kl", "active_latents", "feature_std")
    }
    assert all(torch.equal(value, before[key]) for key, value in darla.denoiser.state_dict().items())
    assert not torch.equal(darla.encoder.mean.weight, encoder)
    assert trainer.done
    assert not darla.training


def test_j_is_standardised_and_does_not_depend_on_the_batch():
    darla = Darla(image_spec((3, 64, 64)), SMALL)
    image = noise(batch=30)
    learning = darla.denoiser(image, learn=True)
    torch.testing.assert_close(learning.mean(0), torch.zeros(16), atol=1e-4, rtol=0)
    torch.testing.assert_close(learning.var(0, correction=0), torch.ones(16), atol=1e-2, rtol=0)
    # running statistics moved by 0.01 only; they serve row by row, so a frame's J does not depend on its batch
    torch.testing.assert_close(darla.features(image)[:1], darla.features(image[:1]), atol=1e-4, rtol=1e-4)


def test_online_both_losses_are_added(generator):
    darla = Darla(image_spec((3, 64, 64)), SMALL)
    steps = Steps.frames({"image": noise()})
    loss, metrics = darla.loss(steps, lambda f: (f, f), generator)
    total = metrics["denoising"] + metrics["reconstruction"] + darla.config.beta * metrics["kl"]
    assert float(loss.detach()) == pytest.approx(float(total), rel=1e-5)


def test_both_stages_learn_and_mu_encodes_the_square_s_position():
    images, positions = moving_square()
    darla = Darla(image_spec((1, 64, 64)), DarlaConfig(latents=6, bottleneck=16, learning_rate=1e-3, beta=0.5))
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        untrained = read_out(darla.encode({"image": images})[0], positions)
    trainer = Pretrainer(darla, {"image": images}, 400 * 64, generator=draws, precision="bfloat16")
    first = trainer.run(20 * 64)
    trainer.run(140 * 64)
    start = trainer.run(20 * 64)
    while not trainer.done:
        last = trainer.run(20 * 64)
    assert first["pretrain/denoiser/feature_std"] > 0
    assert last["pretrain/vae/reconstruction"] < 0.5 * start["pretrain/vae/reconstruction"]
    with torch.no_grad():
        learnt = read_out(darla.encode({"image": images})[0], positions)
    assert learnt > 0.8
    assert learnt > untrained
    pictures = darla.pictures({"image": images[:4]}, draws)
    assert pictures["reconstructions"].shape == (3 * 64, 4 * 64, 3)  # frames, decoded, decoded and denoised
    assert pictures["traversals"].shape == (6 * 64, 7 * 64, 3)


def test_save_and_load_give_equal_features_and_equal_j():
    one, other = Darla(image_spec((3, 64, 64)), SMALL), Darla(image_spec((3, 64, 64)), SMALL)
    image = noise()
    one.denoiser(image, learn=True)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.encode({"image": image})[0], other.encode({"image": image})[0])
    assert torch.equal(one.features(image), other.features(image))


def test_the_denoiser_sees_the_occluded_frame_and_is_scored_on_the_whole():
    darla = Darla(image_spec((3, 64, 64)), SMALL)
    with torch.no_grad():
        for parameter in darla.denoiser.decoder.parameters():
            parameter.mul_(3)  # a fresh decoder says nearly the same whatever the features
    image = noise()
    loss, _ = darla.denoising_loss(image, torch.Generator().manual_seed(5))
    occluded = occlude(image, torch.Generator().manual_seed(5))
    x = image.float() / 255

    def by_hand(shown: torch.Tensor) -> float:
        logits = darla.denoiser.decoder(darla.denoiser(shown, learn=True))
        likelihood = x * nn.functional.logsigmoid(logits) + (1 - x) * nn.functional.logsigmoid(-logits)
        return -float(likelihood.flatten(1).sum(1).mean().detach())

    assert float(loss.detach()) == pytest.approx(by_hand(occluded), rel=1e-5)
    assert by_hand(image) != pytest.approx(by_hand(occluded), rel=1e-3)
