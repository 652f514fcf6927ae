"""VIC: the reward by hand, episodes across rollouts, and options that end apart."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from agents.checkpoint import load, restore, save, state_of
from intrinsic.base import Transitions
from intrinsic.vic import Vic
from tests.intrinsic.tools import build, feature_spec, make_steps, random_obs, spec

LOG_4 = math.log(4)


def episodes_of(start: torch.Tensor, end: torch.Tensor, *option: int) -> Transitions:
    place = torch.arange(len(option))
    return Transitions(start, torch.tensor(option), end, place)


def options_of(option: torch.Tensor, kinds: int = 4) -> torch.Tensor:
    """(T, N) -> (T, N, kinds)."""
    return F.one_hot(option, kinds).float()


def places(*ones: tuple[int, int]) -> torch.Tensor:
    """(5, 3) bool."""
    mask = torch.zeros(5, 3, dtype=torch.bool)
    for t, n in ones:
        mask[t, n] = True
    return mask


def one_step_episodes(kind: str):
    """Fifteen episodes of one step each."""
    option = options_of(torch.arange(15).view(5, 3) % 4)
    return make_steps(random_obs(5, 3, kind), random_obs(5, 3, kind, seed=1), done=~places(), context=option)


@pytest.fixture
def fixed_q():
    """A bonus whose q is 0.1, 0.2, 0.3, 0.4 for every episode."""
    bonus = build(Vic, spec("features"), on="auto", options=4, width=8, recent=8, batch=4, reuse=2)
    with torch.no_grad():
        bonus.q.compare[-1].bias.copy_(torch.tensor([1.0, 2, 3, 4]).log())
    return bonus


@pytest.fixture
def numbered_score(fixed_q, monkeypatch):
    """A bonus that scores 100 s_0 + s_f + option / 10, so that the number identifies the episode."""
    monkeypatch.setattr(
        fixed_q, "score", lambda batch: 100 * batch.obs[:, 0] + batch.next_obs[:, 0] + batch.action / 10
    )
    return fixed_q


def numbered(rollout: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Observation (t, n) is 100 rollout + 10 t + n; what truly followed it is a half more than it."""
    number = 100.0 * rollout + 10 * torch.arange(5.0).unsqueeze(1) + torch.arange(3.0)
    obs = number.unsqueeze(2).expand(5, 3, 6)
    return obs, obs + 0.5


def opened_again(steps, before):
    """Where the rollout ``before`` ended episodes, this one opens them; elsewhere they go on."""
    steps.first[0] = before.done[-1]
    return steps


def test_the_reward_by_hand(fixed_q):
    # log(q / p) with q = (0.1, 0.2, 0.3, 0.4) and p = 1/4: log 0.4, log 0.8, log 1.2, log 1.6
    start, end = random_obs(2, 5, "features")
    values = fixed_q.score(episodes_of(start, end, 3, 0, 1, 2, 2)).detach()
    torch.testing.assert_close(values, torch.tensor([1.6, 0.4, 0.8, 1.2, 1.2]).log())


def test_episodes_within_and_across_rollouts(numbered_score):
    obs, next_obs = numbered(0)
    option = torch.tensor([[0, 1, 2], [0, 1, 2], [3, 1, 2], [3, 1, 0], [3, 1, 1]])
    done = places((1, 0), (4, 1), (2, 2), (3, 2))
    one = make_steps(obs, next_obs, done=done, context=options_of(option))
    values = numbered_score.compute(one)
    # (1, 0) began at observation 0 and led to 10.5; (4, 1) at 1 to 41.5; (2, 2) at 2 to 22.5; (3, 2) at 32 to 32.5
    expected = torch.zeros(5, 3)
    expected[1, 0], expected[4, 1], expected[2, 2], expected[3, 2] = 10.5, 141.6, 222.7, 3232.5
    torch.testing.assert_close(values, expected)
    assert numbered_score.update(one, torch.Generator())["episodes"] == 4

    obs, next_obs = numbered(1)
    option = torch.tensor([[3, 2, 1], [0, 2, 1], [0, 2, 1], [0, 2, 3], [0, 0, 3]])
    done = places((0, 0), (3, 1), (2, 2))
    two = opened_again(make_steps(obs, next_obs, done=done, context=options_of(option)), one)
    values = numbered_score.compute(two)
    # (0, 0) began at 20, (2, 2) at 42, both of the first rollout; (3, 1) at 101, as the first ended with its last step
    expected = torch.zeros(5, 3)
    expected[0, 0], expected[3, 1], expected[2, 2] = 2000 + 100.5 + 0.3, 10100 + 131.5 + 0.2, 4200 + 122.5 + 0.1
    torch.testing.assert_close(values, expected)
    numbered_score.update(two, torch.Generator())

    # over a whole rollout nothing ends in stream 0, whose episode began at 110
    obs, next_obs = numbered(2)
    quiet = opened_again(make_steps(obs, next_obs, context=options_of(option * 0)), two)
    assert not numbered_score.compute(quiet).any()
    assert numbered_score.update(quiet, torch.Generator()) == {"episodes": 0}
    obs, next_obs = numbered(3)
    late = opened_again(make_steps(obs, next_obs, done=places((1, 0)), context=options_of(option * 0 + 2)), quiet)
    assert float(numbered_score.compute(late)[1, 0]) == pytest.approx(11000 + 310.5 + 0.2)


def test_an_episode_with_an_unknown_first_or_last_frame_earns_0(numbered_score):
    obs, next_obs = numbered(0)
    option = options_of(torch.zeros(5, 3, dtype=torch.int64))
    valid = ~places((1, 0), (2, 1))
    steps = make_steps(obs, next_obs, done=places((1, 0), (3, 0), (4, 2)), valid=valid, context=option)
    steps.first[0, 2] = False  # began before the first rollout
    values = numbered_score.compute(steps)
    # the last frame of (1, 0) is lost; (3, 0) began at 20 and led to 30.5; a lost frame within an episode costs nothing
    expected = torch.zeros(5, 3)
    expected[3, 0] = 2030.5
    torch.testing.assert_close(values, expected)
    assert numbered_score.update(steps, torch.Generator())["episodes"] == 1
    # stream 1 began at 1 and went on; stream 2's next episode opens the next rollout
    assert numbered_score.known.tolist() == [True, True, False]
    assert numbered_score.start[1, 0] == 1


def test_an_environment_that_hides_last_frames_is_warned_about(fixed_q):
    obs, next_obs = numbered(0)
    done, option = places((1, 0), (4, 2)), options_of(torch.zeros(5, 3, dtype=torch.int64))
    hidden = make_steps(obs, next_obs, done=done, valid=~done, context=option)
    with pytest.warns(UserWarning, match="vic: the environment does not show the last frame of an episode.*take diayn"):
        fixed_q.update(hidden, torch.Generator())
    fixed_q.update(make_steps(obs, next_obs, context=option), torch.Generator())  # nothing ended: no warning


def test_q_learns_from_all_of_the_newest_episodes(fixed_q, monkeypatch):
    steps = one_step_episodes("features")
    met = []
    learn = fixed_q.learn
    monkeypatch.setattr(fixed_q, "learn", lambda batch, generator: met.append(batch) or learn(batch, generator))
    fixed_q.update(steps, torch.Generator().manual_seed(0))
    # 15 ended, each is due 2 readings, 4 a step: 8 steps. The ring of 8 holds the 7th to the 15th but the first.
    assert len(met) == 8
    assert int(fixed_q.finished) == 15
    kept = {float(value) for value in steps.next_obs["features"].flatten(0, 1)[7:, 0]}
    assert {float(value) for value in fixed_q.ends[:, 0]} == kept
    drawn = {float(value) for batch in met for value in batch.next_obs[:, 0]}
    assert drawn == kept  # 32 draws of 8: each is missed once in 70 seeds
    for batch in met:  # the three parts of an episode stay together
        for start, option, end in zip(batch.obs, batch.action, batch.next_obs, strict=True):
            ((t, n),) = (steps.next_obs["features"] == end).all(2).nonzero().tolist()
            assert torch.equal(start, steps.obs["features"][t, n])
            assert option == steps.context[t, n].argmax()


def test_first_and_last_observation_both_enter_in_their_order():
    bonus = build(Vic, spec("features"), on="auto", options=4, width=8)
    torch.nn.init.normal_(bonus.q.compare[-1].weight)
    start, end = random_obs(2, 5, "features")
    hidden = torch.cat([bonus.q.trunk(start), bonus.q.trunk(end)], 1)
    first, _, last = bonus.q.compare
    logits = (hidden @ first.weight.T + first.bias).relu() @ last.weight.T
    by_hand = logits[torch.arange(5), torch.tensor([3, 0, 1, 2, 2])] - logits.exp().sum(1).log() + LOG_4
    torch.testing.assert_close(bonus.score(episodes_of(start, end, 3, 0, 1, 2, 2)), by_hand)
    assert not torch.allclose(bonus.score(episodes_of(end, start, 3, 0, 1, 2, 2)), by_hand)


@pytest.mark.parametrize("kind", ["pixels", "symbols", "features", "tiny"])
def test_the_bonus_is_0_untrained_and_at_most_log_n_trained(kind):
    bonus = build(Vic, spec(kind), on="auto", options=4, width=8, learning_rate=0.01, recent=16, batch=16)
    steps = one_step_episodes(kind)
    assert bonus.compute(steps).abs().max() < 1e-6
    for seed in range(12):
        metrics = bonus.update(steps, torch.Generator().manual_seed(seed))
    values = bonus.compute(steps)
    assert values.max() <= torch.tensor(LOG_4)
    assert values.abs().max() > 0.1
    assert metrics["accuracy"] > 0.3


def test_a_checkpoint_restores_running_and_recent_episodes(tmp_path):
    one, other, third = (build(Vic, spec(), seed=s, options=4, width=8, recent=8, batch=4) for s in range(3))
    option = options_of(torch.arange(15).view(5, 3) % 4)
    opening = make_steps(random_obs(5, 3), random_obs(5, 3, seed=1), done=places((1, 0), (2, 2)), context=option)
    one.update(opening, torch.Generator().manual_seed(1))
    restore(other, copy.deepcopy(state_of(one)))
    save(tmp_path, 1, {"bonus": one})
    load(tmp_path, {"bonus": third})  # from disk
    done = places((0, 0), (3, 1), (2, 2))
    later = make_steps(random_obs(5, 3, seed=2), random_obs(5, 3, seed=3), done=done, context=option)
    later.first[0] = False  # all three episodes began before the checkpoint
    values = [bonus.compute(later) for bonus in (one, other, third)]
    assert (values[0] != 0).sum() == 3
    metrics = [bonus.update(later, torch.Generator().manual_seed(2)) for bonus in (one, other, third)]
    again = [bonus.compute(later) for bonus in (one, other, third)]
    for k in (1, 2):
        assert torch.equal(values[0], values[k])
        assert metrics[0] == metrics[k]
        assert torch.equal(again[0], again[k])


def test_options_are_drawn_evenly_from_the_generator_alone(fixed_q):
    draw = fixed_q.draw_context(4000, torch.Generator().manual_seed(0))
    assert fixed_q.context_dim == draw.shape[1] == 4
    # 1000 each; the standard deviation of a count is sqrt(4000 * 1/4 * 3/4) = 27
    assert (draw.sum(0) - 1000).abs().max() < 110
    assert torch.equal(draw, fixed_q.draw_context(4000, torch.Generator().manual_seed(0)))


def test_options_trained_on_the_bonus_end_apart_on_a_grid():
    """5x5 grid, 4 moves and stay, walks of 5 steps from the centre, each step pushed at random with probability 0.1.

    Policy: one preference for each option, cell and action. log 4 = 1.386 is the most that can be earned.
    """
    K, N, T = 4, 48, 5
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        bonus = Vic(
            feature_spec(25, 5), Vic.Config(on="auto", options=K, width=32, learning_rate=1e-2, recent=192, batch=96)
        )
    moves = torch.tensor([[-1, 0], [1, 0], [0, -1], [0, 1], [0, 0]])
    policy = torch.zeros(K, 25, 5, requires_grad=True)
    learner = torch.optim.Adam([policy], 0.1)
    done = (torch.arange(T) == T - 1).unsqueeze(1).expand(T, N)
    for _ in range(200):
        context = bonus.draw_context(N, draws)
        option = context.argmax(1)
        place, chosen, visited = torch.full((N, 2), 2), [], []
        for _t in range(T):
            cell = place[:, 0] * 5 + place[:, 1]
            log_pi = policy[option, cell].log_softmax(1)
            action = torch.multinomial(log_pi.detach().exp(), 1, generator=draws).squeeze(1)
            chosen.append((log_pi.gather(1, action.unsqueeze(1)).squeeze(1), -(log_pi.exp() * log_pi).sum(1)))
            pushed = torch.rand(N, generator=draws) < 0.1
            moved = torch.where(pushed, torch.randint(5, (N,), generator=draws), action)
            place = (place + moves[moved]).clamp(0, 4)
            visited.append((cell, place[:, 0] * 5 + place[:, 1]))
        obs, next_obs = (F.one_hot(torch.stack(rows), 25).float() for rows in zip(*visited, strict=True))
        steps = make_steps(obs, next_obs, done=done, context=context.expand(T, N, K))
        values = bonus.compute(steps)
        log_pi, entropy = (torch.stack(rows) for rows in zip(*chosen, strict=True))
        advantage = values[-1] - values[-1].mean()
        learner.zero_grad()
        (-(log_pi * advantage).mean() - 0.02 * entropy.mean()).backward()
        learner.step()
        bonus.update(steps, draws)
    assert not values[:-1].any()
    assert values[-1].mean() > 0.8 * LOG_4
    assert values.max() <= torch.tensor(LOG_4)
    ends = next_obs[-1]
    regions = torch.stack([ends[option == k].mean(0) for k in range(K)])  # share of each option's ends, by cell
    overlap = torch.minimum(regions.unsqueeze(0), regions.unsqueeze(1)).sum(2)
    assert overlap[~torch.eye(K, dtype=torch.bool)].max() < 0.3
