"""Methods, algorithms and suites of one's own, from outside the tree, named on the command line."""

import csv
import json

import pytest

from benchmarks import explore, transfer
from tests.readme import own_representation

ALGORITHM = '''
"""A2C whose advantages are clipped."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from agents.a2c import A2C, A2CConfig


@dataclass(frozen=True)
class ClippedConfig(A2CConfig):
    """A2C's settings, and the clip."""

    clip: float = 1.0
    """Largest absolute advantage."""


class ClippedA2C(A2C):
    """A2C with advantages in [-clip, clip]."""

    Config: ClassVar[type[ClippedConfig]] = ClippedConfig

    def policy_loss(self, log_pi: Tensor, old_log_pi: Tensor, advantage: Tensor) -> Tensor:
        return super().policy_loss(log_pi, old_log_pi, advantage.clamp(-self.config.clip, self.config.clip))
'''


SUITE = """
from envs.tasks import Suite, Task, World, with_heldout

SOURCE = World("counting", {"num_actions": 3})


def tasks(levels):
    source = SOURCE.with_options(num_levels=levels, start_level=0)
    targets = with_heldout({"swapped": source.with_options(variant="swapped")})
    return (Task("three", source, targets, (source,), (0, 1), levels, kind="mine"),)


THREE = Suite("counting with three actions", 5, tasks)
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder on the import path."""
    folder = tmp_path / "outside"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def configs(out):
    return [json.loads(path.read_text()) for path in out.glob("runs/*/config.json")]


def test_an_algorithm_trains_by_its_place_under_both_commands(outside, tmp_path, capsys):
    (outside / "my_a2c.py").write_text(ALGORITHM)
    argv = ["--algo", "my_a2c:ClippedA2C", "--preset", "smoke", "--set", "clippeda2c.clip=0.5"]
    common = [*argv, "--steps", "2048", "--no-baseline"]
    assert transfer.main([*common, "--suite", "counting", "--repr", "cnn", "--out", str(tmp_path / "t")]) == 0
    assert "2,048 frames of CLIPPEDA2C" in capsys.readouterr().out
    (config,) = configs(tmp_path / "t")
    assert config["algo"] == "my_a2c:ClippedA2C"
    assert config["algo_settings"]["clip"] == 0.5
    assert config["algo_settings"]["n_steps"] == 64  # the preset's size for an algorithm it does not know
    (run,) = (tmp_path / "t" / "runs").iterdir()
    assert run.name.startswith("counting-cnn-online-clippeda2c-")
    assert list(json.loads((run / "source.json").read_text())["foreign_sources"]) == ["my_a2c:ClippedA2C"]
    with open(tmp_path / "t" / "results.csv") as handle:
        assert {row["algo"] for row in csv.DictReader(handle)} == {"my_a2c:ClippedA2C"}
    assert explore.main([*argv, "--dry-run", "--bonus", "none", "--out", str(tmp_path / "e")]) == 0
    assert "frames of CLIPPEDA2C" in capsys.readouterr().out


@pytest.mark.parametrize("command", [transfer, explore])
def test_an_unknown_algorithm_is_refused_by_name(command, capsys):
    assert command.main(["--algo", "pppo"]) == 2
    assert "unknown algorithm 'pppo'; did you mean 'ppo'?" in capsys.readouterr().err
    assert command.main(["--algo", "no.such:Thing"]) == 2
    assert "algorithm 'no.such:Thing': no module 'no.such'" in capsys.readouterr().err


def test_a_representation_trains_by_its_place(outside, tmp_path):
    (outside / "own_representation.py").write_text(own_representation())
    argv = [
        "--suite",
        "counting",
        "--repr",
        "own_representation:Mine",
        "--preset",
        "smoke",
        "--steps",
        "1024",
        "--no-baseline",
    ]
    assert transfer.main([*argv, "--out", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "results.csv") as handle:
        assert {row["repr"] for row in csv.DictReader(handle)} == {"own_representation:Mine"}


@pytest.mark.parametrize("command", [transfer, explore])
def test_a_suite_trains_by_its_place_under_both_commands(command, outside, tmp_path):
    (outside / "my_suite.py").write_text(SUITE)
    argv = ["--suite", "my_suite:THREE", "--repr", "cnn", "--preset", "smoke", "--steps", "1024", "--no-baseline"]
    if command is explore:
        argv += ["--bonus", "none"]
    assert command.main([*argv, "--out", str(tmp_path / "out")]) == 0
    (config,) = configs(tmp_path / "out")
    assert (config["suite"], config["env"]) == ("my_suite:THREE", "three")
    assert config["splits"] == ["train", "swapped", "swapped/heldout"]
    (run,) = (tmp_path / "out" / "runs").iterdir()
    assert list(json.loads((run / "source.json").read_text())["foreign_sources"]) == ["my_suite:THREE"]


def test_a_place_that_is_no_suite_is_refused(outside, capsys):
    (outside / "no_suite.py").write_text("NUMBER = 3\n")
    assert transfer.main(["--suite", "no_suite:NUMBER"]) == 2
    assert "suite 'no_suite:NUMBER' is a int; name an object of the class envs.tasks.Suite" in capsys.readouterr().err
