"""Recordings of a finished run: chosen, played where they are missing, and read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.recording import sheets, store
from benchmarks.recording.choice import Choice, by_level, by_return, file_word, merged, shown_splits
from benchmarks.reporting.episodes import Returns, read_evaluation
from envs.registry import UsageError
from envs.spaces import Array

if TYPE_CHECKING:
    from agents.runs.config import RunConfig
    from agents.runs.load import TrainedAgent
    from benchmarks.recording.episode import Episode
    from envs.tasks import World

LEVELS_SHOWN = 64
"""Thumbnails of a split at most."""
Note = Callable[[str], None]
"""Told what is being recorded."""


@dataclass(frozen=True)
class Recordings:
    """Contents of a run's folder of recordings; JSON documents as ``store`` describes them."""

    folder: Path
    episodes: dict[str, store.Json] = field(default_factory=dict)
    """Name -> recording."""
    levels: store.Json | None = None
    """The level browser."""
    explanations: dict[str, dict[str, store.Json]] = field(default_factory=dict)
    """Name of a recording -> kind -> explanation of it (``explanations``)."""


@dataclass(frozen=True)
class Quality:
    """Number of recorded episodes of a run, and compression of their pictures.

    Of an agent on CoinRun (55 steps an episode) the defaults are 0.90 MB of pictures and 0.29 MB of JSON, explanations
    among them: an episode of 53 frames takes 27 KB lossless, one of 61 frames 26 KB at quality 60, JSON 0.13 KB a step.
    In a page, where pictures are a third longer, five methods come to 7.5 MB. It takes a minute on a busy core.
    """

    playable: int = 16
    """Levels of a split with an episode of their own."""
    chosen: int | None = None
    """Quality of the images of median, best and worst, 0 to 100; None: lossless."""
    others: int | None = 60
    """The same of the other levels' episodes."""
    thumbnails: int | None = 60
    kept_steps: int = 1000
    """Steps of an episode that are kept."""


def read(run: Path) -> Recordings:
    """Recordings in a run's folder that are of the run as it stands; none where there are none."""
    folder, made_from = run / store.FOLDER, store.origin(run)
    names = sorted(path.stem for path in folder.glob("*.json"))
    episodes: dict[str, store.Json] = {}
    levels, explained = None, dict[str, dict[str, store.Json]]()
    for name in names:
        document = _matching(folder, name, made_from)
        if document is None:
            continue
        if name == store.LEVELS:
            levels = document
        elif "kind" in document:
            explained.setdefault(document["of"], {})[document["kind"]] = document
        else:
            episodes[name] = document
    return Recordings(folder, episodes, levels, explained)


def _matching(folder: Path, name: str, made_from: Mapping[str, Any]) -> store.Json | None:
    """NAME.json whose run's digest is ``made_from``, whatever it was asked for."""
    try:
        kept = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["made_from"]
        same = {key: kept[key] for key in made_from} == dict(made_from)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return store.find(folder, name, kept) if same else None


def record_run(run: Path, quality: Quality | None = None, note: Note = lambda text: None) -> list[Path]:
    """Record the episodes that the rule chooses and the level browser of a finished run, where they are missing.

    Nothing else of the run is touched.

    Returns:
        the JSON files of all of them.

    Raises:
        UsageError: it has no final evaluation of named levels, or nothing of it can be seen.
    """
    returns, quality = final_returns(run), quality or Quality()
    splits = shown_splits(returns)
    chosen = [choice for split in splits for choice in by_return(split, returns[split])]
    others = [choice for split in splits for choice in by_level(split, returns[split], quality.playable)]
    recorder = Recorder(run, returns, quality.kept_steps)
    paths = recorder.record(chosen, quality.chosen, note)
    shown = {choice.name for choice in chosen}
    paths += recorder.record([choice for choice in merged(others) if choice.name not in shown], quality.others, note)
    by_place: dict[tuple[str, int], str] = {}
    for choice in (*others, *chosen):
        by_place.setdefault((choice.split, choice.level), choice.name)
    return [*paths, recorder.browser({split: returns[split] for split in splits}, by_place, quality.thumbnails)]


def final_returns(run: Path) -> dict[str, Returns]:
    """Split -> episodes of a run's final evaluation with sampled actions, whose levels have names.

    Raises:
        UsageError: there is none.
    """
    if not (run / "eval.csv").exists():
        raise UsageError(f"{run} has no final evaluation; bring it to its end with the command that began it")
    try:
        evaluation = read_evaluation(run / "eval.csv")
    except (KeyError, ValueError) as error:
        raise UsageError(f"{run / 'eval.csv'} cannot be read ({error})") from None
    if not evaluation.named_levels:
        raise UsageError(f"{run} was evaluated by a version that named no levels; its episodes cannot be played again")
    return evaluation.returns


class Recorder:
    """Plays episodes of one run and writes them down; the policy is read when the first is missing.

    Args:
        returns: split -> the evaluation's episodes, whose returns and lengths need no second playing.
        kept_steps: steps of an episode that are played and kept.
    """

    def __init__(self, run: Path, returns: Mapping[str, Returns], kept_steps: int):
        from agents.runs.config import read_config

        self.run, self.config, self.returns, self.kept_steps = run, read_config(run), returns, kept_steps
        self.folder, self.made_from = run / store.FOLDER, store.origin(run)
        self._agent: TrainedAgent | None = None

    @property
    def agent(self) -> TrainedAgent:
        from agents.runs.load import load_agent

        if self._agent is None:
            self._agent = load_agent(self.run)
        return self._agent

    def record(self, choices: list[Choice], quality: int | None, note: Note) -> list[Path]:
        """Record what is missing of ``choices``; the JSON files of all."""
        missing = [choice for choice in choices if self._find(choice, quality) is None]
        groups: dict[tuple[str, bool], list[Choice]] = {}
        for choice in missing:
            groups.setdefault((choice.split, choice.with_variants), []).append(choice)
        for (split, with_variants), group in groups.items():
            note(f"{self.run.name}: {len(group)} episodes of {split}")
            for choice, episode in zip(group, self._play(split, group, with_variants), strict=True):
                if choice.explained:
                    self._explain(choice, episode, quality)
                self._save(choice, episode, quality)
        return [self.folder / f"{choice.name}.json" for choice in choices]

    def _made_from(self, choice: Choice, quality: int | None) -> store.Json:
        return {
            **self.made_from,
            **{"rule": choice.rule, "quality": quality, "variants": choice.with_variants},
            "kept_steps": self.kept_steps,
        }

    def _find(self, choice: Choice, quality: int | None) -> store.Json | None:
        return store.find(self.folder, choice.name, self._made_from(choice, quality))

    def _play(self, split: str, choices: list[Choice], with_variants: bool) -> list[Episode]:
        from agents.runs.build import find_task
        from agents.runs.evaluate import Visits
        from benchmarks.recording.bonus import load_bonus
        from benchmarks.recording.episode import play_episodes

        names = find_task(self.config).same_state_targets if with_variants and split == "train" else ()
        worlds = self.agent.worlds
        return play_episodes(
            self.agent.policy,
            worlds[split],
            Visits(*(np.array(column) for column in zip(*((c.level, c.repeat) for c in choices), strict=True))),
            variants={name: worlds[name] for name in names if name in worlds},
            bonus=load_bonus(self.run, self.config),
            window=self.config.window,
            kept_steps=self.kept_steps,
            keep_inputs=any(choice.explained for choice in choices),
            outcomes=self._outcomes(split, choices),
        )

    def _outcomes(self, split: str, choices: list[Choice]) -> tuple[Array, Array] | None:
        """Returns and lengths of episodes; None where the evaluation's file does not hold lengths."""
        returns = self.returns[split]
        rows = {place: row for row, place in enumerate(zip(returns.levels, returns.repetitions, strict=True))}
        chosen = [rows[choice.level, choice.repeat] for choice in choices]
        lengths = returns.lengths[chosen]
        return None if np.isnan(lengths).any() else (returns.values[chosen], lengths)

    def _explain(self, choice: Choice, episode: Episode, quality: int | None) -> None:
        """Write the explanations of an episode; before the recording itself, without which they count as missing."""
        from benchmarks.recording.explanations import explanations

        for kind, (document, images) in explanations(choice.name, episode, self.agent.policy).items():
            whole = {"kind": kind, "of": choice.name, **document, "made_from": self._made_from(choice, quality)}
            store.save(self.folder, f"{choice.name}-{kind}", whole, images)

    def _save(self, choice: Choice, episode: Episode, quality: int | None) -> None:
        from benchmarks.recording.documents import episode_document

        place = {"run": self.run.name, "label": label_of(self.config), "task": self.config.env, "split": choice.split}
        document, images = episode_document(choice.name, episode, self.agent.policy.distribution, quality)
        whole = {**place, "rule": choice.rule, **document, "made_from": self._made_from(choice, quality)}
        store.save(self.folder, choice.name, whole, images)

    # level browser ----------------------------------------------------------------------------------------------------

    def browser(
        self, returns: Mapping[str, Returns], recordings: Mapping[tuple[str, int], str], quality: int | None
    ) -> Path:
        """Write levels.json, if it is missing; its path."""
        from benchmarks.recording.documents import level_rows

        made_from = {**self.made_from, "recordings": sorted(recordings.values()), "quality": quality}
        path = self.folder / f"{store.LEVELS}.json"
        if store.find(self.folder, store.LEVELS, made_from) is not None:
            return path
        with_success = not any((group.values < 0).any() for group in returns.values())
        splits: list[store.Json] = []
        images: dict[str, bytes] = {}
        size = (0, 0)
        for split, group in returns.items():
            rows = level_rows(split, group, recordings, with_success)[:LEVELS_SHOWN]
            frames = first_frames(self.agent.worlds[split], [row["level"] for row in rows])
            file = f"{store.LEVELS}-{file_word(split)}.webp"
            (images[file],) = sheets.encode(frames, quality)
            size = (frames[0].shape[0], frames[0].shape[1])
            splits.append({"split": split, "sheet": file, "levels": rows})
        shape = {"columns": sheets.COLUMNS, "width": size[1], "height": size[0]}
        return store.save(self.folder, store.LEVELS, {**shape, "splits": splits, "made_from": made_from}, images)


def first_frames(world: World, levels: list[int]) -> list[Array]:
    """First frame (H, W, 3) of each level."""
    from contextlib import closing

    from agents.runs.evaluate import SEED, names_levels
    from benchmarks.recording.screen import Screen, make_visible

    with closing(make_visible(world, len(levels), SEED)) as env:
        named = {"levels": np.array(levels), "repeats": np.zeros(len(levels), np.int64)} if names_levels(env) else None
        observation, _ = env.reset(options=named)
        return list(Screen(env).frames(observation, np.arange(len(levels))))


def label_of(config: RunConfig) -> str:
    """Method and seed of a run."""
    bonus = "" if config.bonus == "none" else f" + {config.bonus.replace(' ', ' + ')}"
    return f"{config.repr}{bonus}, seed {config.seed}"
