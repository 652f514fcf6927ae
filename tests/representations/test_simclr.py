"""SimCLR: NT-Xent by hand, what it does not see, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch

from envs.registry import UsageError
from envs.steps import Steps
from representations.pretrain import Pretrainer
from representations.simclr import SimClr, SimClrConfig, nt_xent
from tests.representations.toys import image_spec, read_out, shapes_anywhere, strongest

SPEC = image_spec((6, 40, 40), frames=2)
SMALL = SimClrConfig(pad=4, projection=8)


def test_the_loss_by_hand():
    # frames a, b; views a1, b1, a2, b2 at 0, 90, 60, 90 degrees: cosines a1-a2 1/2, a1-b 0, b1-b2 1, a2-b sqrt(3)/2
    degrees = torch.tensor([0.0, 90, 60, 90]).deg2rad()
    g = torch.stack([degrees.cos(), degrees.sin()], 1) * torch.tensor([[1.0], [5], [2], [0.1]])  # lengths do not count
    t = 0.5
    own = math.exp(0.5 / t)
    other = math.exp(math.sqrt(3) / 2 / t)
    both = math.exp(1 / t)
    a1 = -math.log(own / (own + 2 * math.exp(0)))
    a2 = -math.log(own / (own + 2 * other))
    b = -math.log(both / (both + math.exp(0) + other))
    loss, accuracy = nt_xent(g, t)
    assert float(loss) == pytest.approx((a1 + a2 + 2 * b) / 4, rel=1e-5)
    assert float(accuracy) == 0.75  # a2 is nearer to b


def test_constant_features_cost_log_of_all_others():
    assert float(nt_xent(torch.ones(10, 3), 0.1)[0]) == pytest.approx(math.log(9))  # B = 5: 2 B - 1


def test_the_loss_is_invariant_to_a_rotation_of_the_embedding():
    g = torch.randn(8, 4)
    turn = torch.linalg.qr(torch.randn(4, 4))[0]
    assert float(nt_xent(g @ turn, 0.1)[0]) == pytest.approx(float(nt_xent(g, 0.1)[0]), rel=1e-4)


def test_features_do_not_depend_on_the_projection(generator):
    simclr = SimClr(SPEC, SMALL)
    image = torch.randint(0, 256, (5, 6, 40, 40), dtype=torch.uint8)
    simclr.loss(Steps.frames({"image": image}), None, generator)[0].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in simclr.parameters())
    features, _ = simclr.encode({"image": image})
    with torch.no_grad():
        for parameter in simclr.projection.parameters():
            parameter.zero_()
    assert torch.equal(features, simclr.encode({"image": image})[0])
    assert torch.equal(features, simclr.trunk(image))


def test_learning_lowers_the_loss_and_reads_shapes_better_than_before():
    images, shape = shapes_anywhere()
    torch.manual_seed(0)
    config = SimClrConfig(pad=12, projection=16, temperature=0.5, augmentations=("crop",), learning_rate=1e-3, batch=64)
    simclr = SimClr(image_spec((1, 40, 40)), config)
    before = simclr.encode({"image": images})[0].detach()
    draws = torch.Generator().manual_seed(0)
    trainer = Pretrainer(simclr, {"image": images}, 64 * 120, generator=draws, precision="bfloat16")
    early, late = trainer.run(64 * 10), trainer.run(64 * 110)
    assert late["pretrain/contrast/loss"] < early["pretrain/contrast/loss"] - 0.1
    after = simclr.encode({"image": images})[0].detach()
    assert read_out(strongest(after, 12), shape) > read_out(strongest(before, 12), shape) + 0.2


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(UsageError, match="unknown augmentation 'flip'"):
        SimClrConfig(augmentations=("crop", "flip"))
