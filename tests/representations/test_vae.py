"""VAE, beta-VAE and controlled capacity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from envs.registry import UsageError
from envs.steps import Steps
from representations.nets.images import tile
from representations.pretrain import Pretrainer
from representations.vae import BetaVae, BetaVaeConfig, LatentConfig, Vae, bernoulli_loss, draw, kl_to_prior
from tests.representations.toys import Fixed, image_spec, moving_square, read_out


def test_kl_by_hand():
    assert kl_to_prior(torch.zeros(3), torch.zeros(3)).tolist() == [0, 0, 0]  # q = N(0, 1)
    # 0.5 (mu^2 + s^2 - log s^2 - 1): mu 2, s 1 -> 2; mu 0, s^2 e -> 0.5 (e - 2)
    exact = kl_to_prior(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0]))
    assert exact.tolist() == pytest.approx([2.0, 0.5 * (math.e - 2)])


def test_kl_against_monte_carlo(generator):
    # KL = E_q[log q(z) - log p(z)]; 1e5 samples, antithetic, of a latent with mu 1.5 and s 0.3
    mean, log_variance = torch.tensor(1.5).double(), torch.tensor(0.3).double().square().log()
    z = draw(mean.expand(100_000), log_variance.expand(100_000), generator)
    q = torch.distributions.Normal(1.5, 0.3).log_prob(z)
    p = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    assert float((q - p).mean()) == pytest.approx(float(kl_to_prior(mean, log_variance)), rel=0.01)


def test_samples_have_the_mean_and_std_of_the_posterior(generator):
    mean, log_variance = torch.full((50_000,), 2.0), torch.full((50_000,), math.log(9.0))
    z = draw(mean, log_variance, generator)
    assert float(z.mean()) == pytest.approx(2.0, abs=0.05)
    assert float(z.std()) == pytest.approx(3.0, rel=0.02)
    assert torch.equal(z, draw(mean, log_variance, torch.Generator().manual_seed(0)))


def test_the_likelihood_is_a_sum_over_pixels_and_a_mean_over_frames():
    # B=2, C=1, 1x3 pixels; logits 0 -> log 2 each; 3 log 2 per frame. Frame 2: logits log 3 (p = 0.75), x = 1, 0, 0.5:
    # -log .75 - log .25 - .5 (log .75 + log .25)
    logits = torch.tensor([[0.0, 0, 0], [math.log(3)] * 3]).view(2, 1, 1, 3)
    x = torch.tensor([[1.0, 0, 0.3], [1, 0, 0.5]]).view(2, 1, 1, 3)
    first = 3 * math.log(2)
    second = -1.5 * (math.log(0.75) + math.log(0.25))
    assert float(bernoulli_loss(logits, x)) == pytest.approx((first + second) / 2)


def hand_made(cls, config=None):
    """2 latents in B=3 frames of 1x36x36 black pixels; decoder logits 0, KL of frame b: mean^2 / 2 of one latent."""
    model = cls(image_spec((1, 36, 36)), config)
    mean = torch.tensor([[1.0, 0], [0, 2], [3, 0]])  # KL 0.5, 2, 4.5: mean 7/3
    model.encoder = Fixed((mean, torch.zeros(3, 2)))
    model.decoder = Fixed(torch.zeros(3, 1, 36, 36))  # 1296 log 2 nats
    return model, Steps.frames({"image": torch.zeros(3, 1, 36, 36, dtype=torch.uint8)})


@pytest.mark.parametrize(("cls", "config", "weight"), [(Vae, None, 1.0), (BetaVae, BetaVaeConfig(beta=6.0), 6.0)])
def test_the_loss_is_the_arithmetic_of_its_formula(cls, config, weight, generator):
    model, steps = hand_made(cls, config)
    loss, metrics = model.loss(steps, lambda f: (f, f), generator)
    assert float(loss) == pytest.approx(1296 * math.log(2) + weight * 7 / 3)
    assert float(metrics["kl"]) == pytest.approx(7 / 3)
    assert float(metrics["reconstruction"]) == pytest.approx(1296 * math.log(2))
    assert float(metrics["active_latents"]) == 2  # means 5/3 and 2/3 nats
    # latent 1: 1, 0, 3 -> std sqrt(14/9); latent 2: 0, 2, 0 -> sqrt(8/9)
    assert float(metrics["feature_std"]) == pytest.approx((math.sqrt(14 / 9) + math.sqrt(8 / 9)) / 2)


def test_the_capacity_rises_and_holds_the_kl_on_both_sides(generator):
    config = BetaVaeConfig(capacity=8.0, gamma=10.0, capacity_share=0.4)
    model, steps = hand_made(BetaVae, config)
    # |KL - C| with KL = 7/3 and C = 0, 2, 4, 6, 8, 8: four tenths of training lead to 8
    for tenth, capacity in enumerate((0, 2, 4, 6, 8, 8)):
        model.set_progress(tenth / 10)
        loss, _ = model.loss(steps, lambda f: (f, f), generator)
        assert float(loss) == pytest.approx(1296 * math.log(2) + 10 * abs(7 / 3 - capacity))


def test_autocast_changes_the_loss_by_rounding_only(generator):
    vae = Vae(image_spec((3, 64, 64)))
    steps = Steps.frames({"image": torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)})
    exact = vae.loss(steps, lambda f: (f, f), torch.Generator().manual_seed(1))[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = vae.loss(steps, lambda f: (f, f), torch.Generator().manual_seed(1))[0]
    assert rounded.dtype == torch.float32
    assert float(rounded.detach()) == pytest.approx(float(exact.detach()), rel=1e-3)


def test_pictures_and_tiles(generator):
    vae = Vae(image_spec((1, 64, 64)), LatentConfig(latents=5))
    images, _ = moving_square(positions=3)
    pictures = vae.pictures({"image": images[:4]}, generator)
    assert pictures["reconstructions"].shape == (2 * 64, 4 * 64, 3)
    assert pictures["traversals"].shape == (5 * 64, 7 * 64, 3)
    first = images[0, 0].numpy()
    assert all(np.array_equal(pictures["reconstructions"][:64, :64, c], first) for c in range(3))
    # Rows go down, frames go right: 2 rows of 3 frames of 1x1, grey levels 0, .2, .4 over .6, .8, 1
    levels = (torch.arange(6) / 5).view(2, 3, 1, 1, 1)
    assert tile(list(levels), 1)[:, :, 0].tolist() == [[0, 51, 102], [153, 204, 255]]


def test_unknown_trunk_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown trunk 'vgg'"):
        Vae(image_spec((3, 64, 64)), LatentConfig(trunk="vgg"))


def fit(steps: int, seed: int = 0, **settings) -> tuple[BetaVae, torch.Tensor, torch.Tensor]:
    """A beta-VAE of 6 latents fitted to the moving square, batch 64; the images and their positions."""
    images, positions = moving_square(size=40, side=10)
    torch.manual_seed(seed)
    model = BetaVae(image_spec((1, 40, 40)), BetaVaeConfig(latents=6, learning_rate=1e-3, **settings))
    draws = torch.Generator().manual_seed(seed)
    trainer = Pretrainer(model, {"image": images}, steps * 64, generator=draws, precision="bfloat16")
    trainer.run(trainer.total)
    return model, images, positions


def measure(model: BetaVae, images: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean KL of each latent (6,) and |correlation| of each latent with each position (6, 2)."""
    with torch.no_grad():
        mean, log_variance = model.encoder(images)
    correlations = torch.corrcoef(torch.cat([mean, positions], 1).T)[:6, 6:].abs()
    return kl_to_prior(mean, log_variance).mean(0), correlations


def test_high_beta_keeps_one_latent_for_each_position():
    # Moving the square by one place (2 pixels) is worth tens of nats, so the beta that leaves 2 latents is high. Seeds
    # matter (Locatello et al. 2019): of 0 to 2, seed 1 keeps 3 latents that mix the positions.
    model, images, positions = fit(450, seed=2, beta=50.0)
    divergences, correlations = measure(model, images, positions)
    active = divergences > 0.1
    assert int(active.sum()) == 2
    by_position = correlations[active].amax(0)
    assert float(by_position.min()) > 0.9
    assert correlations[active].argmax(0).tolist() in ([0, 1], [1, 0])  # not both in one latent
    torch.manual_seed(1)
    untrained = BetaVae(image_spec((1, 40, 40)), BetaVaeConfig(latents=6))
    with torch.no_grad():
        learnt, random = model.encode({"image": images})[0], untrained.encode({"image": images})[0]
    assert read_out(learnt[:, active], positions) > 0.8
    assert read_out(learnt, positions) > read_out(random, positions) + 0.1


def test_50_times_that_beta_shuts_all_latents():
    divergences, _ = measure(*fit(100, beta=2500.0))
    assert float(divergences.max()) < 0.1


def test_kl_tracks_the_capacity():
    model, images, positions = fit(400, capacity=6.0, gamma=1000.0, capacity_share=0.25)
    divergences, _ = measure(model, images, positions)
    assert float(divergences.sum()) == pytest.approx(6.0, rel=0.1)


@pytest.mark.slow
def test_a_higher_beta_leaves_two_latents_for_most_seeds():
    counts = []
    for seed in (0, 1, 2):
        divergences, _ = measure(*fit(600, seed, beta=80.0))
        counts.append(int((divergences > 0.1).sum()))
    assert counts.count(2) >= 2


def test_encode_gives_the_mean():
    vae = Vae(image_spec((3, 64, 64)), LatentConfig(latents=5))
    image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    features, state = vae.encode({"image": image})
    assert torch.equal(features, vae.encoder.mean(vae.encoder.trunk(image)))
    assert state == ()
