"""DeepMind Control: exact state, levels, real-numbered actions, and visual variants that change pixels alone."""

from __future__ import annotations

import numpy as np
import pytest

from envs import ENVIRONMENTS
from envs.registry import UsageError

try:
    Dmc = ENVIRONMENTS.resolve("dmc")
except UsageError as error:
    pytest.skip(str(error), allow_module_level=True)

N = 3


def play(env, steps=6, seed=0):
    """Observations, rewards and ends of held random actions."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(steps):
        actions = rng.uniform(-1, 1, (env.num_envs, *env.single_action_space.shape)).astype(np.float32)
        out.append(env.step(actions)[:4])
    return [np.stack(column) for column in zip(*out, strict=True)]


def test_a_state_is_exact_and_an_env_does_not_depend_on_the_others():
    env, other, alone = Dmc(N), Dmc(N), Dmc(1)
    env.reset(seed=4)
    play(env, 3)
    other.reset()
    other.set_state(env.state())
    for mine, theirs in zip(play(env, seed=1), play(other, seed=1), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    levels = {"levels": np.array([7, 8, 9]), "repeats": np.zeros(N, int)}
    first, _ = env.reset(options=levels)
    single, _ = alone.reset(options={"levels": np.array([7]), "repeats": np.array([0])})
    np.testing.assert_array_equal(first[0], single[0])
    assert len(np.unique(first.reshape(N, -1), axis=0)) == N


@pytest.mark.parametrize("change", [{"colours": "level"}, {"background": "level"}])
def test_visual_variants_change_pixels_and_nothing_else(change):
    plain, changed = Dmc(N), Dmc(N, **change)
    one, other = (env.reset(seed=2)[0] for env in (plain, changed))
    assert (one != other).any((1, 2, 3)).all()
    assert not np.array_equal(*other[:2])
    for mine, theirs in zip(play(plain)[1:], play(changed)[1:], strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_episode_lasts_a_thousand_steps_and_shows_its_last_frame():
    env = Dmc(1, frameskip=300)
    env.reset()
    zero, total = np.zeros((1, 1), np.float32), 0.0
    for step in range(4):  # 300, 300, 300 and 100 steps of the physics
        _, reward, terminated, truncated, infos = env.step(zero)
        total += float(reward[0])
        assert (bool(terminated[0]), bool(truncated[0])) == (False, step == 3)
    assert infos["final_obs"][0].shape == (64, 64, 3)
    assert 0 < total <= 1000


def test_actions_are_clipped_and_mistakes_are_named():
    one, other = Dmc(2), Dmc(2)
    for env, size in ((one, 1), (other, 50)):
        env.reset(seed=3)
        env.step(np.full((2, 1), size, np.float32))
    np.testing.assert_array_equal(one.machine, other.machine)
    for actions in (np.zeros(2, np.float32), np.full((2, 1), np.nan, np.float32)):
        with pytest.raises(UsageError, match=r"actions must be \(2, 1\) finite numbers"):
            one.step(actions)
    with pytest.raises(UsageError, match="task='cheetah-run' is not known; give cartpole-swingup"):
        Dmc(1, task="cheetah-run")
    with pytest.raises(UsageError, match="colours='red'"):
        Dmc(1, colours="red")
