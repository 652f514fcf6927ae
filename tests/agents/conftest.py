"""What the tests of agents act on: the counting world behind SB3's interface, and small representations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import agents.policy
from agents.on_policy import Means
from agents.ppo import PPO
from envs.counting import CountingVectorEnv
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv
from representations.base import Representation

N = 3
PLAIN = {"normalise_reward": False, "timeout_is_terminal": False}
SMALL = {"n_steps": 6, "minibatches": 3, "micro_batch": 4}


class Tiny(Representation):
    """One linear layer and tanh on pixels / 255; D = 6. ``double`` computes in float64."""

    has_loss = False
    hidden = ()
    default_mode = "online"

    def __init__(self, spec: EnvSpec, double: bool = False):
        super().__init__(spec)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(int(torch.tensor(spec.image_shape).prod()), 6), nn.Tanh())
        self.features_dim = 6
        self.encoded = 0
        if double:
            self.net.double()

    def encode(self, obs, state=(), first=None):
        self.encoded += len(obs["image"])
        return self.net((obs["image"].float() / 255).to(self.net[1].weight.dtype)), state


class Autoencoder(Tiny):
    """Tiny with a decoder and a loss of its own: 1000 x mean squared error of the pixels."""

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


@pytest.fixture
def world():
    """``world(num_envs, **options)``: the counting world as a VecEnv, 8x8 frames."""

    def make(num_envs: int = 3, **options):
        return Sb3VecEnv(CountingVectorEnv(num_envs, **{"size": 8, "episode_length": 3, "seed": 1, **options}))

    return make


@pytest.fixture
def compiled(monkeypatch):
    """Instead of a compiler, one that changes nothing; the list of the batch sizes it was given."""
    sizes: list[int] = []

    def backend(graph, inputs):
        sizes.extend(len(each) for each in inputs if each.dtype == torch.uint8)
        return graph.forward

    monkeypatch.setattr(agents.policy, "COMPILER", backend)
    torch._dynamo.reset()
    yield sizes
    torch._dynamo.reset()


@pytest.fixture
def representation():
    """``representation(env, kind)``: one of the classes above, always drawn from the same seed."""
    kinds = {cls.__name__.lower(): cls for cls in (Tiny, Plain, Autoencoder, Averaging)}

    def make(env, kind: str = "tiny", **arguments):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            return kinds[kind](EnvSpec.of(env), **arguments)

    return make


@pytest.fixture
def build(world, representation):
    def make(cls=PPO, kind="tiny", env=None, **options):
        config = {**(SMALL if cls is PPO else {"n_steps": 6}), **options.pop("config", {})}
        env = env or world(N)
        mode = options.pop("mode", "online")
        return cls(env, representation(env, kind), cls.Config(**config), mode=mode, seed=0, **options)

    return make


def rl_gradient(agent, indices, means=None):
    """Of the RL loss of these steps, by parameter."""
    return agent._gradients((agent._rl_losses(indices),), Means() if means is None else means)[0]


def weights(agent) -> torch.Tensor:
    return torch.cat([p.detach().flatten().double() for p in agent.policy.parameters()])
