"""MiniGrid's suites: the ladder and the noisy TV by value."""

import numpy as np

from envs.minigrid.rules import LEFT, OBJECT, OBJECT_TO_IDX, PAD
from envs.suites import build
from envs.tasks import World


def test_the_ladder_gives_symbols_on_ten_thousand_levels():
    tasks = build("minigrid-ladder")
    assert [task.env for task in tasks] == [
        "doorkey-8x8",
        "multiroom-n2-s4",
        "multiroom-n4-s5",
        "keycorridor-s3r3",
        "keycorridor-s4r3",
    ]
    for task in tasks:
        assert (task.kind, task.normalise, task.share, task.train_levels) == ("minigrid-symbolic", (0, 1), 1.0, 10_000)
        assert task.source.options["view"] == "symbolic"
        assert set(task.targets) == {"heldout"}
    assert tasks[3].source.options == {
        "env_id": "MiniGrid-KeyCorridorS3R3-v0",
        "view": "symbolic",
        "num_levels": 10_000,
        "start_level": 0,
    }


def test_each_tv_differs_from_the_next_in_its_picture_alone():
    tasks = build("noisy-tv", 50)
    assert {task.env: task.source.options["tv"] for task in tasks} == {
        "noisy-tv": "noise",
        "still-tv": "still",
        "remote-tv": "remote",
    }
    assert len({str(task.source.with_options(tv="")) for task in tasks}) == 1
    assert all((task.kind, task.normalise) == ("noisy-tv", None) for task in tasks)


def test_memory_is_walked_alone_and_its_larger_target_is_the_next():
    tasks = build("minigrid-memory", 60)
    assert [task.env for task in tasks] == ["memory-s7", "memory-s11"]
    assert [task.source.options["env_id"] for task in tasks] == ["MiniGrid-MemoryS7-v0", "MiniGrid-MemoryS11-v0"]
    assert all(task.source.options["actions"] == "navigate" for task in tasks)
    assert set(tasks[1].targets) == {"heldout", "larger/heldout"}
    assert tasks[1].targets["larger/heldout"].options["env_id"] == "MiniGrid-MemoryS13Random-v0"


def views(size, level):
    """What the agent sees in a level from the middle of its hallway, by (x, direction 0 right ... 3 up)."""
    env = World("minigrid", {"env_id": f"MiniGrid-MemoryS{size}-v0", "view": "symbolic", "start_level": level}).make(
        1, 0
    )
    env.reset(options={"levels": np.array([level]), "repeats": np.zeros(1, int)})
    seen = {}
    for x in range(2, size - 1):
        for direction in range(4):
            cell = (x + PAD) * (size + 2 * PAD) + size // 2 + PAD
            env.set_state({"cell": np.array([cell]), "direction": np.array([(direction + 1) % 4])})
            seen[x, direction] = env.step(np.array([LEFT]))[0].tobytes()
    return seen


def differing(size):
    """Places from which two levels look different that differ in the object at the start alone."""
    env = World("minigrid", {"env_id": f"MiniGrid-MemoryS{size}-v0"}).make(1, 0)
    starts = {}
    for level in range(60):
        grid = env.layout(level).grid & 255
        things = np.flatnonzero(np.isin(OBJECT[grid], [OBJECT_TO_IDX["key"], OBJECT_TO_IDX["ball"]]))
        starts.setdefault(tuple(grid[things[1:]]), {})[int(grid[things[0]])] = level
    key_first, ball_first = next(iter(starts.values())).values()
    one, other = views(size, key_first), views(size, ball_first)
    return {place for place in one if one[place] != other[place]}


def test_only_in_the_large_level_nothing_at_the_fork_tells_the_object():
    # The fork is at x = size - 2. In S7 it shows the object to who looks left; in S11 the next cell does not, either,
    # and on the way there (direction 0) no cell does: whoever comes to the fork has no sign of it.
    small, large = differing(7), differing(11)
    assert (5, 2) in small
    assert {x for x, _ in large} == set(range(2, 8))
    assert not {place for place in small | large if place[1] == 0}
