"""The contract of our own environments, tried on every one that is registered."""

import importlib.util
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from envs import ENVIRONMENTS
from envs.registry import UsageError
from envs.vector_env import BatchedEnv, SingleEnv
from envs.wrappers.sb3 import Sb3VecEnv

ROOT = Path(__file__).resolve().parents[2]


def cases():
    """Parameters (class, options) of every variant of everything built on BatchedEnv."""
    found = []
    for name in ENVIRONMENTS:
        try:
            cls = ENVIRONMENTS.resolve(name)
        except UsageError:
            continue  # its extra is not installed
        if issubclass(cls, BatchedEnv):
            found += [pytest.param(cls, options, id=f"{name}-{variant}") for variant, options in cls.variants.items()]
    return found


CASES = cases()
IDS = sorted(
    env_id
    for env_id, spec in gym.registry.items()
    if str(spec.entry_point).startswith("envs.") and not env_id.startswith("Procgen/")
    if not env_id.startswith("DMC-") or importlib.util.find_spec("mujoco")
)


def flat(seen):
    return list(seen.values()) if isinstance(seen, dict) else [seen]


def equal(left, right):
    assert all(np.array_equal(x, y) for x, y in zip(flat(left), flat(right), strict=True))


def play(env, steps, seed=0, first=True):
    """Everything that comes out of ``steps`` random steps: (obs, reward, terminated, truncated, infos)."""
    rng = np.random.default_rng(seed)
    if first:
        env.reset()
    return [env.step(np.stack([rng.integers(env.num_actions, size=env.num_envs)])[0]) for _ in range(steps)]


@pytest.mark.parametrize("env_id", IDS)
def test_both_libraries_accept_the_single_env(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of render modes, human windows and obs keys SB3 has no opinion on
        env = gym.make(env_id)
        assert isinstance(env.unwrapped, SingleEnv)
        check_env(env.unwrapped, skip_render_check=True)
        sb3_check_env(env.unwrapped, skip_render_check=True)
    env.close()
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_make_and_make_vec_have_the_same_space(env_id):
    one, many = gym.make(env_id, render_mode="rgb_array"), gym.make_vec(env_id, num_envs=3)
    assert one.observation_space == many.single_observation_space
    assert one.action_space == many.single_action_space
    one.reset(seed=3)
    assert one.render().dtype == np.uint8
    assert many.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert pickle.loads(pickle.dumps(gym.spec(env_id).entry_point)) == gym.spec(env_id).entry_point


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_env_i_does_not_depend_on_how_many_there_are(cls, options):
    few, many = cls(2, seed=5, max_episode_steps=7, **options), cls(5, seed=5, max_episode_steps=7, **options)
    first, second = few.reset()[0], many.reset()[0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        equal(first, {k: v[:2] for k, v in second.items()} if isinstance(second, dict) else second[:2])
        actions = rng.integers(few.num_actions, size=5)
        first, *outcome = few.step(actions[:2])
        second, *others = many.step(actions)
        for mine, theirs in zip(outcome[:3], others[:3], strict=True):
            np.testing.assert_array_equal(mine, theirs[:2])


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_a_seed_repeats_everything_and_another_does_not(cls, options):
    def told(seed):
        env = cls(3, seed=seed, max_episode_steps=9, **options)
        start = env.reset()[0]
        return flat(start)[0], [flat(s[0])[0] for s in play(env, 30, first=False)], env.level.copy()

    one, again, other = told(1), told(1), told(2)
    np.testing.assert_array_equal(one[0], again[0])
    assert all(np.array_equal(x, y) for x, y in zip(one[1], again[1], strict=True))
    assert not np.array_equal(one[2], other[2])


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_the_final_frame_is_that_of_an_env_without_the_limit(cls, options):
    limit = 6
    short, long = cls(3, seed=2, max_episode_steps=limit, **options), cls(3, seed=2, max_episode_steps=None, **options)
    short.reset()
    long.reset()
    rng = np.random.default_rng(1)
    for _ in range(limit):
        actions = rng.integers(short.num_actions, size=3)
        shown, _, terminated, truncated, infos = short.step(actions)
        free, _, free_terminated, _, _ = long.step(actions)
        np.testing.assert_array_equal(terminated, free_terminated)
        if terminated.any():
            return  # ended before the limit: the other environments test it
    assert truncated.all()
    for i in range(3):
        equal(infos["final_obs"][i], {k: v[i] for k, v in free.items()} if isinstance(free, dict) else free[i])
    assert infos["_final_obs"].all()
    assert not any(np.array_equal(x, y) for x, y in zip(flat(shown), flat(free), strict=True) if x.ndim > 2)


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_reset_mask_leaves_the_other_rows_unchanged(cls, options):
    env = cls(4, seed=3, **options)
    env.reset()
    before = play(env, 5, first=False)[-1][0]
    mask = np.array([False, True, False, True])
    after, infos = env.reset(options={"reset_mask": mask})
    for x, y in zip(flat(before), flat(after), strict=True):
        np.testing.assert_array_equal(x[~mask], y[~mask])
    np.testing.assert_array_equal(env.time, [env.time[0], 0, env.time[2], 0])
    np.testing.assert_array_equal(infos["_level_seed"], mask)
    with pytest.raises(UsageError, match="reset_mask"):
        env.reset(options={"reset_mask": np.zeros(4, bool)})


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_state_goes_on_in_another_object(cls, options):
    first, second = cls(3, seed=1, max_episode_steps=11, **options), cls(3, seed=9, max_episode_steps=11, **options)
    second.reset()
    play(first, 17)
    second.set_state(first.state())
    for one, two in zip(play(first, 25, 4, first=False), play(second, 25, 4, first=False), strict=True):
        equal(one[0], two[0])
        for x, y in zip(one[1:4], two[1:4], strict=True):
            np.testing.assert_array_equal(x, y)
    with pytest.raises(UsageError, match="nonsense"):
        second.set_state({"nonsense": np.zeros(3)})
    with pytest.raises(UsageError, match="shape"):
        cls(2, **options).set_state(first.state())


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_observations_are_fresh_in_their_space_and_taken_by_the_adapter(cls, options):
    env = cls(3, seed=4, max_episode_steps=8, render_mode="rgb_array", **options)
    seen, _ = env.reset()
    assert env.observation_space.contains(seen)
    earlier = [part.copy() for part in flat(seen)]
    later = play(env, 1, first=False)[-1][0]
    assert all(np.array_equal(x, y) for x, y in zip(earlier, flat(seen), strict=True))
    assert not any(np.may_share_memory(x, y) for x, y in zip(flat(seen), flat(later), strict=True))
    assert len(env.render()) == 3
    adapter = Sb3VecEnv(cls(3, seed=4, max_episode_steps=8, **options))
    adapter.reset()
    for _ in range(9):
        _, reward, done, rows = adapter.step(np.zeros(3, int))
        assert reward.dtype == np.float32
        assert all("terminal_observation" in rows[i] for i in np.flatnonzero(done))


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_bad_use_is_one_line(cls, options):
    env = cls(2, **options)
    with pytest.raises(UsageError, match=r"reset\(\) first"):
        env.step(np.zeros(2, int))
    env.reset()
    for bad in (np.zeros(3, int), np.full(2, env.num_actions), np.full(2, -1)):
        with pytest.raises(UsageError, match="actions"):
            env.step(bad)
    for bad in ({"num_envs": 0}, {"num_levels": 0}, {"start_level": -1}, {"max_episode_steps": 0}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            cls(**{"num_envs": 2, **options, **bad})
    with pytest.raises(UsageError, match="render_mode"):
        cls(2, render_mode="human", **options)


def test_a_missing_extra_is_one_line_that_names_it():
    code = (
        "import sys; sys.modules['ale_py'] = None\n"
        "from benchmarks.transfer import main\n"
        "raise SystemExit(main(['--suite', 'atari-breakout', '--repr', 'cnn', '--dry-run']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2, done.stderr
    assert done.stderr == "error: atari-breakout needs ale-py, which is not installed; pip install -e '.[atari]'\n"
