"""The frozen random network."""

from __future__ import annotations

import pytest
import torch

from representations.random import Random, RandomConfig
from tests.representations.toys import image_spec, moving_square, read_out


@pytest.mark.parametrize("trunk", ["nature", "impala"])
def test_features_have_mean_0_and_mean_square_1_in_every_frame(trunk):
    # LayerNorm without affine: whatever the brightness of a frame.
    random = Random(image_spec((3, 64, 64)), RandomConfig(trunk=trunk))
    image = torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8) // torch.tensor([1, 2, 5, 9, 20]).view(5, 1, 1, 1)
    features, _ = random.encode({"image": image.to(torch.uint8)})
    assert features.shape == (5, random.features_dim)
    torch.testing.assert_close(features.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.square().mean(1), torch.ones(5), atol=2e-2, rtol=0)


def test_random_features_encode_the_position_of_a_square():
    images, positions = moving_square()
    random = Random(image_spec((1, 64, 64)))
    with torch.no_grad():
        features, _ = random.encode({"image": images})
    assert read_out(features, positions) > 0.5
