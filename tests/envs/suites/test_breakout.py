"""Breakout's suites: variants by value, windows and episodes."""

from envs.suites import build


def test_breakout_trains_on_standard_and_tests_each_variant():
    (task,) = build("breakout", 20)
    assert (task.motion, task.window, task.kind) == (4, 2500, "breakout")
    assert task.source.options == {
        "variant": "standard",
        "num_levels": 20,
        "start_level": 0,
        "ball_px": 2,
        "max_episode_steps": 2500,
    }
    changed = {split: world.options["variant"] for split, world in task.targets.items() if split != "serves"}
    assert changed == {
        "middle-wall": "middle_wall",
        "half-negative": "half_negative",
        "offset-paddle": "offset_paddle",
        "random-target": "random_target",
        "juggling": "juggling",
        "moving-obstacles": "moving_obstacles",
    }


def test_levels_that_differ_by_the_serve_alone_are_not_called_heldout():
    for name, split in {
        "breakout": "serves",
        "breakout-physics": "serves",
        "breakout-sparse": "serves",
        "breakout-visual": "heldout",
        "breakout-layout": "heldout",
    }.items():
        (task,) = build(name, 20)
        on_other_levels = [key for key, world in task.targets.items() if world.options["start_level"] == 2 * 10**6]
        assert split in on_other_levels
        assert ("heldout" in task.targets) == (split == "heldout")
        # a report's primary target is "heldout", else the first: never the serves where there is another
        assert next(iter(task.targets)) != "serves" or name == "breakout-sparse"
        assert task.validation.options["start_level"] == 10**6


def test_sparse_breakout_is_scored_by_episodes():
    (sparse,) = build("breakout-sparse", 20)
    assert (sparse.env, sparse.motion, sparse.window, sparse.kind) == ("breakout-sparse", 4, 0, "breakout")
    assert sparse.source.options["variant"] == sparse.targets["serves"].options["variant"] == "sparse"
