"""Faults of environments from elsewhere, named: one that raises, hangs or dies says which env it was, and where.

``SingleEnvWatch`` goes around each env; an ``Alarm`` goes around what may hang, in the main thread of a system that has
SIGALRM. It interrupts Python code and system calls. What hangs inside a C library, and what crashes, is survived in a
process of its own alone (``envs.wrappers.workers``).
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym

from envs.registry import UsageError

TIMEOUT = 45.0
"""Seconds that one env may take for a step, a reset, or its making."""
AGAIN = 1.0
"""Seconds between alarms where the environment's own code catches the first."""
CONTINUES = "mend the environment; the same command continues from the last checkpoint"


class EnvFault(UsageError):
    """An environment that raised, hung or died; one line names the env, the step and the place."""


class _Hang(BaseException):
    """Out of code that catches every Exception, too."""


def place_of(error: BaseException) -> str:
    """File, line and text of where ``error`` was raised, outside of installed packages if any frame is."""
    frames = traceback.extract_tb(error.__traceback__)
    here = Path(__file__).resolve().parent
    own = [frame for frame in frames if "site-packages" not in frame.filename and Path(frame.filename).parent != here]
    if not (own or frames):
        return "nowhere"
    frame = (own or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}, in {frame.name}: {frame.line}"


def raised(name: str, error: BaseException, where: str) -> EnvFault:
    """One line about an exception out of an environment's own code."""
    said = " ".join(str(error).split())
    return EnvFault(
        f"{name}: {where} raised {type(error).__name__}{': ' + said if said else ''} ({place_of(error)}); {CONTINUES}"
    )


def hung(name: str, where: str, seconds: float, place: str = "") -> EnvFault:
    """One line about an environment that does not come back."""
    at = f" ({place})" if place else ""
    return EnvFault(
        f"{name}: {where} took more than {seconds:g} s{at} and was broken off; {CONTINUES}, or give it more time "
        "(--step-timeout)"
    )


class Alarm:
    """A limit of ``seconds`` for a block of code; 0: none. ``restart`` begins it anew.

    Args:
        seconds: of the block, or since the last ``restart``.
        name: of the environment, in messages.
    """

    def __init__(self, seconds: float, name: str):
        self.seconds, self.name, self.where = seconds, name, ""
        self._armed = False

    def restart(self, where: str) -> None:
        """Begin the limit anew; ``where`` is what runs now."""
        self.where = where
        if self._armed:
            signal.setitimer(signal.ITIMER_REAL, self.seconds, AGAIN)

    @contextmanager
    def limit(self, where: str) -> Iterator[None]:
        """Raise EnvFault where the block does not end in time."""
        self.where = where
        can = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
        if not can or self.seconds <= 0 or self._armed:
            yield
            return
        before = signal.signal(signal.SIGALRM, self._ring)
        self._armed = True
        signal.setitimer(signal.ITIMER_REAL, self.seconds, AGAIN)
        try:
            yield
        except _Hang as error:
            raise hung(self.name, self.where, self.seconds, place_of(error)) from error
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._armed = False
            signal.signal(signal.SIGALRM, before)

    def _ring(self, number: int, frame: Any) -> None:
        raise _Hang


class SingleEnvWatch(gym.Wrapper[Any, Any, Any, Any]):
    """One env whose faults say which it is.

    Args:
        env: the env.
        name: of the environment, in messages.
        index: of the env among those of its vector env.
        alarm: restarted at every call; None where another process keeps the time.
    """

    def __init__(self, env: gym.Env[Any, Any], name: str, index: int, alarm: Alarm | None = None):
        super().__init__(env)
        self.fault_name, self.index, self.alarm, self.steps = name, index, alarm, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        where = f"env {self.index} in reset, after {self.steps:,} steps,"
        if self.alarm is not None:
            self.alarm.restart(where)
        try:
            return self.env.reset(seed=seed, options=options)
        except Exception as error:
            raise self._named(error, where) from error

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.steps += 1
        if self.alarm is not None:
            self.alarm.restart(f"env {self.index} at its step {self.steps:,}")
        try:
            return self.env.step(action)
        except Exception as error:
            raise self._named(error, f"env {self.index} at its step {self.steps:,}") from error

    def _named(self, error: Exception, where: str) -> EnvFault:
        return error if isinstance(error, EnvFault) else raised(self.fault_name, error, where)
