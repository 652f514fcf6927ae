"""Small representations and bonuses whose numbers can be worked out by hand, and agents built of them."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from agents.metrics import MetricMeans
from agents.ppo import PPO
from envs.counting import CountingVectorEnv
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic.base import IntrinsicBonus
from representations.base import Representation

N = 3
PLAIN = {"normalise_reward": False, "timeout_is_terminal": False}
SMALL = {"n_steps": 6, "minibatches": 3, "micro_batch": 4}
SPEC = EnvSpec(gym.spaces.Dict({"image": gym.spaces.Box(0, 255, (3, 8, 8), np.uint8)}), gym.spaces.Discrete(4))
UNIT_SCALE = SimpleNamespace(std=1.0, update=lambda reward, done=None: None)
"""In place of a running scale: divides by 1."""


class Tiny(Representation):
    """One linear layer and tanh on pixels / 255; D = 6. ``double`` computes in float64."""

    has_loss = False
    hidden = ()
    default_mode = "online"

    def __init__(self, spec: EnvSpec, double: bool = False):
        super().__init__(spec)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(spec.image_shape)), 6), nn.Tanh())
        self.features_dim = 6
        self.encoded = 0
        if double:
            self.net.double()

    def encode(self, obs, state=(), first=None):
        self.encoded += len(obs["image"])
        return self.net((obs["image"].float() / 255).to(self.net[1].weight.dtype)), state


class Autoencoder(Tiny):
    """Tiny with a decoder and an auxiliary loss: 1000 x mean squared error of the pixels."""

    has_loss = True

    def __init__(self, spec: EnvSpec):
        super().__init__(spec)
        self.decoder = nn.Linear(6, self.net[1].in_features)
        self.steps = 0

    def loss(self, steps, heads, generator):
        image = steps.obs["image"].flatten(0, 1)
        target = image.flatten(1).float() / 255
        noise = torch.rand(target.shape, generator=generator)
        error = (self.decoder(self.net(image.float() / 255)) - target - 0.01 * noise).square().mean()
        return 1000 * error, {"error": error.detach()}

    def after_step(self):
        self.steps += 1


class Plain(Tiny):
    """Tiny without its count: a compiler would take every new number for another function."""

    def encode(self, obs, state=(), first=None):
        return self.net(obs["image"].float() / 255), state


class Averaging(Tiny):
    """Carries s' = s/2 + features, s = 0 at the first frame of an episode; features are s'."""

    default_mode = "frozen"

    def initial_state(self, batch):
        return (torch.zeros(batch, 6),)

    def encode(self, obs, state=(), first=None):
        features, _ = super().encode(obs)
        carried = torch.where(first.unsqueeze(1), 0.0, state[0]) / 2 + features
        return carried, (carried,)


class Constant(IntrinsicBonus):
    """``amount`` everywhere; learns a number by its own Adam."""

    def __init__(self, amount: float = 1.0, coefficient: float = 1.0):
        super().__init__(SPEC)
        self.amount, self.coefficient = amount, coefficient
        self.weight = nn.Parameter(torch.zeros(()))
        self.optimizer = torch.optim.Adam([self.weight], 0.1)

    def score(self, batch):
        return torch.full(batch.action.shape, self.amount)

    def learn(self, batch, generator):
        error = (self.weight - torch.rand((), generator=generator) - batch.obs.float().mean() / 255) ** 2
        self.optimizer.zero_grad()
        error.backward()
        self.optimizer.step()
        return {"error": error.detach()}


class Novelty(IntrinsicBonus):
    """Mean red of the next frame where it is known."""

    def __init__(self):
        super().__init__(SPEC)
        self.coefficient = 1.0

    def score(self, batch):
        return batch.next_obs[:, 0].float().mean((-1, -2)) / 255

    def learn(self, batch, generator):
        return {}


class Skilled(Constant):
    """Gives the policy one of three skills, one-hot, kept for an episode; the bonus is the number of the skill."""

    @property
    def context_dim(self):
        return 3

    def draw_context(self, count, generator):
        return torch.eye(3)[torch.randint(3, (count,), generator=generator)]

    def score(self, batch):
        return batch.context.argmax(1).float()


REPRESENTATIONS = {"tiny": Tiny, "plain": Plain, "autoencoder": Autoencoder, "averaging": Averaging}


def make_env(num_envs: int = N, **options) -> Sb3VecEnv:
    """The counting environment as a VecEnv, 8x8 frames."""
    return Sb3VecEnv(CountingVectorEnv(num_envs, **{"size": 8, "episode_length": 3, "seed": 1, **options}))


def make_representation(env, kind: str = "tiny", **arguments) -> Representation:
    """One of the classes above, always drawn from the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return REPRESENTATIONS[kind](EnvSpec.of(env), **arguments)


def build(cls=PPO, kind="tiny", env=None, double=False, **options):
    """An agent of ``cls`` on the counting environment; ``double``: in float64."""
    config = {**(SMALL if cls is PPO else {"n_steps": 6}), **options.pop("config", {})}
    env = env or make_env()
    mode = options.pop("mode", "online")
    representation = make_representation(env, kind, **({"double": True} if double else {}))
    agent = cls(env, representation, cls.Config(**config), mode=mode, seed=0, **options)
    if double:
        agent.policy.double()
        agent.collector.allocate()
    return agent


def collect(agent, rollouts: int = 1, **options):
    """Rollouts without updates; the last one is in ``agent.steps`` and ``agent.targets``."""
    train, agent.train = agent.train, lambda: None
    agent.learn(rollouts * agent.n_steps * agent.total_envs, **options)
    agent.train = train


def rl_gradient(agent, indices, metrics=None):
    """Gradient of the RL loss of these samples, by parameter."""
    losses = agent.actor_critic_loss().micro_batches(indices, agent.gradient_step.chunk_size)
    return agent.gradient_step.gradients((losses,), MetricMeans() if metrics is None else metrics)[0]


def weights(module) -> torch.Tensor:
    """All parameters of a module, or of an agent's policy, in one float64 vector."""
    module = getattr(module, "policy", module)
    return torch.cat([parameter.detach().flatten().double() for parameter in module.parameters()])
