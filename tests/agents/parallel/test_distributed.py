"""Two processes that train one agent: one process's weights to rounding, and each other's to the bit.

The file is its own worker: ``python -m tests.agents.parallel.test_distributed FOLDER`` does, as one rank of a job, all
that the tests read from FOLDER.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback

from agents.a2c import A2C
from agents.parallel.distributed import SINGLE_PROCESS, Ranks, from_torchrun
from agents.ppo import PPO
from agents.runs.validate import PartsStore
from benchmarks.transfer import Args, plan
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.tasks import World
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic.rnd import Rnd
from tests.agents.tools import Autoencoder, Tiny, weights

ROOT = Path(__file__).resolve().parents[3]
N, T, UPDATES = 4, 6, 3
WORLD = World("envs.counting:CountingVectorEnv", {"size": 8, "episode_length": 3, "num_levels": 3})
CASES = ("ppo", "a2c", "auxiliary", "frozen", "memory")
FLOAT32 = ("frozen", "noisy")  # features are kept in float32


class SquaredFeatures(Tiny):
    """Tiny in float64 with an auxiliary loss that draws nothing: the mean squared feature."""

    has_loss = True

    def __init__(self, spec):
        super().__init__(spec, double=True)

    def loss(self, steps, heads, generator):
        loss = self.encode({"image": steps.obs["image"].flatten(0, 1)})[0].square().mean()
        return loss, {"loss": loss.detach()}


def build(case, ranks):
    """An agent of ``case`` with this rank's environments of N, in float64 where that can be."""
    local = ranks.local_envs(N)
    env = Sb3VecEnv(WORLD.make(len(local), 1, local.start))
    spec = EnvSpec.of(env)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        kinds = {"auxiliary": SquaredFeatures, "noisy": Autoencoder}
        representation = kinds[case](spec) if case in kinds else Tiny(spec, double=case not in FLOAT32)
    mode = "frozen" if case == "frozen" else "online"
    # The gradients' norms are five times the clip and more. Minibatches of 2 of 24 samples: in some, all are of one
    # rank. The reward's scale and the advantages' mean are of all environments.
    shared = {"learning_rate": 3e-4, "n_steps": T, "max_grad_norm": 1e-3, "normalise_reward": True}
    if case == "a2c":
        agent = A2C(env, representation, A2C.Config(**shared), mode=mode, ranks=ranks)
    else:
        sizes = {"minibatches": 4, "memory": "gru", "memory_steps": 3} if case == "memory" else {"minibatches": 12}
        config = PPO.Config(**shared, epochs=2, micro_batch=3, **sizes)
        agent = PPO(env, representation, config, mode=mode, ranks=ranks)
    if case not in FLOAT32:
        agent.policy.double()
        agent.collector.allocate()
    return agent


class Watch(BaseCallback):
    """Weights and metrics after every update."""

    def _on_training_start(self):
        self.updates = []

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        if self.model.num_timesteps:
            self.updates.append((weights(self.model), self.model.metrics))

    _on_training_end = _on_rollout_start


def train(case, ranks):
    """Three updates: weights and metrics after each."""
    agent, watch = build(case, ranks), Watch()
    agent.learn(UPDATES * T * N, callback=watch, log_interval=None)
    return watch.updates


# the worker ----------------------------------------------------------------------------------------------------------


def work(folder):
    with from_torchrun("cpu") as ranks:
        results = {case: train(case, ranks) for case in CASES}
        results["resumed"] = stop_and_go_on(folder, ranks)
        results["collective"] = call_collectives(ranks)
        print(f"rank {ranks.index} says something")
        torch.save(results, folder / f"{ranks.index}.pt")


def stop_and_go_on(folder, ranks):
    """Weights after four updates at a stretch, and after two, a checkpoint and two more."""
    whole, first, second = (build("noisy", ranks) for _ in range(3))
    whole.learn(4 * T * N, log_interval=None)
    first.learn(2 * T * N, log_interval=None)
    first.save(folder / "checkpoint")
    second.restore(folder / "checkpoint")
    second.learn(2 * T * N, log_interval=None, reset_num_timesteps=False)
    return weights(whole), weights(second), len(whole.ep_info_buffer)


def call_collectives(ranks):
    """Results of the collective methods on values that differ between ranks."""

    def fail():
        raise UsageError("only rank 0 knows")

    errors = []
    for call in (
        lambda: ranks.on_rank_zero(fail),
        lambda: ranks.assert_in_sync([torch.ones(2) * ranks.index], "weights"),
    ):
        try:
            call()
        except (UsageError, RuntimeError) as error:
            errors.append(str(error))
    # Two ranks of (T, n) = (2, 3): rank 1's numbers are 10 above rank 0's.
    values = torch.arange(6).view(3, 2).T + 10 * ranks.index
    return {
        "errors": errors,
        "gather_streams": ranks.gather_streams(values),
        "flags": ranks.gather_streams(values > 3),
        "all_gather": ranks.all_gather(["a"] * (1 + ranks.index)),
        "any": (ranks.any(ranks.index == 1), ranks.any(False)),
        "gather_to_rank_zero": ranks.gather_to_rank_zero(ranks.index),
        "on_rank_zero": ranks.on_rank_zero(lambda: ranks.on_rank_zero(lambda: f"by {ranks.index}")),
    }


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Results of two ranks, what they printed, and their folder."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.agents.parallel.test_distributed", str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    ranks = [
        subprocess.Popen(command, env={**os.environ, **variables, "RANK": str(k), "LOCAL_RANK": str(k)}, **pipes)
        for k in range(2)
    ]
    printed = [rank.communicate(timeout=280)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(printed)
    return [torch.load(folder / f"{k}.pt") for k in range(2)], printed, folder


# the update ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_compute_one_ranks_update(job, case):
    (zero, one), _, _ = job
    single = train(case, SINGLE_PROCESS)
    assert len(single) == len(zero[case]) == len(one[case]) == UPDATES
    before, rounding = weights(build(case, SINGLE_PROCESS)), 1e-5 if case in FLOAT32 else 1e-10
    for update, (expected, metrics) in enumerate(single):
        assert torch.equal(zero[case][update][0], one[case][update][0])
        torch.testing.assert_close(zero[case][update][0], expected, rtol=rounding, atol=rounding)
        assert (expected - before).abs().max() > 1e-3
        for name in ("gradient/rl_norm", "gradient/auxiliary_norm"):
            assert metrics.get(name, 1) > 5e-3
        for _, distributed in (zero[case][update], one[case][update]):
            # A standard deviation within micro-batches is not one rank's: those are others. So are the samples of the
            # plasticity, which each rank takes from its own environments.
            own = ("/feature_", "/dead_units", "/effective_rank")
            spread = {name: value for name, value in distributed.items() if any(word in name for word in own)}
            # The policy loss is a mean of advantages that cancel: in float32 rounding is all that is left of it.
            rel, absolute = (1e-3, 2e-4) if case in FLOAT32 else (1e-9, 1e-12)
            assert distributed == pytest.approx(metrics | spread, rel=rel, abs=absolute)
        before = expected


def test_two_ranks_stopped_and_resumed_are_two_never_stopped(job):
    for results in job[0]:
        whole, resumed, episodes = results["resumed"]
        assert torch.equal(whole, resumed)
        assert episodes >= 8  # of its own two environments, in 24 steps of episodes of 3..6


def test_a_checkpoint_goes_on_with_as_many_processes_as_made_it(job, tmp_path):
    with pytest.raises(
        UsageError, match="number of processes was 2, now it is 1: go on with torchrun --nproc-per-node 2"
    ):
        build("noisy", SINGLE_PROCESS).restore(job[2] / "checkpoint")
    agent = build("noisy", SINGLE_PROCESS)
    agent.learn(T * N, log_interval=None)
    agent.save(tmp_path)
    with pytest.raises(UsageError, match="number of processes was 1, now it is 2"):
        build("noisy", Ranks(1, 2)).restore(tmp_path)


# what it is made of --------------------------------------------------------------------------------------------------


def test_collective_methods(job):
    (zero, one), printed, _ = job
    expected = torch.tensor([[0, 2, 4, 10, 12, 14], [1, 3, 5, 11, 13, 15]])
    for results in (zero["collective"], one["collective"]):
        assert results["errors"][0] == "only rank 0 knows"
        assert results["errors"][1].startswith("weights differ between the 2 processes")
        assert torch.equal(results["gather_streams"], expected)
        assert torch.equal(results["flags"], expected > 3)
        assert results["all_gather"] == ["a", "a", "a"]
        assert results["any"] == (True, False)
        assert results["on_rank_zero"] == "by 0"
    assert zero["collective"]["gather_to_rank_zero"] == [0, 1]
    assert one["collective"]["gather_to_rank_zero"] == []
    assert "rank 0 says" in printed[0]
    assert "says" not in printed[1]


def test_each_rank_takes_its_samples_of_a_minibatch():
    # T=2, N=6, 3 ranks of 2: sample t * 6 + i is of rank i // 2, there t * 2 + i % 2.
    indices = torch.tensor([11, 0, 5, 8, 3, 2])
    expected = {0: [0], 1: [2, 1, 0], 2: [3, 1]}
    for rank, local in expected.items():
        assert Ranks(rank, 3).local_indices(indices, 2).tolist() == local
    assert SINGLE_PROCESS.local_indices(indices, 6) is indices


def test_each_rank_takes_its_environments():
    assert [Ranks(k, 4).local_envs(12) for k in range(4)] == [range(0, 3), range(3, 6), range(6, 9), range(9, 12)]
    with pytest.raises(UsageError, match="--num-envs 64 does not divide between 3 processes; give a multiple of 3"):
        Ranks(0, 3).local_envs(64)


NOISY = World("breakout", {"max_episode_steps": 20, "sticky": 0.5})


@pytest.mark.parametrize("world", [WORLD, NOISY, World("minigrid")], ids=["counting", "breakout", "minigrid"])
def test_some_environments_of_a_world_are_those_of_the_whole(world):
    whole, local = world.stacked(2).make(6, 5), world.stacked(2).make(2, 5, 3)
    by_key = lambda obs: obs if isinstance(obs, dict) else {"": obs}  # noqa: E731
    whole_obs, local_obs = by_key(whole.reset()[0]), by_key(local.reset()[0])
    draws = np.random.default_rng(0)
    for _ in range(30):
        for key, value in whole_obs.items():
            np.testing.assert_array_equal(value[3:5], local_obs[key])
        actions = draws.integers(whole.single_action_space.n, size=6)
        whole_obs, *whole_outcome, _ = whole.step(actions)
        local_obs, *local_outcome, _ = local.step(actions[3:5])
        whole_obs, local_obs = by_key(whole_obs), by_key(local_obs)
        for value, local_value in zip(whole_outcome, local_outcome, strict=True):
            np.testing.assert_array_equal(value[3:5], local_value)
    again = world.stacked(2).make(2, 5, 3)
    again.set_state(local.state())
    for action in range(15):
        one, other = (by_key(env.step(np.array([0, action % 2]))[0]) for env in (local, again))
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key])


@pytest.mark.procgen
def test_a_world_that_cannot_draw_by_counter_gets_other_levels():
    world = World("procgen", {"game": "coinrun", "num_levels": 1000})
    levels = [world.make(4, 5, first).reset()[1]["level_seed"].tolist() for first in (0, 4, 4)]
    assert levels[0] != levels[1] == levels[2]


# what is refused, and what ends --------------------------------------------------------------------------------------


def test_validation_refuses_what_several_processes_cannot_do():
    configs = plan(Args(repr=("cnn",), suite="counting", num_envs=64))
    with pytest.raises(UsageError, match="--num-envs 64 does not divide between 3 processes; give a multiple of 3"):
        PartsStore().validate(configs, Ranks(0, 3))
    configs = plan(Args(repr=("cnn",), suite="counting", bonus=("rnd",)))
    for ranks in (Ranks(0, 2), Ranks(1, 2)):
        with pytest.raises(UsageError, match="bonuses learn on one process: run without torchrun"):
            PartsStore().validate(configs, ranks)


def test_bonuses_are_refused_on_several_processes():
    env = Sb3VecEnv(WORLD.make(2, 0))
    spec = EnvSpec.of(env)
    with pytest.raises(UsageError, match="bonuses learn on one process: run without torchrun"):
        PPO(env, Tiny(spec), mode="online", bonuses=[Rnd(spec)], ranks=Ranks(0, 2))


def test_a_killed_rank_ends_the_job_with_an_error(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["benchmarks.transfer", "--suite", "counting", "--repr", "vae", "--preset", "smoke", "--no-baseline"]
    command += ["--steps", "1000000", "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 200
        while not any('"global_step": 2048' in log.read_text() for log in tmp_path.glob("runs/*/metrics.jsonl")):
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        ranks = children(process.pid)
        assert sorted(ranks) == ["0", "1"]
        os.kill(ranks["1"], signal.SIGKILL)
        killed = time.monotonic()
        text, _ = process.communicate(timeout=60)
        assert process.returncode != 0, text
        assert time.monotonic() - killed < 60
        assert not any(Path(f"/proc/{pid}").exists() for pid in ranks.values())
    finally:
        process.terminate()  # which ends the ranks, too
        process.wait(40)
    # Rank 0 alone pre-trained, and wrote: the records count the frames of both.
    (log,) = tmp_path.glob("runs/*/metrics.jsonl")
    records = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [record["global_step"] for record in records]
    pretraining = sum("pretrain/samples" in record or "standardise/frames" in record for record in records)
    assert steps[pretraining:] == [1024 * (k + 1) for k in range(len(steps) - pretraining)]
    assert not any(log.parent.glob("done"))


def children(parent):
    """RANK -> process, of the children of ``parent``."""
    ranks = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            environment = (stat.parent / "environ").read_text().split("\0")
            variables = dict(variable.split("=", 1) for variable in environment if "=" in variable)
        except OSError:
            continue
        ranks[variables["RANK"]] = int(stat.parent.name)
    return ranks


if __name__ == "__main__":
    work(Path(sys.argv[1]))
