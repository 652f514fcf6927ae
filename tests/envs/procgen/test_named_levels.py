"""Named levels in Procgen: every frame, reward and end equal to those of an object that knows that level alone."""

import numpy as np
import pytest

from envs.procgen.coinrun_themes import CoinRunThemesVectorEnv
from envs.procgen.engine import load_procgen
from envs.procgen.env import ProcgenVectorEnv
from envs.procgen.games import GAMES
from envs.procgen.state import on_level, walk
from envs.registry import UsageError

pytestmark = pytest.mark.procgen
LEVELS = np.array([3, 2_000_017, 100_000_123])


@pytest.fixture
def make():
    made = []

    def build(num_envs, game="coinrun", cls=ProcgenVectorEnv, **options):
        made.append(cls(num_envs, game=game, **options))
        return made[-1]

    yield build
    for env in made:
        env.close()


def native(game, level, **options):
    """Procgen's own object of one env and one level; another seed of the object changes nothing."""
    keywords = {"distribution_mode": "easy", **options}
    return load_procgen()(
        num=1, env_name=game, rand_seed=9, num_threads=0, num_levels=1, start_level=int(level), **keywords
    )


def compare(env, natives, steps, seed=0):
    """Play both; returns the number of episode ends."""
    rng, ends = np.random.default_rng(seed), 0
    for _ in range(steps):
        # mostly to the right and up, so that something happens
        actions = np.where(rng.random(len(natives)) < 0.5, rng.integers(7, 9, len(natives)), rng.integers(0, 15))
        frames, reward, terminated, truncated, infos = env.step(actions)
        for i, game in enumerate(natives):
            game.act(actions[i : i + 1].astype(np.int32))
            wanted_reward, wanted, first = game.observe()
            np.testing.assert_array_equal(frames[i], wanted["rgb"][0])
            assert reward[i] == wanted_reward[0]
            assert (terminated | truncated)[i] == first[0]
            if first[0]:
                assert infos["level_seed"][i] == game.get_info()[0]["level_seed"]
        ends += int((terminated | truncated).sum())
    return ends


@pytest.mark.parametrize("game", GAMES)
def test_frames_equal_those_of_a_native_env_of_that_level(make, game):
    env = make(3, game, num_levels=20, seed=4)
    env.reset()
    for _ in range(30):
        env.step(np.full(3, 7))  # a past that must leave no trace
    frames, infos = env.reset(options={"levels": LEVELS})
    np.testing.assert_array_equal(infos["level_seed"], LEVELS)
    natives = [native(game, level) for level in LEVELS]
    for i, other in enumerate(natives):
        np.testing.assert_array_equal(frames[i], other.observe()[1]["rgb"][0])
    compare(env, natives, 150)


@pytest.mark.parametrize("options", [{}, {"distribution_mode": "hard"}, {"use_monochrome_assets": True}])
def test_episode_ends_and_what_follows_them_are_the_native_ones(make, options):
    env = make(3, num_levels=20, seed=4, **options)
    env.reset(options={"levels": LEVELS})
    natives = [native("coinrun", level, **options) for level in LEVELS]
    assert compare(env, natives, 400) >= 5


@pytest.mark.parametrize(
    "options",
    [
        {"distribution_mode": "hard"},
        {"use_backgrounds": False},
        {"restrict_themes": True, "distribution_mode": "hard"},
        {"debug_mode": 14},
        {"center_agent": False},
        {"paint_vel_info": True},
    ],
)
def test_modes_and_looks_are_those_of_the_envs_own_options(make, options):
    env = make(3, num_levels=20, **options)
    frames, _ = env.reset(options={"levels": LEVELS})
    for i, level in enumerate(LEVELS):
        np.testing.assert_array_equal(frames[i], native("coinrun", level, **options).observe()[1]["rgb"][0])
    compare(env, [native("coinrun", level, **options) for level in LEVELS], 60)


def test_a_masked_row_changes_and_the_others_go_on(make):
    env, plain = make(3, "maze", num_levels=20, seed=2), make(3, "maze", num_levels=20, seed=2)
    env.reset()
    plain.reset()
    for _ in range(12):
        env.step(np.full(3, 7))
        last = plain.step(np.full(3, 7))[0]
    mask = np.array([False, True, False])
    frames, infos = env.reset(options={"levels": LEVELS, "reset_mask": mask})
    np.testing.assert_array_equal(frames[~mask], last[~mask])
    np.testing.assert_array_equal(infos["_level_seed"], mask)
    assert infos["level_seed"][1] == LEVELS[1]
    other = native("maze", LEVELS[1])
    np.testing.assert_array_equal(frames[1], other.observe()[1]["rgb"][0])
    # its clock began anew: the game's limit of 500 steps is counted from here
    for step in range(500):
        _, _, terminated, truncated, _ = env.step(np.full(3, 4))
        if step < 499:
            assert not (terminated | truncated)[1]
    assert truncated[1]


def test_a_shorter_limit_begins_the_same_level_again(make):
    env = make(2, num_levels=20, max_episode_steps=6)
    frames, _ = env.reset(options={"levels": LEVELS[:2]})
    for _ in range(6):
        again, _, _, truncated, infos = env.step(np.full(2, 4))
    assert truncated.all()
    np.testing.assert_array_equal(infos["level_seed"], LEVELS[:2])
    np.testing.assert_array_equal(frames, again)


def test_a_reset_without_names_starts_the_own_order_anew(make):
    env, plain = make(4, num_levels=20, seed=6), make(4, num_levels=20, seed=6)
    env.reset(options={"levels": np.arange(4)})
    frames, infos = env.reset()
    wanted, own = plain.reset()
    np.testing.assert_array_equal(frames, wanted)
    np.testing.assert_array_equal(infos["level_seed"], own["level_seed"])
    restored = make(4, num_levels=20, seed=1)
    env.reset(options={"levels": np.arange(4)})
    restored.set_state(env.state())
    np.testing.assert_array_equal(restored.levels(), np.arange(4))
    np.testing.assert_array_equal(restored.reset()[0], wanted)


def test_generated_assets_take_one_object_a_level(make):
    env = make(3, num_levels=20, use_generated_assets=True, distribution_mode="hard")
    env.reset()
    with pytest.raises(UsageError, match="reset_mask"):
        env.reset(options={"levels": LEVELS, "reset_mask": np.array([True, False, True])})
    frames, infos = env.reset(options={"levels": LEVELS})
    np.testing.assert_array_equal(infos["level_seed"], LEVELS)
    options = {"use_generated_assets": True, "distribution_mode": "hard"}
    natives = [native("coinrun", level, **options) for level in LEVELS]
    for i, other in enumerate(natives):
        np.testing.assert_array_equal(frames[i], other.observe()[1]["rgb"][0])
    compare(env, natives, 150)
    kept = env.render_mode, env.reset(options={"levels": LEVELS + 1, "reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(kept[1][1]["level_seed"], [LEVELS[0], LEVELS[1] + 1, LEVELS[2]])
    own = env.reset()[1]["level_seed"]
    assert own.max() < 20


def test_themes_are_drawn_for_named_levels_as_for_any(make):
    env = make(3, cls=CoinRunThemesVectorEnv, themes="heldout")
    env.reset(options={"levels": LEVELS})
    drawn = env.themes.draw(LEVELS)
    for name, values in drawn.items():
        np.testing.assert_array_equal(env.factors()[name], values)


def test_the_range_stands_where_it_is_written(make):
    env = make(1, num_levels=7, start_level=1234)
    env.reset()
    blob = env.blobs()[0]
    numbers = np.frombuffer(blob, "<i4", 17, walk(blob).options)
    np.testing.assert_array_equal(numbers[13:15], [1234, 1241])
    changed = np.frombuffer(on_level(blob, 99), "<i4", 17, walk(blob).options)
    np.testing.assert_array_equal(changed[13:15], [99, 100])
    np.testing.assert_array_equal(np.delete(changed, [13, 14]), np.delete(numbers, [13, 14]))
    broken = bytearray(blob)
    broken[walk(blob).options + 4 * 13 : walk(blob).options + 4 * 14] = (1241).to_bytes(4, "little")
    with pytest.raises(UsageError, match="its levels go from 1241 to 1241"):
        on_level(bytes(broken), 99)


def test_the_one_level_of_exploration_cannot_be_chosen(make):
    env = make(1, distribution_mode="exploration", num_levels=1, start_level=0)
    assert not env.names_levels
    with pytest.raises(UsageError, match="cannot begin on named levels"):
        env.reset(options={"levels": np.zeros(1, int)})
