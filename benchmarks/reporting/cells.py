"""Cells: runs that differ in nothing but their seed, with the intervals of their returns and gaps.

A cell is one method on one task with one number of training levels. Runs that do not belong together are not averaged:
a cell of several commits has estimates without intervals, and what else differs is named beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.experiment.presets import BASELINE, CONTROL
from benchmarks.reporting import intervals, origins
from benchmarks.reporting.episodes import Returns
from benchmarks.reporting.intervals import Scores
from benchmarks.reporting.labels import frames_of, level_set_kind, levels_in_words, target_split, training_set
from benchmarks.reporting.matching import SOURCE, match
from benchmarks.reporting.runs import Run
from benchmarks.reporting.stats import Interval

Pairing = Literal["levels, sets", "levels", "nothing"]
"""Things that two cells share in a difference: levels and training sets, levels alone, or neither."""
FEWEST_CLAIMED = 3
"""Seeds below which no difference is claimed."""
FEWEST_CROSSED = 3
"""Seeds from which the crossed gap is the primary one."""
_UNNAMED = 10**6  # more than the episodes of a split, so that levels of unknown number never pass for shared ones


@dataclass(frozen=True)
class Cell:
    """One method on one task: the finished runs that differ in nothing but their seed, by seed."""

    label: str
    """The method, and the settings that distinguish it from its other cells where there are several."""
    runs: tuple[Run, ...]

    @property
    def config(self) -> dict[str, Any]:
        return self.runs[0].config

    @property
    def env(self) -> str:
        return str(self.config["env"])

    @property
    def train_levels(self) -> int:
        return int(self.config["train_levels"])

    @property
    def task(self) -> tuple[str, int]:
        """Env and number of training levels."""
        return self.env, self.train_levels

    @property
    def steps(self) -> int:
        """Frames of RL that were asked for."""
        return int(self.config["steps"])

    @property
    def frames(self) -> int:
        """Frames of RL that were trained: those asked for, in whole rollouts."""
        return frames_of(self.config)

    @property
    def level_set_kind(self) -> str:
        return level_set_kind(self.config)

    @property
    def levels_in_words(self) -> str:
        """Number of training levels, as "20 levels"."""
        return levels_in_words(self.config)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.config["seed"] for run in self.runs)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that every run was evaluated on."""
        others = [set(run.config["splits"]) for run in self.runs[1:]]
        return tuple(split for split in self.config["splits"] if all(split in names for names in others))

    @property
    def target(self) -> str:
        """The split of the primary outcome: unseen levels where there are any."""
        return target_split(self.splits)

    @property
    def normalise(self) -> tuple[float, float] | None:
        """The task's constants; None where it has none, or where the runs disagree on them."""
        constants = {tuple(run.config["normalise"] or ()) for run in self.runs}
        (first, *others) = sorted(constants)
        return (first[0], first[1]) if first and not others else None

    def normalised(self, value: float) -> float | None:
        """(value - Rmin) / (Rmax - Rmin), None without constants."""
        return None if self.normalise is None else (value - self.normalise[0]) / (self.normalise[1] - self.normalise[0])

    # origin -----------------------------------------------------------------------------------------------------------

    def differing(self, name: str) -> list[str]:
        """Values of a fact of source.json, where the runs, or the starts of one, have several."""
        return origins.differing(self.runs, name)

    def mixed(self, *others: Cell) -> dict[str, list[str]]:
        """Fact -> its values, for each that the runs of this cell and of ``others`` do not share."""
        return origins.mixed([run for cell in (self, *others) for run in cell.runs])

    @property
    def fallen(self) -> tuple[Run, ...]:
        """Runs whose last validation return is far below their best."""
        return tuple(run for run in self.runs if run.fall)

    @property
    def continued(self) -> tuple[Run, ...]:
        """Runs that were trained on after their held-out levels had been read."""
        return tuple(run for run in self.runs if run.continued)

    @property
    def name(self) -> str:
        """The label with its marks, as tables show it: † fell, ‡ continued after evaluation, § mixed runs."""
        return marked_name(self.label, [self])

    @property
    def claimable(self) -> bool:
        """True where a difference of this cell may be called one of methods."""
        enough = len(self.runs) >= FEWEST_CLAIMED
        return enough and not self.fallen and not self.differing("commit") and self.named_levels

    def comparable(self, other: Cell) -> bool:
        """True where a difference of the two may be called one of methods: both claimable, and of one commit."""
        return self.claimable and other.claimable and "commit" not in self.mixed(other)

    @property
    def named_levels(self) -> bool:
        return all(run.named_levels for run in self.runs)

    # costs ------------------------------------------------------------------------------------------------------------

    def env_steps(self, stage: str) -> float:
        """Environment steps of "pretrain" or "train", mean over runs; nan where a run does not say."""
        return float(np.mean([run.env_steps.get(stage, math.nan) for run in self.runs]))

    def seconds(self, stage: str) -> float:
        """Seconds of "pretrain" or "train", mean over runs; nan where a run does not say."""
        return float(np.mean([run.seconds.get(stage, math.nan) for run in self.runs]))

    @property
    def total_env_steps(self) -> float:
        return self.env_steps("pretrain") + self.env_steps("train")

    @property
    def total_seconds(self) -> float:
        return self.seconds("pretrain") + self.seconds("train")

    @property
    def frames_per_second(self) -> float:
        return float(np.mean([run.source.get("frames_per_second", np.nan) for run in self.runs]))

    # outcomes ---------------------------------------------------------------------------------------------------------

    def means(self, split: str) -> np.ndarray:
        """Each seed's mean return (N, 1)."""
        return np.array([[run.returns[split].mean()] for run in self.runs])

    def scores(self, split: str) -> Scores:
        """Each seed's return on each level of a split."""
        return scores_of([(run.config["seed"], run.returns[split]) for run in self.runs], self.splits.index(split))

    def shown(self, interval: Interval, *others: Cell) -> Interval:
        """The interval as it may be shown: without ends (nan) where the runs of these cells are of several commits."""
        return without_ends(interval) if "commit" in self.mixed(*others) else interval

    @cached_property
    def returns(self) -> dict[str, Interval]:
        """Split -> mean return."""
        return {split: self.shown(intervals.mean(self.scores(split))) for split in self.splits}

    @cached_property
    def greedy(self) -> dict[str, Interval]:
        """Split -> mean return with the likeliest actions; without splits that some run did not play so."""
        played = [split for split in self.splits if all(split in run.greedy for run in self.runs)]
        rows = {split: [(run.config["seed"], run.greedy[split]) for run in self.runs] for split in played}
        return {split: self.shown(intervals.mean(scores_of(row))) for split, row in rows.items()}

    @cached_property
    def gaps(self) -> dict[str, Interval]:
        """Target -> training return minus return there, as it is."""
        train = self.scores(SOURCE) if SOURCE in self.splits else None
        targets = [split for split in self.splits if split != SOURCE]
        return {split: self.shown(intervals.gap(train, self.scores(split))) for split in targets} if train else {}

    @cached_property
    def crossed_gap(self) -> Interval | None:
        """Return on the own training set minus the other seeds' agents' there; None with too few crossed.csv files.

        Where all seeds train on the published set there are no others' sets, and nobody wrote such a file.
        """
        crossing = [run for run in self.runs if run.crossed]
        seeds = {run.config["seed"] for run in crossing}
        if len(crossing) < FEWEST_CROSSED or not all(
            seeds - {run.config["seed"]} <= run.crossed.keys() for run in crossing
        ):
            return None
        plays = {}
        for run in crossing:
            own = {run.config["seed"]: run.returns[SOURCE]}
            others = {seed: returns for seed, returns in run.crossed.items() if seed in seeds}
            plays[run.config["seed"]] = scores_of(sorted((others | own).items()))
        return self.shown(intervals.crossed_gap(plays))

    @property
    def uncrossed(self) -> tuple[int, ...]:
        """Seeds whose agents lack some other seed's training levels; empty where too few seeds trained on own ones."""
        own_sets = len({training_set(run.config) for run in self.runs})
        if own_sets < max(FEWEST_CROSSED, len(self.runs)) or not self.named_levels or SOURCE not in self.splits:
            return ()
        return tuple(
            run.config["seed"] for run in self.runs if not set(self.seeds) - {run.config["seed"]} <= run.crossed.keys()
        )

    @property
    def primary_gap(self) -> str:
        """The gap that counts: "crossed" where enough seeds crossed, else "raw"."""
        return "raw" if self.crossed_gap is None else "crossed"

    def matched_gap(self, split: str, normalised_goal: float) -> Interval | str:
        """The gap at a normalised source return, or why there is none; '' without kept policies or constants."""
        if self.normalise is None:
            return ""
        low, high = self.normalise
        goal = low + normalised_goal * (high - low)
        matches = [matched for run in self.runs if (matched := match(run.matched, split, goal))]
        if len(matches) < len(self.runs):
            return ""
        if absent := sum(math.isnan(match_.fraction) for match_ in matches):
            return "not reached" if absent == len(matches) else f"not by {absent} of {len(matches)}"
        return self.shown(over_seeds(self.seeds, [match_.gap for match_ in matches]))

    def agreement(self, split: str) -> tuple[Interval, Interval] | None:
        """Agreement by effect and total variation; None where the split does not show the training levels' states."""
        if not all(split in run.agreement for run in self.runs):
            return None
        rows = [(run.config["seed"], run.agreement[split]) for run in self.runs]
        seeds = np.concatenate([np.full(len(row.levels), seed) for seed, row in rows])
        levels = np.concatenate([row.levels for _, row in rows])
        effects, distances = (
            intervals.mean(Scores.of_episodes(seeds, levels, np.concatenate(values)))
            for values in ([row.effect for _, row in rows], [row.total_variation for _, row in rows])
        )
        return self.shown(within_unit(effects)), self.shown(within_unit(distances))

    # differences ------------------------------------------------------------------------------------------------------

    def paired_seeds(self, other: Cell) -> tuple[int, ...]:
        """Seeds that trained on the same levels in both cells, where that is all seeds of the smaller one."""
        sets, others = ({run.config["seed"]: training_set(run.config) for run in c.runs} for c in (self, other))
        common = tuple(seed for seed in sorted(sets) if seed in others and sets[seed] == others[seed])
        complete = len(common) == min(len(sets), len(others))
        return common if complete and self.named_levels and other.named_levels else ()

    def pairing(self, other: Cell, split: str) -> Pairing:
        """Levels and sets that this cell's returns on a split share with the other's."""
        first, second = self.scores(split), other.scores(split)
        if self.paired_seeds(other) and _share_levels(first, second):
            return "levels, sets"
        shared = bool(len(np.intersect1d(first.common_levels, second.common_levels)))
        return "levels" if shared and self.named_levels and other.named_levels else "nothing"

    def difference(self, other: Cell, split: str) -> Interval:
        """Mean return of this cell minus the other's: paired by training set and by level where both share them."""
        pairing = self.pairing(other, split)
        paired = intervals.BOTH if pairing == "levels, sets" else pairing
        return self.shown(intervals.difference(self.scores(split), other.scores(split), paired=paired), other)

    def unpaired_difference(self, other: Cell, split: str) -> Interval:
        """The same difference as if the two had shared neither training sets nor levels: what pairing saves."""
        return self.shown(intervals.difference(self.scores(split), other.scores(split), paired="nothing"), other)

    def gap_pairing(self, other: Cell, split: str) -> Pairing:
        """Levels and sets that the gaps of both share; at most unseen levels without shared training sets."""
        target = self.pairing(other, split)
        both = target == self.pairing(other, SOURCE) == "levels, sets"
        return target if both or target == "nothing" else "levels"

    def gap_difference(self, other: Cell, split: str) -> Interval:
        """Raw gap of this cell minus the other's; paired by training set the difficulty of both sets cancels."""
        pairs = [(self.scores(name), other.scores(name)) for name in (SOURCE, split)]
        if self.gap_pairing(other, split) == "levels, sets":
            train, target = (first.minus(second) for first, second in pairs)
            return self.shown(intervals.gap(train, target), other)
        (mine, theirs), (my_target, their_target) = pairs
        return self.shown(intervals.gap_difference((mine, my_target), (theirs, their_target)), other)


def scores_of(returns: Sequence[tuple[int, Returns]], place: int = 0) -> Scores:
    """Scores of (seed, episodes) pairs. Levels without a name never pass for levels of another seed or ``place``."""
    seeds, levels, values = [], [], []
    for index, (seed, episodes) in enumerate(returns):
        shift = 0 if episodes.named_levels else _UNNAMED * (1000 * place + index)
        seeds.append(np.full(len(episodes), seed))
        levels.append(episodes.levels + shift)
        values.append(episodes.values)
    return Scores.of_episodes(np.concatenate(seeds), np.concatenate(levels), np.concatenate(values))


def over_seeds(seeds: Iterable[int], values: ArrayLike) -> Interval:
    """Mean of one number a seed, over seeds."""
    return intervals.mean(Scores.of_episodes(list(seeds), np.zeros_like(values, dtype=np.int64), values))


def within_unit(interval: Interval) -> Interval:
    """The interval of a fraction, cut at 0 and 1."""
    return replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))


def seed_difference(cell: Cell, values: ArrayLike, other: Cell, other_values: ArrayLike) -> Interval:
    """Mean of one number a seed minus another cell's, over seeds: paired where they trained on the same levels."""
    first, second = (
        Scores.of_episodes(list(one.seeds), np.zeros_like(numbers, dtype=np.int64), numbers)
        for one, numbers in ((cell, values), (other, other_values))
    )
    paired = bool(cell.paired_seeds(other))
    difference = intervals.difference(first, second, paired="seeds and levels" if paired else "nothing")
    return cell.shown(difference, other)


def without_ends(interval: Interval) -> Interval:
    """The estimate alone: ends and p are nan."""
    return replace(interval, low=math.nan, high=math.nan, p=math.nan)


def marked_name(label: str, cells: Sequence[Cell]) -> str:
    """A label with the marks of the cells in its row: † fell, ‡ continued after evaluation, § mixed runs."""
    first, *others = cells
    marks = "†" * any(cell.fallen for cell in cells) + "‡" * any(cell.continued for cell in cells)
    return f"{label} {marks}{origins.MARK * bool(first.mixed(*others))}".rstrip()


def is_baseline(cell: Cell) -> bool:
    """True for the end-to-end network without bonuses, which the other rows are compared with."""
    begun_elsewhere = cell.config.get("start_from_policy", False) or cell.config.get("init_from", "")
    plain = cell.config.get("bonus", "none") == "none" and not begun_elsewhere
    return bool(cell.config["repr"] == BASELINE and plain)


def is_data_policy_control(cell: Cell) -> bool:
    """True for a row that shows what the data policy alone is worth, see ``experiment.plan.CONTROLS``."""
    return cell.config["repr"] == CONTROL or bool(cell.config.get("start_from_policy", False))


def _share_levels(first: Scores, second: Scores) -> bool:
    """True where every seed that both have played some level in both."""
    ours, theirs = (dict(zip(scores.seeds, scores.levels, strict=True)) for scores in (first, second))
    return all(len(np.intersect1d(ours[seed], theirs[seed])) for seed in ours.keys() & theirs.keys())
