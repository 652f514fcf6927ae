"""Networks of GQN: colours, poses, the LSTM's step, the divergence and the latents of the renderer, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from representations.gqn_networks import Renderer, opponent, with_pose
from representations.nets.recurrent import ConvLstm, kl

B, P = 2, 5
SHAPE = (3, 16, 8)


def make_renderer(steps: int = 2, shared_cores: bool = True, code_map: bool = False) -> Renderer:
    sizes = {"code": 16, "channels": 6, "latents": 2, "code_map": code_map}
    return Renderer(SHAPE, P, steps=steps, shared_cores=shared_cores, **sizes)


def views() -> tuple[torch.Tensor, torch.Tensor]:
    """One view of each of B scenes, and its pose."""
    return torch.randint(256, (B, *SHAPE), dtype=torch.uint8), torch.randn(B, P)


def test_kl_by_hand():
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    assert kl(one, -one, one, -one) == 0
    # 0.5 (s^2/t^2 + (m - n)^2 / t^2 - 1 - log s^2/t^2); s^2 = 1, t^2 = e^1, m - n = 2: 0.5 (1/e + 4/e - 1 + 1)
    assert float(kl(2 * one, zero, zero, one)) == pytest.approx(2.5 / math.e)
    # the other way round: 0.5 (e + 4 - 1 - 1)
    assert float(kl(zero, one, 2 * one, zero)) == pytest.approx(0.5 * (math.e + 2))


def test_opponent_colours_by_hand():
    # (0.4, 0.4, 0.4) is the middle; (0.6, 0.2, 0.7): brightness (0.5 - 0.4) * 4, (0.6 - 0.2) * 8, (0.7 - 0.4) * 8
    x = torch.tensor([[0.4, 0.4, 0.4], [0.6, 0.2, 0.7]]).view(2, 3, 1, 1)
    assert opponent(x).flatten().tolist() == pytest.approx([0, 0, 0, 0.4, 3.2, 2.4], abs=1e-5)
    assert opponent(torch.full((1, 1, 1, 1), 0.65)).item() == pytest.approx(1.0)  # grey: 0.25 * 4


def test_poses_become_scaled_channels():
    joined = with_pose(torch.zeros(1, 3, 2, 2), torch.tensor([[1.0, -2.0]]))
    assert joined[0, :, 1, 0].tolist() == pytest.approx([0, 0, 0, 0.3, -0.6])


def test_a_core_is_an_lstm_at_one_place():
    core = ConvLstm(1, 1, 7)
    with torch.no_grad():
        core.gates.weight.zero_()
        core.gates.bias.copy_(torch.tensor([0.0, 0.0, 0.5, 0.0]))
        centre = core.gates.weight[:, :, 1, 1]  # rows: input, forget, output gate, update; columns: x, h
        centre[0, 0], centre[1, 1], centre[3, 0] = 1.0, 2.0, 0.5
    x, h, c = (torch.full((1, 1, 1, 1), value) for value in (2.0, 0.25, 0.75))
    condition = torch.tensor([0.0, 0, 0, 1]).view(1, 4, 1, 1)
    with torch.no_grad():
        h_after, c_after = core(x, (h, c), condition)
    # input s(2), forget s(2 * 0.25 + 1), output s(0.5), update tanh(0.5 * 2 + 1)
    s = lambda value: 1 / (1 + math.exp(-value))  # noqa: E731
    wanted = s(1.5) * 0.75 + s(2) * math.tanh(2)
    assert float(c_after) == pytest.approx(wanted)
    assert float(h_after) == pytest.approx(s(0.5) * math.tanh(wanted))


def test_the_divergence_is_a_sum_that_is_0_at_the_prior(generator):
    renderer, (image, pose) = make_renderer(steps=3), views()
    code, x = torch.randn(B, 16, 1, 1), image.float() / 255
    with torch.no_grad():
        for layer in (renderer.prior, renderer.posterior):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([0.3, -0.2, 0.1, 0.4]))
        assert renderer(code, pose, generator, x)[1].tolist() == [0, 0]
        renderer.posterior.bias[0] += 2
        # 3 steps x 2x1 places x one channel: 0.5 * 2^2 e^-0.1 each
        assert renderer(code, pose, generator, x)[1].tolist() == pytest.approx([12 * math.exp(-0.1)] * B)
        assert renderer(code, pose, generator)[1].tolist() == [0, 0]


def test_latents_are_drawn_from_the_posterior_only_with_the_true_view():
    renderer, (image, pose) = make_renderer(), views()
    code, x = torch.randn(B, 16, 1, 1), image.float() / 255
    drawn = []
    renderer.generators[0].register_forward_pre_hook(lambda _, given: drawn.append(given[0]))
    with torch.no_grad():
        for layer, mean in ((renderer.prior, 5.0), (renderer.posterior, -5.0)):
            layer.weight.zero_()
            layer.bias.copy_(torch.tensor([mean, mean, math.log(0.25), math.log(0.25)]))
        renderer(code, pose, None)
        assert torch.equal(drawn[0], torch.full((B, 2, 2, 1), 5.0))
        renderer(code, pose, torch.Generator().manual_seed(1))
        renderer(code, pose, torch.Generator().manual_seed(1), x)
    # the same noise of standard deviation 0.5 around either mean
    noise = torch.empty(B * 2 * 2 * 1).normal_(generator=torch.Generator().manual_seed(1))
    in_order = lambda values: values.flatten().sort()[0]  # noqa: E731  (draws fall in the order of memory)
    torch.testing.assert_close(in_order(drawn[2]), in_order(5 + 0.5 * noise))
    torch.testing.assert_close(in_order(drawn[4]), in_order(-5 + 0.5 * noise))


@pytest.mark.parametrize("code_map", [False, True])
def test_the_inference_core_reads_the_code_the_pose_and_the_view(code_map):
    renderer, (image, pose) = make_renderer(code_map=code_map), views()
    x = image.float() / 255
    code = torch.randn(B, 16, 4, 4) if code_map else torch.randn(B, 16, 1, 1)
    given = []
    renderer.inferences[0].register_forward_pre_hook(lambda _, inputs: given.append(inputs[2].detach()))

    def condition(code, pose, x):
        renderer(code, pose, None, x)
        return given[-1]

    with torch.no_grad():
        first = condition(code, pose, x)
        assert torch.equal(condition(code, pose, x), first)
        assert not torch.allclose(condition(code.flip(1), pose, x), first, atol=1e-4)
        assert not torch.allclose(condition(code, pose + 1, x), first, atol=1e-4)
        assert not torch.allclose(condition(code, pose, 1 - x), first, atol=1e-4)


def test_each_step_has_its_own_core():
    renderer = make_renderer(steps=3, shared_cores=False)
    order = []
    for number, core in enumerate(renderer.generators):
        core.register_forward_hook(lambda *_, number=number: order.append(number))
    renderer(torch.zeros(1, 16, 1, 1), torch.zeros(1, P), None)
    assert order == [0, 1, 2]
