"""Gain of the very step that learning would make; in the linear model, of the exact refit; 0 at a minimum."""

from __future__ import annotations

import pytest
import torch

from intrinsic import BONUSES
from intrinsic.base import Transitions
from intrinsic.learning_progress import LearningProgress, refit_gain
from tests.intrinsic.tools import assert_go_on_alike, build, make_steps, random_obs, spec

T, N = 5, 3
KINDS = ["pixels", "symbols", "tiny", "features"]
SMALL = {"width": 6, "hidden": 12, "on": "auto"}


def made(kind, seed=0, **settings):
    return build(LearningProgress, spec(kind), seed=seed, **(SMALL | settings))


def test_refit_by_hand():
    # h = 1, e = (2, 4): mean square 10; after, e / 2: 2.5
    assert refit_gain(torch.tensor([1.0]), torch.tensor([[2.0, 4.0]])).tolist() == [7.5]
    assert refit_gain(torch.tensor([0.0]), torch.tensor([[2.0, 4.0]])).tolist() == [0]
    assert refit_gain(torch.tensor([1.0]), torch.zeros(1, 2)).tolist() == [0]


def test_the_closed_form_equals_refitting():
    model = made("features", model="linear", noise=0.7).model
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
def test_the_networks_gain_is_that_of_the_step_it_then_learns_by(kind):
    bonus = made(kind)
    steps = make_steps(random_obs(T, N, kind, 1), random_obs(T, N, kind, 2), torch.arange(15).view(T, N) % 4)
    batch = next(bonus.transitions(steps, 15))
    x, y = bonus.eyes.pair(batch, 4)

    def losses():
        return (bonus.net(x) - y).square().mean(1).detach()

    for _ in range(3):
        gain, before = bonus.compute(steps).flatten(), losses()
        assert torch.equal(before, losses())  # tried, not kept
        bonus.learn(batch, torch.Generator())
        assert torch.allclose(gain, before - losses(), atol=1e-5)
        assert gain.mean() > 0


def test_it_is_0_at_a_minimum():
    bonus = made("features")
    with torch.no_grad():
        bonus.net[2].weight.zero_()  # says its bias, whatever is seen
        bonus.net[2].bias.copy_(bonus.eyes(random_obs(1, 1, "features", 9)[0])[0])
    now, goal = random_obs(1, 4, "features")[0], random_obs(1, 1, "features", 9)[0].expand(4, -1)
    gain = bonus.score(Transitions(now, torch.zeros(4, dtype=torch.int64), goal, torch.arange(4)))
    assert gain.abs().max() < 1e-10  # the eyes' rounding of a batch of 4 and of 1 aside
    linear = made("features", model="linear")
    phi, y = linear.model.pair(Transitions(now, torch.zeros(4, dtype=torch.int64), goal, torch.arange(4)))
    truth = torch.randn(phi.shape[1], y.shape[1], dtype=phi.dtype, generator=torch.Generator().manual_seed(0))
    linear.model.moment.copy_(linear.model.precision @ truth)
    assert refit_gain(*linear.model.leverage_and_error(phi, phi @ truth)).abs().max() < 1e-20
    assert refit_gain(*linear.model.leverage_and_error(phi, phi @ truth + 0.1)).abs().min() > 1e-6


def test_minibatches_are_equal_in_size():
    bonus = made("features", batch=8)
    now, after = random_obs(T, N, "features", 1), random_obs(T, N, "features", 2)
    valid = torch.ones(T, N, dtype=torch.bool)
    valid[0] = False
    valid[4, 2] = False  # 11 of 15 are known: 6 and 5, not 8 and 3
    gain = bonus.compute(make_steps(now, after, valid=valid)).flatten()
    parts = list(bonus.transitions(make_steps(now, after, valid=valid), 6))
    assert [len(part.action) for part in parts] == [6, 5]
    for part in parts:
        assert torch.equal(gain[part.place], bonus.score(part))
    assert gain[:3].tolist() == [0, 0, 0]
    assert float(gain[14]) == 0
    assert bonus.compute(make_steps(now, after, valid=valid & False)).sum() == 0


@pytest.mark.parametrize("model", ["network", "linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_seen_often_pays_little_and_what_never_was_does_not(kind, model):
    bonus = made(kind, model=model, batch=15, learning_rate=0.01)
    seen, unseen = (make_steps(random_obs(1, N, kind, seed), random_obs(1, N, kind, seed + 1)) for seed in (1, 4))
    first = bonus.compute(seen).mean()
    for _ in range(150):
        bonus.update(seen, torch.Generator().manual_seed(0))
    assert bonus.compute(seen).abs().mean() < 0.1 * first
    assert bonus.compute(unseen).mean() > 5 * bonus.compute(seen).abs().mean()


@pytest.mark.parametrize("model", ["network", "linear"])
def test_pure_noise_pays_little_though_its_error_stays(model):
    bonus = made("features", model=model)
    generator = torch.Generator().manual_seed(0)
    now = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(1)).expand(20, N, -1)
    gains, errors = [], []
    for _ in range(100):
        steps = make_steps(now, torch.randn(20, N, 6, generator=generator))
        gains.append(float(bonus.compute(steps).mean()))
        errors.append(bonus.update(steps, generator)["loss"])
    # A network's step learns a little of its own minibatch by heart
    share = {"network": 0.3, "linear": 0.05}[model]
    assert abs(sum(gains[-10:])) < share * sum(gains[:10])
    assert errors[-1] > 0.5 * errors[0]


def test_eyes_never_learn_and_all_else_does():
    bonus = made("symbols", batch=4)
    trained = {id(p) for p in bonus.optimizer.param_groups[0]["params"]}
    assert trained == {id(p) for p in bonus.parameters() if p.requires_grad}
    before = {name: value.clone() for name, value in bonus.state_dict().items()}
    bonus.update(
        make_steps(random_obs(T, N, "symbols"), random_obs(T, N, "symbols", 1)), torch.Generator().manual_seed(0)
    )
    for name, value in bonus.state_dict().items():
        assert torch.equal(before[name], value) == name.startswith("eyes."), name


@pytest.mark.parametrize("model", ["network", "linear"])
def test_an_episodes_end_never_takes_a_reset_frame(model):
    bonus = made("symbols", model=model, batch=1)
    now, after = random_obs(T, N, "symbols", 1), random_obs(T, N, "symbols", 2)
    done = torch.zeros(T, N, dtype=torch.bool)
    done[1, 2] = True
    place = torch.zeros(1, dtype=torch.int64)
    gain = float(bonus.compute(make_steps(now, after, done=done))[1, 2])
    assert gain == pytest.approx(float(bonus.score(Transitions(now[1, 2:], place, after[1, 2:], place))), rel=1e-4)
    assert gain != pytest.approx(float(bonus.score(Transitions(now[1, 2:], place, now[2, 2:], place))), rel=1e-4)


@pytest.mark.parametrize("model", ["network", "linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_bonus_pays_and_learns_alike(kind, model):
    one, other = (made(kind, seed, model=model, batch=6) for seed in (0, 1))
    assert_go_on_alike(one, other, make_steps(random_obs(T, N, kind, 1), random_obs(T, N, kind, 2)))


@pytest.mark.parametrize(("name", "bad"), [("model", "deep"), ("width", 0), ("hidden", 0), ("noise", 0.0)])
def test_names_and_bad_settings(name, bad):
    assert BONUSES.resolve("learning_progress") is LearningProgress
    with pytest.raises(ValueError, match=name):
        LearningProgress.Config(**{name: bad})
    with pytest.raises(ValueError, match="batch=0"):
        LearningProgress.Config(batch=0)
