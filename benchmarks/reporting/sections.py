"""Sections of a report in their order: the primary outcome first, then what explains it, then costs and context."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.experiment.presets import BASELINE
from benchmarks.reporting import context_tables, origins, tables
from benchmarks.reporting.comparisons import MARK, PRIMARY, main_comparisons
from benchmarks.reporting.layout import Section, listed
from benchmarks.reporting.stats import Interval
from benchmarks.reporting.summary import Summary

RESULTS = (
    f"{PRIMARY} Column 'minus {BASELINE}'; gap = return on training levels minus return on the split. Actions are "
    "sampled; where there is a column 'greedy', each level was also played once with the likeliest ones."
)
COMPARED = (
    f"{PRIMARY} {MARK}: the row differs from the baseline. That needs a task that declares to decide the outcome, a "
    "baseline of equal budget, 0 outside the interval after Holm's correction for the rows of this table of which both "
    f"holds, on both sides at least 3 seeds and no fall, and one commit for all runs. {origins.MARK}: runs of the row "
    "and its baseline differ in a fact that the notes name. 'against' names the baseline and what is equal."
)
GAPS = (
    "As it is: training return minus return on the split. Crossed (primary where it is given): return on the own "
    "training set minus the return of the other seeds' agents on that same set, so that its difficulty cancels. Net of "
    f"{tables.REFERENCE_POLICY} (primary without a crossed gap): minus the gap of a policy that sees nothing, on the "
    "same sets. At x: both read where the source return, normalised by the task's constants, is x; half of the "
    "episodes chooses the policy, the other half is shown, intervals over seeds; 'not reached' is never extrapolated."
)
AGREEMENT = (
    "Agreement: fraction of states of the training levels whose likeliest effect stays the same when they are drawn as "
    "that variant; actions of equal effect are added first. Total variation: distance of the two distributions over "
    "effects, 0 to 1."
)
VALIDATION = (
    "Return on validation levels, mean over seeds. A run fell where the last is below the best by more than 20% of the "
    "task's range (1.0 in return where the task has no constants) and by more than 2.5 standard errors of their "
    "difference, level by level: no difference of it is marked."
)
COSTS = (
    "Environment steps and wall seconds of both stages, mean over seeds; a cached fit or data set is charged in full. "
    f"'x {BASELINE}' = total seconds of the row over those of the {BASELINE} with as many steps of RL, pre-training "
    "included in both; left out where their machines, devices, precisions, threads or processes differ. frames/s is of "
    "RL alone."
)
AGGREGATES = (
    "Returns normalised by the suite's constants, on the seeds that finished every task. Primary outcome: "
    f"interquartile mean (IQM) on unseen levels minus the {BASELINE}'s. Intervals resample seeds (jackknife, t). P(>): "
    f"chance that a run beats a run of the baseline on a task. {MARK}: the row differs, and on every task the "
    f"conditions for a mark on it hold. Marks of a method are those of all tasks; {origins.MARK} behind a difference: "
    "runs of the row and its baseline differ in a fact that the notes name."
)
REFERENCES = (
    "Policies that learn nothing, START+COUNT being their levels: compare them with a row only where it was evaluated "
    "on the same ones."
)


def sections(summary: Summary) -> list[Section]:
    """The tables that have rows."""
    if not summary.cells:
        return []
    of_returns = resampling([interval for cell in summary.cells for interval in cell.returns.values()])
    of_gaps = resampling([interval for cell in summary.cells for interval in cell.gaps.values()])
    of_differences = resampling([row.difference for row in main_comparisons(summary)])
    looks = tables.looks_against_baseline(summary)
    candidates = [
        Section("Results", f"{RESULTS} {of_returns}", tables.headline(summary)),
        Section(f"Against {BASELINE}", f"{COMPARED} {of_differences}", tables.against_baseline(summary)),
        Section(f"Visual variants against {BASELINE}", f"{COMPARED} {of_returns}", looks, in_terminal=False),
        Section("The gap three ways", f"{GAPS} {of_gaps}", tables.gaps(summary)),
        Section("The gap at matched source return", GAPS, tables.matched_gaps(summary), in_terminal=False),
        Section("Agreement by effect", AGREEMENT, tables.agreements(summary)),
        Section("Best on validation and last", VALIDATION, tables.validation(summary)),
        Section("Whole costs", COSTS, context_tables.costs(summary)),
        Section("Over all tasks, normalised", AGGREGATES, tables.aggregates(summary), terminal_columns=9),
        Section("Reference policies", REFERENCES, context_tables.references(summary), terminal_columns=6),
    ]
    return [section for section in candidates if section.table[1]]


def resampling(intervals: Iterable[Interval]) -> str:
    """Units that the intervals of a table resample, with their numbers, in one sentence."""
    kinds = dict.fromkeys(tables.resampled(interval) for interval in intervals)
    return f"95% intervals resample {listed(kinds, 'or')}." if kinds else ""
