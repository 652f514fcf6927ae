"""Named levels: what follows a named level depends on level, repetition and actions alone, in every env of our own."""

import numpy as np
import pytest

from envs.counting import CountingVectorEnv
from envs.named_levels import UNNAMED, ResetRequest, stream
from envs.registry import UsageError
from envs.wrappers.frame_stack import StackedVectorEnv
from envs.wrappers.gymnasium import GymnasiumVectorEnv
from envs.wrappers.sb3 import Sb3VecEnv
from envs.wrappers.visual_shifts import ShiftedVectorEnv
from tests.envs.test_all_envs import CASES, equal, play

LEVELS, REPEATS = np.array([5, 1_000_003, 5]), np.array([0, 1, 2])


def rows_of(seen, rows):
    return {key: value[rows] for key, value in seen.items()} if isinstance(seen, dict) else seen[rows]


def named(env, levels=LEVELS, repeats=REPEATS):
    return env.reset(options={"levels": levels, "repeats": repeats})


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_what_follows_depends_on_level_and_repeat_alone(cls, options):
    one = cls(3, seed=5, num_levels=9, max_episode_steps=7, **options)
    other = cls(5, seed=77, num_levels=9, max_episode_steps=7, **options)
    other.first_env = 11
    other.reset()
    play(other, 9, first=False)
    # the rows of the first env at places 4, 1, 3 of the second, which stands elsewhere and has a past
    places = np.array([4, 1, 3])
    levels, repeats = np.full(5, 8), np.full(5, 4)
    levels[places], repeats[places] = LEVELS, REPEATS
    first, infos = named(one)
    second, _ = named(other, levels, repeats)
    np.testing.assert_array_equal(infos["level_seed"], LEVELS)
    rng = np.random.default_rng(0)
    for _ in range(20):  # two limits of 7 steps: episodes that begin by themselves, too
        equal(first, rows_of(second, places))
        np.testing.assert_array_equal(one.level, other.level[places])
        actions = rng.integers(one.num_actions, size=5)
        first, *outcome = one.step(actions[places])
        second, *others = other.step(actions)
        for mine, theirs in zip(outcome[:3], others[:3], strict=True):
            np.testing.assert_array_equal(mine, theirs[places])


@pytest.mark.parametrize(("cls", "options"), CASES)
def test_a_named_state_goes_on_in_another_object(cls, options):
    first, second = cls(3, seed=1, max_episode_steps=5, **options), cls(3, seed=9, max_episode_steps=5, **options)
    named(first)
    play(first, 8, first=False)
    second.reset()
    second.set_state(first.state())
    for one, two in zip(play(first, 12, 4, first=False), play(second, 12, 4, first=False), strict=True):
        equal(one[0], two[0])
        for x, y in zip(one[1:4], two[1:4], strict=True):
            np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(first.level, second.level)


def test_a_mask_names_the_levels_of_those_rows_only():
    env = CountingVectorEnv(4, seed=3)
    env.reset()
    play(env, 3, first=False)
    before = env.level.copy()
    mask = np.array([False, True, False, True])
    _, infos = env.reset(options={"levels": np.array([7, 8, 9, 10]), "reset_mask": mask})
    np.testing.assert_array_equal(infos["level_seed"], [before[0], 8, before[2], 10])
    np.testing.assert_array_equal(env.time, [3, 0, 3, 0])
    np.testing.assert_array_equal(env.stream == UNNAMED, ~mask)


def test_a_reset_without_names_draws_as_before():
    env, plain = CountingVectorEnv(3, seed=3), CountingVectorEnv(3, seed=3)
    named(env)
    frames, infos = env.reset(seed=3)
    again, wanted = plain.reset()
    equal(frames, again)
    np.testing.assert_array_equal(infos["level_seed"], wanted["level_seed"])
    np.testing.assert_array_equal(env.stream, [-1, -1, -1])


def test_repetitions_differ_in_their_noise_and_not_in_their_level():
    from envs.breakout.env import BreakoutVectorEnv

    env = BreakoutVectorEnv(2, variant="sticky")
    start, _ = env.reset(options={"levels": np.array([4, 4]), "repeats": np.array([0, 1])})
    np.testing.assert_array_equal(start[0], start[1])
    frames = [env.step(np.array([1 + i % 2] * 2))[0] for i in range(20)]
    assert any(not np.array_equal(frame[0], frame[1]) for frame in frames)


def test_streams_are_distinct_and_not_negative():
    levels, repeats = np.divmod(np.arange(20_000), 20)
    streams = stream(levels, repeats)
    assert streams.min() >= 0
    assert len(np.unique(streams)) == 20_000
    assert stream(np.array([1]), np.array([2])) != stream(np.array([2]), np.array([1]))


def test_stacked_and_shifted_frames_of_a_level_are_the_same():
    def build(num_envs, seed):
        return StackedVectorEnv(ShiftedVectorEnv(CountingVectorEnv(num_envs, seed=seed), "noise", 2), 3)

    one, other = build(3, 1), build(4, 2)
    assert one.names_levels
    other.reset()
    play(other, 3, first=False)
    places = np.array([3, 0, 2])
    first, second = named(one)[0], named(other, np.array([1_000_003, 6, 5, 5]), np.array([1, 0, 2, 0]))[0]
    later, shown = build(3, 4), None
    for step in range(30):
        np.testing.assert_array_equal(first, second[places])
        if step == 20:
            later.reset()
            later.set_state(one.state())
        if shown is not None:
            np.testing.assert_array_equal(first, shown)
        actions = np.array([step % 4, 1, 2, step % 3])
        first, _, ended, cut, infos = one.step(actions[places])
        second, *_, others = other.step(actions)
        if step >= 20:
            shown = later.step(actions[places])[0]
        for i in np.flatnonzero(ended | cut):
            np.testing.assert_array_equal(infos["final_obs"][i], others["final_obs"][places[i]])


def test_a_masked_reset_keeps_the_noise_of_other_rows():
    env = ShiftedVectorEnv(CountingVectorEnv(2, seed=1), "noise", 2)
    before, _ = env.reset()
    mask = np.array([False, True])
    after, _ = env.reset(options={"reset_mask": mask, "levels": np.array([0, 9])})
    np.testing.assert_array_equal(before[0], after[0])
    alone = ShiftedVectorEnv(CountingVectorEnv(1, seed=8), "noise", 2).reset(options={"levels": np.array([9])})[0]
    np.testing.assert_array_equal(after[1], alone[0])


def test_the_adapter_counts_anew_only_where_an_episode_began():
    env = Sb3VecEnv(CountingVectorEnv(2, seed=1, episode_length=10))
    assert env.names_levels
    env.reset()
    for _ in range(4):
        env.step(np.zeros(2, int))
    env.set_options({"levels": np.array([3, 3]), "reset_mask": np.array([False, True])})
    env.reset()
    ends = {}
    while len(ends) < 2:
        _, _, done, infos = env.step(np.zeros(2, int))
        ends |= {i: infos[i]["episode"]["l"] for i in np.flatnonzero(done) if i not in ends}
    # row 0, env and episode 0: 10 steps, 4 of them before the reset; row 1 from its own reset, 10 + stream % 4
    assert ends[0] == 10
    assert ends[1] == 10 + int(stream(np.array([3]), np.array([0]))[0]) % 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": np.zeros(3, int)}, r"levels must be an array \(2,\)"),
        ({"levels": np.zeros(2)}, "levels must be"),
        ({"levels": np.array([0, -1])}, "not negative"),
        ({"levels": np.array([0, 2**31 - 1])}, "above the largest"),
        ({"levels": np.zeros(2, int), "repeats": np.zeros(1, int)}, "repeats must be"),
        ({"repeats": np.zeros(2, int)}, "repeats without levels"),
    ],
)
def test_a_bad_request_is_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        ResetRequest.of("counting", 2, options, names_levels=True)
    assert "\n" not in str(caught.value)


def test_an_env_that_cannot_says_so():
    from envs.breakout.env import BreakoutVectorEnv

    mixed = BreakoutVectorEnv(2, variant=("standard", "juggling"))
    for env in (GymnasiumVectorEnv(2), mixed):
        assert not env.names_levels
        with pytest.raises(UsageError, match="cannot begin on named levels"):
            env.reset(options={"levels": np.zeros(2, int)})
