"""The registry of suites: levels, splits and spaces of every suite, one of somebody else's, and errors."""

import subprocess
import sys
import time

import numpy as np
import pytest

from envs.registry import UsageError
from envs.suites import SUITES, build, descriptions, find_suite
from envs.tasks import World

MINE = """
from envs.tasks import HELDOUT, Suite, Task, World

def tasks(levels):
    source = World("counting", {"num_levels": levels, "start_level": 0, "size": 16})
    swapped = source.with_options(variant="swapped")
    targets = {"heldout": source.with_options(**HELDOUT), "swapped": swapped}
    return (Task("mine", source, targets, (source, swapped), (0, 13), levels, kind="mine"),)

MINE = Suite("a suite of my own", 7, tasks)
NUMBER = 3
"""


def levels(world):
    return range(world.options["start_level"], world.options["start_level"] + world.options["num_levels"])


@pytest.mark.parametrize("name", sorted(SUITES))
@pytest.mark.parametrize("count", [1, 37, 999_999])
def test_training_and_heldout_levels_are_disjoint(name, count):
    for task in build(name, count):
        training = range(0, count)
        assert levels(task.source) == training
        assert task.train_levels == count
        assert {"heldout", "serves"} & set(task.targets)
        for split, world in task.targets.items():
            if split.endswith(("heldout", "serves")):
                assert max(training) < min(levels(world))
                assert len(levels(world)) == 10**5
            else:
                assert levels(world) == training
        assert task.visual_variants[0] == task.source
        # pre-training never shows held-out levels
        assert all(levels(variant) == training for variant in task.visual_variants)
        assert task.kind
        assert set(task.same_state_targets) <= set(task.targets)


@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_suite_without_a_count_takes_its_own(name):
    for task in build(name):
        assert task.train_levels == find_suite(name).train_levels
        assert task.splits()["train"] is task.source


@pytest.mark.parametrize("name", [name for name in sorted(SUITES) if name != "procgen16"])
def test_every_split_is_made_with_the_spaces_of_the_source(name):
    for task in build(name, 20):
        spaces = set()
        for world in (*task.splits().values(), *task.visual_variants):
            try:
                env = world.make(1, 0)
            except UsageError as error:
                pytest.skip(str(error))  # an extra that is not installed
            spaces.add((str(env.single_observation_space), str(env.single_action_space)))
            env.close()
        assert len(spaces) == 1, task.env


@pytest.mark.procgen
@pytest.mark.parametrize(
    "name", ["coinrun", "coinrun-visual", "coinrun-themes", "coinrun-shifts", "minigrid", "breakout-visual", "counting"]
)
def test_same_state_targets_reward_and_end_as_the_source(name):
    for task in build(name, 6):
        splits, outcomes = task.splits(), {}
        for split in ("train", *task.same_state_targets):
            env = splits[split].make(6, seed=4)
            env.reset()
            rng = np.random.default_rng(1)
            steps = [env.step(rng.integers(0, env.single_action_space.n, 6))[1:4] for _ in range(60)]
            outcomes[split] = np.stack([np.stack([values.astype(float) for values in step]) for step in steps])
            env.close()
        for split in task.same_state_targets:
            np.testing.assert_array_equal(outcomes["train"], outcomes[split], err_msg=f"{task.env} {split}")


@pytest.mark.parametrize("count", [0, -3, 10**6, True, 2.5])
def test_levels_out_of_range_are_refused(count):
    with pytest.raises(UsageError, match="train_levels"):
        build("coinrun", count)


def test_an_unknown_suite_or_environment_names_the_nearest():
    with pytest.raises(UsageError, match="unknown suite 'coinrn'; did you mean 'coinrun'"):
        build("coinrn")
    with pytest.raises(UsageError, match="unknown environment 'procgn'; did you mean 'procgen'"):
        World("procgn").make(1, 0)


def test_listing_and_building_suites_imports_nothing_heavy():
    code = (
        "import sys, envs.suites as s; s.descriptions(); [s.build(name) for name in s.SUITES];"
        "print([m for m in ('torch', 'procgen', 'gymnasium', 'numpy') if m in sys.modules])"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
    assert time.perf_counter() - start < 5  # 0.15 s on a quiet machine


def test_every_suite_has_a_description_of_one_line():
    about = descriptions()
    assert list(about) == list(SUITES)
    assert all(text and "\n" not in text and len(text) < 110 for text in about.values())


def test_a_suite_of_ones_own_builds_and_lists(tmp_path, monkeypatch):
    (tmp_path / "somebody_elses.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    (task,) = build("somebody_elses:MINE")
    assert (task.env, task.train_levels, task.kind) == ("mine", 7, "mine")
    frames, _ = task.splits()["heldout"].make(2, seed=0).reset()
    assert frames.shape == (2, 16, 16, 3)
    from importlib.metadata import EntryPoint

    import envs.registry

    points = [EntryPoint("mine", "somebody_elses:MINE", "rl_transfer.suites")]
    monkeypatch.setattr(envs.registry, "entry_points", lambda group: points if group == "rl_transfer.suites" else [])
    assert descriptions()["mine"] == "a suite of my own"
    assert build("mine", 3)[0].train_levels == 3
    with pytest.raises(UsageError, match=r"is a int; name an object of the class envs\.tasks\.Suite"):
        build("somebody_elses:NUMBER")


def test_suites_that_do_not_ask_about_a_gap_fix_their_number_of_levels():
    fixed = {name: {task.source.options["num_levels"] for task in build(name)} for name in SUITES}
    fixed = {name: levels for name, levels in fixed.items() if find_suite(name).fixed_levels}
    exploring = {name: {10_000} for name in ("minigrid-ladder", "minigrid-memory", "noisy-tv")}
    assert fixed == exploring | {name: {100_000} for name in ("rooms", "rooms-moving", "sprites")}


@pytest.mark.parametrize("name", SUITES)
def test_more_levels_are_not_fewer_than_the_training_levels(name):
    suite = find_suite(name)
    assert suite.pretrain_levels >= suite.train_levels
