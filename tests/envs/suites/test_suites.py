"""Suites are data: the levels and looks they promise, and errors for what they do not have."""

import subprocess
import sys

import numpy as np
import pytest

from envs.procgen.games import GAMES, Options
from envs.registry import UsageError
from envs.suites import SUITES, World, build


def levels(world):
    return range(world.options["start_level"], world.options["start_level"] + world.options["num_levels"])


@pytest.mark.parametrize("name", sorted(SUITES))
@pytest.mark.parametrize("count", [1, 37, 999_999])
def test_training_and_heldout_levels_are_disjoint(name, count):
    for task in build(name, count):
        training = range(0, count)
        assert levels(task.source) == training
        assert task.train_levels == count
        assert "heldout" in task.targets
        for split, world in task.targets.items():
            if split.endswith("heldout"):
                assert max(training) < min(levels(world))
                assert len(levels(world)) == 10**5
            else:
                assert levels(world) == training
        assert task.visual_variants[0] == task.source
        assert all(levels(look) == training for look in task.visual_variants)  # pre-training never sees held-out levels


@pytest.mark.parametrize("name", sorted(SUITES))
def test_every_option_of_a_procgen_suite_is_one_that_procgen_takes(name):
    for task in build(name):
        assert task.train_levels == SUITES[name].train_levels
        assert task.splits()["train"] is task.source
        for world in (*task.splits().values(), *task.visual_variants):
            if world.name == "procgen":
                Options.check(world.options)


def test_coinrun_changes_one_thing_a_target():
    (task,) = build("coinrun", 20)
    assert task.env == "coinrun-easy"
    assert task.normalise == (5, 10)
    base = {"game": "coinrun", "distribution_mode": "easy", "num_levels": 20, "start_level": 0}
    assert task.source.options == base
    assert {name: world.options for name, world in task.targets.items()} == {
        "heldout": {**base, "start_level": 10**6, "num_levels": 10**5},
        "no-backgrounds": {**base, "use_backgrounds": False},
        "monochrome": {**base, "use_monochrome_assets": True},
        "no-backgrounds+monochrome": {**base, "use_backgrounds": False, "use_monochrome_assets": True},
    }
    assert len(task.visual_variants) == 4


def test_coinrun_visual_shows_each_look_twice_and_each_layout_on_heldout_levels():
    (task,) = build("coinrun-visual")
    assert task.train_levels == 500
    assert task.source.options["distribution_mode"] == "hard"
    assert (task.source.options["use_backgrounds"], task.source.options["restrict_themes"]) == (False, True)
    looks = ["backgrounds", "themes", "backgrounds+themes", "monochrome", "monochrome+colours"]
    layouts = ["generated", "no-pits", "no-crates", "flat", "flat+no-pits+no-crates", "easy"]
    expected = {"heldout", *looks, *(f"{name}/heldout" for name in looks + layouts)}
    assert set(task.targets) == expected
    # generated assets change the layout of a seed: they are no look of the training levels
    assert not any(look.options.get("use_generated_assets") for look in task.visual_variants)
    assert len(task.visual_variants) == 1 + len(looks)


def test_procgen16_has_every_game_with_its_constants():
    tasks = build("procgen16")
    assert [task.env for task in tasks] == [f"{game}-easy" for game in GAMES]
    assert len(tasks) == 16
    by_env = {task.env: task.normalise for task in tasks}
    assert by_env["bigfish-easy"] == (1, 40)
    assert by_env["fruitbot-easy"] == (-1.5, 32.4)
    assert by_env["starpilot-easy"] == (2.5, 64)


@pytest.mark.procgen
def test_looks_share_the_layout_of_the_training_levels():
    (task,) = build("coinrun", 5)
    rewards = {}
    for name, world in task.splits().items():
        env = world.make(8, seed=3)
        _, infos = env.reset()
        rng = np.random.default_rng(0)
        steps = [env.step(rng.choice([7, 8], 8)) for _ in range(80)]
        rewards[name] = np.concatenate([infos["level_seed"], *(np.stack(step[1:4]).ravel() for step in steps)])
        env.close()
    for name in ("no-backgrounds", "monochrome", "no-backgrounds+monochrome"):
        np.testing.assert_array_equal(rewards["train"], rewards[name])  # same levels, rewards and ends
    assert not np.array_equal(rewards["train"], rewards["heldout"])


def test_counting_normalises_random_to_0_and_perfect_to_1():
    (task,) = build("counting", 3)
    low, high = task.normalise
    env = task.source.make(4, seed=0)
    env.reset()
    rng, totals = np.random.default_rng(0), {"random": 0.0, "perfect": 0.0}
    for policy in totals:
        episodes = 0
        for _ in range(1000):
            best = env.scripted()
            actions = best if policy == "perfect" else rng.integers(0, 4, 4)
            _, reward, terminated, truncated, _ = env.step(actions)
            totals[policy] += reward.sum()
            episodes += (terminated | truncated).sum()
        totals[policy] /= episodes
    assert (totals["random"] - low) / (high - low) == pytest.approx(0, abs=0.03)
    assert (totals["perfect"] - low) / (high - low) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("count", [0, -3, 10**6, True, 2.5])
def test_levels_out_of_range_are_refused(count):
    with pytest.raises(UsageError, match="train_levels"):
        build("coinrun", count)


def test_an_unknown_suite_or_world_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'coinrun'"):
        build("coinrn")
    with pytest.raises(UsageError, match="did you mean 'procgen'"):
        World("procgn").make(1, 0)


def test_listing_suites_imports_nothing_heavy():
    code = (
        "import sys, envs.suites as s; s.build('procgen16'); s.build('coinrun-visual');"
        "print([m for m in ('torch', 'procgen', 'gymnasium', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("name", [name for name in sorted(SUITES) if name != "procgen16"])
def test_every_split_can_be_made_and_shows_the_spaces_of_the_source(name):
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
        assert set(task.same_state_targets) <= set(task.targets)


def test_breakout_trains_on_standard_and_plays_each_variant():
    (task,) = build("breakout", 20)
    assert (task.motion, task.window) == (4, 2500)
    assert task.source.options == {
        "variant": "standard",
        "num_levels": 20,
        "start_level": 0,
        "ball_px": 2,
        "max_episode_steps": 2500,
    }
    changed = {split: world.options["variant"] for split, world in task.targets.items() if split != "heldout"}
    assert changed == {
        "middle-wall": "middle_wall",
        "half-negative": "half_negative",
        "offset-paddle": "offset_paddle",
        "random-target": "random_target",
        "juggling": "juggling",
        "moving-obstacles": "moving_obstacles",
    }


@pytest.mark.procgen
@pytest.mark.parametrize("name", ["coinrun", "coinrun-visual", "coinrun-themes", "minigrid", "counting"])
def test_paired_splits_pay_and_end_as_the_source_does(name):
    for task in build(name, 6):
        splits, told = task.splits(), {}
        for split in ("train", *task.same_state_targets):
            env = splits[split].make(6, seed=4)
            env.reset()
            rng = np.random.default_rng(1)
            steps = [env.step(rng.integers(0, env.single_action_space.n, 6))[1:4] for _ in range(60)]
            told[split] = np.stack([np.stack([part.astype(float) for part in step]) for step in steps])
            env.close()
        for split in task.same_state_targets:
            np.testing.assert_array_equal(told["train"], told[split], err_msg=f"{task.env} {split}")


def test_the_ladder_shows_symbols_on_levels_too_many_to_remember():
    tasks = build("minigrid-ladder")
    assert [task.env for task in tasks] == ["doorkey-8x8", "multiroom-n2-s4", "multiroom-n4-s5", "keycorridor-s3r3"]
    for task in tasks:
        assert (task.trunk, task.normalise, task.share, task.train_levels) == ("symbols", (0, 1), 1.0, 10_000)
        assert task.source.options["view"] == "symbolic"
        assert set(task.targets) == {"heldout"}
    assert tasks[3].source.options == {
        "env_id": "MiniGrid-KeyCorridorS3R3-v0",
        "view": "symbolic",
        "num_levels": 10_000,
        "start_level": 0,
    }


def test_each_tv_differs_from_the_next_in_what_it_shows_alone():
    tasks = build("noisy-tv", 50)
    assert {task.env: task.source.options["tv"] for task in tasks} == {
        "noisy-tv": "noise",
        "still-tv": "still",
        "remote-tv": "remote",
    }
    assert len({str(task.source.with_options(tv="")) for task in tasks}) == 1
    assert all((task.trunk, task.normalise) == ("symbols", None) for task in tasks)


def test_sparse_breakout_is_scored_by_episodes_and_the_maze_is_procgen16s():
    (sparse,) = build("breakout-sparse", 20)
    assert (sparse.env, sparse.motion, sparse.window, sparse.trunk) == ("breakout-sparse", 4, 0, "")
    assert sparse.source.options["variant"] == sparse.targets["heldout"].options["variant"] == "sparse"
    (maze,) = build("procgen-maze")
    assert maze in build("procgen16")
    assert (maze.source.options["game"], maze.source.options["distribution_mode"]) == ("maze", "easy")
    assert maze.normalise == (5, 10)
