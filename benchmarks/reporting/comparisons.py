"""Comparisons with the baseline: which differences are tested, corrected and marked.

Primary outcome of every table: the return on unseen levels minus that of the baseline of equal budget, paired by
training set and by level. A difference is marked where all of this holds:

* the task declares that it can decide the outcome at this size (``benchmarks.experiment.outcomes``)
* the baseline took as many environment steps in all, pre-training included
* its p-value, corrected for the rows of the same table of which both holds (Holm), is below 0.05, so that 0 is outside
* both cells have at least 3 seeds and no run that fell, and all of their runs are of one commit
* where frames are of other levels or of a policy, and the row is better: it beats all three controls, too
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.experiment.outcomes import Outcome
from benchmarks.experiment.plan import CONTROLS
from benchmarks.experiment.presets import BASELINE
from benchmarks.reporting.cells import Cell, Pairing, is_data_policy_control
from benchmarks.reporting.labels import protocol
from benchmarks.reporting.matching import SOURCE
from benchmarks.reporting.several_tasks import holm
from benchmarks.reporting.stats import Interval
from benchmarks.reporting.summary import Reference, Summary, decides

PRIMARY = (
    f"Primary outcome: return on unseen levels minus that of the {BASELINE} of equal total environment steps, paired "
    "by training set and by level."
)
MARK = "*"


@dataclass(frozen=True)
class Comparison:
    """One outcome of one row minus that of its baseline."""

    cell: Cell
    reference: Reference
    outcome: Outcome
    split: str
    difference: Interval
    declared: bool
    """True where the task can decide this outcome at this size."""
    corrected_p: float = math.nan
    """After Holm over the tested rows of a table; nan where the row is not tested, or its p is not known."""
    beats_controls: bool = True
    """False where the row needs controls (``Summary.controls``) and one is absent or not beaten."""

    @property
    def tested(self) -> bool:
        """True where the outcome is declared, and the baseline had as many environment steps in all."""
        return self.declared and self.reference.budget == "equal budget"

    @property
    def marked(self) -> bool:
        """True where the row may be said to differ from its baseline."""
        better = self.difference.estimate < 0 if self.outcome == "gap" else self.difference.estimate > 0
        if better and not self.beats_controls:
            return False
        return self.cell.comparable(self.reference.cell) and self.corrected_p < 0.05  # nan where it is not tested

    @property
    def mixed(self) -> dict[str, list[str]]:
        """Fact -> its values, for each that the runs of the row and of its baseline do not all share."""
        return self.cell.mixed(self.reference.cell)

    @property
    def pairing(self) -> Pairing:
        """Levels and sets that the row shares with its baseline."""
        pairing = self.cell.gap_pairing if self.outcome == "gap" else self.cell.pairing
        return pairing(self.reference.cell, self.split)

    @property
    def relative_width(self) -> float:
        """Width of the interval over that of an unpaired one, of the same runs; nan for a gap or without a width."""
        if self.outcome == "gap":
            return math.nan
        unpaired = self.cell.unpaired_difference(self.reference.cell, self.split)
        width = unpaired.high - unpaired.low
        return (self.difference.high - self.difference.low) / width if width > 0 else math.nan


def main_comparisons(summary: Summary) -> list[Comparison]:
    """For each row with a baseline its return on unseen levels, then its gap there, corrected together."""
    rows = []
    for cell, reference in _with_reference(summary):
        split = cell.target
        outcome: Outcome = "held-out return" if split.endswith("heldout") else "looks"
        rows.append(_compared(summary, cell, reference, outcome, split))
        if SOURCE in cell.splits and split != SOURCE:
            difference = cell.gap_difference(reference.cell, split)
            declared = decides([cell, reference.cell], "gap")
            beats = beats_controls(summary, cell, "gap", split)
            rows.append(Comparison(cell, reference, "gap", split, difference, declared, beats_controls=beats))
    return corrected(rows)


def look_comparisons(summary: Summary) -> list[Comparison]:
    """For each row with a baseline its return in every visual variant, corrected together."""
    rows = [
        _compared(summary, cell, reference, "looks", split)
        for cell, reference in _with_reference(summary)
        for split in cell.splits
        if split not in (SOURCE, cell.target) and split in reference.cell.splits
    ]
    return corrected(rows)


def corrected(rows: Sequence[Comparison]) -> list[Comparison]:
    """The rows of one table with p-values corrected for the tested ones among them."""
    p_values = holm([row.difference.p if row.tested else math.nan for row in rows])
    return [replace(row, corrected_p=p) for row, p in zip(rows, p_values, strict=True)]


def beats_controls(summary: Summary, cell: Cell, outcome: Outcome, split: str) -> bool:
    """True where a row needs no controls, or is better than each of the three, 0 outside every interval."""
    if not protocol(cell.config) or is_data_policy_control(cell):
        return True
    controls = summary.data_policy_controls(cell)
    if outcome == "gap":
        beaten = [cell.gap_difference(other, split).high < 0 for other in controls]
    else:
        beaten = [split in other.splits and cell.difference(other, split).low > 0 for other in controls]
    kinds = {(other.config["repr"], other.config["mode"]) for other in controls}
    return len(kinds) == len(CONTROLS) and all(beaten)


def _compared(summary: Summary, cell: Cell, reference: Reference, outcome: Outcome, split: str) -> Comparison:
    declared = decides([cell, reference.cell], outcome)
    difference, beats = cell.difference(reference.cell, split), beats_controls(summary, cell, outcome, split)
    return Comparison(cell, reference, outcome, split, difference, declared, beats_controls=beats)


def _with_reference(summary: Summary) -> list[tuple[Cell, Reference]]:
    pairs = [(cell, summary.reference(cell)) for cell in summary.cells]
    return [(cell, reference) for cell, reference in pairs if reference and cell.target in reference.cell.splits]
