"""The first k episodes of every environment, each exactly once, however long they last."""

import numpy as np
import pytest
import torch

from agents.evaluate import first_episodes, windows
from agents.policy import Policy


class Script:
    """A vector env of three environments that end after 2, 3 and 7 steps; the reward is the step number."""

    num_envs = 3
    lengths = np.array([2, 3, 7])

    def __init__(self):
        self.closed = False
        self.seen_rows = []

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
    """A policy that shows which environments it was asked about."""

    device = torch.device("cpu")

    def __init__(self):
        self.asked = []
        self.training = True

    def initial_state(self, batch):
        return (torch.zeros(batch),)  # counts the frames of the episode

    def set_training_mode(self, mode):
        self.training = mode

    def encode(self, obs, state, first):
        assert not self.training
        assert obs["image"].shape[1:] == (2, 4, 5)  # channels first for the network
        count = torch.where(first, torch.zeros_like(state[0]), state[0]) + 1
        self.asked.append((obs["image"][:, 0, 0, 0].tolist(), count.tolist()))
        return torch.zeros(len(count), 1), (count,)

    draw = Policy.draw

    def heads(self, features):
        return torch.zeros(len(features), 2), torch.zeros(len(features))


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
    found = first_episodes(policy, env, torch.Generator().manual_seed(0), k)
    np.testing.assert_array_equal(found.returns, returns)
    np.testing.assert_array_equal(found.lengths, lengths)
    np.testing.assert_array_equal(found.level_seeds, levels)
    assert env.closed
    assert policy.training  # as it was before


def test_finished_environments_are_not_encoded_and_states_follow_their_rows():
    policy = Uniform()
    first_episodes(policy, Script(), torch.Generator().manual_seed(0))
    rows = [asked[0] for asked in policy.asked]
    assert rows == [[0, 1, 2], [0, 1, 2], [1, 2], [2], [2], [2], [2]]
    assert policy.asked[-1][1] == [7.0]
    assert policy.asked[2][1] == [3.0, 3.0]


def test_the_policy_class_offers_what_evaluation_uses():
    for name in ("encode", "heads", "draw", "initial_state", "set_training_mode"):
        assert callable(getattr(Policy, name))


def test_windows_sum_through_the_ends_of_episodes():
    env, policy = Script(), Uniform()
    found = windows(policy, env, torch.Generator(), 8)
    # the reward is the step number: env 0 earns (1+2) four times, env 1 (1+2+3) twice and 1+2, env 2 1+...+7 and 1
    assert found.returns.tolist() == [12, 15, 29]
    assert found.lengths.tolist() == [8, 8, 8]
    assert found.level_seeds.tolist() == [100, 200, 300]
    assert env.closed
    assert policy.training
