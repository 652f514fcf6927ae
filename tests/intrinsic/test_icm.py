"""ICM: both losses by hand, what phi learns from, and a grid with a noisy television."""

from __future__ import annotations

import math

import pytest
import torch

from intrinsic.base import Transitions
from intrinsic.icm import Icm
from tests.intrinsic.tools import build, image_spec, random_obs, spec

SIDE = 10
MOVES = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1]])


def batch_of(obs, next_obs, action):
    return Transitions(obs=obs, action=action, next_obs=next_obs, index=torch.arange(len(action)))


@pytest.fixture
def by_hand():
    """A bonus with phi = relu of the first two features; everything else 0 but the last biases."""
    bonus = build(Icm, spec("features", actions=3), on="features", width=2, hidden=2)
    with torch.no_grad():
        for parameter in bonus.parameters():
            parameter.zero_()
        bonus.phi[1].weight[:, :2] = torch.eye(2)
        bonus.phi[3].weight.copy_(torch.eye(2))
    return bonus


def test_bonus_and_losses_by_hand(by_hand):
    with torch.no_grad():
        by_hand.dynamics[0].weight[0, 4] = 1.0  # fires for action 2: place 2 + 2
        by_hand.dynamics[2].weight[1, 0] = 3.0
        by_hand.inverse[2].bias.copy_(torch.tensor([0.0, 0, math.log(2)]))
    obs, next_obs = torch.zeros(2, 6), torch.zeros(2, 6)
    next_obs[0, :2] = torch.tensor([1.0, 5])
    next_obs[1, :2] = torch.tensor([2.0, -4])
    batch = batch_of(obs, next_obs, torch.tensor([2, 0]))
    # action 2: phi_hat (0, 3) against (1, 5): (1 + 4)/2 = 2.5; action 0: (0, 0) against (2, 0): 4/2 = 2
    assert by_hand.score(batch).tolist() == pytest.approx([2.5, 2.0])
    metrics = by_hand.learn(batch, torch.Generator())
    # softmax of (0, 0, log 2) is (1/4, 1/4, 1/2)
    assert float(metrics["inverse_loss"]) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert float(metrics["inverse_accuracy"]) == 0.5
    assert float(metrics["forward_loss"]) == pytest.approx(2.25)


def test_the_logged_variance_is_of_each_feature_over_the_batch(by_hand):
    obs = torch.zeros(2, 6)
    obs[:, 0], obs[:, 1] = torch.tensor([1.0, 5]), 7
    metrics = by_hand.learn(batch_of(obs, obs, torch.tensor([0, 1])), torch.Generator())
    assert float(metrics["feature_variance"]) == pytest.approx((4 + 0) / 2)


def test_an_exact_forward_model_gives_exactly_0():
    bonus = build(Icm, spec("pixels"), width=8, hidden=8)
    with torch.no_grad():
        for parameter in bonus.dynamics.parameters():
            parameter.zero_()
        bonus.dynamics[0].weight[:, :8] = torch.eye(8)  # phi is not negative: the relu lets it through
        bonus.dynamics[2].weight.copy_(torch.eye(8))
    obs, action = random_obs(1, 5, "pixels")[0], torch.tensor([0, 1, 2, 3, 0])
    assert torch.equal(bonus.score(batch_of(obs, obs, action)), torch.zeros(5))
    assert (bonus.score(batch_of(obs, obs.flip(0), action))[[0, 1, 3, 4]] > 0).all()


def test_phi_learns_from_the_inverse_loss_alone():
    obs, next_obs, action = random_obs(1, 9)[0], random_obs(1, 9, seed=1)[0], torch.arange(9) % 4
    batch = batch_of(obs, next_obs, action)
    gradients = []
    for factor in (1.0, 100.0):  # 100 times the forward error must not move phi's gradient
        bonus = build(Icm, spec(), width=8, hidden=8)
        with torch.no_grad():
            bonus.dynamics[2].weight.mul_(factor)
        bonus.learn(batch, torch.Generator())
        gradients.append([parameter.grad.clone() for parameter in bonus.phi.parameters()])
        assert all(p.grad.abs().sum() > 0 for rows in (bonus.inverse, bonus.dynamics) for p in rows.parameters())
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    # and it is the inverse loss's, by its weight 0.8
    fresh = build(Icm, spec(), width=8, hidden=8)
    loss = torch.nn.functional.cross_entropy(fresh.inverse(torch.cat(fresh.features(batch), 1)), action)
    expected = torch.autograd.grad(0.8 * loss, list(fresh.phi.parameters()))
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(gradients[0], expected, strict=True))


def draw(cells, generator):
    """Cells (B, 2) of a 10x10 grid -> frames (B, 3, 10, 10): the agent red, a television of four green pixels."""
    image = torch.zeros(len(cells), 3, SIDE, SIDE)
    image[torch.arange(len(cells)), 0, cells[:, 0], cells[:, 1]] = 255
    image[:, 1, :2, :2] = torch.randint(256, (len(cells), 2, 2), generator=generator).float()
    return image.to(torch.uint8)


def walk(cells, action, generator):
    after = (cells + MOVES[action]).clamp(0, SIDE - 1)
    return batch_of(draw(cells, generator), draw(after, generator), action)


def test_features_keep_the_action_and_drop_noise_on_a_grid():
    bonus = build(Icm, image_spec(3, SIDE, SIDE), width=64, hidden=64, learning_rate=3e-3)
    draws = torch.Generator().manual_seed(0)
    every = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).repeat_interleave(4, 0)
    actions = torch.arange(4).repeat(SIDE * SIDE)
    inside = ((every > 0) & (every < SIDE - 1)).all(1)  # at a wall nothing moves, and moves cannot be distinguished
    centre, moves = every[inside], MOVES[actions[inside]]

    def measure():
        """Inverse accuracy inside, bonus over half phi's squared spread, and phi's change with the TV over a move's."""
        with torch.no_grad():
            batch = walk(every, actions, draws)
            obs, next_obs = bonus.features(batch)
            accuracy = (bonus.inverse(torch.cat([obs, next_obs], 1)).argmax(1) == actions)[inside].float().mean()
            spread = (next_obs - next_obs.mean(0)).square().sum(1).mean() / 2
            frame, other = (torch.Generator().manual_seed(seed) for seed in (1, 2))
            phi, noisy = bonus.phi(draw(centre, frame)), bonus.phi(draw(centre, other))
            elsewhere = bonus.phi(draw(centre + moves, frame.manual_seed(1)))
            television = (noisy - phi).norm(dim=1).mean() / (elsewhere - phi).norm(dim=1).mean()
            return float(accuracy), float(bonus.score(batch).mean() / spread), float(television)

    measures = [measure()]
    for steps in (100, 1400):
        for _ in range(steps):
            drawn = torch.randint(len(every), (128,), generator=draws)
            bonus.learn(walk(every[drawn], actions[drawn], draws), draws)
        measures.append(measure())
    (_, _, noise), (_, early, _), (accuracy, late, quiet) = measures
    assert accuracy > 0.95
    assert late < early / 5
    assert noise > 0.4  # measured 0.58; then 0.08 to 0.10
    assert quiet < 0.15
