"""Surprise of a video model: the divergence by hand, the memory before each step, and what stays surprising."""

from __future__ import annotations

import pytest
import torch

from intrinsic.svg_surprise import SvgSurprise
from tests.intrinsic.tools import build, feature_spec, image_spec, make_steps, random_obs, spec

SMALL = {"width": 16, "hidden": 16, "latents": 2, "channels": 2, "on": "auto"}
T, N = 5, 3


def make(kind="features", **settings):
    return build(SvgSurprise, spec(kind), **(SMALL | settings))


def test_the_bonus_is_the_divergence_of_posterior_from_prior():
    bonus = make()
    with torch.no_grad():
        for head in (bonus.model.prior_head, bonus.model.posterior_head):
            head.weight.zero_()
            head.bias.zero_()
        bonus.model.posterior_head.bias[:2] = torch.tensor([1.0, 3.0])  # 0.5 (1 + 9) nats
    steps = make_steps(random_obs(T, N, "features"), random_obs(T, N, "features", 1))
    assert bonus.compute(steps).flatten().tolist() == pytest.approx([5.0] * (T * N))


def test_memory_is_that_of_the_steps_before_in_the_episode():
    bonus = make()
    obs = random_obs(T, N, "features")
    done = torch.zeros(T, N, dtype=torch.bool)
    done[1, 2] = True  # so that step 2 opens an episode
    action = torch.randint(4, (T, N), generator=torch.Generator().manual_seed(0))
    steps = make_steps(obs, torch.cat([obs[1:], obs[-1:]]), action, done)
    memories = bonus.memories(steps)
    assert not memories[0].any()
    assert not memories[2, 2].any()
    with torch.no_grad():
        codes = bonus.encoder(obs.flatten(0, 1))[0].unflatten(0, (T, N))
        memory = bonus.model.empty(N)
        for t in range(3):
            memory = bonus.model(codes[t], codes[t + 1], memory, action=bonus.codes.encode(action[t])).memory
            if t == 1:
                memory[2] = 0
    torch.testing.assert_close(memories[3], memory.flatten(1))
    for batch in bonus.transitions(steps, 4):
        assert torch.equal(batch.context, memories.flatten(0, 1)[batch.index])


def test_frames_go_through_convolutions_and_the_prior_gets_no_error():
    bonus = build(SvgSurprise, image_spec(3, 20, 36), **SMALL)
    assert bonus.convolutional
    draws = torch.Generator().manual_seed(0)
    obs, after = (torch.randint(256, (T, N, 3, 20, 36), generator=draws).to(torch.uint8) for _ in range(2))
    (batch,) = bonus.transitions(make_steps(obs, after), T * N)
    transition, maps = bonus.step(batch, draws)
    error = (bonus.decoder(transition.code, maps) - bonus.numbers(batch.next_obs)).square().mean()
    prior = [*bonus.model.prior_cell.parameters(), *bonus.model.prior_head.parameters()]
    assert not any(torch.autograd.grad(error, prior, allow_unused=True, retain_graph=True))
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(transition.surprise.mean(), prior, retain_graph=True))
    assert torch.autograd.grad(error, [bonus.encoder.dense.weight])[0].abs().sum() > 0


def test_chance_stays_surprising_and_what_an_action_decides_does_not():
    bonus = build(SvgSurprise, feature_spec(3), **(SMALL | {"learning_rate": 5e-3, "batch": 64}))
    generator = torch.Generator().manual_seed(0)

    def rollout():
        """From 'calm' (1, 0) the last number becomes the action's parity, from 'coin' (0, 1) a fair coin."""
        coin = torch.rand(16, 16, generator=generator) < 0.5
        action = torch.randint(4, (16, 16), generator=generator)
        toss = torch.randint(2, (16, 16), generator=generator)
        last = 2.0 * torch.where(coin, toss, action % 2) - 1
        obs = torch.stack([1.0 - coin.float(), coin.float(), torch.zeros(16, 16)], 2)
        return make_steps(obs, torch.stack([obs[..., 0], obs[..., 1], last], 2), action), coin

    metrics = [bonus.update(rollout()[0], generator) for _ in range(60)]
    steps, coin = rollout()
    value = bonus.compute(steps)
    assert metrics[-1]["error"] < 0.3 * metrics[0]["error"]
    assert value[coin].mean() > 3 * value[~coin].mean()
