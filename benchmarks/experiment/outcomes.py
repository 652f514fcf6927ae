"""Outcomes that each task can decide at each preset.

A preset that gives every method the same return on unseen levels cannot rank them there, however small the interval.
So a task declares, for each preset, which outcomes its figures may decide; reports print the others, too, but neither
rank nor mark them.

    gap                what is lost from training levels to unseen ones
    held-out return    the return on unseen levels
    looks              the return in other visual variants

A task and preset without an entry declares nothing, nor does a run that is shorter than its entry or has another number
of training levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["gap", "held-out return", "looks"]


@dataclass(frozen=True)
class Declaration:
    """Outcomes that one task decides at one preset, and why no others."""

    outcomes: frozenset[Outcome]
    reason: str
    steps: int = 0
    """Frames of RL from which it holds."""
    train_levels: int = 0
    """Number of training levels that it holds for."""


UNDECLARED = Declaration(frozenset(), "no control has shown yet what this task decides at this size")
DECLARED: dict[tuple[str, str], Declaration] = {
    ("coinrun-easy", "quick"): Declaration(
        frozenset({"gap"}),
        "at commit 131b204 every method got 6.5 to 7.0 on unseen levels (1M frames, 20 levels), running right 6.6",
        steps=1_000_000,
        train_levels=20,
    ),
    ("rooms", "quick"): Declaration(
        frozenset({"held-out return", "looks"}),
        "at commit 34725d4 the CNN got 0.74 on unseen levels, a blind policy 0.07, true factors 0.98; no gap showed",
        steps=500_000,
        train_levels=100_000,
    ),
}
"""(Task, preset) -> declaration, from ``benchmarks.controls`` but for the first, which is older."""


def declared(env: str, preset: str, steps: int, train_levels: int) -> Declaration:
    """Declaration of a task at a preset, for a run of so many frames and levels; one without outcomes if none holds."""
    declaration = DECLARED.get((env, preset), UNDECLARED)
    holds = steps >= declaration.steps and train_levels == declaration.train_levels
    return declaration if holds else UNDECLARED
