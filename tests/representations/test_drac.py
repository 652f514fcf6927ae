"""DrAC: both distances by hand, which side learns, and that weight 0 is the baseline."""

from __future__ import annotations

import math

import pytest
import torch

from agents.ppo import PPO, PPOConfig
from envs.action_codes import ActionCodes
from envs.counting import CountingVectorEnv
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.steps import Steps
from envs.wrappers.sb3 import Sb3VecEnv
from representations.augment import crop
from representations.cnn import Cnn
from representations.drac import Drac, DracConfig, value_distance
from representations.nets.actions import policy_kl
from tests.representations.toys import image_spec, moving_square


def policy_distance(outputs, changed):
    return policy_kl(ActionCodes(None), outputs, changed)


def frames(n: int = 5) -> Steps:
    return Steps.frames({"image": torch.randint(0, 256, (n, 6, 40, 40), dtype=torch.uint8)})


def test_the_two_distances_by_hand():
    # pi = (3/4, 1/4) against (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2); the other frame's policies are equal
    logits = torch.tensor([[math.log(3), 0.0], [2.0, 2.0]])
    changed = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(policy_distance(logits, changed)) == pytest.approx(kl / 2)
    # the other way round it is another number: 1/2 log(2/3) + 1/2 log 2
    assert float(policy_distance(changed, logits)) == pytest.approx(0.5 * math.log(4 / 3) / 2)
    # half of 9 and of 1, mean
    assert float(value_distance(torch.tensor([1.0, 2]), torch.tensor([4.0, 1]))) == pytest.approx(2.5)


def test_the_loss_is_the_sum_and_unchanged_frames_are_the_target(generator):
    drac = Drac(image_spec((6, 40, 40), frames=2))
    torch.manual_seed(1)
    actions, value = torch.nn.Linear(drac.features_dim, 2), torch.nn.Linear(drac.features_dim, 1)
    seen = []

    def heads(features, obs):
        seen.append((torch.is_grad_enabled(), len(features), obs["image"].shape[0]))
        return actions(features), value(features).squeeze(1)

    loss, metrics = drac.loss(frames(), heads, generator)
    assert seen == [(False, 5, 5), (True, 5, 5)]  # the unchanged frames are the target
    assert float(loss.detach()) == pytest.approx(float(metrics["policy_distance"] + metrics["value_distance"]))
    assert float(loss.detach()) > 0
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in drac.parameters())
    assert actions.weight.grad.abs().sum() > 0


def test_an_augmentation_that_changes_nothing_has_loss_0(generator):
    drac = Drac(image_spec((6, 40, 40), frames=2), DracConfig(pad=0))
    loss, _ = drac.loss(frames(), lambda f, obs: (f[:, :2], f[:, 3]), generator)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-9)


def test_a_few_steps_make_the_policy_invariant_to_the_augmentation(generator):
    images, _ = moving_square(size=40, side=8, positions=6)
    drac = Drac(image_spec((1, 40, 40)), DracConfig(pad=6))
    actions = torch.nn.Linear(drac.features_dim, 2)
    torch.nn.init.normal_(actions.weight, std=1.0)

    def unlike() -> float:
        """Distance of a frame's policy from that of its crop, as a part of that from another frame's."""
        with torch.no_grad():
            logits = actions(drac.encode({"image": images})[0])
            cropped = actions(drac.encode({"image": crop(images, torch.Generator().manual_seed(1), 6)})[0])
        return float(policy_distance(logits, cropped) / policy_distance(logits, logits.roll(18, 0)))

    before, losses = unlike(), []
    optimizer = torch.optim.Adam(drac.parameters(), 1e-3)
    for _ in range(80):
        heads = lambda f, obs: (actions(f), f[:, 0])  # noqa: E731
        loss, _ = drac.loss(Steps.frames({"image": images}), heads, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert unlike() < before


PLAIN = {"epochs": 2, "minibatches": 2, "n_steps": 8}


def learnt(cls, **settings):
    env = Sb3VecEnv(CountingVectorEnv(4, size=36, episode_length=6, seed=1))
    torch.manual_seed(5)
    agent = PPO(env, cls(EnvSpec.of(env)), PPOConfig(**PLAIN, **settings), seed=2)
    agent.learn(64)
    return agent


def test_with_weight_zero_it_is_the_cnn_bit_for_bit():
    cnn, off, on = learnt(Cnn).policy.state_dict(), learnt(Drac, aux_coef=0.0).policy.state_dict(), learnt(Drac)
    assert all(torch.equal(value, off[name]) for name, value in cnn.items())
    assert not torch.equal(cnn["action_net.weight"], on.policy.state_dict()["action_net.weight"])
    assert Drac.aux_coef == 0.1
    assert on.metrics["auxiliary/value_distance"] > 0


def test_unknown_and_no_augmentations_are_refused():
    with pytest.raises(UsageError, match="unknown augmentation 'blur'; known: crop, colour, cutout"):
        DracConfig(augmentations=("blur",))
    with pytest.raises(ValueError, match=r"augmentations=\(\)"):
        DracConfig(augmentations=())
