"""Run directories: one run per configuration, refused when they are somebody else's or damaged."""

import json
import os

import pytest

from agents.runs.run_dir import RunDir, open_experiment, run_id
from envs.registry import UsageError

CONFIG = {"env": "counting", "repr": "cnn", "mode": "online", "algo": "ppo", "train_levels": 3, "seed": 1, "steps": 8}


def test_the_id_is_readable_and_changes_with_every_field():
    base = run_id(CONFIG)
    assert base.startswith("counting-cnn-online-ppo-3levels-s1-")
    others = {run_id({**CONFIG, key: "x"}) for key in CONFIG}
    assert len(others | {base}) == len(CONFIG) + 1
    assert run_id(dict(reversed(CONFIG.items()))) == base  # the order of fields says nothing
    assert run_id({**CONFIG, "repr": "my.place:Mine"}).startswith("counting-mine-")


def test_records_after_the_checkpoint_are_cut_off(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.log({"global_step": 1, "x": 0.5})
    state = run.state_dict()
    run.log({"global_step": 2, "x": 0.25})
    run.close()
    again = RunDir(tmp_path / "out", CONFIG)
    again.load_state_dict(state)
    again.log({"global_step": 2, "x": 0.125})
    again.close()
    lines = (again.path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"global_step": 1, "x": 0.5}, {"global_step": 2, "x": 0.125}]


def test_a_run_cannot_be_trained_twice_at_once(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    with pytest.raises(UsageError, match="another process"):
        RunDir(tmp_path / "out", CONFIG)
    run.close()
    RunDir(tmp_path / "out", CONFIG).close()


def test_alien_places_are_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an experiment"):
        open_experiment(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(UsageError, match="is a file"):
        open_experiment(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="cannot write to --out"):
        open_experiment(tmp_path / "notes.txt" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_directory_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot write to --out"):
        open_experiment(tmp_path / "out")


def test_a_damaged_run_is_named(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.close()
    (run.path / "config.json").write_text('{"env": "other"}')
    with pytest.raises(UsageError, match=f"{run.id} is damaged"):
        RunDir(tmp_path / "out", CONFIG)


def test_the_source_says_where_numbers_come_from(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.write_source(precision="float32")
    run.write_source(train_seconds=2.0)
    source = run.source
    assert source["precision"] == "float32"
    assert source["train_seconds"] == 2.0
    assert {"commit", "command", "versions", "machine"} <= set(source)
    assert "torch" in source["versions"]
    run.close()
