"""The first k episodes of every environment, each exactly once, however long they last."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents.actions import Categorical
from agents.runner import PolicyOutput
from agents.runs.evaluate import compare_actions, first_episodes, fixed_length_returns
from envs.counting import CountingVectorEnv
from envs.registry import UsageError


class Script:
    """A vector env of three environments that end after 2, 3 and 7 steps; the reward is the step number."""

    num_envs = 3
    lengths = np.array([2, 3, 7])

    def __init__(self):
        self.closed = False

    def reset(self):
        self.t = np.zeros(3, dtype=np.int64)
        self.level = np.array([100, 200, 300])
        return self.frames(), {"level_seed": self.level.copy()}

    def frames(self):
        frames = np.zeros((3, 4, 5, 2), dtype=np.uint8)
        frames[:] = np.arange(3, dtype=np.uint8)[:, None, None, None]
        return frames

    def step(self, actions):
        self.t += 1
        reward = self.t.astype(np.float32)
        done = self.t == self.lengths
        self.t[done] = 0
        self.level[done] += 1
        truncated = done & (np.arange(3) == 1)
        infos = {"level_seed": self.level.copy()}
        return self.frames(), reward, done & ~truncated, truncated, infos

    def close(self):
        self.closed = True


class Uniform:
    """A policy that remembers the environments it was asked about, as far as a ``PolicyRunner`` needs one."""

    device, mode, num_threads = torch.device("cpu"), "online", 1
    distribution = Categorical(2)
    observation_space = gym.spaces.Box(0, 255, (2, 4, 5), np.uint8)

    def __init__(self):
        self.asked = []
        self.training = True

    def initial_state(self, batch):
        return (torch.zeros(batch),)  # counts the frames of the episode

    def set_training_mode(self, mode):
        self.training = mode

    def __call__(self, obs, state, first):
        assert not self.training
        assert obs["image"].shape[1:] == (2, 4, 5)  # channels first for the network
        count = torch.where(first, torch.zeros_like(state[0]), state[0]) + 1
        self.asked.append((obs["image"][:, 0, 0, 0].tolist(), count.tolist()))
        return PolicyOutput(
            torch.zeros(len(count), 1), (count,), torch.zeros(len(count), 2), torch.zeros(len(count)), None
        )

    def start_episodes(self, state, first, contexts):
        return state


@pytest.mark.parametrize(
    ("k", "returns", "lengths", "levels"),
    [
        # 1+2, 1+2+3, 1+...+7
        (1, [3, 6, 28], [2, 3, 7], [100, 200, 300]),
        (2, [3, 3, 6, 6, 28, 28], [2, 2, 3, 3, 7, 7], [100, 101, 200, 201, 300, 301]),
    ],
)
def test_every_environment_counts_its_first_k_episodes(k, returns, lengths, levels):
    env, policy = Script(), Uniform()
    episodes = first_episodes(policy, env, torch.Generator().manual_seed(0), k)
    np.testing.assert_array_equal(episodes.returns, returns)
    np.testing.assert_array_equal(episodes.lengths, lengths)
    np.testing.assert_array_equal(episodes.level_seeds, levels)
    assert env.closed
    assert policy.training  # as it was before


def test_finished_environments_are_not_encoded_and_states_keep_their_rows():
    policy = Uniform()
    first_episodes(policy, Script(), torch.Generator().manual_seed(0))
    rows = [asked[0] for asked in policy.asked]
    assert rows == [[0, 1, 2], [0, 1, 2], [1, 2], [2], [2], [2], [2]]
    assert policy.asked[-1][1] == [7.0]
    assert policy.asked[2][1] == [3.0, 3.0]


def test_windows_sum_through_the_ends_of_episodes():
    env, policy = Script(), Uniform()
    episodes = fixed_length_returns(policy, env, torch.Generator(), 8)
    # the reward is the step number: env 0 earns (1+2) four times, env 1 (1+2+3) twice and 1+2, env 2 1+...+7 and 1
    assert episodes.returns.tolist() == [12, 15, 29]
    assert episodes.lengths.tolist() == [8, 8, 8]
    assert episodes.level_seeds.tolist() == [100, 200, 300]
    assert env.closed
    assert policy.training


class Bright(Uniform):
    """Two actions: the second where the frame's mean is above 10, with probability 0.75; counts frames in its state."""

    def __call__(self, obs, state, first):
        bright = (obs["image"].float().mean((1, 2, 3)) > 10).float()
        p = torch.stack([0.75 - 0.5 * bright, 0.25 + 0.5 * bright], 1)
        return PolicyOutput(bright.unsqueeze(1), (state[0] + 1,), p.log(), bright, None)


class Dark(CountingVectorEnv):
    """Frames with a mean of at most 3."""

    def reset(self, **options):
        frames, infos = super().reset(**options)
        return frames // 64, infos

    def step(self, actions):
        frames, *outcome = super().step(actions)
        return frames // 64, *outcome


def compare(variants, steps=20):
    source = CountingVectorEnv(3, seed=4, size=8, num_actions=2)
    return compare_actions(Bright(), source, variants, torch.Generator().manual_seed(0), steps)


def test_agreement_on_the_same_states_by_hand():
    # the plain frame is red 127 or 255 and blue by level: its mean is always above 10, so action 1 everywhere
    variants = {cls.__name__: cls(3, seed=4, size=8, num_actions=2) for cls in (CountingVectorEnv, Dark)}
    same, dark = compare(variants).values()
    assert (same.argmax, same.total_variation, same.states) == (1.0, 0.0, 60)
    assert dark.argmax == 0.0  # action 0 everywhere
    assert dark.total_variation == pytest.approx(0.5)  # (|0.75 - 0.25| + |0.25 - 0.75|) / 2


def test_a_variant_with_other_rewards_is_refused():
    with pytest.raises(UsageError, match="'other' rewards or ends otherwise"):
        compare({"other": CountingVectorEnv(3, seed=5, size=8, num_actions=2)})
