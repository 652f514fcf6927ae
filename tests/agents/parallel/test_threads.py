"""Worker threads: the same numbers as one after the other, to rounding, and to the bit from run to run."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from agents.a2c import A2C
from agents.metrics import MetricMeans
from agents.ppo import PPO
from agents.runner import MIN_ROWS_PER_THREAD
from representations.threads import must_run_serially, num_threads, parallel_map
from tests.agents.tools import PLAIN, N, build, collect, make_env, make_representation, rl_gradient, weights

CPU = torch.device("cpu")


def test_items_are_worked_on_at_the_same_time_and_come_back_in_order(two_cores):
    barrier = threading.Barrier(2, timeout=10)

    def work(item):
        barrier.wait()  # never passed by a single thread
        return item, threading.current_thread().name, torch.get_num_threads()

    items, names, cores = zip(*parallel_map(work, ["a", "b"], 2), strict=True)
    assert items == ("a", "b")
    assert names[0] != names[1]
    assert cores == (1, 1)


def test_the_caller_and_threads_to_come_keep_their_cores(two_cores, monkeypatch):
    monkeypatch.setattr("representations.threads._pools", {})  # the workers' number could leak when they start
    parallel_map(str, [1, 2], 2)
    assert torch.get_num_threads() == 2
    numbers = []
    thread = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert numbers == [2]


@pytest.mark.parametrize("items", [[], [3], [3, 5]])
def test_gradients_are_recorded_where_the_caller_records_them(two_cores, items):
    weight = torch.ones((), requires_grad=True)
    recorded = lambda: [out.requires_grad for out in parallel_map(lambda item: item * weight, items, 2)]  # noqa: E731
    assert recorded() == [True] * len(items)
    with torch.no_grad():
        assert recorded() == [False] * len(items)


def test_an_error_of_one_item_is_raised(two_cores):
    with pytest.raises(ZeroDivisionError):
        parallel_map(lambda item: 1 / item, [1, 0], 2)


def test_one_thread_on_a_gpu_and_one_per_core_on_a_cpu(two_cores):
    assert (num_threads(torch.device("cuda")), num_threads(CPU)) == (1, 2)


def test_layers_that_write_or_draw_want_order():
    assert not must_run_serially(
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.GroupNorm(3, 3), nn.LayerNorm(3), nn.GRUCell(3, 3))
    )
    for layer in (nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.InstanceNorm2d(3), nn.Dropout(), nn.Dropout2d()):
        assert must_run_serially(nn.Sequential(nn.Linear(3, 3), layer))


@pytest.mark.parametrize("mode", ["online", "frozen"])
@pytest.mark.parametrize("size", [2, 5, 100])
def test_the_gradient_of_a_minibatch_does_not_depend_on_threads(two_cores, mode, size):
    exact = mode == "online"  # History keeps a frozen encoder's features in float32
    agent = build(config={"micro_batch": size}, mode=mode, double=exact)
    assert agent.gradient_step.threads == 2
    collect(agent)
    indices = torch.randperm(6 * N, generator=torch.Generator().manual_seed(0))[:11]
    gradients, means = [], []
    for agent.gradient_step.threads in (1, 2):
        metrics = MetricMeans()
        gradient = [g.flatten() for g in rl_gradient(agent, indices, metrics) if g is not None]
        gradients.append(torch.cat(gradient))
        # The spread of features is that of each micro-batch, and those differ; the others are means over samples.
        values = metrics.compute()
        means.append({name: value for name, value in values.items() if not name.startswith("representation/")})
    assert gradients[0].abs().max() > 1e-3
    near = {"rtol": 1e-10, "atol": 1e-14} if exact else {"rtol": 1e-4, "atol": 1e-7}
    torch.testing.assert_close(*gradients, **near)
    assert len(means[0]) == 4
    assert means[0] == pytest.approx(means[1], rel=1e-5, abs=1e-6)


def test_the_auxiliary_loss_draws_the_same_in_any_number_of_threads(two_cores):
    agent = build(kind="autoencoder", config=PLAIN)
    collect(agent)
    results = []
    for agent.gradient_step.threads in (1, 2, 2):
        metrics = MetricMeans()
        agent.streams["auxiliary"].manual_seed(0)
        losses = agent.auxiliary_loss.micro_batches(torch.arange(11), 4)
        assert len(losses) == 3
        (gradient,) = agent.gradient_step.gradients((losses,), metrics)
        gradient = torch.cat([g.flatten() for g in gradient if g is not None])
        results.append((gradient, metrics.compute()["auxiliary/error"], agent.streams["auxiliary"].get_state()))
    (serial, error, state), *threaded = results
    assert serial.abs().max() > 1
    for gradient, other_error, other_state in threaded:
        torch.testing.assert_close(serial, gradient, rtol=1e-4, atol=1e-4)
        assert other_error == pytest.approx(error, rel=1e-5)
        assert torch.equal(state, other_state)
    assert torch.equal(threaded[0][0], threaded[1][0])


def test_items_wait_for_whichever_thread_is_free(two_cores):
    """The first item is done only when the third is: one thread works on it, the other on all others."""
    third = threading.Event()

    def work(item):
        if item == 0:
            assert third.wait(10)
        if item == 2:
            third.set()
        return item * item, threading.current_thread().name

    squares, names = zip(*parallel_map(work, [0, 1, 2, 3], 2), strict=True)
    assert squares == (0, 1, 4, 9)
    assert names[1] == names[2] != names[0]


def test_both_losses_are_computed_by_worker_threads(two_cores):
    agent = build(kind="autoencoder", config={"minibatches": 1})
    names, encode, loss = {"encode": [], "loss": []}, agent.representation.encode, agent.representation.loss

    def watched(kind, method, *args):
        names[kind].append(threading.current_thread().name)
        return method(*args)

    collect(agent)
    agent.representation.encode = lambda *args: watched("encode", encode, *args)
    agent.representation.loss = lambda *args: watched("loss", loss, *args)
    agent.update(torch.arange(6 * N), agent.actor_critic_loss(), MetricMeans())
    assert [len(calls) for calls in names.values()] == [5, 5]  # 18 steps by 4
    assert all(name.startswith("worker") for calls in names.values() for name in calls)


def test_a_module_that_draws_trains_in_one_thread(two_cores):
    env = make_env()
    drawing = make_representation(env)
    drawing.net.append(nn.Dropout())
    assert PPO(env, drawing).gradient_step.threads == 1


@pytest.mark.parametrize("cls", [PPO, A2C])
def test_two_threads_train_the_same_to_the_bit_every_time(two_cores, cls):
    results = []
    for _ in range(2):
        num_envs = 2 * MIN_ROWS_PER_THREAD + 1
        agent = build(cls, env=make_env(num_envs), config={"n_steps": 8})
        agent.learn(3 * 8 * num_envs)
        results.append(weights(agent))
    assert torch.equal(*results)
