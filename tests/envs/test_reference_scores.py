"""Reference scores: episodes and windows counted, and rows replaced in the table."""

import numpy as np
import pytest
from PIL import Image

from envs import __main__ as cli
from envs import reference_scores
from envs.reference_scores import Reference, known, returns, save
from envs.registry import UsageError
from envs.suites import SUITES, build
from envs.tasks import World

COUNTING = World("counting", {"episode_length": 10})


def test_first_episodes_and_windows_by_hand():
    # env i's first episode lasts 10 + i % 4 steps and the scripted policy earns 1 a step
    np.testing.assert_array_equal(returns(COUNTING, "scripted", 5, 0), [10, 11, 12, 13, 10])
    # a window runs on through the ends
    np.testing.assert_array_equal(returns(COUNTING, "scripted", 5, 27), [27] * 5)
    random = returns(COUNTING, "random", 400, 20)
    assert random.mean() == pytest.approx(5, abs=0.4)  # a quarter of 20; s.e. 0.1


def test_an_env_without_a_scripted_policy_is_refused():
    with pytest.raises(UsageError, match="maze has no scripted policy"):
        returns(World("procgen", {"game": "maze"}), "scripted", 2, 5)


def test_saving_replaces_the_rows_of_a_task_split_and_policy(tmp_path, monkeypatch):
    monkeypatch.setattr(reference_scores, "TABLE", tmp_path / "references.csv")
    (tmp_path / "references.csv").write_text("env,split,policy,mean,std,count,command\n")
    old, other = (
        Reference("a", "train", "random", 1.0, 0.5, 8, "x"),
        Reference("b", "train", "random", 2.0, 0.5, 8, "x"),
    )
    save([old, other])
    new, beside = (
        Reference("a", "train", "random", 3.0, 0.25, 8, "y"),
        Reference("a", "look", "random", 4.0, 1.0, 8, "y"),
    )
    save([new, beside])
    assert set(known()) == {new, beside, other}


def test_the_command_prints_and_keeps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reference_scores, "TABLE", tmp_path / "references.csv")
    (tmp_path / "references.csv").write_text("env,split,policy,mean,std,count,command\n")
    assert cli.main(["--score", "counting", "--count", "4", "--save"]) == 0
    assert "scripted" in capsys.readouterr().out
    rows = {(row.split, row.policy): row for row in known()}
    assert rows["train", "scripted"].mean == 11.5  # (10 + 11 + 12 + 13) / 4
    assert rows["train", "scripted"].command == "python -m envs --score counting --count 4 --seed 0"


def test_every_suite_has_its_reference_rows():
    there = {(row.env, row.split) for row in known() if row.policy == "random"}
    for name in SUITES:
        for task in build(name):
            assert {(task.env, split) for split in task.splits()} <= there, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--show", "breakot"], "did you mean 'breakout'"),
        (["--show", "breakout/standrd"], "did you mean 'standard'"),
        (["--score", "coinrn"], "did you mean 'coinrun'"),
        (["--score", "counting", "--count", "1"], "--count 1"),
        (["--show", "counting", "--out", "/proc/no/sheet.png"], "/proc/no/sheet.png"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_listing_and_contact_sheet(tmp_path, capsys):
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    for name in ("counting", "breakout", "minigrid", "image uint8 (64, 64, 3); 3 actions", "moving_obstacles"):
        assert name in out
    path = tmp_path / "sheet.png"
    assert cli.main(["--show", "counting", "--out", str(path)]) == 0
    # two variants; frames of 64 are shown at twice their size with 2 pixels of margin around each
    with Image.open(path) as sheet:
        assert sheet.size[1] == 2 * (2 * 64 + 4)
