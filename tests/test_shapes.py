"""Shapes are types that run: agents train while every call of annotated code is checked by jaxtyping and beartype.

The annotations stand in the code itself; without the import hook they cost nothing. T steps, N environments, B samples,
D features, A actions, K contexts, Z latents, C H W images. A dimension means the same size throughout one call.

The file is its own worker, since the hook must come before the imports: ``python -m tests.test_shapes CASE``.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from representations import REPRESENTATIONS

ROOT = Path(__file__).resolve().parent.parent
CHECKED = ["agents", "representations", "intrinsic", "envs.steps", "envs.history"]
CASES = {
    "darla": ("ppo", "darla", "online", "float32"),
    "random": ("ppo", "random", "frozen", "float32"),
    "beta_vae": ("a2c", "beta_vae", "finetune", "float32"),
    "vae": ("a2c", "vae", "online", "bfloat16"),
    "cnn": ("ppo", "cnn", "online", "float32"),
    "bonus": ("ppo", "cnn", "online", "float32"),
    "memory": ("ppo", "unreal", "online", "bfloat16"),
}


def work() -> None:
    """Train a little in every case, then see that wrong shapes are refused."""
    import jaxtyping

    import tests.typechecker  # noqa: F401  the hook takes it by this name

    with jaxtyping.install_import_hook(CHECKED, "tests.typechecker.check"):
        import agents.rewards
        from agents import ALGORITHMS
        from agents.config import bonus_spec
        from envs.counting import CountingVectorEnv
        from envs.spaces import EnvSpec
        from envs.wrappers.sb3 import Sb3VecEnv
        from intrinsic import BONUSES
        from representations import REPRESENTATIONS

        for case, (algo, name, mode, precision) in CASES.items():
            env = Sb3VecEnv(CountingVectorEnv(3, seed=0, episode_length=4, num_levels=2))
            cls = REPRESENTATIONS.resolve(name)
            small = {"length": 4, "clips": 4, "replay": 24} if case == "memory" else {}
            representation = cls(EnvSpec.of(env), cls.Config(**small))
            algorithm = ALGORITHMS.resolve(algo)
            bonuses = [BONUSES.resolve(bonus) for bonus in (("icm", "diayn") if case == "bonus" else ())]
            memory = {"memory": "gru", "memory_steps": 4} if case == "memory" else {}
            config = algorithm.Config(n_steps=8, micro_batch=5, bonus_head=True, **sizes(algo), **memory)
            agent = algorithm(
                env,
                representation,
                config,
                mode=mode,
                precision=precision,
                bonuses=[bonus(bonus_spec(env, representation, mode)) for bonus in bonuses],
            )
            agent.learn(2 * 24)
            assert case != "memory" or agent.metrics["auxiliary/pixel_control"] > 0  # its replay is full
            agent.predict(env.reset())
            print(f"trained {case}")
        check_representations()
    refuse_transposed(agents.rewards.gae)


def check_representations() -> None:
    """Features and loss of every method; imported here, so that the hook reaches the methods."""
    import torch

    from tests.representations import test_all_representations as methods

    for name in methods.NAMES:
        model = methods.build(name)
        methods.encode(model, methods.observe(model.spec, methods.B))
        if model.has_loss:
            methods.loss_of(model, torch.Generator())[0].backward()
        model.pictures(methods.observe(model.spec, methods.B), torch.Generator())
        print(f"checked {name}")


def sizes(algo: str) -> dict[str, int]:
    return {"minibatches": 3, "epochs": 1} if algo == "ppo" else {}


def refuse_transposed(gae) -> None:
    """Call ``gae`` with a rollout (5, 3), then with transposed parts of it."""
    import torch
    from jaxtyping import TypeCheckError

    reward, value, done = torch.zeros(5, 3), torch.zeros(6, 3), torch.zeros(5, 3, dtype=torch.bool)
    gae(reward, value, done, 0.9, 0.8)
    for wrong in ((reward, reward, done), (reward, value, done.T), (reward, value.T, done), (reward, value, reward)):
        try:
            gae(*wrong, 0.9, 0.8)
        except TypeCheckError:
            print("refused")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Lines that the worker printed."""
    command = [sys.executable, "-W", "error::RuntimeWarning", "-m", "tests.test_shapes", "work"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()


@pytest.mark.parametrize("case", CASES)
def test_shapes_hold_while_agents_train(lines, case):
    assert f"trained {case}" in lines


@pytest.mark.parametrize("name", REPRESENTATIONS.places)
def test_shapes_hold_in_every_representation(lines, name):
    assert f"checked {name}" in lines


def test_a_transposed_rollout_is_refused(lines):
    assert lines.count("refused") == 4


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    work()
