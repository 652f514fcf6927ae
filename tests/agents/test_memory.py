"""Memory: sequences equal an unroll by episode, one step at a time; what is carried, stored, reset and refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy

from agents.a2c import A2C
from agents.memory import Memory
from agents.metrics import MetricMeans
from agents.minibatches import sequence_starts, sequences
from agents.parallel.distributed import Ranks
from agents.policy import Policy
from agents.ppo import PPOConfig
from agents.runs.evaluate import equal_visits, play_visits
from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from tests.agents.tools import PLAIN, N, Skilled, build, collect, make_env, make_representation, rl_gradient, weights

GRU = {"memory": "gru", "memory_size": 5, "memory_steps": 3}
T = 6


def make_memory(width=4, size=5):
    """A memory in float64 with biases that are not 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        memory = Memory(None, width, size).double()
        for parameter in memory.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return memory


def cell(memory, x, h):
    """One step of one stream, by the equations: x (D,), h (H,)."""
    gru = memory.gru
    (xr, xz, xn), (hr, hz, hn) = (
        (weight @ v + bias).chunk(3)
        for weight, v, bias in ((gru.weight_ih_l0, x, gru.bias_ih_l0), (gru.weight_hh_l0, h, gru.bias_hh_l0))
    )
    reset, keep = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return (1 - keep) * torch.tanh(xn + reset * hn) + keep * h


def by_episode(memory, x, state, first):
    """(T, B, H) of x (T, B, D): a loop over streams and, from each start of an episode on, over steps."""
    streams = []
    for b in range(first.shape[1]):
        h, outputs = state[b], []
        for t in range(len(first)):
            h = cell(memory, x[t, b], torch.zeros_like(h) if first[t, b] else h)
            outputs.append(h)
        streams.append(torch.stack(outputs))
    return torch.stack(streams, 1)


@pytest.mark.parametrize("resets", [[], [(0, 1)], [(3, 0), (3, 2)], [(0, 0), (1, 2), (4, 1), (5, 2), (6, 2)]])
def test_a_pass_with_resets_equals_a_loop_over_episodes(resets):
    memory, generator = make_memory(), torch.Generator().manual_seed(0)
    x, state, target = (
        torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((7, 3, 4), (3, 5), (7, 3, 5))
    )
    x, state = x.requires_grad_(), state.requires_grad_()
    first = torch.zeros(7, 3, dtype=torch.bool)
    for place in resets:
        first[place] = True
    outputs = memory(x.flatten(0, 1), state, first).unflatten(0, (7, 3)), by_episode(memory, x, state, first)
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
    leaves = [x, state, *memory.parameters()]
    gradients = [torch.autograd.grad((y * target).sum(), leaves) for y in outputs]
    for one, other in zip(*gradients, strict=True):
        assert one.abs().max() > 1e-3
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)
    assert (gradients[0][1].abs().sum(1) == 0).tolist() == [(0, b) in resets for b in range(3)]


def test_sequences_are_consecutive_steps_of_one_environment():
    # T = 6, N = 3: chunks of 3 steps begin at samples 0 to 2 and 9 to 11
    starts = sequence_starts(6, 3, 3, torch.device("cpu"))
    assert starts.tolist() == [0, 1, 2, 9, 10, 11]
    assert sequences(starts[[4, 0]], 3, 3).T.tolist() == [[10, 13, 16], [0, 3, 6]]
    assert sequence_starts(6, 3, 1, torch.device("cpu")).tolist() == list(range(18))
    # Rank 1 of 3 with one environment each holds environment 1: 10 is its step 3, and goes on to 4 and 5.
    local = Ranks(1, 3).local_indices(starts, 1)
    assert sequences(local, 3, 1).T.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("chunk", [2, 6])
def test_the_gradient_of_a_minibatch_is_that_of_a_loop_over_episodes(chunk):
    config = {**PLAIN, **GRU, "memory_steps": chunk, "normalise_advantage": False, "micro_batch": 4}
    agent = build(A2C, double=True, config=config)
    collect(agent, 2)
    policy, steps, targets = agent.policy, agent.steps, agent.targets
    image, first = steps.obs["image"], steps.first
    (states,) = agent.collector.data.states
    assert states.shape == (T, N, 5)
    assert first[1:].any(1).sum() >= 2
    total = 0.0
    for i in range(N):
        h = states[0, i]
        for t in range(T):
            h = h.detach() if t % chunk == 0 else h  # gradients go no further back than a chunk
            h = torch.zeros_like(h) if first[t, i] else h
            h = cell(policy.memory, policy.representation.encode({"image": image[t, i : i + 1]})[0][0], h)
            log_p = policy.action_net(h).log_softmax(0)
            value, entropy = policy.value_net(h)[0], -(log_p.exp() * log_p).sum()
            total = total - targets.advantage[t, i] * log_p[steps.action[t, i]]
            total = total + 0.5 * (value - targets.returns[t, i]) ** 2 - 0.01 * entropy
    expected = torch.autograd.grad(total / (T * N), policy.trainable())
    gradient = rl_gradient(agent, sequence_starts(T, N, chunk, agent.device))
    for one, other in zip(gradient, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kind", "mode"), [("tiny", "online"), ("averaging", "online"), ("averaging", "frozen")])
def test_an_update_runs_on_from_the_state_that_was_carried(kind, mode):
    """No step taken yet: the policy of the update is the one that acted, so its KL to that is 0."""
    agent = build(kind=kind, mode=mode, config={**PLAIN, **GRU, "minibatches": 1}, bonuses=(Skilled(),))
    with torch.no_grad():
        agent.policy.action_net.weight.mul_(100)
    collect(agent, 2)
    starts, data = sequence_starts(T, N, 3, agent.device), agent.collector.data
    assert len(data.states) == (2 if (kind, mode) == ("averaging", "online") else 1)

    def approx_kl():
        metrics = MetricMeans()
        rl_gradient(agent, starts, metrics)
        return metrics.compute()["train/approx_kl"]

    assert abs(approx_kl()) < 1e-6
    data.states[-1][3] += 0.5  # the check can fail: the second chunks begin here
    assert approx_kl() > 1e-5


def test_without_memory_nothing_is_added():
    policy = build().policy
    assert policy.memory is None
    assert [name for name in policy.state_dict() if not name.startswith("representation.")] == [
        *("action_net.weight", "action_net.bias", "value_net.weight", "value_net.bias")
    ]
    assert policy.initial_state(2) == ()
    agent, with_fields = build(), build(config={"memory_size": 9, "memory_steps": 5})
    for one in (agent, with_fields):
        one.learn(2 * T * N)
    assert torch.equal(weights(agent), weights(with_fields))


@pytest.mark.parametrize("threads", [1, 2])
def test_micro_batches_of_sequences_add_up_to_the_whole(threads, two_cores):
    agent = build(double=True, config={**PLAIN, **GRU, "micro_batch": 6})
    collect(agent, 2)
    agent.gradient_step.threads = threads
    starts, loss = sequence_starts(T, N, 3, agent.device), agent.actor_critic_loss()
    shares = [chunk.args[0].shape for chunk in loss.micro_batches(starts[:5], agent.gradient_step.chunk_size)]
    assert shares == [(3, 2), (3, 2), (3, 1)]  # five sequences of three steps, six samples at a time
    parts, whole = rl_gradient(agent, starts[:5]), agent.gradient_step
    whole.micro_batch = 100
    for one, other in zip(parts, rl_gradient(agent, starts[:5]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_a_frozen_frame_after_an_update_goes_through_the_new_memory():
    agent = build(kind="averaging", mode="frozen", config={**PLAIN, **GRU})
    collect(agent)
    runner, policy = agent.collector.runner, agent.policy
    encoded, (features, carried) = agent.representation.encoded, runner._encoded
    runner.episode_start = torch.tensor([True, False, True])
    with torch.no_grad():
        policy.memory.gru.bias_ih_l0 += 0.3  # what an update does
        expected = policy.forward_features(features, carried, runner.state, runner.episode_start)
    obs = {"image": torch.from_numpy(agent._last_obs)}
    output = runner.forward(obs)
    assert agent.representation.encoded == encoded  # nothing was encoded anew
    assert torch.equal(output.value, expected.value)
    assert torch.equal(output.state[1], expected.state[1])
    fresh = policy.memory(features, torch.zeros(N, 5), torch.zeros(1, N, dtype=torch.bool))
    assert (output.state[1] - fresh).abs().amax(1).gt(1e-4).tolist() == [False, True, False]


def test_predict_carries_state_and_resets_it_by_row():
    agent = build(config=GRU)
    with torch.no_grad():
        agent.policy.memory.gru.bias_ih_l0 += 0.3
    frames = [make_env().reset(), make_env(seed=7).reset()]
    _, state = agent.predict(frames[0])
    assert [array.shape for array in state] == [(N, 5)]
    _, fresh = agent.predict(frames[1])
    _, following = agent.predict(frames[1], state, np.array([False, True, False]))
    differs = np.abs(following[0] - fresh[0]).max(1) > 1e-3
    assert differs.tolist() == [True, False, True]
    _, unmarked = agent.predict(frames[1], state)
    np.testing.assert_array_equal(unmarked[0][1:2] == fresh[0][1:2], False)
    mean, _ = evaluate_policy(agent, make_env(2), n_eval_episodes=3)
    assert mean >= 0


def test_evaluation_carries_memory_whatever_plays_beside():
    env = make_env()
    policy = Policy(env.observation_space, env.action_space, make_representation(env), memory=5)
    with torch.no_grad():
        policy.memory.gru.bias_ih_l0 += torch.linspace(-1, 1, 15)
        policy.action_net.weight.mul_(300)
    visits = equal_visits([3, 8, 11, 4], 8)

    def play(num_envs):
        make = lambda count: CountingVectorEnv(count, size=8, episode_length=9, seed=0)  # noqa: E731
        return play_visits(policy, make, visits, num_envs=num_envs).returns

    together = play(8)
    np.testing.assert_array_equal(together, play(1))
    np.testing.assert_array_equal(together, play(3))
    policy.initial_state = lambda batch: (torch.full((batch, 5), 9.0),)  # what an episode's start does not read
    np.testing.assert_array_equal(together, play(3))


@pytest.mark.parametrize("window", [1, 8])
def test_losses_that_read_the_policy_get_its_memory(window, monkeypatch):
    """Samples run on from where they were acted; windows begin empty, and anew with each episode."""
    monkeypatch.setattr("tests.agents.tools.Autoencoder.window", window)
    agent, read = build(kind="autoencoder", config={**PLAIN, **GRU, "window_streams": 2}), []
    collect(agent, 2)
    opens = agent.steps.first.flatten().nonzero()[0, 0]
    policy, samples = agent.policy, torch.tensor([0, 13, int(opens), 9])

    def loss(steps, heads, generator):
        first = steps.first if window > 1 else None
        features = policy.encode({"image": steps.obs["image"].flatten(0, 1)})[0]
        read.append((steps, features, heads(features, {}, first)[1]))
        return features.sum() * 0, {}

    agent.representation.loss = loss
    agent.auxiliary_loss.micro_batches(samples, 4)[0](MetricMeans())
    ((steps, features, value),) = read
    state = agent.collector.data.states[0].flatten(0, 1)[samples] if window == 1 else torch.zeros(2, 5)
    outputs = by_episode(policy.memory, features.unflatten(0, steps.shape), state, steps.first).flatten(0, 1)
    torch.testing.assert_close(value, policy.value_net(outputs).squeeze(1))
    assert steps.shape == ((1, 4) if window == 1 else (8, 2))
    assert steps.first.any()
    assert not steps.first.all()


def test_samples_of_the_auxiliary_loss_are_no_neighbours():
    agent, seen = build(kind="autoencoder", config={**GRU, "epochs": 2}), []
    collect(agent)
    micro_batches = agent.auxiliary_loss.micro_batches
    agent.auxiliary_loss.micro_batches = lambda indices, size: (seen.append(indices), micro_batches(indices, size))[1]
    agent.train()
    assert [len(indices) for indices in seen] == [6] * 6  # two passes of three minibatches of 18 samples
    for epoch in (seen[:3], seen[3:]):
        assert torch.cat(epoch).sort().values.tolist() == list(range(18))
    assert any((indices.sort().values.diff() != 3).any() for indices in seen)


def test_the_gates_begin_orthogonal_and_the_state_empty():
    memory = Memory(None, 7, 5)
    for gate in memory.gru.weight_hh_l0.detach().chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(5))
    reset, update, new = memory.gru.bias_hh_l0.detach().chunk(3)
    assert not reset.any()
    assert not new.any()
    # Five units: without inputs they keep 1/2, 17/19, ... of their state: 1 - 1/k for k = 2, 9.5, 17, 24.5, 32 steps
    torch.testing.assert_close(1 / (1 - torch.sigmoid(update)), torch.tensor([2, 9.5, 17, 24.5, 32]))
    assert memory.initial_state(3).tolist() == [[0.0] * 5] * 3
    # float32 below bfloat16: sums over an episode keep their digits
    with torch.autocast("cpu", torch.bfloat16):
        assert memory(torch.ones(2, 7), torch.zeros(1, 5), torch.zeros(2, 1, dtype=torch.bool)).dtype == torch.float32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory": "lstm"}, "memory 'lstm'; known: none, gru"),
        ({"n_steps": 100, "memory_steps": 32}, "n_steps=100 does not divide by memory_steps=32"),
        ({"n_steps": 64, "minibatches": 64}, "2 sequences of memory_steps=32 x 4 environments do not divide into 64"),
        ({"memory_steps": 0}, "memory_steps=0"),
    ],
)
def test_settings_that_cannot_work_are_named(fields, message):
    with pytest.raises(UsageError, match=message):
        PPOConfig(**{"memory": "gru", **fields}).check(4)
    if fields.get("memory_steps") != 0:
        PPOConfig(**{**fields, "memory": "none"}).check(16)


def test_a_short_rollout_is_one_sequence():
    assert A2C.Config(memory="gru").sequence_steps == 20  # of 32
    assert PPOConfig(memory="gru").sequence_steps == 32
    assert PPOConfig().sequence_steps == 1
    assert math.isclose(PPOConfig(memory="gru").memory_units, 256)
