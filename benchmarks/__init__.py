"""Benchmarks: each a plan (a list of configurations) and a score (a table).

Read in this order: ``transfer`` (which representation generalises?), with ``presets`` (its sizes), ``settings``
(--set) and ``estimate`` (how long); then ``runs`` (reading runs back into a table), ``stats`` (IQM and bootstrap),
``published`` (what papers found), and ``report`` (its files), drawn by ``tables``, ``figures`` and ``webpage``. Beside
them ``probe`` (what can be read linearly from each run's representation) and ``speed``
(frames per second and memory beside what people use: ``contenders``, with the usual loop in ``single_file``).
"""

import importlib.util
import os
import sys
from pathlib import Path

FOLDERS = ("agents", "representations", "envs", "intrinsic", "benchmarks")


def _let_threads_sleep() -> None:
    """torch's threads sleep while they wait for each other; read when torch is loaded, so chosen before.

    Spinning ones would take the cores from the threads of ``agents.parallel.threads``, and lose a factor of four
    where another
    process wants one.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def shadowed_packages(root: Path) -> list[str]:
    """Top-level packages that Python would import from somewhere else than ``root``, as 'name (place)'."""
    found = []
    for name in FOLDERS:
        spec = importlib.util.find_spec(name)
        place = Path(spec.origin).parent if spec and spec.origin else None
        if place != root / name:
            found.append(f"{name} ({place})")
    return found


def _guard() -> None:
    root = Path(__file__).resolve().parent.parent
    if alien := shadowed_packages(root):
        # Several packages on the public index own names like 'agents'; mixing two of them fails in odd places.
        print(
            f"error: another installed package stands in the way of this checkout: {', '.join(alien)}; "
            f"run from {root}, or in a virtual environment without it",
            file=sys.stderr,
        )
        raise SystemExit(2)


_guard()
_let_threads_sleep()
