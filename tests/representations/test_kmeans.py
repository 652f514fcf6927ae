"""K-means on patches: whitening, the triangle code by hand, Lloyd's steps, and shapes that it reads."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from envs.registry import UsageError
from representations.kmeans import KMeans, KMeansConfig, lloyd, squared_distances
from representations.nets.whitened_patches import WhitenedPatches
from representations.pretrain import Pretrainer
from representations.random import Random
from tests.representations.toys import image_spec, read_out, shapes_anywhere, strongest

SMALL = KMeansConfig(centres=24, patches=4000)


def solve(model, images, seed=0):
    trainer = Pretrainer(model, {"image": images}, len(images), generator=torch.Generator().manual_seed(seed))
    return trainer.run(1)


def test_patches_by_hand():
    # a 4x5 image, patches of 2 pixels every 2: the border is repeated to 4x6, so 2x3 places, row by row
    image = torch.arange(20, dtype=torch.uint8).view(1, 1, 4, 5) * 10
    patches = WhitenedPatches((1, 4, 5), 2, 2)
    assert (patches.grid, patches.size) == ((2, 3), 4)
    # third place of the first row: 40, 40, 90, 90; mean 65, variance 625: (-25, -25, 25, 25) / sqrt(635)
    y = patches.normalised(image)
    assert y.shape == (1, 6, 4)
    assert y[0, 2].tolist() == pytest.approx([value / math.sqrt(635) for value in (-25, -25, 25, 25)], rel=1e-4)
    assert not WhitenedPatches((1, 4, 4), 2, 2).normalised(torch.full((1, 1, 4, 4), 200, dtype=torch.uint8)).any()


def test_whitening_leaves_equal_variances_and_no_correlation(generator):
    images = torch.randint(0, 256, (40, 1, 12, 12), dtype=torch.uint8)
    images[:, :, :, 1::2] = images[:, :, :, ::2] // 2  # pixels that hang together
    patches = WhitenedPatches((1, 12, 12), 3, 1)
    z = patches.fit(images, 3000, generator)
    values, vectors = torch.linalg.eigh(((y := patches.normalised(images).flatten(0, 1)) - y.mean(0)).T.cov())
    covariance = z.T.cov()
    # an eigenvalue e becomes e / (e + 0.1)
    wanted = (vectors * (values / (values + 0.1))) @ vectors.T
    torch.testing.assert_close(covariance, wanted, atol=0.08, rtol=0)
    with torch.no_grad():
        assert torch.allclose(patches(images[:1])[0, 0], (y[0] - patches.mean) @ patches.matrix, atol=1e-5)


def test_flat_patches_take_no_part_in_the_fit(generator):
    images = torch.zeros(20, 1, 16, 16, dtype=torch.uint8)
    images[:, :, 4:6, 5:9] = 255
    z = WhitenedPatches((1, 16, 16), 4, 2).fit(images, 20 * 49, generator)
    # places begin at 0, 2, ..., 12: rows 2, 4 touch the bar, and columns 2 to 8: 8 of 49
    assert len(z) == 20 * 8
    assert len(WhitenedPatches((1, 16, 16), 4, 2).fit(images * 0, 49, generator)) == 20 * 49
    # one colour all over is flat, too
    red = torch.cat([images.clamp(min=200), images, images], 1)
    assert len(WhitenedPatches((3, 16, 16), 4, 2).fit(red, 20 * 49, generator)) == 20 * 8


def test_the_triangle_code_by_hand():
    model = KMeans(image_spec((1, 4, 4)), KMeansConfig(side=2, stride=2, centres=3))
    with torch.no_grad():
        model.centres.copy_(torch.tensor([[0.0, 0, 0, 0], [3, 4, 0, 0], [0, 0, 0, 10]]))
        # from (3, 0, 0, 0): distances 3, 4, sqrt(109); their mean less each, or 0
        mean = (3 + 4 + math.sqrt(109)) / 3
        code = model.codes(torch.tensor([[3.0, 0, 0, 0]]))
    assert code[0].tolist() == pytest.approx([mean - 3, mean - 4, 0], rel=1e-5)


def test_features_are_means_of_codes_by_quadrant():
    model = KMeans(image_spec((3, 20, 20)), KMeansConfig(centres=5)).eval()
    image = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    with torch.no_grad():
        features = model.encode({"image": image})[0]
        z = model.patches(image).flatten(0, 1)
        codes = model.codes(z).unflatten(0, (2, 8, 8))  # (20 - 6) / 2 + 1 places a side
    assert features.shape == (2, model.features_dim) == (2, 20)
    model.at_once = 1
    assert torch.allclose(model.encode({"image": image})[0], features, atol=1e-5)
    lower_left = codes[:, 4:, :4].mean((1, 2))
    torch.testing.assert_close(features.unflatten(1, (5, 4))[:, :, 2], lower_left)


def test_lloyds_steps_never_raise_the_objective():
    z, centres = torch.randn(300, 4), torch.randn(12, 4)
    objectives = []
    for _ in range(15):
        centres, objective, _ = lloyd(z, centres)
        objectives.append(float(objective))
    assert all(after <= before + 1e-6 for before, after in pairwise(objectives))
    assert objectives[-1] < 0.9 * objectives[0]
    exact = torch.cdist(z, centres).square()
    torch.testing.assert_close(squared_distances(z, centres), exact, atol=1e-4, rtol=1e-4)


def test_a_step_by_hand():
    # patches 0, 2, 10 on a line; centres 1, 3, 50: 0 and 2 are nearest to 1 (1 each), 10 to 3 (49), none to 50
    moved, objective, used = lloyd(torch.tensor([[0.0], [2], [10]]), torch.tensor([[1.0], [3], [50]]))
    assert moved.flatten().tolist() == [1, 10, 50]
    assert float(objective) == pytest.approx((1 + 1 + 49) / 3)
    assert float(used) == pytest.approx(2 / 3)


def test_the_fit_reads_shapes_better_than_a_random_network():
    images, shape = shapes_anywhere(each=150)
    model = KMeans(image_spec((1, 40, 40)), SMALL)
    with torch.no_grad():
        metrics = solve(model, images)
        after = model.encode({"image": images})[0]
        z = model.patches(images).flatten(0, 1)
        textured = z[model.patches.normalised(images).flatten(0, 1).var(1) > 1e-3]
    assert metrics["pretrain/kmeans/explained"] > 0.35
    nearest = squared_distances(textured, model.centres.detach()).amin(1)
    assert float(nearest.mean()) == pytest.approx(metrics["pretrain/kmeans/objective"], rel=0.1)
    assert metrics["pretrain/kmeans/used"] > 0.9
    network = Random(image_spec((1, 40, 40))).encode({"image": images})[0].detach()
    assert read_out(strongest(after, 96), shape) > read_out(strongest(network, 96), shape) + 0.1


def test_the_policy_s_gradient_reaches_all_and_is_finite():
    model = KMeans(image_spec((1, 16, 16)), KMeansConfig(centres=4))
    image = torch.randint(0, 256, (2, 1, 16, 16), dtype=torch.uint8)
    with torch.no_grad():
        model.centres[0] = model.patches(image)[0, 0]  # a patch on its centre
    model.encode({"image": image})[0].square().sum().backward()
    for parameter in model.parameters():
        assert bool(torch.isfinite(parameter.grad).all())
        assert parameter.grad.abs().sum() > 0


def test_fewer_patches_than_centres_and_small_images(generator):
    images = torch.zeros(3, 1, 12, 12, dtype=torch.uint8)
    images[:, :, 3:, 3:] = 90
    model = KMeans(image_spec((1, 12, 12)), KMeansConfig(centres=100, patches=10))
    solve(model, images)
    assert bool(torch.isfinite(model.encode({"image": images})[0]).all())
    assert model.pictures({"image": images}, generator)["centres"].shape == (6 * 8, 16 * 8, 3)
    with pytest.raises(UsageError, match="kmeans: patches of 7 pixels need images of twice that side"):
        KMeans(image_spec((1, 12, 12)), KMeansConfig(side=7))
