"""The cache of fits: a hit changes no bit, costs are charged, and neither a kill nor a second process breaks one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agents.runs import pretraining
from agents.runs.build import build_parts
from agents.runs.data_policy import DataPolicy
from agents.runs.fit_cache import FitCache, fit_key
from agents.runs.train import policy_facts
from tests.agents.runs.tools import Interrupted, Killed, result, run_config, the_run, train_here

VAE = run_config("vae", suite="breakout", window=16)


def source(out):
    return json.loads((the_run(out) / "source.json").read_text())


def facts(config):
    return pretraining.fit_facts(build_parts(config), "cpu", "float32")


def key(config):
    return fit_key(facts(config))


@pytest.fixture
def no_fit(monkeypatch):
    """A function after whose call nothing may be fitted any more."""

    def forbid():
        def refuse(context):
            raise AssertionError("fitted again")

        monkeypatch.setattr(pretraining, "fit", refuse)

    return forbid


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (VAE, replace(VAE, algo="a2c", algo_settings=run_config(algo="a2c").algo_settings)),
        (VAE, replace(VAE, mode="finetune")),
        (run_config("random"), run_config("random", bonus="rnd:1", bonus_settings={"rnd": {}})),
        (run_config("gqn", suite="rooms", steps=256), run_config("gqn", suite="rooms", steps=128)),
    ],
    ids=["another agent", "another mode", "a bonus on random features", "another length on scenes"],
)
def test_a_run_that_takes_a_fit_equals_one_that_made_it(first, second, tmp_path, no_fit):
    train_here(tmp_path / "whole", second)
    train_here(tmp_path / "first", first)
    no_fit()
    train_here(tmp_path / "taken", second, cache=tmp_path / "first" / "fits")
    assert result(tmp_path / "taken") == result(tmp_path / "whole")
    first_source, taken = source(tmp_path / "first"), source(tmp_path / "taken")
    assert taken["fit"] == first_source["fit"] == key(first)
    # charged in full, to the digit
    assert taken["pretrain_seconds"] == first_source["pretrain_seconds"] > 0
    assert taken["env_steps"]["pretrain"] == first_source["env_steps"]["pretrain"]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 2},
        {"pretrain_frames": 33},
        {"pretrain_samples": 97},
        {"pretrain_on": "all"},
        {"level_set": "7+3"},
        {"pretrain_levels": "3000000+9"},
        {"pretrain_data": "mixed"},
        {"repr_settings": {**VAE.repr_settings, "latents": 63}},
        {"algo_settings": {**VAE.algo_settings, "gamma": 0.5}},
        {"repr": "beta_vae", "repr_settings": run_config("beta_vae").repr_settings},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_decides_a_fit_names_it(changes):
    assert key(replace(VAE, **changes)) != key(VAE)


def test_the_weights_of_the_data_policy_name_a_fit():
    config = replace(VAE, pretrain_data="mixed")

    def named(digest, **changes):
        given = DataPolicy(Path("runs/a"), None, digest, 256, 3.0)
        return fit_key(pretraining.fit_facts(build_parts(replace(config, **changes)), "cpu", "float32", given))

    names = {key(config), named("aa"), named("bb"), named("aa", pretrain_data="policy:runs/a")}
    assert len(names) == 4
    # another folder with the same weights gathers the same frames
    assert named("aa", pretrain_data="policy:runs/b") == named("aa", pretrain_data="policy:runs/a")


def test_what_begins_after_a_fit_does_not_name_it():
    later = replace(VAE, steps=99, num_envs=2, algo="a2c", bonus="icm:0.5", mode="finetune", eval_envs=5, preset="x")
    assert key(later) == key(VAE)


def test_precision_device_threads_and_code_name_a_fit(monkeypatch):
    parts = build_parts(VAE)
    names = {fit_key(pretraining.fit_facts(parts, "cpu", precision)) for precision in ("float32", "bfloat16")}
    names.add(fit_key(pretraining.fit_facts(parts, "cuda", "float32")))
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    names.add(key(VAE))
    monkeypatch.setattr(pretraining, "code_hash", lambda names: "other")
    names.add(key(VAE))
    assert len(names) == 5


ROOM = """
from gymnasium.spaces import Discrete
from tests.envs.action_envs import Painted

class Room(Painted):
    def __init__(self):
        super().__init__(Discrete(3), (64, 64))
"""


def test_the_file_of_an_own_environment_names_a_fit_and_a_data_policy(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "own_rooms.py"
    file.write_text(ROOM)
    config = run_config("random", suite="env:own_rooms:Room", env="Room")
    fits, policies = [], []
    for text in (ROOM, ROOM + "# changed", ROOM):
        file.write_text(text)
        fits.append(key(config))
        policies.append(fit_key(policy_facts(config, "cpu")))
    assert fits[0] == fits[2] != fits[1]
    assert policies[0] == policies[2] != policies[1]


def test_the_code_of_a_fit_is_its_files_contents(tmp_path, monkeypatch):
    package = tmp_path / "fitters"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "loss.py").write_text("a = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    (package / "inner").mkdir()
    (package / "inner" / "__init__.py").write_text("")
    hashes = []
    for text in ("a = 1", "a = 2", "a = 1"):
        (package / "loss.py").write_text(text)
        pretraining.code_hash.cache_clear()
        hashes.append(pretraining.code_hash(("fitters",)))
    own = pretraining.code_hash(("fitters.*",))
    (package / "inner" / "__init__.py").write_text("b = 1")
    pretraining.code_hash.cache_clear()
    # a package without those inside it
    assert pretraining.code_hash(("fitters.*",)) == own
    assert pretraining.code_hash(("fitters",)) not in hashes
    pretraining.code_hash.cache_clear()
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_damaged_fit_is_made_again_and_says_so_in_one_line(tmp_path, capsys):
    train_here(tmp_path / "first", VAE)
    (tensors,) = (tmp_path / "first" / "fits").glob("*/*.safetensors")
    content = bytearray(tensors.read_bytes())
    content[-1] ^= 1
    tensors.write_bytes(content)
    capsys.readouterr()
    train_here(tmp_path / "second", VAE, cache=tmp_path / "first" / "fits")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("cached fit"))
    assert "fitting again" in line
    assert result(tmp_path / "second") == result(tmp_path / "first")
    assert tensors.read_bytes() != bytes(content)


def test_a_fit_cut_short_leaves_none_and_another_run_makes_it(tmp_path, no_fit):
    cache = tmp_path / "fits"
    with pytest.raises(Killed):
        train_here(tmp_path / "killed", VAE, Interrupted("pretrain", 40), cache=cache)
    assert not list(cache.glob("*/*.json"))
    train_here(tmp_path / "whole", VAE, cache=cache)
    no_fit()
    train_here(tmp_path / "killed", VAE, cache=cache)  # has a checkpoint of its own fit, half-way
    assert result(tmp_path / "killed") == result(tmp_path / "whole")


def test_two_processes_do_not_fit_the_same_at_once(tmp_path, capsys):
    class Waited(Exception):
        pass

    def stop_waiting():
        raise Waited

    fits, named = FitCache(tmp_path), facts(VAE)
    with fits.locked(named, stop_waiting):
        with pytest.raises(Waited), fits.locked(named, stop_waiting):
            pass
        with fits.locked({**named, "seed": 2}, stop_waiting):  # another fit waits for nobody
            pass
    assert capsys.readouterr().out.count("waiting for") == 1
    with fits.locked(named, stop_waiting):
        pass
