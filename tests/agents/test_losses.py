"""The RL loss and the auxiliary loss of a minibatch: weights, states, skills, windows."""

from __future__ import annotations

import pytest
import torch

from agents.metrics import MetricMeans
from agents.parallel.distributed import Ranks
from tests.agents.tools import PLAIN, SMALL, Constant, N, Novelty, Skilled, build, collect, rl_gradient, weights

ONE_BATCH = {**SMALL, **PLAIN, "epochs": 1, "minibatches": 1, "value_clip": None}


def approx_kl(agent):
    metrics = MetricMeans()
    rl_gradient(agent, torch.arange(6 * N), metrics)
    return metrics.compute()["train/approx_kl"]


def test_an_update_encodes_from_the_state_each_step_was_acted_from():
    # One minibatch of the whole rollout, no step taken yet: the policy of the update is the one that acted, so its KL
    # to that is 0. Features add up over an episode; from an empty state they would be others.
    agent = build(kind="averaging", mode="online", config={**PLAIN, "epochs": 1, "minibatches": 1})
    agent.learn(2 * 6 * N)
    (states,) = agent.collector.data.states
    assert states.shape == (6, N, 6)
    assert states.abs().sum() > 0
    assert agent.metrics["train/approx_kl"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("kind", "mode"), [("tiny", "online"), ("tiny", "frozen"), ("averaging", "online")])
def test_an_update_sees_the_skill_each_step_was_acted_with(kind, mode):
    agent = build(kind=kind, config=ONE_BATCH, mode=mode, bonuses=(Skilled(),))
    with torch.no_grad():
        agent.policy.action_net.weight.mul_(100)
    collect(agent, 2)
    assert abs(approx_kl(agent)) < 1e-6
    agent.collector.data.contexts[:] = agent.collector.data.contexts.roll(1, 2)
    assert abs(approx_kl(agent)) > 1e-4  # the check can fail: other skills are other probabilities


def test_the_value_loss_of_the_bonuses_is_added_to_the_other():
    """Weight 1/2 of the mean of (V - R)^2 / 2: the head's bias gets the mean of V - R, halved."""
    agent = build(config={"bonus_head": True, "value_clip": None, "value_coef": 0.5}, bonuses=(Novelty(),))
    collect(agent)
    names = [name for name, parameter in agent.policy.named_parameters() if parameter.requires_grad]
    gradient = dict(zip(names, rl_gradient(agent, torch.arange(6 * N)), strict=True))
    error = (agent.collector.data.bonus_values[:-1] - agent.targets.bonus_returns).mean()
    assert abs(error) > 0.1
    torch.testing.assert_close(gradient["bonus_net.bias"], 0.5 * error.view(1))


def test_the_auxiliary_loss_acts_in_mode_online_only():
    moved = {}
    for mode in ("online", "finetune", "frozen"):
        agent = build(kind="autoencoder", mode=mode)
        before = {name: p.detach().clone() for name, p in agent.representation.named_parameters()}
        agent.learn(2 * 6 * N)
        parameters = agent.representation.named_parameters()
        moved[mode] = {name for name, p in parameters if not torch.equal(p, before[name])}
        assert ("loss/auxiliary" in agent.metrics) == (mode == "online")
        assert agent.representation.steps == (0 if mode == "frozen" else 2 * 3 * 3)
    encoder = {"net.1.weight", "net.1.bias"}
    assert moved == {"online": encoder | {"decoder.weight", "decoder.bias"}, "finetune": encoder, "frozen": set()}


def test_an_auxiliary_coefficient_of_zero_is_bit_identical_to_finetuning():
    zero, tuned = build(kind="autoencoder", config={"aux_coef": 0.0}), build(kind="autoencoder", mode="finetune")
    for agent in (zero, tuned):
        agent.learn(2 * 6 * N)
    assert torch.equal(weights(zero), weights(tuned))


def test_windows_come_from_history_once_it_is_long_enough(monkeypatch):
    monkeypatch.setattr("tests.agents.tools.Autoencoder.window", 8)
    agent = build(kind="autoencoder", config={"window_streams": 5})
    shapes, loss = [], agent.representation.loss
    agent.representation.loss = lambda steps, *others: (shapes.append(steps.shape), loss(steps, *others))[1]
    with pytest.warns(RuntimeWarning, match=f"autoencoder: its loss begins after {8 * N} frames"):
        agent.learn(6 * N)
    assert shapes == []  # 6 steps are fewer than 8
    agent.learn(6 * N, reset_num_timesteps=False)
    assert shapes == [(8, 5)] * 9  # one batch for each of 3 epochs x 3 minibatches


def test_ranks_divide_the_windows_of_the_auxiliary_loss(monkeypatch):
    monkeypatch.setattr("tests.agents.tools.Autoencoder.window", 8)
    agent, windows = build(kind="autoencoder", config={"window_streams": 5}), []
    agent.representation.auxiliary = lambda history, streams, *_: (windows.append(streams), (torch.tensor(6.0), {}))[1]
    for count, weighted in ((1, 6.0), (2, 3.0)):
        agent.auxiliary_loss.ranks = Ranks(count=count)
        (loss,) = agent.auxiliary_loss.micro_batches(torch.arange(6 * N), 4)
        assert float(loss(MetricMeans())) == weighted
    assert windows == [5, 3]


def test_losses_that_read_the_policy_get_no_skill():
    agent = build(kind="autoencoder", bonuses=(Skilled(), Constant()))
    collect(agent)
    features, heads = torch.rand(5, 6), {}

    def loss(steps, policy_heads, generator):
        heads["outputs"], heads["value"] = policy_heads(features, {})
        return heads["value"].sum() * 0, {}

    agent.representation.loss = loss
    agent.auxiliary_loss.micro_batches(torch.arange(4), 4)[0](MetricMeans())
    expected = agent.policy.heads(features, torch.zeros(5, 3))
    assert torch.equal(heads["outputs"], expected.action_outputs)
    assert torch.equal(heads["value"], expected.value)
