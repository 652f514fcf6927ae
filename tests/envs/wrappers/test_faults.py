"""Environments that raise, hang or die: one line names the env, the step and the place, and no process outlives it."""

import os
import signal
import time

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from envs.tasks import World
from envs.wrappers.faults import Alarm, EnvFault


class Faulty(gym.Env):
    """Env ``who`` fails at its third step, as ``how`` says."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Discrete(3)

    def __init__(self, how="", who=1, render_mode=None):
        self.how, self.who, self.render_mode = how, who, render_mode

    def reset(self, *, seed=None, options=None):
        self.index = self.index if seed is None else seed
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.time += 1
        if self.index == self.who and self.time == 3:
            self.fail()
        return np.zeros(2, np.float32), 1.0, False, False, {}

    def fail(self):
        while self.how == "loop":
            try:
                time.sleep(0.01)
            except Exception:  # which an alarm must get through
                continue
        if self.how == "sleep":
            time.sleep(100)
        if self.how == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError(f"bad thing\nin action of {self.index}")


def play(**options):
    env = World("gymnasium", {"id": f"{__name__}:Faulty", **options}).make(3, 0)
    env.reset()
    for _ in range(3):
        env.step(np.zeros(3, int))


@pytest.mark.parametrize("step_in", ["sync", "async"])
def test_an_env_that_raises_is_named_with_its_step_and_line(step_in):
    with pytest.raises(EnvFault) as caught:
        play(how="raise", step_in=step_in)
    line = str(caught.value)
    assert "test_faults:Faulty': env 1 at its step 3 raised ValueError: bad thing in action of 1" in line
    assert f"{__file__}, line " in line
    assert "in fail: raise ValueError(" in line
    assert "\n" not in line


@pytest.mark.parametrize(("how", "place"), [("sleep", "time.sleep(100)"), ("loop", "time.sleep(0.01)")])
def test_an_env_that_hangs_is_broken_off_and_named(how, place):
    began, before = time.monotonic(), signal.getsignal(signal.SIGALRM)
    with pytest.raises(EnvFault, match=r"env 1 at its step 3 took more than 0\.5 s .*--step-timeout") as caught:
        play(how=how, step_timeout=0.5)
    assert place in str(caught.value)
    assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("exit", r"the process of env 1 \(signal SIGKILL\) died at its step 3"),
        ("sleep", r"env 1 at its step 3 took more than 3 s and was broken off"),
    ],
)
def test_a_worker_that_dies_or_hangs_is_named_and_none_is_left(how, wrong):
    env = World("gymnasium", {"id": f"{__name__}:Faulty", "how": how, "step_in": "async", "step_timeout": 3.0})
    envs = env.make(3, 0)
    processes = list(envs.env.processes)
    envs.reset()
    for _ in range(2):
        envs.step(np.zeros(3, int))
    with pytest.raises(EnvFault, match=wrong):
        envs.step(np.zeros(3, int))
    assert [process.is_alive() for process in processes] == [False] * 3
    envs.close()


def test_workers_give_what_a_single_process_gives_and_end():
    worlds = [World("gymnasium", {"id": "CartPole-v1", "step_in": step_in}) for step_in in ("sync", "async")]
    one, other = (world.make(2, 5) for world in worlds)
    np.testing.assert_array_equal(one.reset()[0], other.reset()[0])
    for step in range(30):
        actions = np.array([1, step % 2])
        for expected, seen in zip(one.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(expected, seen)
    processes = list(other.env.processes)
    other.close()
    assert not any(process.is_alive() for process in processes)


def test_a_limit_ends_episodes_that_never_end():
    env = World("gymnasium", {"id": f"{__name__}:Faulty", "who": 99, "episode_limit": 4}).make(2, 0)
    env.reset()
    ends = [env.step(np.zeros(2, int))[3].tolist() for _ in range(5)]
    assert ends == [[False, False]] * 3 + [[True, True], [False, False]]


def test_each_env_has_the_whole_limit_to_itself():
    alarm, begin = Alarm(2.0, "slow ones"), time.monotonic()
    with alarm.limit("a step"):
        for index in range(3):  # 3 s together
            alarm.restart(f"env {index}")
            time.sleep(1)
    assert time.monotonic() - begin > 2.0  # longer than the limit, and nothing was raised
