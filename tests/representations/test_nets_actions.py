"""Losses, hits and distances of actions by hand, for every action space."""

from __future__ import annotations

import math

import pytest
import torch

from envs.action_codes import ActionCodes
from representations.nets.actions import action_hits, action_loss, policy_kl
from tests.envs.action_envs import SPACES

LOG_2, LOG_3 = math.log(2), math.log(3)
DISCRETE, MULTI, BITS, BOX = (ActionCodes(SPACES[kind]) for kind in ("Discrete", "MultiDiscrete", "MultiBinary", "Box"))


def test_losses_are_sums_over_the_numbers_of_an_action():
    # choices among 3, 2 and 4; chances of the ones taken: 1/2 of (1/4, 1/4, 1/2), 3/4 of (1/4, 3/4), 1/4
    logits = torch.tensor([[0, 0, LOG_2, 0, LOG_3, 0, 0, 0, 0]]).repeat(2, 1)
    taken = torch.tensor([[2, 1, 3], [0, 0, 0]])
    expected = [LOG_2 + math.log(4 / 3) + math.log(4), math.log(4) + math.log(4) + math.log(4)]
    assert action_loss(MULTI, logits, taken).tolist() == pytest.approx(expected)
    assert float(action_loss(MULTI, logits, taken, "mean")) == pytest.approx(sum(expected) / 2)
    # bits that are 1 by 1/2, 3/4, 1/2
    expected = [LOG_2 + math.log(4 / 3) + LOG_2, LOG_2 + math.log(4) + LOG_2]
    bits, outputs = torch.tensor([[1, 1, 0], [0, 0, 1]]), torch.tensor([[0, LOG_3, 0]]).repeat(2, 1)
    assert action_loss(BITS, outputs, bits).tolist() == pytest.approx(expected)
    assert float(action_loss(BITS, outputs, bits, "mean")) == pytest.approx(sum(expected) / 2)
    # (-1, -1/2, 0) to (1, 2, 1/4): the second row's target is clipped to (1, 0, 1/4)
    actions, outputs = torch.tensor([[0.5, 1, 0], [3, 0, 1]]), torch.tensor([[0.0, 3, 0], [0, 0, 0.25]])
    assert action_loss(BOX, outputs, actions).tolist() == pytest.approx([(0.25 + 4) / 2, 0.5])
    assert float(action_loss(BOX, outputs, actions, "mean")) == pytest.approx((2.125 + 0.5) / 2)


def test_a_hit_is_one_in_every_number_of_an_action():
    assert action_hits(DISCRETE, torch.eye(5)[:2], torch.tensor([0, 2])).tolist() == [True, False]
    logits = torch.tensor([[0.0, 0, 1, 0, 1, 0, 0, 0, 1]]).repeat(2, 1)
    assert action_hits(MULTI, logits, torch.tensor([[2, 1, 3], [2, 1, 0]])).tolist() == [True, False]
    bits = torch.tensor([[1.0, -1, 2]]).repeat(2, 1)
    assert action_hits(BITS, bits, torch.tensor([[1, 0, 1], [1, 1, 1]])).tolist() == [True, False]
    # middles 0, 3/4 and 1/8
    outputs = torch.tensor([[0.1, 0.7, 0.2]]).repeat(2, 1)
    assert action_hits(BOX, outputs, torch.tensor([[0.9, -5, 9], [0.9, 0.8, 9]])).tolist() == [True, False]


def test_the_distance_of_two_policies_is_the_sum_over_their_numbers():
    # mean (1, 0, 0) and std (1, 3, 1) from mean 0 and std (2, 1, 1), in nats:
    # log 2 + (1 + 1) / 8 - 1/2, then -log 3 + 9/2 - 1/2, then 0
    first = torch.tensor([[1, 0, 0, 0, LOG_3, 0]])
    other = torch.tensor([[0, 0, 0, LOG_2, 0, 0]])
    assert float(policy_kl(BOX, first, other)) == pytest.approx(LOG_2 - 0.25 - LOG_3 + 4)
    # 1/2 log(1/2 / (3/4)) + 1/2 log(1/2 / (1/4)) of the first bit, 0 of the others
    half, more = torch.zeros(1, 3), torch.tensor([[LOG_3, 0, 0]])
    of_a_bit = 0.5 * math.log(2 / 3) + 0.5 * LOG_2
    assert float(policy_kl(BITS, half, more)) == pytest.approx(of_a_bit)
    assert float(policy_kl(BITS, more, half)) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    # the same of the choice among two; log 3 of the choice among three, of which the first policy is sure
    sure, even = torch.tensor([[60.0, 0, 0, 0, 0, 0, 0, 0, 0]]), torch.tensor([[0, 0, 0, LOG_3, 0, 0, 0, 0, 0]])
    assert float(policy_kl(MULTI, sure, even)) == pytest.approx(LOG_3 + of_a_bit, rel=1e-5)
