"""The policy: loaded weights survive, frozen stays frozen, heads compute what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from agents.policy import Policy
from envs.registry import UsageError
from tests.agents.tools import make_env, make_representation


def make_policy(kind="tiny", mode="online", **arguments):
    env = make_env()
    return Policy(env.observation_space, env.action_space, make_representation(env, kind), mode, **arguments), env


@pytest.mark.parametrize("mode", ["frozen", "finetune", "online"])
def test_the_representations_weights_survive_bit_for_bit(mode):
    env = make_env()
    net = make_representation(env)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    built = Policy(env.observation_space, env.action_space, net, mode)
    built.set_training_mode(True)
    assert all(torch.equal(value, before[name]) for name, value in built.representation.state_dict().items())


def test_heads_are_small_orthogonal():
    policy, _ = make_policy()
    gram = policy.action_net.weight @ policy.action_net.weight.T  # 4 actions, 6 features: rows orthogonal, norm 0.01
    torch.testing.assert_close(gram, 1e-4 * torch.eye(4))
    assert float(policy.value_net.weight.detach().norm()) == pytest.approx(1.0)


def test_hidden_sizes_are_the_representations():
    env = make_env()
    net = make_representation(env)
    net.hidden = (7, 5)
    built = Policy(env.observation_space, env.action_space, net)
    assert [layer.out_features for layer in built.hidden if isinstance(layer, nn.Linear)] == [7, 5]
    action_outputs, value, _ = built.heads(torch.zeros(2, 6))
    assert action_outputs.tolist() == [[0.0] * 4] * 2  # zero features, zero biases
    assert value.tolist() == [0.0, 0.0]


def test_frozen_takes_no_gradient_and_stays_in_eval():
    env = make_env()
    net = make_representation(env)
    net.norm = nn.BatchNorm1d(6)
    built = Policy(env.observation_space, env.action_space, net, "frozen")
    built.set_training_mode(True)
    assert built.training
    assert not net.norm.training
    assert not net.training
    assert {id(p) for p in built.trainable()} == {id(p) for p in built.parameters()} - {id(p) for p in net.parameters()}


class Doubled(nn.Module):
    """A neck: one weight on six features, twice over; width 12."""

    width = 12

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        return torch.cat([self.weight * x, -self.weight * x], 1)


@pytest.mark.parametrize("mode", ["frozen", "online"])
def test_a_neck_trains_where_the_representation_is_frozen(mode):
    env = make_env()
    net = make_representation(env)
    net.hidden, net.neck = (50,), Doubled  # 50: some are awake
    built = Policy(env.observation_space, env.action_space, net, mode)
    features, _ = built.encode({"image": torch.from_numpy(env.reset())})
    action_outputs, value, _ = built.heads(features)
    with torch.no_grad():
        neck, layer = built.hidden[0], built.hidden[1]
        by_hand = layer(torch.cat([3 * features, -3 * features], 1)).relu()
        torch.testing.assert_close(value, built.value_net(by_hand).squeeze(-1))
        torch.testing.assert_close(action_outputs, built.action_net(by_hand))
    (action_outputs.square().sum() + value.sum()).backward()
    assert float(neck.weight.grad.abs()) > 0
    assert layer.in_features == 12
    assert sum(p is neck.weight for p in built.trainable()) == 1
    assert any(p is net.net[1].weight for p in built.trainable()) == (mode == "online")
    assert (net.net[1].weight.grad is None) == (mode == "frozen")


def test_a_neck_alone_feeds_the_heads():
    env = make_env()
    net = make_representation(env)  # no hidden layers of its own
    net.neck = Doubled
    built = Policy(env.observation_space, env.action_space, net, "online")
    assert (built.action_net.in_features, built.value_net.in_features) == (12, 12)


def test_bfloat16_only_below_the_heads():
    policy, env = make_policy(precision="bfloat16")
    dtypes = {}
    policy.representation.net[1].register_forward_hook(lambda m, i, out: dtypes.update(net=out.dtype))
    policy.action_net.register_forward_hook(lambda m, i, out: dtypes.update(head=out.dtype))
    features, _ = policy.encode({"image": torch.from_numpy(env.reset())})
    heads = policy.heads(features)
    assert dtypes == {"net": torch.bfloat16, "head": torch.float32}
    assert heads.action_outputs.dtype == heads.value.dtype == torch.float32


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="precision 'half'"):
        make_policy(precision="half")


def test_batches_of_the_named_sizes_go_through_the_compiler(compiled):
    policy, _ = make_policy("plain")
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = [policy.encode({"image": images[:rows]})[0] for rows in (5, 4, 3)]
    policy.compile_for(5, 3)
    again = [policy.encode({"image": images[:rows]})[0] for rows in (5, 4, 3)]
    assert all(map(torch.equal, plain, again))
    assert compiled == [5, 3]
    gradients = [torch.autograd.grad(out[0].sum(), policy.representation.net[1].weight)[0] for out in (plain, again)]
    assert torch.equal(*gradients)
    assert policy.num_threads == 1
