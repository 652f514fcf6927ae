"""With everything of ours switched off, PPO and A2C are stable-baselines3's, to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnvWrapper

from agents.a2c import A2C
from agents.ppo import PPO
from envs.rng_streams import stream_seed
from tests.agents.tools import make_env, make_representation

N = 4


class Extractor(BaseFeaturesExtractor):
    """The same network as the representation's, behind SB3's interface (which has divided by 255)."""

    def __init__(self, space, net=None):
        super().__init__(space, 6)
        self.net = net

    def forward(self, image):
        return self.net(image.to(self.net[1].weight.dtype))


class DoubleBuffer(RolloutBuffer):
    def reset(self):
        super().reset()
        for name in ("rewards", "returns", "episode_starts", "values", "log_probs", "advantages"):
            setattr(self, name, getattr(self, name).astype(np.float64))


class DoubleRewards(VecEnvWrapper):
    """SB3 adds the bootstrap value in the dtype of the environment's rewards."""

    def reset(self):
        return self.venv.reset()

    def step_wait(self):
        obs, rewards, dones, infos = self.venv.step_wait()
        return obs, rewards.astype(np.float64), dones, infos


def theirs(ours, env, double, cls, **settings):
    """SB3's algorithm with the weights of ours."""
    net = ours.representation.net
    model = cls(
        "CnnPolicy",
        DoubleRewards(env) if double else env,
        policy_kwargs={
            "features_extractor_class": Extractor,
            "features_extractor_kwargs": {"net": torch.nn.Sequential(*[type(m)() if not list(m.parameters()) else
                                                                       torch.nn.Linear(m.in_features, m.out_features)
                                                                       for m in net])},
            "net_arch": [],
            "ortho_init": False,
            **settings.pop("policy_kwargs", {}),
        },
        rollout_buffer_class=DoubleBuffer if double else None,
        device="cpu",
        **settings,
    )  # fmt: skip
    if double:
        model.policy.double()
    weights = pairs(ours.policy, model.policy)
    with torch.no_grad():
        for own, other in weights.values():
            other.copy_(own)
    return model


def pairs(own, other):
    found = {f"net.{k}": (v, other.features_extractor.net.get_parameter(k)) for k, v in
             own.representation.net.named_parameters()}  # fmt: skip
    for name in ("action_net.weight", "action_net.bias", "value_net.weight", "value_net.bias"):
        found[name] = (own.get_parameter(name), other.get_parameter(name))
    if own.log_std is not None:
        found["log_std"] = (own.log_std, other.log_std)
    assert sum(v.numel() for v, _ in found.values()) == sum(v.numel() for v in other.parameters())
    return found


def assert_equal_training(ours, model, monkeypatch, n_steps, updates, double):
    """Train both on the same draws; their weights must move, and end the same."""
    before = {name: own.detach().clone() for name, (own, _) in pairs(ours.policy, model.policy).items()}
    ours.streams["policy"].manual_seed(5)
    ours.learn(updates * n_steps * N)

    generator = torch.Generator().manual_seed(stream_seed(0, "minibatches"))

    def permutation(total):
        # Ours counts t * N + stream, theirs stream * T + t.
        order = torch.randperm(total, generator=generator).numpy()
        return order % N * n_steps + order // N

    monkeypatch.setattr(np.random, "permutation", permutation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model.learn(updates * n_steps * N)
    assert ours._n_updates == model._n_updates
    for name, (own, other) in pairs(ours.policy, model.policy).items():
        assert (own - before[name]).abs().max() > 1e-4, f"{name} did not move"
        tolerance = {"rtol": 1e-10, "atol": 1e-10} if double else {"rtol": 1e-4, "atol": 2e-6}
        torch.testing.assert_close(other, own, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def build(cls, config, double):
    """Our agent in the dtype asked for; the representation's gradient reaches everything."""
    env = make_env(N, num_levels=3)
    agent = cls(env, make_representation(env, double=double), config, mode="online", seed=0)
    if double:
        agent.policy.double()
        agent.collector.allocate()
    return agent


@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
@pytest.mark.parametrize("value_clip", [None, 0.05])
def test_ppo_is_sb3s(monkeypatch, double, value_clip):
    # T=6 does not divide the episodes' 3..6 steps; odd episodes are truncated, so a missed bootstrap shows.
    config = PPO.Config(
        learning_rate=3e-3, n_steps=6, gamma=0.9, gae_lambda=0.8, epochs=2, minibatches=3, clip_range=0.1,
        value_clip=value_clip, value_loss="sb3", normalise_reward=False, timeout_is_terminal=False, micro_batch=3,
        entropy_coef=0.02, max_grad_norm=0.4,
    )  # fmt: skip
    ours = build(PPO, config, double)
    model = theirs(
        ours, make_env(N, num_levels=3), double, sb3.PPO, learning_rate=3e-3, n_steps=6, batch_size=8, n_epochs=2,
        gamma=0.9, gae_lambda=0.8, clip_range=0.1, clip_range_vf=value_clip, ent_coef=0.02, max_grad_norm=0.4,
        policy_kwargs={"optimizer_kwargs": {"eps": 1e-5}},
    )  # fmt: skip
    assert_equal_training(ours, model, monkeypatch, n_steps=6, updates=4, double=double)


@pytest.mark.parametrize("double", [True, False], ids=["float64", "float32"])
def test_a2c_is_sb3s(monkeypatch, double):
    config = A2C.Config(
        n_steps=5, gamma=0.9, gae_lambda=0.7, entropy_coef=0.02, normalise_reward=False, timeout_is_terminal=False
    )
    ours = build(A2C, config, double)
    model = theirs(
        ours, make_env(N, num_levels=3), double, sb3.A2C, learning_rate=7e-4, n_steps=5, gamma=0.9, gae_lambda=0.7,
        ent_coef=0.02,
    )  # fmt: skip
    assert_equal_training(ours, model, monkeypatch, n_steps=5, updates=8, double=double)
