"""Shapes are types that run: while agents train, every call of the functions below is checked against its signature.

T steps, N environments, B samples, D features, A actions, Z latents, C H W images. A dimension means the same size
throughout one call.
"""

from __future__ import annotations

import importlib
import sys
import types

import pytest
import torch
from beartype import beartype
from jaxtyping import Bool, Float, Int, TypeCheckError, UInt8, jaxtyped
from torch import Tensor

from agents.a2c import A2C
from agents.ppo import PPO
from agents.rewards import gae
from envs.counting import CountingVectorEnv
from envs.spaces import EnvSpec
from envs.wrappers.sb3 import Sb3VecEnv
from representations import REPRESENTATIONS

PER_SAMPLE = {
    "log_pi": Float[Tensor, "B"],
    "old_log_pi": Float[Tensor, "B"],
    "advantage": Float[Tensor, "B"],
    "return": Float[Tensor, "B"],
}
VALUES = {
    "value": Float[Tensor, "B"],
    "old_value": Float[Tensor, "B"],
    "returns": Float[Tensor, "B"],
    "return": Float[Tensor, "B"],
}
GAUSSIAN = {"mean": Float[Tensor, "B Z"], "log_variance": Float[Tensor, "B Z"], "return": Float[Tensor, "B Z"]}
SIGNATURES = {
    "agents.rewards:gae": {
        "reward": Float[Tensor, "T N"],
        "value": Float[Tensor, "T+1 N"],
        "done": Bool[Tensor, "T N"],
        "return": tuple[Float[Tensor, "T N"], Float[Tensor, "T N"]],
    },
    "agents.policy:log_probabilities": {"logits": Float[Tensor, "B A"], "return": Float[Tensor, "B A"]},
    "agents.policy:Policy.all_heads": {
        "features": Float[Tensor, "B D"],
        "return": tuple[Float[Tensor, "B A"], Float[Tensor, "B"], Float[Tensor, "B"] | None],
    },
    "agents.policy:Policy.draw": {"log_pi": Float[Tensor, "B A"], "return": Int[Tensor, "B"]},
    "agents.ppo:PPO.policy_loss": PER_SAMPLE,
    "agents.a2c:A2C.policy_loss": PER_SAMPLE,
    "agents.ppo:PPO.value_loss": VALUES,
    "agents.a2c:A2C.value_loss": VALUES,
    "intrinsic.normalise:DiscountedReturnStd.update": {"reward": Float[Tensor, "T N"], "done": Bool[Tensor, "T N"]},
    "representations.nets:pixels": {"image": UInt8[Tensor, "B C H W"], "return": Float[Tensor, "B C H W"]},
    "representations.nets:Trunk.flat": {"return": Float[Tensor, "B F"]},
    "representations.nets:Decoder.forward": {"z": Float[Tensor, "B Z"], "return": Float[Tensor, "B C H W"]},
    "representations.vae:kl_to_prior": GAUSSIAN,
    "representations.vae:draw": GAUSSIAN,
    "representations.vae:bernoulli_loss": {
        "logits": Float[Tensor, "B C H W"],
        "x": Float[Tensor, "B C H W"],
        "return": Float[Tensor, ""],
    },
    "representations.darla:occlude": {"image": UInt8[Tensor, "B C H W"], "return": UInt8[Tensor, "B C H W"]},
}


def checked(function: types.FunctionType, signature: dict) -> tuple[types.FunctionType, list[int]]:
    """The function behind a check of its shapes, and a list that grows with every call."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__annotations__ = dict(signature)
    strict = jaxtyped(typechecker=beartype)(copy)
    calls: list[int] = []

    def call(*args, **kwargs):
        calls.append(1)
        return strict(*args, **kwargs)

    return call, calls


@pytest.fixture
def calls(monkeypatch):
    """Put every function of the table behind its check, wherever its name was imported to."""
    counted = {}
    for place, signature in SIGNATURES.items():
        module_name, _, path = place.partition(":")
        module = importlib.import_module(module_name)
        owner, _, name = path.rpartition(".")
        if owner:
            cls = getattr(module, owner)
            wrapped, counted[place] = checked(vars(cls)[name], signature)
            monkeypatch.setattr(cls, name, wrapped)
            continue
        function = getattr(module, name)
        wrapped, counted[place] = checked(function, signature)
        for loaded in list(sys.modules.values()):
            if vars(loaded).get(name) is function and loaded.__name__ != __name__:
                monkeypatch.setattr(loaded, name, wrapped)
    return counted


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_shapes_hold_while_ppo_and_a2c_train_with_every_kind_of_representation(calls, precision):
    for algorithm, name, mode in (
        (PPO, "darla", "online"),
        (PPO, "random", "frozen"),
        (A2C, "beta_vae", "finetune"),
        (A2C, "vae", "online"),
        (PPO, "cnn", "online"),
    ):
        env = Sb3VecEnv(CountingVectorEnv(3, seed=0, episode_length=4, num_levels=2))
        representation = REPRESENTATIONS.resolve(name)(EnvSpec.of(env))
        sizes = {"minibatches": 3, "epochs": 1} if algorithm is PPO else {}
        config = algorithm.Config(n_steps=8, micro_batch=5, **sizes)
        algorithm(env, representation, config, mode=mode, precision=precision).learn(2 * 24)
    unused = [place for place, made in calls.items() if not made]
    assert unused == []


def test_a_transposed_rollout_is_noticed():
    strict, _ = checked(gae, SIGNATURES["agents.rewards:gae"])
    reward, done = torch.zeros(5, 3), torch.zeros(5, 3, dtype=torch.bool)
    strict(reward, torch.zeros(6, 3), done, 0.9, 0.8)
    for value, ends in ((torch.zeros(5, 3), done), (torch.zeros(6, 3), done.T), (torch.zeros(3, 6), done)):
        with pytest.raises(TypeCheckError):
            strict(reward, value, ends, 0.9, 0.8)
