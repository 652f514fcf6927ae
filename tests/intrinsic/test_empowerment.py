"""Empowerment: channels and grids whose capacity is known, the bonus by hand, and the bonus against the exact value."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from agents.checkpoint import restore, state_of
from envs.registry import UsageError
from intrinsic import BONUSES
from intrinsic.base import Transitions
from intrinsic.empowerment import Empowerment, blahut_arimoto, exact_empowerment, windows
from tests.intrinsic.tools import build, feature_spec, make_steps, random_obs, spec

LOG_2 = math.log(2)


def grid() -> torch.Tensor:
    """p(s' | s, a) (25, 5, 25) of a walled 5x5 grid with 4 moves and stay."""
    world = torch.zeros(25, 5, 25)
    for row in range(5):
        for column in range(5):
            for action, (down, right) in enumerate([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)]):
                to = min(max(row + down, 0), 4) * 5 + min(max(column + right, 0), 4)
                world[row * 5 + column, action, to] = 1
    return world


def estimate(bonus: Empowerment, states: int) -> torch.Tensor:
    """Of every state, in bits."""
    every = torch.eye(states)
    zero = torch.zeros(states, dtype=torch.int64)
    with torch.no_grad():
        return bonus.score(Transitions(every * 0, zero, every, zero)) / LOG_2


def sampled(world: torch.Tensor, policy: torch.Tensor, size: int, draws: torch.Generator) -> Transitions:
    """Steps from evenly drawn states."""
    now = torch.randint(len(world), (size,), generator=draws)
    action = torch.multinomial(policy, size, replacement=True, generator=draws)
    following = torch.multinomial(world[now, action], 1, generator=draws).squeeze(1)
    return Transitions(F.one_hot(now, len(world)).float(), action, F.one_hot(following, len(world)).float(), now)


# exact --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "centre", "edge", "corner"), [(1, 5, 4, 3), (2, 13, 9, 6), (3, 21, 14, 10)]
)  # cells within reach: E = log2 of 2.322, 2, 1.585; 3.700, 3.170, 2.585; 4.392, 3.807, 3.322 bits
def test_a_walled_grid_is_known_exactly(n, centre, edge, corner):
    found = exact_empowerment(grid(), n)
    for cell, reach in ((12, centre), (2, edge), (10, edge), (14, edge), (22, edge), (0, corner), (24, corner)):
        assert float(found[cell]) == pytest.approx(math.log2(reach), abs=1e-6)
    reached = torch.linalg.matrix_power(grid().sum(1), n) > 0  # without chance: log2 of how many cells are in reach
    torch.testing.assert_close(found, reached.sum(1).double().log2(), rtol=0, atol=1e-6)


def test_noisy_channels_of_known_capacity():
    def entropy(p):
        return -p * math.log2(p) - (1 - p) * math.log2(1 - p)

    for p in (0.05, 0.11, 0.3):
        symmetric = torch.tensor([[1 - p, p], [p, 1 - p]])
        assert float(blahut_arimoto(symmetric)) == pytest.approx(1 - entropy(p), abs=1e-6)
        # Z: 0 arrives as 0, 1 arrives as 0 with probability p
        z = torch.tensor([[1.0, 0], [p, 1 - p]])
        assert float(blahut_arimoto(z)) == pytest.approx(math.log2(1 + (1 - p) * p ** (p / (1 - p))), abs=2e-6)
        erasure = torch.tensor([[1 - p, p, 0], [0, p, 1 - p]])
        assert float(blahut_arimoto(erasure)) == pytest.approx(1 - p, abs=1e-6)
    assert float(blahut_arimoto(torch.full((4, 3), 1 / 3))) == pytest.approx(0, abs=1e-9)


def test_many_channels_at_once_each_to_the_tolerance_from_below():
    channels = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0)).mul(6).softmax(-1)
    fine, rough = blahut_arimoto(channels, 1e-7), blahut_arimoto(channels, 0.02)
    assert fine.shape == (3, 2)
    assert (rough <= fine + 1e-7).all()
    assert (fine - rough).max() <= 0.02
    for place in ((0, 0), (2, 1)):
        assert float(fine[place]) == pytest.approx(float(blahut_arimoto(channels[place], 1e-7)), abs=2e-7)


def test_actions_are_composed_in_their_order():
    world = torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(0)).pow(4).double()
    world /= world.sum(2, keepdim=True)
    for state in range(3):
        channel = torch.stack([world[state, a] @ world[:, b] for a in range(2) for b in range(2)])
        assert float(exact_empowerment(world, 2)[state]) == pytest.approx(float(blahut_arimoto(channel)), abs=2e-6)


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
    now, following = random_obs(2, 2, "features")
    batch = Transitions(now, torch.tensor([0, 2]), following, torch.arange(2))
    # log Z = log(1/2 + 1/4 + 1/8)
    torch.testing.assert_close(flat.score(batch), torch.full((2,), math.log(0.875)))
    with torch.no_grad():
        flat.average[1].bias[0] = math.log(7) + math.log(3)  # log q > 0 cannot be: counts as 0
    torch.testing.assert_close(flat.score(batch), torch.full((2,), math.log(1.375)))


def test_the_losses_by_hand(flat):
    now, following = random_obs(2, 2, "features")
    batch = Transitions(now, torch.tensor([0, 2]), following, torch.arange(2))
    found = flat.learn(batch, torch.Generator())
    # behaviour: -log 0.5, -log 0.2
    assert float(found["behaviour"]) == pytest.approx(-(math.log(0.5) + math.log(0.2)) / 2, rel=1e-5)
    # planner: b exp(g) = (0.5, 0.6, 0.8), of 1.9
    assert float(found["planner"]) == pytest.approx(-(math.log(0.5 / 1.9) + math.log(0.8 / 1.9)) / 2, rel=1e-5)
    # q: w exp(g) = (1/2, 1/2, 1/2) / Z: a third each; m = log 0.2 and log 0.8
    expected = (math.log(0.2 * 3) ** 2 + math.log(0.8 * 3) ** 2) / 2
    assert float(found["source"]) == pytest.approx(expected, rel=1e-5)


def test_each_loss_trains_its_own_network_and_the_average_follows():
    bonus = build(Empowerment, spec("pixels", actions=3), width=8, averaging=0.75)
    now, following = random_obs(2, 5, "pixels")
    batch = Transitions(now, torch.tensor([0, 2, 1, 1, 2]), following, torch.arange(5))
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
    g, log_b = expected.planner(now, following)
    log_q = (expected.average(now) + g.detach()).log_softmax(1)
    error = (expected.source(now) - math.log(3) - log_q).gather(1, batch.action.unsqueeze(1))
    expected.zero_grad()
    (F.nll_loss(log_b, batch.action) + error.square().mean()).backward()
    torch.testing.assert_close(bonus.planner.behaviour.weight.grad, expected.planner.behaviour.weight.grad)
    torch.testing.assert_close(bonus.source[1].weight.grad, expected.source[1].weight.grad)
    torch.testing.assert_close(bonus.source[0].dense.weight.grad, expected.source[0].dense.weight.grad)
    assert expected.planner.compare[-1].weight.grad is None or not expected.planner.compare[-1].weight.grad.any()
    expected.zero_grad()
    F.cross_entropy(log_b.detach() + expected.planner(now, following)[0], batch.action).backward()
    for mine, theirs in zip(bonus.planner.compare.parameters(), expected.planner.compare.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_a_walled_grid_is_bounded_from_below_and_within_a_twentieth():
    """5x5 grid, one-hot, even actions. The noise of the estimate is 0.01 bits between seeds."""
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bonus = Empowerment(
            feature_spec(25, 5), Empowerment.Config(on="auto", width=64, learning_rate=3e-3, averaging=0.98)
        )
    world, even = grid(), torch.ones(5)
    assert estimate(bonus, 25).abs().max() < 1e-6
    for _ in range(800):
        bonus.learn(sampled(world, even, 256, draws), draws)
    found, exact = estimate(bonus, 25), exact_empowerment(world).float()
    assert (found / exact).min() > 0.95
    assert (found - exact).max() < 0.01
    # an even source would transmit 0.6 log2(5/3) + 0.4 log2 5 = 1.371 of the corner's 1.585 bits
    assert found[[0, 4, 20, 24]].min() > 1.371 + 0.1


def test_the_source_leaves_a_noisy_action_that_the_policy_likes():
    """Two actions lead to states 0 and 1, the third, taken 3 times in 5, to either: 1 bit, an even source has 2/3."""
    world = torch.tensor([[[1.0, 0], [0, 1], [0.5, 0.5]]] * 2)
    assert float(exact_empowerment(world)[0]) == pytest.approx(1, abs=2e-6)
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bonus = Empowerment(
            feature_spec(2, 3), Empowerment.Config(on="auto", width=16, learning_rate=1e-2, averaging=0.97)
        )
    for _ in range(600):
        bonus.learn(sampled(world, torch.tensor([0.2, 0.2, 0.6]), 256, draws), draws)
    found = estimate(bonus, 2)
    assert found.min() > 0.95
    assert found.max() < 1.01


def test_two_actions_in_a_row_in_a_corridor():
    """4 cells, left and right, walks of 9 steps that now and then end: 3 cells in reach from each, log2 3 bits."""
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = Empowerment.Config(on="auto", width=32, learning_rate=5e-3, averaging=0.97, batch=128, horizon=2)
        bonus = Empowerment(feature_spec(4, 2), config)
    cell = torch.randint(4, (48,), generator=draws)
    for _ in range(250):
        done = torch.rand(9, 48, generator=draws) < 0.1
        action = torch.randint(2, (9, 48), generator=draws)
        now, following = [], []
        for t in range(9):
            now.append(cell)
            cell = (cell + 2 * action[t] - 1).clamp(0, 3)
            following.append(cell)
            cell = torch.where(done[t], torch.randint(4, (48,), generator=draws), cell)
        seen = (F.one_hot(torch.stack(part), 4).float() for part in (now, following))
        bonus.update(make_steps(*seen, action=action, done=done), draws)
    found = estimate(bonus, 4)
    world = torch.zeros(4, 2, 4)
    for a in range(2):
        world[torch.arange(4), a, (torch.arange(4) + 2 * a - 1).clamp(0, 3)] = 1
    exact = exact_empowerment(world, 2).float()
    torch.testing.assert_close(exact, torch.tensor(3.0).log2().expand(4), rtol=0, atol=1e-5)
    assert (found / exact).min() > 0.95
    assert (found - exact).max() < 0.01


def test_stretches_of_one_episode():
    now, following = random_obs(5, 3), random_obs(5, 3, seed=1)
    action = torch.tensor([[0, 1, 2], [3, 0, 1], [2, 3, 0], [1, 2, 3], [0, 0, 1]])
    done, valid = torch.zeros(5, 3, dtype=torch.bool), torch.ones(5, 3, dtype=torch.bool)
    done[1, 0] = done[3, 1] = done[4, 2] = True
    valid[3, 1] = False
    steps = make_steps(now, following, action=action, done=done, valid=valid)
    two, three = windows(steps, 2, 4), windows(steps, 3, 4)
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
    assert torch.equal(three.obs["image"], now[:3])
    assert torch.equal(three.next_obs["image"], following[2:])
    alone = windows(steps, 1, 4)
    assert torch.equal(alone.action, action)
    assert torch.equal(alone.next_valid, valid)
    with pytest.raises(UsageError, match=r"horizon=3 needs rollouts of 3 steps or more, these have 2"):
        windows(make_steps(now[:2], following[:2]), 3, 4)


def test_nothing_at_a_terminal_state_or_where_what_followed_is_not_known(flat):
    torch.nn.init.normal_(flat.average[1].weight)
    now, following = random_obs(5, 3, "features"), random_obs(5, 3, "features", seed=1)
    done, valid = torch.zeros(5, 3, dtype=torch.bool), torch.ones(5, 3, dtype=torch.bool)
    done[1, 0] = done[2, 2] = done[3, 1] = True
    valid[3, 1] = False
    steps = make_steps(now, following, done=done, valid=valid)
    steps.terminated = done & ~torch.tensor([False, False, True])
    steps.truncated = done & torch.tensor([False, False, True])
    m = flat.average(following.flatten(0, 1)) - math.log(3)
    expected = m.clamp(max=0).exp().sum(1).log().view(5, 3).detach()
    assert (expected != 0).all()
    expected[1, 0] = expected[3, 1] = 0  # a terminal state; a frame that is lost
    torch.testing.assert_close(flat.compute(steps), expected)


@pytest.mark.parametrize("kind", ["pixels", "symbols", "features", "tiny"])
def test_untrained_it_pays_nothing_anywhere_and_trained_at_most_n_log_a(kind):
    bonus = build(Empowerment, spec(kind, actions=3), on="auto", width=8, learning_rate=0.01, averaging=0.5, horizon=2)
    action = torch.randint(3, (5, 3), generator=torch.Generator().manual_seed(0))
    steps = make_steps(random_obs(5, 3, kind), random_obs(5, 3, kind, seed=1), action=action)
    assert bonus.compute(steps).abs().max() < 1e-6
    for seed in range(12):
        metrics = bonus.update(steps, torch.Generator().manual_seed(seed))
    paid = bonus.compute(steps)
    assert paid.abs().max() > 0.001
    assert paid.max() <= 2 * math.log(3) + 1e-6
    assert metrics["planner"] < 2 * math.log(3)


def test_a_checkpoint_restores_the_scores_and_the_next_step():
    steps = make_steps(random_obs(5, 3), random_obs(5, 3, seed=1), action=torch.arange(15).view(5, 3) % 4)
    one, other = (build(Empowerment, spec(), seed=seed, width=8, batch=4, averaging=0.5) for seed in (0, 1))
    one.update(steps, torch.Generator().manual_seed(1))
    restore(other, copy.deepcopy(state_of(one)))
    for _ in range(2):
        assert torch.equal(one.compute(steps), other.compute(steps))
        updates = [bonus.update(steps, torch.Generator().manual_seed(2)) for bonus in (one, other)]
        assert updates[0] == updates[1]


def test_name_and_bad_settings():
    assert BONUSES.resolve("empowerment") is Empowerment
    for bad in ({"horizon": 0}, {"horizon": 4}, {"width": 0}, {"averaging": 1.0}, {"batch": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Empowerment.Config(**bad)
    with pytest.raises(UsageError, match=r"18\^3 sequences"):
        build(Empowerment, spec(actions=18), horizon=3)
    for small in (0, 1e-13):  # rounding alone might never let the bounds so near
        with pytest.raises(ValueError, match=f"tolerance={small}"):
            blahut_arimoto(torch.eye(2), small)
    with pytest.raises(ValueError, match="n=0"):
        exact_empowerment(torch.eye(2).unsqueeze(1), 0)
