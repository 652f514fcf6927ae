"""One self-contained page that plays episodes; it loads nothing, and opens from disk."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from markupsafe import Markup

from agents.distributions import ActionDistribution
from benchmarks.recording.documents import episode_document
from benchmarks.recording.episode import Episode
from benchmarks.reporting.html import TEMPLATES, environment

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{}'"
"""Content-Security-Policy: nothing from elsewhere, and no script but the page's own, by its hash."""


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
        addresses = [data_address(images[file]) for file in document["sheets"]]
        data.append({**document, "name": name, "sheets": addresses, "variants": []})
    script = _text(("watch.js",))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        environment()
        .get_template("watch.html")
        .render(
            policy=POLICY.format(f"sha256-{digest}"),
            title=title,
            about=about,
            css=_text(("page.css",)),
            own_css=_text(("watch.css",)),
            data=data,
            script=script,
        )
    )


def data_address(image: bytes) -> str:
    """A WebP image as the address of itself."""
    return "data:image/webp;base64," + base64.b64encode(image).decode()


def _text(files: Sequence[str]) -> Markup:
    """Styles or scripts as they stand in the page."""
    return Markup("\n".join((TEMPLATES / file).read_text(encoding="utf-8") for file in files))
