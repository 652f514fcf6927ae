"""Gain of the very step that learning would make; in the linear model, of the exact refit; 0 at a minimum."""

from __future__ import annotations

import pytest
import torch

from intrinsic.base import Transitions
from intrinsic.learning_progress import LearningProgress, refit_gain
from tests.intrinsic.tools import build, make_steps, random_obs, spec

T, N = 5, 3
KINDS = ["pixels", "symbols", "tiny", "features"]
SMALL = {"width": 6, "hidden": 12, "on": "auto"}


def make(kind, seed=0, **settings):
    return build(LearningProgress, spec(kind), seed=seed, **(SMALL | settings))


def test_refit_gain_by_hand():
    # h = 1, e = (2, 4): mean square 10; after, e / 2: 2.5
    assert refit_gain(torch.tensor([1.0]), torch.tensor([[2.0, 4.0]])).tolist() == [7.5]
    assert refit_gain(torch.tensor([0.0]), torch.tensor([[2.0, 4.0]])).tolist() == [0]
    assert refit_gain(torch.tensor([1.0]), torch.zeros(1, 2)).tolist() == [0]


def test_the_closed_form_equals_refitting():
    model = make("features", model="linear", noise=0.7).model
    generator = torch.Generator().manual_seed(0)
    phi, y = (torch.randn(6, size, generator=generator, dtype=torch.float64) for size in (12, 6))
    model.add(phi[:3], y[:3])
    gain = refit_gain(*model.leverage_and_error(phi[3:], y[3:]))

    def fit(rows: list[int]) -> torch.Tensor:  # ridge regression: prior variance 1, noise variance 0.49
        some = phi[rows]
        return torch.linalg.solve(some.T @ some / 0.49 + torch.eye(12, dtype=torch.float64), some.T @ y[rows] / 0.49)

    for i in range(3, 6):
        before, after = ((y[i] - phi[i] @ fit(rows)).square().mean() for rows in ([0, 1, 2], [0, 1, 2, i]))
        assert float(gain[i - 3]) == pytest.approx(float(before - after), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_networks_gain_is_that_of_its_next_learning_step(kind):
    bonus = make(kind)
    steps = make_steps(random_obs(T, N, kind, 1), random_obs(T, N, kind, 2), torch.arange(15).view(T, N) % 4)
    batch = next(bonus.transitions(steps, 15))
    x, y = bonus.features.regression(batch, bonus.codes)

    def losses():
        return (bonus.net(x) - y).square().mean(1).detach()

    for _ in range(3):
        gain, before = bonus.compute(steps).flatten(), losses()
        assert torch.equal(before, losses())  # tried, not kept
        bonus.learn(batch, torch.Generator())
        assert torch.allclose(gain, before - losses(), atol=1e-5)
        assert gain.mean() > 0


def test_the_gain_is_0_at_a_minimum():
    bonus = make("features")
    with torch.no_grad():
        bonus.net[2].weight.zero_()  # returns its bias for every input
        bonus.net[2].bias.copy_(bonus.features(random_obs(1, 1, "features", 9)[0])[0])
    obs, goal = random_obs(1, 4, "features")[0], random_obs(1, 1, "features", 9)[0].expand(4, -1)
    gain = bonus.score(Transitions(obs, torch.zeros(4, dtype=torch.int64), goal, torch.arange(4)))
    assert gain.abs().max() < 1e-10  # up to rounding of the features in a batch of 4 and of 1
    linear = make("features", model="linear")
    phi, y = linear.model.regression(Transitions(obs, torch.zeros(4, dtype=torch.int64), goal, torch.arange(4)))
    truth = torch.randn(phi.shape[1], y.shape[1], dtype=phi.dtype, generator=torch.Generator().manual_seed(0))
    linear.model.moment.copy_(linear.model.precision @ truth)
    assert refit_gain(*linear.model.leverage_and_error(phi, phi @ truth)).abs().max() < 1e-20
    assert refit_gain(*linear.model.leverage_and_error(phi, phi @ truth + 0.1)).abs().min() > 1e-6


def test_minibatches_are_equal_in_size():
    bonus = make("features", batch=8)
    obs, next_obs = random_obs(T, N, "features", 1), random_obs(T, N, "features", 2)
    valid = torch.ones(T, N, dtype=torch.bool)
    valid[0] = False
    valid[4, 2] = False  # 11 of 15 are known: 6 and 5, not 8 and 3
    gain = bonus.compute(make_steps(obs, next_obs, valid=valid)).flatten()
    minibatches = list(bonus.transitions(make_steps(obs, next_obs, valid=valid), 6))
    assert [len(rows.action) for rows in minibatches] == [6, 5]
    for rows in minibatches:
        assert torch.equal(gain[rows.index], bonus.score(rows))
    assert gain[:3].tolist() == [0, 0, 0]
    assert float(gain[14]) == 0
    assert bonus.compute(make_steps(obs, next_obs, valid=valid & False)).sum() == 0


@pytest.mark.parametrize("model", ["network", "linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_repeated_transition_earns_less_than_a_new_one(kind, model):
    bonus = make(kind, model=model, batch=15, learning_rate=0.01)
    repeated, new = (make_steps(random_obs(1, N, kind, seed), random_obs(1, N, kind, seed + 1)) for seed in (1, 4))
    first = bonus.compute(repeated).mean()
    for _ in range(150):
        bonus.update(repeated, torch.Generator().manual_seed(0))
    assert bonus.compute(repeated).abs().mean() < 0.1 * first
    assert bonus.compute(new).mean() > 5 * bonus.compute(repeated).abs().mean()


@pytest.mark.parametrize("model", ["network", "linear"])
def test_the_gain_at_pure_noise_vanishes_while_its_error_stays(model):
    bonus = make("features", model=model)
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(1)).expand(20, N, -1)
    gains, errors = [], []
    for _ in range(100):
        steps = make_steps(obs, torch.randn(20, N, 6, generator=generator))
        gains.append(float(bonus.compute(steps).mean()))
        errors.append(bonus.update(steps, generator)["loss"])
    # A network's step memorises a little of its own minibatch
    share = {"network": 0.3, "linear": 0.05}[model]
    assert abs(sum(gains[-10:])) < share * sum(gains[:10])
    assert errors[-1] > 0.5 * errors[0]
