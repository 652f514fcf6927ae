"""Contents of the page's player: recorded episodes and levels of each cell's first seed, small enough for one file.

Where all of them are too large, images lose quality first, then episodes of single levels are left out, then others;
the page says so.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from benchmarks.recording import sheets
from benchmarks.recording.choice import BY_RETURN, LEVEL_RULE, words_of
from benchmarks.reporting.cells import Cell
from benchmarks.reporting.runs import Run

if TYPE_CHECKING:
    from benchmarks.recording.record import Recordings

Json = dict[str, Any]
LARGEST = 9_000_000
"""Bytes of the page that the player may take, so that the whole stays under 10 MB."""
QUALITIES = (60, 40, 20)
"""Qualities of WebP that are tried, in this order, where recordings are too large as they are."""
ABOUT = (
    "Which episode is shown follows a rule, never a pick by hand: the median, the best and the worst by return among "
    "the episodes of the final evaluation, for the first seed of each row; a level that is clicked shows its first "
    "episode. Two episodes run under one slider, as they were played in that evaluation."
)
_EPISODE = (
    *("split", "level", "rule", "greedy", "return", "length", "cut", "width", "height", "columns", "frames_per_sheet"),
    *("frames", "actions", "action_names", "effects", "values", "probabilities", "means", "rewards", "bonus"),
)
_EXPLANATIONS = {
    "saliency": ("rows", "columns", "steps", "value", "action"),
    "traversal": ("step", "latents", "kl", "values", "width", "height", "sheets"),
}
_VARIANT = ("name", "width", "height", "differs", "sheets")
_LEVELS = ("columns", "width", "height")


@dataclass
class Images:
    """Image files as data URIs, of a quality."""

    quality: int | None = None
    """None: as recorded."""
    _encoded: dict[tuple[Path, int | None], str] = field(default_factory=dict)

    def address(self, path: Path) -> str:
        key = path, self.quality
        if key not in self._encoded:
            data = path.read_bytes() if self.quality is None else smaller(path.read_bytes(), self.quality)
            self._encoded[key] = sheets.address(data)
        return self._encoded[key]


@dataclass(frozen=True)
class Shown:
    """Recordings of one run, under the name that the page gives it."""

    name: str
    recordings: Recordings


def record(cells: Iterable[Cell]) -> list[str]:
    """Make the recordings of each cell's first seed that are missing; a line for each run whose agent cannot play."""
    from agents.runs.progress import Bar
    from benchmarks.recording.record import Quality, record_run

    lines = []
    runs = [cell.runs[0] for cell in cells]
    bar = Bar("episodes for the player:")
    bar.stage("", len(runs), 0)
    for number, run in enumerate(runs, 1):
        try:
            # untrained agents play to the limit of time, and nobody watches them
            quality = Quality(playable=0, kept_steps=256) if run.config.get("preset") == "smoke" else Quality()
            record_run(run.path, quality, partial(bar.update, number - 1))
        # whatever stands between an old agent and its environment, the report of its figures is written
        except Exception as error:
            lines.append(f"{run.id}: no episodes ({type(error).__name__}: {error})")
        bar.update(number)
    bar.close()
    return lines


def player(cells: Sequence[Cell], lines: Sequence[str] = (), largest: int = LARGEST) -> Json | None:
    """Texts and data of the player; None where nothing was recorded and there is nothing to say about it.

    Args:
        lines: why some runs have no recordings.
        largest: bytes that it may take.
    """
    from benchmarks.recording.record import read

    several = len({cell.task for cell in cells}) > 1
    shown = [Shown(name_of(cell, cell.runs[0], several), read(cell.runs[0].path)) for cell in cells]
    unreadable = {each.name: reason for each in shown if (reason := why_unreadable(each))}
    lines = [*lines, *(f"{name}: its recordings cannot be read ({reason})" for name, reason in unreadable.items())]
    shown = [each for each in shown if each.recordings.episodes and each.name not in unreadable]
    if not shown:
        return contents(ABOUT, None, lines) if lines else None
    runs, reductions = fitting(shown, largest)
    return contents(ABOUT, runs, [*lines, *reductions])


def contents(about: str, runs: list[Json] | None, lines: Sequence[str] = ()) -> Json:
    """The player, as the template ``player.html`` asks for it.

    Args:
        about: sentences above the player.
        runs: each a ``name``, its ``episodes``, the ``choices`` among them, and ``levels`` or None.
        lines: below it.
    """
    with_variants = any(episode["variants"] for run in runs or () for episode in run["episodes"])
    data = None if runs is None else {"runs": runs}
    return {"about": about, "with_variants": with_variants, "lines": list(lines), "data": data}


def why_unreadable(shown: Shown) -> str:
    """Reason why the page cannot hold recordings that somebody else changed; empty where it can."""
    try:
        run_data(shown, Images())
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def name_of(cell: Cell, run: Run, several: bool) -> str:
    """Method and seed, and the task where the page has several."""
    task = f", {cell.env}, {cell.levels_in_words}" if several else ""
    return f"{cell.label}, seed {run.config['seed']}{task}"


def fitting(shown: Sequence[Shown], largest: int) -> tuple[list[Json], list[str]]:
    """Runs as the page holds them in at most ``largest`` bytes, and what they had to lose for that."""
    lines: list[str] = []
    images = Images()
    runs = [run_data(each, images) for each in shown]
    for quality in QUALITIES:
        if size(runs) <= largest:
            return runs, lines
        images = Images(quality)
        runs = [run_data(each, images) for each in shown]
        lines = [f"Pictures are of quality {quality} (of 100), so that this page stays small."]
    dropped = 0
    remaining = size(runs)
    for run, episode in least_missed(runs):
        if remaining <= largest:
            break
        run["episodes"].remove(episode)
        remaining -= size(episode)
        dropped += 1
    for run in runs:
        forget_absent(run)
    return runs, [*lines, f"Episodes left out for the same reason: {dropped}."] if dropped else lines


def size(data: Any) -> int:
    """Bytes in the page."""
    return len(json.dumps(data))


def least_missed(runs: Sequence[Json]) -> Iterator[tuple[Json, Json]]:
    """Runs and episodes of theirs in the order in which they are left out: single levels first, medians last."""

    def rank(episode: Json) -> int:
        return 0 if episode["rule"] == LEVEL_RULE else 2 if "median" in words_of(episode["rule"]) else 1

    episodes = [(rank(each), place, run, each) for run in runs for place, each in enumerate(run["episodes"])]
    for _, _, run, episode in sorted(episodes, key=lambda entry: (entry[0], -entry[1])):
        yield run, episode


def forget_absent(run: Json) -> None:
    """Offer, and let levels name, only episodes that are in the page."""
    run["choices"] = choices(run["episodes"])
    names = {episode["name"] for episode in run["episodes"]}
    for split in run["levels"]["splits"] if run["levels"] else ():
        for level in split["levels"]:
            if level["recording"] not in names:
                level["recording"] = None


def run_data(shown: Shown, images: Images) -> Json:
    """One run as the page holds it."""
    recordings = shown.recordings
    addresses = partial(_addresses, recordings.folder, images)
    episodes = []
    for name, document in recordings.episodes.items():
        explained = recordings.explanations.get(name, {})
        kinds = {kind: keys for kind, keys in _EXPLANATIONS.items() if kind in explained}
        screens = list(document["variants"])
        if "slots" in explained:  # one more picture of each state, in step with the others
            screens.append({**explained["slots"], "name": "masks of slots", "differs": []})
        episodes.append(
            {key: document[key] for key in _EPISODE}
            | {"name": name, "sheets": addresses(document["sheets"])}
            | {"variants": [_placed(screen, _VARIANT, addresses) for screen in screens]}
            | {"explanations": {kind: _placed(explained[kind], keys, addresses) for kind, keys in kinds.items()}}
        )
    levels = recordings.levels
    browser = levels and {key: levels[key] for key in _LEVELS} | {
        "splits": [
            {"split": part["split"], "sheet": addresses([part["sheet"]])[0], "levels": list(map(dict, part["levels"]))}
            for part in levels["splits"]
        ]
    }
    run = {"name": shown.name, "episodes": episodes, "levels": browser}
    forget_absent(run)
    return run


def choices(episodes: Sequence[Json]) -> list[Json]:
    """Offers of the page, episodes side by side: the median, best and worst of each split, training levels first."""
    ordered = sorted(episodes, key=lambda episode: (episode["split"] != "train", episode["split"]))
    named = {word: [episode["name"] for episode in ordered if word in words_of(episode["rule"])] for word in BY_RETURN}
    return [{"title": f"{word} by return", "episodes": names} for word, names in named.items() if names]


def _addresses(folder: Path, images: Images, files: Iterable[str]) -> list[str]:
    """Images of a folder as data URIs; of no other folder, whatever a file says."""
    return [images.address(folder / Path(file).name) for file in files]


def _placed(document: Json, keys: Iterable[str], addresses: Callable[[Iterable[str]], list[str]]) -> Json:
    """These entries of a document, its sheets as images of the page."""
    return {key: addresses(document[key]) if key == "sheets" else document[key] for key in keys}


def smaller(image: bytes, quality: int) -> bytes:
    """A WebP image encoded anew; as it was where that is no smaller."""
    with Image.open(io.BytesIO(image)) as opened, io.BytesIO() as memory:
        opened.save(memory, "WEBP", quality=quality)
        return min(image, memory.getvalue(), key=len)
