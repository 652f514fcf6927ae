"""Growth of a variational model: the finite difference of its KL, and 0 where there is no step."""

from __future__ import annotations

import math

import pytest
import torch

from intrinsic import BONUSES
from intrinsic.base import Transitions
from intrinsic.complexity_gain import ComplexityGain
from tests.intrinsic.tools import assert_go_on_alike, build, make_steps, random_obs, spec

T, N = 5, 3
KINDS = ["pixels", "symbols", "tiny", "features"]
SMALL = {"width": 6, "hidden": 5, "draws": 2, "on": "auto"}


def made(kind, seed=0, **settings):
    return build(ComplexityGain, spec(kind), seed=seed, **(SMALL | settings))


def batch_of(kind, count=3):
    now, after = random_obs(1, count, kind, 1)[0], random_obs(1, count, kind, 2)[0]
    return Transitions(now, torch.arange(count) % 4, after, torch.arange(count))


def test_the_gradient_of_the_kl_by_hand():
    model = made("features", prior=0.5).model
    mu, rho = torch.full((1,), 0.3), torch.full((1,), 0.2)
    # 0.5 (s^2 / 0.25 + 0.09 / 0.25 - 1 - log(s^2 / 0.25)), s = log(1 + e^0.2)
    s = math.log1p(math.exp(0.2))
    expected = 0.5 * (s**2 / 0.25 + 0.36 - 1 - math.log(s**2 / 0.25))
    assert float(model.complexity(mu, rho)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["symbols", "features"])
def test_it_equals_the_finite_difference_of_a_small_step_of_each_one_alone(kind):
    step = 1e-6
    bonus = made(kind, step=step)
    batch, model = batch_of(kind), bonus.model
    gain = bonus.score(batch)
    x, y = (part.detach().double() for part in model.pair(batch))
    noises = model.noises().double()
    mu, rho = (part.detach().double().requires_grad_() for part in (model.mu, model.rho))
    for i in range(3):
        loss = model.losses(mu, rho, noises, x[i : i + 1], y[i : i + 1]).sum()
        by_mu, by_rho = torch.autograd.grad(loss, [mu, rho])
        grown = model.complexity(mu - step * by_mu, rho - step * by_rho) - model.complexity(mu, rho)
        assert float(gain[i]) == pytest.approx(float(grown.detach()), rel=1e-2)


def test_no_step_no_gain_and_twice_the_step_twice_the_gain():
    batch = batch_of("symbols")
    one, two, none = (made("symbols", step=step).score(batch) for step in (1e-3, 2e-3, 0.0))
    assert none.tolist() == [0, 0, 0]
    assert torch.allclose(two, 2 * one)
    assert (one != 0).all()


def test_nothing_to_grow_at_the_prior():
    bonus = made("features", prior=0.5)
    with torch.no_grad():
        bonus.model.mu.zero_()
        bonus.model.rho.fill_(math.log(math.expm1(0.5)))
    assert float(bonus.model.complexity(bonus.model.mu, bonus.model.rho).detach()) == pytest.approx(0, abs=1e-4)
    assert bonus.score(batch_of("features")).abs().max() < 1e-4


def test_growing_pays_and_shrinking_costs():
    bonus = made("features", hidden=1)
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
def test_what_is_seen_often_moves_it_little_and_what_never_was_does(kind):
    bonus = made(kind, learning_rate=0.01, draws=16, hidden=12)
    action = torch.arange(4).view(1, 4)
    seen, unseen = (
        make_steps(random_obs(1, 4, kind, seed), random_obs(1, 4, kind, seed + 1), action) for seed in (1, 4)
    )
    first = bonus.compute(seen).abs().mean()
    for _ in range(300):
        bonus.update(seen, torch.Generator().manual_seed(0))
    assert bonus.compute(seen).abs().mean() < 0.1 * first
    if kind in ("symbols", "features"):  # frames of white noise look alike to a random trunk: nothing is unseen there
        assert bonus.compute(unseen).abs().mean() > 5 * bonus.compute(seen).abs().mean()


def test_scoring_changes_nothing_and_only_the_posterior_learns():
    bonus = made("symbols", batch=4)
    trained = {id(p) for p in bonus.optimizer.param_groups[0]["params"]}
    assert trained == {id(p) for p in bonus.parameters() if p.requires_grad}
    before = {name: value.clone() for name, value in bonus.state_dict().items()}
    steps = make_steps(random_obs(T, N, "symbols"), random_obs(T, N, "symbols", 1))
    assert torch.equal(bonus.compute(steps), bonus.compute(steps))
    assert all(torch.equal(before[name], value) for name, value in bonus.state_dict().items())
    bonus.update(steps, torch.Generator().manual_seed(0))
    for name, value in bonus.state_dict().items():
        assert torch.equal(before[name], value) == name.startswith("model.eyes."), name


def test_it_learns_by_the_bound():
    bonus = made("features")
    batch, model = batch_of("features"), bonus.model
    for step in (1, 2):
        noises = model.noises(torch.Generator().manual_seed(step))
        bound = model.losses(model.mu, model.rho, noises, *model.pair(batch)).mean()
        # KL(N(mu, s^2) || N(0, 0.25)), over the 3 samples a step that were seen so far
        kl = torch.distributions.kl_divergence(
            torch.distributions.Normal(model.mu, torch.nn.functional.softplus(model.rho)),
            torch.distributions.Normal(torch.tensor(0.0), torch.tensor(0.5)),
        ).sum()
        expected = torch.autograd.grad(bound + kl / (3 * step), [model.mu, model.rho])
        metrics = bonus.learn(batch, torch.Generator().manual_seed(step))
        assert float(metrics["complexity"]) == pytest.approx(float(kl.detach()), rel=1e-4)
        assert torch.allclose(model.mu.grad, expected[0], rtol=1e-3, atol=1e-4)
        assert torch.allclose(model.rho.grad, expected[1], rtol=1e-3, atol=1e-4)


def test_what_cannot_be_seen_pays_nothing_and_no_reset_frame_is_looked_at():
    bonus = made("symbols")
    now, after = random_obs(T, N, "symbols", 1), random_obs(T, N, "symbols", 2)
    done, valid = torch.zeros(T, N, dtype=torch.bool), torch.ones(T, N, dtype=torch.bool)
    done[1, 2], valid[3, 0] = True, False
    gain = bonus.compute(make_steps(now, after, done=done, valid=valid))
    assert (gain == 0).nonzero().tolist() == [[3, 0]]
    place = torch.zeros(1, dtype=torch.int64)
    end = float(gain[1, 2])
    assert end == pytest.approx(float(bonus.score(Transitions(now[1, 2:], place, after[1, 2:], place))), rel=1e-3)
    assert end != pytest.approx(float(bonus.score(Transitions(now[1, 2:], place, now[2, 2:], place))), rel=1e-3)
    assert bonus.compute(make_steps(now, after, valid=valid & False)).abs().sum() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_bonus_pays_and_learns_alike(kind):
    one, other = (made(kind, seed, batch=6) for seed in (0, 1))
    assert_go_on_alike(one, other, make_steps(random_obs(T, N, kind, 1), random_obs(T, N, kind, 2)))


@pytest.mark.parametrize(
    ("name", "bad"), [("width", 0), ("hidden", 0), ("draws", 0), ("noise", 0.0), ("prior", 0.0), ("step", -1.0)]
)
def test_names_and_bad_settings(name, bad):
    assert BONUSES.resolve("complexity_gain") is ComplexityGain
    with pytest.raises(ValueError, match=name):
        ComplexityGain.Config(**{name: bad})
    with pytest.raises(ValueError, match="batch=0"):
        ComplexityGain.Config(batch=0)
