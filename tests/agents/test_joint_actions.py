"""Distributions over actions of several numbers by hand: noise by counter, distances, equal likeliest actions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from agents.actions import make_distribution
from tests.envs.action_envs import SPACES

JOINT = [name for name in SPACES if not name.startswith("Discrete")]
every_space = pytest.mark.parametrize("name", JOINT)


def test_a_gaussian_by_hand():
    distribution = make_distribution(SPACES["Box"])
    # means (0, 1, 0), standard deviations (1, 2, 1/2); drawn (1, 1, 1/2), which the box would cut
    parameters = torch.tensor([[0, 1, 0, 0, math.log(2), -math.log(2)]])
    log_prob = -1 / 2 - 0 - 1 / 2 - 1.5 * math.log(2 * math.pi)
    assert float(distribution.log_prob(parameters, torch.tensor([[1, 1, 0.5]]))) == pytest.approx(log_prob)
    assert float(distribution.entropy(parameters)) == pytest.approx(1.5 * (1 + math.log(2 * math.pi)))
    drawn = distribution.sample(parameters, torch.tensor([[-3.0, 1, 1]]))
    assert drawn.tolist() == [[-3, 3, 0.5]]
    assert distribution.to_env(drawn).tolist() == [[-1, 2, 0.25]]


def test_normal_noise_by_counter():
    distribution = make_distribution(SPACES["Box"])
    numbers = torch.tensor([[0.5, 0.8413447, 0.0227501], [0.0, 1 - 2.0**-53, 0.25]], dtype=torch.float64)
    noise = distribution.noise_from_uniform(numbers)
    # the inverse of the normal distribution: 0, 1, -2; the ends are finite, and a quarter is -0.6745
    torch.testing.assert_close(noise[0], torch.tensor([0.0, 1, -2]), atol=1e-5, rtol=0)
    assert noise.dtype == torch.float32
    assert torch.isfinite(noise).all()
    torch.testing.assert_close(noise[1, 2], torch.tensor(-0.67449), atol=1e-5, rtol=0)


@every_space
def test_noise_by_counter_draws_from_the_distribution(name):
    distribution = make_distribution(SPACES[name])
    many = 20_000
    torch.manual_seed(0)
    outputs = torch.cat([torch.randn(distribution.num_outputs), torch.rand(distribution.num_free)])
    parameters = distribution.parameters(outputs.expand(many, -1))
    uniform = torch.from_numpy(np.random.default_rng(2).random((many, distribution.noise_size)))
    drawn = distribution.sample(parameters, distribution.noise_from_uniform(uniform))
    # the mean of -log pi over draws is the entropy
    mean = -distribution.log_prob(parameters, drawn).double().mean()
    assert float(mean) == pytest.approx(float(distribution.entropy(parameters[:1])), abs=0.03)
    again = distribution.sample(parameters[5:9], distribution.noise_from_uniform(uniform[5:9]))
    assert torch.equal(again, drawn[5:9])


def test_distances_by_hand():
    bits, multi = make_distribution(SPACES["MultiBinary"]), make_distribution(SPACES["MultiDiscrete from 1"])
    one, other = torch.tensor([[0.0, 40, 40]]), torch.tensor([[0.0, 40, -40]])
    # the first bit is even, the second 1 in both; the third always differs
    assert bits.total_variation(one, other).tolist() == pytest.approx([1])
    # p = (1/2, 1/4) of ones and q = (1/2, 3/4): of the four actions 3/8 1/8 3/8 1/8 and 1/8 3/8 1/8 3/8
    two = make_distribution(SPACES["MultiBinary of 2x2"])
    p, q = (torch.tensor([[0, s * math.log(3), 40, 40]]) for s in (-1, 1))
    assert two.total_variation(p, q).tolist() == pytest.approx([0.5])
    p = multi.parameters(torch.tensor([[0.5, 0.25, 0.25, 0.5, 0.5]]).log())
    q = multi.parameters(torch.tensor([[0.25, 0.5, 0.25, 0.5, 0.5]]).log())
    assert multi.total_variation(p, q).tolist() == pytest.approx([0.25])


def test_the_distance_over_many_actions_is_the_largest_of_each(monkeypatch):
    monkeypatch.setattr("agents.joint_actions.MOST_JOINT", 1)
    bits, multi = make_distribution(SPACES["MultiBinary"]), make_distribution(SPACES["MultiDiscrete from 1"])
    # chances of a one (1/4, 3/4, 1/2) and (3/4, 1/2, 1/2)
    p, q = torch.tensor([[-math.log(3), math.log(3), 0]]), torch.tensor([[math.log(3), 0, 0]])
    assert bits.total_variation(p, q).tolist() == pytest.approx([0.5])
    p = multi.parameters(torch.tensor([[0.5, 0.25, 0.25, 0.5, 0.5]]).log())
    q = multi.parameters(torch.tensor([[0.25, 0.5, 0.25, 0.6, 0.4]]).log())
    assert multi.total_variation(p, q).tolist() == pytest.approx([0.25])  # 1/4 and 1/10


def test_the_distance_of_gaussians_is_that_of_drawn_histograms():
    box = make_distribution(SPACES["Box"])
    # means (3/2 sd, 2 sd, 0) apart: 5/2 sd; of two normals so far apart 2 Phi(5/4) - 1 = 0.7887
    p, q = torch.tensor([[0.0, 0, 0, 0, 1, 2]]), torch.tensor([[1.5, 2 * math.e, 0, 0, 1, 2]])
    assert box.total_variation(p, q).tolist() == pytest.approx([0.7887], abs=1e-4)


def test_likeliest_actions_are_the_same():
    multi, bits, box = (make_distribution(SPACES[name]) for name in ("MultiDiscrete from 1", "MultiBinary", "Box"))
    one = multi.parameters(torch.tensor([[2.0, 1, 0, 0, 1], [2, 1, 0, 0, 1]]))
    other = multi.parameters(torch.tensor([[3.0, 1, 2, 0, 1], [3, 1, 2, 1, 0]]))
    assert multi.same_mode(one, other).tolist() == [True, False]
    assert bits.mode(torch.tensor([[-1.0, 0, 1]])).tolist() == [[0, 0, 1]]
    assert bits.same_mode(torch.tensor([[-1.0, 1, 1]]), torch.tensor([[-2.0, 1, -1]])).tolist() == [False]
    # sd 1/2: the second number differs by 0.4, by 0.6; the first by 4, but the box cuts both off at 1
    p, q = torch.tensor([[5.0, 0, 0]] * 2), torch.tensor([[9, 0.4, 0], [9, 0.6, 0]])
    p, q = (torch.cat([means, torch.full((2, 3), math.log(0.5))], 1) for means in (p, q))
    assert box.same_mode(p, q).tolist() == [True, False]
