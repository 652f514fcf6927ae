"""Wrappers: what they forward, stacked features by state and by channels, vectors after the features."""

import numpy as np
import pytest
import torch
from torch import nn

from envs.history import History
from envs.steps import Steps, flatten
from representations.base import Representation
from representations.cnn import Cnn
from representations.monet import Monet, MonetConfig, SlotPool
from representations.vae import BetaVae
from representations.wrappers import AppendVectors, FeatureStack, RepresentationWrapper, unwrapped
from tests.representations.toys import image_spec, with_vector


class Mean(Representation):
    """Two features: the frame's mean and twice it."""

    def __init__(self, spec):
        super().__init__(spec)
        self.scale = nn.Parameter(torch.ones(()))
        self.features_dim = 2
        self.encoded = 0

    def encode(self, obs, state=(), first=None):
        self.encoded += len(obs["image"])
        mean = obs["image"].float().mean((1, 2, 3)) * self.scale
        return torch.stack([mean, 2 * mean], 1), state


SPEC = image_spec((3, 4, 5))


def frame(*values):
    """One 3x4x5 frame of a single value for each stream."""
    return {"image": torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 5)}


def test_the_state_carries_features_and_starts_with_the_first_frame():
    motion = FeatureStack(Mean(SPEC), 3)
    assert motion.features_dim == 6
    state = motion.initial_state(2)
    with torch.no_grad():
        out, state = motion.encode(frame(1, 5), state, torch.tensor([True, True]))
        assert out.tolist() == [[1, 2, 1, 2, 1, 2], [5, 10, 5, 10, 5, 10]]
        out, state = motion.encode(frame(2, 6), state, torch.tensor([False, False]))
        assert out.tolist() == [[1, 2, 1, 2, 2, 4], [5, 10, 5, 10, 6, 12]]
        out, state = motion.encode(frame(3, 7), state, torch.tensor([False, True]))  # stream 1 opens an episode
        assert out.tolist() == [[1, 2, 2, 4, 3, 6], [7, 14, 7, 14, 7, 14]]
        out, state = motion.encode(frame(4, 8), state, torch.tensor([False, False]))
        assert out.tolist() == [[2, 4, 3, 6, 4, 8], [7, 14, 7, 14, 8, 16]]
    assert motion.inner.encoded == 8  # each frame once


def test_stacked_frames_give_the_same_and_a_gradient():
    motion = FeatureStack(Mean(SPEC), 3, stacked=True)
    assert motion.initial_state(2) == ()
    stack = {"image": torch.cat([frame(2, 7)["image"], frame(3, 7)["image"], frame(4, 8)["image"]], dim=1)}
    out, state = motion.encode(stack)
    assert out.tolist() == [[2, 4, 3, 6, 4, 8], [7, 14, 7, 14, 8, 16]]
    assert state == ()
    out.sum().backward()
    assert motion.inner.scale.grad == 2 + 4 + 3 + 6 + 4 + 8 + 7 + 14 + 7 + 14 + 8 + 16


def test_phases_and_hooks_are_the_inner_method_s():
    spec = image_spec((3, 64, 64))
    inner = BetaVae(spec)
    motion = FeatureStack(inner, 4)
    assert motion.features_dim == 4 * inner.features_dim
    assert [p.data_ptr() for p in motion.phases()[0].parameters] == [p.data_ptr() for p in inner.phases()[0].parameters]
    assert (motion.needs_pretraining, motion.hidden, motion.keys) == (True, inner.hidden, inner.keys)
    motion.set_progress(0.25, 8)
    assert (inner.progress, inner.phase_steps, motion.progress) == (0.25, 8, 0.25)


def test_vectors_follow_the_features_and_a_hidden_layer_reads_both():
    spec = with_vector(SPEC, "goal", 2)
    appended = AppendVectors(Mean(spec), ["goal"])
    assert appended.features_dim == 4
    assert appended.keys == ("image", "goal")
    obs = {**frame(3, 4), "goal": torch.tensor([[0.0, 1.0], [1.0, 0.0]])}
    features, state = appended.encode(obs)
    assert features.tolist() == [[3, 6, 0, 1], [4, 8, 1, 0]]
    assert state == ()
    big = with_vector(image_spec((3, 36, 36)), "goal", 2)
    assert Cnn(big).hidden == ()
    assert AppendVectors(Cnn(big), ["goal"]).hidden == (256,)


def test_marks_are_as_long_as_the_features_and_measures_are_short():
    spec = with_vector(with_vector(image_spec((3, 4, 5)), "goal", 8, 0), "pose", 3, -4, 2)
    spec = with_vector(spec, "free", 1, -np.inf, np.inf)
    appended = AppendVectors(Mean(spec), ["goal", "pose", "free"])
    vectors = {"goal": torch.eye(8)[2:3], "pose": torch.tensor([[-4.0, 2, 1]]), "free": torch.tensor([[7.0]])}
    features, _ = appended.encode({**frame(3), **vectors})
    # two features beside eight marks: sqrt(2 / 8) = 0.5; the pose by its bound of 4; without a bound as it is
    assert features.tolist() == [[3, 6, 0, 0, 0.5, 0, 0, 0, 0, 0, -1, 0.5, 0.25, 7]]


def test_vectors_after_stacked_features_are_only_the_newest():
    spec = with_vector(SPEC, "goal", 1)
    both = AppendVectors(FeatureStack(Mean(spec), 2), ["goal"])
    state, outputs = both.initial_state(1), []
    for value, goal in ((1, 0.5), (2, 0.25)):
        obs = {**frame(value), "goal": torch.tensor([[goal]])}
        features, state = both.encode(obs, state, torch.tensor([value == 1]))
        outputs.append(features.tolist())
    assert outputs == [[[1, 2, 1, 2, 0.5]], [[1, 2, 2, 4, 0.25]]]


class Pooled(Mean):
    """Mean with a neck that the policy owns: the sum of its input, width 1."""

    class Sum(nn.Module):
        width = 1

        def __init__(self, frames):
            super().__init__()
            self.frames = frames

        def forward(self, x):
            assert x.shape[1] == 2 * self.frames
            return x.sum(1, keepdim=True)

    def neck(self, frames=1):
        return self.Sum(frames)


def test_a_neck_reads_all_stacked_frames_and_vectors_pass_it():
    spec = with_vector(SPEC, "goal", 2)
    assert FeatureStack(Pooled(SPEC), 4).neck().frames == 4
    both = AppendVectors(FeatureStack(Pooled(spec), 4), ["goal"])
    neck = both.neck()
    assert neck.inner.frames == 4
    assert neck.width == 1 + 2
    # two streams: the four frames' pairs sum to 1 + 2 + ... + 8 = 36 and to 8, then the goals as they are
    joined = torch.cat([torch.arange(1.0, 9).unsqueeze(0), torch.ones(1, 8)])
    goals = torch.tensor([[0.5, 0.25], [0, 1]])
    assert neck(torch.cat([joined, goals], 1)).tolist() == [[36, 0.5, 0.25], [8, 0, 1]]
    assert AppendVectors(FeatureStack(Mean(spec), 4), ["goal"]).neck() is None


def test_monet_s_attention_has_a_place_for_every_slot_and_frame():
    spec = image_spec((3, 8, 8))
    config = MonetConfig(slots=2, latents=3, channels=(4, 4), decoder_channels=4, pool="attention")
    motion = FeatureStack(Monet(spec, config), 4)
    pool = motion.neck()
    assert (pool.width, pool.place.shape) == (256, (4 * 2, 3))
    image = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    first = torch.tensor([True, True])
    with torch.no_grad():
        features, _ = motion.encode({"image": image}, motion.initial_state(2), first)
        assert pool(features).shape == (2, 256)
        # four equal frames, distinguished by their places alone: without these, one frame reads the same
        pool.place.zero_()
        single = SlotPool(2, 3)
        single.load_state_dict({**pool.state_dict(), "place": torch.zeros(2, 3)})
        torch.testing.assert_close(pool(features), single(features[:, :6]))


def test_a_loss_that_reads_the_policy_gives_it_the_vectors(generator):
    class ReadsPolicy(Representation):
        """Method with one feature, 7, whose loss is the sum of the policy's values."""

        features_dim = 1
        window = 2

        def encode(self, obs, state=(), first=None):
            return torch.full((len(obs["image"]), 1), 7.0), state

        def loss(self, steps, heads, generator):
            obs = flatten(steps.obs)
            return heads(self.encode(obs)[0], obs)[1].sum(), {}

    spec = with_vector(image_spec((1, 8, 8)), "goal", 2)
    appended = AppendVectors(ReadsPolicy(spec), ["goal"])
    goal = torch.tensor([[[1.0, 2], [3, 4], [5, 6]]])
    steps = Steps.frames({"image": torch.zeros(3, 1, 8, 8, dtype=torch.uint8), "goal": goal[0]})
    weights = torch.tensor([1.0, 10, 100])
    # 7 + 10 * 1 + 100 * 2, 7 + 10 * 3 + 100 * 4, 7 + 10 * 5 + 100 * 6
    loss, _ = appended.loss(steps, lambda features, obs, first: (features, features @ weights), generator)
    assert float(loss) == 217 + 437 + 657

    history = History(spec.space, 2, 3)
    history.begin()
    no = torch.zeros(3, dtype=torch.bool)
    for _ in range(2):
        history.add_obs({key: value[0] for key, value in steps.obs.items()}, no)
        history.add_step(no.long(), torch.zeros(3), no, no, {})
    history.add_obs({key: value[0] for key, value in steps.obs.items()}, no)
    drawn, _ = appended.auxiliary(history, 1, lambda features, obs, first: (features, features @ weights), generator)
    assert float(drawn) in (2 * 217, 2 * 437, 2 * 657)


class Extended(Mean):
    """Method that answers every public attribute in its own way, and has more than the base class declares."""

    Config = MonetConfig
    keys = ("image", "pose")
    modes = ("online",)
    default_mode = "online"
    needs_pretraining = False
    sees = False
    pretrain_steps = 25
    starts_from_policy = True
    closed_form = True
    pretext = True
    progress = 0.5
    phase_steps = 9
    has_loss = False
    hidden = (7,)
    aux_coef = 0.75
    window = 3
    views = True
    replay_frames = 11
    name = "extended"
    brightness = 4

    def twice(self):
        return 2 * self.brightness


DECLARED = [name for name in vars(Representation) if not name.startswith("_")]


@pytest.mark.parametrize("name", DECLARED)
def test_every_public_attribute_of_the_base_class_is_the_inner_one(name):
    inner = Extended(with_vector(SPEC, "pose", 2))
    wrapper = PlainWrapper(inner)
    found, wanted = getattr(wrapper, name), getattr(inner, name)
    if name == "encode":  # a wrapper's own
        assert found != wanted
        return
    assert found == wanted
    if not callable(wanted):
        assert wanted != getattr(Representation, name)


class PlainWrapper(RepresentationWrapper):
    """Wrapper that changes nothing."""

    def encode(self, obs, state=(), first=None):
        return self.inner.encode(obs, state, first)


def test_attributes_that_the_base_class_lacks_are_forwarded_too():
    inner = Extended(with_vector(SPEC, "pose", 2))
    wrapper = PlainWrapper(PlainWrapper(inner))
    assert wrapper.twice() == 8
    assert wrapper.spec is inner.spec
    assert wrapper.config is inner.config
    assert wrapper.features_dim == 2
    assert unwrapped(wrapper) is inner
    with pytest.raises(AttributeError, match="'Extended' object has no attribute 'darkness'"):
        wrapper.darkness  # noqa: B018


def test_a_wrapper_without_features_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        RepresentationWrapper(Mean(SPEC))
