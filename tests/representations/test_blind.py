"""The blind policy: nothing of the image reaches it, and it still learns the best fixed action."""

from __future__ import annotations

import torch

from agents.ppo import PPO, PPOConfig
from envs.counting import CountingVectorEnv
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv
from representations.blind import Blind
from tests.representations.toys import image_spec


def agent(**options):
    env = Sb3VecEnv(CountingVectorEnv(4, size=8, seed=1))
    config = PPOConfig(**{"n_steps": 16, "minibatches": 2, "learning_rate": 3e-3, **options})
    return PPO(env, Blind(EnvSpec.of(env)), config, mode="frozen", seed=0)


def action_outputs(policy, count=5):
    image = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        return policy({"image": image}, (), torch.ones(count, dtype=torch.bool)).action_outputs


def test_the_feature_is_1_whatever_the_image():
    features, state = Blind(image_spec((3, 8, 8))).encode({"image": torch.randint(0, 256, (5, 3, 8, 8))})
    assert features.tolist() == [[1.0]] * 5
    assert state == ()


def test_it_learns_the_best_fixed_action_and_its_logits_ignore_the_image():
    blind = agent()
    # the reward of an action is its number here, whatever the frame: 3 is best
    blind.env.step, step = lambda actions: rewarded(step(actions), actions), blind.env.step

    def rewarded(result, actions):
        obs, _, dones, infos = result
        return obs, actions.astype("float32"), dones, infos

    blind.learn(16 * 4 * 40)
    outputs = action_outputs(blind.policy)
    assert torch.equal(outputs, outputs[:1].expand_as(outputs))
    assert outputs[0].argmax() == 3
    assert outputs[0].softmax(0)[3] > 0.9


def test_a_constant_feature_is_no_collapse():
    blind = agent()
    blind.learn(2 * 16 * 4)  # warnings are errors here
    assert blind.metrics["representation/feature_std"] == 0.0  # which of any other method is a collapse
