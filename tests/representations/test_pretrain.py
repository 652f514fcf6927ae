"""Offline pre-training: frames by seed, phases in order, and a restart that nobody can see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from agents import checkpoint
from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from envs.steps import flatten
from envs.suites import build
from envs.tasks import World
from representations.base import Phase, Representation, Unfit
from representations.darla import Darla
from representations.gqn import Gqn, GqnConfig
from representations.pretrain import FIRST, NUM_ENVS, STRIDE, Pretrainer, collect
from tests.representations.toys import image_spec, moving_square, with_vector

PLAIN = World("counting", {"num_levels": 3})


def test_frames_come_from_their_seed_alone_and_in_equal_shares():
    frames = collect((PLAIN, PLAIN.with_options(variant="swapped")), 101, seed=7)["image"]
    assert frames.shape == (101, 3, 64, 64)
    assert frames.dtype == torch.uint8
    assert frames.permute(0, 2, 3, 1).is_contiguous()
    assert torch.equal(frames, collect((PLAIN, PLAIN.with_options(variant="swapped")), 101, seed=7)["image"])
    assert not torch.equal(frames, collect((PLAIN, PLAIN.with_options(variant="swapped")), 101, seed=8)["image"])
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


def counters(windows):
    """(env, episode, t) that the counting world writes into pixel (0, 0), (..., 3)."""
    return windows["image"][..., 0, 0]


def test_windows_are_consecutive_steps_of_one_env():
    windows = collect((PLAIN,), 70 * 4 + 3, seed=7, window=4)  # 283 // 4 = 70 windows
    assert windows["image"].shape == (70, 4, 3, 64, 64)
    assert windows["image"].dtype == torch.uint8
    assert windows["image"].movedim(-3, -1).is_contiguous()  # channels-last
    env, episode, time = counters(windows).long().unbind(-1)
    # 32 envs at once: windows 0..31, 32..63, and 6 of the third round
    assert torch.equal(env, (torch.arange(70) % NUM_ENVS)[:, None].expand(70, 4))
    # a step of the world is one more t, or the start of the next episode
    goes_on = (time[:, 1:] == time[:, :-1] + 1) & (episode[:, 1:] == episode[:, :-1])
    begins = (time[:, 1:] == 0) & (episode[:, 1:] == episode[:, :-1] + 1)
    assert (goes_on ^ begins).all()
    assert begins.any()
    assert torch.equal(windows[FIRST], time == 0)
    # Envs 0 to 2 play episodes of 10 + (i + e) % 4 steps, 10, 11 and 12 the first. A window is 4 observations and 8
    # steps lead to the next: it begins 3 + 8 = 11 steps after the one before, that of env 0 at 0, 1 of episode 1 (its
    # 10th step resets), then at step 22 = 10 + 11 + 1: t=1 of episode 2.
    starts = list(zip(episode[::NUM_ENVS, 0].tolist(), time[::NUM_ENVS, 0].tolist(), strict=True))
    assert starts == [(0, 0), (1, 1), (2, 1)]
    # env 1: 11 steps, then 12: step 11 opens episode 1, step 22 is its t=11
    starts = list(zip(episode[1::NUM_ENVS, 0].tolist(), time[1::NUM_ENVS, 0].tolist(), strict=True))
    assert starts == [(0, 0), (1, 0), (1, 11)]


def test_windows_come_in_equal_shares_and_what_else_is_asked_for_goes_along():
    def also(envs):
        return {"time": envs.time.copy()}

    pair = (PLAIN, PLAIN.with_options(variant="swapped"))
    windows = collect(pair, 3 * 7 + 1, seed=7, also=also, window=3)
    # 7 windows over two worlds: edges 0, 3, 7
    assert windows["image"].shape[:2] == (7, 3)
    assert torch.equal(windows["image"][:3], collect((PLAIN,), 9, seed=7, window=3)["image"])
    assert torch.equal(counters(windows)[..., 2].long()[3:], windows["time"][3:] % 256)
    assert windows["time"].tolist() == [[0, 1, 2]] * 7
    assert set(collect(pair, 6, seed=7)) == {"image"}  # single frames carry no marks


def test_too_few_windows_are_refused():
    with pytest.raises(UsageError, match="7 pre-training frames for 2 worlds in windows of 4"):
        collect((PLAIN, PLAIN), 7, seed=0, window=4)
    assert len(collect((PLAIN, PLAIN), 8, seed=0, window=4)["image"]) == 2


class Viewed(CountingVectorEnv):
    """A counting world that can be looked at from ``count`` sides: view v of env i at step t is (t, i, v)."""

    def views(self, count):
        shown = np.zeros((self.num_envs, count, 4, 6, 3), np.uint8)
        shown[..., 0] = self.time[:, None, None, None]
        shown[..., 1] = self.rows[:, None, None, None]
        shown[..., 2] = np.arange(count)[:, None, None]
        return {"image": shown, "pose": shown[:, :, 0, 0].astype(np.float32)}


class ViewedWorld:
    def make(self, num_envs, seed):
        return Viewed(num_envs, seed=seed, episode_length=30)


def test_views_are_windows_of_one_moment():
    windows = collect((ViewedWorld(),), 5 * 40 + 4, seed=1, window=5, views=True)
    assert windows["image"].shape == (40, 5, 3, 4, 6)
    assert windows["image"].movedim(-3, -1).is_contiguous()
    time, env, view = windows["image"][..., 2, 5].unbind(-1)
    # 32 envs at the start, then 8 of them 8 steps later, each from 5 sides
    assert torch.equal(time, torch.tensor([0] * 32 + [STRIDE] * 8)[:, None].expand(40, 5).to(torch.uint8))
    assert torch.equal(env, (torch.arange(40) % 32)[:, None].expand(40, 5).to(torch.uint8))
    assert view.tolist() == [[0, 1, 2, 3, 4]] * 40
    assert torch.equal(windows["pose"], windows["image"][..., 2, 5].float())
    assert not windows[FIRST].any()


def test_a_world_without_views_is_unfit():
    with pytest.raises(Unfit, match=r"CountingVectorEnv has no views\(count\)"):
        collect((ViewedWorld(), PLAIN), 40, seed=0, window=4, views=True)


class TwoPhases(Representation):
    """Phase "a" pulls its number to the batch's mean pixel, phase "b" its own to a's; both count their batches."""

    features_dim = 1

    def __init__(self, spec, config=None):
        super().__init__(spec, config)
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
    two = TwoPhases(image_spec((3, 4, 5)))
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
    two = TwoPhases(image_spec((3, 4, 5)))
    trainer = pretrainer(two, frames())
    trainer.run(60)
    a = two.a.item()
    trainer.run(20)
    assert two.a.item() == a


class Uneven(TwoPhases):
    """Phase "a" takes 7 frames a step, and its learning rate falls; windows of 2."""

    window = 2

    def phases(self):
        a, b = super().phases()
        return [replace(a, batch=7, anneal=0.25), b]


def pairs(n=10):
    """``n`` windows of 2 frames."""
    image = torch.randint(256, (n, 2, 4, 5, 3), dtype=torch.uint8).movedim(-1, -3)
    return {"image": image, FIRST: torch.zeros(n, 2, dtype=torch.bool)}


def test_a_phase_has_its_own_batch_in_whole_windows():
    two = Uneven(image_spec((3, 4, 5)))
    trainer = pretrainer(two, pairs(), samples=96)
    # Phase a: 7 // 2 = 3 windows, 6 frames; the other 4 // 2 = 2 windows, 4 frames. Shares 3 : 1 of 96:
    # 16 * 3/4 = 12 steps, 24 * 1/4 = 6 steps; 12 * 6 + 6 * 4 = 96
    assert trainer.total == 96
    trainer.run(40)  # 6 steps are 36, a 7th were 42
    assert (two.order, trainer.drawn) == (["a"] * 6, 36)
    trainer.run(40)  # up to 76: six more are 72, and one of 4
    assert (two.order[6:], trainer.drawn) == (["a"] * 6 + ["b"], 76)
    trainer.run(1)  # at least one
    assert trainer.drawn == 80
    trainer.run(1000)
    assert (trainer.drawn, trainer.done, len(two.order)) == (96, True, 18)


def test_windows_reach_the_loss_time_first():
    class Looking(Uneven):
        def phases(self):
            def look(steps, generator):
                self.seen = steps
                return self.a.sum(), {}

            return [Phase("look", [self.a], look, 0.01, batch=6)]

    two, data = Looking(image_spec((3, 4, 5))), pairs()
    data[FIRST][:, 1] = torch.arange(10) % 2 == 1
    pretrainer(two, data, samples=6).run(6)
    assert two.seen.shape == (2, 3)
    assert set(two.seen.obs) == {"image"}
    image = two.seen.obs["image"]
    drawn = [int((data["image"] == image[:, b]).flatten(1).all(1).nonzero()) for b in range(3)]
    assert two.seen.first[1].tolist() == [bool(index % 2) for index in drawn]
    assert torch.equal(two.seen.done[0], two.seen.first[1])
    assert image.movedim(-3, -1).is_contiguous()


def test_the_learning_rate_falls_to_nothing_over_the_last_part_of_its_phase():
    trainer = pretrainer(Uneven(image_spec((3, 4, 5))), pairs(), samples=128)
    rates: dict[int, list[float]] = {0: [], 1: []}
    for number, optimizer in enumerate(trainer.optimizers):
        step = optimizer.step

        def spy(step=step, number=number, optimizer=optimizer):
            rates[number].append(optimizer.param_groups[0]["lr"])
            step()

        optimizer.step = spy
    trainer.run(1000)
    # 128 // 6 * 3/4 = 15.75: 16 steps; the last quarter is 4: 4/4, 3/4, 2/4, 1/4 of 0.01. Phase b: 32 * 1/4 = 8 steps.
    assert rates[0] == pytest.approx([0.01] * 13 + [0.0075, 0.005, 0.0025])
    assert rates[1] == [0.01] * 8


@pytest.mark.parametrize("pause", [3, 8])
def test_scenes_too_go_on_to_the_bit(tmp_path, pause):
    image, pose = torch.randint(256, (6, 3, 8, 8, 3), dtype=torch.uint8).movedim(-1, -3), torch.randn(6, 3, 2)
    data = {"image": image, "pose": pose, FIRST: torch.zeros(6, 3, dtype=torch.bool)}
    spec = with_vector(image_spec((3, 8, 8)), "pose", 2)
    config = GqnConfig(code=8, channels=4, steps=2, latents=2, views=3, batch=4, sigma_steps=6, anneal=0.4)

    def fresh(seed):
        torch.manual_seed(seed)
        return pretrainer(Gqn(spec, config), data, samples=10 * 12, seed=seed)

    whole, first, second = fresh(3), fresh(3), fresh(9)
    whole.run(1000)
    first.run(pause * 12)
    checkpoint.save(tmp_path, 1, first.components())
    checkpoint.load(tmp_path, second.components())
    assert second.drawn == pause * 12
    second.run(1000)
    for (name, wanted), found in zip(
        whole.representation.state_dict().items(), second.representation.state_dict().values(), strict=True
    ):
        assert torch.equal(wanted, found), name
    assert int(second.representation.updates) == 10


class Says(TwoPhases):
    """Features: ``scale`` times the mean red of a frame, and 3."""

    features_dim, scale = 2, 1.0

    def encode(self, obs, state=(), first=None):
        assert first.all()
        assert not self.training
        red = obs["image"][:, 0].float().mean((1, 2))
        return torch.stack([self.scale * red, torch.full_like(red, 3.0)], 1), state


def test_watch_tells_spread_and_size_and_warns_where_features_collapsed():
    image = torch.zeros(4, 4, 5, 3, dtype=torch.uint8)
    image[..., 0] = torch.tensor([0, 2, 4, 6])[:, None, None]
    two = Says(image_spec((3, 4, 5)))
    trainer = pretrainer(two, {"image": image.permute(0, 3, 1, 2)})
    trainer.run(40)
    # red 0, 2, 4, 6: standard deviation sqrt(5), mean with the constant's 0 halves it; size sqrt((14 + 9) / 2)
    found = trainer.watch()
    assert found == pytest.approx({"pretrain/feature_std": 5**0.5 / 2, "pretrain/feature_size": 11.5**0.5})
    assert two.training
    # 0.0001 of it: spread 0.000112 of size 3 / sqrt(2) = 2.12, below a ten-thousandth
    two.scale = 0.0001
    told = r"^says: features have collapsed after 40 samples: .* over frames is 0\.00011, their size 2\.1;"
    with pytest.warns(RuntimeWarning, match=told):
        trainer.watch()
    two.scale = 0.0004  # 0.00045 of 2.12
    trainer.watch()


def test_watch_looks_at_the_first_frame_of_windows():
    data = pairs()
    data["image"][:, 1] = 200
    trainer = pretrainer(Says(image_spec((3, 4, 5))), data)
    trainer.representation.window = 2
    found = trainer.watch()
    red = data["image"][:, 0, 0].float().mean((1, 2))
    assert found["pretrain/feature_std"] == pytest.approx(float(red.std(correction=0)) / 2, rel=1e-5)


@pytest.mark.parametrize("pause", [5, 18, 33])
def test_stopped_anywhere_and_continued_it_ends_the_same_to_the_bit(tmp_path, pause):
    images, _ = moving_square(size=64, side=16, positions=4)
    data = {"image": images}
    config = Darla.Config(latents=3, bottleneck=4)

    def fresh(seed):
        torch.manual_seed(seed)
        return Darla(image_spec((1, 64, 64)), config)

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
    first = pretrainer(TwoPhases(image_spec((3, 4, 5))), data)
    with pytest.raises(UsageError, match=r"\[15, 5\] steps per phase"):
        pretrainer(TwoPhases(image_spec((3, 4, 5))), data, samples=120).load_state_dict(first.state_dict())


def test_bfloat16_reaches_about_the_same_loss():
    images, _ = moving_square(size=64, side=16, positions=8)
    ends = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        darla = Darla(image_spec((1, 64, 64)), Darla.Config(latents=3, bottleneck=4, denoiser_share=0.9))
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
    frames = collect(task.visual_variants, 64, seed=1)["image"]
    source = collect((task.source,), 32, seed=1)["image"]
    assert torch.equal(frames[:32], source)
    assert not torch.equal(frames[32:], source)
