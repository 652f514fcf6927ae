"""Gain of a step that is tried and not kept: by hand, and against the optimizer's own step."""

from __future__ import annotations

import torch

from intrinsic.models.gradient_gain import batch_gain, per_sample_gain, rms_adam


def test_per_sample_gain_is_rate_times_squared_gradient():
    # w = (1, 2), loss (w x - y)^2, gradient 2 (w x - y) x; no past: rate lr = 0.1
    net = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0]]))
    optimizer = rms_adam(net, 0.1)

    def loss(forward, x, y):
        return (forward(x).squeeze(1) - y) ** 2

    x, y = torch.tensor([[1.0, 1.0], [0.0, 1.0], [2.0, 0.0]]), torch.tensor([1.0, 2.0, 1.0])
    # errors 2, 0, 1: gradients (4, 4), (0, 0), (4, 0): 0.1 * (32, 0, 16)
    assert torch.allclose(per_sample_gain(net, optimizer, loss, x, y), torch.tensor([3.2, 0, 1.6]))
    net.weight.grad = torch.tensor([[2.0, 1.0]])
    optimizer.step()  # w = (0.9, 1.9); root mean squares 2 and 1: rates 0.05, 0.1
    # errors 1.8, -0.1, 0.8: gradients (3.6, 3.6), (0, -0.2), (3.2, 0)
    expected = torch.tensor([0.05 * 3.6**2 + 0.1 * 3.6**2, 0.1 * 0.04, 0.05 * 3.2**2])
    assert torch.allclose(per_sample_gain(net, optimizer, loss, x, y), expected, rtol=1e-4)


def test_batch_gain_is_what_the_optimizers_step_gives():
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    optimizer = rms_adam(net, 0.05)
    x, y = torch.randn(7, 3), torch.randn(7, 2)

    def loss(forward, x, y):
        return (forward(x) - y).square().sum(1)

    for _ in range(3):  # with and without a past
        gain = batch_gain(net, optimizer, loss, x, y)
        before = loss(net, x, y)
        optimizer.zero_grad()
        before.mean().backward()
        optimizer.step()
        assert torch.allclose(gain, (before - loss(net, x, y)).detach(), atol=1e-6)
    y = net(x).detach()  # a minimum
    assert batch_gain(net, optimizer, loss, x, y).tolist() == [0] * 7
    assert per_sample_gain(net, optimizer, loss, x, y).tolist() == [0] * 7
