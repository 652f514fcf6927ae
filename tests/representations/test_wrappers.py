"""Features side by side: the stateful way over single frames equals the stateless one over stacked frames."""

import torch
from torch import nn

from envs.history import History
from envs.steps import Steps, flatten
from representations.base import Representation
from representations.cnn import Cnn
from representations.monet import Monet, MonetConfig, SlotPool
from representations.vae import BetaVae
from representations.wrappers import AppendVectors, FeatureStack
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


def test_state_carries_the_last_features_and_first_fills_with_the_first_frame():
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


def test_what_is_fitted_is_the_inner_method_on_single_frames():
    spec = image_spec((3, 64, 64))
    inner = BetaVae(spec)
    motion = FeatureStack(inner, 4)
    assert motion.features_dim == 4 * inner.features_dim
    assert [p.data_ptr() for p in motion.phases()[0].parameters] == [p.data_ptr() for p in inner.phases()[0].parameters]
    assert (motion.needs_pretraining, motion.hidden, motion.keys) == (True, inner.hidden, inner.keys)
    motion.after_step()
    assert inner.updates == 1


def test_vectors_stand_after_the_features_and_a_hidden_layer_reads_both():
    spec = with_vector(SPEC, "goal", 2)
    beside = AppendVectors(Mean(spec), ["goal"])
    assert beside.features_dim == 4
    assert beside.keys == ("image", "goal")
    obs = {**frame(3, 4), "goal": torch.tensor([[0.0, 1.0], [1.0, 0.0]])}
    features, state = beside.encode(obs)
    assert features.tolist() == [[3, 6, 0, 1], [4, 8, 1, 0]]
    assert state == ()
    big = with_vector(image_spec((3, 36, 36)), "goal", 2)
    assert Cnn(big).hidden == ()
    assert AppendVectors(Cnn(big), ["goal"]).hidden == (256,)


def test_vectors_beside_motion_carry_only_the_newest_vector():
    spec = with_vector(SPEC, "goal", 1)
    both = AppendVectors(FeatureStack(Mean(spec), 2), ["goal"])
    state, told = both.initial_state(1), []
    for value, goal in ((1, 0.5), (2, 0.25)):
        obs = {**frame(value), "goal": torch.tensor([[goal]])}
        features, state = both.encode(obs, state, torch.tensor([value == 1]))
        told.append(features.tolist())
    assert told == [[[1, 2, 1, 2, 0.5]], [[1, 2, 2, 4, 0.25]]]


class Pooled(Mean):
    """Mean with a neck that the policy owns: the sum of what it is given, width 1."""

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


def test_a_neck_reads_all_frames_of_motion_and_vectors_go_around_it():
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


def test_monets_attention_has_a_place_for_every_slot_of_every_frame():
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
        # four equal frames, told apart by their places alone: without these, one frame reads the same
        pool.place.zero_()
        alone = SlotPool(2, 3)
        alone.load_state_dict({**pool.state_dict(), "place": torch.zeros(2, 3)})
        torch.testing.assert_close(pool(features), alone(features[:, :6]))


def test_a_loss_that_looks_at_the_policy_shows_it_the_vectors_too(generator):
    class Looks(Representation):
        """Its loss is the sum of what the policy's value makes of one feature, 7."""

        features_dim = 1
        window = 2

        def encode(self, obs, state=(), first=None):
            return torch.full((len(obs["image"]), 1), 7.0), state

        def loss(self, steps, heads, generator):
            obs = flatten(steps.obs)
            return heads(self.encode(obs)[0], obs)[1].sum(), {}

    spec = with_vector(image_spec((1, 8, 8)), "goal", 2)
    beside = AppendVectors(Looks(spec), ["goal"])
    goal = torch.tensor([[[1.0, 2], [3, 4], [5, 6]]])
    steps = Steps.frames({"image": torch.zeros(3, 1, 8, 8, dtype=torch.uint8), "goal": goal[0]})
    weights = torch.tensor([1.0, 10, 100])
    # 7 + 10 * 1 + 100 * 2, 7 + 10 * 3 + 100 * 4, 7 + 10 * 5 + 100 * 6
    loss, _ = beside.loss(steps, lambda features, obs: (features, features @ weights), generator)
    assert float(loss) == 217 + 437 + 657

    history = History(spec.space, 2, 3)
    history.begin()
    no = torch.zeros(3, dtype=torch.bool)
    for _ in range(2):
        history.add_obs({key: value[0] for key, value in steps.obs.items()}, no)
        history.add_step(no.long(), torch.zeros(3), no, no, {})
    history.add_obs({key: value[0] for key, value in steps.obs.items()}, no)
    drawn, _ = beside.auxiliary(history, 1, lambda features, obs: (features, features @ weights), generator)
    assert float(drawn) in (2 * 217, 2 * 437, 2 * 657)
