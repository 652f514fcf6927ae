"""Sweeps as commands: two cells on spawned processes, stops, and twelve with a killed one on every backend."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.runs.run_dir import open_experiment
from agents.runs.validate import PartsStore
from benchmarks import transfer
from benchmarks.fault_injection.remains import digest
from benchmarks.sweeping.backends import Processes
from benchmarks.sweeping.cells import cells_of
from benchmarks.sweeping.grid_file import read_grid
from benchmarks.sweeping.run import bring_to_end
from envs.registry import UsageError
from tests.benchmarks.sweeping.deadly import FLAG

ROOT = Path(__file__).resolve().parents[3]
TINY = """
suite = "counting"
preset = "smoke"
precision = "float32"
num_envs = 4
set."{algo}.n_steps" = 128
set."{algo}.minibatches" = 2
"""
TWELVE = """
algo = "tests.benchmarks.sweeping.deadly:Deadly"
repr = ["cnn", "random"]
seeds = [0, 1, 2, 3, 4, 5]
steps = 2560
level_sets = "published"  # of all seeds: nothing is played crossed
"""


def write(tmp_path, name, text, algo="ppo"):
    path = tmp_path / f"{name}.toml"
    path.write_text(f'out = "{tmp_path / name}"\n' + TINY.format(algo=algo) + text)
    return path


def sweep(grid, *words, **environment):
    """The command in a process of its own, its output in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sweep", str(grid), *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def digests(out):
    return {run.name: digest(run) for run in sorted((out / "runs").iterdir())}


def test_two_cells_on_spawned_processes(tmp_path, capsys):
    path = write(tmp_path, "two", 'repr = "blind"\nseeds = [0, 1]\nsteps = 512\n')
    grid = read_grid(path, {"transfer": transfer.Args})
    cells = cells_of(grid, transfer.Args, transfer.plan, "the sweep", PartsStore())
    tally = bring_to_end(cells, Processes(open_experiment(grid.out), None, grid.threads))
    assert (tally.status, tally.finished) == (0, [cell.name for cell in cells])
    assert "2 of 2 cells finished" in capsys.readouterr().out
    for cell in cells:
        assert "100%" in (grid.out / "logs" / f"{cell.name}.txt").read_text()
        source = json.loads((cell.folder / "source.json").read_text())
        assert (source["command"], source["threads"]) == ("the sweep", 1)
    first, second = digests(grid.out).values()
    assert first["checkpoint"] != second["checkpoint"]


def test_cells_have_cores_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {7, 2, 4, 5, 9})
    assert Processes(tmp_path, None, 2).free == [(2, 4), (5, 7)]
    assert Processes(tmp_path, 3, 1).free == [(2,), (4,), (5,)]
    assert Processes(tmp_path, None, 6).slots == 1
    with pytest.raises(UsageError, match=r"--jobs 3 of 2 threads each are more than the 5 cores here; give --jobs 2"):
        Processes(tmp_path, 3, 2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_sweep_saves_its_cells_and_goes_on(tmp_path, number):
    text = 'repr = "cnn"\nseeds = [0, 1]\nsteps = 100_000\n'
    command = sweep(write(tmp_path, "stopped", text), "--jobs", "2")
    runs = tmp_path / "stopped" / "runs"
    deadline = time.monotonic() + 400
    while sum(b"global_step" in file.read_bytes() for file in runs.glob("*/metrics.jsonl")) < 2:
        assert time.monotonic() < deadline
        assert command.poll() is None
        time.sleep(0.1)
    command.send_signal(number)
    output, _ = command.communicate(timeout=400)
    assert command.returncode == 75, output
    assert "stopped; all cells are saved. The same command continues." in output
    saved = [list((run / "checkpoint" / "train").glob("*.json")) for run in runs.iterdir()]
    assert all(saved)
    steps = [max(int(file.stem) for file in files) for files in saved]
    assert [digest(run)["records"] != "" for run in runs.iterdir()] == [True, True]
    assert all(512 <= step < 100_000 for step in steps)


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_twelve_cells_with_a_killed_one_are_equal_on_every_backend(tmp_path):
    """Prints the tables."""
    algo = "deadly"
    expected = None
    for backend in ("local", "slurm", "ray"):
        if backend != "local":
            pytest.importorskip({"slurm": "submitit", "ray": "ray"}[backend])
        slurm = '[slurm]\ncluster = "local"\ntimeout_min = 60\n' if backend == "slurm" else ""
        grid = write(tmp_path, backend, TWELVE + slurm, algo)
        flag = tmp_path / f"{backend}.killed"
        command = sweep(grid, "--backend", backend, "--jobs", "2", **{FLAG: str(flag)})
        output, _ = command.communicate(timeout=3000)
        print(output[: output.index("cells finished") + 20])
        assert command.returncode == 0, output
        assert flag.exists()
        table = output[output.index("┏") : output.index("12 of 12 cells finished")]
        assert table.count("finished, died 1 time") == 1  # one of the two of seed 5
        own = digests(tmp_path / backend)
        assert len(own) == 12
        expected = expected or own
        assert own == expected
    undisturbed = write(tmp_path, "undisturbed", TWELVE.replace("[0, 1, 2, 3, 4, 5]", "[5]"), algo)
    command = sweep(undisturbed, "--jobs", "2")
    output, _ = command.communicate(timeout=3000)
    assert command.returncode == 0, output
    own = digests(tmp_path / "undisturbed")
    assert len(own) == 2
    assert own == {name: expected[name] for name in own}
