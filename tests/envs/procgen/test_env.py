"""Procgen's contract: seeds, splits, ends, exact state, and no value that would let the C++ end the process."""

import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from envs.procgen.engine import load_procgen
from envs.procgen.env import ProcgenVectorEnv
from envs.procgen.games import GAMES, LARGEST_SEED, Options
from envs.registry import UsageError

pytestmark = pytest.mark.procgen
NOTHING = 4
"""The action without an arrow."""


@pytest.fixture
def make():
    made = []

    def build(*args, **options):
        made.append(ProcgenVectorEnv(*args, **options))
        return made[-1]

    yield build
    for env in made:
        env.close()


def play(env, steps, seed=0, columns=None):
    """(steps) tuples of a random policy; ``columns`` keeps envs, whose actions do not depend on the number of envs."""
    rng = np.random.default_rng(seed)
    rows = slice(None) if columns is None else slice(columns)
    return [
        (*(x[rows] for x in env.step(actions)[:4]),) for actions in rng.integers(0, 15, (steps, 8))[:, : env.num_envs]
    ]


def assert_same(first, second):
    assert len(first) == len(second)
    for step_a, step_b in zip(first, second, strict=True):
        for a, b in zip(step_a, step_b, strict=True):
            np.testing.assert_array_equal(a, b)


def test_same_seed_gives_the_same_rollout_and_another_seed_another(make):
    first, second, third = (make(4, num_levels=50, seed=seed) for seed in (3, 8, 8))
    frames, infos = first.reset()
    again, _ = second.reset(seed=3)
    np.testing.assert_array_equal(frames, again)
    assert infos["_level_seed"].all()
    assert_same(play(first, 150), play(second, 150))
    assert not np.array_equal(infos["level_seed"], third.reset()[1]["level_seed"])


def test_reset_with_a_seed_starts_the_level_order_anew(make):
    env = make(4, num_levels=1000, seed=1)
    _, first = env.reset(seed=5)
    play(env, 30)
    _, second = env.reset(seed=5)
    np.testing.assert_array_equal(first["level_seed"], second["level_seed"])


def test_reset_without_a_seed_goes_on_to_new_levels(make):
    env = make(4, num_levels=100_000, seed=1)
    _, first = env.reset()
    play(env, 3)
    frames, second = env.reset()
    assert (first["level_seed"] != second["level_seed"]).all()
    assert frames.shape == (4, 64, 64, 3)
    assert frames.dtype == np.uint8


def test_an_env_does_not_depend_on_their_number_or_on_threads(make):
    few, many = make(3, num_levels=30, seed=7, num_threads=0), make(8, num_levels=30, seed=7, num_threads=3)
    np.testing.assert_array_equal(few.reset()[0], many.reset()[0][:3])
    assert_same(play(few, 200), play(many, 200, columns=3))


def test_training_and_heldout_level_seeds_stay_in_their_ranges(make):
    seen = []
    for start, count in ((0, 5), (10**6, 10**5)):
        env = make(8, num_levels=count, start_level=start, distribution_mode="hard")
        _, infos = env.reset()
        levels = set(infos["level_seed"].tolist())
        for _ in range(20):
            levels |= set(env.reset()[1]["level_seed"].tolist())
        rng = np.random.default_rng(0)
        for _ in range(100):
            _, _, terminated, truncated, infos = env.step(rng.integers(0, 15, 8))
            if infos:
                ended = terminated | truncated
                np.testing.assert_array_equal(infos["_prev_level_seed"], ended)
                levels |= set(infos["level_seed"][ended].tolist()) | set(infos["prev_level_seed"][ended].tolist())
        assert all(start <= level < start + count for level in levels)
        seen.append(levels)
    assert len(seen[0]) == 5  # every training level came up
    assert not seen[0] & seen[1]


def test_prev_level_seed_is_the_level_that_was_announced(make):
    env = make(8, "starpilot", num_levels=500)
    _, infos = env.reset()
    playing, ends = infos["level_seed"].copy(), 0
    rng = np.random.default_rng(0)
    for _ in range(250):
        *_, infos = env.step(rng.integers(0, 15, 8))
        if infos:
            ended = infos["_level_seed"]
            np.testing.assert_array_equal(infos["prev_level_seed"][ended], playing[ended])
            playing[ended] = infos["level_seed"][ended]
            ends += ended.sum()
    assert ends > 5


def test_the_time_limit_is_truncated_exactly_at_its_step(make):
    env = make(2, num_levels=1, start_level=3)
    env.reset()
    for step in range(1, 1001):
        _, reward, terminated, truncated, infos = env.step(np.full(2, NOTHING))
        assert not terminated.any()
        assert truncated.all() == (step == 1000)
    assert (reward == 0).all()
    assert not infos["prev_level_complete"].any()
    assert infos["final_obs_is_previous"].all()


def test_the_limit_counts_the_steps_of_each_env_by_itself(make):
    env = make(2, "maze", num_levels=50)
    env.reset()
    play(env, 60)
    env.reset()
    np.testing.assert_array_equal(env.state()["steps"], [0, 0])
    for _ in range(200):
        env.step(np.full(2, NOTHING))
    env.reset(options={"reset_mask": np.array([False, True])})
    np.testing.assert_array_equal(env.state()["steps"], [200, 0])
    ends = []
    for step in range(201, 701):
        _, _, terminated, truncated, _ = env.step(np.full(2, NOTHING))
        assert not terminated.any()
        ends += [(step, i) for i in np.flatnonzero(truncated)]
    assert ends == [(500, 0), (700, 1)]


def test_the_coin_at_the_very_last_step_is_terminated(make):
    env = make(8, num_levels=100, seed=2)
    env.reset()
    rng, coin = np.random.default_rng(1), np.zeros(8, bool)
    while not coin.any():
        state, actions = env.state(), rng.choice([7, 8], 8)
        coin = env.step(actions)[1] == 10
    state["steps"][:] = 999
    env.set_state(state)
    _, _, terminated, truncated, _ = env.step(actions)
    assert terminated[coin].all()
    assert not truncated[coin].any()


def test_death_and_the_coin_are_terminated_not_truncated(make):
    env = make(8, num_levels=100, seed=2)
    env.reset()
    rng, rewards = np.random.default_rng(1), []
    for _ in range(400):
        _, reward, terminated, truncated, infos = env.step(rng.choice([7, 8], 8))  # run right, jump
        assert not truncated.any()
        if terminated.any():
            rewards += reward[terminated].tolist()
            np.testing.assert_array_equal(infos["prev_level_complete"][terminated], reward[terminated] == 10)
    assert set(rewards) == {0.0, 10.0}  # both kinds of end were seen


def test_the_final_frame_is_the_one_before_and_says_so(make):
    env = make(8, num_levels=100, seed=2)
    before, _ = env.reset()
    rng, ends = np.random.default_rng(1), 0
    for _ in range(150):
        frames, _, terminated, _, infos = env.step(rng.choice([7, 8], 8))
        for i in np.flatnonzero(terminated):
            np.testing.assert_array_equal(infos["final_obs"][i], before[i])
            assert infos["final_obs_is_previous"][i]
            ends += 1
        if infos:
            assert all(infos["final_obs"][i] is None for i in np.flatnonzero(~terminated))
        assert not np.shares_memory(frames, before)
        before = frames
    assert ends > 5


def test_a_shorter_limit_gives_the_true_final_frame(make):
    free, short = make(3, num_levels=30, seed=6), make(3, num_levels=30, seed=6, max_episode_steps=12)
    free.reset()
    short.reset()
    for step in range(1, 13):
        free_frames, *_ = free.step(np.full(3, NOTHING))
        frames, _, terminated, truncated, infos = short.step(np.full(3, NOTHING))
        assert truncated.all() == (step == 12)
        assert not terminated.any()
    assert not infos["final_obs_is_previous"].any()
    for i in range(3):
        np.testing.assert_array_equal(infos["final_obs"][i], free_frames[i])
    # the next levels are those that a reset of every env would have opened
    expected, levels = free.reset()
    np.testing.assert_array_equal(frames, expected)
    np.testing.assert_array_equal(infos["level_seed"], levels["level_seed"])


def test_an_end_of_the_games_own_at_our_limit_is_terminated(make):
    env, free = make(8, num_levels=100, seed=2, max_episode_steps=900), make(8, num_levels=100, seed=2)
    env.reset()
    free.reset()
    rng, coin = np.random.default_rng(1), np.zeros(8, bool)
    while not coin.any():
        state, actions = env.state(), rng.choice([7, 8], 8)
        *_, infos = free.step(actions)
        coin = env.step(actions)[1] == 10
    state["steps"][:] = 899
    env.set_state(state)
    _, _, terminated, truncated, again = env.step(actions)
    np.testing.assert_array_equal(truncated, ~terminated)
    np.testing.assert_array_equal(again["final_obs_is_previous"], terminated)
    np.testing.assert_array_equal(again["level_seed"][terminated], infos["level_seed"][terminated])


def test_a_limit_at_or_above_the_games_own_changes_nothing(make):
    assert make(1, "maze", max_episode_steps=500).max_episode_steps is None
    assert make(1, "maze", max_episode_steps=499).max_episode_steps == 499


def test_reset_mask_leaves_the_other_rows_unchanged(make):
    masked, plain = make(3, num_levels=100_000, seed=5), make(3, num_levels=100_000, seed=5)
    masked.reset()
    plain.reset()
    play(masked, 20)
    last = play(plain, 20)[-1][0]
    mask = np.array([False, True, False])
    frames, infos = masked.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(frames[~mask], last[~mask])
    assert not np.array_equal(frames[mask], last[mask])
    np.testing.assert_array_equal(infos["_level_seed"], mask)
    for a, b in zip(play(masked, 50, seed=1), play(plain, 50, seed=1), strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x[~mask], y[~mask])


@pytest.mark.parametrize("mask", [np.zeros(3, bool), np.ones(2, bool), np.ones(3, int)])
def test_a_bad_reset_mask_is_refused(make, mask):
    env = make(3)
    env.reset()
    with pytest.raises(UsageError, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


@pytest.mark.parametrize("game", ["coinrun", "starpilot", "dodgeball"])
def test_state_goes_on_identically_in_another_object(make, game):
    first = make(3, game, num_levels=40, seed=1, num_threads=0)
    first.reset()
    play(first, 60)
    state = first.state()
    assert all(isinstance(value, np.ndarray) and value.flags.writeable for value in state.values())
    state = {key: value.copy() for key, value in state.items()}
    second = make(3, game, num_levels=40, seed=99, num_threads=2)
    second.set_state(state)
    continued = play(first, 400, seed=1)
    assert any(step[2].any() for step in continued)  # the round trip runs over episode ends
    assert_same(continued, play(second, 400, seed=1))
    for key, value in first.state().items():
        np.testing.assert_array_equal(value, second.state()[key])
    third = make(3, game, num_levels=40, seed=98)
    third.reset()
    third.set_state(state)  # also into an object that was under way
    assert_same(continued, play(third, 400, seed=1))


def test_state_carries_the_step_count_and_the_previous_frame(make):
    first, second = make(1, "maze"), make(1, "maze", seed=4)
    first.reset()
    for _ in range(499):
        frames = first.step(np.array([NOTHING]))[0]
    second.set_state(first.state())
    _, _, terminated, truncated, infos = second.step(np.array([NOTHING]))
    assert truncated[0]
    assert not terminated[0]
    np.testing.assert_array_equal(infos["final_obs"][0], frames[0])


def test_a_state_of_other_options_is_refused(make):
    first, second = make(2, num_levels=40), make(2, num_levels=41)
    first.reset()
    with pytest.raises(UsageError, match="num_levels: 40 -> 41"):
        second.set_state(first.state())


def test_no_state_before_reset_or_with_generated_assets(make):
    with pytest.raises(UsageError, match="reset"):
        make(1).state()
    env = make(2, use_generated_assets=True)
    env.reset()
    assert not env.exact_state
    with pytest.raises(UsageError, match="use_generated_assets"):
        env.state()
    with pytest.raises(UsageError, match="use_generated_assets"):
        env.set_state({})
    with pytest.raises(UsageError, match="reset_mask"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.step(np.zeros(2, int))
    env.reset()  # without a state, a full reset still works


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"game": "coinrunn"}, "did you mean 'coinrun'"),
        ({"game": 3}, "unknown game"),
        ({"distribution_mode": "extreme"}, "it has easy, hard, exploration"),
        ({"game": "bigfish", "distribution_mode": "memory"}, "it has easy, hard$"),
        ({"distribution_mode": "exploration"}, "num_levels=1"),
        ({"num_levels": 0}, "every level, training levels included"),
        ({"num_levels": -1}, "num_levels=-1"),
        ({"num_levels": True}, "num_levels=True"),
        ({"num_levels": 2.0}, "num_levels=2.0"),
        ({"start_level": -1}, "start_level=-1"),
        ({"start_level": 2**31}, "start_level=2147483648"),
        ({"start_level": LARGEST_SEED, "num_levels": 1}, "lower start_level"),
        ({"num_envs": 0}, "num_envs=0"),
        ({"num_threads": -1}, "num_threads=-1"),
        ({"max_episode_steps": 0}, "max_episode_steps=0"),
        ({"max_episode_steps": 10, "use_generated_assets": True}, "use_generated_assets"),
        ({"max_episode_steps": 10, "use_sequential_levels": True}, "use_sequential_levels"),
        ({"use_backgrounds": 1}, "use_backgrounds=1"),
        ({"center_agent": "yes"}, "center_agent='yes'"),
        ({"debug_mode": 16}, "debug_mode=16"),
        ({"game": "maze", "debug_mode": 2}, "coinrun only"),
        ({"render_mode": "human"}, "rgb_array"),
        ({"use_background": False}, "did you mean 'use_backgrounds'"),
        ({"seed_of_all": 3}, "unknown option 'seed_of_all'"),
    ],
)
def test_a_bad_value_is_an_error_in_python(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        ProcgenVectorEnv(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("actions", [[15, 0], [0, -1]])
def test_actions_out_of_range_are_refused(make, actions):
    env = make(2)
    env.reset()
    with pytest.raises(UsageError, match=r"0\.\.14"):
        env.step(np.array(actions))


@pytest.mark.parametrize("seed", [2**40, -1, np.int64(3)])
def test_any_integer_is_a_seed(make, seed):
    assert len(make(2, seed=seed).reset(seed=seed)[0]) == 2


def test_a_list_of_seeds_is_refused(make):
    with pytest.raises(UsageError, match="one integer"):
        make(2).reset(seed=[1, 2])


@pytest.mark.parametrize("game", sorted(GAMES))
def test_all_games_and_all_their_modes_step(make, game):
    for mode in ("easy", "hard", *GAMES[game].modes):
        levels = {"num_levels": 1} if mode == "exploration" else {}
        env = make(2, game, distribution_mode=mode, **levels)
        env.reset()
        frames, reward, terminated, truncated, _ = env.step(np.array([7, 8]))
        assert (frames.shape, frames.dtype) == ((2, 64, 64, 3), np.uint8)
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float32, bool, bool)


def test_sequential_levels_start_the_clock_anew_without_an_end(make):
    env = make(8, num_levels=100, seed=2, use_sequential_levels=True)
    env.reset()
    rng, solved = np.random.default_rng(1), 0
    for _ in range(150):
        counts = env.state()["steps"]
        _, reward, terminated, _, _ = env.step(rng.choice([7, 8], 8))
        coin = reward == 10
        assert not (coin & terminated).any()
        assert (env.state()["steps"] == np.where(coin | terminated, 0, counts + 1)).all()
        solved += coin.sum()
    assert solved


def test_time_limits_of_the_games():
    limits = {game: Options(game=game).time_limit for game in GAMES}
    special = {"bigfish": 6000, "bossfight": 4000, "plunder": 4000, "leaper": 500, "maze": 500}
    assert limits == {game: special.get(game, 1000) for game in GAMES}
    assert Options(game="jumper", distribution_mode="memory").time_limit == 2000


def test_gymnasium_ids_pass_both_checkers():
    for env_id in ("Procgen/CoinRun-v0", "Procgen/Maze-v0"):
        env = gym.make(env_id, num_levels=10)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # remarks on taste; a fault raises
            check_env(env.unwrapped)
            sb3_check_env(env)
        env.close()
    assert len(GAMES) == 16
    assert {f"Procgen/{game.title}-v0" for game in GAMES.values()} <= set(gym.registry)


def test_the_single_env_ends_with_the_frame_before_and_python_types():
    env = gym.make("Procgen/StarPilot-v0", num_levels=10, render_mode="rgb_array")
    frame, info = env.reset(seed=1)
    assert type(info["level_seed"]) is int
    level, done = info["level_seed"], False
    while not done:
        before = frame
        frame, reward, terminated, truncated, info = env.step(4)
        done = terminated or truncated
        assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    np.testing.assert_array_equal(frame, before)
    np.testing.assert_array_equal(env.render(), frame)
    assert info == {"prev_level_seed": level, "prev_level_complete": False, "final_obs_is_previous": True}
    env.close()
    env.close()


def test_make_vec_builds_the_vector_class_and_hands_over_the_limit():
    envs = gym.make_vec("Procgen/CoinRun-v0", num_envs=3, num_levels=10, max_episode_steps=5)
    assert isinstance(envs, ProcgenVectorEnv)
    assert envs.max_episode_steps == 5
    assert envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    envs.close()


def test_gymnasiums_episode_recorder_works_on_it(make):
    env = RecordEpisodeStatistics(make(3, num_levels=10, max_episode_steps=7))
    env.reset()
    for _ in range(7):
        *_, infos = env.step(np.full(3, NOTHING))
    np.testing.assert_array_equal(infos["episode"]["l"], [7, 7, 7])
    assert infos["_episode"].all()


def test_render_gives_the_frames_only_when_asked(make):
    env = make(2, render_mode="rgb_array")
    frames, _ = env.reset()
    np.testing.assert_array_equal(env.render(), frames)
    assert make(2).render() is None


@pytest.mark.parametrize("first", ["envs.procgen.env", "envs.wrappers.sb3"])
def test_import_prints_and_warns_nothing(first):
    code = f"import {first}; from envs.procgen.engine import load_procgen; load_procgen(); import gym"
    done = subprocess.run([sys.executable, "-W", "error::DeprecationWarning:procgen", "-c", code], capture_output=True)
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_missing_procgen_names_the_wheel(monkeypatch):
    monkeypatch.setitem(sys.modules, "procgen", None)
    monkeypatch.setattr(np, "__version__", "2.3.0")  # a missing wheel is never blamed on numpy
    with pytest.raises(UsageError, match=r"pip install procgen-mirror==0\.10\.7") as caught:
        load_procgen()
    assert "numpy" not in str(caught.value)


@pytest.mark.parametrize(
    ("version", "failure", "message"),
    [
        ("2.3.0", "ImportError('numpy.core.multiarray failed to import')", "pip install 'numpy<2'"),
        ("2.3.0", "AttributeError(\"module 'numpy' has no attribute 'bool8'\")", "pip install 'numpy<2'"),
        ("2.3.0", "ImportError('libGL.so.1: cannot open shared object file')", "libGL.*reinstall procgen"),
        ("1.26.4", "ImportError('numpy.core.multiarray failed to import')", "reinstall procgen"),
    ],
)
def test_a_broken_import_names_numpy_only_where_numpy_broke_it(monkeypatch, tmp_path, version, failure, message):
    (tmp_path / "procgen.py").write_text(f"raise {failure}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "procgen", raising=False)
    monkeypatch.setattr(np, "__version__", version)
    with pytest.raises(UsageError, match=message) as caught:
        load_procgen()
    assert ("numpy<2" in str(caught.value)) == ("numpy<2" in message)
