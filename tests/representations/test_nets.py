"""Trunks, decoders and the conversion of pixels."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from envs.registry import UsageError
from representations.nets.decoders import Decoder
from representations.nets.images import pixels
from representations.nets.trunks import TRUNKS, Impala, Impoola, Nature, ResidualBlock, make_trunk


def test_pixels_divide_by_255_and_stay_channels_last():
    # 0/255 = 0, 51/255 = 0.2, 255/255 = 1
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 3).permute(0, 3, 1, 2).expand(2, 3, 4, 5)
    floats = pixels(image)
    assert floats.dtype == torch.float32
    assert floats[1, :, 2, 3].tolist() == pytest.approx([0, 0.2, 1])
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert pixels(image, torch.float64).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert pixels(image).dtype == torch.bfloat16
    with pytest.raises(UsageError, match="uint8"):
        pixels(floats)


def test_pixels_leave_the_frames_alone():
    image = torch.full((1, 3, 4, 5), 51, dtype=torch.uint8)
    pixels(image)
    assert int(image.sum()) == 51 * 60


def test_nature_equals_stable_baselines3_with_copied_weights():
    image = torch.randint(0, 256, (5, 3, 84, 84), dtype=torch.uint8)
    theirs = NatureCNN(gym.spaces.Box(0, 255, (3, 84, 84), np.uint8))
    ours = Nature((3, 84, 84))
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.copy_(other)
    torch.testing.assert_close(ours(image), theirs(image.float() / 255), rtol=1e-5, atol=1e-6)


def test_sizes_are_the_published_ones():
    # Nature at 64x64x3: sides 15, 7 (padded), 5, flat 5*5*64 = 1600; weights 3*32*64+32, 32*64*16+64, 64*64*9+64,
    # 1600*512+512
    nature = Nature((3, 64, 64))
    assert nature.flat_dim == 1600
    assert sum(p.numel() for p in nature.parameters()) == 6176 + 32832 + 36928 + 819712
    # IMPALA: sides 32, 16, 8, flat 8*8*32 = 2048; 5 convolutions a sequence, dense 2048*256+256 = 524544:
    # 448 + 4*2320 = 9728; 4640 + 4*9248 = 41632; 9248 + 4*9248 = 46240
    impala = Impala((3, 64, 64))
    assert impala.flat_dim == 2048
    assert sum(p.numel() for p in impala.parameters()) == 9728 + 41632 + 46240 + 524544
    # Impoola: the same convolutions, dense 32*256+256 = 8448
    impoola = Impoola((3, 64, 64))
    assert impoola.flat_dim == 32
    assert sum(p.numel() for p in impoola.parameters()) == 9728 + 41632 + 46240 + 8448


def test_impoola_averages_impala_s_rectified_map_over_space():
    image = torch.randint(0, 256, (3, 2, 40, 24), dtype=torch.uint8)
    impala, impoola = Impala((2, 40, 24), 5), Impoola((2, 40, 24), 5)
    impoola.body.load_state_dict(impala.body.state_dict())
    with torch.no_grad():
        # sides 40, 24 halve three times to 5, 3: 32 maps of 15 places each
        maps = impala.flat(image).unflatten(1, (32, 15))
        torch.testing.assert_close(impoola.flat(image), maps.mean(2))
        assert float(maps.min()) == 0
        expected = torch.relu(impoola.dense(maps.mean(2)))
        torch.testing.assert_close(impoola(image), expected)


@pytest.mark.parametrize("name", TRUNKS)
def test_trunks_take_other_sizes_and_orthogonal_weights(name):
    shape = (9,) if name == "mlp" else (4, 84, 72)
    trunk = make_trunk(name, shape, 7)
    assert trunk(torch.zeros(2, *shape, dtype=torch.uint8)).shape == (2, 7)
    weight = trunk.dense.weight
    # gain sqrt(2): rows are orthogonal with squared norm 2
    torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(7), rtol=1e-4, atol=1e-4)
    assert not trunk.dense.bias.any()


def test_residual_block_by_hand():
    # Both kernels pass the middle pixel, times 2 and times 3: x + 3 relu(2 relu(x)) = 1 + 6 and, at -1, -1 + 0.
    block = ResidualBlock(1)
    for convolution, scale in ((block.first, 2.0), (block.second, 3.0)):
        nn.init.zeros_(convolution.weight)
        nn.init.zeros_(convolution.bias)
        convolution.weight.data[0, 0, 1, 1] = scale
    x = torch.tensor([[1.0, -1.0]]).view(1, 1, 1, 2)
    assert block(x).flatten().tolist() == [7.0, -1.0]
    assert x.flatten().tolist() == [1.0, -1.0]


def test_in_place_steps_leave_impala_s_gradient_right():
    trunk = Impala((1, 8, 8), 3, channels=(2, 2, 2)).double()
    x = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(trunk, (x,))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 32, 32), (2, 84, 40)])
def test_decoder_gives_logits_of_any_size(shape):
    assert Decoder(5, shape)(torch.randn(3, 5)).shape == (3, *shape)


def test_errors_name_the_trunk_and_the_size():
    with pytest.raises(UsageError, match="unknown trunk 'resnet'; known: nature, impala, impoola"):
        make_trunk("resnet", (3, 64, 64))
    with pytest.raises(UsageError, match=r"trunk 'mlp' reads a vector \(n,\), got .* \(3, 64, 64\)"):
        make_trunk("mlp", (3, 64, 64))
    with pytest.raises(UsageError, match=r"trunk 'nature' reads images \(C, H, W\), got .* \(4,\)"):
        make_trunk("nature", (4,))
    with pytest.raises(UsageError, match=r"got 32x32; take the trunk impala, as in --set cnn\.trunk=impala"):
        make_trunk("nature", (3, 32, 32))
    with pytest.raises(UsageError, match="at least 8x8, got 7x9; enlarge"):
        make_trunk("impala", (3, 7, 9))


@pytest.mark.parametrize("size", [(64, 64), (84, 84), (63, 66), (65, 70), (117, 94)])
def test_every_pixel_reaches_nature_s_features(size):
    trunk = Nature((3, *size))
    image = torch.rand(1, 3, *size, requires_grad=True)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.abs_()  # no relu is shut, nothing cancels
    trunk.flat(image).sum().backward()
    assert (image.grad[0].sum(0) > 0).all()
