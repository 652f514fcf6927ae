"""Level sets: their ranges, what a drawn set depends on, and a task put on one."""

import itertools

import pytest

from envs.level_sets import HELDOUT, PRETRAINING, VALIDATION, LevelRange, published_levels, training_levels
from envs.registry import UsageError
from envs.suites import SUITES, build
from envs.tasks import levels_of


def test_no_two_ranges_meet():
    ranges = [published_levels(10**6), VALIDATION, HELDOUT, PRETRAINING, LevelRange(10**8, 2000 * 10**6)]
    for first, second in itertools.pairwise(ranges):
        assert first.start + first.count <= second.start
    assert ranges[-1].start + ranges[-1].count < 2**31  # Procgen's levels are int32


def test_a_drawn_set_is_its_task_and_seed_alone():
    assert training_levels("coinrun-easy", 3, 20) == training_levels("coinrun-easy", 3, 20)
    assert training_levels("coinrun-easy", 3, 20).start != training_levels("maze-easy", 3, 20).start
    large, small = training_levels("sprites", 7, 100_000), training_levels("sprites", 7, 20)
    assert set(small.first(20)) <= set(large.first(100_000))


def test_seeds_share_no_level():
    starts = {training_levels("coinrun-easy", seed, 10**6).start for seed in range(2000)}
    assert len(starts) == 2000
    assert all(start % 10**6 == 0 and 10**8 <= start < 2_100 * 10**6 for start in starts)


def test_the_first_levels_of_a_range():
    assert LevelRange(40, 3).first(2) == range(40, 42)
    assert LevelRange(40, 3).first(9) == range(40, 43)


def test_a_range_is_written_and_read():
    assert str(LevelRange(100_000_000, 200)) == "100000000+200"
    assert LevelRange.parse("100000000+200") == LevelRange(100_000_000, 200)
    for text in ("200", "0+0", "a+2", "1+", "-1+5"):
        with pytest.raises(UsageError, match="START"):
            LevelRange.parse(text)
    with pytest.raises(UsageError, match="1,000,000"):
        training_levels("sprites", 0, 10**6 + 1)


@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_task_moves_to_a_drawn_set(name):
    for task in build(name, 30):
        drawn = training_levels(task.env, 5, 30)
        moved = task.on_levels(drawn)
        assert levels_of(moved.source) == drawn
        assert all(levels_of(world) == drawn for world in moved.visual_variants)
        assert moved.validation is not None
        assert levels_of(moved.validation) == VALIDATION
        for split, world in task.targets.items():
            expected = HELDOUT if levels_of(world) == HELDOUT else drawn
            assert levels_of(moved.targets[split]) == expected
            same = {"start_level": 0, "num_levels": 0}
            assert {**moved.targets[split].options, **same} == {**world.options, **same}


def test_a_task_without_heldout_levels_has_no_validation():
    task = build("counting", 30)[0]
    alone = type(task)(**{**vars(task), "targets": {"swapped": task.targets["swapped"]}})
    assert alone.validation is None
