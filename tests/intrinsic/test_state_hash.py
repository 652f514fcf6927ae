"""First visits of episodes, step by step by hand and against Python's own sets."""

from __future__ import annotations

import copy

import pytest
import torch

from agents.checkpoint import restore, state_of
from intrinsic.inputs import BonusInput
from intrinsic.state_hash import FirstVisits, StateHash, count_before
from tests.intrinsic.tools import make_steps, random_obs, spec


def symbols(rows: list[str]) -> torch.Tensor:
    """Strings of T x N letters -> symbols (T, N, 3, 7, 7), a view a letter."""
    views = {letter: torch.full((3, 7, 7), place, dtype=torch.uint8) for place, letter in enumerate("abcdefz")}
    return torch.stack([torch.stack([views[letter] for letter in row]) for row in rows])


@pytest.fixture
def visits():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FirstVisits(spec("symbols"))


def test_count_before_by_hand():
    assert count_before(torch.tensor([7, 3, 7, 7, 3, 1])).tolist() == [0, 0, 1, 2, 1, 0]
    assert count_before(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_the_first_visit_of_each_episode_across_rollouts(visits):
    done = torch.zeros(3, 2, dtype=torch.bool)
    done[1, 1] = True  # stream 1 ends after its second step
    steps = make_steps(symbols(["zz"] * 3), symbols(["ab", "ab", "cb"]), done=done)
    # Stream 0: a, a again, c. Stream 1: b, b again, and b in a new episode
    assert visits(steps).tolist() == [[True, True], [False, False], [True, True]]
    assert visits(steps).tolist() == visits(steps).tolist()  # asking changes nothing
    visits.remember(steps)
    assert visits.visited[:, 0].tolist() == [0, 0, 1]  # a, c; b once
    next_obs = make_steps(symbols(["zz"] * 2), symbols(["ab", "ba"]))
    next_obs.first[0] = False  # both go on: stream 0 knows a, not b; stream 1 knows b, not a
    assert visits(next_obs).tolist() == [[False, False], [True, True]]
    next_obs.first[0] = torch.tensor([True, False])  # stream 0 begins anew
    assert visits(next_obs).tolist() == [[True, False], [True, True]]
    visits.remember(next_obs)
    assert visits.visited[:, 0].tolist() == [0, 0, 1, 1]  # stream 0: a, b, its c forgotten; stream 1: b, a


def test_ended_episodes_are_forgotten_and_unknown_states_no_visit(visits):
    steps = make_steps(symbols(["zz"]), symbols(["ab"]), done=torch.tensor([[True, False]]))
    visits.remember(steps)
    assert visits.visited[:, 0].tolist() == [1]
    unseen = make_steps(symbols(["zz"]), symbols(["ab"]), valid=torch.tensor([[False, True]]))
    assert visits(unseen).tolist() == [[False, True]]


@pytest.mark.parametrize("kind", ["symbols", "pixels", "features"])
def test_first_visits_agree_with_sets_and_survive_a_restart(kind):
    T, N, rollouts = 6, 3, 4
    torch.manual_seed(1)
    one, other = FirstVisits(spec(kind)), FirstVisits(spec(kind))
    generator = torch.Generator().manual_seed(0)
    pool = random_obs(5, 1, kind, seed=3).squeeze(1)
    seen: list[set[int]] = [set() for _ in range(N)]
    carried = torch.zeros(N, dtype=torch.bool)
    for _ in range(rollouts):
        which = torch.randint(5, (T, N), generator=generator)
        done = torch.rand(T, N, generator=generator) < 0.2
        steps = make_steps(pool[which], pool[which], done=done)
        steps.first[0] = carried
        expected = torch.zeros(T, N, dtype=torch.bool)
        for t in range(T):
            for i in range(N):
                if steps.first[t, i]:
                    seen[i] = set()
                expected[t, i] = int(which[t, i]) not in seen[i]
                seen[i].add(int(which[t, i]))
        carried = done[-1]
        restore(other, copy.deepcopy(state_of(one)))
        assert torch.equal(one(steps), expected)
        assert torch.equal(other(steps), expected)
        one.remember(steps)


def test_hashes_distinguish_views_streams_and_episodes():
    torch.manual_seed(0)
    hashed = StateHash(BonusInput(spec("symbols")))
    keys = hashed(random_obs(40, 50, "symbols").flatten(0, 1))
    assert len(keys.unique()) == 2000
    streams, episodes = (torch.arange(2000) // k % 20 for k in (1, 20))
    assert len(hashed.tagged(keys[:1].expand(400), streams[:400], episodes[:400]).unique()) == 400
    assert len((keys >> 44).unique()) > 1980  # the high 20 bits alone: about 2000^2 / 2^21 = 2 pairs meet
