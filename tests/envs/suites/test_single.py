"""The suite of one environment: its name holds all that a command line says, and builds the same again."""

import pytest

from envs.registry import UsageError
from envs.suites import build, find_suite, label
from envs.suites.single import SingleEnv, parse_options, parse_targets
from envs.tasks import World


def test_a_name_holds_everything_and_an_id_alone_stays_short():
    assert SingleEnv("ALE/Breakout-v5").name == "env:ALE/Breakout-v5"
    single = SingleEnv(
        "my_envs:Maze",
        parse_options(["size=9", "colour=red", "ratio=0.5", "deep=true", "shape=(3, 4)"]),
        parse_targets(["large:size=15,shape=(1, 2)", "other:id=my_envs:Hall"]),
        {"episode_limit": 50},
        motion=3,
    )
    assert single.options == {"size": 9, "colour": "red", "ratio": 0.5, "deep": True, "shape": (3, 4)}
    again = SingleEnv.parse(single.name)
    assert again.name == single.name
    assert again.targets == {"large": {"size": 15, "shape": [1, 2]}, "other": {"id": "my_envs:Hall"}}
    (task,) = build(single.name)
    assert (task.env, task.motion, list(task.splits())) == ("Maze", 3, ["train", "large", "other"])
    assert task.source.name == "gymnasium"
    assert task.source.options["size"] == 9
    assert task.targets["large"].options["size"] == 15
    assert (task.targets["other"].options["id"], task.targets["other"].options["episode_limit"]) == ("my_envs:Hall", 50)
    assert find_suite(single.name).fixed_levels
    assert [label(name) for name in (single.name, "env:ALE/Breakout-v5", "my.suites:MINE", "coinrun")] == [
        *("Maze", "ALE-Breakout-v5", "mine", "coinrun")
    ]


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: parse_options(["size"]), "write NAME=VALUE"),
        (lambda: parse_options(["size=1", "size=2"]), "'size' is given twice"),
        (lambda: parse_targets(["large"]), "write TARGET:NAME=VALUE"),
        (lambda: parse_targets(["train:size=1"]), "write TARGET:NAME=VALUE"),
        (lambda: SingleEnv("X", {"num_envs": 3}), "num_envs: the toolkit sets it"),
        (lambda: SingleEnv.parse("env:X nonsense"), "write env:ID alone"),
        (lambda: World("gymnasium", {"id": "no_module_here:X"}).make(1, 0), "no module 'no_module_here'"),
        (lambda: World("gymnasium", {"id": "envs.tasks:World"}).make(1, 0), "World"),
        (
            lambda: World("gymnasium", {"id": "CartPole-v1", "step_in": "vector"}).make(2, 0),
            "SAME_STEP is needed; --step-in sync",
        ),
        (lambda: World("gymnasium", {"id": "Acrobot-v1", "step_in": "vector"}).make(2, 0), "no vector env of its own"),
        (lambda: World("gymnasium", {"id": "CartPole-v1", "step_in": "there"}).make(2, 0), "step_in='there'"),
    ],
)
def test_mistakes_are_one_line(make, wrong):
    with pytest.raises(UsageError, match=wrong) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_vector_env_of_an_id_of_this_toolkit_is_made_as_it_is():
    world = World("gymnasium", {"id": "envs.breakout:Breakout-MiddleWall-v0", "step_in": "vector"})
    env = world.make(3, 0)
    env.reset()
    assert env.step([0, 1, 2])[1].shape == (3,)
    assert env.single_observation_space.shape == (64, 64, 3)
    env.close()
