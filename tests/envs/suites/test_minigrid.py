"""MiniGrid's suites: the ladder and the noisy TV by value."""

from envs.suites import build


def test_the_ladder_gives_symbols_on_ten_thousand_levels():
    tasks = build("minigrid-ladder")
    assert [task.env for task in tasks] == ["doorkey-8x8", "multiroom-n2-s4", "multiroom-n4-s5", "keycorridor-s3r3"]
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
