"""Conformance of every registered bonus: what all of them share, one statement for all."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from agents.checkpoint import restore, state_of
from envs.registry import UsageError
from intrinsic import BONUSES
from tests.intrinsic.tools import build, feature_spec, make_steps, random_obs, spec

T, N = 5, 3
SMALL = {
    "pixel_error": {"width": 16},
    "icm": {"width": 16, "hidden": 16},
    "latent_error": {"latents": 12, "width": 16, "blocks": 1},
    "rnd": {"width": 16},
    "disagreement": {"latents": 12, "width": 16, "members": 3},
    "svg_surprise": {"width": 8, "hidden": 6, "latents": 3, "channels": 2},
    "prediction_gain": {"side": 4, "channels": 8},
    "learning_progress": {"width": 8, "hidden": 16},
    "bayesian_surprise": {"width": 6, "inputs": 12},
    "complexity_gain": {"width": 6, "hidden": 5, "draws": 2},
    "empowerment": {"width": 8, "averaging": 0.5},
    "vic": {"options": 3, "width": 8, "recent": 16},
    "diayn": {"skills": 3, "width": 8},
}
CASES = {name: (name, SMALL.get(name, {})) for name in BONUSES} | {
    "prediction_gain, counts": ("prediction_gain", {"model": "counts"}),
    "learning_progress, linear": ("learning_progress", {"model": "linear", "width": 8, "hidden": 16}),
    "bayesian_surprise, variational": (
        "bayesian_surprise",
        {"model": "variational", "width": 6, "hidden": 5, "draws": 2},
    ),
    "empowerment of two actions": ("empowerment", {"width": 8, "averaging": 0.5, "horizon": 2}),
}
BAD = [
    *[(name, "batch", 0) for name in BONUSES],
    *[(name, "learning_rate", 0.0) for name in BONUSES],
    *[("pixel_error", "width", 0), ("pixel_error", "side", 0)],
    *[("icm", "width", 0), ("icm", "hidden", 0), ("icm", "beta", 1.0), ("icm", "beta", 0.0)],
    *[("latent_error", "latents", 0), ("latent_error", "width", 0), ("latent_error", "blocks", -1)],
    *[("rnd", "width", 0), ("rnd", "share", 0.0), ("rnd", "share", 1.5)],
    *[("disagreement", "members", 1), ("disagreement", "share", 0.0), ("disagreement", "blocks", -1)],
    *[("svg_surprise", name, 0) for name in ("width", "hidden", "latents", "channels")],
    *[("svg_surprise", "beta", 0.0)],
    *[("prediction_gain", "model", "cts"), ("prediction_gain", "bits", 0), ("prediction_gain", "bits", 31)],
    *[("prediction_gain", "projections", 0), ("prediction_gain", "side", 0), ("prediction_gain", "channels", 0)],
    *[("prediction_gain", "scale", 0.0), ("learning_progress", "model", "tree"), ("learning_progress", "width", 0)],
    *[("learning_progress", "hidden", 0), ("learning_progress", "noise", 0.0), ("bayesian_surprise", "model", "vime")],
    *[("bayesian_surprise", name, 0) for name in ("width", "inputs", "hidden", "draws")],
    *[("bayesian_surprise", name, 0.0) for name in ("noise", "prior", "step")],
    *[("complexity_gain", name, 0) for name in ("width", "hidden", "draws")],
    *[("complexity_gain", name, 0.0) for name in ("noise", "prior")],
    *[("complexity_gain", "step", -0.1), ("empowerment", "horizon", 0), ("empowerment", "horizon", 4)],
    *[("empowerment", "width", 0), ("empowerment", "averaging", 1.0), ("vic", "options", 1), ("vic", "width", 0)],
    *[("vic", "recent", 0), ("vic", "reuse", 0), ("diayn", "skills", 1), ("diayn", "width", 0)],
]
every_case = pytest.mark.parametrize("case", CASES)
every_kind = pytest.mark.parametrize("kind", ["pixels", "symbols", "features"])


def make(case, kind="tiny", seed=0):
    """The bonus of a case, small; features where there are any."""
    name, settings = CASES[case]
    return build(BONUSES.resolve(name), spec(kind), seed=seed, on="auto", batch=4, **settings)


def rollout(bonus, kind="tiny", seed=0, valid=None):
    """Steps (T, N) of random observations, actions and contexts, with an end after every second step."""
    draws = torch.Generator().manual_seed(seed)
    context = bonus.draw_context(T * N, draws).view(T, N, -1) if bonus.context_dim else None
    done = torch.arange(T).view(T, 1).add(torch.arange(N)) % 2 == 0
    action = torch.randint(4, (T, N), generator=draws)
    obs, next_obs = random_obs(T, N, kind, 2 * seed), random_obs(T, N, kind, 2 * seed + 1)
    return make_steps(obs, next_obs, action, done, valid, context)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def snapshot(bonus):
    return copy.deepcopy(state_of(bonus))


def equal(one, other):
    """Whether two states hold the same numbers, bit by bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


@every_kind
@every_case
def test_the_bonus_is_finite_and_0_where_the_successor_is_unknown(case, kind):
    bonus = make(case, kind)
    valid = torch.ones(T, N, dtype=torch.bool)
    valid[1, 2] = valid[4, 0] = False
    steps = rollout(bonus, kind, valid=valid)
    for seed in range(2):  # of some bonuses the first is 0 everywhere
        first, _ = bonus.compute(steps), bonus.update(steps, generator(seed))
        assert first.shape == (T, N)
    value = bonus.compute(steps)
    assert torch.isfinite(value).all()
    assert not value.requires_grad
    assert value.any()
    assert not value[~valid].any()
    assert not bonus.compute(rollout(bonus, kind, valid=torch.zeros_like(valid))).any()


@every_case
def test_an_unknown_successor_is_never_read(case):
    valid = torch.ones(T, N, dtype=torch.bool)
    valid[1, 2] = valid[4, 0] = False
    values, metrics = [], []
    for fill in (None, 255):
        bonus = make(case)
        steps = rollout(bonus, valid=valid)
        if fill is not None:
            steps.next_obs["image"][~valid] = fill
        values.append(bonus.compute(steps))
        metrics.append(bonus.update(steps, generator()))
        values.append(bonus.compute(steps))
    assert torch.equal(values[0], values[2])
    assert torch.equal(values[1], values[3])
    assert metrics[0] == metrics[1]


@every_case
def test_an_ended_episode_is_scored_by_its_last_frame_not_the_reset_frame(case):
    bonus = make(case)
    steps, other_reset, other_end = (rollout(bonus) for _ in range(3))
    time, stream = 2, 0
    end = time * N + stream
    assert steps.done[time, stream]
    other_reset.obs["image"][time + 1, stream] = 255
    other_end.next_obs["image"][time, stream] = 255
    bonus.compute(steps)
    bonus.update(steps, generator())

    def scores(steps):
        """Score of each transition by itself: in another batch it could differ by rounding."""
        with torch.no_grad():
            return {int(batch.index): float(bonus.score(batch)) for batch in bonus.transitions(steps, 1)}

    plain, reset, ended = scores(steps), scores(other_reset), scores(other_end)
    assert plain[end] == reset[end]
    changed = [index for index in plain if plain[index] != ended[index]]
    reads_no_end = case in ("constant", "disagreement")  # disagreement does not wait for what follows
    assert changed == ([] if reads_no_end else [end])


@every_case
def test_computing_changes_only_running_moments_and_no_generator(case):
    bonus = make(case)
    steps = rollout(bonus)
    bonus.update(steps, generator())
    before, global_state = snapshot(bonus), torch.random.get_rng_state()
    bonus.compute(steps)
    after = snapshot(bonus)
    assert torch.equal(torch.random.get_rng_state(), global_state)
    assert equal(before["optimizers"], after["optimizers"])
    changed = [key for key in before["module"] if not equal(before["module"][key], after["module"][key])]
    assert all(key.startswith("moments.") for key in changed)


@every_kind
@every_case
def test_an_update_moves_what_the_optimizer_holds_and_nothing_frozen(case, kind):
    bonus = make(case, kind)
    trainable = {name: p for name, p in bonus.named_parameters() if p.requires_grad}
    optimizer = getattr(bonus, "optimizer", None)
    held = [p for group in optimizer.param_groups for p in group["params"]] if optimizer else []
    assert sorted(map(id, held)) == sorted(map(id, trainable.values()))
    before = copy.deepcopy(bonus.state_dict())
    for seed in range(3):  # a last layer that starts at 0 lets no gradient through at first
        steps = rollout(bonus, kind, seed)
        bonus.compute(steps)
        metrics = bonus.update(steps, generator(seed))
        assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    after = bonus.state_dict()
    moved = {key for key in after if not equal(before[key], after[key])}
    frozen = {name for name, p in bonus.named_parameters() if not p.requires_grad and not name.startswith("average.")}
    assert bool(moved) == bool(before)
    assert moved >= trainable.keys()
    assert not moved & frozen


@every_case
def test_the_same_seed_gives_the_same_numbers_from_its_generator_alone(case):
    states, global_state = [], torch.random.get_rng_state()
    for _ in range(2):
        bonus = make(case)
        for seed in range(2):
            steps = rollout(bonus, seed=seed)
            value = bonus.compute(steps)
            metrics = bonus.update(steps, generator(seed))
        states.append({"bonus": value, "metrics": metrics, **snapshot(bonus)})
    assert equal(*states)
    assert torch.equal(torch.random.get_rng_state(), global_state)


@every_kind
@every_case
def test_a_restored_bonus_continues_to_the_bit(case, kind):
    bonus, restored = make(case, kind), make(case, kind, seed=7)
    steps = rollout(bonus, kind)
    bonus.compute(steps)
    bonus.update(steps, generator())
    restore(restored, snapshot(bonus))
    for seed in (1, 2):
        steps = rollout(bonus, kind, seed)
        steps.first[0] = False
        assert torch.equal(bonus.compute(steps), restored.compute(steps))
        assert bonus.update(steps, generator(seed)) == restored.update(steps, generator(seed))
    assert equal(snapshot(bonus), snapshot(restored))


@pytest.mark.parametrize("name", BONUSES)
def test_a_bonus_has_its_registered_name_and_refuses_wrong_spaces(name):
    cls = BONUSES.resolve(name)
    bonus = build(cls, spec(), **SMALL.get(name, {}))
    assert bonus.name == name
    assert bonus.keys == ("image",)
    with pytest.raises(UsageError, match=f"{name}: an environment of 1 actions"):
        cls(spec(actions=1))
    with pytest.raises(UsageError, match="on 'image' finds only features"):
        cls(feature_spec(6), cls.Config(on="image"))


@pytest.mark.parametrize(("name", "field", "value"), BAD)
def test_a_bad_setting_is_refused_by_name(name, field, value):
    with pytest.raises(ValueError, match=f"{field}='?{value}"):
        BONUSES.resolve(name).Config(**{field: value})
