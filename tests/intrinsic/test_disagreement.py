"""Disagreement: the variance over members by hand, each member's own subset of the batch, and noise."""

from __future__ import annotations

import pytest
import torch

from intrinsic.base import Transitions
from intrinsic.disagreement import Disagreement
from intrinsic.latent_error import LatentError
from tests.intrinsic.tools import build, random_obs, spec


def batch_of(obs, next_obs, action):
    return Transitions(obs=obs, action=action, next_obs=next_obs, index=torch.arange(len(action)))


@pytest.fixture
def some():
    """Eight transitions of features."""
    return batch_of(random_obs(1, 8, "features")[0], random_obs(1, 8, "features", 1)[0], torch.arange(8) % 4)


def test_the_bonus_by_hand(some):
    bonus = build(Disagreement, spec("features"), members=3)
    with torch.no_grad():
        bonus.dynamics.last.weight.zero_()
        bonus.dynamics.last.bias.zero_()
        bonus.dynamics.last.bias[:, 0, 1] = torch.tensor([1.0, 2, 6])  # mean 3, variance (4 + 1 + 9)/3
        bonus.dynamics.last.bias[:, 0, 4] = 5.0
    # one of six numbers differs over the members
    assert bonus.score(some).tolist() == pytest.approx([14 / 3 / 6] * 8)


def test_equal_members_give_exactly_0(some):
    bonus = build(Disagreement, spec("features"), members=4, width=8)
    with torch.no_grad():
        for parameter in bonus.dynamics.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))
    assert torch.equal(bonus.score(some), torch.zeros(8))
    bonus = build(Disagreement, spec("features"), members=4, width=8)
    assert float(bonus.score(some).detach().min()) > 1e-4


def test_the_next_observation_does_not_enter_the_bonus(some):
    bonus = build(Disagreement, spec("features"), width=8)
    other = batch_of(some.obs, some.next_obs + 100, some.action)
    assert torch.equal(bonus.score(some), bonus.score(other))


def test_each_member_learns_from_its_own_subset_independently(some):
    bonus = build(Disagreement, spec("features"), members=3, width=8, share=0.5)
    drawn = torch.rand(3, 8, generator=torch.Generator().manual_seed(4)) < 0.5
    assert len({tuple(row.tolist()) for row in drawn}) == 3
    assert 0 < int(drawn.sum()) < 24
    loss = bonus.learn(some, torch.Generator().manual_seed(4))["loss"]
    got = [parameter.grad.clone() for parameter in bonus.dynamics.parameters()]
    fresh = build(Disagreement, spec("features"), members=3, width=8)
    losses = []
    for k in range(3):
        error = (fresh.predict(some)[k] - fresh.latent(some.next_obs)).square().mean(1)
        losses.append(error[drawn[k]].mean())
        alone = torch.autograd.grad(losses[k], list(fresh.dynamics.parameters()))
        for one, whole in zip(alone, got, strict=True):
            assert torch.allclose(one[k], whole[k], atol=1e-6)
            assert float(one[[j for j in range(3) if j != k]].abs().sum()) == 0
    assert float(loss) == pytest.approx(float(torch.stack(losses).detach().mean()), rel=1e-5)


def test_a_member_with_an_empty_subset_does_not_move(some):
    bonus = build(Disagreement, spec("features"), members=2, width=8, share=1e-6)
    before = [parameter.detach().clone() for parameter in bonus.parameters()]
    assert float(bonus.learn(some, torch.Generator().manual_seed(0))["loss"]) == 0
    assert all(torch.equal(p, q) for p, q in zip(bonus.parameters(), before, strict=True))


def television(size, seed):
    """Six features: at action 1 all next ones are standard normal, at action 0 they turn by one place."""
    draws = torch.Generator().manual_seed(seed)
    obs, action = torch.randn(size, 6, generator=draws), torch.arange(size) % 2
    next_obs = obs.roll(1, 1)
    next_obs[1::2] = torch.randn(size // 2, 6, generator=draws)
    return batch_of(obs, next_obs, action)


def test_disagreement_at_noise_vanishes_while_the_error_stays():
    settings = {"width": 32, "blocks": 1, "learning_rate": 1e-3}
    disagreement = build(Disagreement, spec("features"), **settings)
    error = build(LatentError, spec("features"), **settings)
    test, draws, noise, missed = television(2000, 9999), torch.Generator().manual_seed(0), [], []
    for step in range(801):
        if step in (0, 800):
            noise.append(float(disagreement.score(test).detach()[1::2].mean()))
            missed.append(float(error.score(test).detach()[1::2].mean()))
        for bonus in (disagreement, error):
            bonus.learn(television(256, step), draws)
    assert noise[1] < noise[0] / 10  # measured 0.045, then 0.002
    assert noise[1] < 0.005
    assert missed == pytest.approx([1, 1], rel=0.1)  # the variance of the noise, before and after
    far = batch_of(test.obs * 5, test.next_obs, test.action)
    assert float(disagreement.score(far).detach()[1::2].mean()) > 20 * noise[1]
