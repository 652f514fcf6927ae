"""Growth of a variational model: the finite difference of its KL, and 0 where there is no step."""

from __future__ import annotations

import math

import pytest
import torch

from intrinsic.base import Transitions
from intrinsic.complexity_gain import ComplexityGain
from tests.intrinsic.tools import build, make_batch, make_steps, random_obs, spec

T, N = 5, 3
KINDS = ["pixels", "symbols", "tiny", "features"]
SMALL = {"width": 6, "hidden": 5, "draws": 2, "on": "auto"}


def make(kind, seed=0, **settings):
    return build(ComplexityGain, spec(kind), seed=seed, **(SMALL | settings))


def batch_of(kind, count=3):
    obs, next_obs = random_obs(1, count, kind, 1)[0], random_obs(1, count, kind, 2)[0]
    return make_batch(obs, next_obs, torch.arange(count) % 4)


@pytest.mark.parametrize("kind", ["symbols", "features"])
def test_the_bonus_is_the_finite_difference_of_a_small_step(kind):
    step = 1e-6
    bonus = make(kind, step=step)
    batch, model = batch_of(kind), bonus.model
    gain = bonus.score(batch)
    x, y = (rows.detach().double() for rows in model.regression(batch))
    noises = model.weight_noise().double()
    mu, rho = (rows.detach().double().requires_grad_() for rows in (model.mu, model.rho))
    for i in range(3):
        loss = model.losses(mu, rho, noises, x[i : i + 1], y[i : i + 1]).sum()
        by_mu, by_rho = torch.autograd.grad(loss, [mu, rho])
        grown = model.complexity(mu - step * by_mu, rho - step * by_rho) - model.complexity(mu, rho)
        assert float(gain[i]) == pytest.approx(float(grown.detach()), rel=1e-2)


def test_the_gain_is_proportional_to_the_step():
    batch = batch_of("symbols")
    one, two, none = (make("symbols", step=step).score(batch) for step in (1e-3, 2e-3, 0.0))
    assert none.tolist() == [0, 0, 0]
    assert torch.allclose(two, 2 * one)
    assert (one != 0).all()


def test_a_posterior_at_the_prior_gains_nothing():
    bonus = make("features", prior=0.5)
    with torch.no_grad():
        bonus.model.mu.zero_()
        bonus.model.rho.fill_(math.log(math.expm1(0.5)))
    assert float(bonus.model.complexity(bonus.model.mu, bonus.model.rho).detach()) == pytest.approx(0, abs=1e-4)
    assert bonus.score(batch_of("features")).abs().max() < 1e-4


def test_growth_is_positive_and_shrinkage_negative():
    bonus = make("features", hidden=1)
    model = bonus.model
    with torch.no_grad():
        model.mu.zero_()
        model.mu[-6] = 1.0  # the bias of y_0; all else says nothing
        model.rho.fill_(math.log(math.expm1(0.5)))  # as wide as the prior
    x = torch.zeros(2, 6)
    # layer norm of (1, 0, ..., 0) is 2.236 at 0: above 1, the bias would grow; of (-1, 0, ...) below: it would shrink
    up = torch.eye(6)[:1]
    grows, shrinks = bonus.score(
        Transitions(x, torch.zeros(2, dtype=torch.int64), torch.cat([up, -up]), torch.arange(2))
    )
    assert grows > 0 > shrinks


@pytest.mark.parametrize("kind", KINDS)
def test_a_repeated_transition_earns_less_than_a_new_one(kind):
    bonus = make(kind, learning_rate=0.01, draws=16, hidden=12)
    action = torch.arange(4).view(1, 4)
    repeated, new = (
        make_steps(random_obs(1, 4, kind, seed), random_obs(1, 4, kind, seed + 1), action) for seed in (1, 4)
    )
    first = bonus.compute(repeated).abs().mean()
    for _ in range(300):
        bonus.update(repeated, torch.Generator().manual_seed(0))
    assert bonus.compute(repeated).abs().mean() < 0.1 * first
    if kind in ("symbols", "features"):  # frames of white noise have nearly equal random features: none is new
        assert bonus.compute(new).abs().mean() > 5 * bonus.compute(repeated).abs().mean()
