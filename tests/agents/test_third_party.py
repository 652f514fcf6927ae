"""An algorithm from outside, as its author would write it: a config, an optimizer and two losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from agents.a2c import A2C, A2CConfig
from agents.config import Config
from agents.on_policy import OnPolicyAlgorithm
from envs.registry import UsageError
from tests.agents.tools import N, build, weights


@dataclass(frozen=True)
class AwrConfig(Config):
    """Settings of advantage-weighted regression."""

    temperature: float = 1.0
    """Advantage that multiplies a sample's weight by e."""
    n_steps: int = 6


class Awr(OnPolicyAlgorithm):
    """Advantage-weighted regression (Peng et al. 2019): maximise exp(A / temperature) log pi."""

    Config: ClassVar[type[Config]] = AwrConfig

    def make_optimizer(self, parameters):
        return torch.optim.SGD(parameters, self.lr_schedule(1))

    def policy_loss(self, log_prob, old_log_prob, advantage):
        return -(advantage / self.config.temperature).clamp(max=3).exp() * log_prob

    def value_loss(self, value, old_value, returns):
        return (value - returns).square()


@dataclass(frozen=True)
class HuberConfig(A2CConfig):
    """A2C's settings and the width of the quadratic part of its value loss."""

    delta: float = 1.0


class HuberA2C(A2C):
    """A2C with a robust value loss."""

    Config: ClassVar[type[A2CConfig]] = HuberConfig

    def value_loss(self, value, old_value, returns):
        return torch.nn.functional.huber_loss(value, returns, reduction="none", delta=self.config.delta)


@pytest.mark.parametrize("cls", [Awr, HuberA2C])
def test_an_algorithm_from_outside_trains(cls):
    agent = build(cls)
    before = weights(agent)
    agent.learn(3 * 6 * N)
    assert agent.num_timesteps == 3 * 6 * N
    assert agent._n_updates == 3
    assert not torch.equal(weights(agent), before)


def test_its_own_losses_and_settings_are_used():
    agent = build(Awr, config={"temperature": 0.5})
    # -exp(A / 0.5) log pi: A = 0 and 0.5 ln 2 with log pi = -1 give 1 and 2.
    advantage = torch.tensor([0.0, 0.5 * 0.6931472])
    torch.testing.assert_close(agent.policy_loss(-torch.ones(2), None, advantage), torch.tensor([1.0, 2.0]))
    plain, robust = build(A2C), build(HuberA2C, config={"delta": 0.01})
    for each in (plain, robust):
        each.learn(2 * 6 * N)
    assert not torch.equal(weights(plain), weights(robust))


def test_its_settings_are_checked():
    with pytest.raises(UsageError, match="gamma=2"):
        build(Awr, config={"gamma": 2.0})
