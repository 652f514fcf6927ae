"""Benchmarks: each a plan (a list of configurations) and a score (a table).

Read in this order: ``transfer`` (which representation generalises?), with ``presets`` (its sizes), ``settings``
(--set) and ``estimate`` (how long); then ``runs`` (reading runs back into a table), ``stats`` (IQM and bootstrap),
``published`` (what papers found), and ``report`` (its files), drawn by ``tables``, ``figures`` and ``webpage``.
"""

import importlib.util
import os
import sys
from pathlib import Path

FOLDERS = ("agents", "representations", "envs", "intrinsic", "benchmarks")

# Before torch loads its OpenMP: threads that spin while they wait make a run 10 times slower as soon as another
# process wants one of the cores; sleeping ones cost nothing measurable on a quiet machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def intruders(root: Path) -> list[str]:
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
    if alien := intruders(root):
        # Several packages on the public index own names like 'agents'; mixing two of them fails in odd places.
        print(
            f"error: another installed package stands in the way of this checkout: {', '.join(alien)}; "
            f"run from {root}, or in a virtual environment without it",
            file=sys.stderr,
        )
        raise SystemExit(2)


_guard()
