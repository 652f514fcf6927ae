"""Latent error: the network member by member, the standardised error by hand, and a latent that never learns."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch
import torch.nn.functional as F

from envs.action_codes import ActionCodes
from intrinsic.base import Transitions
from intrinsic.latent_error import Dynamics, LatentError
from tests.intrinsic.tools import build, make_steps, random_obs, spec


def batch_of(obs, next_obs, action):
    return Transitions(obs=obs, action=action, next_obs=next_obs, index=torch.arange(len(action)))


def test_an_ensemble_equals_its_members_one_by_one():
    torch.manual_seed(0)
    members = Dynamics(3, 6, ActionCodes(gym.spaces.Discrete(4)), 5, 2)
    z, action = torch.randn(7, 6), torch.arange(7) % 4
    taken = torch.eye(4)[action]
    together = members(z, action)
    for k in range(3):

        def dense(layer, x, k=k):
            return torch.cat([x, taken], 1) @ layer.weight[k] + layer.bias[k, 0]

        x = F.leaky_relu(dense(members.first, z), 0.01)
        for block in range(2):
            x = x + dense(members.inner[2 * block + 1], F.leaky_relu(dense(members.inner[2 * block], x), 0.01))
        assert torch.allclose(together[k], dense(members.last, x), atol=1e-6)
    # first (6 + 4) * 5 + 5, four of (5 + 4) * 5 + 5, last (5 + 4) * 6 + 6, three times
    assert sum(p.numel() for p in members.parameters()) == 3 * (55 + 4 * 50 + 60)


def test_the_bonus_by_hand():
    bonus = build(LatentError, spec("features"), width=4, blocks=1)
    with torch.no_grad():
        bonus.dynamics.last.weight.zero_()
        bonus.dynamics.last.bias.copy_(torch.tensor([1.0, 0, 0, 0, 0, 0]))
        bonus.dynamics.last.weight[0, 4 + 2, 1] = 2.0  # for action 2 the second number is 2
    bonus.moments.mean.fill_(3)
    bonus.moments.variance.copy_(torch.tensor([19.0, 1, 1, 1, 1, 1]))  # mean variance 4: std 2
    obs, next_obs = torch.zeros(2, 6), torch.full((2, 6), 3.0)
    next_obs[:, 1] = 9.0  # (9 - 3)/2 = 3
    got = bonus.score(batch_of(obs, next_obs, torch.tensor([0, 2]))).tolist()
    # (1, 0, 0 ..) against (0, 3, 0 ..): (1 + 9)/6; (1, 2, 0 ..): (1 + 1)/6
    assert got == pytest.approx([10 / 6, 2 / 6])


def test_an_exact_forward_model_gives_exactly_0():
    bonus = build(LatentError, spec("features"), width=4, blocks=0)
    with torch.no_grad():
        bonus.dynamics.last.weight.zero_()
        bonus.dynamics.last.bias.copy_(torch.tensor([1.0, 2, 3, 4, 5, 6]))
    bonus.moments.variance.fill_(1 - 1e-8)  # with the floor, std 1
    next_obs = torch.tensor([1.0, 2, 3, 4, 5, 6]).repeat(3, 1)
    assert torch.equal(bonus.score(batch_of(torch.randn(3, 6), next_obs, torch.arange(3))), torch.zeros(3))


def test_the_latent_is_the_features_or_else_a_fixed_random_network():
    both = spec("tiny", "features")
    assert build(LatentError, both).keys == ("features",)
    bonus = build(LatentError, both, on="image", latents=24, width=8)
    assert bonus.keys == ("image",)
    assert not any(p.requires_grad for p in bonus.phi.parameters())
    steps = make_steps(random_obs(5, 3), random_obs(5, 3, seed=1))
    bonus.compute(steps)
    followed = bonus.phi(random_obs(5, 3, seed=1).flatten(0, 1))
    # the rollout's own z has mean 0 and mean variance 1; the start weighs 1e-4 against 15 rows
    z = bonus.latent(random_obs(5, 3, seed=1).flatten(0, 1))
    assert float(z.mean(0).abs().max()) < 1e-3
    assert float(z.var(0, unbiased=False).mean()) == pytest.approx(1, rel=1e-2)
    assert torch.allclose(bonus.moments.mean.float(), followed.mean(0), atol=1e-4)


def test_the_unit_of_the_features_does_not_matter():
    values, learnt = [], []
    for unit in (1.0, 1000.0):
        bonus = build(LatentError, spec("features"), width=8, blocks=1)
        steps = make_steps(random_obs(5, 3, "features") * unit, random_obs(5, 3, "features", 1) * unit)
        bonus.compute(steps)
        learnt.append(bonus.update(steps, torch.Generator().manual_seed(0))["loss"])
        values.append(bonus.compute(steps))
    assert torch.allclose(*values, rtol=1e-3)
    assert learnt[0] == pytest.approx(learnt[1], rel=1e-3)


def test_a_noisy_television_is_rewarded_for_ever():
    # Action 1 redraws two of five columns, action 0 changes nothing; reported, not hidden: the paper's finding.
    bonus = build(LatentError, spec(), latents=16, width=64, blocks=1, learning_rate=3e-3)

    def television(size, seed):
        draws = torch.Generator().manual_seed(seed)
        obs = torch.randint(256, (size, 3, 4, 5), generator=draws).to(torch.uint8)
        next_obs = obs.clone()
        next_obs[1::2, :, :, :2] = torch.randint(256, (size // 2, 3, 4, 2), generator=draws).to(torch.uint8)
        return batch_of(obs, next_obs, torch.arange(size) % 2)

    bonus.moments.update(bonus.phi(television(500, 9998).next_obs))
    for step in range(400):
        bonus.learn(television(64, step), torch.Generator())
    values = bonus.score(television(500, 9999)).detach()
    noise, rule = float(values[1::2].mean()), float(values[::2].mean())
    assert noise > 10 * rule  # measured 0.63 against 0.015
