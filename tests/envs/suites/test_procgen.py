"""Procgen's suites: each target's options by value, and visual variants that keep the training levels."""

import numpy as np
import pytest

from envs.procgen.games import GAMES, Options
from envs.suites import SUITES, build
from envs.suites.procgen import SHIFTS
from envs.wrappers.visual_shifts import SHIFTS as KNOWN_SHIFTS


@pytest.mark.parametrize("name", sorted(SUITES))
def test_procgen_takes_every_option_of_its_suites(name):
    for task in build(name):
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
        "heldout": {**base, "start_level": 2 * 10**6, "num_levels": 10**5},
        "no-backgrounds": {**base, "use_backgrounds": False},
        "monochrome": {**base, "use_monochrome_assets": True},
        "no-backgrounds+monochrome": {**base, "use_backgrounds": False, "use_monochrome_assets": True},
    }
    assert len(task.visual_variants) == 4


def test_coinrun_visual_has_variants_twice_and_layouts_on_heldout():
    (task,) = build("coinrun-visual")
    assert task.train_levels == 500
    assert task.source.options["distribution_mode"] == "hard"
    assert (task.source.options["use_backgrounds"], task.source.options["restrict_themes"]) == (False, True)
    variants = ["backgrounds", "themes", "backgrounds+themes", "monochrome", "monochrome+colours"]
    layouts = ["generated", "no-pits", "no-crates", "flat", "flat+no-pits+no-crates", "easy"]
    assert set(task.targets) == {"heldout", *variants, *(f"{name}/heldout" for name in variants + layouts)}
    # generated assets change the layout of a seed: they are no visual variant of the training levels
    assert not any(variant.options.get("use_generated_assets") for variant in task.visual_variants)
    assert len(task.visual_variants) == 1 + len(variants)


def test_coinrun_shifts_has_every_shift_on_both_kinds_of_levels():
    assert set(SHIFTS) == set(KNOWN_SHIFTS)
    (task,) = build("coinrun-shifts", 20)
    (plain,) = build("coinrun", 20)
    assert task.source == plain.source
    assert task.normalise == (5, 10)
    assert set(task.targets) == {"heldout", *SHIFTS, *(f"{name}/heldout" for name in SHIFTS)}
    for name in SHIFTS:
        assert task.targets[name].name == "shifted"
        assert task.targets[name].options == {"env_name": "procgen", "shift": name, **plain.source.options}
        assert task.targets[f"{name}/heldout"].options["start_level"] == 2 * 10**6
    assert task.same_state_targets == SHIFTS


@pytest.mark.procgen
def test_a_shifted_target_inverts_the_frames_of_the_source():
    (task,) = build("coinrun-shifts", 20)
    source, inverted = task.source.make(2, seed=3), task.targets["invert"].make(2, seed=3)
    plain, _ = source.reset()
    shifted, _ = inverted.reset()
    # invert at strength 2: green and blue turned over, red as it is
    np.testing.assert_array_equal(shifted, np.concatenate([plain[..., :1], 255 - plain[..., 1:]], axis=-1))
    source.close()
    inverted.close()


def test_procgen16_has_every_game_with_its_constants():
    tasks = build("procgen16")
    assert [task.env for task in tasks] == [f"{game}-easy" for game in GAMES]
    assert len(tasks) == 16
    by_env = {task.env: task.normalise for task in tasks}
    assert by_env["bigfish-easy"] == (1, 40)
    assert by_env["fruitbot-easy"] == (-1.5, 32.4)
    assert by_env["starpilot-easy"] == (2.5, 64)


def test_the_maze_is_procgen16s():
    (maze,) = build("procgen-maze")
    assert maze in build("procgen16")
    assert (maze.source.options["game"], maze.source.options["distribution_mode"]) == ("maze", "easy")
    assert maze.normalise == (5, 10)


@pytest.mark.procgen
def test_visual_variants_share_the_layout_of_the_training_levels():
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
