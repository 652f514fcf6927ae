"""Offline pre-training: frames by seed, phases in order, and a restart that nobody can see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from agents import checkpoint
from envs.registry import UsageError
from envs.steps import flatten
from envs.suites import World, build
from representations.base import Phase, Representation
from representations.darla import Darla
from representations.pretrain import STRIDE, Pretrainer, collect
from tests.representations.toys import image_space, moving_square

PLAIN = World("counting", {"num_levels": 3})


def test_frames_come_from_their_seed_alone_and_in_equal_shares():
    frames = collect((PLAIN, PLAIN.but(look="swapped")), 101, seed=7)["image"]
    assert frames.shape == (101, 3, 64, 64)
    assert frames.dtype == torch.uint8
    assert frames.permute(0, 2, 3, 1).is_contiguous()
    assert torch.equal(frames, collect((PLAIN, PLAIN.but(look="swapped")), 101, seed=7)["image"])
    assert not torch.equal(frames, collect((PLAIN, PLAIN.but(look="swapped")), 101, seed=8)["image"])
    # 101 over two worlds: edges 0, 50, 101; the first world's share does not depend on the second
    assert torch.equal(frames[:50], collect((PLAIN,), 50, seed=7)["image"])


def test_kept_frames_are_a_stride_apart_and_actions_are_held():
    class Spy:
        """Wraps a world: remembers each action, and shows the step number in every pixel."""

        def make(self, num_envs, seed):
            world = PLAIN.make(num_envs, seed)
            step, self.actions, spy = world.step, [], self

            def remember(actions):
                spy.actions.append(actions.copy())
                observation, *rest = step(actions)
                return np.full_like(observation, len(spy.actions)), *rest

            world.step = remember
            return world

    spy = Spy()
    frames = collect((spy,), 32 * 40, seed=0)["image"]
    shown = frames[:, 0, 0, 0].view(40, 32)
    assert shown[1:, 0].tolist() == [STRIDE * i for i in range(1, 32)] + [STRIDE * i % 256 for i in range(32, 40)]
    actions = np.stack(spy.actions)
    # kept with probability 7/8, and of the fresh draws a quarter (of 4 actions) are the same again:
    # 7/8 + 1/8 * 1/4 = 0.90625, standard error sqrt(0.9 * 0.1 / 9952) = 0.003
    assert np.mean(actions[1:] == actions[:-1]) == pytest.approx(0.906, abs=0.012)
    assert np.bincount(actions.ravel(), minlength=4).min() > 0.2 * actions.size


def test_too_few_frames_are_refused():
    with pytest.raises(UsageError, match="1 pre-training frames for 2 worlds"):
        collect((PLAIN, PLAIN), 1, seed=0)


class TwoPhases(Representation):
    """Phase "a" pulls its number to the batch's mean pixel, phase "b" its own to a's; both count their batches."""

    features_dim = 1

    def __init__(self, space, config=None):
        super().__init__(space, config)
        self.a, self.b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.register_buffer("after", torch.zeros((), dtype=torch.int64))
        self.order = []

    def encode(self, obs, state=(), first=None):
        return self.b.expand(len(obs["image"]), 1), state

    def phases(self):
        def fit_a(steps, generator):
            self.order.append("a")
            image = flatten(steps.obs)["image"].float() / 255
            noise = torch.rand((), generator=generator)
            return (self.a - image.mean() - noise).square().sum(), {"noise": noise}

        def fit_b(steps, generator):
            self.order.append("b")
            return (self.b - self.a).square().sum(), {}

        return [Phase("a", [self.a], fit_a, 0.01, share=3.0), Phase("b", [self.b], fit_b, 0.01, share=1.0)]

    def after_step(self):
        self.after += 1


def frames(n=20):
    return {"image": torch.randint(256, (n, 4, 5, 3), dtype=torch.uint8).permute(0, 3, 1, 2)}


def pretrainer(representation, data, samples=80, seed=3):
    return Pretrainer(
        representation, data, samples, generator=torch.Generator().manual_seed(seed), batch_size=4, precision="float32"
    )


def test_phases_run_in_order_with_their_shares_and_only_their_parameters_move():
    two = TwoPhases(image_space((3, 4, 5)))
    trainer = pretrainer(two, frames())
    assert trainer.total == 80
    # 20 steps of 4 samples; shares 3 : 1 give 15 and 5
    metrics = trainer.run(40)
    assert two.order == ["a"] * 10
    assert set(metrics) == {"pretrain/a/loss", "pretrain/a/noise"}
    assert two.b.item() == 0
    assert (trainer.drawn, trainer.done) == (40, False)
    a_before = two.a.item()
    trainer.run(20)
    trainer.run(1000)
    assert two.order == ["a"] * 15 + ["b"] * 5
    assert (trainer.drawn, trainer.done, int(two.after)) == (80, True, 20)
    assert two.a.item() != a_before
    assert two.b.item() == pytest.approx(0.05, rel=0.02)  # five steps of Adam at 0.01 toward a larger a
    assert not two.training


def test_b_s_gradient_never_reaches_a():
    two = TwoPhases(image_space((3, 4, 5)))
    trainer = pretrainer(two, frames())
    trainer.run(60)
    a = two.a.item()
    trainer.run(20)
    assert two.a.item() == a


@pytest.mark.parametrize("pause", [5, 18, 33])
def test_stopped_anywhere_and_continued_it_ends_the_same_to_the_bit(tmp_path, pause):
    images, _ = moving_square(size=64, side=16, positions=4)
    data = {"image": images}
    config = Darla.Config(latents=3, bottleneck=4)

    def fresh(seed):
        torch.manual_seed(seed)
        return Darla(image_space((1, 64, 64)), config)

    whole = pretrainer(fresh(0), data, samples=160)
    whole.run(160)
    first = pretrainer(fresh(0), data, samples=160)
    first.run(pause * 4)
    assert first.drawn == pause * 4
    checkpoint.save(tmp_path, 1, first.components())
    second = pretrainer(fresh(9), data, samples=160, seed=9)
    checkpoint.load(tmp_path, second.components())
    assert second.drawn == pause * 4
    second.run(160)
    assert second.done
    for (name, wanted), found in zip(
        whole.representation.state_dict().items(), second.representation.state_dict().values(), strict=True
    ):
        assert torch.equal(wanted, found), name


def test_another_budget_is_refused_on_resume():
    data = frames()
    first = pretrainer(TwoPhases(image_space((3, 4, 5))), data)
    with pytest.raises(UsageError, match=r"\[15, 5\] steps per phase"):
        pretrainer(TwoPhases(image_space((3, 4, 5))), data, samples=120).load_state_dict(first.state_dict())


def test_bfloat16_reaches_about_the_same_loss():
    images, _ = moving_square(size=64, side=16, positions=8)
    ends = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        darla = Darla(image_space((1, 64, 64)), Darla.Config(latents=3, bottleneck=4, denoiser_share=0.9))
        trainer = Pretrainer(
            darla,
            {"image": images},
            640,
            generator=torch.Generator().manual_seed(0),
            batch_size=16,
            precision=precision,
        )
        ends[precision] = trainer.run(320)["pretrain/denoiser/loss"]
    assert ends["bfloat16"] == pytest.approx(ends["float32"], rel=0.02)


def test_a_look_of_the_suite_is_what_all_draws_from():
    (task,) = build("counting", 3)
    frames = collect(task.looks, 64, seed=1)["image"]
    source = collect((task.source,), 32, seed=1)["image"]
    assert torch.equal(frames[:32], source)
    assert not torch.equal(frames[32:], source)
