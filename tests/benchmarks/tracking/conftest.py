"""A short run of the experiment directory that the tests of this folder share, tracked offline."""

import json
import subprocess
from types import SimpleNamespace

import pytest
from PIL import Image

from agents.parallel.distributed import SINGLE_PROCESS
from agents.runs.run_dir import RunDir, open_experiment
from agents.runs.validate import PartsStore
from benchmarks.experiment.grid import finish_run
from tests.agents.runs.tools import run_config


@pytest.fixture(scope="session", autouse=True)
def no_key(tmp_path_factory):
    """Weights & Biases as it is without a key."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(tmp_path_factory.mktemp("home") / "no-netrc"))
        yield


@pytest.fixture(scope="session")
def experiment(tmp_path_factory, no_key):
    """A directory with one run, pre-trained and trained by the command's own path, probed and with a map of a bonus."""
    from benchmarks.probe import Args, probe
    from benchmarks.recording.record import Quality, record_run

    out = tmp_path_factory.mktemp("experiment")
    train(out, run_config("vae", steps=256, periodic_evals=2, kept_policies=0, splits=("train", "heldout")), "wandb")
    probe(Args(out, frames=64))
    (run,) = (out / "runs").iterdir()
    Image.new("RGB", (7, 5)).save(run / "pictures" / "bonus.png")
    record_run(run, Quality(playable=1))
    return out


def train(out, config, log="none"):
    """Bring a run to its end as benchmarks.transfer does; returns its folder."""
    run = RunDir(open_experiment(out), config)
    args = SimpleNamespace(log=log, device="cpu", cache=None, rerun=False)
    try:
        assert finish_run(args, run, config, "run", PartsStore(), SINGLE_PROCESS)
    finally:
        run.close()
    return run.path


def inspected(part, *options):
    """Records of an offline part, by what ``wandb leet`` reads; with --summary one document."""
    command = ["wandb", "leet", "inspect", *options, "--json", str(part)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(text) if options else [json.loads(line) for line in text.splitlines()]
