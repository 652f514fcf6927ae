"""Origins of figures: the facts of ``source.json`` that runs in one figure should share, whatever cells they are of.

Runs of several commits may be two behaviours, so no interval holds over them. Whatever else differs is a mark (§).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.reporting.layout import listed
from benchmarks.reporting.runs import Run

FACTS = {
    "commit": "commits",
    "versions": "versions of packages",
    "threads": "numbers of threads",
    "ranks": "numbers of processes",
    "precision": "precisions",
    "device": "devices",
}
"""Facts, and their names in the plural."""
COST_FACTS = ("machine", "device", "precision", "threads", "ranks")
"""Facts without which seconds of two runs cannot be divided by each other."""
MARK = "§"


def differing(runs: Iterable[Run], fact: str) -> list[str]:
    """Values of a fact where the runs, or the starts of one, have several, sorted; of versions those that differ."""
    recorded = [value for run in runs for value in run.values(fact)]
    if fact != "versions":
        values = sorted({str(value) for value in recorded})
        return values if len(values) > 1 else []
    packages: dict[str, set[str]] = {}
    for versions in recorded:
        for package, version in versions.items():
            packages.setdefault(package, set()).add(str(version))
    return [f"{package} {listed(sorted(own))}" for package, own in sorted(packages.items()) if len(own) > 1]


def mixed(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Fact -> its values, for each of ``FACTS`` that these runs do not share."""
    return {fact: values for fact in FACTS if (values := differing(runs, fact))}


def described(values: dict[str, list[str]]) -> str:
    """Facts that differ, in words: 'mixed commits a, b; mixed devices cpu, cuda'."""
    return "; ".join(f"mixed {FACTS[fact]} {', '.join(own)}" for fact, own in values.items())
