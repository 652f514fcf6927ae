"""The Categorical distribution by hand and against torch's, and which action spaces are refused."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.distributions import Categorical as TorchCategorical

from agents.actions import make_distribution
from agents.distributions import Categorical
from envs.registry import UsageError


@pytest.fixture
def outputs():
    return torch.randn(50, 4, generator=torch.Generator().manual_seed(0))


def test_log_probabilities_and_entropy_by_hand():
    # Outputs log 1, log 2, log 5 and any constant: pi = 1/8, 2/8, 5/8; H = -(1 ln 1/8 + 2 ln 2/8 + 5 ln 5/8) / 8.
    distribution = Categorical(3)
    parameters = distribution.parameters(torch.tensor([[1.0, 2.0, 5.0]]).log() + 7)
    torch.testing.assert_close(parameters.exp(), torch.tensor([[0.125, 0.25, 0.625]]))
    assert distribution.log_prob(parameters, torch.tensor([1])).item() == pytest.approx(math.log(0.25), rel=1e-5)
    entropy = -(math.log(1 / 8) + 2 * math.log(2 / 8) + 5 * math.log(5 / 8)) / 8
    assert distribution.entropy(parameters).item() == pytest.approx(entropy, rel=1e-5)
    assert distribution.mode(parameters).tolist() == [2]


def test_total_variation_by_hand():
    # pi = (1/2, 1/2, 0) and (1/4, 1/4, 1/2): (1/4 + 1/4 + 1/2) / 2 = 1/2
    one, other = (torch.tensor([probabilities]).log() for probabilities in ([0.5, 0.5, 0.0], [0.25, 0.25, 0.5]))
    assert Categorical(3).total_variation(one, other).tolist() == pytest.approx([0.5])


def test_it_agrees_with_torchs_categorical(outputs):
    distribution, torchs = Categorical(4), TorchCategorical(logits=outputs)
    parameters = distribution.parameters(outputs)
    actions = torch.arange(50) % 4
    torch.testing.assert_close(distribution.log_prob(parameters, actions), torchs.log_prob(actions))
    torch.testing.assert_close(distribution.entropy(parameters), torchs.entropy())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        expected = torchs.sample()
    assert torch.equal(distribution.sample(parameters, torch.Generator().manual_seed(9)), expected)


def test_rows_of_noise_give_the_actions_these_rows_get_among_all():
    distribution = Categorical(4)
    parameters = distribution.parameters(torch.randn(7, 4, generator=torch.Generator().manual_seed(2)))
    for seed in range(20):
        one, other, torchs = (torch.Generator().manual_seed(seed) for _ in range(3))
        expected = torch.multinomial(parameters.softmax(-1), 1, True, generator=torchs).squeeze(1)
        assert torch.equal(distribution.sample(parameters, one), expected)
        noise = distribution.draw_noise(7, other, parameters)
        assert torch.equal(distribution.sample(parameters[2:5], noise[2:5]), expected[2:5])
        assert torch.equal(one.get_state(), torchs.get_state())
        assert torch.equal(one.get_state(), other.get_state())


def test_stored_actions_are_whole_numbers():
    distribution = make_distribution(gym.spaces.Discrete(5))
    assert (distribution.num_outputs, distribution.shape, distribution.dtype) == (5, (), torch.int64)


REFUSED = {
    "actions here are Discrete, MultiDiscrete": gym.spaces.Tuple((gym.spaces.Discrete(2), gym.spaces.Discrete(3))),
    "and Box of floats": gym.spaces.Box(0, 9, (2,), np.int64),
    "its bounds must be finite; leave gymnasium's ClipAction out": gym.spaces.Box(-np.inf, np.inf, (2,)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_other_action_spaces_are_refused_in_one_line(message):
    with pytest.raises(UsageError, match=message) as error:
        make_distribution(REFUSED[message])
    assert "\n" not in str(error.value)


def test_groups_of_actions_sum_their_probabilities():
    parameters = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]).log()
    merged = Categorical(4).merged(parameters, torch.tensor([0, 1, 0, 1]))
    torch.testing.assert_close(merged.exp(), torch.tensor([[0.4, 0.6], [0.8, 0.2]]))


def test_uniform_numbers_give_exponential_noise():
    noise = Categorical(3).noise_from_uniform(torch.tensor([[0.0, 0.5, 1 - 2.0**-53]], dtype=torch.float64))
    # the inverse of 1 - exp(-x): 0, log 2, and 53 log 2 for the largest number that is drawn
    torch.testing.assert_close(noise, torch.tensor([[0.0, 0.693147, 36.7368]]), rtol=1e-5, atol=1e-6)
    assert noise.dtype == torch.float32
    assert Categorical(3).sample(torch.tensor([[0.2, 0.3, 0.5]]).log(), noise).tolist() == [0]  # 0.2 / 0 is the largest
