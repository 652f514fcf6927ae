"""Split themes: only allowed ones occur, from the first frame on, and nothing but pixels differs from CoinRun."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from envs import ENVIRONMENTS
from envs.procgen.coinrun_themes import SUBSETS, CoinRunThemesVectorEnv, Themes
from envs.procgen.env import ProcgenVectorEnv
from envs.registry import UsageError
from envs.wrappers.sb3 import Sb3VecEnv

ALLOWED = {
    "train": {"wall_theme": range(3), "agent_theme": range(3), "background_index": range(31)},
    "heldout": {"wall_theme": range(3, 6), "agent_theme": range(3, 5), "background_index": range(31, 62)},
    "all": {"wall_theme": range(6), "agent_theme": range(5), "background_index": range(62)},
}
pytestmark = pytest.mark.procgen


@pytest.fixture
def make():
    made = []

    def build(cls=CoinRunThemesVectorEnv, num_envs=4, **options):
        made.append(cls(num_envs, **options))
        return made[-1]

    yield build
    for env in made:
        env.close()


def plain(make, **options):
    return make(ProcgenVectorEnv, game="coinrun", distribution_mode="hard", num_levels=500, **options)


def actions_of(steps, num_envs=4, seed=0):
    return np.random.default_rng(seed).choice([7, 8], (steps, num_envs))  # run right, jump


@pytest.mark.parametrize("part", SUBSETS)
def test_the_draw_takes_every_allowed_theme_and_no_other(part):
    drawn = Themes(part, part, part).draw(np.arange(2000))
    for name, allowed in ALLOWED[part].items():
        assert set(drawn[name].tolist()) == set(allowed)
    # independent: 3 x 3 pairs of grounds and agents (or 3 x 2, 6 x 5), each of 2000 / 9 or more levels
    pairs = len(ALLOWED[part]["wall_theme"]) * len(ALLOWED[part]["agent_theme"])
    counts = np.unique(drawn["wall_theme"] * 10 + drawn["agent_theme"], return_counts=True)[1]
    assert len(counts) == pairs
    assert counts.min() > 0.5 * 2000 / pairs


def test_themes_follow_the_level_and_one_kind_shifts_at_a_time():
    np.testing.assert_array_equal(
        Themes().draw(np.array([7, 3]))["wall_theme"][::-1], Themes().draw(np.array([3, 7]))["wall_theme"]
    )
    source, shifted = Themes().draw(np.arange(50)), Themes(backgrounds="heldout").draw(np.arange(50))
    np.testing.assert_array_equal(source["wall_theme"], shifted["wall_theme"])
    np.testing.assert_array_equal(source["agent_theme"], shifted["agent_theme"])
    assert shifted["background_index"].min() > source["background_index"].max()


@pytest.mark.parametrize("part", ["train", "heldout"])
def test_every_episode_has_its_level_s_themes_from_its_first_frame(make, part):
    env = make(themes=part, seed=2, max_episode_steps=60)
    seen = {}
    shown, infos = env.reset()
    opened = np.ones(4, bool)
    for actions in actions_of(150):
        told = env.factors()
        for name, drawn in env.themes.draw(told["level_seed"]).items():
            np.testing.assert_array_equal(told[name], drawn)
            assert set(told[name].tolist()) <= set(ALLOWED[part][name])
        for row in np.flatnonzero(opened):
            first = seen.setdefault(int(infos["level_seed"][row]), shown[row])
            np.testing.assert_array_equal(first, shown[row])  # a level opens with the same frame each time
        np.testing.assert_array_equal(env.show(env.blobs()), shown)  # and this frame is that of the patched state
        shown, _, terminated, truncated, infos = env.step(actions)
        opened = terminated | truncated
    assert len(seen) > 8


def test_rewards_ends_levels_and_motion_are_those_of_plain_coinrun(make):
    options = {"seed": 5, "num_envs": 8, "max_episode_steps": 50, "debug_mode": 4}
    themed, other = make(themes="heldout", **options), plain(make, **options)
    np.testing.assert_array_equal(themed.reset()[1]["level_seed"], other.reset()[1]["level_seed"])
    ends = 0
    for actions in actions_of(200, 8):
        mine, theirs = themed.step(actions), other.step(actions)
        for x, y in zip(mine[1:4], theirs[1:4], strict=True):
            np.testing.assert_array_equal(x, y)
        assert (mine[0] != theirs[0]).any()
        np.testing.assert_array_equal(themed.levels(), other.levels())
        ends += (mine[2] | mine[3]).sum()
    a, b = themed.factors(), other.factors()
    for name in a:
        if name not in ALLOWED["all"]:
            np.testing.assert_array_equal(a[name], b[name])
    assert ends > 20


def test_the_final_frame_is_the_patched_one_before(make):
    env = make(seed=3, num_envs=8)
    before, _ = env.reset()
    ends = 0
    for actions in actions_of(150, 8):
        after, _, terminated, _, infos = env.step(actions)
        for row in np.flatnonzero(terminated):
            np.testing.assert_array_equal(infos["final_obs"][row], before[row])
            ends += 1
        before = after
    assert ends > 5


def test_all_themes_draw_the_native_frame_where_they_agree(make):
    env, native = make(themes="all", seed=1, num_envs=64), plain(make, seed=1, num_envs=64)
    mine, theirs = env.reset()[0], native.reset()[0]
    a, b = env.factors(), native.factors()
    same = (a["wall_theme"] == b["wall_theme"]) & (a["agent_theme"] == b["agent_theme"])
    # backgrounds agree in one level of 62, so they are compared in the corner of cells that the ground covers
    assert same.any()
    for row in np.flatnonzero(same):
        np.testing.assert_array_equal(mine[row, 60:, :20], theirs[row, 60:, :20])
    other = np.flatnonzero(a["wall_theme"] != b["wall_theme"])
    assert all((mine[row, 60:, :20] != theirs[row, 60:, :20]).any() for row in other)


def test_it_goes_on_from_its_state_in_another_object(make):
    first, second = make(seed=1, max_episode_steps=20), make(seed=9, max_episode_steps=20)
    first.reset()
    for actions in actions_of(25):
        first.step(actions)
    second.set_state({key: value.copy() for key, value in first.state().items()})
    for actions in actions_of(60, seed=1):
        for x, y in zip(first.step(actions)[:4], second.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(x, y)
    for key, value in first.state().items():
        np.testing.assert_array_equal(value, second.state()[key])
    with pytest.raises(UsageError, match="backgrounds: train -> heldout"):
        make(backgrounds="heldout", max_episode_steps=20).set_state(first.state())


def test_env_i_does_not_depend_on_the_others_nor_on_reset_mask(make):
    few, many = make(num_envs=2, seed=4), make(num_envs=5, seed=4)
    np.testing.assert_array_equal(few.reset()[0], many.reset()[0][:2])
    for actions in actions_of(60, 5):
        shown = many.step(actions)[0]
        np.testing.assert_array_equal(few.step(actions[:2])[0], shown[:2])
    mask = np.array([False, True, False, False, True])
    after, infos = many.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(after[~mask], shown[~mask])
    drawn = many.themes.draw(infos["level_seed"])["wall_theme"]
    np.testing.assert_array_equal(many.factors()["wall_theme"], drawn)


def test_easy_levels_take_themes_that_easy_lacks(make):
    env = make(themes="heldout", distribution_mode="easy", num_levels=200, actions="arrows")
    env.reset()
    assert set(env.factors()["wall_theme"].tolist()) <= {3, 4, 5}
    assert env.num_actions == 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"themes": "test"}, "themes='test' is not known Known: train, heldout, all"),
        ({"grounds": "held-out"}, "did you mean 'heldout'"),
        ({"agents": 3}, "agents=3"),
        ({"restrict_themes": True}, "restrict_themes=True leaves no themes"),
        ({"use_generated_assets": True}, "use_generated_assets=True"),
        ({"use_sequential_levels": True}, "use_sequential_levels=True"),
        ({"game": "maze"}, "the game is coinrun"),
        ({"num_levels": 0}, "num_levels=0"),
    ],
)
def test_a_bad_option_is_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        CoinRunThemesVectorEnv(2, **options)
    assert "\n" not in str(caught.value)


def test_the_registry_the_ids_and_both_checkers_know_it(make):
    assert ENVIRONMENTS.resolve("coinrun-themes") is CoinRunThemesVectorEnv
    for variant in CoinRunThemesVectorEnv.variants.values():
        assert make(num_envs=1, **variant).reset()[0].shape == (1, 64, 64, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # remarks on taste; a fault raises
        env = gym.make("Procgen/CoinRunThemes-v0", themes="heldout", num_levels=10)
        check_env(env.unwrapped)
        sb3_check_env(env)
    env.close()
    envs = gym.make_vec("Procgen/CoinRunThemes-v0", num_envs=3, themes="heldout", max_episode_steps=5)
    assert isinstance(envs, CoinRunThemesVectorEnv)
    assert (envs.max_episode_steps, envs.themes.agents) == (5, "heldout")
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    adapter = Sb3VecEnv(envs)
    assert adapter.reset().shape[0] == 3
    adapter.close()
