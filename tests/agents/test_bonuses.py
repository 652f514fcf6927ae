"""Every registered bonus inside both agents: it is given, learns and is restored to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.a2c import A2C
from agents.config import bonus_spec
from agents.ppo import PPO, PPOConfig
from envs.minigrid.env import MiniGridVectorEnv
from envs.spaces import EnvSpec
from envs.tasks import World
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic import BONUSES
from intrinsic.vic import Vic
from representations.cnn import Cnn
from representations.random import Random

N = 5
AGENTS = {"ppo online": (PPO, Cnn, "online"), "a2c frozen": (A2C, Random, "frozen")}
CONFIG = {"n_steps": 12, "bonus_once": True, "bonus_head": True}


def make(name, agent, coefficient=0.5, **settings):
    cls, representation, mode = AGENTS[agent]
    # Episodes of 9 steps: every rollout of 12 holds an end, and so the bonuses that are given there.
    world = MiniGridVectorEnv(N, "MiniGrid-DoorKey-5x5-v0", view="symbolic", num_levels=3, max_episode_steps=9, seed=2)
    env = Sb3VecEnv(world)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        built = representation(EnvSpec.of(env), representation.Config(trunk="symbols"))
        kinds = [] if name is None else [BONUSES.resolve(name)]
        bonuses = [kind(bonus_spec(env, built, mode), kind.Config(on="auto")) for kind in kinds]
    for bonus in bonuses:
        bonus.coefficient = coefficient
    config = cls.Config(**{**CONFIG, **({"minibatches": 4} if cls is PPO else {}), **settings})
    return cls(env, built, config, mode=mode, seed=0, bonuses=bonuses)


def weights(module):
    empty = torch.zeros(0, dtype=torch.float64)  # of a module without weights
    return torch.cat([empty, *(value.flatten().double() for value in module.state_dict().values())])


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("name", sorted(BONUSES))
def test_an_agent_with_a_bonus_learns_and_resumes_to_the_bit(name, agent, tmp_path):
    whole, first, second = (make(name, agent) for _ in range(3))
    before = {key: value.clone() for key, value in whole.bonuses[name].state_dict().items()}
    sums = []
    train = whole.train
    whole.train = lambda: (sums.append(whole.targets.bonus_returns.abs().sum()), train())
    whole.learn(4 * 12 * N)
    after = whole.bonuses[name].state_dict()
    moved = any(not torch.equal(before[key], after[key]) for key in before if before[key].shape == after[key].shape)
    assert moved == bool(before)  # the constant has nothing to learn
    assert sum(sums) > 0
    assert np.isfinite([value for key, value in whole.metrics.items() if key.startswith("bonus/")]).all()
    first.learn(2 * 12 * N)
    first.save(tmp_path)
    second.learn(12 * N)  # what is not restored would show
    second.restore(tmp_path)
    second.learn(2 * 12 * N, reset_num_timesteps=False)
    assert torch.equal(weights(whole.policy), weights(second.policy))
    assert torch.equal(weights(whole.bonuses[name]), weights(second.bonuses[name]))


@pytest.mark.parametrize("name", sorted(set(BONUSES) - {"vic", "diayn"}))
def test_a_coefficient_of_zero_is_bit_identical_to_plain_ppo(name):
    """Bonuses with skills excepted: their policy sees one more input."""
    plain, zero = make(None, "ppo online", bonus_head=False), make(name, "ppo online", coefficient=0, bonus_head=False)
    for agent in (plain, zero):
        agent.learn(2 * 12 * N)
    assert torch.equal(weights(plain.policy), weights(zero.policy))


@pytest.mark.procgen
def test_vic_on_procgen_earns_nothing_and_says_so():
    env = Sb3VecEnv(World("procgen", {"game": "coinrun", "distribution_mode": "easy", "num_levels": 3}).make(16, 0))
    spec = EnvSpec.of(env)
    config = PPOConfig(n_steps=64, minibatches=4, epochs=1)
    agent = PPO(env, Random(spec), config, mode="frozen", bonuses=(Vic(spec),))
    with pytest.warns(UserWarning, match="vic: the environment does not show the last frame"):
        agent.learn(2 * 16 * 64)
    assert agent.metrics["bonus/vic/scaled"] == 0
