"""The single-file loop is a fair opponent: it learns, and its numbers are GAE's and stable-baselines3's PPO's."""

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnvWrapper
from torch import nn

from agents.ppo import PPO, PPOConfig
from agents.rewards import gae
from benchmarks.baselines.single_file import Agent, RunningReward, Settings, SingleFile, advantages_of
from envs.counting import CountingVectorEnv
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic.normalise import DiscountedReturnStd
from tests.agents.tools import Tiny

T, N = 5, 3


def net(inputs=8 * 8 * 3, width=6):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width), nn.Tanh())


def test_advantages_are_gae():
    draw = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(T, N, generator=draw), torch.randn(T + 1, N, generator=draw)
    done = torch.rand(T, N, generator=draw) < 0.4
    assert done.any()
    assert not done.all()
    starts = torch.cat([torch.ones(1, N), done.float()])  # an end at t opens an episode at t + 1
    own = advantages_of(rewards, values[:-1], starts[:-1], values[-1], starts[-1], 0.9, 0.8)
    torch.testing.assert_close(own, gae(rewards, values, done, 0.9, 0.8)[0])


def test_rewards_are_scaled_as_ours():
    draw = np.random.default_rng(0)
    rewards, done = draw.random((T, N)), draw.random((T, N)) < 0.3
    own, ours = RunningReward(N), DiscountedReturnStd(N)
    for t in range(T):
        ours.update(torch.from_numpy(rewards[t : t + 1]), torch.from_numpy(done[t : t + 1]))
        np.testing.assert_allclose(own(rewards[t], done[t]), np.clip(rewards[t] / ours.std, -10, 10), rtol=1e-6)


def test_defaults_are_ours():
    assert {name: getattr(PPOConfig(), name) for name in vars(Settings())} == vars(Settings())


class Extractor(BaseFeaturesExtractor):
    def __init__(self, space):
        super().__init__(space, 6)
        self.net = net()

    def forward(self, image):
        return self.net(image)


class NoTimeLimit(VecEnvWrapper):
    """SB3 bootstraps from a truncated episode's last frame; the loop takes any end as one."""

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        obs, rewards, dones, infos = self.venv.step_wait()
        return obs, rewards, dones, [{**info, "TimeLimit.truncated": False} for info in infos]


def make_env():
    return CountingVectorEnv(N, size=8, episode_length=3, num_levels=3, seed=1)


@pytest.mark.parametrize("value_clip", [None, 0.2])
def test_iterations_equal_a_peers(value_clip, monkeypatch):
    """Equal weights, draws and minibatches: SB3's PPO without value clip, our own with the published one."""
    shared = {"learning_rate": 3e-3, "n_steps": 6, "gamma": 0.9, "gae_lambda": 0.8, "max_grad_norm": 0.4}
    torch.manual_seed(3)
    agent = Agent(net(), 6, 4)
    with torch.no_grad():
        agent.actor.weight.mul_(50)  # far from uniform, so that the entropy's gradient shows
    ours = {"epochs": 2, "minibatches": 3, "clip_range": 0.1, "value_clip": value_clip, "entropy_coef": 0.02}
    # SB3's value loss has no half
    settings = Settings(**shared, **ours, value_coef=1.0 if value_clip is None else 0.5, normalise_reward=False)
    loop = SingleFile(make_env(), agent, settings, seed=0)
    before = [weight.clone() for weight in agent.parameters()]
    order = torch.Generator().manual_seed(0)
    if value_clip is None:
        peer = sb3.PPO(
            "CnnPolicy", NoTimeLimit(Sb3VecEnv(make_env())), **shared, batch_size=6, n_epochs=2, clip_range=0.1,
            ent_coef=0.02, vf_coef=0.5, device="cpu",
            policy_kwargs={"features_extractor_class": Extractor, "net_arch": [], "ortho_init": False},
        )  # fmt: skip

        def permutation(total):  # theirs counts stream * T + t, the loop t * N + stream
            drawn = torch.randperm(total, generator=order).numpy()
            return drawn % N * 6 + drawn // N

        monkeypatch.setattr(np.random, "permutation", permutation)
        extractor = peer.policy.features_extractor.net
    else:
        env = Sb3VecEnv(make_env())
        config = PPOConfig(**shared, **ours, normalise_reward=False, timeout_is_terminal=True)
        peer = PPO(env, Tiny(EnvSpec.of(env)), config, mode="online")
        peer.streams["policy"].manual_seed(5)
        peer.streams["minibatches"].manual_seed(0)
        extractor = peer.policy.representation.net
    theirs = [*extractor.parameters(), *peer.policy.action_net.parameters(), *peer.policy.value_net.parameters()]
    with torch.no_grad():
        for own, other in zip(agent.parameters(), theirs, strict=True):
            other.copy_(own)
    torch.manual_seed(5)
    peer.learn(4 * 6 * N)
    torch.manual_seed(5)
    for _ in range(4):
        loop.iterate()
    for own, other, old in zip(agent.parameters(), theirs, before, strict=True):
        assert (own - old).abs().max() > 1e-4
        torch.testing.assert_close(own, other, rtol=1e-4, atol=5e-6)


def test_it_learns():
    """The frame's red shows the rewarded action; a random policy earns 1/4 a step."""
    torch.manual_seed(0)
    envs = CountingVectorEnv(16, size=8, episode_length=10, num_levels=5, seed=0)
    agent = Agent(net(width=64), 64, 4)
    settings = Settings(n_steps=32, minibatches=4, learning_rate=3e-3, gamma=0.9)
    loop = SingleFile(envs, agent, settings)
    loop.iterate()
    assert loop.mean_reward < 0.35
    for _ in range(60):
        loop.iterate()
    assert loop.mean_reward > 0.6
