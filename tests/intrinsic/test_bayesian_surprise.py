"""Surprise against the KL of whole distributions; it falls as 1/n, and on pure noise to 0."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from intrinsic.bayesian_surprise import BayesianSurprise, linear_surprise, step_surprise
from intrinsic.models.variational import gaussian_kl
from tests.intrinsic.tools import build, make_batch, make_steps, random_obs, spec

T, N = 5, 3
KINDS = ["pixels", "symbols", "tiny", "features"]
SMALL = {"width": 6, "inputs": 12, "hidden": 5, "draws": 2, "on": "auto"}


def make(kind, seed=0, **settings):
    return build(BayesianSurprise, spec(kind), seed=seed, **(SMALL | settings))


def random_pair(count, inputs, outputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, size, generator=generator, dtype=torch.float64) for size in (inputs, outputs))


def test_linear_surprise_by_hand():
    # K = 1, h = 1, s = 2, e = 2: 0.5 (log 2 - 1/2) + 0.5 * 1 * 4 / (2 * 4)
    value = linear_surprise(torch.tensor([1.0]), torch.tensor([[2.0]]), 2.0)
    assert float(value) == pytest.approx(0.5 * (math.log(2) - 0.5) + 0.25, rel=1e-6)
    # Nothing new: no leverage
    assert linear_surprise(torch.zeros(1), torch.ones(1, 3), 1.0).tolist() == [0]


def test_linear_surprise_is_the_kl_between_posteriors():
    model = make("features", noise=0.6).model
    phi, y = random_pair(4, 12, 6)
    model.add(phi, y)
    new_phi, new_y = random_pair(3, 12, 6, seed=1)
    surprise = linear_surprise(*model.leverage_and_error(new_phi, new_y), model.noise)
    precision = torch.eye(12, dtype=torch.float64) + phi.T @ phi / 0.36
    moment = phi.T @ y / 0.36
    for i in range(3):
        after = precision + torch.outer(new_phi[i], new_phi[i]) / 0.36
        mean = torch.linalg.solve(after, moment + torch.outer(new_phi[i], new_y[i]) / 0.36)
        before_mean = torch.linalg.solve(precision, moment)
        expected = sum(
            kl_divergence(
                MultivariateNormal(mean[:, k], precision_matrix=after),
                MultivariateNormal(before_mean[:, k], precision_matrix=precision),
            )
            for k in range(6)
        )
        assert float(surprise[i]) == pytest.approx(float(expected), rel=1e-8)


def test_surprise_falls_as_1_over_n_for_a_repeated_input():
    model = make("features", noise=0.5).model
    phi, _ = random_pair(1, 12, 6)
    y = torch.randn(2000, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.5
    surprise = []
    for more in (100, 300):  # n = 100, 400
        model.add(phi.expand(more, -1), y[:more])
        probe = model.leverage_and_error(phi.expand(2000, -1), y)
        surprise.append(float(linear_surprise(*probe, model.noise).mean()))
    # h = 1/n: the mean is K / (2 n) = 0.03 for |e|^2 = K s
    assert surprise[0] == pytest.approx(6 / 200, rel=0.1)
    assert surprise[0] / surprise[1] == pytest.approx(4, rel=0.1)


def test_surprise_at_pure_noise_vanishes_while_its_error_stays():
    bonus = make("features")
    generator = torch.Generator().manual_seed(0)
    surprises, errors = [], []
    for _ in range(40):
        obs = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(1)).expand(T, N, -1)
        steps = make_steps(obs, torch.randn(T, N, 6, generator=generator))
        surprises.append(float(bonus.compute(steps).mean()))
        errors.append(bonus.update(steps, generator)["error"])
    assert surprises[-1] < 0.02 * surprises[0]  # 600 samples: 1/600 of what one would leave
    assert errors[-1] > 0.7 * errors[0]


def test_step_surprise_by_hand_and_against_the_kl_of_a_natural_step():
    rho = torch.tensor([0.2, -1.0], dtype=torch.float64)
    sigma = torch.nn.functional.softplus(rho)
    by_mu, by_rho = torch.tensor([0.7, -0.4], dtype=torch.float64), torch.tensor([0.5, 0.3], dtype=torch.float64)
    slope = rho.sigmoid()
    form = step_surprise((by_mu, by_rho), rho, 1e-3)
    by_hand = sum(
        0.5e-6 * float(sigma[j] ** 2 * by_mu[j] ** 2 + sigma[j] ** 2 / (2 * slope[j] ** 2) * by_rho[j] ** 2)
        for j in range(2)
    )
    assert float(form) == pytest.approx(by_hand, rel=1e-12)
    step_mu, step_rho = 1e-3 * sigma**2 * by_mu, 1e-3 * sigma**2 / (2 * slope**2) * by_rho
    after = torch.nn.functional.softplus(rho - step_rho)
    kl = gaussian_kl(-step_mu, after, torch.zeros(2, dtype=torch.float64), sigma)
    assert float(form) == pytest.approx(float(kl), rel=1e-2)


def test_the_variational_bonus_uses_each_samples_own_gradient():
    bonus = make("symbols", model="variational", step=0.1)
    obs, next_obs = random_obs(1, 3, "symbols", 1)[0], random_obs(1, 3, "symbols", 2)[0]
    batch = make_batch(obs, next_obs, torch.tensor([0, 3, 1]))
    score, model = bonus.score(batch), bonus.model
    x, y = model.regression(batch)
    for i in range(3):
        loss = model.losses(model.mu, model.rho, model.weight_noise(), x[i : i + 1], y[i : i + 1]).sum()
        gradient = torch.autograd.grad(loss, [model.mu, model.rho])
        assert float(score[i]) == pytest.approx(float(step_surprise(gradient, model.rho.detach(), 0.1)), rel=1e-4)


def test_the_variational_bonus_is_clipped():
    bonus = make("features", model="variational", noise=1e-3)
    obs = random_obs(1, 3, "features")[0]
    batch = make_batch(obs, -obs)
    assert bonus.score(batch).tolist() == [1000.0] * 3


@pytest.mark.parametrize("model", ["linear", "variational"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_repeated_transition_earns_less_than_a_new_one(kind, model):
    bonus = make(kind, model=model, batch=15, learning_rate=0.02)
    often, never = (torch.cat([random_obs(1, 1, kind, seed), random_obs(1, 1, kind, seed + 1)], 1) for seed in (1, 4))
    probe = make_steps(torch.cat([often[:, :1], never[:, :1]], 1), torch.cat([often[:, 1:], never[:, 1:]], 1))
    first = bonus.compute(probe)[0]
    steps = make_steps(
        often[:, :1].expand(T, N, *often.shape[2:]).contiguous(),
        often[:, 1:].expand(T, N, *often.shape[2:]).contiguous(),
    )
    for _ in range(60):
        bonus.update(steps, torch.Generator().manual_seed(0))
    repeated, new = bonus.compute(probe)[0]
    assert repeated < 0.25 * first[0]
    assert new > 5 * repeated
