"""The counting environment: pixels, rewards and ends worked out by hand."""

import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from envs.counter_rng import counter_hash
from envs.counting import CountingVectorEnv
from envs.registry import UsageError


def test_frames_count_env_episode_and_time():
    env = CountingVectorEnv(3, episode_length=2, size=8)
    frames, _ = env.reset()
    np.testing.assert_array_equal(frames[:, 0, 0], [[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    # lengths 2 + (i + e) % 4: env 0 lasts 2 then 3, env 1 lasts 3, env 2 lasts 4
    for expected in (
        [[0, 0, 1], [1, 0, 1], [2, 0, 1]],
        [[0, 1, 0], [1, 0, 2], [2, 0, 2]],
        [[0, 1, 1], [1, 1, 0], [2, 0, 3]],
        [[0, 1, 2], [1, 1, 1], [2, 1, 0]],
        [[0, 2, 0], [1, 1, 2], [2, 1, 1]],
    ):
        frames, *_ = env.step(np.zeros(3, int))
        np.testing.assert_array_equal(frames[:, 0, 0], expected)


def test_ends_are_truncated_where_env_plus_episode_is_odd():
    env = CountingVectorEnv(2, episode_length=1, size=4)
    env.reset()
    # env 0: lengths 1, 2; env 1: lengths 2, 3
    ends = [tuple(map(tuple, env.step(np.zeros(2, int))[2:4])) for _ in range(3)]
    assert ends == [
        ((True, False), (False, False)),  # i + e = 0, even: terminated
        ((False, False), (False, True)),  # env 1, episode 0: odd, truncated
        ((False, False), (True, False)),  # env 0, episode 1: odd, truncated
    ]


def test_final_frames_are_the_true_ones():
    env = CountingVectorEnv(2, episode_length=1, size=4)
    env.reset()
    *_, infos = env.step(np.zeros(2, int))
    np.testing.assert_array_equal(infos["_final_obs"], [True, False])
    np.testing.assert_array_equal(infos["final_obs"][0][0, 0], [0, 0, 1])  # t = 1, which no reset frame shows
    assert infos["final_obs"][1] is None
    assert "final_obs_is_previous" not in infos


def test_red_encodes_the_rewarded_action():
    env = CountingVectorEnv(5, num_actions=3, size=6)
    frames, _ = env.reset()
    for _ in range(20):
        red = frames[:, 3, 3, 0].astype(int)
        assert set(red) <= {85, 170, 255}  # (target + 1) * 255 // 3
        shown = red // 85 - 1
        actions = np.where(np.arange(5) % 2 == 0, shown, (shown + 1) % 3)
        frames, reward, *_ = env.step(actions)
        np.testing.assert_array_equal(reward, [1, 0, 1, 0, 1])


def test_all_targets_and_levels_come_up():
    env = CountingVectorEnv(50, num_levels=7, start_level=100)
    env.reset()
    assert set(env.level) == set(range(100, 107))
    assert set(env.target(np.arange(100), 0)) == {0, 1, 2, 3}


def test_swapped_exchanges_red_and_blue_of_the_same_levels():
    plain, swapped = CountingVectorEnv(3, size=8), CountingVectorEnv(3, size=8, variant="swapped")
    a, b = plain.reset()[0], swapped.reset()[0]
    np.testing.assert_array_equal(a[:, 1:], b[:, 1:, :, ::-1])
    np.testing.assert_array_equal(a[:, 0, 0], b[:, 0, 0])


def test_an_env_does_not_depend_on_how_many_there_are():
    few, many = CountingVectorEnv(2, size=8), CountingVectorEnv(9, size=8)
    np.testing.assert_array_equal(few.reset()[0], many.reset()[0][:2])
    for _ in range(30):
        a, b = few.step(np.ones(2, int)), many.step(np.ones(9, int))
        for x, y in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(x, y[:2])


def test_state_goes_on_in_another_object_with_another_seed():
    first, second = CountingVectorEnv(3, seed=1, size=8), CountingVectorEnv(3, seed=2, size=8)
    first.reset()
    second.reset()
    for _ in range(15):
        first.step(np.zeros(3, int))
    second.set_state(first.state())
    for _ in range(30):
        for x, y in zip(first.step(np.ones(3, int))[:4], second.step(np.ones(3, int))[:4], strict=True):
            np.testing.assert_array_equal(x, y)
    with pytest.raises(UsageError, match=r"'episode' has shape \(3,\), not \(2,\)"):
        CountingVectorEnv(2).set_state(first.state())


def test_seeds_and_masks():
    env = CountingVectorEnv(3, num_levels=10**6)
    a = env.reset(seed=4)[1]["level_seed"]
    env.step(np.zeros(3, int))
    assert (env.reset()[1]["level_seed"] != a).all()
    np.testing.assert_array_equal(env.reset(seed=4)[1]["level_seed"], a)
    env.step(np.zeros(3, int))
    frames, infos = env.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(frames[:, 0, 0], [[0, 0, 1], [1, 1, 0], [2, 0, 1]])
    np.testing.assert_array_equal(infos["_level_seed"], [False, True, False])
    with pytest.raises(UsageError, match="reset_mask"):
        env.reset(options={"reset_mask": np.zeros(3, bool)})


def test_gymnasiums_recorder_sums_the_rewards():
    env = RecordEpisodeStatistics(CountingVectorEnv(1, episode_length=5, size=8))
    env.reset()
    total = 0.0
    for _ in range(5):
        _, reward, _, _, infos = env.step(np.array([2]))
        total += reward[0]
    assert infos["episode"]["r"][0] == total
    assert infos["episode"]["l"][0] == 5


def test_the_hash_is_splitmix64():
    # state 0 advanced by the golden constant and mixed: the first output of splitmix64 seeded with 0
    assert int(counter_hash(0)[0]) == 0xE220A8397B1DCDAF
    assert counter_hash(1, np.arange(3)).shape == (3,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs=0"),
        ({"num_levels": 0}, "num_levels=0"),
        ({"num_actions": 1}, "num_actions=1"),
        ({"variant": "strange"}, "plain, swapped"),
    ],
)
def test_bad_values(options, message):
    with pytest.raises(UsageError, match=message):
        CountingVectorEnv(**options)
