"""Functions that ``benchmarks.speed`` times: environments, training loops of ours and of others, pre-training.

Each call is one measurement and runs in a process of its own.

The loops train PPO with train-procgen's hyperparameters (64 environments, minibatches of 2048, 3 epochs) on networks of
the same size; whole iterations are timed, rollout and update and all between, after a first one that is not counted.

    ours         agents.ppo over a representation
    sb3          stable-baselines3's PPO, with its VecNormalize for the reward: float32
    single_file  the loop of ``benchmarks.baselines.single_file``: float32, NCHW
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor, nn

from agents.ppo import PPO, PPOConfig
from agents.runs.build import resolve_precision
from benchmarks.baselines.single_file import Agent, Settings, SingleFile
from envs.spaces import EnvSpec, keyed_space
from envs.tasks import World
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic import BONUSES
from representations import REPRESENTATIONS
from representations.base import Representation
from representations.collect import collect
from representations.malloc import keep_freed_memory
from representations.nets.trunks import Nature
from representations.pretrain import Pretrainer

MINIBATCH = 2048
WIDTHS = {"nature": 512, "impala": 256}


@dataclass(frozen=True)
class Figures:
    """Results of one measurement."""

    frames_per_second: float
    peak_mib: float
    """Most memory that the process held, MiB; on a GPU, that torch held there."""


def repeated(iteration: Callable[[], Any], frames: int, seconds: float, device: str = "cpu") -> Figures:
    """Call ``iteration``, which handles ``frames``, once to warm up, then until ``seconds`` have passed."""
    iteration()
    _wait(device)
    start, calls, passed = time.perf_counter(), 0, 0.0
    while not calls or passed < seconds:
        iteration()
        _wait(device)
        calls += 1
        passed = time.perf_counter() - start
    return Figures(calls * frames / passed, _peak_mib(device))


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _peak_mib(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # Linux counts in KiB


# environments ---------------------------------------------------------------------------------------------------------


def environment(seconds: float, device: str, *, world: World, num_envs: int) -> Figures:
    """Steps of random actions, nothing else; ``device``, where networks would run, plays no role."""
    envs: Any = world.make(num_envs, 0)
    envs.reset()
    actions = np.random.default_rng(0).integers(envs.single_action_space.n, size=(256, num_envs))
    steps = 0

    def sixteen_steps() -> None:
        nonlocal steps
        for _ in range(16):
            envs.step(actions[steps % 256])
            steps += 1

    figures = repeated(sixteen_steps, 16 * num_envs, seconds)
    envs.close()
    return figures


# training loops -------------------------------------------------------------------------------------------------------


def ours(
    seconds: float,
    device: str,
    *,
    world: World,
    num_envs: int,
    n_steps: int,
    repr: str = "cnn",
    trunk: str = "",
    bonus: str = "",
    precision: str = "auto",
) -> Figures:
    """PPO over a representation in its default mode, untrained where it would be frozen; with a bonus, if named.

    Timed once the representation's own loss, if it has one, takes part.
    """
    env = Sb3VecEnv(world.make(num_envs, 0))
    config = PPOConfig(n_steps=n_steps, minibatches=_minibatches(num_envs, n_steps))
    torch.manual_seed(0)
    spec = EnvSpec.of(env, config.gamma)
    representation = _representation(repr, spec, trunk).to(device)
    bonuses = [BONUSES.resolve(bonus)(spec)] if bonus else []
    kind = resolve_precision(precision, device)
    agent = PPO(env, representation, config, precision=kind, device=device, bonuses=bonuses)
    iteration = _iteration(agent, n_steps * num_envs)
    while agent.auxiliary_loss is not None and not agent.auxiliary_loss.ready:
        iteration()  # a plain network's until the replay is full
    return repeated(iteration, n_steps * num_envs, seconds, device)


def _representation(name: str, spec: EnvSpec, trunk: str = "") -> Representation:
    """The named representation with its default settings, on ``trunk`` where it has one and one is named."""
    cls = REPRESENTATIONS.resolve(name)
    has_trunk = trunk and any(field.name == "trunk" for field in fields(cls.Config))
    return cls(spec, cls.Config(trunk=trunk) if has_trunk else None)


def sb3(
    seconds: float, device: str, *, world: World, num_envs: int, n_steps: int, trunk: str, keep_memory: bool = False
) -> Figures:
    """stable-baselines3's PPO on the usual network; ``keep_memory`` keeps freed memory, as ours does."""
    if keep_memory:
        keep_freed_memory()
    settings = PPOConfig(n_steps=n_steps, minibatches=_minibatches(num_envs, n_steps))
    agent = sb3_ppo(Sb3VecEnv(world.make(num_envs, 0)), settings, trunk, device)
    return repeated(_iteration(agent, n_steps * num_envs), n_steps * num_envs, seconds, device)


def sb3_ppo(env: VecEnv, settings: PPOConfig, trunk: str, device: str = "cpu", seed: int = 0) -> stable_baselines3.PPO:
    """stable-baselines3's own PPO with our settings, train-procgen's by default; its VecNormalize scales rewards."""
    return stable_baselines3.PPO(
        "CnnPolicy",
        VecNormalize(env, norm_obs=False, gamma=0.99),
        learning_rate=settings.learning_rate,
        n_steps=settings.n_steps,
        batch_size=settings.n_steps * env.num_envs // settings.minibatches,
        n_epochs=settings.epochs,
        gamma=settings.gamma,
        gae_lambda=settings.gae_lambda,
        clip_range=settings.clip_range,
        clip_range_vf=settings.value_clip,
        ent_coef=settings.entropy_coef,
        vf_coef=settings.value_coef,
        max_grad_norm=settings.max_grad_norm,
        policy_kwargs={
            "features_extractor_class": Extractor,
            "features_extractor_kwargs": {"trunk": trunk},
            "net_arch": [],
        },
        seed=seed,
        device=device,
    )


def single_file(
    seconds: float, device: str, *, world: World, num_envs: int, n_steps: int, trunk: str, keep_memory: bool = False
) -> Figures:
    """The loop of the usual single-file implementations on the usual network; ``keep_memory`` as in ``sb3``."""
    if keep_memory:
        keep_freed_memory()
    envs = world.make(num_envs, 0)
    image = keyed_space(Sb3VecEnv(envs).observation_space)["image"]
    torch.manual_seed(0)
    agent = Agent(usual_network(trunk, image.shape), WIDTHS[trunk], int(envs.single_action_space.n)).to(device)  # type: ignore[attr-defined, arg-type]
    loop = SingleFile(envs, agent, Settings(n_steps=n_steps, minibatches=_minibatches(num_envs, n_steps)))
    return repeated(loop.iterate, n_steps * num_envs, seconds, device)


def _minibatches(num_envs: int, n_steps: int) -> int:
    return max(1, num_envs * n_steps // MINIBATCH)


def _iteration(agent: Any, frames: int) -> Callable[[], Any]:
    return lambda: agent.learn(frames, reset_num_timesteps=False)


def usual_network(trunk: str, shape: tuple[int, ...]) -> nn.Sequential:
    """The network of our trunk as a plain module of float frames (B, C, H, W) in [0, 1]; NCHW, nothing in place."""
    if trunk == "nature":
        ours = Nature(shape)  # for its padding, which depends on the image's size
        convs = [layer for layer in ours.body if isinstance(layer, nn.Conv2d)]
        sizes = [(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding) for c in convs]
        layers: list[nn.Module] = []
        for before, after, kernel, stride, padding in sizes:
            layers += [nn.Conv2d(before, after, kernel, stride, padding), nn.ReLU()]  # type: ignore[arg-type]
    else:
        layers, before = [], shape[0]
        for after in (16, 32, 32):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.MaxPool2d(3, 2, 1),
                _Residual(after),
                _Residual(after),
            ]
            before = after
        layers += [nn.ReLU()]
    with torch.no_grad():
        flat = nn.Sequential(*layers)(torch.zeros(1, *shape)).numel()
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, WIDTHS[trunk]), nn.ReLU())


class _Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.convs = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x)


class Extractor(BaseFeaturesExtractor):
    """The usual network as stable-baselines3 takes it; that one scales the frames."""

    def __init__(self, space: gym.spaces.Box, trunk: str):
        super().__init__(space, WIDTHS[trunk])
        self.net = usual_network(trunk, space.shape)

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)


# pre-training ---------------------------------------------------------------------------------------------------------


def pretraining(
    seconds: float,
    device: str,
    *,
    world: World,
    repr: str,
    samples: int,
    precision: str = "auto",
    threads: int | None = None,
) -> Figures:
    """All phases of a representation, each with its share of ``samples``; ``threads`` as of ``Pretrainer``."""
    env = Sb3VecEnv(world.make(1, 0))
    torch.manual_seed(0)
    representation = _representation(repr, EnvSpec.of(env)).to(device)
    env.close()
    frames = collect([world], 2048, 0, window=representation.window, views=representation.views)
    kind = resolve_precision(precision, device)

    def fit() -> None:
        generator = torch.Generator(device).manual_seed(0)
        pretrainer = Pretrainer(representation, frames, samples, generator=generator, precision=kind, threads=threads)
        pretrainer.run(pretrainer.total)

    return repeated(fit, samples, seconds, device)
