"""Frames of a random policy: by seed, in windows, as views of one moment."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from envs.suites import build
from envs.tasks import World
from representations.base import Unfit
from representations.collect import ACTION, FIRST, NUM_ENVS, STRIDE, DataCoverage, collect, collection_steps

PLAIN = World("counting", {"num_levels": 3})


def test_frames_follow_from_the_seed_equally_from_all_worlds():
    frames = collect((PLAIN, PLAIN.with_options(variant="swapped")), 101, seed=7)["image"]
    assert frames.shape == (101, 3, 64, 64)
    assert frames.dtype == torch.uint8
    assert frames.permute(0, 2, 3, 1).is_contiguous()
    assert torch.equal(frames, collect((PLAIN, PLAIN.with_options(variant="swapped")), 101, seed=7)["image"])
    assert not torch.equal(frames, collect((PLAIN, PLAIN.with_options(variant="swapped")), 101, seed=8)["image"])
    # 101 over two worlds: edges 0, 50, 101; the frames of the first do not depend on the second
    assert torch.equal(frames[:50], collect((PLAIN,), 50, seed=7)["image"])


def test_stored_frames_are_a_stride_apart_and_actions_are_held():
    class Spy:
        """World that remembers each action and gives the step number in every pixel."""

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
    with pytest.raises(UsageError, match="1 pre-training frames for 2 environments"):
        collect((PLAIN, PLAIN), 1, seed=0)


def counters(windows):
    """Numbers (env, episode, t) that the counting environment writes into pixel (0, 0), (..., 3)."""
    return windows["image"][..., 0, 0]


def test_windows_are_consecutive_steps_of_one_env():
    windows = collect((PLAIN,), 70 * 4 + 3, seed=7, window=4)  # 283 // 4 = 70 windows
    assert windows["image"].shape == (70, 4, 3, 64, 64)
    assert windows["image"].dtype == torch.uint8
    assert windows["image"].movedim(-3, -1).is_contiguous()  # channels-last
    env, episode, time = counters(windows).long().unbind(-1)
    # 32 envs at once: windows 0..31, 32..63, and 6 of the third round
    assert torch.equal(env, (torch.arange(70) % NUM_ENVS)[:, None].expand(70, 4))
    # a step is one more t, or the start of the next episode
    continues = (time[:, 1:] == time[:, :-1] + 1) & (episode[:, 1:] == episode[:, :-1])
    begins = (time[:, 1:] == 0) & (episode[:, 1:] == episode[:, :-1] + 1)
    assert (continues ^ begins).all()
    assert begins.any()
    assert torch.equal(windows[FIRST], time == 0)
    # Envs 0 to 2 have episodes of 10 + (i + e) % 4 steps, 10, 11 and 12 the first. A window is 4 observations and 8
    # steps lead to the next: it begins 3 + 8 = 11 steps after the one before, that of env 0 at 0, 1 of episode 1 (its
    # 10th step resets), then at step 22 = 10 + 11 + 1: t=1 of episode 2.
    starts = list(zip(episode[::NUM_ENVS, 0].tolist(), time[::NUM_ENVS, 0].tolist(), strict=True))
    assert starts == [(0, 0), (1, 1), (2, 1)]
    # env 1: 11 steps, then 12: step 11 opens episode 1, step 22 is its t=11
    starts = list(zip(episode[1::NUM_ENVS, 0].tolist(), time[1::NUM_ENVS, 0].tolist(), strict=True))
    assert starts == [(0, 0), (1, 0), (1, 11)]


def test_windows_hold_the_actions_between_their_steps():
    class Counter:
        """Acts 0, 1, 2, 3, 0, ... in every env."""

        def __init__(self, envs, seed):
            self.steps = -1

        def act(self, observation, first):
            self.steps += 1
            return np.full(NUM_ENVS, self.steps % 4, np.int32)

    windows = collect((PLAIN,), 33 * 3, seed=7, window=3, behaviours=(Counter,))
    assert windows[ACTION].dtype == torch.int64
    # a window takes 2 steps, then 8 lead to the next one: its first is number 10, 10 % 4 = 2
    assert windows[ACTION][:32].tolist() == [[0, 1, 0]] * 32
    assert windows[ACTION][32].tolist() == [2, 3, 0]


def test_windows_come_equally_from_all_worlds_with_ground_truth():
    def also(envs):
        return {"time": envs.time.copy()}

    pair = (PLAIN, PLAIN.with_options(variant="swapped"))
    windows = collect(pair, 3 * 7 + 1, seed=7, also=also, window=3)
    # 7 windows over two worlds: edges 0, 3, 7
    assert windows["image"].shape[:2] == (7, 3)
    assert torch.equal(windows["image"][:3], collect((PLAIN,), 9, seed=7, window=3)["image"])
    assert torch.equal(counters(windows)[..., 2].long()[3:], windows["time"][3:] % 256)
    assert windows["time"].tolist() == [[0, 1, 2]] * 7
    assert set(collect(pair, 6, seed=7)) == {"image"}  # single frames have no marks


def test_too_few_windows_are_refused():
    with pytest.raises(UsageError, match="7 pre-training frames for 2 environments in windows of 4"):
        collect((PLAIN, PLAIN), 7, seed=0, window=4)
    assert len(collect((PLAIN, PLAIN), 8, seed=0, window=4)["image"]) == 2


class Viewed(CountingVectorEnv):
    """Counting environment with ``count`` views of a moment: view v of env i at step t is (t, i, v)."""

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


@pytest.mark.parametrize(
    ("steps", "sources", "times"),
    [
        (0, 1, {0}),
        (10, 1, set(range(11))),
        (126, 1, set(range(0, 127, 2))),  # 64 moments, 126 / 63 = 2 apart
        (93, 2, set(range(0, 94, 3))),  # 32 of each source, 93 / 31 = 3 apart
        (1000, 100, {0}),
    ],
)
def test_moments_that_are_read_by_hand(steps, sources, times):
    assert DataCoverage().times(steps, sources) == times


@pytest.mark.parametrize(
    ("frames", "window", "views"), [(32 * 40, 1, False), (32 * 8 * 16, 16, False), (32 * 9 * 5, 5, True)]
)
def test_coverage_is_read_equally_often_of_frames_windows_and_views(frames, window, views):
    class Read(DataCoverage):
        moments = []

        def add(self, envs):
            self.moments.append(steps[0])

    class Counted(ViewedWorld):
        def make(self, num_envs, seed):
            envs = super().make(num_envs, seed)
            step = envs.step
            steps[0] = 0

            def counted(actions):
                steps[0] += 1
                return step(actions)

            envs.step = counted
            return envs

    steps, coverage = [0], Read()
    Read.moments = []
    collect((Counted(),), frames, 0, window=window, views=views, coverage=coverage)
    # 39 strides of 8 = 312 steps; 7 strides and 8 windows of 15 = 176; 8 strides = 64
    total = {1: 312, 16: 176, 5: 64}[window]
    assert steps == [total]
    assert coverage.moments == [total * i // 63 for i in range(64)]


def test_an_environment_without_views_is_unfit():
    with pytest.raises(Unfit, match=r"CountingVectorEnv has no views\(count\)"):
        collect((ViewedWorld(), PLAIN), 40, seed=0, window=4, views=True)


def test_frames_of_all_visual_variants_are_collected():
    (task,) = build("counting", 3)
    frames = collect(task.visual_variants, 64, seed=1)["image"]
    source = collect((task.source,), 32, seed=1)["image"]
    assert torch.equal(frames[:32], source)
    assert not torch.equal(frames[32:], source)


@pytest.mark.parametrize(
    ("frames", "window", "worlds", "steps"),
    [
        (101, 1, 1, 32 * 3 * 8),  # 101 frames: 4 rounds of 32 envs, 3 strides of 8 steps between them
        (32, 1, 1, 0),  # one round: the frames after the reset
        (101, 1, 2, 32 * (1 + 1) * 8),  # 50 and 51 frames: 2 rounds each
        (283, 4, 1, 32 * (2 * 8 + 3 * 3)),  # 70 windows: 3 rounds of 3 steps within a window, 2 strides
    ],
)
def test_collection_steps_are_those_the_environments_count(frames, window, worlds, steps):
    class Counted:
        """World whose environments count their steps."""

        steps = 0

        def make(self, num_envs, seed):
            envs = PLAIN.make(num_envs, seed)
            step = envs.step

            def counted(actions):
                Counted.steps += len(actions)
                return step(actions)

            envs.step = counted
            return envs

    collect([Counted() for _ in range(worlds)], frames, seed=0, window=window)
    assert Counted.steps == steps == collection_steps(frames, window, num_sources=worlds)


def test_views_of_a_moment_cost_no_steps():
    # 120 frames of 5 views: 24 moments, one round; 400: 80 moments, 3 rounds with 2 strides between
    assert collection_steps(120, 5, views=True) == 0
    assert collection_steps(400, 5, views=True) == 32 * 2 * 8
