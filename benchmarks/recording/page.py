"""One self-contained page that plays episodes; it loads nothing, and opens from disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest

from agents.distributions import ActionDistribution
from benchmarks.recording.documents import episode_document
from benchmarks.recording.episode import Episode
from benchmarks.recording.sheets import address
from benchmarks.recording.store import Json
from benchmarks.reporting.html import POLICY, SCRIPTS, STYLES, environment, script_hash, template_text
from benchmarks.reporting.player import contents


def page(title: str, about: str, episodes: Mapping[str, Sequence[Episode]], distribution: ActionDistribution) -> str:
    """The page: the report's player, whose choices are the first episode of each split, the second, and so on.

    Args:
        about: a sentence above the player.
        episodes: of each split.
        distribution: the policy's, over actions.
    """
    shown = {
        split: [_contents(f"{split}-{number}", split, episode, distribution) for number, episode in enumerate(group)]
        for split, group in episodes.items()
    }
    rows = [[episode for episode in row if episode is not None] for row in zip_longest(*shown.values())]
    choices = [
        {"title": f"{number}: {_levels(row)}", "episodes": [episode["name"] for episode in row]}
        for number, row in enumerate(rows, 1)
    ]
    every = [episode for group in shown.values() for episode in group]
    script = template_text(SCRIPTS)
    return (
        environment()
        .get_template("watch.html")
        .render(
            policy=POLICY.format(f"'{script_hash(script)}'"),
            css=template_text(STYLES),
            title=title,
            player=contents(about, [{"name": title, "episodes": every, "choices": choices, "levels": None}]),
            script=script,
        )
    )


def _levels(row: Sequence[Json]) -> str:
    levels = dict.fromkeys(str(episode["level"]) for episode in row)
    return f"level{'s' * (len(levels) > 1)} {', '.join(levels)}"


def _contents(name: str, split: str, episode: Episode, distribution: ActionDistribution) -> Json:
    document, images = episode_document(name, episode, distribution, quality=None)
    addresses = {file: address(image) for file, image in images.items()}
    for screen in (document, *document["variants"]):
        screen["sheets"] = [addresses[file] for file in screen["sheets"]]
    rule = f"repetition {episode.repeat}, {'likeliest' if episode.greedy else 'sampled'} actions"
    return document | {"name": name, "split": split, "rule": rule, "explanations": {}}
