"""The rule that says which episodes are shown: median, best and worst by return, and the first of each level.

Nobody picks: the episodes are among those of the final evaluation (eval.csv), and each says by which rule it is there.
Among equal returns it is the lowest level, then the lowest repetition. The median of an even number is the lower one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.reporting.episodes import Returns

TRAIN, UNSEEN = "train", "heldout"
LEVEL_RULE = "first episode of its level"
BY_RETURN = ("median", "best", "worst")


@dataclass(frozen=True)
class Choice:
    """An episode of eval.csv, and why it is shown."""

    split: str
    level: int
    repeat: int
    rule: str
    with_variants: bool = False
    """Shown beside the same states in every visual variant."""

    @property
    def explained(self) -> bool:
        """Explanations are made of it, too: of medians."""
        return "median" in words_of(self.rule)

    @property
    def name(self) -> str:
        """Name of its files, without ending."""
        return f"{file_word(self.split)}-{self.level}-{self.repeat}"


def file_word(text: str) -> str:
    """A name as part of a file's name: letters and digits, others as '_'."""
    return "".join(letter if letter.isalnum() else "_" for letter in text)


def shown_splits(splits: Mapping[str, Returns]) -> list[str]:
    """The training levels, and the unseen levels of the source; of a task without these its first other split."""
    others = [split for split in splits if split != TRAIN]
    unseen = UNSEEN if UNSEEN in others else (others or [""])[0]
    return [split for split in (TRAIN, unseen) if split in splits]


def by_return(split: str, returns: Returns) -> list[Choice]:
    """Median, best and worst episode of a split, each once; the median of the training levels with its variants."""
    rows = sorted(zip(returns.values.tolist(), returns.levels.tolist(), returns.repetitions.tolist(), strict=True))
    if not rows:
        return []
    wanted = rows[(len(rows) - 1) // 2][0], rows[-1][0], rows[0][0]
    words: dict[tuple[int, int], list[str]] = {}
    for word, value in zip(BY_RETURN, wanted, strict=True):
        _, level, repeat = next(row for row in rows if row[0] == value)
        words.setdefault((level, repeat), []).append(word)
    return [
        Choice(
            split,
            level,
            repeat,
            f"{' and '.join(names)} of {len(rows)} episodes by return",
            with_variants=split == TRAIN and "median" in names,
        )
        for (level, repeat), names in words.items()
    ]


def words_of(rule: str) -> list[str]:
    """Words of ``BY_RETURN`` in the rule of an episode."""
    named, _, kind = rule.partition(" of ")
    return [word for word in named.split(" and ") if word in BY_RETURN and kind.endswith("by return")]


def by_level(split: str, returns: Returns, count: int) -> list[Choice]:
    """The first episode of each of the first ``count`` levels, in the order of the file."""
    first: dict[int, int] = {}
    for level, repeat in zip(returns.levels.tolist(), returns.repetitions.tolist(), strict=True):
        first[level] = min(repeat, first.get(level, repeat))
    return [Choice(split, level, repeat, LEVEL_RULE) for level, repeat in list(first.items())[:count]]


def merged(choices: list[Choice]) -> list[Choice]:
    """Each episode once, in order of appearance, with the rule that names it first."""
    unique: dict[str, Choice] = {}
    for choice in choices:
        unique.setdefault(choice.name, choice)
    return list(unique.values())
