"""Variational forward model: loss, complexity and the bound it learns by."""

from __future__ import annotations

import math

import gymnasium as gym
import pytest
import torch

from envs.action_codes import ActionCodes
from intrinsic.inputs import BonusInput
from intrinsic.models.variational import VariationalForward, gaussian_kl
from tests.intrinsic.tools import make_batch, random_obs, spec


def make_model(hidden=5, draws=2, noise=0.3):
    """A model of 6 features and 4 actions, prior sd 0.5."""
    torch.manual_seed(0)
    codes = ActionCodes(gym.spaces.Discrete(4))
    return VariationalForward(BonusInput(spec("features"), "auto"), codes, 6, hidden, 0.5, noise, draws)


def test_the_gaussian_kl_equals_monte_carlo_and_is_0_of_itself():
    mu, sigma = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 1.5])
    other, wide = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])
    draws = mu + sigma * torch.randn(400_000, 2, generator=torch.Generator().manual_seed(0))
    gaussian = torch.distributions.Normal
    sampled = (gaussian(mu, sigma).log_prob(draws) - gaussian(other, wide).log_prob(draws)).sum(1).mean()
    assert float(gaussian_kl(mu, sigma, other, wide)) == pytest.approx(float(sampled), rel=0.01)
    assert float(gaussian_kl(mu, sigma, mu, sigma)) == 0


def test_the_loss_by_hand():
    model = make_model(hidden=1, draws=1, noise=0.5)
    with torch.no_grad():
        model.mu.zero_()
        model.mu[0], model.mu[11] = 1.0, 2.0  # x_0 -> tanh -> times 2 -> y_0
    x, y = torch.zeros(1, 10), torch.zeros(1, 6)
    x[0, 0], y[0, 1] = 0.5, 3.0
    loss = model.losses(model.mu, model.rho, torch.zeros(1, len(model.mu)), x, y)
    # ((2 tanh 0.5)^2 + 3^2) / (2 * 0.25)
    assert float(loss.detach()) == pytest.approx(2 * ((2 * math.tanh(0.5)) ** 2 + 9), rel=1e-5)


def test_the_complexity_by_hand():
    model = make_model()
    mu, rho = torch.full((1,), 0.3), torch.full((1,), 0.2)
    # 0.5 (s^2 / 0.25 + 0.09 / 0.25 - 1 - log(s^2 / 0.25)), s = log(1 + e^0.2)
    s = math.log1p(math.exp(0.2))
    expected = 0.5 * (s**2 / 0.25 + 0.36 - 1 - math.log(s**2 / 0.25))
    assert float(model.complexity(mu, rho)) == pytest.approx(expected, rel=1e-5)


def test_learning_descends_the_variational_bound():
    model = make_model()
    optimizer = torch.optim.Adam([model.mu, model.rho])
    obs, next_obs = random_obs(2, 3, "features", 1)
    batch = make_batch(obs, next_obs, torch.arange(3))
    for step in (1, 2):
        noise = model.weight_noise(torch.Generator().manual_seed(step))
        bound = model.losses(model.mu, model.rho, noise, *model.regression(batch)).mean()
        # KL(N(mu, s^2) || N(0, 0.25)), over the 3 samples a step learnt so far
        kl = torch.distributions.kl_divergence(
            torch.distributions.Normal(model.mu, torch.nn.functional.softplus(model.rho)),
            torch.distributions.Normal(torch.tensor(0.0), torch.tensor(0.5)),
        ).sum()
        expected = torch.autograd.grad(bound + kl / (3 * step), [model.mu, model.rho])
        metrics = model.learn(batch, optimizer, torch.Generator().manual_seed(step))
        assert float(metrics["complexity"]) == pytest.approx(float(kl.detach()), rel=1e-4)
        assert torch.allclose(model.mu.grad, expected[0], rtol=1e-3, atol=1e-4)
        assert torch.allclose(model.rho.grad, expected[1], rtol=1e-3, atol=1e-4)
