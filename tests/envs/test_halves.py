"""Worlds side by side are the whole world, to the bit, and step in threads of their own."""

import threading

import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from envs.draws import counter_hash
from envs.dummy import CountingVectorEnv
from envs.halves import Halves, halved
from envs.registry import UsageError
from envs.sb3 import Sb3VecEnv
from envs.streams import stream_seed
from envs.tasks import World
from tests.envs.test_sb3 import DictWorld

OPTIONS = {"size": 8, "episode_length": 3, "num_levels": 50}
COUNTING = World("envs.dummy:CountingVectorEnv", OPTIONS)


class Telling(CountingVectorEnv):
    """Tells a hash of every env at every step, and the number of the step as one number for all."""

    def _step_infos(self):
        return {"state_hash": counter_hash(self.level, self.time)}

    def step(self, actions):
        *seen, infos = super().step(actions)
        return *seen, {**infos, "clock": int(self.time.sum())}


class Fails(CountingVectorEnv):
    """Its third step fails, in one part alone."""

    steps = 0

    def step(self, actions):
        self.steps += 1
        if self.first and self.steps == 3:
            raise OSError("the emulator is gone")
        return super().step(actions)


def actions(n, seed=0):
    return np.random.default_rng(seed).integers(0, 4, n)


def same(one, other):
    """Nested dicts and lists of arrays and numbers; the seconds of an episode are left out."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one.keys() - {"t"}:
            same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        np.testing.assert_array_equal(one, other)
        assert getattr(one, "dtype", type(one)) == getattr(other, "dtype", type(other))
        assert getattr(one, "strides", None) == getattr(other, "strides", None)


@pytest.mark.parametrize(
    "world",
    [COUNTING, COUNTING.stacked(2), World("tests.envs.test_sb3:DictWorld", OPTIONS)],
    ids=["images", "stacked", "dict"],
)
@pytest.mark.parametrize("share", [range(6), range(6, 12)], ids=["first", "second"])
def test_halves_are_the_whole_world(world, share):
    whole, env = Sb3VecEnv(world.make(6, 7, share.start)), Halves.of(world, 7, share)
    assert env.rows == [slice(0, 3), slice(3, 6)]
    assert (env.num_envs, env.observation_space, env.action_space) == (6, whole.observation_space, whole.action_space)
    same(env.reset(), whole.reset())
    same(env.reset_infos, whole.reset_infos)
    ended = [0, 0]
    for step in range(30):
        stepped = whole.step(actions(6, step))
        same(env.step(actions(6, step)), stepped)
        for info in stepped[3]:
            if "terminal_observation" in info:
                ended[info["TimeLimit.truncated"]] += 1
    assert min(ended) > 5
    env.close()


def test_a_part_steps_alone():
    whole, env = Sb3VecEnv(COUNTING.make(6, 7)), Halves.of(COUNTING, 7, range(6))
    whole.reset()
    env.reset()
    steps = [whole.step(actions(6, t)) for t in range(5)]
    for t in range(5):
        env.send(1, actions(6, t)[3:])
        obs, rewards, dones, infos = env.receive(1)
        same((obs, rewards, dones, infos), tuple(each[3:] for each in steps[t]))
    for t in range(5):
        env.send(0, actions(6, t)[:3])
        same(env.receive(0), tuple(each[:3] for each in steps[t]))
    env.close()


def test_what_the_worlds_told_is_that_of_the_steps_received():
    world = World("tests.envs.test_halves:Telling", OPTIONS)
    whole, env = Sb3VecEnv(world.make(6, 7)), Halves.of(world, 7, range(6))
    assert env.told == {}
    whole.reset()
    env.reset()
    for t in range(12):
        whole.step(actions(6, t))
        env.step(actions(6, t))
        same(env.told["state_hash"], whole.told["state_hash"])
        assert "clock" not in env.told
        for key in ("level_seed", "_level_seed"):  # told by a part where an episode of its own ended
            assert key not in env.told or len(env.told[key]) == 6
    env.send(0, np.zeros(3, int))
    env._sent[0].result()  # the step is over, and not received
    same(env.told["state_hash"], whole.told["state_hash"])
    env.receive(0)
    assert (env.told["state_hash"][:3] != whole.told["state_hash"][:3]).all()
    env.close()


def test_parts_step_at_the_same_time():
    meet = threading.Barrier(2, timeout=20)

    class Meets(CountingVectorEnv):
        def step(self, actions):
            meet.wait()
            names.add(threading.current_thread().name)
            return super().step(actions)

    names = set()
    env = Halves([Sb3VecEnv(Meets(2, **OPTIONS)) for _ in range(2)])
    env.reset()
    for _ in range(3):
        env.step(np.zeros(4, int))
    assert len(names) == 2  # the same two all along
    assert threading.current_thread().name not in names
    env.close()
    assert not names & {thread.name for thread in threading.enumerate()}


def test_a_seed_is_one_whole_worlds_and_never_gives_the_halves_the_same_levels():
    whole, env = Sb3VecEnv(COUNTING.make(6, 7)), Halves.of(COUNTING, 7, range(6))
    whole.seed(11)
    env.seed(11)
    same(env.reset(), whole.reset())
    env.close()
    # Worlds that do not know where they stand in the whole, as Procgen's.
    env = Halves([Sb3VecEnv(COUNTING.make(3, 0)) for _ in range(2)])
    env.seed(11)
    seen = env.reset()
    same(seen[:3], Sb3VecEnv(COUNTING.make(3, 11)).reset())
    same(seen[3:], Sb3VecEnv(COUNTING.make(3, stream_seed(11, "from", 3))).reset())
    again = env.reset()  # a seed is for one reset
    assert (again[:, 1, 0, 0] == 1).all()  # green of pixel (0, 0) counts episodes
    env.close()


@pytest.mark.procgen
def test_halves_of_procgen_are_two_worlds_of_the_kind():
    world = World("procgen", {"game": "coinrun", "num_levels": 500})
    env, alone = Halves.of(world, 7, range(4)), Sb3VecEnv(world.make(2, 7))
    first, expected = env.reset(), alone.reset()
    same(first[:2], expected)
    assert not {frame.tobytes() for frame in first[:2]} & {frame.tobytes() for frame in first[2:]}
    for t in range(50):
        seen = env.step(actions(4, t))
        same(tuple(each[:2] for each in seen), alone.step(actions(4, t)[:2]))
    kept, ahead = env.state_dict(), [env.step(actions(4, t)) for t in range(20)]
    env.load_state_dict(kept)
    for t in range(20):
        same(env.step(actions(4, t)), ahead[t])
    env.close()
    alone.close()


def test_state_goes_on_exactly():
    env, other = (Halves.of(COUNTING, seed, range(6)) for seed in (7, 8))
    env.reset()
    other.reset()
    for t in range(7):
        env.step(actions(6, t))
    other.load_state_dict(env.state_dict())
    for t in range(7, 20):
        same(other.step(actions(6, t)), env.step(actions(6, t)))
    env.send(0, np.zeros(3, int))
    with pytest.raises(UsageError, match="between steps"):
        env.state_dict()
    env.close()
    other.close()


def test_an_error_of_a_part_is_raised_and_leaves_nothing_in_flight():
    env = Halves.of(World("tests.envs.test_halves:Fails", OPTIONS), 7, range(4))
    env.reset()
    for _ in range(2):
        env.step(np.zeros(4, int))
    env.send(0, np.zeros(2, int))
    env.send(1, np.zeros(2, int))
    env.receive(0)
    with pytest.raises(OSError, match="the emulator is gone"):
        env.receive(1)
    assert not env.settle()
    env.parts[1].world.steps = 2
    with pytest.raises(OSError, match="the emulator is gone"):
        env.step(np.zeros(4, int))
    assert not env.settle()
    with pytest.raises(UsageError, match="actions must be"):
        env.step(np.full(4, 9))  # part 0 fails while part 1 steps
    assert not env.settle()
    env.close()


def test_what_is_in_flight_is_waited_for_and_dropped():
    env = Halves.of(COUNTING, 7, range(4))
    env.reset()
    env.send(1, np.zeros(2, int))
    with pytest.raises(RuntimeError, match="part 1 is in a step"):
        env.send(1, np.zeros(2, int))
    sent = env._sent[1]
    assert env.settle()
    assert sent.done()
    assert not env.settle()
    assert env.parts[1].world.time.tolist() == [1, 1]
    env.send(0, np.zeros(2, int))
    assert (env.reset()[:, 2, 0, 0] == 0).all()  # blue of pixel (0, 0) counts steps
    assert (env.step(np.zeros(4, int))[0][:, 2, 0, 0] == 1).all()
    env.close()


def test_attributes_are_those_of_each_envs_world():
    env = Halves.of(World("envs.dummy:CountingVectorEnv", {**OPTIONS, "render_mode": "rgb_array"}), 7, range(6))
    env.reset()
    assert env.world is env.parts[0].world
    assert env.get_attr("first") == [0, 0, 0, 3, 3, 3]
    assert env.get_attr("first", [5, 0, 3]) == [3, 0, 3]
    assert env.get_attr("first", 4) == [3]
    env.set_attr("episode_length", 9)
    assert env.get_attr("episode_length") == [9] * 6
    with pytest.raises(UsageError, match="leave indices"):
        env.set_attr("episode_length", 9, 1)
    assert [a.tolist() for a in env.env_method("scripted", indices=[4, 1])] == [
        part.world.scripted().tolist() for part in reversed(env.parts)
    ]
    assert env.env_is_wrapped(Monitor, [1, 4]) == [True, True]
    assert env.env_is_wrapped(DummyVecEnv) == [False] * 6
    frames = env.get_images()
    assert [frame[0, 0, 0] for frame in frames] == list(range(6))
    env.close()


@pytest.mark.parametrize("count", [0, 1, 5])
def test_an_odd_number_is_refused(count):
    with pytest.raises(UsageError, match=rf"has {count} of them; give an even --num-envs"):
        halved(range(4, 4 + count))


def test_halves_of_a_share():
    assert halved(range(8, 14)) == (range(8, 11), range(11, 14))


def test_parts_that_differ_are_refused():
    one, more = Sb3VecEnv(COUNTING.make(2, 0)), Sb3VecEnv(COUNTING.make(3, 0))
    keyed = Sb3VecEnv(DictWorld(2, **OPTIONS))
    for parts in ([one], [one, more], [one, keyed]):
        with pytest.raises(UsageError, match="give two or more that are alike"):
            Halves(parts)
