"""Gymnasium ids: every name ever given works, with its options, in a fresh process, and costs no import."""

import subprocess
import sys

import gymnasium as gym
import pytest

import envs.vector_env  # noqa: F401  (registers the ids)
from envs import ENVIRONMENTS
from envs.registration import all_ids, register_ids
from envs.registry import UsageError

OLD_NAMES = {
    "envs.breakout:Breakout-MiddleWall-v0": "envs.breakout.env:BreakoutEnv",
    "envs.breakout:Breakout-FlipX-v0": "envs.breakout.env:BreakoutEnv",
    "envs.rooms:Rooms-Moving-v0": "envs.rooms.env:RoomsEnv",
    "envs.rooms:Rooms-FirstPerson-v0": "envs.rooms.env:RoomsEnv",
    "envs.sprites:Sprites-HeldoutCombinations-v0": "envs.sprites.env:SpritesEnv",
    "envs.minigrid:FastMiniGrid-DoorKey-5x5-v0": "envs.minigrid.env:MiniGridEnv",
    "envs.procgen:Procgen/CoinRun-v0": "envs.procgen.env:ProcgenEnv",
    "envs.atari:AtariBreakout-Mode12-v0": "envs.atari:AtariBreakoutEnv",
    "envs.minigrid:NoisyTV-Remote-v0": "envs.minigrid.noisy_tv:NoisyTVEnv",
    "envs.procgen:Procgen/CoinRunThemes-v0": "envs.procgen.coinrun_themes:CoinRunThemesEnv",
    "envs.counting:Counting-v0": "envs.counting:CountingEnv",
}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_names_with_their_folder_are_found_in_a_fresh_process():
    code = (
        "import gymnasium as gym\n"
        "from gymnasium.envs.registration import _find_spec\n"
        f"print([_find_spec(name).entry_point for name in {[n for n in OLD_NAMES if 'atari' not in n]!r}])"
    )
    assert eval(run(code)) == [place for name, place in OLD_NAMES.items() if "atari" not in name]


def test_the_entry_point_makes_bare_ids_known_and_imports_no_environment():
    code = (
        "import sys, gymnasium as gym; from envs.registration import register_ids; register_ids(); register_ids()\n"
        "print(gym.spec('Breakout-Gravity-v0').kwargs, gym.spec('AtariBreakout-Mode12-v0').kwargs,"
        " [m for m in ('procgen', 'minigrid', 'torch', 'envs.breakout.env', 'ale_py') if m in sys.modules])"
    )
    assert run(code) == "{'variant': 'gravity'} {'mode': 12} []"


def test_every_variant_of_an_environment_has_its_id():
    options = {place: [] for _, place, _ in all_ids()}
    for _, place, given in all_ids():
        options[place].append(given)
    checked = 0
    for name in ("breakout", "atari-breakout", "minigrid", "noisy-tv", "toys", "rooms", "sprites", "procgen"):
        try:
            cls = ENVIRONMENTS.resolve(name)
        except UsageError:
            continue  # its extra is not installed
        place = f"{cls.__module__}:{cls.__name__.removesuffix('VectorEnv')}"
        wanted = [given for variant, given in cls.variants.items()]
        assert options[place] == wanted
        checked += 1
    assert checked >= 7


def test_ids_are_unique_and_registering_twice_changes_nothing():
    ids = [env_id for env_id, _, _ in all_ids()]
    assert len(set(ids)) == len(ids) == 25 + 10 + 4 + 23 + 3 + 5 + 7 + 16 + 2 + 1 + 4
    before = gym.spec("Counting-v0")
    register_ids()
    assert gym.spec("Counting-v0") is before


@pytest.mark.parametrize("name", ["envs.rooms:Rooms-Moving-v0", "Sprites-Small-v0"])
def test_options_of_an_id_reach_the_environment(name):
    env = gym.make(name).unwrapped
    inner = env.get_wrapper_attr("_vector")
    assert getattr(inner, "camera", "moving") == "moving"
    assert getattr(inner, "radius", 4.5) == 4.5
