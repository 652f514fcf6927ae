"""Trackio's database, read back; nothing of it reaches the network."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from tests.agents.runs.trackers.tools import CONFIG

pytest.importorskip("trackio", reason="extra .[trackio]")

SCRIPT = """
import json, socket, sys
from pathlib import Path

def refused(*arguments, **options):
    Path(sys.argv[1], "connected").touch()
    raise OSError("no network in this test")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refused
from tests.agents.runs.trackers.tools import CONFIG, resumed, use
from agents.runs.trackers import open_tracker

folder = Path(sys.argv[1])
resumed("trackio", folder)
third = open_tracker("trackio", CONFIG, "coinrun-cnn-s3", folder)
third.begin([{"global_step": 128 * n} for n in range(7)])
use(third, folder)
from trackio.sqlite_storage import SQLiteStorage as storage

(run,) = storage.get_run_records("rl-transfer")
logs = storage.get_logs("rl-transfer", run["name"])
config = storage.get_run_config("rl-transfer", run["name"])
print(json.dumps({"runs": [run["name"]], "logs": logs, "config": config}, default=str))
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A run that was resumed twice, as the database holds it, and the output of the three starts."""
    folder = tmp_path_factory.mktemp("trackio")
    Image.new("RGB", (8, 6)).save(folder / "splits.png")
    env = {**os.environ, "TRACKIO_DIR": str(folder / "database"), "HF_TOKEN": "hf_stored", "HF_HOME": str(folder)}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    read = subprocess.run(command, capture_output=True, text=True, env=env)
    assert read.returncode == 0, read.stderr
    *printed, last = read.stdout.splitlines()
    return folder, printed, json.loads(last), read.stderr


def test_a_resumed_run_is_one_run_with_its_configuration(stored):
    _, printed, read, errors = stored
    assert read["runs"] == ["coinrun-cnn-s3"]
    assert {name: read["config"][name] for name in CONFIG} == CONFIG
    assert printed == ["trackio: `trackio show --project rl-transfer` shows it in a browser on this machine"] * 3
    assert errors == ""


def test_trackio_places_points_by_frames_or_samples_once(stored):
    logs = stored[2]["logs"]
    points = [(log["step"], log["loss/policy"]) for log in logs if "loss/policy" in log]
    assert sorted(points) == [(128, 0.5), (256, 1.0), (384, 1.5), (512, 2.0)]
    assert sorted(log["step"] for log in logs if "pretrain/vae/loss" in log) == [64, 128, 192]
    (final,) = [log for log in logs if "result/gap" in log]
    assert (final["step"], final["result/gap"], final["cost/env_steps"]) == (5, 0.75, 96.0)
    assert {"pictures/splits", "tables/final"} <= {name for log in logs for name in log}


def test_trackio_reaches_no_network(stored):
    assert not (stored[0] / "connected").exists()
