"""Bundles read back: bit-equal agents, equal episodes, and nothing that is damaged or could run code."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.runs.bundles.manifest import KINDS, MANIFEST, check_name, verified
from agents.runs.bundles.opening import check_classes, foreign_names, opened
from agents.runs.continued import finished_run
from agents.runs.data_policy import load_data_policy
from agents.runs.load import load_agent, load_bonuses
from benchmarks import evaluate
from benchmarks.reporting.runs import load, results_csv, score
from envs.registry import UsageError
from tests.agents.runs.bundles.conftest import relisted
from tests.agents.runs.tools import run_config
from tests.agents.tools import weights


def bundle_runs(folder):
    return sorted((folder / "runs").iterdir())


def test_an_agent_of_a_bundle_acts_and_values_bit_for_bit(experiment, shared):
    for run in bundle_runs(shared):
        first, second = load_agent(experiment / "runs" / run.name), load_agent(str(run))
        assert torch.equal(weights(first), weights(second))
        env = first.make_env(7, "heldout", seed=3)
        obs = env.reset()
        for _ in range(5):
            actions, _ = first.predict(obs, deterministic=True)
            np.testing.assert_array_equal(actions, second.predict(obs, deterministic=True)[0])
            tensor = {"image": torch.from_numpy(obs)}
            started = torch.ones(7, dtype=torch.bool)
            with torch.no_grad():
                outputs = [agent.policy(tensor, agent.policy.initial_state(7), started) for agent in (first, second)]
            assert torch.equal(outputs[0].value, outputs[1].value)
            obs = env.step(actions)[0]
        assert {split: repr(world) for split, world in first.worlds.items()} == {
            split: repr(world) for split, world in second.worlds.items()
        }


def test_its_evaluation_is_that_of_the_run_and_leaves_the_bundle_whole(shared, capsys):
    before = (shared / MANIFEST).read_text()
    assert evaluate.main([str(shared)]) == 0
    assert f"{shared} is unpacked in " in capsys.readouterr().err
    for run in bundle_runs(shared):
        columns = ("split", "level", "episode", "return", "length")
        kept, added = (
            sorted(tuple(row[name] for name in columns) for row in csv.DictReader(file.read_text().splitlines()))
            for file in (run / "eval.csv", opened(run) / "added.csv")
        )
        assert kept == added
        assert len(kept) >= 4
    assert (shared / MANIFEST).read_text() == before
    verified(shared, shared)


def test_a_bundle_is_read_wherever_a_run_is(experiment, shared, capsys):
    from benchmarks import report

    originals = {run.id: run for run in load(experiment)}
    runs = load(opened(shared))
    assert len(runs) == 2
    with pytest.raises(UsageError, match=f"{shared} holds 2 runs; name one, as {shared}/runs/<id>: counting-cnn"):
        load_agent(shared)
    for run in runs:
        assert (run.state, run.config, run.metrics) == ("finished", *vars_of(originals[run.id], "config", "metrics"))
        assert run.fall == originals[run.id].fall
    table = (shared / "results.csv").read_text()
    assert table == results_csv(score(runs)) == results_csv(score([originals[run.id] for run in runs]))
    assert report.main([str(shared)]) == 0
    assert "cnn + rnd:0.5" in capsys.readouterr().out
    run = bundle_runs(shared)[0]
    named = finished_run(Path(str(run)), "--init-from x", lambda run: True, "")
    weights = [load_data_policy(place, "cpu").policy.state_dict() for place in (named, experiment / "runs" / run.name)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    places = (opened(run), experiment / "runs" / run.name)
    ((bonus, factor),), ((other, same),) = (load_bonuses(place, originals[run.name].config) for place in places)
    assert factor == same
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in bonus.state_dict().items())


def vars_of(run, *names):
    return tuple(getattr(run, name) for name in names)


def test_a_bundle_holds_tensors_data_text_and_pictures_alone(shared):
    names = {path.name for path in shared.rglob("*") if path.is_file()}
    assert {path.suffix for path in shared.rglob("*") if path.is_file()} <= {*KINDS, ".sha256"}
    assert {"README.md", "agent.safetensors", "config.json", "eval.csv", "results.csv", "picture.png"} <= names
    assert "optimizers" in (bundle_runs(shared)[0] / "agent.json").read_text()
    agent = json.loads((bundle_runs(shared)[0] / "agent.json").read_text())["body"]
    assert {name.partition("/")[0] for name in json.loads(agent)["state"]} == {"policy", "bonus", "bonus_scale"}
    assert json.loads(agent)["state"]["policy"]["items"][1] == ["optimizers", {"items": []}]


def flip(folder):
    file = bundle_runs(folder)[0] / "agent.safetensors"
    data = bytearray(file.read_bytes())
    data[-9] ^= 4
    file.write_bytes(data)


def relist_flip(folder):
    flip(folder)
    relisted(folder)


def add_line(folder, line):
    with open(folder / MANIFEST, "a") as file:
        file.write(line + "\n")


def link(folder):
    target = folder.parent / "outside.csv"
    (folder / "results.csv").rename(target)
    (folder / "results.csv").symlink_to(target)


DAMAGE = {
    "flipped byte": (flip, "agent.safetensors does not match"),
    "flipped byte, listed": (relist_flip, "cannot be read .*tensors do not match their hash"),
    "missing file": (lambda folder: (bundle_runs(folder)[1] / "eval.csv").unlink(), "lacks runs/.*/eval.csv"),
    "file that is not listed": (lambda folder: (folder / "x.json").write_text("{}"), "has x.json, which"),
    "file of another kind": (
        lambda folder: (folder / "x.pkl").write_bytes(b""),
        "has a file x.pkl: only ",
    ),
    "link": (link, "results.csv is a link"),
    "torn manifest": (lambda folder: add_line(folder, "abc"), "has a line 'abc'"),
    "listed twice": (lambda folder: add_line(folder, (folder / MANIFEST).read_text().splitlines()[0]), "has a line"),
    "traversal": (lambda folder: add_line(folder, f"{'0' * 64}  ../x.json"), r"names a file '../x.json'"),
    "absolute": (lambda folder: add_line(folder, f"{'0' * 64}  /etc/x.json"), "names a file '/etc/x.json'"),
    "no manifest in UTF-8": (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"), "cannot be read"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_bundle_is_refused(damage, message, copy, cache):
    folder = cache / "rl-transfer" / "bundles"
    kept = set(folder.glob("*"))
    damage(copy)
    with pytest.raises(UsageError, match=message):
        load_agent(copy)
    assert (
        set((cache / "rl-transfer" / "bundles").glob("*")) | set((cache / "rl-transfer" / "bundles").glob(".*")) == kept
    )


@pytest.mark.parametrize(
    "name", ["runs/../../x.json", "a\\b.json", ".hidden/x.json", "x/.y.json", "a//b.json", "C:x.json", "x\n.json", ""]
)
def test_names_that_could_leave_the_folder_are_refused(name):
    with pytest.raises(UsageError, match="only plain relative paths"):
        check_name(name, "b")
    check_name("runs/coinrun-easy-cnn+s0/agent.safetensors", "b")


def test_lists_that_lack_a_runs_file_and_other_formats_are_refused(copy):
    (bundle_runs(copy)[0] / "metrics.json").unlink()
    relisted(copy)
    with pytest.raises(UsageError, match=r"lacks metrics\.json"):
        opened(copy)
    (copy / "bundle.json").write_text('{"format": 2}')
    relisted(copy)
    with pytest.raises(UsageError, match="has format 2 and this version reads 1"):
        opened(copy)


EVIL = "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\nclass Evil: pass\n"


def test_foreign_code_that_a_configuration_names_is_not_imported(copy, tmp_path, monkeypatch):
    (tmp_path / "evil_code.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    file = bundle_runs(copy)[0] / "config.json"
    config = {**json.loads(file.read_text()), "repr": "evil_code:Evil"}
    file.write_text(json.dumps(config))
    relisted(copy)
    for place in (copy, bundle_runs(copy)[1], bundle_runs(copy)[0]):
        with pytest.raises(UsageError, match=r"names code from outside of the toolkit, evil_code:Evil, .*classes="):
            load_agent(place)
    assert "evil_code" not in sys.modules
    assert not (tmp_path / "imported").exists()
    evil = type("Evil", (), {"__module__": "evil_code"})
    assert opened(copy, [evil]).is_dir()


def test_every_place_that_may_name_code_is_looked_at():
    config = run_config()
    named = {
        "repr": "a:A",
        "algo": "b:B",
        "bonus": "rnd:0.5 c.d:C:2",
        "suite": 'env:e:E {"targets": {"far": {"id": "f:F-v0"}, "near": {"size": 3}}}',
    }
    for name, value in named.items():
        changed = type(config)(**{**vars(config), name: value})
        places = foreign_names(changed)
        assert places == {"bonus": ["c.d:C"], "suite": ["e:E", "f:F-v0"]}.get(name, [value])
        with pytest.raises(UsageError, match="outside of the toolkit"):
            check_classes(changed, "b", [int, *places[1:]])
        check_classes(changed, "b", places)
    assert foreign_names(type(config)(**{**vars(config), "suite": "mine:LINE"})) == ["mine:LINE"]
    assert foreign_names(type(config)(**{**vars(config), "suite": "env:CartPole-v1"})) == []


def test_other_paths_are_as_they_were(experiment, tmp_path):
    for path in (experiment, experiment / "runs", tmp_path / "nowhere", Path("x")):
        assert opened(path) == path
