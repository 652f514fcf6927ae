"""VQ-VAE: nearest codes, the straight-through gradient, the codebook's averages and restarts, and what it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from envs.steps import Steps
from representations.pretrain import Pretrainer
from representations.vq_vae import Codebook, VqVae, VqVaeConfig, perplexity, straight_through
from tests.representations.toys import image_spec, moving_square, read_out, strongest

SMALL = VqVaeConfig(codes=16, latents=4, channels=8)


def codebook_of(*vectors: list[float]) -> Codebook:
    codebook = Codebook(len(vectors), len(vectors[0]))
    codebook.vectors.copy_(torch.tensor(vectors))
    return codebook


def test_the_nearest_code_is_taken():
    codebook, z = Codebook(50, 6), torch.randn(200, 6)
    assert torch.equal(codebook.nearest(z), torch.cdist(z, codebook.vectors).argmin(1))


def test_the_loss_by_hand(generator):
    # one place (8x8 image), z_e = (1, 0), codes (0, 0) and (3, 0): z_q = (0, 0), distance 1; logits 0: 64 log 2 nats
    model = VqVae(image_spec((1, 8, 8)), VqVaeConfig(codes=2, latents=2, channels=2, commitment=0.25))
    model.codebook = codebook_of([0.0, 0], [3.0, 0])
    for layer in (*model.encoder, *model.decoder):
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    with torch.no_grad():
        model.encoder[-1].bias[0] = 1
    steps = Steps.frames({"image": torch.zeros(3, 1, 8, 8, dtype=torch.uint8)})
    loss, metrics = model.loss(steps, None, generator)
    assert float(metrics["distance"]) == 1
    assert float(loss.detach()) == pytest.approx(64 * math.log(2) + 0.25)
    assert float(metrics["perplexity"]) == 1
    assert not model.encode({"image": steps.obs["image"][0]})[0].any()


def test_the_encoder_gets_the_gradient_of_the_decoders_input():
    z, code = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    given = straight_through(z, code)
    torch.testing.assert_close(given, code)
    weights = torch.randn(3, 4)
    (given * weights).sum().backward()
    assert torch.equal(z.grad, weights)
    assert code.grad is None


def test_the_commitment_pulls_the_encoder_and_not_the_codes(generator):
    model = VqVae(image_spec((1, 16, 16)), SMALL)
    vectors = model.codebook.vectors.clone()
    steps = Steps.frames({"image": torch.randint(0, 256, (5, 1, 16, 16), dtype=torch.uint8)})
    z = model.encoded(steps.obs["image"][0])
    code = model.quantised(z)[0]
    pull = torch.autograd.grad((z - code).square().sum(), z)[0]
    torch.testing.assert_close(pull, 2 * (z - code).detach())
    model.loss(steps, None, generator)
    model.after_step()  # the plain loss leaves nothing for it
    assert torch.equal(model.codebook.vectors, vectors)


def test_codes_follow_running_means_by_hand():
    codebook = codebook_of([0.0], [10.0])
    codebook.counts.copy_(torch.tensor([2.0, 4.0]))
    codebook.sums.copy_(torch.tensor([[0.0], [40.0]]))
    # rows 1, 2, 3 take code 0 and 8 takes code 1; m = 0.5: counts (2 + 3) / 2, (4 + 1) / 2; sums 6 / 2, (40 + 8) / 2
    codebook.update(torch.tensor([[1.0], [2.0], [3.0], [8.0]]), 0.5)
    assert codebook.counts.tolist() == [2.5, 2.5]
    assert codebook.vectors.flatten().tolist() == pytest.approx([3 / 2.5, 24 / 2.5])


def test_dead_codes_are_restarted_on_rows_of_the_batch():
    codebook = codebook_of([0.0], [100.0], [200.0])
    codebook.counts.copy_(torch.tensor([6.0, 0.1, 0.1]))
    codebook.sums.copy_(torch.tensor([[0.0], [10.0], [20.0]]))
    z = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
    codebook.update(z, 0.99)
    # a code has 2 rows on average; 0.099 is below a tenth of it. Two dead codes take rows 0 and 3
    assert codebook.vectors.flatten().tolist()[1:] == [1, 4]
    assert codebook.counts.tolist() == pytest.approx([0.99 * 6 + 0.01 * 6, 2, 2])


def test_the_first_update_takes_the_batch_alone():
    codebook = codebook_of([0.0], [100.0])
    codebook.update(torch.tensor([[1.0], [2.0], [3.0], [103.0]]), 0.99)
    assert codebook.counts.tolist() == [3, 1]
    assert codebook.vectors.flatten().tolist() == [2, 103]


def test_perplexity_counts_codes_in_use():
    assert float(perplexity(torch.tensor([3, 3, 3]), 8)) == pytest.approx(1)
    assert float(perplexity(torch.arange(8).repeat(5), 8)) == pytest.approx(8, rel=1e-5)
    # fractions 3/4 and 1/4
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(perplexity(torch.tensor([0, 0, 0, 1]), 8)) == pytest.approx(math.exp(entropy))


def test_eight_patches_take_about_eight_codes_and_come_back(generator):
    # 8x8 patches of a uniform grey; a place's code sees its neighbours, so all patches of a frame are alike
    levels = torch.arange(8).repeat(16) * 36
    images = levels.to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 8, 8)
    model = VqVae(image_spec((1, 8, 8)), VqVaeConfig(codes=16, latents=4, channels=16, learning_rate=3e-3))
    trainer = Pretrainer(model, {"image": images}, 64 * 300, generator=generator)
    trainer.run(64 * 280)
    metrics = trainer.run(64 * 20)
    assert 6 < metrics["pretrain/vq_vae/perplexity"] < 14
    with torch.no_grad():
        z = model.encoded(images[:8])
        decoded = model.decoded(model.quantised(z)[0]).sigmoid() * 255
    assert float((decoded - images[:8]).abs().mean()) < 12


def test_threads_share_a_batch_and_the_codebook_sees_all_of_it(two_cores):
    images = torch.randint(0, 256, (40, 1, 16, 16), dtype=torch.uint8)
    ends = []
    for threads in (1, 2):
        torch.manual_seed(0)
        model = VqVae(image_spec((1, 16, 16)), SMALL)
        draws = torch.Generator().manual_seed(0)
        trainer = Pretrainer(model, {"image": images}, 64, generator=draws, threads=threads)
        trainer.run(64)
        ends.append(model.codebook)
    torch.testing.assert_close(ends[0].vectors, ends[1].vectors, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(ends[0].counts, ends[1].counts)
    assert float(ends[0].counts.sum()) >= 64 * 4  # 2x2 places a frame, and restarted codes


def test_learning_lowers_the_loss_and_reads_places_better(generator):
    images, places = moving_square(size=40, side=10)
    model = VqVae(image_spec((1, 40, 40)), VqVaeConfig(codes=32, latents=4, channels=16, learning_rate=2e-3))
    before = strongest(model.encode({"image": images})[0].detach(), 12)
    trainer = Pretrainer(model, {"image": images}, 64 * 150, generator=generator, precision="bfloat16")
    early, late = trainer.run(64 * 10), trainer.run(64 * 140)
    assert late["pretrain/vq_vae/loss"] < 0.5 * early["pretrain/vq_vae/loss"]
    after = strongest(model.encode({"image": images})[0].detach(), 12)
    assert read_out(after, places) > read_out(before, places) + 0.03


def test_the_policys_head_reads_maps_of_several_frames():
    model = VqVae(image_spec((3, 40, 40)), SMALL)
    head = model.neck(2)
    assert (model.features_dim, head.width) == (4 * 5 * 5, 256)
    assert head(torch.randn(3, 200)).shape == (3, 256)


@pytest.mark.parametrize("shape", [(1, 36, 50), (3, 64, 64)])
def test_sides_that_are_no_multiple_of_eight_are_padded_and_cropped(shape, generator):
    model = VqVae(image_spec(shape), SMALL)
    image = torch.randint(0, 256, (2, *shape), dtype=torch.uint8)
    assert model.decoded(model.quantised(model.encoded(image))[0]).shape == (2, *shape)
    pictures = model.pictures({"image": image}, generator)
    assert pictures["reconstructions"].shape == (3 * shape[1], 2 * shape[2], 3)
    assert pictures["codebook"].shape == (16, 16 * 16, 3)


def test_a_momentum_above_one_is_refused():
    with pytest.raises(ValueError, match=r"momentum=1\.5: give a number of at most 1"):
        VqVaeConfig(momentum=1.5)
