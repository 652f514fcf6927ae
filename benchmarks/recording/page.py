"""One self-contained page that plays episodes; it loads nothing, and opens from disk."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from agents.distributions import ActionDistribution
from benchmarks.recording.documents import episode_document
from benchmarks.recording.episode import Episode
from benchmarks.reporting.html import POLICY, environment, script_hash, template_text


def page(title: str, about: str, episodes: Mapping[str, Episode], distribution: ActionDistribution) -> str:
    """The page.

    Args:
        about: a sentence below the title.
        episodes: by the name under which they are chosen.
        distribution: the policy's, over actions.
    """
    data = []
    for number, (name, episode) in enumerate(episodes.items()):
        document, images = episode_document(f"episode-{number}", episode, distribution, quality=None)
        variants = [{**variant, "sheets": addresses(variant["sheets"], images)} for variant in document["variants"]]
        data.append({**document, "name": name, "sheets": addresses(document["sheets"], images), "variants": variants})
    script = template_text(("watch.js",))
    template = environment().get_template("watch.html")
    return template.render(
        policy=POLICY.format(f"'{script_hash(script)}'"),
        css=template_text(("page.css", "watch.css")),
        title=title,
        about=about,
        data=data,
        script=script,
    )


def addresses(files: Sequence[str], images: Mapping[str, bytes]) -> list[str]:
    """WebP images as addresses of themselves."""
    return ["data:image/webp;base64," + base64.b64encode(images[file]).decode() for file in files]
