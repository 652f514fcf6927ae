"""The folder to read in place of a path: a run's own, or the unpacked copy of a bundle, local or on the hub.

Everything that takes a run's folder asks here first, so a bundle is accepted wherever a run is. The copy lies in the
user's cache, named by the hash of the manifest: evaluations and reports are written there, and the bundle stays whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.runs.bundles import hub
from agents.runs.bundles.address import MANIFEST, bundle_root, is_address, parse
from agents.runs.bundles.manifest import folders_of, verified
from agents.runs.bundles.pack import check_index, unpack_run
from agents.runs.config import RunConfig, parse_bonuses, read_config
from agents.runs.run_dir import open_experiment
from envs.registry import UsageError
from envs.suites.single import PREFIX, SingleEnv


@dataclass(frozen=True)
class Place:
    """A bundle, and what of it is meant."""

    folder: Path
    """Of its files."""
    name: str
    """As the user named it."""
    inside: Path
    """Relative path of what is meant: ".", or runs/<id>."""
    from_hub: bool = False


def opened(path: Path | str, classes: Collection[type | str] = ()) -> Path:
    """The folder to read in place of ``path``; a path that is no bundle, and in none, as it is.

    Args:
        path: a run's folder, an experiment directory, or anything else; a bundle; or hf://USER/REPO[@REVISION].
        classes: from outside of the toolkit, which a bundle's configuration may name.

    Raises:
        UsageError: the bundle is damaged, of another kind, cannot be got, or names other foreign code.
    """
    place = _find(path)
    return Path(path) if place is None else _unpacked(place, classes) / place.inside


def _find(path: Path | str) -> Place | None:
    if is_address(path):
        address = parse(path)
        return Place(hub.download(address), str(address), Path(address.inside), from_hub=True)
    root = bundle_root(Path(path))
    return None if root is None else Place(root, str(root), Path(path).relative_to(root))


def _unpacked(place: Place, classes: Collection[type | str]) -> Path:
    """Folder of the unpacked copy, an experiment directory."""
    names = verified(place.folder, place.name, links=place.from_hub)
    check_index(place.folder, place.name)
    runs = folders_of(names, "runs")
    if not runs:
        raise UsageError(f"bundle {place.name} holds no runs")
    for run in runs:
        check_classes(read_config(place.folder / "runs" / run), place.name, classes)
    digest = hashlib.sha256((place.folder / MANIFEST).read_bytes()).hexdigest()[:16]
    target = cache_folder() / digest
    if not target.exists():
        _unpack(place, runs, names, target)
    return target


def _unpack(place: Place, runs: Sequence[str], names: Collection[str], target: Path) -> None:
    """Write the copy whole or not at all; of two processes the first one's stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        experiment = open_experiment(aside / "copy")
        for run in runs:
            inside = f"runs/{run}/"
            own = [name.removeprefix(inside) for name in names if name.startswith(inside)]
            unpack_run(place.folder / "runs" / run, own, experiment / "runs" / run)
        try:
            experiment.rename(target)
        except OSError:
            if not target.exists():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def cache_folder() -> Path:
    """Folder of unpacked bundles: in XDG_CACHE_HOME, or in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rl-transfer" / "bundles"


def check_classes(config: RunConfig, bundle: object, classes: Collection[type | str] = ()) -> None:
    """UsageError where a configuration names code, by "package.module:NAME", that was not passed to be imported."""
    passed = {name if isinstance(name, str) else f"{name.__module__}:{name.__qualname__}" for name in classes}
    for name in foreign_names(config):
        if name not in passed:
            raise UsageError(
                f"bundle {bundle} names code from outside of the toolkit, {name}, which is not imported for a bundle; "
                "where you trust it, pass it: load_agent(path, classes=[Class])"
            )


def foreign_names(config: RunConfig) -> list[str]:
    """Places of code that a configuration names itself; registered names are not among them."""
    names = [config.repr, config.algo, *parse_names(config.bonus)]
    if config.suite.startswith(PREFIX):
        env = SingleEnv.parse(config.suite)
        names += [env.id, *(str(options["id"]) for options in env.targets.values() if "id" in options)]
    else:
        names.append(config.suite)
    return [name for name in names if ":" in name]


def parse_names(bonus: str) -> list[str]:
    """Names of the bonuses of a run; nothing is imported."""
    return list(parse_bonuses(bonus.split()))
