"""Empowerment: channels and grids whose capacity is known, the bonus by hand, and the bonus against the exact value."""

from __future__ import annotations

import copy
import math

import gymnasium as gym
import pytest
import torch
import torch.nn.functional as F

from envs.action_codes import ActionCodes
from envs.registry import UsageError
from intrinsic.base import Transitions
from intrinsic.empowerment import Empowerment, action_sequences
from intrinsic.models.channel_capacity import exact_empowerment
from tests.intrinsic.tools import build, feature_spec, make_steps, random_obs, spec, walled_grid

LOG_2 = math.log(2)
FOUR = ActionCodes(gym.spaces.Discrete(4))


def estimate(bonus: Empowerment, states: int) -> torch.Tensor:
    """Of every state, in bits."""
    every = torch.eye(states)
    zero = torch.zeros(states, dtype=torch.int64)
    with torch.no_grad():
        return bonus.score(Transitions(every * 0, zero, every, zero)) / LOG_2


def sampled(transition: torch.Tensor, policy: torch.Tensor, size: int, draws: torch.Generator) -> Transitions:
    """Steps from evenly drawn states."""
    obs = torch.randint(len(transition), (size,), generator=draws)
    action = torch.multinomial(policy, size, replacement=True, generator=draws)
    next_obs = torch.multinomial(transition[obs, action], 1, generator=draws).squeeze(1)
    return Transitions(
        F.one_hot(obs, len(transition)).float(), action, F.one_hot(next_obs, len(transition)).float(), obs
    )


# exact --------------------------------------------------------------------------------------------------------------


# the bonus ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def flat():
    """Nets whose outputs are their last biases: m by the average, m by the newest source, g and log b."""
    bonus = build(Empowerment, spec("features", actions=3), on="auto", width=8, averaging=0.75)
    with torch.no_grad():
        bonus.average[1].bias.copy_(torch.tensor([0.5, 0.25, 0.125]).log() + math.log(3))
        bonus.source[1].bias.copy_(torch.tensor([0.2, 0.4, 0.8]).log() + math.log(3))
        bonus.planner.compare[-1].bias.copy_(torch.tensor([1.0, 2, 4]).log())
        bonus.planner.behaviour.bias.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    return bonus


def test_the_bonus_by_hand(flat):
    obs, next_obs = random_obs(2, 2, "features")
    batch = Transitions(obs, torch.tensor([0, 2]), next_obs, torch.arange(2))
    # log Z = log(1/2 + 1/4 + 1/8)
    torch.testing.assert_close(flat.score(batch), torch.full((2,), math.log(0.875)))
    with torch.no_grad():
        flat.average[1].bias[0] = math.log(7) + math.log(3)  # log q > 0 cannot be: counts as 0
    torch.testing.assert_close(flat.score(batch), torch.full((2,), math.log(1.375)))


def test_the_losses_by_hand(flat):
    obs, next_obs = random_obs(2, 2, "features")
    batch = Transitions(obs, torch.tensor([0, 2]), next_obs, torch.arange(2))
    found = flat.learn(batch, torch.Generator())
    # behaviour: -log 0.5, -log 0.2
    assert float(found["behaviour"]) == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2, rel=1e-5)
    # planner: b exp(g) = (0.5, 0.6, 0.8), of 1.9
    assert float(found["planner"]) == pytest.approx(-(math.log(0.5 / 1.9) + math.log(0.8 / 1.9)) / 2, rel=1e-5)
    # q: w exp(g) = (1/2, 1/2, 1/2) / Z: a third each; m = log 0.2 and log 0.8
    expected = (math.log(0.2 * 3) ** 2 + math.log(0.8 * 3) ** 2) / 2
    assert float(found["source"]) == pytest.approx(expected, rel=1e-5)


def test_each_loss_trains_its_own_network_and_the_average_moves():
    bonus = build(Empowerment, spec("pixels", actions=3), width=8, averaging=0.75)
    obs, next_obs = random_obs(2, 5, "pixels")
    batch = Transitions(obs, torch.tensor([0, 2, 1, 1, 2]), next_obs, torch.arange(5))
    for _ in range(3):  # the first reaches the planner's zeroed last layers, the next its trunk, then the source
        bonus.learn(batch, torch.Generator())
    before = [p.clone() for p in bonus.average.parameters()]
    expected = copy.deepcopy(bonus)
    bonus.learn(batch, torch.Generator())
    held = [id(p) for group in bonus.optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in bonus.parameters() if p.requires_grad)
    for p in (*bonus.planner.parameters(), *bonus.source.parameters()):
        assert p.grad.abs().sum() > 0
    for mean, old, newest in zip(bonus.average.parameters(), before, bonus.source.parameters(), strict=True):
        assert not mean.requires_grad
        torch.testing.assert_close(mean, 0.75 * old + 0.25 * newest)
    # by hand: what the behaviour's layer sees of the planner's loss, and the planner of the source's, is nothing
    g, log_b = expected.planner(obs, next_obs)
    log_q = (expected.average(obs) + g.detach()).log_softmax(1)
    error = (expected.source(obs) - math.log(3) - log_q).gather(1, batch.action.unsqueeze(1))
    expected.zero_grad()
    (F.nll_loss(log_b, batch.action) + error.square().mean()).backward()
    torch.testing.assert_close(bonus.planner.behaviour.weight.grad, expected.planner.behaviour.weight.grad)
    torch.testing.assert_close(bonus.source[1].weight.grad, expected.source[1].weight.grad)
    torch.testing.assert_close(bonus.source[0].dense.weight.grad, expected.source[0].dense.weight.grad)
    assert expected.planner.compare[-1].weight.grad is None or not expected.planner.compare[-1].weight.grad.any()
    expected.zero_grad()
    F.cross_entropy(log_b.detach() + expected.planner(obs, next_obs)[0], batch.action).backward()
    for mine, theirs in zip(bonus.planner.compare.parameters(), expected.planner.compare.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_a_walled_grid_is_bounded_from_below_within_5_percent():
    """5x5 grid, one-hot, even actions. The noise of the estimate is 0.01 bits between seeds."""
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bonus = Empowerment(
            feature_spec(25, 5), Empowerment.Config(on="auto", width=64, learning_rate=3e-3, averaging=0.98)
        )
    transition, even = walled_grid(), torch.ones(5)
    assert estimate(bonus, 25).abs().max() < 1e-6
    for _ in range(800):
        bonus.learn(sampled(transition, even, 256, draws), draws)
    found, exact = estimate(bonus, 25), exact_empowerment(transition).float()
    assert (found / exact).min() > 0.95
    assert (found - exact).max() < 0.01
    # an even source would transmit 0.6 log2(5/3) + 0.4 log2 5 = 1.371 of the corner's 1.585 bits
    assert found[[0, 4, 20, 24]].min() > 1.371 + 0.1


def test_the_source_avoids_a_noisy_action_that_the_policy_takes():
    """Two actions lead to states 0 and 1, the third, taken 3 times in 5, to either: 1 bit, an even source has 2/3."""
    transition = torch.tensor([[[1.0, 0], [0, 1], [0.5, 0.5]]] * 2)
    assert float(exact_empowerment(transition)[0]) == pytest.approx(1, abs=2e-6)
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bonus = Empowerment(
            feature_spec(2, 3), Empowerment.Config(on="auto", width=16, learning_rate=1e-2, averaging=0.97)
        )
    for _ in range(600):
        bonus.learn(sampled(transition, torch.tensor([0.2, 0.2, 0.6]), 256, draws), draws)
    found = estimate(bonus, 2)
    assert found.min() > 0.95
    assert found.max() < 1.01


def test_sequences_of_two_actions_in_a_corridor():
    """4 cells, left and right, walks of 9 steps that obs and then end: 3 cells in reach from each, log2 3 bits."""
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Empowerment.Config(on="auto", width=32, learning_rate=5e-3, averaging=0.97, batch=128, horizon=2)
        bonus = Empowerment(feature_spec(4, 2), config)
    cell = torch.randint(4, (48,), generator=draws)
    for _ in range(250):
        done = torch.rand(9, 48, generator=draws) < 0.1
        action = torch.randint(2, (9, 48), generator=draws)
        obs, next_obs = [], []
        for t in range(9):
            obs.append(cell)
            cell = (cell + 2 * action[t] - 1).clamp(0, 3)
            next_obs.append(cell)
            cell = torch.where(done[t], torch.randint(4, (48,), generator=draws), cell)
        seen = (F.one_hot(torch.stack(rows), 4).float() for rows in (obs, next_obs))
        bonus.update(make_steps(*seen, action=action, done=done), draws)
    found = estimate(bonus, 4)
    transition = torch.zeros(4, 2, 4)
    for a in range(2):
        transition[torch.arange(4), a, (torch.arange(4) + 2 * a - 1).clamp(0, 3)] = 1
    exact = exact_empowerment(transition, 2).float()
    torch.testing.assert_close(exact, torch.tensor(3.0).log2().expand(4), rtol=0, atol=1e-5)
    assert (found / exact).min() > 0.95
    assert (found - exact).max() < 0.01


def test_action_sequences_stay_within_one_episode():
    obs, next_obs = random_obs(5, 3), random_obs(5, 3, seed=1)
    action = torch.tensor([[0, 1, 2], [3, 0, 1], [2, 3, 0], [1, 2, 3], [0, 0, 1]])
    done, valid = torch.zeros(5, 3, dtype=torch.bool), torch.ones(5, 3, dtype=torch.bool)
    done[1, 0] = done[3, 1] = done[4, 2] = True
    valid[3, 1] = False
    steps = make_steps(obs, next_obs, action=action, done=done, valid=valid)
    two, three = action_sequences(steps, 2, FOUR), action_sequences(steps, 3, FOUR)
    # first action times 4, plus the second
    assert two.action.tolist() == [[3, 4, 9], [14, 3, 4], [9, 14, 3], [4, 8, 13]]
    # stream 0: the pair that begins at the end (t = 1) spans two episodes; 1: its third ends in a lost frame, its
    # fourth begins there; 2: an end with the last step is no matter
    assert two.next_valid.tolist() == [
        [True, True, True],
        [False, True, True],
        [True, False, True],
        [True, False, True],
    ]
    assert three.action[0].tolist() == [0 + 12 + 2, 16 + 0 + 3, 32 + 4 + 0]
    assert three.next_valid.tolist() == [[False, True, True], [False, False, True], [True, False, True]]
    assert torch.equal(three.obs["image"], obs[:3])
    assert torch.equal(three.next_obs["image"], next_obs[2:])
    alone = action_sequences(steps, 1, FOUR)
    assert torch.equal(alone.action, action)
    assert torch.equal(alone.next_valid, valid)
    with pytest.raises(UsageError, match=r"horizon=3 needs rollouts of 3 steps or more, these have 2"):
        action_sequences(make_steps(obs[:2], next_obs[:2]), 3, FOUR)


def test_the_bonus_is_0_at_terminal_states_and_unknown_successors(flat):
    torch.nn.init.normal_(flat.average[1].weight)
    obs, next_obs = random_obs(5, 3, "features"), random_obs(5, 3, "features", seed=1)
    done, valid = torch.zeros(5, 3, dtype=torch.bool), torch.ones(5, 3, dtype=torch.bool)
    done[1, 0] = done[2, 2] = done[3, 1] = True
    valid[3, 1] = False
    steps = make_steps(obs, next_obs, done=done, valid=valid)
    steps.terminated = done & ~torch.tensor([False, False, True])
    steps.truncated = done & torch.tensor([False, False, True])
    m = flat.average(next_obs.flatten(0, 1)) - math.log(3)
    expected = m.clamp(max=0).exp().sum(1).log().view(5, 3).detach()
    assert (expected != 0).all()
    expected[1, 0] = expected[3, 1] = 0  # a terminal state; a frame that is lost
    torch.testing.assert_close(flat.compute(steps), expected)


@pytest.mark.parametrize("kind", ["pixels", "symbols", "features", "tiny"])
def test_the_bonus_is_0_untrained_and_at_most_n_log_a_trained(kind):
    bonus = build(Empowerment, spec(kind, actions=3), on="auto", width=8, learning_rate=0.01, averaging=0.5, horizon=2)
    action = torch.randint(3, (5, 3), generator=torch.Generator().manual_seed(0))
    steps = make_steps(random_obs(5, 3, kind), random_obs(5, 3, kind, seed=1), action=action)
    assert bonus.compute(steps).abs().max() < 1e-6
    for seed in range(12):
        metrics = bonus.update(steps, torch.Generator().manual_seed(seed))
    values = bonus.compute(steps)
    assert values.abs().max() > 0.001
    assert values.max() <= 2 * math.log(3) + 1e-6
    assert metrics["planner"] < 2 * math.log(3)
