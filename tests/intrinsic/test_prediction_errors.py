"""What every bonus of prediction error owes: its own weights, draws and state, and less for what it has seen often."""

from __future__ import annotations

import copy

import pytest
import torch

from agents.checkpoint import restore, state_of
from intrinsic import BONUSES
from tests.intrinsic.tools import build, make_steps, random_obs, spec

SMALL = {
    "rnd": {"width": 32},
    "icm": {"width": 32, "hidden": 64},
    "pixel_error": {"width": 32},
    "latent_error": {"latents": 24, "width": 32, "blocks": 1},
    "disagreement": {"latents": 24, "width": 32, "members": 3},
}
NAMES = list(SMALL)
KINDS = ["pixels", "tiny", "symbols", "features"]


@pytest.fixture
def made():
    """``made(name, kind, seed, **settings)``: the named bonus, small."""

    def make(name, kind="tiny", seed=0, **settings):
        settings = {"on": "auto", "batch": 4, **SMALL[name], **settings}
        return build(BONUSES.resolve(name), spec(kind), seed=seed, **settings)

    return make


@pytest.fixture
def rollout():
    """``rollout(kind, seed, **more)``: Steps (5, 3) of random observations and actions."""

    def make(kind="tiny", seed=0, **more):
        action = torch.randint(4, (5, 3), generator=torch.Generator().manual_seed(seed))
        return make_steps(random_obs(5, 3, kind, 2 * seed), random_obs(5, 3, kind, 2 * seed + 1), action, **more)

    return make


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_each_trainable_parameter_is_in_the_one_optimizer_and_learning_moves_those_alone(name, kind, made, rollout):
    bonus = made(name, kind)
    owned = {id(p) for group in bonus.optimizer.param_groups for p in group["params"]}
    assert owned == {id(p) for p in bonus.parameters() if p.requires_grad}
    bonus.compute(rollout(kind))
    before = {key: value.clone() for key, value in bonus.state_dict().items()}
    metrics = bonus.update(rollout(kind), torch.Generator().manual_seed(0))
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    moves = {key for key, p in bonus.named_parameters() if p.requires_grad}
    assert moves
    for key, value in bonus.state_dict().items():
        assert torch.equal(value, before[key]) == (key not in moves), key


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_known_pays_nothing_and_teaches_nothing(name, made, rollout):
    valid = torch.ones(5, 3, dtype=torch.bool)
    valid[1, 2] = valid[4, 0] = False
    one, other = made(name), made(name)
    steps, changed = rollout(valid=valid), rollout(valid=valid)
    changed.obs["image"][~valid] = 255
    changed.next_obs["image"][~valid] = 255
    bonus = one.compute(steps)
    assert torch.equal(bonus == 0, ~valid)
    assert torch.equal(bonus, other.compute(changed))
    draws = [torch.Generator().manual_seed(0) for _ in range(2)]
    assert one.update(steps, draws[0]) == other.update(changed, draws[1])


@pytest.mark.parametrize("name", NAMES)
def test_at_an_episodes_end_it_sees_what_truly_followed(name, made, rollout):
    done = torch.zeros(5, 3, dtype=torch.bool)
    done[2, 1] = True
    end = 2 * 3 + 1
    steps, other_reset, other_end = rollout(done=done), rollout(done=done), rollout(done=done)
    other_reset.obs["image"][3, 1] = 255  # the next episode's first frame: part of the next step alone
    other_end.next_obs["image"][2, 1] = 255
    bonus = made(name)
    bonus.compute(steps)

    def score_and_lesson(steps):
        """Of each step alone, as batches of another make-up differ by rounding; and what the end's step taught."""
        alone, twin = list(bonus.transitions(steps, 1)), copy.deepcopy(bonus)
        lesson = twin.learn(alone[end], torch.Generator().manual_seed(0))
        return torch.cat([bonus.score(batch) for batch in alone]), {k: float(v) for k, v in lesson.items()}

    score, lesson = score_and_lesson(steps)
    reset_score, reset_lesson = score_and_lesson(other_reset)
    end_score, end_lesson = score_and_lesson(other_end)
    assert set((score != reset_score).nonzero().flatten().tolist()) <= {end + 3}
    assert reset_lesson == lesson
    needs_next = name != "disagreement"  # whose bonus is known before the step is taken
    assert (score != end_score).nonzero().flatten().tolist() == [end] * needs_next
    assert end_lesson != lesson


@pytest.mark.parametrize("name", NAMES)
def test_draws_come_from_the_generator_alone(name, made, rollout):
    before = torch.random.get_rng_state()
    weights = []
    for seed in (0, 0, 1):
        bonus = made(name)
        bonus.compute(rollout())
        bonus.update(rollout(), torch.Generator().manual_seed(seed))
        weights.append(torch.cat([p.detach().flatten() for p in bonus.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_on_as_if_never_stopped(name, made, rollout):
    one, other = made(name), made(name, seed=7)
    one.compute(rollout())
    one.update(rollout(), torch.Generator().manual_seed(0))
    restore(other, copy.deepcopy(state_of(one)))
    bonuses, metrics = [], []
    for bonus in (one, other):
        bonuses.append(bonus.compute(rollout(seed=1)))
        metrics.append(bonus.update(rollout(seed=1), torch.Generator().manual_seed(3)))
        bonuses.append(bonus.compute(rollout(seed=2)))
    assert metrics[0] == metrics[1]
    assert torch.equal(bonuses[0], bonuses[2])
    assert torch.equal(bonuses[1], bonuses[3])


@pytest.mark.parametrize("kind", ["tiny", "symbols", "features"])
@pytest.mark.parametrize("name", NAMES)
def test_a_transition_seen_often_pays_a_fifth_of_one_never_seen(name, kind, made, rollout):
    bonus = made(name, kind, learning_rate=3e-3, batch=15)
    often, never = rollout(kind, 0), rollout(kind, 1)
    before = bonus.compute(never).mean()
    for step in range(100):
        bonus.compute(often)
        bonus.update(often, torch.Generator().manual_seed(step))
    seen, unseen = bonus.compute(often).mean(), bonus.compute(never).mean()
    assert seen < unseen / 5
    assert unseen > before / 5
