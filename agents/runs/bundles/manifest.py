"""Names and kinds of the files that a bundle may have, and their hashes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from agents.checkpoint import sha256, write_aside
from agents.runs.bundles.address import MANIFEST
from envs.registry import UsageError

KINDS = (".safetensors", ".json", ".csv", ".md", ".png", ".webp", ".gif")
"""Endings of files in a bundle: tensors, plain data, text and pictures. None of them can run anything."""
NAME = re.compile(r"(?:[\w+-][\w.+-]*/){0,4}[\w+-][\w.+-]*", re.ASCII)
"""Relative paths of plain characters; no part of one begins with a point."""
LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def check_name(name: str, bundle: object) -> None:
    """UsageError for a file that no bundle may have, by its name alone."""
    if not NAME.fullmatch(name):
        raise UsageError(f"bundle {bundle} names a file {name!r}: only plain relative paths are taken; do not use it")
    if name != MANIFEST and not name.endswith(KINDS):
        raise UsageError(
            f"bundle {bundle} has a file {name}: only {', '.join(KINDS)} are taken, which cannot run anything; do not "
            "use it"
        )


def write(folder: Path) -> None:
    """Write the manifest of all files in a folder; UsageError for one of another kind."""
    names = sorted(files_in(folder))
    for name in names:
        check_name(name, folder)
    text = "".join(f"{sha256(folder / name)}  {name}\n" for name in names)
    write_aside(folder / MANIFEST, lambda aside: aside.write_text(text, encoding="utf-8"))


def verified(folder: Path, bundle: object, links: bool = False) -> dict[str, str]:
    """File -> hash, of a bundle whose files are those of its manifest, to the byte.

    Args:
        bundle: its name in messages.
        links: files may be symbolic links, as in the hub client's cache.

    Raises:
        UsageError: they are not, or one is of another kind.
    """
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"bundle {bundle}: {MANIFEST} cannot be read ({type(error).__name__}); get it again") from None
    listed: dict[str, str] = {}
    for line in lines:
        match = LINE.fullmatch(line)
        if match is None or match[2] in listed:
            raise UsageError(f"bundle {bundle}: {MANIFEST} has a line {line[:80]!r}; get it again")
        check_name(match[2], bundle)
        listed[match[2]] = match[1]
    present = files_in(folder)
    for name in present:
        check_name(name, bundle)
    _compare(folder, bundle, listed, present, links)
    return listed


def _compare(folder: Path, bundle: object, listed: dict[str, str], present: set[str], links: bool) -> None:
    if missing := sorted(listed.keys() - present):
        raise UsageError(f"bundle {bundle} lacks {missing[0]}, which {MANIFEST} lists; get it again")
    if more := sorted(present - listed.keys()):
        raise UsageError(f"bundle {bundle} has {more[0]}, which {MANIFEST} does not list; do not use it")
    for name, digest in listed.items():
        path = folder / name
        if not links and any(part.is_symlink() for part in (path, *list(path.parents)[: name.count("/")])):
            raise UsageError(f"bundle {bundle}: {name} is a link; only files are taken")
        if sha256(path) != digest:
            raise UsageError(f"bundle {bundle}: {name} does not match {MANIFEST}; get it again")


def files_in(folder: Path) -> set[str]:
    """Relative paths of the files in a folder, but for the manifest and for hidden ones at its top, as of git."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return {name for name in names if not name.startswith(".")} - {MANIFEST}


def folders_of(names: Iterable[str], parent: str) -> list[str]:
    """Names of the folders directly below ``parent`` in a bundle, sorted."""
    return sorted({name.split("/")[1] for name in names if name.startswith(f"{parent}/") and name.count("/") > 1})
