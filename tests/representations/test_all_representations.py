"""Properties that all representations share, over the registry; a new method is tested without an edit here."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.ppo import PPO, PPOConfig
from benchmarks.experiment.overrides import apply_settings, describe_settings
from envs.counting import CountingVectorEnv
from envs.history import History
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Obs, Steps
from envs.wrappers.sb3 import Sb3VecEnv
from representations import REPRESENTATIONS
from representations.base import MODES, Representation, Unfit, check_mode
from representations.wrappers import AppendVectors, FeatureStack
from tests.representations.toys import image_spec, with_vector

SMALL: dict[str, dict[str, Any]] = {
    "monet": {"slots": 3, "latents": 4, "channels": (8, 8), "decoder_channels": 8},
    "gqn": {"code": 8, "channels": 4, "steps": 2, "latents": 2, "views": 5},
    "cpc": {"window": 5, "ahead": 3, "context": 4},
    "unreal": {"length": 4, "clips": 4, "replay": 64},
}
"""Settings that make a method fast; the others are tested at their defaults."""
NO_DRAWS = {"cpc", "ae", "vq_vae"}
"""Methods whose loss draws nothing; cpc takes all frames as negatives at this size."""
NAMES = list(REPRESENTATIONS.places)
WITH_LOSS = [name for name in NAMES if REPRESENTATIONS.resolve(name).has_loss]
SINGLE_FRAMES = [name for name in NAMES if REPRESENTATIONS.resolve(name).modes != ("online",)]
T, B, SIDE = 5, 3, 40


COLOURED = {"colorization"}
"""Methods that refuse frames of other than three channels."""


def vectors_of(name: str) -> list[str]:
    """Observation keys other than the image that the method's class asks for."""
    keys = REPRESENTATIONS.resolve(name).keys
    return [key for key in keys if key != "image"] if isinstance(keys, tuple) else []


def build(name: str, channels: int = 3, frames: int = 1, seed: int = 0, **settings: Any) -> Representation:
    """The named method with small settings, its other keys than the image as vectors of 7."""
    cls = REPRESENTATIONS.resolve(name)
    spec = image_spec((channels * frames, SIDE, SIDE), frames=frames)
    for key in vectors_of(name):
        spec = with_vector(spec, key, 7)
    torch.manual_seed(seed)
    return cls(spec, cls.Config(**{**SMALL.get(name, {}), **settings}))


def observe(spec: EnvSpec, *sizes: int, seed: int = 0) -> Obs:
    """Random observations (*sizes, ...)."""
    draws = torch.Generator().manual_seed(seed)
    C, H, W = spec.image_shape
    image = torch.randint(0, 256, (*sizes, H, W, C), dtype=torch.uint8, generator=draws).movedim(-1, -3)
    vectors = {key: box for key, box in spec.space.spaces.items() if key != "image"}
    return {"image": image, **{key: torch.randn(*sizes, *box.shape, generator=draws) for key, box in vectors.items()}}


def encode(model: Representation, obs: Obs) -> Tensor:
    """Features of observations that each open an episode."""
    count = len(obs["image"])
    return model.encode(obs, model.initial_state(count), torch.ones(count, dtype=torch.bool))[0]


def recorded(spec: EnvSpec, steps: int, streams: int) -> History:
    """History of random steps whose rewards are -1, 0 and 1."""
    history = History(spec.space, steps, streams)
    history.begin()
    no = torch.zeros(streams, dtype=torch.bool)
    obs = observe(spec, steps + 1, streams)
    for t in range(steps):
        history.add_obs({key: value[t] for key, value in obs.items()}, no)
        history.add_step(torch.full((streams,), t % 2), torch.full((streams,), float(t % 3 - 1)), no, no, {})
    history.add_obs({key: value[steps] for key, value in obs.items()}, no)
    history.add_rewards(torch.randn(steps, streams))
    return history


def loss_of(model: Representation, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Its loss on unequal sizes: windows (T, B) from where the method takes them, or B frames."""
    torch.manual_seed(7)
    policy, value = torch.nn.Linear(model.features_dim, 2), torch.nn.Linear(model.features_dim, 1)

    def heads(features: Tensor, obs: Obs, first: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return policy(features), value(features).squeeze(1)

    if model.window == 1:
        return model.loss(Steps.frames(observe(model.spec, B)), heads, generator)
    if "online" in model.modes:
        return model.auxiliary(recorded(model.spec, 3 * T, B), B, heads, generator)
    first = torch.zeros(model.window, B, dtype=torch.bool)
    return model.loss(Steps.windows(observe(model.spec, model.window, B), first), heads, generator)


@pytest.mark.parametrize("name", NAMES)
def test_messages_call_it_by_the_name_that_options_take(name):
    assert build(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_features_are_finite_float32_and_depend_on_the_frame(name):
    model = build(name).eval()
    with torch.no_grad():
        features = encode(model, observe(model.spec, B))
        other = encode(model, observe(model.spec, B, seed=1))
        with torch.autocast("cpu", torch.bfloat16):
            rounded = encode(model, observe(model.spec, B))
    assert features.shape == (B, model.features_dim)
    for found in (features, rounded):
        assert found.dtype == torch.float32
        assert bool(torch.isfinite(found).all())
    assert torch.equal(features, other) != model.sees
    torch.testing.assert_close(rounded, features, atol=0.1 * float(features.abs().max()), rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_s_features_do_not_depend_on_its_batch(name):
    model = build(name).eval()
    obs = observe(model.spec, B)
    with torch.no_grad():
        together, alone = encode(model, obs), encode(model, {key: value[1:2] for key, value in obs.items()})
    torch.testing.assert_close(alone, together[1:2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "frames"), [(1, 1), (3, 2), (1, 4)])
def test_grey_and_stacked_images_are_encoded(name, channels, frames):
    if frames > 1 and "online" not in REPRESENTATIONS.resolve(name).modes:
        pytest.skip("takes single frames only")
    if channels != 3 and name in COLOURED:
        with pytest.raises(Unfit, match=r"3 colours.*; "):
            build(name, channels, frames)
        return
    model = build(name, channels, frames).eval()
    with torch.no_grad():
        assert bool(torch.isfinite(encode(model, observe(model.spec, B))).all())
    if model.has_loss:
        assert bool(torch.isfinite(loss_of(model, torch.Generator())[0]))


@pytest.mark.parametrize("name", WITH_LOSS)
def test_the_loss_is_a_scalar_whose_gradient_reaches_every_parameter(name, generator):
    model = build(name)
    loss, metrics = loss_of(model, generator)
    assert loss.shape == ()
    assert bool(torch.isfinite(loss))
    assert metrics
    assert not any(value.requires_grad for value in metrics.values())
    loss.backward()
    trained = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    assert [key for key, gradient in trained.items() if gradient is None or not gradient.abs().sum() > 0] == []


@pytest.mark.parametrize("name", WITH_LOSS)
def test_the_generator_gives_all_draws_of_the_loss(name):
    losses = [float(loss_of(build(name), torch.Generator().manual_seed(seed))[0].detach()) for seed in (0, 0, 1)]
    assert losses[0] == losses[1]
    if name not in NO_DRAWS:
        assert losses[0] != losses[2]


@pytest.mark.parametrize("name", [name for name in NAMES if REPRESENTATIONS.resolve(name).needs_pretraining])
def test_phases_cover_every_trained_parameter_once(name):
    model = build(name)
    phases = model.phases()
    covered = [id(p) for phase in phases for p in phase.parameters]
    assert sorted(covered) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert all(phase.learning_rate > 0 and phase.share > 0 for phase in phases)
    # what presets count with
    assert {phase.batch or 64 for phase in phases} == {type(model).frames_per_step(model.config)}


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_state_dict_gives_equal_features(name):
    one, other = build(name, seed=1).eval(), build(name, seed=2).eval()
    one.after_step()
    obs = observe(one.spec, B)
    with torch.no_grad():
        assert torch.equal(encode(one, obs), encode(other, obs)) == (not one.state_dict())
        other.load_state_dict(one.state_dict())
        assert torch.equal(encode(one, obs), encode(other, obs))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("name", [name for name in NAMES if not vectors_of(name)])
def test_frozen_it_stays_as_it_is_and_online_it_learns(name):
    cls = REPRESENTATIONS.resolve(name)
    for mode in cls.modes:
        env = Sb3VecEnv(CountingVectorEnv(4, size=SIDE, episode_length=6, seed=1))
        torch.manual_seed(0)
        inner = cls(EnvSpec.of(env), cls.Config(**SMALL.get(name, {})))
        model = FeatureStack(inner, 2) if mode == "frozen" else inner
        before = {key: value.clone() for key, value in model.state_dict().items()}
        agent = PPO(env, model, PPOConfig(n_steps=8, epochs=1, minibatches=2), mode=mode, seed=2)
        agent.learn(2 * 8 * 4)
        same = all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert same == (mode == "frozen"), mode


@pytest.mark.parametrize("name", SINGLE_FRAMES)
def test_stacked_features_are_those_of_single_frames(name):
    inner = build(name).eval()
    stack = FeatureStack(inner, 2)
    first, second = (observe(inner.spec, B, seed=seed) for seed in (0, 1))
    opens, goes_on = torch.ones(B, dtype=torch.bool), torch.zeros(B, dtype=torch.bool)
    with torch.no_grad():
        one, state = stack.encode(first, stack.initial_state(B), opens)
        two, _ = stack.encode(second, state, goes_on)
    assert two.shape == (B, stack.features_dim) == (B, 2 * inner.features_dim)
    torch.testing.assert_close(two[:, : inner.features_dim], one[:, inner.features_dim :])


@pytest.mark.parametrize("name", NAMES)
def test_appended_vectors_follow_the_features(name):
    cls = REPRESENTATIONS.resolve(name)
    plain = build(name).eval()
    spec = with_vector(plain.spec, "goal", 2)
    torch.manual_seed(0)
    model = AppendVectors(cls(spec, plain.config).eval(), ["goal"])
    obs = observe(spec, B)
    with torch.no_grad():
        features = encode(model, obs)
    assert torch.equal(features[:, -2:], obs["goal"])
    assert model.keys == (*plain.keys, "goal")
    assert model.hidden
    if model.has_loss:
        assert bool(torch.isfinite(loss_of(model, torch.Generator())[0]))


@pytest.mark.parametrize("name", NAMES)
def test_the_cli_describes_modes_and_every_setting(name):
    cls = REPRESENTATIONS.resolve(name)
    text = describe_settings(name, cls)
    for field in dataclasses.fields(cls.Config):
        assert f"{name}.{field.name}" in text
    assert "modes: " + ", ".join(cls.modes) in text


@pytest.mark.parametrize("name", NAMES)
def test_a_number_below_its_bound_is_refused_by_name(name):
    cls = REPRESENTATIONS.resolve(name)
    for field in dataclasses.fields(cls.Config):
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            with pytest.raises(UsageError, match=f"^{name}: .*{field.name}=-1") as refused:
                apply_settings(name, cls.Config, {}, {field.name: "-1"})
            assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_modes_and_missing_keys_are_refused_by_name(name):
    cls = REPRESENTATIONS.resolve(name)
    assert check_mode(name, cls, "auto") == cls.default_mode
    for mode in MODES:
        if mode in cls.modes:
            assert check_mode(name, cls, mode) == mode
        else:
            with pytest.raises(UsageError, match=f"'{name}' has no mode '{mode}'; it has: {cls.modes[0]}"):
                check_mode(name, cls, mode)
    bare = with_vector(image_spec((3, SIDE, SIDE)), "goal", 2)
    del bare.space.spaces["image"]
    with pytest.raises(Unfit, match=r"needs obs key '(image|factors)'"):
        cls(bare)
