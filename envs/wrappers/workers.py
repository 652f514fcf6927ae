"""Single envs in processes of their own: Gymnasium's ``AsyncVectorEnv``; a worker that hangs or dies is named.

A worker leaves Ctrl-C, SIGTERM and SIGUSR1 to the process that trains, and ends by itself where that one is gone.
Workers that do not come back are killed, so none outlives its run. They start from a server process that has no
threads: a fork of a process with torch's threads may hang.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from envs.spaces import Array
from envs.wrappers.faults import CONTINUES, Alarm, EnvFault, SingleEnvWatch, hung

LOOK = 1.0
"""Seconds between a worker's looks at whether its parent lives."""
START = 60.0
"""Seconds that all workers together may take to start, beside a step's own limit."""
SILENT = 50
"""Level of Gymnasium's log above all of its own."""
END = 5.0
"""Seconds that workers may take to end when asked."""


class WorkerEnv:
    """Makes one env in its worker; what is done first there is done here.

    Args:
        maker: makes the env.
        name: of the environment, in messages.
        index: of the env.
        trainer: process id of the one that trains: there the env is only looked at.
    """

    def __init__(self, maker: Callable[[], gym.Env[Any, Any]], name: str, index: int, trainer: int):
        self.maker, self.name, self.index, self.trainer = maker, name, index, trainer

    def __call__(self) -> gym.Env[Any, Any]:
        if os.getpid() != self.trainer:
            for number in ("SIGINT", "SIGTERM", "SIGUSR1"):
                if hasattr(signal, number):
                    signal.signal(getattr(signal, number), signal.SIG_IGN)
            threading.Thread(target=end_with_parent, args=(self.trainer,), daemon=True).start()
        return SingleEnvWatch(self.maker(), self.name, self.index)


def end_with_parent(trainer: int) -> None:
    """End this process soon after ``trainer`` is gone."""
    while True:
        time.sleep(LOOK)
        try:
            os.kill(trainer, 0)
        except ProcessLookupError:
            os.kill(os.getpid(), signal.SIGKILL)
        except OSError:
            return


class WorkerVectorEnv(AsyncVectorEnv):
    """``count`` envs, each in a process of its own, SAME_STEP.

    Args:
        maker: makes one env; it is pickled.
        count: number of envs.
        name: of the environment, in messages.
        timeout: seconds that a step, or a reset, may take; 0: no limit.
    """

    def __init__(self, maker: Callable[[], gym.Env[Any, Any]], count: int, name: str, timeout: float):
        self.fault_name, self.timeout, self.steps_taken = name, timeout or None, 0
        makers = [WorkerEnv(maker, name, index, os.getpid()) for index in range(count)]
        context = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        if context == "forkserver":
            multiprocessing.get_context("forkserver").set_forkserver_preload(["gymnasium"])
        with self._faults("at its start"), Alarm(timeout and timeout + START, name).limit("the start of its workers"):
            super().__init__(makers, copy=True, context=context, autoreset_mode=AutoresetMode.SAME_STEP)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes."""
        where = f"in reset, after {self.steps_taken:,} steps,"
        with self._faults(where):
            self.reset_async(seed=seed, options=options)
            self._await(where, START if not self.steps_taken else 0.0)
            return self.reset_wait()

    def step(self, actions: Array) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """One step of all envs."""
        self.steps_taken += 1
        where = f"at its step {self.steps_taken:,}"
        with self._faults(where):
            self.step_async(actions)
            self._await(where)
            return self.step_wait()

    def _await(self, where: str, more: float = 0.0) -> None:
        """Wait for all answers; EnvFault where one is late."""
        if self.timeout is None:
            return
        end = time.monotonic() + self.timeout + more
        for index, pipe in enumerate(self.parent_pipes):
            if not pipe.poll(max(0.0, end - time.monotonic())):
                raise hung(self.fault_name, f"env {index} {where}", self.timeout)

    @contextmanager
    def _faults(self, where: str) -> Iterator[None]:
        """End all workers where one failed, and say which."""
        level, gym.logger.min_level = gym.logger.min_level, SILENT  # it prints the traceback in full
        try:
            yield
        except (EOFError, ConnectionError) as error:
            dead = self._dead()
            self.kill()
            raise EnvFault(
                f"{self.fault_name}: the process of {dead} died {where}; its own output says more; memory may have run "
                f"out; {CONTINUES}"
            ) from error
        except BaseException:
            self.kill()
            raise
        finally:
            gym.logger.min_level = level

    def _dead(self) -> str:
        """The env whose process ended, and by what."""
        for _ in range(50):
            for index, process in enumerate(self.processes):
                if (code := process.exitcode) is not None:
                    by = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
                    return f"env {index} ({by})"
            time.sleep(0.02)
        return "an env"

    def kill(self) -> None:
        """End all workers at once."""
        processes, pipes = getattr(self, "processes", ()), getattr(self, "parent_pipes", ())
        for process in processes:
            process.kill()
        for process in processes:
            process.join(END)
        for pipe in pipes:
            if pipe is not None:
                pipe.close()
        self.closed = True

    def close(self, **kwargs: Any) -> None:
        """End all workers: first those that answer, then the others by force."""
        if self.closed:
            return
        for pipe in self.parent_pipes:
            with suppress(OSError, AttributeError):
                pipe.send(("close", None))
        end = time.monotonic() + END
        for process in self.processes:
            process.join(max(0.0, end - time.monotonic()))
        self.kill()
