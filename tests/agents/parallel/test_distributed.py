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
from agents.policy import log_probabilities
from agents.ppo import PPO
from agents.runs.validate import PartsStore
from benchmarks.transfer import Args, plan
from envs.registry import UsageError
from envs.spaces import EnvSpec
from envs.tasks import World
from envs.wrappers.sb3 import Sb3VecEnv
from intrinsic.rnd import Rnd
from tests.agents.conftest import Autoencoder, Tiny

ROOT = Path(__file__).resolve().parents[3]
N, T, UPDATES = 4, 6, 3
WORLD = World("envs.counting:CountingVectorEnv", {"size": 8, "episode_length": 3, "num_levels": 3})


class Plain(Tiny):
    """Tiny with a loss of its own that draws nothing, in float64: the mean squared feature."""

    has_loss = True

    def __init__(self, space):
        super().__init__(space, double=True)

    def loss(self, steps, heads, generator):
        loss = self.encode({"image": steps.obs["image"].flatten(0, 1)})[0].square().mean()
        return loss, {"loss": loss.detach()}


def build(case, ranks):
    """An agent of ``case`` with this rank's share of N environments, in float64 where that can be."""
    share = ranks.local_envs(N)
    env = Sb3VecEnv(WORLD.make(len(share), 1, share.start))
    spec = EnvSpec.of(env)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        kinds = {"auxiliary": Plain, "noisy": Autoencoder}
        representation = kinds[case](spec) if case in kinds else Tiny(spec, double=case not in SINGLE)
    mode = "frozen" if case == "frozen" else "online"
    # The gradients' norms are five times the clip and more. Minibatches of 2 of 24 samples: in some, all are of one
    # rank. The reward's scale and the advantages' mean are of all environments.
    shared = {"learning_rate": 3e-4, "n_steps": T, "max_grad_norm": 1e-3, "normalise_reward": True}
    if case == "a2c":
        agent = A2C(env, representation, A2C.Config(**shared), mode=mode, ranks=ranks)
    else:
        config = PPO.Config(**shared, epochs=2, minibatches=12, micro_batch=3)
        agent = PPO(env, representation, config, mode=mode, ranks=ranks)
    if case not in SINGLE:
        agent.policy.double()
        agent._setup_storage()
    return agent


def weights(agent):
    return torch.cat([parameter.detach().flatten().clone() for parameter in agent.policy.parameters()])


class Watch(BaseCallback):
    """Weights and metrics after every update."""

    def _on_training_start(self):
        self.seen = []

    def _on_step(self):
        return True

    def _on_rollout_start(self):
        if self.model.num_timesteps:
            self.seen.append((weights(self.model), self.model.metrics))

    _on_training_end = _on_rollout_start


def trained(case, ranks):
    """What happened in three updates, by update: weights, metrics."""
    agent, watch = build(case, ranks), Watch()
    agent.learn(UPDATES * T * N, callback=watch, log_interval=None)
    return watch.seen


# the worker ----------------------------------------------------------------------------------------------------------


def work(folder):
    with from_torchrun("cpu") as ranks:
        found = {case: trained(case, ranks) for case in CASES}
        found["resumed"] = stop_and_go_on(folder, ranks)
        found["meetings"] = meet(ranks)
        print(f"rank {ranks.index} says something")
        torch.save(found, folder / f"{ranks.index}.pt")


def stop_and_go_on(folder, ranks):
    """Weights after four updates at a stretch, and after two, a checkpoint and two more."""
    whole, first, second = (build("noisy", ranks) for _ in range(3))
    whole.learn(4 * T * N, log_interval=None)
    first.learn(2 * T * N, log_interval=None)
    first.save(folder / "checkpoint")
    second.restore(folder / "checkpoint")
    second.learn(2 * T * N, log_interval=None, reset_num_timesteps=False)
    return weights(whole), weights(second), len(whole.ep_info_buffer)


def meet(ranks):
    """What the meetings say of values that differ between ranks."""

    def fail():
        raise UsageError("only rank 0 knows")

    told = []
    for meeting in (
        lambda: ranks.on_rank_zero(fail),
        lambda: ranks.assert_in_sync([torch.ones(2) * ranks.index], "weights"),
    ):
        try:
            meeting()
        except (UsageError, RuntimeError) as error:
            told.append(str(error))
    # Two ranks of (T, n) = (2, 3): rank 1's numbers are 10 above rank 0's.
    values = torch.arange(6).view(3, 2).T + 10 * ranks.index
    return {
        "told": told,
        "gather": ranks.gather_streams(values),
        "flags": ranks.gather_streams(values > 3),
        "together": ranks.all_gather(["a"] * (1 + ranks.index)),
        "any": (ranks.any(ranks.index == 1), ranks.any(False)),
        "to_first": ranks.gather_to_rank_zero(ranks.index),
        "lead": ranks.on_rank_zero(lambda: ranks.on_rank_zero(lambda: f"by {ranks.index}")),
    }


CASES = ("ppo", "a2c", "auxiliary", "frozen")
SINGLE = ("frozen", "noisy")  # features are kept in float32


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """What two ranks found, and what they printed."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        **os.environ,
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.agents.parallel.test_distributed", str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    ranks = [subprocess.Popen(command, env={**told, "RANK": str(k), "LOCAL_RANK": str(k)}, **pipes) for k in range(2)]
    said = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    return [torch.load(folder / f"{k}.pt") for k in range(2)], said, folder


# the update ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_compute_one_ranks_update(job, case):
    (zero, one), _, _ = job
    alone = trained(case, SINGLE_PROCESS)
    assert len(alone) == len(zero[case]) == len(one[case]) == UPDATES
    before, rounding = weights(build(case, SINGLE_PROCESS)), 1e-5 if case in SINGLE else 1e-10
    for update, (expected, metrics) in enumerate(alone):
        assert torch.equal(zero[case][update][0], one[case][update][0])
        torch.testing.assert_close(zero[case][update][0], expected, rtol=rounding, atol=rounding)
        assert (expected - before).abs().max() > 1e-3
        for name in ("gradient/rl_norm", "gradient/auxiliary_norm"):
            assert metrics.get(name, 1) > 5e-3
        for found in (zero[case][update][1], one[case][update][1]):
            assert found == pytest.approx(metrics | features(found), rel=1e-3 if case in SINGLE else 1e-9)
        before = expected


def features(metrics):
    """A standard deviation inside of micro-batches is not one rank's: those are others."""
    return {name: value for name, value in metrics.items() if name.startswith("representation/feature_")}


def test_two_ranks_stopped_and_started_again_are_two_never_stopped(job):
    for found in job[0]:
        whole, resumed, episodes = found["resumed"]
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


# the parts -----------------------------------------------------------------------------------------------------------


def test_meetings(job):
    (zero, one), said, _ = job
    for found in (zero["meetings"], one["meetings"]):
        assert found["told"][0] == "only rank 0 knows"
        assert found["told"][1].startswith("weights differ between the 2 processes")
        expected = torch.tensor([[0, 2, 4, 10, 12, 14], [1, 3, 5, 11, 13, 15]])
        assert torch.equal(found["gather"], expected)
        assert torch.equal(found["flags"], expected > 3)
        assert found["together"] == ["a", "a", "a"]
        assert found["any"] == (True, False)
        assert found["lead"] == "by 0"
    assert zero["meetings"]["to_first"] == [0, 1]
    assert one["meetings"]["to_first"] == []
    assert "rank 0 says" in said[0]
    assert "says" not in said[1]


def test_each_rank_takes_its_own_samples_of_a_minibatch():
    # T=2, N=6, 3 ranks of 2: sample t * 6 + i is of rank i // 2, there t * 2 + i % 2.
    indices = torch.tensor([11, 0, 5, 8, 3, 2])
    expected = {0: [0], 1: [2, 1, 0], 2: [3, 1]}
    for rank, own in expected.items():
        assert Ranks(rank, 3).local_indices(indices, 2).tolist() == own
    assert SINGLE_PROCESS.local_indices(indices, 6) is indices


def test_a_rank_draws_the_actions_that_its_rows_get_among_all():
    env = Sb3VecEnv(WORLD.make(1, 0))
    policy = PPO(env, Tiny(EnvSpec.of(env)), mode="online").policy
    log_pi = log_probabilities(torch.randn(7, 4, generator=torch.Generator().manual_seed(2)))
    for seed in range(20):
        one, other, torchs = (torch.Generator().manual_seed(seed) for _ in range(3))
        expected = torch.multinomial(log_pi.softmax(-1), 1, True, generator=torchs).squeeze(1)
        assert torch.equal(policy.draw(log_pi, one), expected)
        assert torch.equal(policy.draw(log_pi[2:5], policy.noise(7, other)[2:5]), expected[2:5])
        assert torch.equal(one.get_state(), torchs.get_state())
        assert torch.equal(one.get_state(), other.get_state())


NOISY = World("breakout", {"max_episode_steps": 20, "sticky": 0.5})


@pytest.mark.parametrize("world", [WORLD, NOISY, World("minigrid")], ids=["counting", "breakout", "minigrid"])
def test_a_share_of_a_world_is_that_part_of_the_whole(world):
    whole, part = world.stacked(2).make(6, 5), world.stacked(2).make(2, 5, 3)
    seen, own = whole.reset()[0], part.reset()[0]
    draws = np.random.default_rng(0)
    for _ in range(30):
        for key, value in seen.items() if isinstance(seen, dict) else [(None, seen)]:
            np.testing.assert_array_equal(value[3:5], own if key is None else own[key])
        actions = draws.integers(whole.single_action_space.n, size=6)
        seen, *outcome, _ = whole.step(actions)
        own, *own_outcome, _ = part.step(actions[3:5])
        for value, own_value in zip(outcome, own_outcome, strict=True):
            np.testing.assert_array_equal(value[3:5], own_value)
    again = world.stacked(2).make(2, 5, 3)
    again.set_state(part.state())
    for action in range(15):
        seen, own = (one.step(np.array([0, action % 2]))[0] for one in (part, again))
        for key, value in seen.items() if isinstance(seen, dict) else [(None, seen)]:
            np.testing.assert_array_equal(value, own if key is None else own[key])


@pytest.mark.procgen
def test_a_world_that_cannot_draw_by_counter_gets_other_levels():
    world = World("procgen", {"game": "coinrun", "num_levels": 1000})
    levels = [world.make(4, 5, first).reset()[1]["level_seed"].tolist() for first in (0, 4, 4)]
    assert levels[0] != levels[1] == levels[2]


# what is refused, and what ends --------------------------------------------------------------------------------------


def test_what_several_processes_cannot_do_is_refused_before_anything_is_written():
    configs = plan(Args(repr=("cnn",), suite="counting", num_envs=64))
    with pytest.raises(UsageError, match="--num-envs 64 does not divide between 3 processes; give a multiple of 3"):
        PartsStore().validate(configs, Ranks(0, 3))
    configs = plan(Args(repr=("cnn",), suite="counting", bonus=("rnd",)))
    for ranks in (Ranks(0, 2), Ranks(1, 2)):
        with pytest.raises(UsageError, match="bonuses learn on one process: run without torchrun"):
            PartsStore().validate(configs, ranks)
    env = Sb3VecEnv(WORLD.make(2, 0))
    spec = EnvSpec.of(env)
    with pytest.raises(UsageError, match="bonuses learn on one process"):
        PPO(env, Tiny(spec), mode="online", bonuses=[Rnd(spec)], ranks=Ranks(0, 2))
    assert [Ranks(k, 4).local_envs(12) for k in range(4)] == [range(0, 3), range(3, 6), range(6, 9), range(9, 12)]


def test_a_killed_rank_ends_the_job_with_an_error(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += ["benchmarks.transfer", "--suite", "counting", "--repr", "vae", "--preset", "smoke", "--no-baseline"]
    command += ["--steps", "1000000", "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 120
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
    pretraining = sum("pretrain/samples" in record for record in records)
    assert steps[pretraining:] == [1024 * (k + 1) for k in range(len(steps) - pretraining)]
    assert not any(log.parent.glob("done"))


def children(parent):
    """RANK -> process, of the children of ``parent``."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) != parent:
                continue
            told = dict(word.split("=", 1) for word in (stat.parent / "environ").read_text().split("\0") if "=" in word)
        except OSError:
            continue
        found[told["RANK"]] = int(stat.parent.name)
    return found


if __name__ == "__main__":
    work(Path(sys.argv[1]))
