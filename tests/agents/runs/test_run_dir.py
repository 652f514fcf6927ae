"""Run directories: one run per configuration, refused when they are somebody else's, damaged, or of other values."""

import json
import multiprocessing
import os
import subprocess
import sys

import pytest

from agents import checkpoint
from agents.runs import run_dir
from agents.runs.config import run_id
from agents.runs.run_dir import RunDir, changed_sources, check_stored, open_experiment
from envs.registry import UsageError
from envs.rng_streams import Streams
from tests.agents.runs.tools import ROOT, run_config

CONFIG = run_config()


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


class FullDisk:
    """A file that takes 9 bytes more."""

    def __init__(self, file):
        self.file, self.name = file, file.name

    def write(self, data):
        return self.file.write(data[:9])


def test_a_record_that_a_full_disk_cuts_is_taken_back(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.log({"global_step": 1, "x": 0.5})
    file, run._metrics = run._metrics, FullDisk(run._metrics)
    with pytest.raises(OSError, match="No space left on device"):
        run.log({"global_step": 2, "x": 0.25})
    run._metrics = file
    run.log({"global_step": 3})
    run.close()
    assert (run.path / "metrics.jsonl").read_text() == '{"global_step": 1, "x": 0.5}\n{"global_step": 3}\n'


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


def _open(out, ready, refusals):
    ready.wait()
    try:
        open_experiment(out)
    except UsageError as error:
        refusals.put(str(error))
    else:
        refusals.put("")


def test_many_processes_open_a_new_experiment_at_once(tmp_path):
    fork = multiprocessing.get_context("fork")
    for trial in range(8):  # of 8 trials with the marker made last, all had a refusal
        ready, refusals = fork.Barrier(8), fork.Queue()
        processes = [fork.Process(target=_open, args=(tmp_path / str(trial), ready, refusals)) for _ in range(8)]
        for process in processes:
            process.start()
        assert [refusals.get(timeout=30) for _ in processes] == [""] * 8
        for process in processes:
            process.join()
        assert sorted(path.name for path in (tmp_path / str(trial)).iterdir()) == ["experiment.json", "runs"]


def test_a_directory_whose_marker_is_being_made_is_ours(tmp_path):
    (tmp_path / ".experiment.json.node7.123").write_text("")  # of another process, or of one that was killed
    assert open_experiment(tmp_path) == tmp_path


@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_files_have_the_permissions_of_the_umask(umask, tmp_path):
    before = os.umask(umask)
    try:
        run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
        checkpoint.save(run.checkpoints, 3, {"log": run, "streams": Streams(0)})
        run.write_source()
        run.close()
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".jsonl", ".safetensors", ""}
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {oct(0o666 & ~umask)}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_directory_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot write to --out"):
        open_experiment(tmp_path / "out")


def test_a_directory_of_the_old_names_is_refused_by_an_unfinished_run(tmp_path):
    out = open_experiment(tmp_path / "out")
    (out / "experiment.json").write_text('{"format": 1}\n')
    assert open_experiment(out) == out  # without runs it is taken over
    assert json.loads((out / "experiment.json").read_text()) == {"format": 2}
    (out / "experiment.json").write_text('{"format": 1}\n')
    for name in ("counting-cnn-s1-0123456789", "counting-vae-s1-0123456789"):
        (out / "runs" / name).mkdir()
    (out / "runs" / "counting-cnn-s1-0123456789" / "done").write_text("")
    with pytest.raises(UsageError, match="such as counting-vae-s1-0123456789: reports still read them"):
        open_experiment(out)


def test_a_damaged_configuration_is_named(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.close()
    (run.path / "config.json").write_text("[")
    with pytest.raises(UsageError, match=f"{run.id} is damaged"):
        RunDir(tmp_path / "out", CONFIG)


def test_a_default_that_changed_since_is_refused_with_both_values(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.close()
    stored = json.loads((run.path / "config.json").read_text())
    assert stored["algo_settings"]["gamma"] == 0.999  # defaults are kept, too
    stored["algo_settings"]["gamma"] = 0.9
    (run.path / "config.json").write_text(json.dumps(stored))
    message = r"made with algo_settings.gamma=0.9, which is 0.999 now; give another --out"
    with pytest.raises(UsageError, match=message):
        RunDir(tmp_path / "out", CONFIG)
    with pytest.raises(UsageError, match=message):
        check_stored(run.path, CONFIG)
    check_stored(tmp_path / "nowhere", CONFIG)


def test_the_source_says_where_numbers_come_from(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.write_source(precision="float32")
    run.write_source(train_seconds=2.0)
    run.close()
    source = run.source
    assert source["precision"] == "float32"
    assert source["train_seconds"] == 2.0
    assert source["commit"]
    assert source["versions"]["torch"]
    assert source["foreign_sources"] == {}


def test_every_start_is_listed_with_its_commit(tmp_path, monkeypatch):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    origins = iter([("aaa", "2.1"), ("aaa", "2.1"), ("bbb", "2.2")])

    def describe():
        commit, torch = next(origins)
        return {"commit": commit, "versions": {"torch": torch}, "machine": "m"}

    monkeypatch.setattr(run_dir, "describe_source", describe)
    run.write_source(device="cpu")  # as a version that listed no starts left it
    for _ in range(2):
        run.write_start(threads=2)
    run.close()
    old, new = {"commit": "aaa", "versions": {"torch": "2.1"}}, {"commit": "bbb", "versions": {"torch": "2.2"}}
    assert run.source["starts"] == [{**old, "device": "cpu"}, {**old, "threads": 2}, {**new, "threads": 2}]
    assert (run.source["commit"], run.source["device"], run.source["threads"]) == ("aaa", "cpu", 2)


def test_a_foreign_class_is_remembered_by_its_file(tmp_path, monkeypatch):
    file = tmp_path / "foreign_method.py"
    file.write_text("from representations.cnn import Cnn\n\n\nclass Mine(Cnn):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = run_config("foreign_method:Mine")
    run = RunDir(open_experiment(tmp_path / "out"), config)
    run.write_source()
    run.close()
    assert len(run.source["foreign_sources"]["foreign_method:Mine"]) == 16
    check_stored(run.path, config)
    file.write_text(file.read_text() + "\n# better\n")
    assert changed_sources(run.path, config) == ["foreign_method:Mine"]
    with pytest.raises(UsageError, match="begun with another version of foreign_method:Mine"):
        check_stored(run.path, config)
    (run.path / "done").write_text("")
    check_stored(run.path, config)  # what is finished stays


def test_numbers_that_json_has_no_words_for_are_left_out(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.log({"global_step": 3, "x": float("nan"), "y": float("-inf"), "z": 2.5})
    assert run.records() == [{"global_step": 3, "z": 2.5}]
    run.close()


def test_a_log_that_lost_its_end_is_damaged(tmp_path):
    run = RunDir(open_experiment(tmp_path / "out"), CONFIG)
    run.log({"global_step": 3})
    with pytest.raises(UsageError, match=r"metrics.jsonl lacks its end"):
        run.load_state_dict({"metrics_bytes": 99})
    (run.path / "metrics.jsonl").write_text('{"global_step": 3}\n{"glo\n')
    with pytest.raises(UsageError, match=r"metrics.jsonl has a torn line"):
        run.records()
    run.close()


def test_the_name_does_not_depend_on_the_process():
    code = "from agents.runs.config import run_id; from tests.agents.runs.tools import run_config; "
    code += "print(run_id(run_config()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == run_id(CONFIG)
