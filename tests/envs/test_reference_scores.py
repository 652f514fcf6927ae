"""Reference scores: episodes and windows counted, and rows replaced in the table."""

import numpy as np
import pytest
from PIL import Image

from envs import __main__ as cli
from envs import reference_scores
from envs.level_sets import LevelRange
from envs.named_levels import stream
from envs.reference_scores import Reference, known, returns, save
from envs.registry import UsageError
from envs.suites import SUITES, build
from envs.tasks import World

COUNTING = World("counting", {"episode_length": 10})


def test_episodes_and_windows_of_named_levels_by_hand():
    levels, repeats = [4, 9, 4, 4], [0, 0, 1, 0]
    # an episode lasts 10 + stream % 4 steps and the scripted policy earns 1 a step
    lengths = 10 + stream(np.array(levels), np.array(repeats)) % 4
    np.testing.assert_array_equal(returns(COUNTING, "scripted", levels, repeats), lengths)
    # a window runs on through the ends
    np.testing.assert_array_equal(returns(COUNTING, "scripted", levels, repeats, window=27), [27] * 4)
    random = returns(COUNTING, "random", np.arange(400), np.zeros(400), window=20)
    assert random.mean() == pytest.approx(5, abs=0.4)  # a quarter of 20; s.e. 0.1


@pytest.mark.parametrize("window", [0, 23])
@pytest.mark.parametrize("world", [COUNTING, World("breakout", {"variant": "sticky", "max_episode_steps": 40})])
def test_how_many_play_side_by_side_changes_nothing(world, window):
    levels, repeats = np.arange(7) * 3, np.arange(7) % 2
    together = returns(world, "random", levels, repeats, window)
    np.testing.assert_array_equal(together, returns(world, "random", levels, repeats, window, at_once=3))
    backwards = returns(world, "random", levels[::-1], repeats[::-1], window, at_once=2)
    np.testing.assert_array_equal(together, backwards[::-1])


def test_repetitions_of_a_level_draw_other_actions():
    sample = returns(COUNTING, "random", np.full(40, 5), np.arange(40), window=20)
    assert len(np.unique(sample)) > 3


def test_an_env_that_names_no_levels_plays_first_episodes():
    world = World("gymnasium", {"id": "CartPole-v1"})
    sample = returns(world, "random", np.arange(5), np.zeros(5))
    assert sample.shape == (5,)
    assert (sample > 5).all()


def test_a_score_plays_every_level_of_the_split_equally_often(monkeypatch):
    (task,) = build("counting", 3)
    visits = {}

    def spy(world, policy, levels, repeats, window):
        visits[world.options["start_level"], world.options.get("variant")] = list(zip(levels, repeats, strict=True))
        return np.arange(len(levels), dtype=float)

    monkeypatch.setattr(reference_scores, "returns", spy)
    rows = reference_scores.score(task.on_levels(LevelRange(10**8, 3)), "random", 7, "x")
    # 3 levels, 7 episodes: 3 rounds; unseen levels: 7 of 100,000 once
    assert visits[10**8, None] == [(10**8 + i % 3, i // 3) for i in range(9)]
    assert visits[2 * 10**6, None] == [(2 * 10**6 + i, 0) for i in range(7)]
    train = next(row for row in rows if row.split == "train")
    assert (train.levels, train.count, train.mean) == ("100000000+3", 9, 4.0)
    assert next(row for row in rows if row.split == "heldout").levels == "2000000+7"


def test_measured_plays_once_and_keeps_by_level_set(tmp_path, monkeypatch):
    table = tmp_path / "mine.csv"
    (task,) = build("counting", 3)
    own = task.on_levels(LevelRange(10**8, 3))
    rows = reference_scores.measured(own, 4, table)
    assert {(row.split, row.policy) for row in rows} == {
        (split, policy) for split in own.splits() for policy in ("random", "scripted")
    }
    assert set(known(table)) == set(rows)
    other = task.on_levels(LevelRange(2 * 10**8, 3))
    reference_scores.measured(other, 4, table)
    assert len(known(table)) == len(rows) + 2 * 2  # train and its variant; the unseen levels are the same

    def refuse(*args, **options):
        raise AssertionError("played again")

    monkeypatch.setattr(reference_scores, "returns", refuse)
    assert reference_scores.measured(own, 4, table) == rows


def test_rows_of_the_committed_table_are_taken_and_kept(tmp_path, monkeypatch):
    (task,) = build("counting", 3)
    committed = Reference("counting", "heldout", "random", -7.0, 0.5, 4, "python -m envs --score counting", "2000000+4")
    save([committed], tmp_path / "committed.csv")
    monkeypatch.setattr(reference_scores, "TABLE", tmp_path / "committed.csv")
    rows = reference_scores.measured(task.on_levels(LevelRange(10**8, 3)), 4, tmp_path / "mine.csv")
    assert committed in rows
    assert set(known(tmp_path / "mine.csv")) == set(rows)


def test_an_env_without_a_scripted_policy_is_refused():
    with pytest.raises(UsageError, match="maze has no scripted policy"):
        returns(World("procgen", {"game": "maze"}), "scripted", [0, 1], [0, 0], 5)


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
    lengths = 10 + stream(np.arange(4), np.zeros(4, np.int64)) % 4
    assert rows["train", "scripted"].mean == lengths.mean()
    assert rows["train", "scripted"].command == "python -m envs --score counting --count 4"
    assert rows["train", "scripted"].levels == "0+4"
    assert cli.main(["--score", "counting", "--count", "4", "--levels", "100000000+2"]) == 0
    assert "on levels 100000000+2" in capsys.readouterr().out


def test_every_suite_has_its_reference_rows():
    there = {(row.env, row.split) for row in known() if row.policy == "random"}
    for name in set(SUITES) - {"dmc"}:  # no policy has been played there yet
        for task in build(name):
            assert {(task.env, split) for split in task.splits()} <= there, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--show", "breakot"], "did you mean 'breakout'"),
        (["--show", "breakout/standrd"], "did you mean 'standard'"),
        (["--score", "coinrn"], "did you mean 'coinrun'"),
        (["--score", "counting", "--count", "1"], "--count 1"),
        (["--score", "counting", "--levels", "20"], "level set '20' is not START+COUNT"),
        (["--score", "counting", "--levels", "5+20", "--save"], "leave --levels out"),
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
