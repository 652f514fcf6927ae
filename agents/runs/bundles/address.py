"""Addresses of bundles: a folder, something in one, or hf://USER/REPO[@REVISION][/runs/ID].

Nothing here is slow to import: every command asks whether its arguments are bundles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envs.registry import UsageError

MANIFEST = "MANIFEST.sha256"
DEPTH = 4
"""Folders between a bundle and what is named in it, at most: BUNDLE/runs/<id>/policies/FILE."""
ADDRESS = re.compile(
    r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?(?:/(?P<inside>runs/[\w+-][\w.+-]*))?/?", re.ASCII
)
"""A path object turns the two slashes into one."""


@dataclass(frozen=True)
class Address:
    """A repository, a revision of it, and what of it is meant."""

    repo: str
    revision: str | None = None
    inside: str = "."

    def __str__(self) -> str:
        return f"hf://{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_address(path: Path | str) -> bool:
    """True for what begins with hf:/ ."""
    return str(path).startswith("hf:/")


def parse(path: Path | str) -> Address:
    """The parts of an address. UsageError where it is none."""
    match = ADDRESS.fullmatch(str(path))
    if match is None:
        raise UsageError(f"'{path}' is no bundle on the hub; write hf://USER/REPO, or hf://USER/REPO@REVISION")
    return Address(match["repo"], match["revision"], match["inside"] or ".")


def bundle_root(path: Path) -> Path | None:
    """The local bundle that ``path`` is, or is in; None for any other path."""
    candidates: Sequence[Path] = (path, *list(path.parents)[:DEPTH])
    return next((folder for folder in candidates if (folder / MANIFEST).exists()), None)


def is_bundle(path: Path | str) -> bool:
    """True for a bundle, or something in one; nothing is downloaded."""
    return is_address(path) or bundle_root(Path(path)) is not None
