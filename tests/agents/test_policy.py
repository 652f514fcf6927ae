"""The policy: loaded weights survive, frozen stays frozen, state is carried."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Categorical

from agents.policy import Policy, log_probabilities
from envs.registry import UsageError


@pytest.fixture
def policy(world, representation):
    def make(kind="tiny", mode="online", **arguments):
        env = world(3)
        return Policy(env.observation_space, env.action_space, representation(env, kind), mode, **arguments), env

    return make


@pytest.mark.parametrize("mode", ["frozen", "finetune", "online"])
def test_the_representations_weights_survive_bit_for_bit(world, representation, mode):
    env = world()
    net = representation(env)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    built = Policy(env.observation_space, env.action_space, net, mode)
    built.set_training_mode(True)
    assert all(torch.equal(value, before[name]) for name, value in built.representation.state_dict().items())


def test_heads_are_small_orthogonal(policy):
    made, _ = policy()
    gram = made.action_net.weight @ made.action_net.weight.T  # 4 actions, 6 features: rows orthogonal, norm 0.01
    torch.testing.assert_close(gram, 1e-4 * torch.eye(4))
    assert float(made.value_net.weight.detach().norm()) == pytest.approx(1.0)


def test_hidden_sizes_are_the_representations(world, representation):
    env = world()
    net = representation(env)
    net.hidden = (7, 5)
    built = Policy(env.observation_space, env.action_space, net)
    assert [layer.out_features for layer in built.hidden if isinstance(layer, nn.Linear)] == [7, 5]
    logits, value = built.heads(torch.zeros(2, 6))
    assert logits.tolist() == [[0.0] * 4] * 2  # zero features, zero biases
    assert value.tolist() == [0.0, 0.0]


def test_frozen_takes_no_gradient_and_stays_in_eval(world, representation):
    env = world()
    net = representation(env)
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
def test_a_neck_is_the_policys_and_trains_where_the_representation_is_frozen(world, representation, mode):
    env = world()
    net = representation(env)
    net.hidden, net.neck = (50,), Doubled  # 50: some are awake
    built = Policy(env.observation_space, env.action_space, net, mode)
    features, _ = built.encode({"image": torch.from_numpy(env.reset())})
    logits, value = built.heads(features)
    with torch.no_grad():
        neck, layer = built.hidden[0], built.hidden[1]
        by_hand = layer(torch.cat([3 * features, -3 * features], 1)).relu()
        torch.testing.assert_close(value, built.value_net(by_hand).squeeze(-1))
        torch.testing.assert_close(logits, built.action_net(by_hand))
    (logits.square().sum() + value.sum()).backward()
    assert float(neck.weight.grad.abs()) > 0
    assert layer.in_features == 12
    assert sum(p is neck.weight for p in built.trainable()) == 1
    assert any(p is net.net[1].weight for p in built.trainable()) == (mode == "online")
    assert (net.net[1].weight.grad is None) == (mode == "frozen")


def test_a_neck_alone_feeds_the_heads(world, representation):
    env = world()
    net = representation(env)  # no hidden layers of its own
    net.neck = Doubled
    built = Policy(env.observation_space, env.action_space, net, "online")
    assert (built.action_net.in_features, built.value_net.in_features) == (12, 12)


def test_draw_is_categoricals(policy):
    made, _ = policy()
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        expected = Categorical(logits=logits).sample()
    assert torch.equal(made.draw(log_probabilities(logits), torch.Generator().manual_seed(9)), expected)


def test_predict_does_not_touch_the_global_generator(policy):
    made, env = policy()
    made.generator = torch.Generator().manual_seed(0)
    state = torch.get_rng_state()
    actions, carried = made.predict(env.reset())
    assert actions.shape == (3,)
    assert carried is None
    assert torch.equal(torch.get_rng_state(), state)


def test_predict_on_one_observation_and_deterministic_is_argmax(policy):
    made, env = policy()
    with torch.no_grad():
        made.action_net.weight.zero_()
        made.action_net.bias.copy_(torch.tensor([0.0, 3.0, 1.0, 0.0]))
    action, _ = made.predict(env.reset()[0], deterministic=True)
    assert action == 1
    assert np.ndim(action) == 0


def test_predict_carries_and_resets_the_state(policy):
    made, env = policy("averaging", "frozen")
    obs = env.reset()
    x = made.representation.net(torch.from_numpy(obs).float() / 255)
    _, state = made.predict(obs)
    torch.testing.assert_close(torch.from_numpy(state[0]), x)
    _, state = made.predict(obs, state, np.array([False, True, False]))
    # s' = s/2 + x: 1.5 x where the episode goes on, x where it began anew.
    factor = torch.tensor([[1.5], [1.0], [1.5]])
    torch.testing.assert_close(torch.from_numpy(state[0]), factor * x)


def test_bfloat16_only_below_the_heads(policy):
    made, env = policy(precision="bfloat16")
    seen = {}
    made.representation.net[1].register_forward_hook(lambda m, i, out: seen.update(net=out.dtype))
    made.action_net.register_forward_hook(lambda m, i, out: seen.update(head=out.dtype))
    features, _ = made.encode({"image": torch.from_numpy(env.reset())})
    logits, value = made.heads(features)
    assert seen == {"net": torch.bfloat16, "head": torch.float32}
    assert logits.dtype == value.dtype == torch.float32


def test_mistakes_are_named(world, representation):
    env = world()
    with pytest.raises(UsageError, match="Discrete actions only"):
        Policy(env.observation_space, gym.spaces.Box(-1, 1, (2,)), representation(env))
    with pytest.raises(UsageError, match="precision 'half'"):
        Policy(env.observation_space, env.action_space, representation(env), precision="half")


def test_batches_of_the_named_sizes_go_through_the_compiler(world, representation, compiled):
    env = world(1)
    policy = Policy(env.observation_space, env.action_space, representation(env, "plain"))
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    plain = [policy.encode({"image": images[:rows]})[0] for rows in (5, 4, 3)]
    policy.compile_for(5, 3)
    again = [policy.encode({"image": images[:rows]})[0] for rows in (5, 4, 3)]
    assert all(map(torch.equal, plain, again))
    assert compiled == [5, 3]
    gradients = [torch.autograd.grad(out[0].sum(), policy.representation.net[1].weight)[0] for out in (plain, again)]
    assert torch.equal(*gradients)
    assert policy.num_threads == 1
