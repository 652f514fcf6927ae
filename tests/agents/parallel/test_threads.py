"""Parts side by side: the same numbers as one after the other, to rounding, and to the bit from run to run."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from agents.a2c import A2C
from agents.on_policy import Means
from agents.parallel.threads import must_run_serially, num_threads, parallel_map
from agents.policy import LEAST, Policy
from agents.ppo import PPO
from tests.agents.conftest import rl_gradient

CPU = torch.device("cpu")


@pytest.fixture
def two_cores():
    """As on a machine with two."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def weights(agent):
    return torch.cat([parameter.detach().flatten().clone() for parameter in agent.policy.parameters()])


def test_parts_are_worked_on_at_the_same_time_and_come_back_in_order(two_cores):
    together = threading.Barrier(2, timeout=10)

    def work(part):
        together.wait()  # never passed by one thread alone
        return part, threading.current_thread().name, torch.get_num_threads()

    (first, one, cores), (second, other, more) = parallel_map(work, ["a", "b"], 2)
    assert (first, second) == ("a", "b")
    assert one != other
    assert (cores, more) == (1, 1)


def test_the_caller_and_threads_to_come_keep_their_cores(two_cores, monkeypatch):
    monkeypatch.setattr("agents.parallel.threads._pools", {})  # it is when lanes begin that others could be told
    parallel_map(str, [1, 2], 2)
    assert torch.get_num_threads() == 2
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert found == [2]


@pytest.mark.parametrize("parts", [[], [3], [3, 5]])
def test_gradients_are_recorded_where_the_caller_records_them(two_cores, parts):
    weight = torch.ones((), requires_grad=True)
    assert [out.requires_grad for out in parallel_map(lambda part: part * weight, parts, 2)] == [True] * len(parts)
    with torch.no_grad():
        assert [out.requires_grad for out in parallel_map(lambda part: part * weight, parts, 2)] == [False] * len(parts)


def test_an_error_in_one_part_is_raised(two_cores):
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda part: 1 / part, [1, 0], 2)


def test_one_part_on_a_gpu_and_one_a_core_on_a_cpu(two_cores):
    assert (num_threads(torch.device("cuda")), num_threads(CPU)) == (1, 2)


def test_layers_that_write_or_draw_want_order():
    assert not must_run_serially(
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.GroupNorm(3, 3), nn.LayerNorm(3), nn.GRUCell(3, 3))
    )
    for layer in (nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.InstanceNorm2d(3), nn.Dropout(), nn.Dropout2d()):
        assert must_run_serially(nn.Sequential(nn.Linear(3, 3), layer))


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("size", [2, 5, 100])
def test_the_gradient_of_a_minibatch_does_not_depend_on_lanes(world, representation, two_cores, mode, size):
    env = world(3)
    config = PPO.Config(n_steps=6, minibatches=3, micro_batch=size)
    exact = mode == "online"  # History keeps a frozen encoder's features in float32
    agent = PPO(env, representation(env, double=exact), config, mode=mode)
    if exact:
        agent.policy.double()
        agent._setup_storage()
    assert agent.num_threads == 2
    agent.train = lambda: None
    agent.learn(6 * 3)
    indices = torch.randperm(6 * 3, generator=torch.Generator().manual_seed(0))[:11]
    found = []
    for count in (1, 2):
        agent.num_threads, means = count, Means()
        gradients = [gradient.flatten() for gradient in rl_gradient(agent, indices, means) if gradient is not None]
        found.append((torch.cat(gradients), torch.tensor(list(means.values().values()))))
    assert found[0][0].abs().max() > 1e-3
    near = {"rtol": 1e-10, "atol": 1e-14} if exact else {"rtol": 1e-4, "atol": 1e-7}
    torch.testing.assert_close(found[0][0], found[1][0], **near)
    # The spread of features is that of each part, and parts differ; the rest are means over samples.
    kept = [k for k, name in enumerate(means.values()) if not name.startswith("representation/")]
    assert len(kept) == 4
    torch.testing.assert_close(found[0][1][kept], found[1][1][kept])


def test_the_own_loss_draws_the_same_in_any_number_of_lanes(world, representation, two_cores):
    env = world(3)
    agent = PPO(env, representation(env, "autoencoder"), PPO.Config(n_steps=6, minibatches=3, micro_batch=4))
    agent.train = lambda: None
    agent.learn(6 * 3)
    found = []
    for count in (1, 2, 2):
        agent.num_threads, means = count, Means()
        agent.streams["auxiliary"].manual_seed(0)
        losses = agent._own_losses(torch.arange(11))
        assert len(losses) == 3
        (gradient,) = agent._gradients((losses,), means)
        gradient = torch.cat([more.flatten() for more in gradient if more is not None])
        found.append((gradient, means.values()["auxiliary/error"], agent.streams["auxiliary"].get_state()))
    (one, error, state), *others = found
    assert one.abs().max() > 1
    for other, again, after in others:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert again == pytest.approx(error, rel=1e-5)
        assert torch.equal(state, after)
    assert torch.equal(found[1][0], found[2][0])


def test_parts_wait_for_whoever_is_free(two_cores):
    """The first part is done only when the third is: one thread works on it, the other on all the rest."""
    third = threading.Event()

    def work(part):
        if part == 0:
            assert third.wait(10)
        if part == 2:
            third.set()
        return part * part, threading.current_thread().name

    found = parallel_map(work, [0, 1, 2, 3], 2)
    assert [square for square, _ in found] == [0, 1, 4, 9]
    assert found[1][1] == found[2][1] != found[0][1]


def test_both_losses_are_worked_on_in_lanes(world, representation, two_cores):
    env = world(3)
    agent = PPO(env, representation(env, "autoencoder"), PPO.Config(n_steps=6, minibatches=1, micro_batch=4))
    names, encode, loss = {"encode": [], "loss": []}, agent.representation.encode, agent.representation.loss

    def watched(kind, method, *args):
        names[kind].append(threading.current_thread().name)
        return method(*args)

    agent.train = lambda: None
    agent.learn(6 * 3)
    agent.representation.encode = lambda *args: watched("encode", encode, *args)
    agent.representation.loss = lambda *args: watched("loss", loss, *args)
    agent._update(torch.arange(6 * 3), Means())
    assert [len(found) for found in names.values()] == [5, 5]  # 18 steps by 4
    assert all(name.startswith("lane") for found in names.values() for name in found)


def test_a_module_that_draws_trains_in_one_lane(world, representation, two_cores):
    env = world(3)
    drawing = representation(env)
    drawing.net.append(nn.Dropout())
    assert PPO(env, drawing).num_threads == 1


@pytest.mark.parametrize("kind", [PPO, A2C])
def test_two_lanes_train_the_same_to_the_bit_every_time(world, representation, two_cores, kind):
    found = []
    for _ in range(2):
        env = world(2 * LEAST + 1)
        agent = kind(env, representation(env), kind.Config(n_steps=8))
        agent.learn(3 * 8 * (2 * LEAST + 1))
        found.append(weights(agent))
    assert torch.equal(*found)


def test_rows_seen_side_by_side_keep_their_own_state_and_context(world, representation, two_cores):
    env, rows = world(1), 2 * LEAST + 3

    class Skills:
        context_dim = 2

        def draw_context(self, count, generator):
            return torch.rand(count, 2, generator=generator)

    policy = Policy(
        env.observation_space, env.action_space, representation(env, "averaging"), "online", context=Skills()
    )
    policy.bonus_net = nn.Linear(policy.value_net.in_features, 1)
    generator = torch.Generator().manual_seed(0)
    obs = {"image": torch.randint(0, 256, (rows, 3, 8, 8), generator=generator, dtype=torch.uint8)}
    state = (torch.rand(rows, 6, generator=generator), torch.rand(rows, 2, generator=generator))
    first = torch.rand(rows, generator=generator) < 0.3
    whole = policy.look(obs, state, first)
    torch.set_num_threads(1)
    alone = policy.look(obs, state, first)
    for one, other in zip((whole[0], *whole[1], *whole[2]), (alone[0], *alone[1], *alone[2]), strict=True):
        assert one.shape[0] == rows
        torch.testing.assert_close(one, other)
    assert torch.equal(whole[1][1], state[1])
    carried = torch.where(first.unsqueeze(1), 0.0, state[0]) / 2
    torch.testing.assert_close(whole[0] - carried, policy.representation.net(obs["image"].float() / 255).detach())
