"""Sparse coding: ISTA against least squares and by hand, the dictionary, and the encoder that predicts codes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from representations import sparse_coding
from representations.pretrain import Pretrainer
from representations.random import Random
from representations.sparse_coding import SparseCoding, SparseCodingConfig, curvature, ista, objective
from tests.representations.toys import image_spec, read_out, shapes_anywhere, strongest

SMALL = SparseCodingConfig(side=6, stride=2, atoms=24, patches=2000)


def solve(model, images, seed=0):
    trainer = Pretrainer(model, {"image": images}, len(images), generator=torch.Generator().manual_seed(seed))
    return trainer.run(1)


def test_one_step_by_hand():
    # atoms (1, 0) and (0.6, 0.8), z = (2, 1): D z = (2, 2); D D^T = (1, 0.6; 0.6, 1), L = 1.6
    # s = soft((2, 2) / 1.6, 0.4 / 1.6) = 1.25 - 0.25 = 1 each; again: D D^T s = 1.6 each: soft(1 + 0.4 / 1.6, 0.25) = 1
    atoms, z = torch.tensor([[1.0, 0], [0.6, 0.8]]), torch.tensor([[2.0, 1]])
    largest = curvature(atoms)
    assert float(largest) == pytest.approx(1.6)
    for steps in (1, 2, 50):
        torch.testing.assert_close(ista(z, atoms, 0.4, steps, largest), torch.ones(1, 2))
    # E = 0.5 |(2, 1) - (1.6, 0.8)|^2 + 0.4 * 2
    assert float(objective(z, torch.ones(1, 2), atoms, 0.4)) == pytest.approx(0.5 * (0.16 + 0.04) + 0.8)


def test_ista_never_raises_the_objective():
    atoms, z = F.normalize(torch.randn(20, 8), dim=1), 3 * torch.randn(7, 8)
    energies = [float(objective(z, ista(z, atoms, 0.7, steps, curvature(atoms)), atoms, 0.7)) for steps in range(1, 40)]
    assert all(after <= before + 1e-6 for before, after in pairwise(energies))
    assert energies[-1] < 0.98 * energies[0] < 0.98 * float(objective(z, torch.zeros(7, 20), atoms, 0.7))
    assert 0 < float((ista(z, atoms, 0.7, 39, curvature(atoms)) != 0).float().mean()) < 0.8


def test_without_penalty_it_is_least_squares():
    atoms, z = F.normalize(torch.randn(4, 9), dim=1), torch.randn(6, 9)
    exact = torch.linalg.lstsq(atoms.T, z.T).solution.T
    torch.testing.assert_close(ista(z, atoms, 0.0, 2000, curvature(atoms)), exact, atol=1e-4, rtol=0)


def test_codes_are_split_by_sign():
    model = SparseCoding(image_spec((1, 20, 20)), SMALL)
    z = 3 * torch.randn(5, model.patches.size)
    with torch.no_grad():
        signed, codes = model.signed_codes(z), model.codes(z)
    assert (codes >= 0).all()
    assert torch.equal(codes[:, :24] - codes[:, 24:], signed)
    assert bool((signed < 0).any())


@pytest.mark.parametrize("predict", [False, True])
def test_the_fit_reads_shapes_better_than_a_random_network(predict, monkeypatch):
    monkeypatch.setattr(sparse_coding, "PREDICTOR_STEPS", 300)
    images, shape = shapes_anywhere(each=150)
    model = SparseCoding(image_spec((1, 40, 40)), SparseCodingConfig(**{**vars(SMALL), "predict": predict}))
    with torch.no_grad():
        atoms = model.atoms.clone()
        z = model.patches.fit(images, 500, torch.Generator().manual_seed(3))
        worse = objective(z, ista(z, atoms, 1.0, 20, curvature(atoms)), atoms, 1.0)
        metrics = solve(model, images)
        after = model.encode({"image": images})[0]
    torch.testing.assert_close(model.atoms.norm(dim=1), torch.ones(24))
    assert metrics["pretrain/dictionary/objective"] < 0.8 * float(worse)
    assert metrics["pretrain/dictionary/active"] < 0.4
    assert model.largest == curvature(model.atoms.detach())
    network = Random(image_spec((1, 40, 40))).encode({"image": images})[0].detach()
    assert read_out(strongest(after, 192), shape) > read_out(strongest(network, 192), shape) + 0.1
    assert metrics.get("pretrain/dictionary/predicted", 1.0) > 0.5


def test_the_encoder_by_hand():
    model = SparseCoding(image_spec((1, 16, 16)), SparseCodingConfig(atoms=2, predict=True))
    z = torch.zeros(1, 36)
    z[0, :2] = torch.tensor([1.0, 2])
    with torch.no_grad():
        model.predictor.dense.weight.zero_()
        model.predictor.dense.weight[0, 0], model.predictor.dense.weight[1, 1] = 0.5, -1
        model.predictor.dense.bias.copy_(torch.tensor([0.0, 1]))
        model.predictor.gain.copy_(torch.tensor([3.0, 2]))
        code = model.codes(z)
    # 3 tanh(0.5), 2 tanh(-2 + 1)
    wanted = torch.tensor([3 * 0.46211716, 0, 0, 2 * 0.76159416])
    torch.testing.assert_close(code[0], wanted, atol=1e-6, rtol=0)


def test_the_step_size_follows_atoms_that_the_policy_trains():
    model = SparseCoding(image_spec((1, 16, 16)), SparseCodingConfig(atoms=6))
    image = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    model.encode({"image": image})[0].square().sum().backward()
    assert model.atoms.grad.abs().sum() > 0
    assert model.patches.matrix.grad.abs().sum() > 0
    with torch.no_grad():
        model.atoms.mul_(3)
    before = float(model.largest)
    model.after_step()
    assert float(model.largest) == pytest.approx(9 * before)


def test_atoms_are_shown(generator):
    model = SparseCoding(image_spec((3, 40, 40)), SparseCodingConfig(atoms=40))
    obs = {"image": torch.zeros(1, 3, 40, 40, dtype=torch.uint8)}
    assert model.pictures(obs, generator)["atoms"].shape == (2 * 8, 16 * 8, 3)
