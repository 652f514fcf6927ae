"""DIAYN: the reward by hand, its bounds, and skills that end apart."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from intrinsic.base import Transitions
from intrinsic.diayn import Diayn, draw_one_hot
from tests.intrinsic.tools import build, feature_spec, make_steps, random_obs, spec

LOG_4 = math.log(4)


def skills_of(*skill: int, kinds: int = 4) -> torch.Tensor:
    return F.one_hot(torch.tensor(skill), kinds).float()


def batch_of(next_obs: torch.Tensor, context: torch.Tensor) -> Transitions:
    places = torch.arange(len(next_obs))
    return Transitions(
        obs=torch.zeros_like(next_obs), action=places * 0, next_obs=next_obs, index=places, context=context
    )


@pytest.fixture
def fixed_q():
    """A bonus whose q is 0.1, 0.2, 0.3, 0.4 for every observation (logits 0, log 2, log 3, log 4)."""
    bonus = build(Diayn, spec("features"), on="auto", skills=4, width=8)
    with torch.no_grad():
        bonus.discriminator[1].bias.copy_(torch.tensor([1.0, 2, 3, 4]).log())
    return bonus


def test_the_reward_by_hand(fixed_q):
    # log(q / p) with q = (0.1, 0.2, 0.3, 0.4) and p = 1/4: log 0.4, log 0.8, log 1.2, log 1.6
    batch = batch_of(random_obs(1, 5, "features")[0], skills_of(3, 0, 1, 2, 2))
    expected = torch.tensor([1.6, 0.4, 0.8, 1.2, 1.2]).log()
    torch.testing.assert_close(fixed_q.score(batch).detach(), expected)


def test_the_skill_is_inferred_from_the_next_observation_alone():
    bonus = build(Diayn, spec("features"), on="auto", skills=4, width=8)
    torch.nn.init.normal_(bonus.discriminator[1].weight)
    next_obs, context = random_obs(1, 5, "features")[0], skills_of(3, 0, 1, 2, 2)
    one = batch_of(next_obs, context)
    other = Transitions(obs=one.obs + 1, action=one.action + 1, next_obs=next_obs, index=one.index, context=context)
    hidden = bonus.discriminator[0](next_obs)
    logits = hidden @ bonus.discriminator[1].weight.T
    by_hand = logits[torch.arange(5), context.argmax(1)] - logits.exp().sum(1).log() + LOG_4
    torch.testing.assert_close(bonus.score(one), by_hand)
    torch.testing.assert_close(bonus.score(other), by_hand)


@pytest.mark.parametrize("kind", ["pixels", "symbols", "features", "tiny"])
def test_the_bonus_is_0_untrained_and_at_most_log_k_trained(kind):
    obs, next_obs = random_obs(5, 3, kind), random_obs(5, 3, kind, seed=1)
    context = draw_one_hot(15, 4, torch.Generator().manual_seed(0)).view(5, 3, 4)
    bonus = build(Diayn, spec(kind), on="auto", skills=4, width=8, learning_rate=0.1)
    steps = make_steps(obs, next_obs, context=context)
    assert bonus.compute(steps).abs().max() < 1e-6
    for _ in range(30):  # far past what one learns without error: q near 0 and near 1
        metrics = bonus.update(steps, torch.Generator().manual_seed(0))
    values = bonus.compute(steps)
    assert values.max() <= torch.tensor(LOG_4)
    assert values.abs().max() > 0.1
    assert metrics["accuracy"] > 0.3


def test_learning_lowers_the_cross_entropy_it_reports():
    bonus = build(Diayn, spec("features"), on="auto", skills=4, width=8, learning_rate=0.03)
    batch = batch_of(random_obs(1, 5, "features")[0], skills_of(3, 0, 1, 2, 2))
    first = bonus.learn(batch, torch.Generator())["loss"]
    assert float(first) == pytest.approx(LOG_4)  # nothing known of 4 skills
    later = [float(bonus.learn(batch, torch.Generator())["loss"]) for _ in range(40)][-1]
    assert later < 0.5 * LOG_4
    # the reward is the negative of that loss, above log K: one more value from the same formula
    obs = float(F.cross_entropy(bonus.discriminator(batch.next_obs), batch.context.argmax(1)).detach())
    assert float(bonus.score(batch).mean().detach()) == pytest.approx(LOG_4 - obs, rel=1e-4)


def ends_at_last(T: int, N: int) -> torch.Tensor:
    """(T, N) bool: each stream is one episode."""
    return (torch.arange(T) == T - 1).unsqueeze(1).expand(T, N)


def test_skills_are_drawn_evenly_from_the_generator_alone():
    draw = draw_one_hot(4000, 4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draw.sum(1), torch.ones(4000))
    # 1000 each; the standard deviation of a count is sqrt(4000 * 1/4 * 3/4) = 27
    assert (draw.sum(0) - 1000).abs().max() < 110
    before = torch.random.get_rng_state()
    assert torch.equal(draw, draw_one_hot(4000, 4, torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(draw, draw_one_hot(4000, 4, None))  # the global one


def test_the_context_is_as_wide_as_the_number_of_skills():
    bonus = build(Diayn, spec("symbols"), skills=5)
    assert bonus.context_dim == 5
    assert bonus.draw_context(3, None).shape == (3, 5)


def test_skills_trained_on_the_bonus_end_apart_on_a_plane():
    """2-D plane, K = 6, walks of 8 steps of 0.5 from the centre; one preference (K, 8 directions) is the whole policy.

    Chance is an accuracy of 1/6. Neighbouring directions end 2 * 4 * sin(22.5 degrees) = 3.1 apart, the noise is 0.28.
    """
    K, N, T = 6, 48, 8
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bonus = Diayn(feature_spec(2, 8), Diayn.Config(on="auto", skills=K, width=64, learning_rate=3e-3, batch=128))
    angle = torch.arange(8) * math.pi / 4
    moves = 0.5 * torch.stack([angle.cos(), angle.sin()], 1)
    policy = torch.zeros(K, 8, requires_grad=True)
    learner = torch.optim.Adam([policy], 0.05)
    for _ in range(120):
        context = bonus.draw_context(N, draws)
        log_pi = (context @ policy).log_softmax(1)
        action = torch.multinomial(log_pi.detach().exp(), T, replacement=True, generator=draws).T
        path = (moves[action] + 0.1 * torch.randn(T, N, 2, generator=draws)).cumsum(0)
        obs = torch.cat([torch.zeros_like(path[:1]), path[:-1]])
        steps = make_steps(obs, path, done=ends_at_last(T, N), context=context.expand(T, N, K))
        values = bonus.compute(steps)
        togo = values.flip(0).cumsum(0).flip(0)
        advantage = togo - togo.mean(1, keepdim=True)
        chosen = log_pi.expand(T, N, 8).gather(2, action.unsqueeze(2)).squeeze(2)
        entropy = -(log_pi.exp() * log_pi).sum(1).mean()
        learner.zero_grad()
        (-(chosen * advantage).mean() - 0.1 * entropy).backward()
        learner.step()
        metrics = bonus.update(steps, draws)
    ends = torch.stack([path[-1][context[:, k] > 0].mean(0) for k in range(K)])
    apart = torch.cdist(ends, ends) + torch.eye(K) * 9
    assert metrics["accuracy"] > 0.8
    assert apart.min() > 1
    assert values[-1].mean() > 0.8 * math.log(K)
