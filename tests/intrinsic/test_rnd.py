"""RND: the whitened error by hand, a target that never moves, and an error that falls with visits."""

from __future__ import annotations

import pytest
import torch

from intrinsic.base import Transitions
from intrinsic.rnd import Rnd, RndConfig
from tests.intrinsic.tools import build, make_steps, random_obs, spec


def batch_of(inputs):
    count = len(inputs)
    return Transitions(obs=inputs, action=torch.zeros(count).long(), next_obs=inputs, index=torch.arange(count))


def test_the_bonus_by_hand():
    bonus = build(Rnd, spec("features"), on="features", width=2)
    with torch.no_grad():
        for network in (bonus.target, bonus.predictor):
            for parameter in network.parameters():
                parameter.zero_()
        # target: relu(x_0), relu(x_1), then through unchanged
        bonus.target[1].weight[:, :2] = torch.eye(2)
        bonus.target[3].weight.copy_(torch.eye(2))
        bonus.predictor[-1].bias.copy_(torch.tensor([1.0, -1]))
    bonus.moments.mean.fill_(1)
    bonus.moments.variance.fill_(4)
    inputs = torch.zeros(2, 6)
    inputs[0, :2] = torch.tensor([5.0, 7])  # whitened (5 - 1)/2 = 2, 3: ((1 - 2)^2 + (-1 - 3)^2)/2 = 8.5
    inputs[1, :2] = torch.tensor([101.0, -3])  # 50, clipped to 5; -2, rectified to 0: (16 + 1)/2 = 8.5
    assert bonus.score(batch_of(inputs)).tolist() == pytest.approx([8.5, 8.5])
    inputs[1, 1] = 9.0  # 4: (16 + 25)/2
    assert bonus.score(batch_of(inputs)).tolist() == pytest.approx([8.5, 20.5])


def test_equal_networks_give_exactly_0():
    bonus = build(Rnd, spec("pixels"), width=8)
    bonus.predictor = bonus.target
    assert torch.equal(
        bonus.compute(make_steps(random_obs(5, 3, "pixels"), random_obs(5, 3, "pixels", 1))), torch.zeros(5, 3)
    )


@pytest.mark.parametrize("kind", ["pixels", "symbols", "features"])
def test_the_next_observation_is_whitened_by_the_rollout_itself(kind):
    bonus = build(Rnd, spec(kind), on="auto", width=8)
    next_obs = random_obs(5, 3, kind, 1)
    got = bonus.compute(make_steps(random_obs(5, 3, kind), next_obs))
    x = bonus.inputs.to_float(next_obs.flatten(0, 1)).double()
    # the start (mean 0, variance 1) weighs 1e-4 against 15 rows; a code that no row shows has variance 1e-4 / 15
    mean = x.mean(0) * 15 / 15.0001
    variance = (x.var(0, unbiased=False) * 15 + 1e-4 + mean * x.mean(0) * 1e-4) / 15.0001
    white = ((x - mean) / (variance + 1e-8).sqrt()).clamp(-5, 5).float()
    expected = (bonus.predictor(white) - bonus.target(white)).square().mean(1).view(5, 3)
    assert torch.allclose(got, expected, rtol=1e-3, atol=1e-5)


def test_moments_take_in_each_valid_successor_once():
    bonus = build(Rnd, spec("tiny"), width=8)
    valid = torch.ones(5, 3, dtype=torch.bool)
    valid[2, 1] = False
    next_obs = random_obs(5, 3, "tiny", 1)
    next_obs[2, 1] = 255
    steps = make_steps(random_obs(5, 3), next_obs, valid=valid)
    bonus.compute(steps)
    assert float(bonus.moments.count) == pytest.approx(14, abs=1e-3)
    assert torch.allclose(bonus.moments.mean, (next_obs[valid] / 255).mean(0).double(), atol=1e-4)
    before = bonus.moments.mean.clone()
    bonus.update(steps, torch.Generator().manual_seed(0))
    assert torch.equal(bonus.moments.mean, before)


def test_the_share_is_the_fraction_learnt_from():
    inputs = random_obs(1, 8)[0]
    bonus = build(Rnd, spec(), width=8, share=0.3)
    errors = bonus.error(inputs).detach()
    # 0.3 of 8 is 2.4: two of them; which two, the generator says
    kept = torch.randperm(8, generator=torch.Generator().manual_seed(5))[:2]
    loss = bonus.learn(batch_of(inputs), torch.Generator().manual_seed(5))["loss"]
    assert float(loss) == pytest.approx(float(errors[kept].mean()), rel=1e-5)
    whole = build(Rnd, spec(), width=8)
    assert float(whole.learn(batch_of(inputs), torch.Generator())["loss"]) == pytest.approx(
        float(errors.mean()), rel=1e-5
    )


def bars(count, vertical, seed):
    """Noisy images (count, 3, 4, 5), one row or one column of each bright."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 40, (count, 3, 4, 5), generator=generator)
    row, column = torch.randint(4, (count,), generator=generator), torch.randint(5, (count,), generator=generator)
    for one, r, c in zip(image, row, column, strict=True):
        (one[:, :, c] if vertical else one[:, r]).fill_(220)
    return image.to(torch.uint8)


def test_the_error_of_a_class_falls_with_its_number_of_examples():
    # The paper's figure 2 in small: a horizontal bar is always there, a vertical one 0, 2, 20 or 200 times among 200.
    unseen, errors = bars(64, True, 9), []
    for examples in (0, 2, 20, 200):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            bonus = Rnd(spec(), RndConfig(width=64, learning_rate=1e-3))
        data = torch.cat([bars(200, False, 1), bars(200, True, 2)[:examples]])
        bonus.moments.update(bonus.inputs.to_float(torch.cat([bars(200, False, 1), bars(200, True, 2)])))
        draws = torch.Generator().manual_seed(3)
        for _ in range(200):
            bonus.learn(batch_of(data[torch.randint(len(data), (64,), generator=draws)]), draws)
        errors.append(float(bonus.error(unseen).detach().mean()))
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[0] > 3 * errors[3]
