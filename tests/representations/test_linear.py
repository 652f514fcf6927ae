"""PCA and ICA: reconstruction error against eigenvalues, whitening, and sources that are unmixed."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

from envs.registry import UsageError
from representations.linear import Ica, IcaConfig, LinearConfig, Pca, flat_pixels
from representations.pretrain import Pretrainer
from representations.scikit import some_rows
from tests.representations.toys import image_spec, moving_square, read_out, strongest


def solve(model, images, seed=0):
    trainer = Pretrainer(model, {"image": images}, len(images), generator=torch.Generator().manual_seed(seed))
    metrics = trainer.run(1)
    assert trainer.done
    return metrics


def smooth_images(n=60, shape=(1, 6, 7)):
    """Images of correlated pixels."""
    mixing = torch.randn(42, 42) / torch.arange(1, 43)
    x = torch.randn(n, 42) @ mixing * 25 + 128
    return x.round().clamp(0, 255).to(torch.uint8).view(n, *shape)


def test_the_reconstruction_error_is_the_sum_of_dropped_eigenvalues():
    images = smooth_images()
    pca = Pca(image_spec((1, 6, 7)), LinearConfig(components=5))
    metrics = solve(pca, images)
    x = flat_pixels(images).double().numpy()
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T, bias=True))[::-1]
    with torch.no_grad():
        decoded = pca.reconstruct(pca.encode({"image": images})[0]).flatten(1)
    error = (decoded.double() - torch.from_numpy(x)).square().sum(1).mean()
    assert float(error) == pytest.approx(eigenvalues[5:].sum(), rel=1e-4)
    explained = eigenvalues[:5].sum() / eigenvalues.sum()
    assert metrics == {"pretrain/pca/explained": pytest.approx(explained, rel=1e-4)}


def test_features_are_white_and_the_largest_variance_comes_first():
    images = smooth_images()
    pca = Pca(image_spec((1, 6, 7)), LinearConfig(components=4))
    solve(pca, images)
    with torch.no_grad():
        z = pca.encode({"image": images})[0]
        patterns = pca.patterns()
    torch.testing.assert_close(z.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(4), atol=1e-3, rtol=0)
    sizes = patterns.square().sum(0)  # l_k
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)


def test_two_pixels_by_hand():
    # pixels (a, b) of 4 frames: (0, 0), (200, 200), (0, 0), (200, 200) -> one direction (1, 1) / sqrt 2; centred by 100
    # each: l = 2 * 100^2 / 255^2, z = -1, 1, -1, 1 up to sign. A second direction has no variance: 0
    images = torch.tensor([[0, 0], [200, 200]] * 2, dtype=torch.uint8).view(4, 1, 1, 2)
    pca = Pca(image_spec((1, 1, 2)), LinearConfig(components=3))
    metrics = solve(pca, images)
    with torch.no_grad():
        z = pca.encode({"image": images})[0]
    torch.testing.assert_close(z[:, 0].abs(), torch.ones(4))
    assert (z[1::2, 0] == -z[::2, 0]).all()
    assert not z[:, 1:].any()
    assert metrics["pretrain/pca/explained"] == pytest.approx(1)


def mixed_sources(n=4000):
    """Two uniform sources (n, 2), and images (n, 1, 2, 4) whose pixels are their mixtures."""
    sources = torch.rand(n, 2) * 2 - 1
    mixing = torch.tensor([[60.0, 25], [-30, 55], [20, 20], [0, 50], [45, 0], [10, -30], [-35, 35], [5, 60]])
    return sources, (sources @ mixing.T + 127.5).round().to(torch.uint8).view(n, 1, 2, 4)


def test_ica_unmixes_two_uniform_sources_up_to_sign_and_order():
    sources, images = mixed_sources()
    ica = Ica(image_spec((1, 2, 4)), IcaConfig(components=2))
    metrics = solve(ica, images)
    with torch.no_grad():
        s = ica.encode({"image": images})[0]
    correlations = torch.corrcoef(torch.cat([s, sources], 1).T)[:2, 2:].abs()
    assert float(correlations.amax(1).min()) > 0.995
    assert sorted(correlations.argmax(1).tolist()) == [0, 1]
    torch.testing.assert_close(s.T @ s / len(s), torch.eye(2), atol=0.01, rtol=0)
    assert 1 < metrics["pretrain/ica/iterations"] < 100
    # PCA leaves them mixed: its first direction is the one of the largest variance
    pca = Pca(image_spec((1, 2, 4)), LinearConfig(components=2))
    solve(pca, images)
    with torch.no_grad():
        z = pca.encode({"image": images})[0]
    assert float(torch.corrcoef(torch.cat([z, sources], 1).T)[:2, 2:].abs().amax(1).min()) < 0.99


def test_ica_turns_pca_and_reconstructs_alike():
    images = smooth_images()
    pca, ica = (cls(image_spec((1, 6, 7)), cls.Config(components=4)) for cls in (Pca, Ica))
    solve(pca, images), solve(ica, images)
    with torch.no_grad():
        z, s = pca.encode({"image": images})[0], ica.encode({"image": images})[0]
        assert not torch.allclose(z.abs(), s.abs(), atol=0.1)
        torch.testing.assert_close(ica.reconstruct(s), pca.reconstruct(z), atol=1e-3, rtol=0)


@pytest.mark.parametrize("cls", [Pca, Ica])
def test_features_read_places_better_than_random_directions(cls):
    images, places = moving_square(size=40, side=10)
    model = cls(image_spec((1, 40, 40)), cls.Config(components=12))
    with torch.no_grad():
        before = model.encode({"image": images})[0]
        solve(model, images)
        after = model.encode({"image": images})[0]
    assert read_out(after, places) > read_out(strongest(before, 12), places) + 0.02
    assert read_out(after, places) > 0.9


def test_frames_that_are_all_alike_give_zero():
    images = torch.full((5, 1, 4, 4), 9, dtype=torch.uint8)
    for cls in (Pca, Ica):
        model = cls(image_spec((1, 4, 4)), cls.Config(components=3))
        solve(model, images)
        assert not model.encode({"image": images})[0].any()


def test_the_policy_s_gradient_reaches_the_directions():
    pca = Pca(image_spec((1, 6, 7)), LinearConfig(components=3))
    pca.encode({"image": smooth_images()})[0].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in pca.parameters())


def test_pictures_show_frames_reconstructions_and_patterns(generator):
    images, _ = moving_square(size=40, side=10)
    pca = Pca(image_spec((1, 40, 40)), LinearConfig(components=12))
    solve(pca, images)
    pictures = pca.pictures({"image": images[:3]}, generator)
    assert pictures["reconstructions"].shape == (80, 120, 3)
    assert np.array_equal(pictures["reconstructions"][:40, :40, 0], images[0, 0].numpy())
    assert pictures["patterns"].shape == (40, 8 * 40, 3)


def test_rows_are_drawn_without_replacement(generator):
    drawn = some_rows(torch.arange(20), 15, generator)
    assert len(drawn.unique()) == len(drawn) == 15
    assert torch.equal(some_rows(torch.arange(20), 20, generator), torch.arange(20))


def test_a_missing_library_is_named(monkeypatch):
    real = builtins.__import__
    monkeypatch.setattr("representations.scikit.import_module", lambda name: real("no_such_module_here"))
    with pytest.raises(UsageError, match=r"^PCA needs scikit-learn: pip install -e '\.\[classic\]'$"):
        solve(Pca(image_spec((1, 6, 7))), smooth_images())
