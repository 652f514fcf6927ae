"""Timed functions: frames counted with a clock of ours, networks equal to ours."""

import functools

import pytest
import torch
from torch import nn

from benchmarks.baselines import frameworks
from benchmarks.baselines.frameworks import usual_network
from envs.tasks import World
from representations.nets.trunks import make_trunk
from representations.unreal import Unreal, UnrealConfig

COUNTING = World("counting", {"size": 36})


@pytest.fixture
def slow_clock(monkeypatch):
    """A clock that moves 2 s each time it is read."""
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(frameworks.time, "perf_counter", lambda: float(next(clock)))


@pytest.mark.parametrize("function", ["ours", "sb3", "single_file"])
def test_every_loop_counts_its_frames(function, slow_clock):
    found = getattr(frameworks, function)(1.0, "cpu", world=COUNTING, num_envs=5, n_steps=6, trunk="nature")
    assert found.frames_per_second == pytest.approx(6 * 5 / 2)  # one counted call of 6 * 5 frames takes 2 s


def test_a_loss_on_a_replay_is_timed_once_that_is_full(monkeypatch):
    agents = []

    class Watched(frameworks.PPO):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            agents.append(self)

    monkeypatch.setattr(frameworks, "PPO", Watched)
    monkeypatch.setattr(frameworks, "repeated", lambda iteration, *others: agents[0].num_timesteps)
    monkeypatch.setattr(Unreal, "Config", functools.partial(UnrealConfig, length=4, replay=90))
    options = {"world": COUNTING, "num_envs": 5, "n_steps": 6, "repr": "unreal"}
    # 90 frames of 5 environments are 18 steps: three rollouts of 6
    with pytest.warns(RuntimeWarning, match="unreal: its loss begins after 90 frames"):
        assert frameworks.ours(1.0, "cpu", **options) == 90
    assert agents[0].metrics["auxiliary/pixel_control"] > 0


def test_environments_count_their_frames(slow_clock):
    found = frameworks.environment(1.0, "cpu", world=COUNTING, num_envs=5)
    assert found.frames_per_second == pytest.approx(16 * 5 / 2)


def test_pretraining_counts_its_samples(slow_clock):
    found = frameworks.pretraining(1.0, "cpu", world=COUNTING, repr="vae", samples=128)
    assert found.frames_per_second == pytest.approx(128 / 2)


@pytest.mark.parametrize("trunk", ["nature", "impala"])
def test_the_usual_network_is_ours_in_plain_modules(trunk):
    ours, usual = make_trunk(trunk, (3, 64, 64)), usual_network(trunk, (3, 64, 64))
    for own, other in zip(ours.parameters(), usual.parameters(), strict=True):
        other.data.copy_(own)
    image = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert not any(isinstance(layer, nn.ReLU) and layer.inplace for layer in usual.modules())
    torch.testing.assert_close(ours(image), usual(image.float() / 255), rtol=1e-3, atol=1e-4)
