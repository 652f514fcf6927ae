"""Dead units and effective rank of an update: which samples, which layers, and nothing that moves a bit."""

from __future__ import annotations

import pytest
import torch

from agents.losses import ActorCriticLoss
from agents.metrics import MetricMeans
from agents.minibatches import spread_indices
from agents.on_policy import OnPolicyAlgorithm
from agents.ppo import PPO, PPOConfig
from envs.spaces import EnvSpec
from envs.suites import build as build_suite
from envs.wrappers.sb3 import Sb3VecEnv
from representations.base import Representation
from representations.feature_metrics import dead_units, effective_rank
from representations.wrappers import AppendVectors
from tests.agents.tools import N, Skilled, build, collect, weights


def test_samples_are_spread_over_steps_and_environments():
    # 10 steps of 6 environments, 4 samples: steps 0, 2, 5, 7 (k 10 // 4), environments 0 to 3
    assert spread_indices(10, 6, 4).tolist() == [0 * 6 + 0, 2 * 6 + 1, 5 * 6 + 2, 7 * 6 + 3]
    # 3 steps of 4 environments, 7 samples: steps 0 0 0 1 1 2 2 (k 3 // 7), environments 0 1 2 3 0 1 2
    assert spread_indices(3, 4, 7).tolist() == [0, 1, 2, 7, 4, 9, 10]
    assert sorted(spread_indices(3, 4, 99).tolist()) == list(range(12))
    assert len(set(spread_indices(256, 64).tolist())) == 512


@pytest.mark.parametrize("mode", ["online", "finetune", "frozen"])
def test_they_are_those_of_the_features_now(mode):
    agent = build(mode=mode)
    agent.learn(6 * N)
    image = agent.history.rollout().obs.get("image")
    if mode == "frozen":
        features = agent.history.rollout().obs["features"].flatten(0, 1)
    else:
        with torch.no_grad():
            features, _ = agent.representation.encode({"image": image.flatten(0, 1)})
    assert agent.metrics["representation/effective_rank"] == pytest.approx(float(effective_rank(features)), rel=1e-4)
    assert agent.metrics["representation/dead_units"] == float(dead_units(features))
    # tanh features are the last hidden layer but where they are frozen
    assert ("policy/dead_units" in agent.metrics) == (mode == "frozen")


@pytest.mark.parametrize("skills", [False, True])
def test_dead_units_of_the_last_hidden_layer_are_counted(skills):
    agent = build(mode="frozen", bonuses=(Skilled(),) if skills else ())
    collect(agent)
    last = agent.policy.hidden[-2]
    with torch.no_grad():
        last.bias[:64] = -1e3  # 64 of 256 shut
        last.bias[64:] = 10.0
    metrics = MetricMeans()
    agent.actor_critic_loss().add_plasticity_metrics(metrics)
    assert metrics.compute()["policy/dead_units"] == 0.25


@pytest.mark.parametrize(
    ("kind", "mode"), [("tiny", "online"), ("averaging", "online"), ("averaging", "frozen"), ("autoencoder", "online")]
)
def test_measuring_changes_no_weight_and_no_draw(monkeypatch, kind, mode):
    measured = build(kind=kind, mode=mode)
    measured.learn(4 * 6 * N)
    monkeypatch.setattr(ActorCriticLoss, "add_plasticity_metrics", lambda self, metrics: None)
    plain = build(kind=kind, mode=mode)
    plain.learn(4 * 6 * N)
    assert "representation/dead_units" not in plain.metrics
    assert torch.equal(weights(measured), weights(plain))
    draws = [agent.streams.state_dict()["states"] for agent in (measured, plain)]
    assert all(torch.equal(draws[0][name], draws[1][name]) for name in draws[1])


def test_they_are_measured_at_first_and_every_so_many_frames(monkeypatch):
    monkeypatch.setattr("agents.on_policy.PLASTICITY_FRAMES", 3 * 6 * N - 1)
    rollouts, measured = [], []
    train = OnPolicyAlgorithm.train

    def watched(self):
        train(self)
        rollouts.append(self.num_timesteps // (6 * N))
        if "representation/effective_rank" in self.metrics:
            measured.append(rollouts[-1])

    monkeypatch.setattr(OnPolicyAlgorithm, "train", watched)
    build().learn(8 * 6 * N)
    # 18 frames a rollout; multiples of 53 are passed in rollouts 3 (54) and 6 (108 > 106)
    assert rollouts == list(range(1, 9))
    assert measured == [1, 3, 6]


class OneLine(Representation):
    """Eight features on one line: the frame's brightness."""

    features_dim, has_loss, default_mode = 8, False, "online"

    def encode(self, obs, state=(), first=None):
        brightness = obs["image"].float().mean((1, 2, 3)) / 255
        return brightness[:, None] * torch.linspace(0.5, 1, 8), state


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_vectors_beside_the_features_hide_no_lack_of_directions(mode):
    env = Sb3VecEnv(build_suite("counting", 3)[0].with_last_step().source.make(N, 0))
    model = OneLine(EnvSpec.of(env))
    wrapped = AppendVectors(model, ["last_action", "last_reward"])
    agent = PPO(env, wrapped, PPOConfig(n_steps=22, minibatches=1), mode=mode)
    agent.learn(22 * N)
    rank = agent.metrics["representation/effective_rank"]
    steps = agent.history.rollout()
    if mode == "frozen":
        whole = steps.obs["features"].flatten(0, 1)
    else:
        whole = wrapped.encode({key: value.flatten(0, 1) for key, value in steps.obs.items()})[0]
    assert rank == pytest.approx(1.0, abs=0.01)
    assert float(effective_rank(whole)) > 2  # with four actions and a reward


def test_few_directions_are_warned_of_once(monkeypatch):
    # two measurements of a counting world's one colour, whose features differ in a direction or two
    frames = 22 * N  # 66, enough to speak of
    monkeypatch.setattr("agents.on_policy.PLASTICITY_FRAMES", frames)
    agent = build(config={"n_steps": 22})
    with pytest.warns(RuntimeWarning, match="tiny: features have an effective rank of") as given:
        agent.learn(3 * frames)
    ranks = [warning for warning in given if "effective rank" in str(warning.message)]
    assert len(ranks) == 1
    assert f"after {frames:,} frames" in str(ranks[0].message)
