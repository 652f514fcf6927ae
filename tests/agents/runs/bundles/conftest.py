"""An experiment with two seeds of a row with a bonus and one of another, and the first row as a bundle."""

import shutil

import pytest

from agents.runs.bundles import manifest
from benchmarks.share import main
from tests.agents.runs.tools import run_config, train_here

SHORT = {"steps": 128, "periodic_evals": 1, "kept_policies": 0, "splits": ("train", "heldout"), "bonus": "rnd:0.5"}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Folder of unpacked bundles, in place of the user's."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def experiment(tmp_path_factory):
    from dataclasses import asdict

    from intrinsic import BONUSES

    settings = {"rnd": asdict(BONUSES.resolve("rnd").Config(width=8, batch=16))}
    out = tmp_path_factory.mktemp("experiment")
    for seed in (1, 2):
        train_here(out, run_config(**SHORT, seed=seed, bonus_settings=settings))
    train_here(out, run_config("blind", **{**SHORT, "bonus": "none"}))
    return out


@pytest.fixture(scope="session")
def shared(experiment, tmp_path_factory, cache):
    """The bundle; tests that change something take a copy."""
    folder = tmp_path_factory.mktemp("shared") / "bundle"
    assert main([str(experiment), "--row", "cnn + rnd:0.5", "--to", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(shared, tmp_path):
    return shutil.copytree(shared, tmp_path / "copy")


def relisted(folder):
    """Write the manifest again, as whoever changed a file on purpose would."""
    (folder / manifest.MANIFEST).unlink()
    manifest.write(folder)
