"""PixelCNN: a density whose every pixel depends on the pixels before it alone."""

from __future__ import annotations

import pytest
import torch

from intrinsic.models.pixel_cnn import PixelCnn, grey_levels, negative_log_likelihood


def test_a_logit_depends_on_the_pixels_before_it_alone():
    torch.manual_seed(0)
    net, side = PixelCnn(8, 6, layers=3).double(), 5
    image = torch.randint(8, (1, side, side))
    logits = net(image).detach()[0]
    moved = torch.zeros(side**2, side**2, dtype=torch.bool)  # (pixel changed, logits moved)
    for i in range(side**2):
        other = image.clone()
        other[0, i // side, i % side] = (image[0, i // side, i % side] + 4) % 8
        moved[i] = (net(other).detach()[0] != logits).any(0).flatten()
    assert not moved.tril().any()
    # No blind spot: the pixel before and the three of the row above enter
    centre = 12
    assert moved[[6, 7, 8, 11], centre].all()


def test_likelihoods_of_all_images_sum_to_1():
    torch.manual_seed(0)
    net = PixelCnn(2, 4, layers=2).double()
    every = torch.tensor([[(i >> bit) & 1 for bit in range(6)] for i in range(64)]).view(64, 2, 3)
    likelihood = (-negative_log_likelihood(net(every), every)).exp()
    assert float(likelihood.sum().detach()) == pytest.approx(1, abs=1e-12)


def test_grey_levels_by_hand():
    # areas of 1 x 2 pixels of (3, 2, 4): means over channels and area 0, 32, 255, 128 -> 0, 1, 7, 4
    image = torch.tensor([[0, 0, 20, 44], [255, 255, 0, 255]], dtype=torch.uint8).expand(1, 3, 2, 4)
    assert grey_levels(image, 2, 8).tolist() == [[[0, 1], [7, 3]]]  # 127.5 * 8 / 256 = 3.98
