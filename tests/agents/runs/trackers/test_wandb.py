"""Weights & Biases offline, read back by ``wandb leet inspect``."""

import json
import random
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from agents.runs.trackers import open_tracker
from agents.runs.trackers.wandb import has_key
from tests.agents.runs.trackers.tools import CONFIG, records_of, resumed, use


@pytest.fixture
def no_key(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def test_a_key_is_found_where_wandb_would_look(no_key, monkeypatch, tmp_path):
    assert not has_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password abc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not has_key()
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    assert has_key()


def test_wandb_without_a_key_writes_offline_and_can_be_read_back(no_key, tmp_path, capsys):
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    Image.new("RGB", (8, 6)).save(tmp_path / "splits.png")
    tracker = open_tracker("wandb", CONFIG, "coinrun-cnn-s3", tmp_path)
    tracker.log({"global_step": 100, "eval/gap": 0.25})
    use(tracker, tmp_path)
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.count("\n") == 1
    assert "wandb leet" in output.out
    assert "wandb sync" in output.out
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    read = subprocess.run(["wandb", "leet", "inspect", "--json", str(folder)], capture_output=True, text=True)
    records = [json.loads(line) for line in read.stdout.splitlines()]
    (run,) = (record["run"] for record in records if record["type"] == "run")
    assert run["run_id"] == "coinrun-cnn-s3"
    assert run["run_group"] == "coinrun/cnn"
    text = read.stdout
    assert '"global_step"' in text
    assert "eval/gap" in text
    assert "pictures/splits" in text
    assert "tables/final" in text
    after = random.getstate(), np.random.get_state()[1], torch.get_rng_state()
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])
    assert torch.equal(before[2], after[2])


def test_wandb_has_an_axis_for_pretraining_and_no_point_twice(no_key, tmp_path, capsys):
    resumed("wandb", tmp_path)
    messages = capsys.readouterr().out.splitlines()
    sync = f"`wandb sync {tmp_path / 'wandb'}/offline-run-*-coinrun-cnn-s3` uploads it"
    assert [sync in line for line in messages] == [True, True]
    # a second start within the same second has "-1" at its end
    folders = sorted((tmp_path / "wandb").glob("offline-run-*-coinrun-cnn-s3*"))
    files = [records_of(folder) for folder in folders]
    sent = [record["history"]["item"] for records in files for record in records if record["type"] == "history"]
    points = [(item["global_step"], item["loss/policy"]) for item in sent if "loss/policy" in item]
    assert points == [(128, 0.5), (256, 1.0), (384, 1.5), (512, 2.0)]
    metrics = [record["metric"] for record in files[0] if "metric" in record]
    axes = {metric.get("glob_name"): metric.get("step_metric") for metric in metrics}
    assert (axes["pretrain/*"], axes["loss/*"]) == ("pretrain/samples", "global_step")
    assert (tmp_path / "wandb" / "sent").read_text() == "7"


def test_final_figures_are_summary_values_of_the_wandb_run(no_key, tmp_path):
    Image.new("RGB", (8, 6)).save(tmp_path / "splits.png")
    use(open_tracker("wandb", CONFIG, "x", tmp_path), tmp_path)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    command = ["wandb", "leet", "inspect", "--summary", "--json", str(folder)]
    read = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    summary = read["summary"]
    assert (summary["result/gap"], summary["cost/env_steps"]) == (0.75, 96.0)
    assert summary["eval/gap"] == 0.5
