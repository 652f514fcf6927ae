"""VICReg: the three terms by hand, what collapse costs, and what learning changes."""

from __future__ import annotations

import math

import pytest
import torch

from envs.registry import UsageError
from envs.steps import Steps
from representations.pretrain import Pretrainer
from representations.vicreg import VicReg, VicRegConfig, covariance_loss, nearest_is_partner, variance_loss
from tests.representations.toys import image_spec, read_out, shapes_anywhere, strongest

SPEC = image_spec((3, 40, 40))
SMALL = VicRegConfig(pad=4, expander=16)


def test_the_terms_by_hand(generator):
    # B=3, D=2. z: columns (0, 1, 2) and (0, 0, 3); variances 1 and 3, covariance ((-1)(-1) + 0 + 1 * 2) / 2 = 1.5
    z = torch.tensor([[0.0, 0], [1, 0], [2, 3]])
    assert float(variance_loss(z)) == 0  # deviations of 1.00005 and 1.7 are above 1
    assert float(covariance_loss(z)) == pytest.approx(2 * 1.5**2 / 2)
    # half of it: variances 1/4 and 3/4, covariance 3/8
    half = (2 - math.sqrt(0.2501) - math.sqrt(0.7501)) / 2
    assert float(variance_loss(z / 2)) == pytest.approx(half)
    assert float(covariance_loss(z / 2)) == pytest.approx((3 / 8) ** 2)
    # both together: differences (0, 0), (0.5, 0), (1, 1.5), squares 0.25 + 1 + 2.25 over 6 numbers
    loss, metrics = VicReg(SPEC, SMALL).terms(z, z / 2)
    assert float(metrics["invariance"]) == pytest.approx(3.5 / 6)
    assert float(metrics["variance"]) == pytest.approx(half)
    assert float(metrics["covariance"]) == pytest.approx(2.25 + 9 / 64)
    assert float(loss) == pytest.approx(25 * 3.5 / 6 + 25 * half + 2.25 + 9 / 64)


def test_a_constant_costs_the_whole_variance_term():
    z = torch.ones(7, 4)
    loss, _ = VicReg(SPEC, SMALL).terms(z, z)
    assert float(loss) == pytest.approx(25 * 2 * (1 - 0.01), rel=1e-5)


def test_independent_unit_embeddings_that_agree_cost_nothing():
    signs = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * 2  # variance 16 / 3, no covariance
    assert float(VicReg(SPEC, SMALL).terms(signs, signs)[0]) == pytest.approx(0, abs=1e-6)


def test_the_nearest_row_by_hand():
    one, other = torch.tensor([[0.0], [5]]), torch.tensor([[1.0], [2]])
    # 0 -> 1 right; 5 -> 2 right; 1 -> 0 and 2 at equal distance, the first wins: right; 2 -> 1 wrong
    assert float(nearest_is_partner(one, other)) == 0.75


def test_the_gradient_of_each_term_alone():
    z = torch.randn(6, 3, requires_grad=True)
    other = torch.randn(6, 3)
    only = VicReg(SPEC, VicRegConfig(expander=16, variance=0, covariance=0))
    (gradient,) = torch.autograd.grad(only.terms(z, other)[0], z)
    torch.testing.assert_close(gradient, 25 * 2 * (z - other).detach() / 18)  # 25 d/dz mean (z - z')^2
    only = VicReg(SPEC, VicRegConfig(expander=16, invariance=0, covariance=0))
    (gradient,) = torch.autograd.grad(only.terms(z / 10, other)[0], z)
    spread = z.detach() - z.detach().mean(0)
    assert bool(((gradient * spread).sum(0) < 0).all())  # a step against it spreads each dimension
    torch.testing.assert_close(gradient.sum(0), torch.zeros(3), atol=1e-4, rtol=0)  # and moves no mean


def test_features_do_not_depend_on_the_expander(generator):
    model = VicReg(SPEC, SMALL)
    image = torch.randint(0, 256, (5, 3, 40, 40), dtype=torch.uint8)
    features, _ = model.encode({"image": image})
    with torch.no_grad():
        for parameter in model.expander.parameters():
            parameter.zero_()
    assert torch.equal(features, model.encode({"image": image})[0])
    loss = model.loss(Steps.frames({"image": image}), None, generator)[0].detach()
    assert float(loss) == pytest.approx(49.5, rel=1e-5)


def test_learning_lowers_the_loss_and_reads_shapes_better_than_before():
    images, shape = shapes_anywhere()
    config = VicRegConfig(pad=12, expander=64, augmentations=("crop",), learning_rate=1e-3, batch=64)
    model = VicReg(image_spec((1, 40, 40)), config)
    before = model.encode({"image": images})[0].detach()
    trainer = Pretrainer(model, {"image": images}, 64 * 100, generator=torch.Generator().manual_seed(0))
    early, late = trainer.run(64 * 10), trainer.run(64 * 90)
    assert late["pretrain/vicreg/loss"] < early["pretrain/vicreg/loss"] - 2
    after = model.encode({"image": images})[0].detach()
    assert read_out(strongest(after, 12), shape) > read_out(strongest(before, 12), shape) + 0.1


def test_bad_settings_are_refused():
    with pytest.raises(UsageError, match="unknown augmentation 'flip'"):
        VicRegConfig(augmentations=("flip",))
    with pytest.raises(ValueError, match="batch=1: give a number of at least 2"):
        VicRegConfig(batch=1)
