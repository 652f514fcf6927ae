"""ICM: both losses by hand, what teaches phi, and a small world with a noisy television."""

from __future__ import annotations

import math

import pytest
import torch

from intrinsic import BONUSES
from intrinsic.base import Transitions
from intrinsic.icm import Icm, IcmConfig
from tests.intrinsic.tools import build, image_spec, random_obs, spec

SIDE = 10
MOVES = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1]])


def batch_of(now, following, action):
    return Transitions(now=now, action=action, next=following, place=torch.arange(len(action)))


@pytest.fixture
def by_hand():
    """phi = relu of the first two features; everything else 0 but the last biases."""
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
    now, following = torch.zeros(2, 6), torch.zeros(2, 6)
    following[0, :2] = torch.tensor([1.0, 5])
    following[1, :2] = torch.tensor([2.0, -4])
    batch = batch_of(now, following, torch.tensor([2, 0]))
    # action 2: phi_hat (0, 3) against (1, 5): (1 + 4)/2 = 2.5; action 0: (0, 0) against (2, 0): 4/2 = 2
    assert by_hand.score(batch).tolist() == pytest.approx([2.5, 2.0])
    metrics = by_hand.learn(batch, torch.Generator())
    # softmax of (0, 0, log 2) is (1/4, 1/4, 1/2)
    assert float(metrics["inverse_loss"]) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert float(metrics["inverse_accuracy"]) == 0.5
    assert float(metrics["forward_loss"]) == pytest.approx(2.25)


def test_the_logged_variance_is_of_each_feature_over_the_batch(by_hand):
    now = torch.zeros(2, 6)
    now[:, 0], now[:, 1] = torch.tensor([1.0, 5]), 7
    metrics = by_hand.learn(batch_of(now, now, torch.tensor([0, 1])), torch.Generator())
    assert float(metrics["feature_variance"]) == pytest.approx((4 + 0) / 2)


def test_an_exact_forward_model_gives_exactly_nothing():
    bonus = build(Icm, spec("pixels"), width=8, hidden=8)
    with torch.no_grad():
        for parameter in bonus.dynamics.parameters():
            parameter.zero_()
        bonus.dynamics[0].weight[:, :8] = torch.eye(8)  # phi is not negative: the relu lets it through
        bonus.dynamics[2].weight.copy_(torch.eye(8))
    seen, action = random_obs(1, 5, "pixels")[0], torch.tensor([0, 1, 2, 3, 0])
    assert torch.equal(bonus.score(batch_of(seen, seen, action)), torch.zeros(5))
    assert (bonus.score(batch_of(seen, seen.flip(0), action))[[0, 1, 3, 4]] > 0).all()


def test_phi_learns_from_the_inverse_loss_alone():
    now, following, action = random_obs(1, 9)[0], random_obs(1, 9, seed=1)[0], torch.arange(9) % 4
    batch = batch_of(now, following, action)
    gradients = []
    for factor in (1.0, 100.0):  # 100 times the forward error must not move phi's gradient
        bonus = build(Icm, spec(), width=8, hidden=8)
        with torch.no_grad():
            bonus.dynamics[2].weight.mul_(factor)
        bonus.learn(batch, torch.Generator())
        gradients.append([parameter.grad.clone() for parameter in bonus.phi.parameters()])
        assert all(p.grad.abs().sum() > 0 for part in (bonus.inverse, bonus.dynamics) for p in part.parameters())
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


def test_in_a_small_world_it_knows_the_action_forgets_the_noise_and_tires_of_what_it_saw():
    bonus = build(Icm, image_spec(3, SIDE, SIDE), width=64, hidden=64, learning_rate=3e-3)
    draws = torch.Generator().manual_seed(0)
    every = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)).repeat_interleave(4, 0)
    actions = torch.arange(4).repeat(SIDE * SIDE)
    inside = ((every > 0) & (every < SIDE - 1)).all(1)  # at a wall nothing moves, and moves look alike
    centre, moves = every[inside], MOVES[actions[inside]]

    def look():
        """Inverse accuracy inside, bonus over half phi's squared spread, and phi's change with the TV over a move's."""
        with torch.no_grad():
            batch = walk(every, actions, draws)
            now, following = bonus.features(batch)
            told = (bonus.inverse(torch.cat([now, following], 1)).argmax(1) == actions)[inside].float().mean()
            spread = (following - following.mean(0)).square().sum(1).mean() / 2
            frame, other = (torch.Generator().manual_seed(seed) for seed in (1, 2))
            phi, noisy = bonus.phi(draw(centre, frame)), bonus.phi(draw(centre, other))
            elsewhere = bonus.phi(draw(centre + moves, frame.manual_seed(1)))
            television = (noisy - phi).norm(dim=1).mean() / (elsewhere - phi).norm(dim=1).mean()
            return float(told), float(bonus.score(batch).mean() / spread), float(television)

    found = [look()]
    for steps in (100, 1400):
        for _ in range(steps):
            drawn = torch.randint(len(every), (128,), generator=draws)
            bonus.learn(walk(every[drawn], actions[drawn], draws), draws)
        found.append(look())
    (_, _, noise), (_, early, _), (told, late, quiet) = found
    assert told > 0.95
    assert late < early / 5
    assert noise > 0.4  # measured 0.58; then 0.08 to 0.10
    assert quiet < 0.15


def test_name_and_bad_settings():
    assert BONUSES.resolve("icm") is Icm
    with pytest.raises(ValueError, match="beta=1"):
        IcmConfig(beta=1.0)
    with pytest.raises(ValueError, match="hidden=0"):
        IcmConfig(hidden=0)
    with pytest.raises(ValueError, match="learning_rate=0"):
        IcmConfig(learning_rate=0)
