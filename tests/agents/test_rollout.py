"""Collection: each frame encoded once, state and skills carried, final frames and bootstraps, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import VecEnvWrapper

from tests.agents.tools import PLAIN, N, Novelty, Skilled, build, collect, make_env


def test_a_frozen_representation_encodes_each_frame_once():
    agent = build(kind="tiny", mode="frozen", config={"timeout_is_terminal": True})
    agent.learn(4 * 6 * N)
    # 4 rollouts of 6 steps and the one frame after the last; no truncation is bootstrapped.
    assert agent.representation.encoded == (4 * 6 + 1) * N
    assert agent.history.keys == ("features",)


def test_a_frozen_state_runs_on_through_rollouts_and_is_reset_by_first():
    agent = build(kind="averaging", mode="frozen", config={**PLAIN}, bonuses=(Novelty(),))
    collect(agent, 2)
    steps = agent.history.rollout()
    x = agent.representation.net(steps.obs["image"].flatten(0, 1).float() / 255).detach().view(6, N, 6)
    for t in range(1, 6):
        carried = torch.where(steps.first[t].unsqueeze(1), 0.0, steps.obs["features"][t - 1])
        torch.testing.assert_close(steps.obs["features"][t], carried / 2 + x[t])


def test_values_and_log_probabilities_are_those_of_the_stored_steps():
    agent = build(config=PLAIN)
    with torch.no_grad():
        agent.policy.action_net.weight.mul_(100)
    collect(agent)
    steps, data, distribution = agent.steps, agent.collector.data, agent.policy.distribution
    features, _ = agent.policy.encode({"image": steps.obs["image"].flatten(0, 1)})
    heads = agent.policy.heads(features)
    torch.testing.assert_close(data.values[:-1].flatten(), heads.value.detach())
    log_prob = distribution.log_prob(distribution.parameters(heads.action_outputs), steps.action.flatten())
    torch.testing.assert_close(data.log_probs.flatten(), log_prob.detach())
    assert data.log_probs.std() > 0.01
    last, _ = agent.policy.encode({"image": steps.next_obs["image"][-1]})
    alive = ~steps.done[-1]
    torch.testing.assert_close(data.values[-1][alive], agent.policy.heads(last).value.detach()[alive])


@pytest.mark.parametrize("mode", ["online", "frozen"])
def test_a_skill_lasts_an_episode_and_the_policy_reads_it(mode):
    agent = build(config={**PLAIN, "extrinsic": 0.0}, mode=mode, bonuses=(Skilled(),))
    rollouts = []
    for _ in range(8):
        collect(agent, reset_num_timesteps=False)
        rollouts.append((agent.steps.first.clone(), agent.collector.data.contexts.clone()))
    first, contexts = (torch.cat(tensors) for tensors in zip(*rollouts, strict=True))
    assert set(map(tuple, contexts.view(-1, 3).tolist())) == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    same = (contexts[1:] == contexts[:-1]).all(2)
    assert same[~first[1:]].all()
    assert 0.1 < float(same[first[1:]].float().mean()) < 0.7  # a third by chance
    features = torch.ones(1, 6).expand(3, -1)
    assert torch.unique(agent.policy.heads(features, torch.eye(3)).value).numel() == 3


@pytest.mark.parametrize("kind", ["tiny", "averaging"])
def test_truncation_bootstraps_from_the_true_last_frame(kind):
    agent = build(kind=kind, config={**PLAIN, "gamma": 0.5})
    collect(agent)
    steps, data = agent.history.rollout(), agent.collector.data
    frames = steps.next_obs["image"].flatten(0, 1)
    state = ()
    if kind == "averaging":  # the state after each step, from which its last frame is encoded
        x = agent.representation.net(steps.obs["image"].flatten(0, 1).float() / 255).view(6, N, 6)
        before = torch.where(steps.first.unsqueeze(2), 0.0, data.states[0])
        state = ((before / 2 + x).flatten(0, 1).detach(),)
    first = torch.zeros(6 * N, dtype=torch.bool)
    values = agent.policy.heads(agent.policy.encode({"image": frames}, state, first)[0]).value
    torch.testing.assert_close(data.bootstrap, 0.5 * values.detach().view(6, N) * steps.truncated)
    assert int(steps.truncated.sum()) == 1  # i + e odd: environment 1 alone within 6 steps
    assert data.bootstrap.abs().max() > 1e-4
    off = build(kind=kind, config={**PLAIN, "gamma": 0.5, "timeout_is_terminal": True})
    collect(off)
    assert not off.collector.data.bootstrap.any()
    torch.testing.assert_close(agent.targets.reward - off.targets.reward, data.bootstrap)


def test_a_last_frame_that_is_the_previous_one_is_not_valid():
    class Forgetful(VecEnvWrapper):
        def reset(self):
            self.shown = self.venv.reset()
            return self.shown

        def step_wait(self):
            obs, rewards, dones, infos = self.venv.step_wait()
            for i in np.flatnonzero(dones):
                infos[i]["terminal_observation"] = self.shown[i]
                infos[i]["terminal_observation_is_previous"] = True
            self.shown = obs
            return obs, rewards, dones, infos

    agent = build(env=Forgetful(make_env(N)))
    agent.learn(6 * N)
    steps = agent.history.rollout()
    assert torch.equal(steps.next_valid, ~steps.done)
    assert torch.equal(steps.next_obs["image"][2, 0], steps.obs["image"][2, 0])
