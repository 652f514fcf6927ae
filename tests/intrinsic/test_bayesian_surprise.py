"""Surprise against the KL of whole distributions; it falls as 1/n, and on pure noise to 0."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from intrinsic import BONUSES
from intrinsic.base import Transitions
from intrinsic.bayesian_surprise import BayesianSurprise, linear_surprise, step_surprise
from intrinsic.inputs import BonusInput
from intrinsic.models.linear import RandomFeatures
from intrinsic.models.variational import gaussian_kl
from tests.intrinsic.tools import assert_go_on_alike, build, make_steps, random_obs, spec

T, N = 5, 3
KINDS = ["pixels", "symbols", "tiny", "features"]
SMALL = {"width": 6, "inputs": 12, "hidden": 5, "draws": 2, "on": "auto"}


def made(kind, seed=0, **settings):
    return build(BayesianSurprise, spec(kind), seed=seed, **(SMALL | settings))


def random_pair(count, inputs, outputs, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(count, size, generator=generator, dtype=torch.float64) for size in (inputs, outputs))


def test_by_hand():
    # K = 1, h = 1, s = 2, e = 2: 0.5 (log 2 - 1/2) + 0.5 * 1 * 4 / (2 * 4)
    value = linear_surprise(torch.tensor([1.0]), torch.tensor([[2.0]]), 2.0)
    assert float(value) == pytest.approx(0.5 * (math.log(2) - 0.5) + 0.25, rel=1e-6)
    # Nothing new: no leverage
    assert linear_surprise(torch.zeros(1), torch.ones(1, 3), 1.0).tolist() == [0]


def test_linear_is_the_kl_between_posteriors():
    model = made("features", noise=0.6).model
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


def test_it_falls_as_one_over_n_for_a_repeated_input():
    model = made("features", noise=0.5).model
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


def test_pure_noise_stops_paying_though_its_error_stays():
    bonus = made("features")
    generator = torch.Generator().manual_seed(0)
    seen, errors = [], []
    for _ in range(40):
        now = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(1)).expand(T, N, -1)
        steps = make_steps(now, torch.randn(T, N, 6, generator=generator))
        seen.append(float(bonus.compute(steps).mean()))
        errors.append(bonus.update(steps, generator)["error"])
    assert seen[-1] < 0.02 * seen[0]  # 600 samples: 1/600 of what one would leave
    assert errors[-1] > 0.7 * errors[0]


def test_the_closed_kl_equals_monte_carlo_and_is_0_of_itself():
    mu, sigma = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 1.5])
    other, wide = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0])
    draws = mu + sigma * torch.randn(400_000, 2, generator=torch.Generator().manual_seed(0))
    gaussian = torch.distributions.Normal
    sampled = (gaussian(mu, sigma).log_prob(draws) - gaussian(other, wide).log_prob(draws)).sum(1).mean()
    assert float(gaussian_kl(mu, sigma, other, wide)) == pytest.approx(float(sampled), rel=0.01)
    assert float(gaussian_kl(mu, sigma, mu, sigma)) == 0


def test_second_order_by_hand_and_by_the_kl_of_a_natural_step():
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


def test_the_variational_bonus_is_that_form_of_each_ones_own_gradient():
    bonus = made("symbols", model="variational", step=0.1)
    now, after = random_obs(1, 3, "symbols", 1)[0], random_obs(1, 3, "symbols", 2)[0]
    batch = Transitions(now, torch.tensor([0, 3, 1]), after, torch.arange(3))
    score, model = bonus.score(batch), bonus.model
    x, y = model.pair(batch)
    for i in range(3):
        loss = model.losses(model.mu, model.rho, model.noises(), x[i : i + 1], y[i : i + 1]).sum()
        gradient = torch.autograd.grad(loss, [model.mu, model.rho])
        assert float(score[i]) == pytest.approx(float(step_surprise(gradient, model.rho.detach(), 0.1)), rel=1e-4)


def test_the_variational_loss_by_hand():
    bonus = made("features", model="variational", hidden=1, draws=1, noise=0.5)
    model = bonus.model
    with torch.no_grad():
        model.mu.zero_()
        model.mu[0], model.mu[11] = 1.0, 2.0  # x_0 -> tanh -> times 2 -> y_0
    x, y = torch.zeros(1, 10), torch.zeros(1, 6)
    x[0, 0], y[0, 1] = 0.5, 3.0
    loss = model.losses(model.mu, model.rho, torch.zeros(1, len(model.mu)), x, y)
    # ((2 tanh 0.5)^2 + 3^2) / (2 * 0.25)
    assert float(loss.detach()) == pytest.approx(2 * ((2 * math.tanh(0.5)) ** 2 + 9), rel=1e-5)


def test_the_variational_bonus_is_clipped():
    bonus = made("features", model="variational", noise=1e-3)
    now = random_obs(1, 3, "features")[0]
    batch = Transitions(now, torch.zeros(3, dtype=torch.int64), -now, torch.arange(3))
    assert bonus.score(batch).tolist() == [1000.0] * 3


def test_eyes_are_normal_fixed_and_hear_the_action():
    for kind in KINDS:
        eyes = RandomFeatures(BonusInput(spec(kind), "auto"), 6)
        now = random_obs(1, 3, kind)[0]
        x, y = eyes.pair(Transitions(now, torch.tensor([1, 0, 2]), now, torch.arange(3)), 4)
        assert torch.allclose(y.mean(1), torch.zeros(3), atol=1e-5)
        assert torch.allclose(y.var(1, unbiased=False), torch.ones(3), rtol=1e-2)
        assert torch.equal(x[:, :6], y)
        root = 6**0.5
        assert torch.allclose(x[:, 6:], torch.tensor([[0, root, 0, 0], [root, 0, 0, 0], [0, 0, root, 0]]))
        assert not any(p.requires_grad for p in eyes.parameters())


def test_only_the_posterior_learns():
    bonus = made("symbols", model="variational", batch=4)
    assert {id(p) for p in bonus.optimizer.param_groups[0]["params"]} == {
        id(p) for p in bonus.parameters() if p.requires_grad
    }
    eyes = copy.deepcopy(bonus.model.eyes.state_dict())
    mu, rho = bonus.model.mu.detach().clone(), bonus.model.rho.detach().clone()
    now = random_obs(T, N, "symbols")
    bonus.update(make_steps(now, now.flip(0)), torch.Generator().manual_seed(0))
    assert all(torch.equal(eyes[name], value) for name, value in bonus.model.eyes.state_dict().items())
    assert int(bonus.model.learnt) == T * N
    assert not torch.equal(mu, bonus.model.mu)
    assert not torch.equal(rho, bonus.model.rho)


@pytest.mark.parametrize("model", ["linear", "variational"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_often_pays_little_and_what_never_was_does_not(kind, model):
    bonus = made(kind, model=model, batch=15, learning_rate=0.02)
    often, never = (torch.cat([random_obs(1, 1, kind, seed), random_obs(1, 1, kind, seed + 1)], 1) for seed in (1, 4))
    probe = make_steps(torch.cat([often[:, :1], never[:, :1]], 1), torch.cat([often[:, 1:], never[:, 1:]], 1))
    first = bonus.compute(probe)[0]
    steps = make_steps(
        often[:, :1].expand(T, N, *often.shape[2:]).contiguous(),
        often[:, 1:].expand(T, N, *often.shape[2:]).contiguous(),
    )
    for _ in range(60):
        bonus.update(steps, torch.Generator().manual_seed(0))
    seen, unseen = bonus.compute(probe)[0]
    assert seen < 0.25 * first[0]
    assert unseen > 5 * seen


@pytest.mark.parametrize("model", ["linear", "variational"])
def test_what_cannot_be_seen_pays_nothing_and_no_reset_frame_is_looked_at(model):
    bonus = made("symbols", model=model)
    now, after = random_obs(T, N, "symbols", 1), random_obs(T, N, "symbols", 2)
    done = torch.zeros(T, N, dtype=torch.bool)
    done[1, 2] = True
    valid = torch.ones(T, N, dtype=torch.bool)
    valid[3, 0] = False
    bonus_of = bonus.compute(make_steps(now, after, done=done, valid=valid))
    assert float(bonus_of[3, 0]) == 0
    assert (bonus_of[valid] > 0).all()
    flat = Transitions(now[1, 2:], torch.zeros(1, dtype=torch.int64), after[1, 2:], torch.zeros(1, dtype=torch.int64))
    assert float(bonus_of[1, 2]) == pytest.approx(float(bonus.score(flat)), rel=1e-4)
    reset = after.clone()
    reset[1, 2] = now[2, 2]  # what a careless eye would take for the successor
    assert float(bonus.compute(make_steps(now, reset))[1, 2]) != pytest.approx(float(bonus_of[1, 2]), rel=1e-4)
    assert bonus.compute(make_steps(now, after, valid=torch.zeros(T, N, dtype=torch.bool))).sum() == 0


@pytest.mark.parametrize("model", ["linear", "variational"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_bonus_pays_and_learns_alike(kind, model):
    one, other = (made(kind, seed, model=model, batch=6) for seed in (0, 1))
    assert_go_on_alike(one, other, make_steps(random_obs(T, N, kind, 1), random_obs(T, N, kind, 2)))


@pytest.mark.parametrize(
    ("name", "bad"),
    [("model", "vime"), ("width", 0), ("inputs", 0), ("hidden", 0), ("draws", 0), ("noise", 0.0), ("prior", 0.0)],
)
def test_names_and_bad_settings(name, bad):
    assert BONUSES.resolve("bayesian_surprise") is BayesianSurprise
    with pytest.raises(ValueError, match=name):
        BayesianSurprise.Config(**{name: bad})
    with pytest.raises(ValueError, match="batch=0"):
        BayesianSurprise.Config(batch=0)
