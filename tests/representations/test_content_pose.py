"""DrNet: which frames are paired, the terms by hand, whom each term moves, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch

from envs.steps import Steps
from representations.content_pose import ContentPose, ContentPoseConfig, mean_of, two_steps
from representations.pretrain import Pretrainer
from tests.representations.toys import Fixed, few_label_read_out, image_spec, toy_windows

SPEC = image_spec((6, 40, 40), frames=2)
SMALL = ContentPoseConfig(content=4, pose=3, hidden=8, length=3)


def windows(first: torch.Tensor) -> Steps:
    """Windows of random frames."""
    draws = torch.Generator().manual_seed(1)
    image = torch.randint(0, 256, (*first.shape, 6, 40, 40), dtype=torch.uint8, generator=draws)
    return Steps.windows({"image": image}, first)


def reached(model: ContentPose) -> set[str]:
    """Parts of the model that have a gradient."""
    names = {
        name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    model.zero_grad()
    return names


def test_two_steps_differ_and_share_an_episode_where_they_say_so(generator):
    first = torch.zeros(4, 600, dtype=torch.bool)
    first[0] = True
    first[2, 300:] = True  # steps 0 1 and 2 3
    i, j, valid = two_steps(first, generator)
    assert valid[:300].all()
    assert torch.equal(valid[300:], (i[300:] < 2) == (j[300:] < 2))
    pairs = torch.stack([i, j], 1).unique(dim=0, return_counts=True)
    assert len(pairs[0]) == 12  # all that differ
    assert int(pairs[1].min()) > 25  # 50 each, standard deviation 7
    assert mean_of(torch.tensor([1.0, 2, 6]), torch.tensor([True, False, True])) == 3.5
    assert mean_of(torch.tensor([1.0]), torch.tensor([False])) == 0


def test_the_terms_of_the_scene_by_hand():
    model = ContentPose(SPEC, SMALL)
    # C's logit is the sum of both poses' first numbers
    model.scene = torch.nn.Linear(6, 1)
    with torch.no_grad():
        model.scene.weight.copy_(torch.tensor([[1.0, 0, 0, 1, 0, 0]]))
        model.scene.bias.zero_()
    half = math.log(3) / 2  # a logit of log 3 is a chance of 3/4
    p_i = torch.tensor([[half, 0, 0], [half, 0, 0], [9, 0, 0]])
    p_j = torch.tensor([[half, 0, 0], [-half, 0, 0], [-9, 0, 0]])
    valid = torch.tensor([True, True, False])
    with torch.no_grad():
        adversarial, discriminator, accuracy = model.scene_losses(p_i, p_j, valid)
    # same streams: chances 3/4 and 1/2; with the pose of the stream before: half - 9 (about 0) and half + half (3/4)
    same = (-math.log(3 / 4) - math.log(1 / 4), 2 * math.log(2))
    assert float(adversarial) == pytest.approx(sum(same) / 4, rel=1e-5)
    wrong = (math.log(1 + math.exp(half - 9)), math.log(4))
    assert float(discriminator) == pytest.approx((math.log(4 / 3) + wrong[0] + math.log(2) + wrong[1]) / 4, rel=1e-4)
    assert float(accuracy) == (1 + 0) / 2  # a logit of 0 says no


class Emphasis(torch.nn.Module):
    """Decoder whose answer depends much on every number of a code, and never saturates."""

    def forward(self, code: torch.Tensor) -> torch.Tensor:
        return (50 * code @ torch.arange(1.0, 8)).sin().view(-1, 1, 1, 1).expand(-1, 6, 40, 40)


def test_the_loss_is_the_sum_of_its_terms(generator):
    model = ContentPose(SPEC, ContentPoseConfig(content=4, pose=3, hidden=8, length=3, alpha=2.0, beta=5.0))
    model.decoder = Emphasis()
    first = torch.zeros(3, 4, dtype=torch.bool)
    first[1, 0] = True
    steps = windows(first)
    loss, metrics = model.loss(steps, None, torch.Generator().manual_seed(3))
    terms = (metrics[name] for name in ("reconstruction", "similarity", "adversarial", "discriminator"))
    expected = sum(weight * float(term) for weight, term in zip((1, 2, 5, 1), terms, strict=True))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    i, j, valid = two_steps(first, torch.Generator().manual_seed(3))
    stream = torch.arange(4)
    x_i, x_j = steps.obs["image"][i, stream], steps.obs["image"][j, stream]
    with torch.no_grad():
        c_i, c_j = model.content_of(x_i), model.content_of(x_j)
        decoded = torch.sigmoid(model.decoder(torch.cat([c_i, model.pose_of(x_j)], 1)))
    errors = (decoded - x_j.float() / 255).square().mean((1, 2, 3))[valid].mean()
    torch.testing.assert_close(metrics["reconstruction"], errors, rtol=1e-4, atol=1e-6)
    distances = ((c_i - c_j) ** 2).mean(1)[valid].mean()
    torch.testing.assert_close(metrics["similarity"], distances, rtol=1e-4, atol=1e-6)


def test_each_term_moves_what_it_should(generator):
    model = ContentPose(SPEC, SMALL)
    image = windows(torch.zeros(2, 4, dtype=torch.bool)).obs["image"]
    valid = torch.ones(4, dtype=torch.bool)
    for term, parts in ((0, {"pose"}), (1, {"scene"})):
        model.scene_losses(model.pose_of(image[0]), model.pose_of(image[1]), valid)[term].backward()
        assert reached(model) == parts
    model.loss(windows(torch.zeros(3, 4, dtype=torch.bool)), None, generator)[0].backward()
    assert reached(model) == {"content", "pose", "decoder", "scene"}


def test_the_adversarial_term_and_the_discriminator_pull_apart():
    # a step along each gradient lowers its own term
    model = ContentPose(SPEC, SMALL)
    p = torch.randn(2, 6, 3).tanh().requires_grad_()
    valid = torch.ones(6, dtype=torch.bool)
    with torch.no_grad():
        for parameter in model.scene.parameters():
            parameter.mul_(4)
    before, discriminator, _ = model.scene_losses(*p, valid)
    (gradient,) = torch.autograd.grad(before, p)
    moved = p.detach() - 0.01 * gradient / gradient.norm()
    assert model.scene_losses(*moved, valid)[0] < before
    gradients = torch.autograd.grad(discriminator, list(model.scene.parameters()))
    with torch.no_grad():
        for parameter, step in zip(model.scene.parameters(), gradients, strict=True):
            parameter.sub_(0.01 * step)
    assert model.scene_losses(*p, valid)[1] < discriminator
    assert float(before.detach()) > math.log(2)  # its least


def test_features_are_content_of_length_one_then_pose():
    model = ContentPose(SPEC, SMALL)
    image = windows(torch.zeros(1, 5, dtype=torch.bool)).obs["image"][0]
    features, _ = model.encode({"image": image})
    assert features.shape == (5, 7)
    torch.testing.assert_close(features[:, :4].norm(dim=1), torch.ones(5))
    assert torch.equal(features[:, 4:], torch.tanh(model.pose(image)))


def test_what_moves_goes_into_the_pose():
    frames, _ = toy_windows("place", 256, 4)
    unseen, place = toy_windows("place", 512, 1, seed=1)
    model = ContentPose(image_spec((3, 40, 40), actions=5), ContentPoseConfig(length=4, windows=24))

    def score() -> float:
        with torch.no_grad():
            return few_label_read_out(model.encode(unseen)[0], place)

    before = score()
    trainer = Pretrainer(model, frames, 96 * 60, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(96 * 10), trainer.run(96 * 50)
    assert late["pretrain/content_pose/reconstruction"] < early["pretrain/content_pose/reconstruction"]
    assert score() > before


def test_pictures_exchange_content_and_pose(generator):
    model = ContentPose(image_spec((3, 40, 40)), SMALL)
    model.decoder = Fixed(torch.zeros(2, 3, 40, 40))
    image = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    picture = model.pictures({"image": image}, generator)["swaps"]
    assert picture.shape == (160, 80, 3)
    assert (picture[:40, 40:] == image[1].permute(1, 2, 0).numpy()).all()
    assert (picture[40:] == 128).all()
