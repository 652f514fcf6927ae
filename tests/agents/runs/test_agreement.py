"""Action agreement by effect, level by level, on the same states; worked out by hand."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.actions import Categorical
from agents.runner import PolicyOutput
from agents.runs.agreement import compare_actions
from agents.runs.evaluate import equal_visits
from envs.counting import CountingVectorEnv
from envs.registry import UsageError

VISITS = equal_visits([3, 8, 11], 3)


class Bright:
    """Log-probabilities ``light`` where the frame's mean is above 10, else ``dark``."""

    device, mode, num_threads, context_dim = torch.device("cpu"), "online", 1, 0
    observation_space = gym.spaces.Box(0, 255, (3, 8, 8), np.uint8)
    training = False

    def __init__(self, light=(0.25, 0.75), dark=(0.75, 0.25)):
        self.light, self.dark = torch.tensor(light), torch.tensor(dark)
        self.distribution = Categorical(len(light))

    def initial_state(self, batch):
        return ()

    def set_training_mode(self, mode):
        pass

    def start_episodes(self, state, first, contexts):
        return state

    def __call__(self, obs, state, first):
        bright = obs["image"].float().mean((1, 2, 3)) > 10
        p = torch.where(bright.unsqueeze(1), self.light, self.dark)
        return PolicyOutput(bright.float().unsqueeze(1), state, p.log(), bright.float(), None)


class Dark(CountingVectorEnv):
    """Frames with a mean of at most 3."""

    def reset(self, **options):
        frames, infos = super().reset(**options)
        return frames // 64, infos

    def step(self, actions):
        frames, *outcome = super().step(actions)
        return frames // 64, *outcome


class Effects(CountingVectorEnv):
    """Actions 1 and 2 have one effect."""

    action_effects = (0, 1, 1)


def makers(*classes, num_actions=2):
    return [lambda count, cls=cls: cls(count, size=8, num_actions=num_actions) for cls in classes]


def test_agreement_on_the_same_states_by_hand():
    # the plain frame is red 127 or 255 and blue by level: its mean is always above 10, so action 1 everywhere
    source, same, dark = makers(CountingVectorEnv, CountingVectorEnv, Dark)
    result = compare_actions(Bright(), source, {"same": same, "dark": dark}, VISITS, steps=20)
    assert result["same"].levels.tolist() == [3, 8, 11]
    assert (result["same"].effect.tolist(), result["same"].total_variation.tolist()) == ([1.0] * 3, [0.0] * 3)
    assert result["dark"].effect.tolist() == [0.0] * 3  # action 0 everywhere
    # (|0.75 - 0.25| + |0.25 - 0.75|) / 2
    assert result["dark"].total_variation.tolist() == pytest.approx([0.5] * 3)
    assert result["dark"].states == 20


def test_actions_of_one_effect_count_as_one():
    # light: effects 0.4 and 0.35 + 0.25; dark: 0.3 and 0.2 + 0.5. The likeliest key changes, the likeliest effect not.
    policy = Bright(light=(0.4, 0.35, 0.25), dark=(0.3, 0.2, 0.5))
    source, dark = makers(Effects, Dark, num_actions=3)
    by_effect = compare_actions(policy, source, {"dark": dark}, VISITS, steps=5)["dark"]
    assert by_effect.effect.tolist() == [1.0] * 3
    assert by_effect.total_variation.tolist() == pytest.approx([0.1] * 3)  # |0.4 - 0.3|
    source, dark = makers(CountingVectorEnv, Dark, num_actions=3)
    by_key = compare_actions(policy, source, {"dark": dark}, VISITS, steps=5)["dark"]
    assert by_key.effect.tolist() == [0.0] * 3
    assert by_key.total_variation.tolist() == pytest.approx([0.25] * 3)  # (0.1 + 0.15 + 0.25) / 2


def test_a_variant_with_other_rewards_is_refused():
    class Other(CountingVectorEnv):
        def step(self, actions):
            frames, reward, *outcome = super().step(actions)
            return frames, reward + 1, *outcome

    source, other = makers(CountingVectorEnv, Other)
    with pytest.raises(UsageError, match="'other' rewards or ends otherwise"):
        compare_actions(Bright(), source, {"other": other}, VISITS, steps=3)
