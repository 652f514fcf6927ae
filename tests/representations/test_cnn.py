"""The end-to-end baseline."""

from __future__ import annotations

import pytest
import torch

from envs.registry import UsageError
from envs.steps import Steps
from representations import REPRESENTATIONS
from representations.base import check_mode
from representations.cnn import Cnn, CnnConfig
from tests.representations.toys import image_spec


@pytest.mark.parametrize(("trunk", "width"), [("nature", 512), ("impala", 256)])
def test_features_are_the_rectified_dense_layer(trunk, width):
    cnn = Cnn(image_spec((3, 64, 64)), CnnConfig(trunk=trunk))
    image = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    features, state = cnn.encode({"image": image})
    assert features.shape == (3, cnn.features_dim) == (3, width)
    assert state == ()
    expected = torch.relu(cnn.trunk.dense(cnn.trunk.body(image.float() / 255).flatten(1)))
    torch.testing.assert_close(features, expected)
    assert (features >= 0).all()


def test_every_parameter_gets_a_gradient_and_autocast_gives_float32():
    cnn = Cnn(image_spec((3, 64, 64)))
    with torch.autocast("cpu", torch.bfloat16):
        features, _ = cnn.encode({"image": torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)})
    assert features.dtype == torch.float32
    features.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in cnn.parameters())


def test_online_only_and_without_a_loss():
    cls = REPRESENTATIONS.resolve("cnn")
    assert check_mode("cnn", cls, "auto") == "online"
    with pytest.raises(UsageError, match="'cnn' has no mode 'frozen'; it has: online"):
        check_mode("cnn", cls, "frozen")
    frames = Steps.frames({"image": torch.zeros(3, 3, 64, 64, dtype=torch.uint8)})
    with pytest.raises(UsageError, match="Cnn has no loss"):
        cls(image_spec((3, 64, 64))).loss(frames, lambda f: (f, f), torch.Generator())
