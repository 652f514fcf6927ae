"""Acting: carried state, skills, subsets of rows, worker threads, and what ``predict`` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from agents.policy import Policy
from agents.runner import MIN_ROWS_PER_THREAD, PolicyRunner
from tests.agents.tools import Skilled, build, make_env, make_representation


class Skills:
    """Contexts of two random numbers."""

    context_dim = 2

    def draw_context(self, count, generator):
        return torch.rand(count, 2, generator=generator)


def make_policy(kind="tiny", mode="online", num_envs=3, **arguments):
    env = make_env(num_envs)
    return Policy(env.observation_space, env.action_space, make_representation(env, kind), mode, **arguments), env


def images(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.randint(0, 256, (rows, 3, 8, 8), generator=generator, dtype=torch.uint8)}


def test_state_is_carried_and_begins_anew_with_an_episode():
    policy, _ = make_policy("averaging", "frozen")
    runner, obs = PolicyRunner(policy, 3, torch.Generator().manual_seed(0)), images(3)
    x = policy.representation.net(obs["image"].float() / 255).detach()
    runner.act(obs)
    runner.episode_start = torch.tensor([False, True, False])
    output = runner.act(obs).output
    # s' = s/2 + x: 1.5 x where the episode goes on, x where it began anew.
    torch.testing.assert_close(output.features, torch.tensor([[1.5], [1.0], [1.5]]) * x)
    assert torch.equal(runner.state[0], output.features)


def test_rows_act_as_alone_and_leave_the_others_as_they_are():
    policy, _ = make_policy("averaging", "frozen", context=Skills())
    runner, obs = PolicyRunner(policy, 5, torch.Generator().manual_seed(0)), images(5)
    runner.act(obs)
    runner.episode_start = torch.tensor([False, False, False, True, False])
    before = [tensor.clone() for tensor in runner.state]
    rows = torch.tensor([1, 3])
    output = runner.forward({"image": obs["image"][rows]}, rows)
    x = policy.representation.net(obs["image"][rows].float() / 255).detach()
    # environment 1 goes on with its skill, environment 3 begins anew with another
    torch.testing.assert_close(output.state[0], torch.stack([before[0][1] / 2 + x[0], x[1]]))
    assert torch.equal(output.state[1][0], before[1][1])
    assert not torch.equal(output.state[1][1], before[1][3])
    for whole, kept, new in zip(runner.state, before, output.state, strict=True):
        assert torch.equal(whole[rows], new)
        assert torch.equal(whole[[0, 2, 4]], kept[[0, 2, 4]])


def test_given_noise_and_contexts_draw_nothing():
    policy, _ = make_policy(context=Skills())
    with torch.no_grad():
        policy.action_net.weight.normal_(generator=torch.Generator().manual_seed(1))
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    runner, other = (PolicyRunner(policy, 3, generator) for generator in generators)
    drawn = runner.act(images(3))
    contexts = policy.draw_contexts(3, generators[1])
    noise = policy.distribution.draw_noise(3, generators[1], policy.action_net.weight)
    other.generator = None
    state = torch.get_rng_state()
    given = other.act(images(3), noise=noise, contexts=contexts)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(given.action, drawn.action)
    assert torch.equal(given.parameters, drawn.parameters)


def test_a_frozen_encoding_is_kept_for_the_next_act():
    policy, _ = make_policy("averaging", "frozen")
    runner, twin = (PolicyRunner(policy, 3, torch.Generator().manual_seed(0)) for _ in range(2))
    for each in (runner, twin):
        each.act(images(3))
        each.episode_start = torch.tensor([False, True, False])
    encoded = policy.representation.encoded
    peeked = runner.evaluate_next(images(3, 1))
    action = runner.act(images(3, 1))
    assert policy.representation.encoded == encoded + 3
    expected = twin.act(images(3, 1))
    for given in (peeked, action.output):
        assert torch.equal(given.features, expected.output.features)
        assert torch.equal(given.value, expected.output.value)
    assert torch.equal(action.action, expected.action)
    assert torch.equal(runner.state[0], twin.state[0])
    runner.act(images(3, 2))
    assert policy.representation.encoded == encoded + 9  # it is used once


def test_final_observations_continue_the_episode_and_move_nothing():
    policy, _ = make_policy("averaging", "online")
    runner = PolicyRunner(policy, 3)
    runner.act(images(3))
    runner.episode_start = torch.ones(3, dtype=torch.bool)
    before, rows = runner.state[0].clone(), torch.tensor([2, 0])
    x = policy.representation.net(images(2, 1)["image"].float() / 255).detach()
    torch.testing.assert_close(runner.evaluate_final(images(2, 1), rows).features, before[rows] / 2 + x)
    assert torch.equal(runner.state[0], before)


def test_rows_in_worker_threads_keep_their_own_state_and_context(two_cores):
    rows = 2 * MIN_ROWS_PER_THREAD + 3
    policy, _ = make_policy("averaging", num_envs=1, context=Skills())
    policy.bonus_net = nn.Linear(policy.value_net.in_features, 1)
    generator = torch.Generator().manual_seed(0)
    runner, obs = PolicyRunner(policy, rows), images(rows)
    runner.state = (torch.rand(rows, 6, generator=generator), torch.rand(rows, 2, generator=generator))
    first = runner.episode_start = torch.rand(rows, generator=generator) < 0.3
    threaded = runner.evaluate_next(obs)
    torch.set_num_threads(1)
    serial = runner.evaluate_next(obs)
    flat = lambda output: (output.features, *output.state, *output[2:])  # noqa: E731
    for one, other in zip(flat(threaded), flat(serial), strict=True):
        assert one.shape[0] == rows
        torch.testing.assert_close(one, other)
    assert torch.equal(threaded.state[1], runner.state[1])
    carried = torch.where(first.unsqueeze(1), 0.0, runner.state[0]) / 2
    encoded = policy.representation.net(obs["image"].float() / 255).detach()
    torch.testing.assert_close(threaded.features - carried, encoded)


def test_predict_does_not_touch_the_global_generator():
    policy, env = make_policy()
    policy.generator = torch.Generator().manual_seed(0)
    state = torch.get_rng_state()
    actions, carried = policy.predict(env.reset())
    assert actions.shape == (3,)
    assert carried is None
    assert torch.equal(torch.get_rng_state(), state)


def test_predict_takes_one_observation_and_deterministic_is_the_mode():
    policy, env = make_policy()
    with torch.no_grad():
        policy.action_net.weight.zero_()
        policy.action_net.bias.copy_(torch.tensor([0.0, 3.0, 1.0, 0.0]))
    action, _ = policy.predict(env.reset()[0], deterministic=True)
    assert action == 1
    assert np.ndim(action) == 0


def test_predict_carries_and_resets_the_state():
    policy, env = make_policy("averaging", "frozen")
    obs = env.reset()
    x = policy.representation.net(torch.from_numpy(obs).float() / 255)
    _, state = policy.predict(obs)
    torch.testing.assert_close(torch.from_numpy(state[0]), x)
    _, state = policy.predict(obs, state, np.array([False, True, False]))
    torch.testing.assert_close(torch.from_numpy(state[0]), torch.tensor([[1.5], [1.0], [1.5]]) * x)


def test_a_skill_lasts_an_episode_in_predict():
    agent = build(bonuses=(Skilled(),))
    state, start, skills = None, np.ones(2, dtype=bool), []
    obs = make_env(2).reset()
    for t in range(6):
        if t == 4:
            start = np.array([True, False])
        _, state = agent.predict(obs, state, start)
        skills.append(state[-1].argmax(1))
        start = np.zeros(2, dtype=bool)
    skills = np.array(skills)
    assert (skills[:4] == skills[0]).all()
    assert (skills[4:, 1] == skills[0, 1]).all()
    assert len({tuple(agent.predict(obs)[1][-1].argmax(1)) for _ in range(30)}) > 4  # of 9 pairs


@pytest.mark.parametrize("kind", ["tiny", "averaging"])
def test_a_restored_runner_goes_on_where_the_other_stood(kind):
    policy, _ = make_policy(kind, "frozen", context=Skills())
    runner, other = PolicyRunner(policy, 3, torch.Generator().manual_seed(0)), PolicyRunner(policy, 3)
    runner.act(images(3))
    runner.episode_start = torch.tensor([False, True, False])
    other.load_state_dict(runner.state_dict())
    contexts = torch.rand(3, 2)
    one, two = (each.forward(images(3, 1), contexts=contexts) for each in (runner, other))
    assert torch.equal(one.features, two.features)
    assert all(map(torch.equal, one.state, two.state))
