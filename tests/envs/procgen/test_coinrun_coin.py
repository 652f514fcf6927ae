"""CoinRun's coin elsewhere: where it is put, that it can be taken there, and who is said to have run past it."""

import numpy as np
import pytest

from envs.procgen.coinrun_coin import CoinRunCoinVectorEnv, standing_places
from envs.procgen.env import ProcgenVectorEnv
from envs.procgen.state import AGENT, COIN, CRATE, ENEMY, SAW, SPACE, WALL_TOP, entity_places, grid
from envs.registry import UsageError
from envs.wrappers.sb3 import Sb3VecEnv

pytestmark = pytest.mark.procgen
LEVELS = np.arange(40)
RIGHT, JUMP_RIGHT, LEFT, NOTHING = 7, 8, 1, 4


@pytest.fixture
def make():
    made = []

    def build(num_envs=4, cls=CoinRunCoinVectorEnv, **options):
        made.append(cls(num_envs, **options))
        return made[-1]

    yield build
    for env in made:
        env.close()


def begin(env, levels):
    return env.reset(options={"levels": np.asarray(levels)})


def search_coin(env, level, rounds=60, steps=6, seed=0):
    """Whether a search that keeps the envs nearest to the coin takes it: a hand at the real game, not a rule."""
    begin(env, np.full(env.num_envs, level))
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        moves = rng.choice([RIGHT, JUMP_RIGHT, LEFT, 2, NOTHING], env.num_envs, p=[0.3, 0.35, 0.1, 0.1, 0.15])
        for _ in range(steps):
            *_, infos = env.step(moves)
            if infos and infos["coin_taken"].any():
                return True
        distance = np.linalg.norm(env.factors()["to_coin"], axis=1)
        order, blobs = np.argsort(distance), env.blobs()
        third = env.num_envs // 3
        for near, far in zip(order[:third], order[-third:], strict=True):
            blobs[far] = blobs[near]  # those between go on: a jump first leads away
        env.show(blobs)
    return False


@pytest.mark.parametrize("mode", ["easy", "hard"])
def test_the_coin_stands_on_free_ground_before_the_end(make, mode):
    env = make(len(LEVELS), coin="random", distribution_mode=mode)
    plain = make(len(LEVELS), cls=ProcgenVectorEnv, distribution_mode=mode)
    begin(env, LEVELS)
    begin(plain, LEVELS)
    columns = []
    for moved, old in zip(env.blobs(), plain.blobs(), strict=True):
        before, after = grid(old), grid(moved)
        ((y, x),), ((old_y, old_x),) = np.argwhere(after == COIN), np.argwhere(before == COIN)
        assert 3 <= x < old_x
        assert before[y - 1, x] == WALL_TOP
        assert before[y, x] == before[y + 1, x] == SPACE
        assert after[old_y, old_x] == SPACE
        assert (before != after).sum() == 2
        dangers = entity_places(old, SAW, ENEMY) - (x + 0.5, y + 0.5)
        assert not (np.abs(dangers) < 1.5).all(axis=1).any()
        crates = entity_places(old, CRATE) - (x + 0.5, y + 0.5)
        assert not (np.abs(crates) < 1).all(axis=1).any()
        assert [x, y] in standing_places(old).tolist()
        columns.append(x / old_x)
    # spread over the level: the mean of a uniform place is a little over the middle
    assert 0.4 < np.mean(columns) < 0.8
    assert np.std(columns) > 0.1


def test_the_place_follows_from_the_level_alone(make):
    few, many = make(3, coin="random", seed=1), make(6, coin="random", seed=2)
    begin(few, [4, 9, 4])
    begin(many, [7, 7, 9, 1, 4, 7])
    few_to, many_to = few.factors()["to_coin"], many.factors()["to_coin"]
    np.testing.assert_array_equal(few_to[:2], many_to[[4, 2]])
    np.testing.assert_array_equal(few_to[0], few_to[2])


def test_a_search_in_the_game_takes_the_coin(make):
    env = make(48, coin="random", num_threads=0)
    assert all(search_coin(env, level) for level in (0, 5, 9))


def test_taken_where_it_stands_it_earns_ten_and_ends_the_episode(make):
    env = make(1, coin="random", seed=3)
    # level 3: the coin is 4 cells to the right and 2 up, on the first ground (a jump away)
    begin(env, [3])
    to_coin = env.factors()["to_coin"][0]
    assert to_coin[0] < 6
    total = 0.0
    for _ in range(200):
        action = np.where(env.factors()["to_coin"][:, 0] < 0, 2, JUMP_RIGHT)
        _, reward, terminated, truncated, infos = env.step(action)
        total += reward[0]
        if terminated[0]:
            break
    assert total == 10.0
    assert not truncated[0]
    assert infos["coin_taken"].tolist() == [True]
    assert infos["ran_past"].tolist() == [False]
    assert infos["_ran_past"].tolist() == [True]


def test_with_the_coin_at_the_end_all_is_as_in_procgen(make):
    env, plain = make(4, num_levels=30, seed=5), make(4, cls=ProcgenVectorEnv, num_levels=30, seed=5)
    np.testing.assert_array_equal(env.reset()[0], plain.reset()[0])
    rng, taken = np.random.default_rng(0), []
    for _ in range(250):
        actions = rng.choice([RIGHT, JUMP_RIGHT], 4)
        mine, theirs = env.step(actions), plain.step(actions)
        for x, y in zip(mine[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(x, y)
        if theirs[4]:
            ended = theirs[4]["_final_obs"]
            np.testing.assert_array_equal(mine[4]["coin_taken"][ended], mine[1][ended] == 10)
            assert not mine[4]["ran_past"].any()
            taken += mine[4]["coin_taken"][ended].tolist()
    assert 0 < sum(taken) < len(taken)


def test_an_agent_that_runs_right_is_said_to_have_run_past(make):
    env = make(24, coin="random", max_episode_steps=160)
    begin(env, LEVELS[:24])
    first = np.full(24, -1)  # outcome of each env's first episode: 0 died, 1 taken, 2 ran past
    furthest, end = np.zeros(24), np.array([np.argwhere(grid(blob) == COIN)[0, 1] for blob in at_the_end(make)])
    for _ in range(160):
        furthest = np.where(first < 0, np.maximum(furthest, env.factors()["agent_x"]), furthest)
        *_, infos = env.step(env.scripted())
        if infos:
            rows = np.flatnonzero(infos["_ran_past"] & (first < 0))
            assert not (infos["ran_past"] & infos["coin_taken"]).any()
            first[rows] = (infos["coin_taken"] + 2 * infos["ran_past"])[rows]
    assert set(first.tolist()) == {0, 1, 2}
    # who ran past stood in the cell of the old coin; who died was never there for 4 steps
    np.testing.assert_array_equal(furthest[first == 2] > end[first == 2] - 0.5, True)
    np.testing.assert_array_equal(furthest[first == 0] < end[first == 0] + 0.5, True)


def at_the_end(make):
    plain = make(24, cls=ProcgenVectorEnv)
    begin(plain, LEVELS[:24])
    return plain.blobs()


def test_a_new_episode_forgets_that_the_last_one_ran_past(make):
    env = make(6, coin="random", max_episode_steps=120)
    begin(env, np.arange(6))
    for _ in range(120):
        *_, infos = env.step(env.scripted())
    past = infos["ran_past"].copy()
    assert past.any()
    for _ in range(120):  # the next episode of those who ran past: standing at the start
        *_, infos = env.step(np.full(6, NOTHING))
    assert infos["_ran_past"][past].all()
    assert not infos["ran_past"][past].any()


def test_state_carries_the_coin_and_the_way(make):
    first, second = make(6, coin="random", max_episode_steps=90), make(6, coin="random", max_episode_steps=90, seed=7)
    begin(first, LEVELS[:6])
    for _ in range(70):
        first.step(first.scripted())
    second.set_state(first.state())
    ended = 0
    for _ in range(60):
        mine, theirs = first.step(first.scripted()), second.step(second.scripted())
        for x, y in zip(mine[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(x, y)
        if mine[4]:
            np.testing.assert_array_equal(mine[4]["ran_past"], theirs[4]["ran_past"])
            ended += mine[4]["ran_past"].sum()
    assert ended
    with pytest.raises(UsageError, match="coin: random -> end"):
        make(6, coin="end", max_episode_steps=90).set_state(first.state())


def test_the_adapter_hands_both_outcomes_to_each_episode(make):
    env = Sb3VecEnv(make(4, coin="random", max_episode_steps=50))
    env.reset()
    for _ in range(50):
        _, _, done, infos = env.step(np.full(4, JUMP_RIGHT))
    assert done.any()
    for i in np.flatnonzero(done):
        assert {"coin_taken", "ran_past"} <= infos[i].keys()
        assert isinstance(infos[i]["ran_past"], bool)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coin": "rand"}, "coin='rand' is not known; did you mean 'random'"),
        ({"game": "maze"}, "the game is coinrun"),
        ({"use_generated_assets": True}, "use_generated_assets=True keeps the coin"),
        ({"use_sequential_levels": True}, "use_sequential_levels=True keeps the coin"),
    ],
)
def test_a_bad_option_is_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        CoinRunCoinVectorEnv(2, **options)
    assert "\n" not in str(caught.value)


def test_the_agent_is_the_entity_that_moves(make):
    env = make(1, coin="random")
    begin(env, [5])
    before = entity_places(env.blobs()[0], AGENT)
    for _ in range(5):
        env.step(np.array([RIGHT]))
    after = entity_places(env.blobs()[0], AGENT)
    assert before.shape == (1, 2)
    assert after[0, 0] > before[0, 0]
